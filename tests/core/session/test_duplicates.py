"""Which proposals say again what was accepted, against plain numpy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from maskwright.domain import Mask
from maskwright.session.duplicates import ACCEPTED_ALREADY, IOU, duplicates, same_mask

PIXELS = arrays(np.bool_, (5, 6), elements=st.booleans())
NAMED = st.tuples(st.sampled_from(["cow", "sky"]), PIXELS)


def mask(named: tuple[str, NDArray[np.bool_]]) -> Mask:
    return Mask.from_array(named[1], category=named[0])


def plainly(proposed: list[tuple[str, NDArray[np.bool_]]], accepted: list[tuple[str, NDArray[np.bool_]]]) -> list[bool]:
    found = []
    for name, ours in proposed:
        same = [theirs for other, theirs in accepted if other == name]
        union = np.logical_or.reduce(same) if same else np.zeros_like(ours)
        alike = any((ours | theirs).any() and (ours & theirs).sum() / (ours | theirs).sum() >= IOU for theirs in same)
        found.append(alike or bool(ours.any() and (ours & union).sum() / ours.sum() >= ACCEPTED_ALREADY))
    return found


@given(st.lists(NAMED, max_size=4), st.lists(NAMED, max_size=4), st.integers(0, 4))
@settings(max_examples=300, deadline=None)
def test_as_plain_numpy_says(
    proposed: list[tuple[str, NDArray[np.bool_]]], accepted: list[tuple[str, NDArray[np.bool_]]], changed: int
) -> None:
    # random masks are seldom alike: some accepted ones are proposals with a few pixels less
    for name, pixels in proposed[:2]:
        other = pixels.copy()
        other.ravel()[np.flatnonzero(other)[:changed]] = False
        accepted = [*accepted, (name, other)]
    expected = plainly(proposed, accepted)
    assert duplicates([mask(one) for one in proposed], [mask(one) for one in accepted]) == expected


def block(rows: int, columns: int = 10) -> NDArray[np.bool_]:
    found = np.zeros((40, 10), bool)
    found[:rows, :columns] = True
    return found


@pytest.mark.parametrize(
    ("proposed", "accepted", "category", "repeats"),
    [
        pytest.param(block(20), block(20), "cow", True, id="same"),
        pytest.param(block(20), block(20), "sky", False, id="another category"),
        pytest.param(block(16), block(20), "cow", True, id="iou of 0.8, inside"),
        pytest.param(block(20) & ~block(3), block(17), "cow", False, id="iou of 0.7, 0.82 of the smaller"),
        pytest.param(block(20) & ~block(2), block(19), "cow", True, id="iou of 0.85"),
        pytest.param(block(1, 1), block(20), "cow", True, id="a pixel of it"),
        pytest.param(block(20), block(1, 1), "cow", False, id="around it"),
        pytest.param(block(20), np.zeros((40, 10), bool), "cow", False, id="accepted nothing"),
        pytest.param(np.zeros((40, 10), bool), block(20), "cow", False, id="proposed nothing"),
        pytest.param(np.zeros((40, 10), bool), np.zeros((40, 10), bool), "cow", False, id="both nothing"),
    ],
)
def test_what_repeats_what(
    proposed: NDArray[np.bool_], accepted: NDArray[np.bool_], category: str, repeats: bool
) -> None:
    found = duplicates([mask(("cow", proposed))], [mask((category, accepted))])
    assert found == [repeats]


def test_a_small_accepted_mask_does_not_hide_what_surrounds_it() -> None:
    """Clicking one nucleus hid the mask of all nuclei."""
    nucleus, nuclei = block(1, 4), block(20)
    assert duplicates([mask(("nucleus", nuclei))], [mask(("nucleus", nucleus))]) == [False]
    assert duplicates([mask(("nucleus", nucleus))], [mask(("nucleus", nuclei))]) == [True]


def test_a_proposal_that_several_accepted_masks_cover_repeats_them() -> None:
    halves = [mask(("cow", block(10))), mask(("cow", block(20) & ~block(10)))]
    assert duplicates([mask(("cow", block(20)))], halves) == [True]
    assert duplicates([mask(("cow", block(20)))], halves[:1]) == [False]


def test_the_most_similar_accepted_mask_is_the_same() -> None:
    accepted = [mask(("cow", block(17))), mask(("cow", block(19))), mask(("cow", block(2)))]
    assert same_mask(mask(("cow", block(20))), accepted) == 1
    assert same_mask(mask(("cow", block(10))), accepted) is None
    assert same_mask(mask(("cow", block(10))), []) is None


def test_nothing_repeats_nothing() -> None:
    assert duplicates([], []) == []
    assert duplicates([mask(("cow", block(3)))], []) == [False]
