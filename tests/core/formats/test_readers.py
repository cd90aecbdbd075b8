"""Other tools read every mask bit by bit (rule X-16); skipped where they are not installed."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

import maskwright as mw
from maskwright.domain import Annotation
from maskwright.formats.coco_rules import validate
from maskwright.formats.coco_writer import CocoOptions
from maskwright.project import Project
from maskwright.store import NewAnnotation

ROOT = Path(__file__).parents[3]
READERS = Path(__file__).with_name("readers")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A hole, two parts, a pixel, everything, noise, a group; names that are not plain; a turned JPEG."""
    rng = np.random.default_rng(3)
    home = tmp_path_factory.mktemp("readers")
    with Project.open(home / "project", create=True) as project:
        exif = Pillow.Exif()
        exif[0x0112] = 6
        files: tuple[tuple[str, dict[str, Any]], ...] = (
            ("vache à l'étable #1.jpg", {"exif": exif.tobytes()}),
            ("sub/草 🐄.png", {}),
        )
        for name, options in files:
            file = project.folder / "images" / name
            file.parent.mkdir(exist_ok=True)
            Pillow.fromarray(rng.integers(0, 255, (30, 40, 3), dtype=np.uint8)).save(file, **options)
        project.add(project.folder / "images")
        array = project.images.register(mw.Image(rng.integers(0, 255, (17, 23, 3), dtype=np.uint8)))
        for record in project.images.all():
            size = record.height, record.width
            ring, parts, pixel = np.zeros(size, bool), np.zeros(size, bool), np.zeros(size, bool)
            ring[3:14, 2:15] = True
            ring[6:9, 5:11] = False
            parts[0:3, 0:4] = parts[9:16, 6:9] = parts[-1, -1] = True
            pixel[-1, 0] = True
            kinds = {"label": ring, "草 🐄": parts, "cow": pixel, "everything": np.ones(size, bool)}
            for name, mask in kinds.items():
                project.accept(record.id, mw.Mask.from_array(mask, score=0.75), name, source="text")
            project.accept(record.id, rng.random(size) > 0.5, "noise")
        group = mw.Mask.from_array(rng.random((17, 23)) > 0.3)
        project.store.masks.add_many([NewAnnotation(array.id, "cow", group, crowd=True)])
        yield project


MODES = ("rle", "rle-list", "polygon")


@pytest.fixture(scope="module", params=MODES)
def written(request: pytest.FixtureRequest, project: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file, with its pictures in images/ beside it."""
    file = tmp_path_factory.mktemp("written") / "instances_default.json"
    project.exchange.export(file, options=CocoOptions(segmentation=request.param), images=True)
    assert validate(json.loads(file.read_text(encoding="utf-8"))) == []
    return file


@functools.cache
def reader(package: str, variable: str) -> Path:
    """A Python with the package; skips without one."""
    python = Path(os.environ.get(variable) or ROOT / ".venv-readers" / "bin" / "python")
    if not python.exists():
        pytest.skip(f"There is no {python}: `.ci/readers` makes one, or name a Python with {package} in {variable}.")
    looking = f"import importlib.util as u, sys; sys.exit(u.find_spec({package!r}) is None)"
    if subprocess.run([python, "-c", looking], check=False).returncode:
        pytest.skip(f"{python} has no {package}: name a Python that has in {variable}.")
    return python


def ask(python: Path, child: str, home: Path, *words: Path) -> list[dict[str, Any]]:
    """What a reader says, run in a home of its own and without telling anybody."""
    private = {
        "HOME": str(home), "FIFTYONE_DATABASE_DIR": str(home / "database"), "FIFTYONE_DO_NOT_TRACK": "true",
        "DATUMARO_TELEMETRY": "off", "PYTHONWARNINGS": "ignore",
    }  # fmt: skip
    done = subprocess.run(
        [python, READERS / child, *words], env=os.environ | private, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return found


def by_uid(project: Project) -> dict[str, Annotation]:
    return {one.uid: one for one in project.annotations()}


def test_pycocotools(project: Project, written: Path) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(written))
    kept = project.annotations()
    assert sorted(coco.anns) == [one.id for one in kept]
    for one in kept:
        row = coco.anns[one.id]
        assert np.array_equal(coco.annToMask(row).astype(bool), one.mask.to_array())
        packed = coco.annToRLE(row)
        assert (int(coco_mask.area(packed)), coco_mask.toBbox(packed).tolist()) == (row["area"], row["bbox"])
        assert coco.cats[row["category_id"]]["name"] == one.category
        with Pillow.open(written.parent / coco.imgs[row["image_id"]]["file_name"]) as picture:
            assert list(picture.size) == one.mask.rle["size"][::-1]


def test_datumaro(project: Project, written: Path, tmp_path: Path) -> None:
    python = reader("datumaro", "MASKWRIGHT_DATUMARO_PYTHON")
    (tmp_path / "set" / "annotations").mkdir(parents=True)
    shutil.copy(written, tmp_path / "set" / "annotations")
    # it looks for `images/a.png` in its own images/
    shutil.copytree(written.parent / "images", tmp_path / "set" / "images" / "images")
    found = ask(python, "read_with_datumaro.py", tmp_path, tmp_path / "set")
    kept = by_uid(project)
    assert sorted(one["uid"] for one in found) == sorted(kept)
    for one in found:
        ours = kept[one["uid"]]
        assert one["rle"] == ours.mask.rle
        assert one["size"] == ours.mask.rle["size"]
        assert (one["label"], one["crowd"]) == (ours.category, ours.crowd)


def test_fiftyone(project: Project, written: Path, tmp_path: Path) -> None:
    python = reader("fiftyone", "MASKWRIGHT_FIFTYONE_PYTHON")
    found = ask(python, "read_with_fiftyone.py", tmp_path, written.parent, written)
    kept = by_uid(project)
    assert sorted(one["uid"] for one in found) == sorted(kept)
    for one in found:
        ours = kept[one["uid"]]
        x, y, w, h = ours.mask.bbox
        assert np.allclose(one["xywh"], (x, y, w, h))
        part = coco_mask.decode(one["rle"]).astype(bool)
        assert np.array_equal(part, ours.mask.to_array()[y : y + h, x : x + w])
        assert (one["label"], one["crowd"], one["source"]) == (ours.category, ours.crowd, ours.source)


def test_a_reader_that_is_not_there_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASKWRIGHT_NO_PYTHON", sys.executable)
    with pytest.raises(pytest.skip.Exception, match="has no no_such_reader: name a Python"):
        reader("no_such_reader", "MASKWRIGHT_NO_PYTHON")
