"""Datumaro and FiftyOne read our folders, and we read what Datumaro writes; skipped where they are not installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maskwright.project import Project
from maskwright.project.export_formats import ExportOptions
from maskwright.project.splitting import SplitOptions
from tests.core.formats.test_readers import ask, reader
from tests.core.project.formats.conftest import SIZE, block, parts, project, ring

pytestmark = pytest.mark.slow
__all__ = ["project"]


def test_what_datumaro_writes_comes_in_exactly(tmp_path: Path) -> None:
    """Five formats of masks, and three of boxes."""
    masks = [("a", "cow", ring()), ("a", "dog", parts()), ("b", "cow", block(slice(3, 12), slice(4, 20)))]
    np.savez(
        tmp_path / "given.npz",
        masks=[mask for *_, mask in masks],
        labels=[name == "dog" for _, name, _ in masks],
        images=[image == "b" for image, *_ in masks],
    )
    python = reader("datumaro", "MASKWRIGHT_DATUMARO_PYTHON")
    written = ask(python, "write_with_datumaro.py", tmp_path, tmp_path / "out", tmp_path / "given.npz")
    wanted = {(image, label, mask.tobytes()) for image, label, mask in masks}
    boxes = {(image, label, *_box(mask)) for image, label, mask in masks}
    assert len(written) == 8
    for row in written:
        with Project.open(tmp_path / row["name"], create=True) as taken:
            done = taken.exchange.import_coco(tmp_path / "out" / row["name"])
            names = {one.id: Path(one.file_name).stem.removesuffix("_leftImg8bit") for one in taken.images.all()}
            found = {(names[one.image_id], one.category, one.mask.to_array().tobytes()) for one in taken.annotations()}
            prompts = [(names[key], box) for key in names for box in taken.store.images.boxes(key)]
        assert done.skipped == (), row
        if row["name"].startswith("masks"):
            assert found == wanted, row
        else:
            rounded = {(name, box.category, *(round(value) for value in box.bbox)) for name, box in prompts}
            assert rounded == boxes, row


def _box(mask: np.ndarray[Any, Any]) -> tuple[int, int, int, int]:
    y, x = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(x[0]), int(y[0]), int(np.ptp(x)) + 1, int(np.ptp(y)) + 1


def test_datumaro_reads_our_folders_exactly(project: Project, tmp_path: Path) -> None:
    formats = {"voc": ("voc_segmentation", "voc"), "cvat": ("cvat",), "panoptic": ("coco_panoptic",)}
    words: list[Any] = []
    for name, readers in formats.items():
        project.exchange.export(tmp_path / name, name)
        words += [word for form in readers for word in (tmp_path / name, form)]
    python = reader("datumaro", "MASKWRIGHT_DATUMARO_PYTHON")
    found = ask(python, "read_folders_with_datumaro.py", tmp_path, *words)
    wanted = sorted((one.category, one.mask.rle["counts"]) for one in project.annotations())
    for form in (form for readers in formats.values() for form in readers):
        theirs = sorted((row["label"], row["counts"]) for row in found if row["format"] == form)
        # "voc" has the boxes as well, and gives each mask once
        assert theirs == wanted, form


def test_fiftyone_finds_every_label_of_yolo(project: Project, tmp_path: Path) -> None:
    project.exchange.export(tmp_path / "out", "yolo", options=ExportOptions(split=SplitOptions(0.5)))
    python = reader("fiftyone", "MASKWRIGHT_FIFTYONE_PYTHON")
    found = ask(python, "read_yolo_with_fiftyone.py", tmp_path, tmp_path / "out", *map(Path, ("train", "val")))
    assert {row["split"] for row in found} == {"train", "val"}
    # the mask of two parts is two objects
    assert sorted(row["label"] for row in found) == sorted(["Kuh 🐄"] * 3 + ['<grass> & "sky"'] * 2)
    height, width = SIZE
    boxes = {tuple(round(value * side) for value, side in zip(row["box"], (width, height) * 2, strict=True)): row
             for row in found}  # fmt: skip
    assert boxes[2, 2, 28, 18]["hole"]
    assert not boxes[4, 3, 16, 9]["hole"]
