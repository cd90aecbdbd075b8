"""Run lengths against pycocotools, and what is said of damaged ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from pycocotools import mask as coco

from maskwright.domain import Mask, rle
from maskwright.errors import InvalidMask

masks = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=40))


def theirs(mask: np.ndarray) -> dict[str, object]:
    packed = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": packed["size"], "counts": packed["counts"].decode()}


@given(masks)
@settings(max_examples=300, deadline=None)
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


@given(st.lists(st.integers(-(2**61), 2**61), max_size=40))
@settings(max_examples=300, deadline=None)
def test_the_text_is_written_as_the_source_says_it(runs: list[int]) -> None:
    """The loop of `rleToString` in the COCO API, number by number."""
    text = ""
    for place, run in enumerate(runs):
        left, more = run - (runs[place - 2] if place > 2 else 0), True
        while more:
            digit = left & 0x1F
            left >>= 5
            more = left != -1 if digit & 0x10 else left != 0
            text += chr(48 + (digit | 0x20 if more else digit))
    assert rle.runs_to_text(np.array(runs, np.int64)) == text


# up to five characters a run: pycocotools writes past its buffer when every run takes six
@given(st.lists(st.integers(1, 2**24 - 1), min_size=1, max_size=30))
@settings(max_examples=200, deadline=None)
def test_long_runs_are_packed_as_pycocotools_packs_them(runs: list[int]) -> None:
    """No mask is needed: pycocotools packs a list of runs, too."""
    height, width = 1, sum(runs)
    packed = coco.frPyObjects({"size": [height, width], "counts": runs}, height, width)
    assert rle.runs_to_text(np.array(runs, np.int64)) == packed["counts"].decode()


@given(masks)
@settings(max_examples=100, deadline=None)
def test_a_file_may_have_the_runs_as_a_list(mask: np.ndarray) -> None:
    packed = rle.encode(mask)
    runs = rle.runs_from_text(packed["counts"]).tolist()
    assert rle.compressed({"size": packed["size"], "counts": runs}) == packed
    assert rle.compressed({"size": packed["size"], "counts": packed["counts"], "more": 1}) == packed


@pytest.mark.parametrize(
    "segmentation",
    [
        pytest.param({}, id="nothing"),
        pytest.param({"size": [3, 4]}, id="no counts"),
        pytest.param({"counts": [12]}, id="no size"),
        pytest.param({"size": [3, 4, 1], "counts": [12]}, id="three sides"),
        pytest.param({"size": [-3, -4], "counts": [12]}, id="negative size"),
        pytest.param({"size": [3.0, 4], "counts": [12]}, id="size with fractions"),
        pytest.param({"size": "34", "counts": [12]}, id="size as text"),
        pytest.param({"size": [3, 4], "counts": [12.0]}, id="runs with fractions"),
        pytest.param({"size": [3, 4], "counts": [True, 11]}, id="runs that are true"),
        pytest.param({"size": [3, 4], "counts": [[12]]}, id="nested runs"),
        pytest.param({"size": [3, 4], "counts": ["12"]}, id="runs as text"),
        pytest.param({"size": [3, 4], "counts": [1 << 80]}, id="beyond 64 bits"),
        pytest.param({"size": [3, 4], "counts": [13, -1]}, id="negative run"),
        pytest.param({"size": [3, 4], "counts": [11]}, id="too short"),
        pytest.param({"size": [3, 4], "counts": []}, id="no runs"),
        pytest.param({"size": [3, 4], "counts": [1 << 62] * 4 + [12]}, id="sum that wraps around"),
        pytest.param({"size": [3, 4], "counts": 12}, id="a number"),
        pytest.param({"size": [3, 4], "counts": b"<"}, id="bytes"),
    ],
)
def test_what_is_no_rle_is_refused(segmentation: dict[str, object]) -> None:
    with pytest.raises(InvalidMask):
        rle.compressed(segmentation)


def test_runs_that_wrap_around_to_the_right_sum_are_refused() -> None:
    runs = np.array([1 << 58] * 64 + [12], np.int64)
    assert int(runs.sum()) == 12
    with pytest.raises(InvalidMask, match="not to 3 x 4"):
        rle.decode({"size": [3, 4], "counts": rle.runs_to_text(runs)})


@given(masks, st.data())
@settings(max_examples=200, deadline=None)
def test_a_part_is_the_same_as_of_the_whole(mask: np.ndarray, data: st.DataObject) -> None:
    height, width = mask.shape
    x, y = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    w, h = data.draw(st.integers(1, width - x)), data.draw(st.integers(1, height - y))
    part = mask[y : y + h, x : x + w]
    assert np.array_equal(rle.decode_box(rle.encode(mask), (x, y, w, h)), part)
    grid = rle.sample(rle.encode(mask), np.arange(y, y + h, 3), np.arange(x, x + w, 2))
    assert np.array_equal(grid, part[::3, ::2])
    alone = np.zeros_like(mask)
    alone[y : y + h, x : x + w] = part
    assert rle.encode_box(part, x, y, (height, width)) == rle.encode(alone)
    assert np.array_equal(Mask.from_part(part, (x, y), (height, width)).to_array(), alone)
    whole = Mask.from_array(mask)
    left, top, wide, high = whole.bbox
    assert np.array_equal(whole.part(), mask[top : top + high, left : left + wide])


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
