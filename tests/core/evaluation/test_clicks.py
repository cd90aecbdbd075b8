"""Simulated clicks: where they fall, and what is counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

import maskwright as mw
from maskwright.domain import Prediction, PromptKind, Provenance, rle
from maskwright.engine import Engine
from maskwright.evaluation.clicks import deepest_pixel, evaluate_click, next_click


def test_the_deepest_pixel_is_in_the_middle_and_the_border_is_outside() -> None:
    region = np.zeros((20, 30), bool)
    region[5:12, 10:17] = True
    assert deepest_pixel(region) == (13, 8)
    assert deepest_pixel(np.ones((9, 9), bool)) == (4, 4)
    edge = np.zeros((9, 20), bool)
    edge[:, :7] = True
    assert deepest_pixel(edge)[0] == 3


def test_the_next_click_is_in_the_larger_error() -> None:
    ground_truth = np.zeros((30, 30), bool)
    ground_truth[5:20, 5:20] = True
    assert next_click(np.zeros_like(ground_truth), ground_truth) == (12.5, 12.5, 1)
    much = ground_truth.copy()
    much[21:30] = True
    x, y, sign = next_click(much, ground_truth)
    assert (sign, y) == (0, 25.5)
    assert not ground_truth[int(y), int(x)]


class Oracle:
    """Answers a click with the right object after `needed` clicks, and with a part of it before."""

    def __init__(self, objects: list[Any], needed: int) -> None:
        self.objects, self.needed = objects, needed
        self.model = mw.domain.ModelRef("oracle", "")
        self.clicks: list[int] = []

    def segment_click(self, image: mw.Image, points: Any, labels: Any, *, start: mw.Mask | None = None) -> Prediction:
        x, y = points[0]
        ground_truth = next(t for t in self.objects if t[int(y), int(x)])
        assert (start is None) == (len(points) == 1)
        self.clicks.append(len(points))
        mask = ground_truth.copy()
        if len(points) < self.needed:
            rows = np.flatnonzero(ground_truth.any(axis=1))
            mask[rows[len(rows) // 2] :] = False
        masks = (mw.Mask.from_array(mask),)
        made = Provenance(PromptKind.CLICK, self.model, "oracle", image.sha256, None)
        return Prediction(mask.astype(np.int32), ("object",), (1.0,), (1.0,), (), made, masks)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One picture: a cat in two pieces, a speck that is too small, and a crowd."""
    (tmp_path / "images").mkdir()
    Pillow.new("RGB", (60, 50)).save(tmp_path / "images" / "a.png")
    cat, speck, crowd = (np.zeros((50, 60), bool) for _ in range(3))
    cat[2:12, 2:12] = cat[20:40, 20:40] = True
    speck[45, 45:47] = True
    crowd[:, 50:] = True
    rows = [
        {"id": n, "image_id": 1, "category_id": 1, "segmentation": rle.encode(mask), "iscrowd": int(mask is crowd)}
        for n, mask in enumerate((cat, speck, crowd), start=1)
    ]
    data = {
        "images": [{"id": 1, "file_name": "a.png", "width": 60, "height": 50}],
        "annotations": rows,
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
    }
    (tmp_path / "annotations.json").write_text(json.dumps(data))
    return tmp_path


def _objects() -> list[Any]:
    large, small = np.zeros((50, 60), bool), np.zeros((50, 60), bool)
    large[20:40, 20:40] = True
    small[2:12, 2:12] = True
    return [large, small]


def test_objects_are_components_and_clicks_are_counted(folder: Path) -> None:
    oracle = Oracle(_objects(), needed=3)
    scores = evaluate_click(oracle, folder)  # type: ignore[arg-type]
    assert (scores.objects, scores.images, scores.classes) == (2, 1, 1)
    assert scores.iou_1click == pytest.approx(0.5)
    assert (scores.iou_5click, scores.noc85, scores.pixel_accuracy) == (1, 3, 1)
    assert scores.per_class == {"cat": 1, "dog": None}
    assert oracle.clicks == [1, 2, 3, 1, 2, 3]


def test_an_object_that_is_never_found_counts_twenty_clicks(folder: Path) -> None:
    scores = evaluate_click(Oracle(_objects(), needed=99), folder)  # type: ignore[arg-type]
    assert scores.noc85 == 20
    assert scores.iou_5click == pytest.approx(0.5)


def test_with_a_real_model(folder: Path, small_preset: Path) -> None:
    scores = evaluate_click(Engine.load(small_preset, "cpu"), folder)
    assert scores.task == "click"
    assert 0 <= scores.iou_1click <= 1
    assert 1 <= scores.noc85 <= 20
