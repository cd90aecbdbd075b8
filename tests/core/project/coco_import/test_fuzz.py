"""Ten thousand damaged files: each is imported or refused with an error, never in part."""

from __future__ import annotations

import json
import os
import random
import resource
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maskwright.domain import rle
from maskwright.errors import MaskwrightError
from maskwright.formats.coco_rules import validate
from maskwright.project import Project
from maskwright.project.coco_import import ImportOptions, ImportResult
from tests.core.project.coco_import.conftest import REGIONS, Labels, corners, draw, region, runs
from tests.core.project.coco_import.test_tools import CVAT

CASES = int(os.environ.get("MASKWRIGHT_FUZZ_CASES", "10000"))
QUICK = 200
PARTS = 5
"""Of the many; each may run in another worker."""
A_PROJECT = 100
"""Files that go into one project, so that many find their masks there already."""
SECONDS, MEGABYTES = 5, 400

BLOCK = region(slice(2, 9), slice(3, 20))
OURS: Labels = {
    "info": {"description": "", "url": "", "version": "1.0", "year": 2026, "contributor": "",
             "date_created": "2026-01-02T03:04:05Z"},
    "licenses": [{"id": 0, "name": "", "url": ""}],
    "images": [
        {"id": 3, "file_name": "images/a 1.png", "width": 40, "height": 30, "license": 0, "coco_url": "",
         "flickr_url": "", "date_captured": "", "sha256": "3" * 64, "exif_orientation": 6},
        {"id": 4, "file_name": "images/gone/c.png", "width": 7, "height": 5, "license": 0, "coco_url": "",
         "flickr_url": "", "date_captured": "2024", "sha256": "4" * 64, "exif_orientation": 1},
    ],
    "annotations": [
        {"id": n, "image_id": 3, "category_id": 1 + n % 2, "segmentation": rle.encode(mask), "area": int(mask.sum()),
         "bbox": [0, 0, 40, 30], "iscrowd": n % 2, "score": 0.5,
         "attributes": {"uid": f"{n:032x}", "status": "accepted", "source": "text", "model": "tiny",
                        "model_version": "x", "prompt": "cow", "annotator": "ann",
                        "created_at": "2026-01-02T03:04:05.678Z", "updated_at": "2026-01-02T03:04:05.678Z",
                        "revision": 2}}
        for n, mask in enumerate(REGIONS.values(), start=1)
    ],
    "categories": [{"id": 1, "name": "cow", "supercategory": ""}, {"id": 2, "name": "草", "supercategory": "x"}],
}  # fmt: skip
PLAIN: Labels = {
    "images": [
        {"id": 1, "file_name": "b.png", "width": 30, "height": 40},
        {"id": 2, "coco_url": "http://example.invalid/images/a 1.png"},
    ],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 0, "segmentation": [corners(3, 2, 20, 9)], "bbox": [3, 2, 17, 7]},
        {"id": 2, "image_id": 2, "category_id": 7, "segmentation": runs(BLOCK), "iscrowd": 1},
        {"id": 3, "image_id": 2, "category_id": 0, "segmentation": corners(-3, 2, 44, 29)},
        {"id": 4, "image_id": 2, "category_id": 7, "bbox": [3, 2, 17, 7], "score": 1},
    ],
    "categories": [{"id": 0, "name": "Kuh"}, {"id": 7, "name": "label"}],
}
SEEDS = (OURS, CVAT, PLAIN)

ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 1.5, -0.5, 1e308, -1e308, float("nan"), float("inf"), float("-inf"), 1 << 30,
    (1 << 31) - 1, 1 << 31, 1 << 63, 1 << 64, -(1 << 63), 10**400, "", " ", "x", "1", "\0", "a\0b.png", "\ud800", "🐄",
    "..", "../a.png", "/etc/passwd", "C:\\x.png", "images", "images/", ".", "a 1.png", "n" * 300, "d/" * 2000,
    "9" * 5000, "\n\r\u2028", [], {}, [[]], [None], [[[]]], [0] * 7, [[0, 0, 1e9, 0, 1e9, 1e9]], [[1, 2, 3, 4, 5, 6]],
    {"size": [30, 40], "counts": [1200]}, {"size": [40, 30], "counts": [600, 600]}, {"size": [30, 40], "counts": "P"},
    {"size": [1 << 40, 1 << 40], "counts": [1 << 62]}, {"size": [-30, -40], "counts": [0, 1200]},
    {"size": [30, 40], "counts": "o" * 500}, {"size": [30, 40], "counts": [1 << 62, 1 << 62, 1 << 62, 1 << 62]},
    {"uid": "1" * 32, "status": "deleted"}, {"uid": "x" * 40000},
)  # fmt: skip


