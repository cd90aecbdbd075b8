"""One mask per object: pieces of the region, or masks of SAM where they fit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import maskwright as mw
from maskwright.engine import Engine, instances
from maskwright.engine.instances import ObjectDivider
from maskwright.errors import UsageError
from maskwright.progress import NO_PROGRESS
from tests.core.imaging.test_touching import disc, even

LEFT, RIGHT = disc(30, 30, 16), disc(58, 30, 16)


@pytest.fixture
def engine(small_preset: Path) -> Engine:
    return Engine.load(small_preset, "cpu")


@pytest.fixture
def image(rng: np.random.Generator) -> mw.Image:
    return mw.Image(rng.integers(0, 256, (60, 120, 3), dtype=np.uint8))


def divide(engine: Engine, image: mw.Image, region: NDArray[np.bool_]) -> list[NDArray[np.bool_]]:
    masks = engine._divider.objects(image, region, even(region), "cow", NO_PROGRESS)
    assert all(mask.category == "cow" and mask.score == pytest.approx(0.7) for mask in masks)
    return [mask.to_array() for mask in masks]


def answer_clicks(monkeypatch: pytest.MonkeyPatch, engine: Engine, mask: NDArray[np.bool_], quality: float) -> None:
    """Let SAM answer every click with one mask and two of no use."""
    assert engine._clicks is not None
    side = engine._clicks.preset.settings.model.size

    def clicks(preset: Any, embedding: Any, points: Any, *_: Any, **__: Any) -> Iterator[tuple[Any, ...]]:
        plane = torch.full((1, 1, side, side), -9.0)
        height, width = embedding.input_hw
        small = torch.from_numpy(mask)[None, None].float()
        plane[..., :height, :width] = torch.nn.functional.interpolate(small, (height, width)) * 18 - 9
        cells = 4 * embedding.features.shape[-1]
        quarter = torch.nn.functional.interpolate(plane, (cells, cells), mode="area")
        for place in range(len(points)):
            logits = torch.cat([quarter, -quarter, torch.full_like(quarter, -9.0)], dim=1)
            yield [place], logits, torch.tensor([[quality, 0.1, 0.1]])

    monkeypatch.setattr(instances, "click_each", clicks)


def test_without_a_mask_that_fits_the_pieces_are_the_objects(
    engine: Engine, image: mw.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer_clicks(monkeypatch, engine, LEFT, quality=0.3)
    first, second = divide(engine, image, LEFT | RIGHT)
    assert not (first & second).any()
    assert ((first | second) == (LEFT | RIGHT)).all()


def test_a_sure_mask_replaces_its_piece_and_takes_no_pixel_twice(
    engine: Engine, image: mw.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    wider = disc(27, 30, 18)
    answer_clicks(monkeypatch, engine, wider, quality=0.95)
    masks = divide(engine, image, LEFT | RIGHT)
    best = max(masks, key=lambda mask: int((mask & wider).sum()))
    assert (best & wider).sum() / (best | wider).sum() > 0.85, "it may leave the region"
    assert sum(mask.astype(int) for mask in masks).max() == 1  # type: ignore[attr-defined]
    assert len(masks) == 2


def test_a_mask_of_the_whole_stands_for_all_its_pieces(
    engine: Engine, image: mw.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer_clicks(monkeypatch, engine, LEFT | RIGHT, quality=0.95)
    assert len(divide(engine, image, LEFT | RIGHT)) == 1


def test_a_speck_that_no_mask_fits_is_no_object(
    engine: Engine, image: mw.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer_clicks(monkeypatch, engine, LEFT, quality=0.95)
    apart, far_smaller = disc(100, 30, 14), disc(70, 50, 3)
    found = divide(engine, image, LEFT | apart | far_smaller)
    assert len(found) == 2
    assert not any((mask & far_smaller).any() for mask in found)


def test_a_mask_outside_the_region_is_no_object(
    engine: Engine, image: mw.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer_clicks(monkeypatch, engine, disc(100, 30, 16), quality=0.95)
    assert len(divide(engine, image, LEFT | RIGHT)) == 2


def test_without_sam_a_region_is_divided_by_its_shape(engine: Engine, rng: np.random.Generator) -> None:
    large = mw.Image(rng.integers(0, 256, (1200, 2400, 3), dtype=np.uint8))
    region = disc(600, 600, 320, (1200, 2400)) | disc(1160, 600, 320, (1200, 2400))
    divider = ObjectDivider(None, engine._lock)
    first, second = divider.objects(large, region, even(region), "cow", NO_PROGRESS)
    assert abs(first.area - second.area) < 0.05 * first.area
    assert first.area + second.area == pytest.approx(region.sum(), rel=0.01)
    assert divider.parameters["clicks"] is None
    assert divider.objects(large, np.zeros_like(region), even(region), "cow", NO_PROGRESS) == []


def test_named_classes_are_divided_and_the_others_keep_their_region(engine: Engine, image: mw.Image) -> None:
    plain = engine.segment_text(image, "grass, cow", refine="pamr")
    answer = engine.segment_text(image, "grass, cow", instances=("cow",))
    assert np.array_equal(answer.label_map, plain.label_map), "contours of objects are refined"
    assert [m.rle for m in answer.masks() if m.category == "grass"] == [
        m.rle for m in plain.masks() if m.category == "grass"
    ]
    made = answer.provenance["parameters"]["instances"]
    assert made["classes"] == ["cow"]
    assert made["clicks"]["preset"] == "small"
    assert "instances" not in plain.provenance["parameters"]
    every = engine.segment_text(image, "grass, cow", instances=True)
    assert [m.rle for m in every.masks()] == [
        m.rle for m in engine.segment_text(image, "grass, cow", instances=True).masks()
    ], "the same every time"
    for name in ("grass", "cow"):
        objects = [m.to_array().astype(int) for m in every.masks() if m.category == name]
        assert not objects or sum(objects).max() <= 1  # type: ignore[union-attr]
    with pytest.raises(UsageError):
        engine.segment_text(image, "grass, cow", instances=("sheep",))
