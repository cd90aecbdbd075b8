"""Run lengths against pycocotools, and what is said of damaged ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from pycocotools import mask as coco

from maskwright import rle
from maskwright.domain import Mask
from maskwright.errors import InvalidMask

masks = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=40))


def theirs(mask: np.ndarray) -> dict[str, object]:
    packed = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": packed["size"], "counts": packed["counts"].decode()}


@given(masks)
@settings(max_examples=150, deadline=None)
def test_same_text_area_and_box_as_pycocotools(mask: np.ndarray) -> None:
    packed = rle.encode(mask)
    assert packed == theirs(mask)
    assert rle.area(packed) == int(coco.area(theirs(mask))) == int(mask.sum())
    assert list(rle.bbox(packed)) == [int(v) for v in coco.toBbox(theirs(mask))]
    assert np.array_equal(rle.decode(packed), mask)


@given(masks)
@settings(max_examples=50, deadline=None)
def test_reads_what_pycocotools_wrote(mask: np.ndarray) -> None:
    assert np.array_equal(rle.decode(theirs(mask)), mask)  # type: ignore[arg-type]
    made = Mask.from_array(mask, category="cow")
    assert (made.area, made.bbox) == (rle.area(made.rle), rle.bbox(made.rle))
    assert np.array_equal(made.to_array(), mask)


@given(st.lists(st.integers(0, 2**31), min_size=1, max_size=40))
@settings(max_examples=100, deadline=None)
def test_runs_of_any_length_survive(runs: list[int]) -> None:
    values = np.array(runs, np.int64)
    assert rle.runs_from_text(rle.runs_to_text(values)).tolist() == runs


@pytest.mark.parametrize("hw", [(1, 1), (1, 7), (7, 1), (640, 480)])
@pytest.mark.parametrize("kind", ["empty", "full", "random", "corner"])
def test_extremes(hw: tuple[int, int], kind: str, rng: np.random.Generator) -> None:
    mask = {"empty": np.zeros(hw, bool), "full": np.ones(hw, bool), "random": rng.random(hw) > 0.5}.get(kind)
    if mask is None:
        mask = np.zeros(hw, bool)
        mask[-1, -1] = True
    packed = rle.encode(mask)
    assert packed == theirs(mask)
    assert list(rle.bbox(packed)) == [int(v) for v in coco.toBbox(theirs(mask))]


@given(masks, st.data())
@settings(max_examples=150, deadline=None)
def test_damaged_text_is_refused_or_still_a_mask(mask: np.ndarray, data: st.DataObject) -> None:
    packed = rle.encode(mask)
    text = list(packed["counts"])
    place = data.draw(st.integers(0, len(text) - 1))
    text[place] = data.draw(st.characters())
    if len(text) > 1 and data.draw(st.booleans()):
        del text[data.draw(st.integers(1, len(text) - 1)) :]
    try:
        found = rle.decode({"size": packed["size"], "counts": "".join(text)})
    except InvalidMask:
        return
    assert found.shape == mask.shape


@pytest.mark.parametrize(
    "counts",
    [
        pytest.param("", id="empty"),
        pytest.param("T", id="cut short"),
        pytest.param("!!", id="foreign characters"),
        pytest.param("é5", id="not ASCII"),
        pytest.param("5", id="does not fill the size"),
        pytest.param("oooooooooooooo0", id="too long a number"),
        pytest.param("O1", id="negative run"),
    ],
)
def test_damaged_text_raises(counts: str) -> None:
    with pytest.raises(InvalidMask):
        rle.decode({"size": [3, 4], "counts": counts})


@pytest.mark.parametrize(
    "wrong", [np.zeros((2, 2), np.uint8), np.zeros((2, 2, 1), bool), np.zeros(4, bool), np.zeros((0, 3), bool)]
)
def test_only_boolean_planes_are_masks(wrong: np.ndarray) -> None:
    with pytest.raises(InvalidMask, match=r"must be boolean \(H, W\)"):
        Mask.from_array(wrong)
