"""Two images with a COCO file that has every kind of segmentation, and an empty project."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as Pillow

from maskwright.domain import rle
from maskwright.project import Project

Labels = dict[str, Any]


def region(rows: slice, columns: slice) -> NDArray[np.bool_]:
    """A block in a picture of 30 x 40."""
    found = np.zeros((30, 40), bool)
    found[rows, columns] = True
    return found


def corners(x0: float, y0: float, x1: float, y1: float) -> list[float]:
    """A rectangle as a polygon."""
    return [x0, y0, x1, y0, x1, y1, x0, y1]


def runs(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """A mask as uncompressed run lengths."""
    return {"size": list(mask.shape), "counts": rle.runs_from_text(rle.encode(mask)["counts"]).tolist()}


REGIONS = {
    "compressed": region(slice(2, 9), slice(3, 20)),
    "uncompressed": region(slice(10, 14), slice(0, 40)),
    "polygon": region(slice(16, 26), slice(5, 25)),
    "two polygons": region(slice(1, 5), slice(30, 36)) | region(slice(20, 28), slice(28, 38)),
}


def draw(file: Path, rng: np.random.Generator, size_hw: tuple[int, int] = (30, 40), **options: Any) -> Path:
    """A picture of noise."""
    file.parent.mkdir(parents=True, exist_ok=True)
    Pillow.fromarray(rng.integers(0, 255, (*size_hw, 3), dtype=np.uint8)).save(file, **options)
    return file


@pytest.fixture
def labels(tmp_path: Path, rng: np.random.Generator) -> Labels:
    """Two pictures beside the file, the second in a folder of its own; every way to write a mask."""
    for name in ("a.png", "more/ü b.png"):
        draw(tmp_path / "labels" / "images" / name, rng)
    segmentations = [
        rle.encode(REGIONS["compressed"]),
        runs(REGIONS["uncompressed"]),
        [corners(5, 16, 25, 26)],
        [corners(30, 1, 36, 5), corners(28, 20, 38, 28)],
    ]
    rows: list[dict[str, Any]] = [
        {"id": n, "image_id": 7, "category_id": 2, "segmentation": s, "area": int(one.sum())}
        for n, (s, one) in enumerate(zip(segmentations, REGIONS.values(), strict=True), start=1)
    ]
    rows.append({"id": 9, "image_id": 3, "category_id": 4, "iscrowd": 0, "segmentation": segmentations[0]})
    return {
        "images": [
            {"id": 7, "file_name": "a.png", "width": 40, "height": 30},
            {"id": 3, "file_name": "more/ü b.png", "width": 40, "height": 30},
        ],
        "annotations": rows,
        "categories": [{"id": 2, "name": "Zelle"}, {"id": 4, "name": "Kern"}],
    }


def write(tmp_path: Path, labels: Labels, name: str = "labels/annotations.json") -> Path:
    """The file, beside its pictures unless it is named elsewhere."""
    file = tmp_path / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(labels), encoding="utf-8")
    return file


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    with Project.open(tmp_path / "project", create=True) as project:
        yield project


def everything(project: Project) -> tuple[Any, ...]:
    """What an import may change: every row that can be seen, and every file with its bytes."""
    states = ("proposed", "accepted", "rejected", "deleted")
    store = project.store
    files = {file: file.read_bytes() for file in (project.folder / "images").rglob("*") if file.is_file()}
    folders = {file for file in (project.folder / "images").rglob("*") if file.is_dir()}
    boxes = [store.images.boxes(one.id) for one in project.images.all()]
    return project.images.all(), project.categories(), project.annotations(states=states), boxes, files, folders
