"""A plane of a stack keeps its place in the project, in COCO files and through an import."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from maskwright.domain import Image, PlaneRecord
from maskwright.project import Project

PLANE = PlaneRecord("cells ü", "/data/stack.tif", ("T", "Z"), (3, 12), (0.5, 0.25), "micrometer", (10.0, 900.5))


def _plane(seed: int) -> Image:
    pixels = np.random.default_rng(seed).integers(0, 255, (20, 30, 3), dtype=np.uint8)
    return Image(pixels, PLANE.name)


def test_a_plane_keeps_its_place_through_export_and_import(tmp_path: Path) -> None:
    mask = np.zeros((20, 30), bool)
    mask[3:9, 4:12] = True
    with Project.open(tmp_path / "a", create=True) as project:
        project.accept(replace(_plane(1), plane=PLANE), mask, "cell")
        project.accept(_plane(2), mask, "cell")
        first, second = project.images.all()
        assert (first.plane, second.plane) == (PLANE, None)
        assert "cells ü t3 z12" in first.file_name
        # it was added without its stack before
        project.images.register(replace(_plane(2), plane=replace(PLANE, index=(3, 13))))
        assert [row.plane.index for row in project.images.all() if row.plane] == [(3, 12), (3, 13)]
        project.images.register(replace(_plane(2), plane=replace(PLANE, index=(0, 0))))
        file = project.export_coco(tmp_path / "out" / "coco.json", images=True)
    rows = json.loads(file.read_text(encoding="utf-8"))["images"]
    assert rows[0]["plane"] == {
        "layer": "cells ü", "path": "/data/stack.tif", "axes": ["T", "Z"], "index": [3, 12],
        "pixel_size": [0.5, 0.25], "unit": "micrometer", "contrast": [10.0, 900.5],
    }  # fmt: skip
    with Project.open(tmp_path / "b", create=True) as project:
        project.exchange.import_coco(file)
        assert [row.plane for row in project.images.all()] == [PLANE, replace(PLANE, index=(3, 13))]
        again = project.export_coco(tmp_path / "again" / "coco.json", images=True)
    assert again.read_bytes() == file.read_bytes()


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param("text", id="text"),
        pytest.param({"axes": ["Z"], "index": [1]}, id="no layer"),
        pytest.param({"layer": "a", "axes": ["Z"], "index": []}, id="an axis without a place"),
        pytest.param({"layer": "a", "axes": ["Z"], "index": [-1]}, id="negative"),
        pytest.param({"layer": "a", "axes": [1], "index": [1]}, id="no name of an axis"),
        pytest.param({"layer": "a", "pixel_size": [0, 1]}, id="no size"),
        pytest.param({"layer": "a", "pixel_size": "12"}, id="text as size"),
        pytest.param({"layer": "a", "contrast": [float("nan"), 1]}, id="no number"),
        pytest.param({"layer": "a\0"}, id="NUL"),
    ],
)
def test_what_another_program_wrote_there_is_left_out(wrong: object) -> None:
    assert PlaneRecord.from_dict(wrong) is None
