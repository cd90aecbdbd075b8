"""Masks as labels, their colours, and large images."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from maskwright.domain import Mask
from maskwright.session import MaskView
from napari_maskwright._layers import Drawing, Numbered, Style


def _drawing(style: Style, *regions: Any) -> Drawing:
    views = [MaskView(Mask.from_array(region, category="cow"), "#0072b2") for region in regions]
    items = tuple(Numbered(number, view) for number, view in enumerate(views, start=1))
    return Drawing(style, items, regions[0].shape)


def test_labels_in_the_smallest_type_with_small_masks_on_top() -> None:
    large, small = np.ones((6, 8), bool), np.zeros((6, 8), bool)
    small[2:4, 2:4] = True
    drawing = _drawing(Style.FILLED, small, large)
    labels = drawing.render((0, 0, 8, 6))
    assert labels.dtype == np.uint8
    assert np.array_equal(labels == 1, small)
    assert np.array_equal(labels == 2, ~small)
    assert drawing.colors == {None: "#00000000", 0: "#00000000", 1: "#0072b2", 2: "#0072b2"}
    assert _drawing(Style.FILLED, *[small] * 300).dtype == np.int32


def test_a_proposal_has_a_dashed_edge_around_a_pale_inside() -> None:
    region = np.zeros((300, 200), bool)
    region[50:250, 20:180] = True
    drawing = _drawing(Style.PROPOSED, region)
    labels = drawing.render((0, 0, 200, 300))
    assert np.array_equal(labels > 0, region)
    assert (labels[51:249, 21:179] == 2).all()
    assert set(np.unique(labels[50, 20:180])) == {1, 3}, "white and the colour"
    assert drawing.colors[2] == "#0072b260"


def test_hatching_covers_the_region_in_two_strengths_of_one_colour() -> None:
    region = np.zeros((300, 200), bool)
    region[50:250, 20:180] = True
    labels = _drawing(Style.HATCHED, region).render((0, 0, 200, 300))
    assert np.array_equal(labels > 0, region)
    assert 0.4 < (labels[region] == 1).mean() < 0.6


@pytest.mark.parametrize("style", list(Style))
def test_a_part_is_drawn_as_in_the_whole(style: Style, rng: np.random.Generator) -> None:
    regions = []
    for _ in range(4):
        region = np.zeros((40, 60), bool)
        top, left = rng.integers(0, 25), rng.integers(0, 40)
        region[top : top + 14, left : left + 18] = rng.random((14, 18)) > 0.2
        regions.append(region)
    drawing = _drawing(style, *regions)
    whole = drawing.render((0, 0, 60, 40))
    for x, y, width, height in ((0, 0, 30, 20), (13, 7, 29, 21), (59, 39, 1, 1)):
        assert np.array_equal(drawing.render((x, y, width, height)), whole[y : y + height, x : x + width])
    if style is Style.FILLED:
        assert np.array_equal(drawing.render((0, 0, 60, 40), 4), whole[::4, ::4])