def places(value: Any, found: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """Every container in a document with each of its keys."""
    keys = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        found.append((value, key))
        places(value[key], found)
    return found


def deep(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def another(chance: random.Random, container: Any, key: Any, doc: Any) -> None:
    container[key] = chance.choice(ODD)


def elsewhere(chance: random.Random, container: Any, key: Any, doc: Any) -> None:
    """A value that stands somewhere else in the document."""
    other, name = chance.choice(places(doc, []))
    container[key] = json.loads(json.dumps(other[name]))


def without(chance: random.Random, container: Any, key: Any, doc: Any) -> None:
    del container[key]


def twice(chance: random.Random, container: Any, key: Any, doc: Any) -> None:
    if isinstance(container, list):
        container.insert(chance.randrange(len(container) + 1), json.loads(json.dumps(container[key])))


def nudged(chance: random.Random, container: Any, key: Any, doc: Any) -> None:
    value = container[key]
    if isinstance(value, int | float) and not isinstance(value, bool):
        container[key] = chance.choice([value + 1, value - 1, -value, value * 1000, value / 2, str(value), [value]])
    elif isinstance(value, str):
        at = chance.randrange(len(value) + 1)
        container[key] = (
            value[:at] + chance.choice(["", "\0", "\udfff", "é", "/", "\\", "0", "Z", "~"]) + value[at + 1 :]
        )
    elif isinstance(value, list):
        chance.shuffle(value)
    elif isinstance(value, dict):
        value["x" * chance.randrange(3)] = chance.choice(ODD)


def deeper(chance: random.Random, container: Any, key: Any, doc: Any) -> None:
    container[key] = deep(chance.choice([2, 50, 400]))


def ids_of_others(chance: random.Random, container: Any, key: Any, doc: Any) -> None:
    rows = doc.get(chance.choice(["images", "annotations", "categories"])) if isinstance(doc, dict) else None
    if isinstance(rows, list) and rows and isinstance(rows[0], dict):
        for row in rows:
            if isinstance(row, dict):
                row["id"] = rows[0].get("id")


CHANGES: tuple[Callable[[random.Random, Any, Any, Any], None], ...] = (
    another, another, another, nudged, nudged, elsewhere, without, twice, deeper, ids_of_others
)  # fmt: skip


def damaged(chance: random.Random) -> bytes:
    """A file of some tool with one to four faults."""
    doc = json.loads(json.dumps(chance.choice(SEEDS)))
    for row in doc["annotations"]:
        # half of the files bring masks that the project has, the others new ones
        if "uid" in row.get("attributes", {}) and chance.random() < 0.5:
            row["attributes"]["uid"] = f"{chance.getrandbits(128):032x}"
    for _ in range(chance.randint(1, 4)):
        found = places(doc, [])
        if found:
            container, key = chance.choice(found)
            chance.choice(CHANGES)(chance, container, key, doc)
    data = json.dumps(doc).encode()
    match chance.randrange(30):
        case 0:
            return data[: chance.randrange(len(data))]
        case 1:
            at = chance.randrange(len(data))
            return data[:at] + bytes([chance.randrange(256)]) + data[at + 1 :]
        case 2:
            return b"\xef\xbb\xbf" + data
        case 3:
            return json.dumps(doc, ensure_ascii=False).encode("utf-8", "surrogatepass")
    return data


def state(project: Project) -> tuple[Any, ...]:
    """The number of the last change, of rows and of files."""
    tables = ("images", "categories", "annotations", "prompts", "image_aliases")
    counts = ", ".join(f"(SELECT count(*) FROM {table})" for table in tables)
    with closing(sqlite3.connect(project.folder / "project.db")) as database:
        rows = database.execute(f"SELECT (SELECT max(id) FROM events), {counts}").fetchone()
    return rows, sorted((project.folder / "images").rglob("*"))


def outcome(project: Project, file: Path, options: ImportOptions) -> ImportResult | str:
    """The report or the sentence; both can be shown to a person."""
    try:
        told: ImportResult | str = project.exchange.import_coco(file, options=options)
    except MaskwrightError as error:
        told = str(error)
        assert told.count("\n") == 0
        assert len(told) < 2000
    str(told if isinstance(told, str) else asdict(told)).encode()
    return told


def check(project: Project, file: Path, options: ImportOptions, dry_run: bool) -> None:
    before = state(project)
    expected = outcome(project, file, replace(options, dry_run=True)) if dry_run else None
    assert state(project) == before
    told = outcome(project, file, options)
    if isinstance(told, str):
        assert state(project) == before
        assert expected in (None, told)
    elif expected is not None:
        assert isinstance(expected, ImportResult)
        assert asdict(expected) | {"dry_run": False} == asdict(told)


def check_all(project: Project, file: Path) -> None:
    """What all the files together left behind is a project like any other, and the last of them adds nothing."""
    states = ("proposed", "accepted", "rejected", "deleted")
    written = project.export_coco(project.folder / "out.json", states=states, all_categories=True)
    data = json.loads(written.read_text(encoding="utf-8"))
    assert len(data["annotations"]) > 20
    assert validate(data) == []
    with suppress(MaskwrightError):
        project.exchange.import_coco(file)
        again = project.exchange.import_coco(file)
        assert (again.masks, again.added, again.boxes) == (0, 0, 0)


def fuzz(tmp_path: Path, first: int, number: int) -> None:
    rng = np.random.default_rng(0)
    home = tmp_path / "labels"
    draw(home / "images" / "a 1.png", rng)
    draw(home / "images" / "herd" / "a 1.png", rng)
    draw(home / "b.png", rng)
    # the largest so far: what the interpreter and the libraries need is no fault of the file
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    file = home / "annotations.json"
    for start in range(first, first + number, A_PROJECT):
        with Project.open(tmp_path / f"p{start}", create=True) as project:
            for case in range(start, min(start + A_PROJECT, first + number)):
                chance = random.Random(case)
                # overwriting a file takes some file systems 3 ms, writing a new one 0.1 ms
                file.unlink(missing_ok=True)
                file.write_bytes(damaged(chance))
                options = ImportOptions(
                    images=chance.choice([None, None, home / "images"]),
                    as_proposals=chance.random() < 0.1,
                    rotate=chance.random() < 0.5,
                    groups_as_objects=chance.random() < 0.1,
                )
                began = time.monotonic()
                try:
                    check(project, file, options, dry_run=case % 5 == 0)
                except Exception as error:
                    error.add_note(f"case {case}: {file.read_bytes()[:3000]!r}, {options}")
                    raise
                assert time.monotonic() - began < SECONDS, f"case {case}"
            check_all(project, file)
    used = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) / 1024
    assert used < MEGABYTES


def test_some_damaged_files(tmp_path: Path) -> None:
    fuzz(tmp_path, 0, QUICK)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("part", [pytest.param(n, marks=pytest.mark.xdist_group(f"fuzz {n}")) for n in range(PARTS)])
def test_many_damaged_files(tmp_path: Path, part: int) -> None:
    first, end = (QUICK + max(CASES - QUICK, 0) * n // PARTS for n in (part, part + 1))
    fuzz(tmp_path, first, end - first)


def test_what_is_nested_too_deep_is_refused(tmp_path: Path, project: Project) -> None:
    file = tmp_path / "deep.json"
    file.write_text('{"images": ' + "[" * 200_000)
    assert "nested too deep" in str(outcome(project, file, ImportOptions()))
