"""COCO files into a project."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow
from pycocotools import mask as coco_mask

import maskwright as mw
from maskwright import rle
from maskwright.errors import BadCoco
from maskwright.project import Project


def _region(rows: slice, columns: slice) -> np.ndarray[Any, Any]:
    region = np.zeros((30, 40), bool)
    region[rows, columns] = True
    return region


REGIONS = {
    "compressed": _region(slice(2, 9), slice(3, 20)),
    "uncompressed": _region(slice(10, 14), slice(0, 40)),
    "polygon": _region(slice(16, 26), slice(5, 25)),
    "two polygons": _region(slice(1, 5), slice(30, 36)) | _region(slice(20, 28), slice(28, 38)),
}


def _box(x0: float, y0: float, x1: float, y1: float) -> list[float]:
    return [x0, y0, x1, y0, x1, y1, x0, y1]


@pytest.fixture
def labels(tmp_path: Path, rng: np.random.Generator) -> dict[str, Any]:
    """Two pictures beside the file, the second in a folder of its own; every way to write a mask."""
    home = tmp_path / "labels"
    for name in ("a.png", "more/ü b.png"):
        file = home / "images" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Pillow.fromarray(rng.integers(0, 255, (30, 40, 3), dtype=np.uint8)).save(file)
    segmentations = [
        rle.encode(REGIONS["compressed"]),
        {"size": [30, 40], "counts": rle.runs_from_text(rle.encode(REGIONS["uncompressed"])["counts"]).tolist()},
        [_box(5, 16, 25, 26)],
        [_box(30, 1, 36, 5), _box(28, 20, 38, 28)],
    ]
    rows = [
        {"id": n, "image_id": 7, "category_id": 0, "segmentation": s, "area": int(region.sum())}
        for n, (s, region) in enumerate(zip(segmentations, REGIONS.values(), strict=True), start=1)
    ]
    rows.append({"id": 9, "image_id": 3, "category_id": 4, "iscrowd": 0, "segmentation": segmentations[0]})
    return {
        "images": [
            {"id": 7, "file_name": "a.png", "width": 40, "height": 30},
            {"id": 3, "file_name": "more/ü b.png", "width": 40, "height": 30},
        ],
        "annotations": rows,
        "categories": [{"id": 0, "name": "Zelle"}, {"id": 4, "name": "Kern"}],
    }


def _write(tmp_path: Path, labels: dict[str, Any]) -> Path:
    file = tmp_path / "labels" / "annotations.json"
    file.write_text(json.dumps(labels))
    return file


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    with Project.open(tmp_path / "project", create=True) as project:
        yield project


def test_every_kind_of_mask_comes_in_exactly_and_only_once(
    project: Project, labels: dict[str, Any], tmp_path: Path
) -> None:
    file = _write(tmp_path, labels)
    told: list[tuple[int, int]] = []
    done = project.import_coco(file, progress=lambda n, total: told.append((n, total)))
    assert (done.images, done.added, done.masks, done.known, done.skipped) == (2, 2, 5, 0, ())
    assert told[-1] == (2, 2)
    kept = project.annotations()
    for one, region in zip(kept, REGIONS.values(), strict=False):
        assert np.array_equal(one.mask.to_array(), region)
    assert [one.category for one in kept] == ["Zelle"] * 4 + ["Kern"]
    assert {one.source for one in kept} == {"import"}
    assert kept[0].provenance == {"source": "import", "file": "annotations.json", "annotation": 1}
    again = project.import_coco(file)
    assert (again.added, again.masks, again.known) == (0, 0, 5)
    assert project.annotations() == kept


def test_our_own_export_comes_back(project: Project, labels: dict[str, Any], tmp_path: Path) -> None:
    project.import_coco(_write(tmp_path, labels))
    out = project.export_coco(project.folder / "coco.json")
    with Project.open(tmp_path / "second", create=True) as second:
        done = second.import_coco(out)
        assert (done.masks, done.skipped, done.warnings) == (5, (), ())
        first, copied = project.annotations(), second.annotations()
        assert [(a.category, a.mask.rle) for a in first] == [(a.category, a.mask.rle) for a in copied]
    # by SHA-256, although the names differ
    (project.folder / "elsewhere").mkdir()
    moved = project.folder / "elsewhere" / "coco.json"
    data = json.loads(out.read_text(encoding="utf-8"))
    for row in data["images"]:
        row["file_name"] = "unknown/" + row["file_name"]
    moved.write_text(json.dumps(data))
    assert project.import_coco(moved).known == 5


def test_an_image_is_found_by_its_name_when_only_one_has_it(
    project: Project, labels: dict[str, Any], tmp_path: Path
) -> None:
    project.add(tmp_path / "labels" / "images")
    file = tmp_path / "elsewhere.json"
    file.write_text(json.dumps(labels))
    done = project.import_coco(file)
    assert done.masks == 5 - sum("ü b" in name for name in done.warnings)
    assert done.masks >= 4


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"iscrowd": 1}, "marks a group"),
        ({"segmentation": []}, "has a box but no mask"),
        ({"segmentation": [[1, 2, 3, 4]]}, "The mask is empty"),
        ({"segmentation": {"size": [30, 40], "counts": [5, 5]}}, "damaged"),
        ({"segmentation": {"size": [40, 30], "counts": [1200]}}, "size"),
        ({"segmentation": "cow"}, "damaged"),
    ],
)
def test_rows_that_cannot_be_kept_are_skipped_with_the_reason(
    project: Project, labels: dict[str, Any], tmp_path: Path, row: dict[str, Any], reason: str
) -> None:
    labels["annotations"][0] |= row
    done = project.import_coco(_write(tmp_path, labels))
    assert done.masks == 4
    (sentence,) = done.skipped
    assert sentence.startswith("a.png, annotation 1: ")
    assert reason in sentence


def test_a_turned_image_and_a_wrong_area_are_told(project: Project, labels: dict[str, Any], tmp_path: Path) -> None:
    labels["images"][1] |= {"width": 30, "height": 40}
    labels["annotations"][0]["area"] = 5000
    done = project.import_coco(_write(tmp_path, labels))
    assert done.masks == 4
    assert "turned by 90 degrees" in done.skipped[0]
    assert "the file says area 5000" in done.warnings[0]


def test_missing_pictures_are_counted_and_none_at_all_is_an_error(
    project: Project, labels: dict[str, Any], tmp_path: Path
) -> None:
    missing = copy.deepcopy(labels)
    missing["images"][1]["file_name"] = "nowhere.png"
    done = project.import_coco(_write(tmp_path, missing))
    assert done.masks == 4
    assert "1 of 2 images were not found (nowhere.png)" in done.warnings[0]
    # a picture outside the file's own folder is never opened
    secret = tmp_path / "secret.png"
    secret.write_bytes((tmp_path / "labels" / "images" / "more" / "ü b.png").read_bytes())
    before = project.status()
    for name in ("../secret.png", str(secret), "..\\secret.png"):
        missing["images"][0]["file_name"] = name
        with pytest.raises(mw.MaskwrightError, match="2 of 2 images were not found"):
            project.import_coco(_write(tmp_path, missing))
    missing["images"][0]["file_name"] = "c.png"
    with pytest.raises(mw.MaskwrightError, match="2 of 2 images were not found"):
        project.import_coco(_write(tmp_path, missing))
    assert project.status() == before


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda d: d.pop("categories"), "This JSON is not a COCO dataset: categories is missing"),
        (lambda d: d["annotations"][0].update(category_id=77), "names category 77"),
        (lambda d: d["images"][1].update(id=7), "Image id 7 stands twice"),
        (lambda d: d["images"][0].pop("width"), "is not complete: 'width'"),
        (lambda d: d["categories"][0].pop("name"), "is not complete: 'name'"),
    ],
)
def test_a_file_that_contradicts_itself_changes_nothing(
    project: Project, labels: dict[str, Any], tmp_path: Path, change: Any, sentence: str
) -> None:
    change(labels)
    with pytest.raises(BadCoco, match=sentence):
        project.import_coco(_write(tmp_path, labels))
    assert project.status().images == 0


def test_a_broken_picture_is_told_and_the_others_come_in(
    project: Project, labels: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "labels" / "images" / "a.png").write_bytes(b"no picture")
    done = project.import_coco(_write(tmp_path, labels))
    assert done.masks == 1
    assert any("Cannot read a.png" in sentence for sentence in done.skipped)


def test_pycocotools_agrees_on_polygons(project: Project, labels: dict[str, Any], tmp_path: Path) -> None:
    star = [20.0, 2.5, 24.2, 12.1, 36.0, 12.7, 26.5, 19.0, 30.1, 28.0, 20.0, 22.3, 9.0, 28.0, 13.1, 19.2]
    labels["annotations"][0]["segmentation"] = [star]
    project.import_coco(_write(tmp_path, labels))
    expected = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects([star], 30, 40))).astype(bool)
    assert np.array_equal(project.annotations()[0].mask.to_array(), expected)
