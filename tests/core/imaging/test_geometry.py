"""Windows of the slide, connected components, EXIF turns and clipped polygons."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageOps

from maskwright.imaging.geometry import clip_polygon, components, slide, slide_size, upright, upright_box


@pytest.mark.parametrize("size", [(384, 384), (512, 768), (400, 385), (384, 5000)])
def test_windows_cover_everything_and_stay_inside(size: tuple[int, int]) -> None:
    seen = np.zeros(size, int)
    for top, left in slide(size, 384, 192):
        assert 0 <= top <= size[0] - 384
        assert 0 <= left <= size[1] - 384
        seen[top : top + 384, left : left + 384] += 1
    assert seen.min() >= 1


def test_last_window_is_shifted_back_to_the_border() -> None:
    assert slide((384, 700), 384, 192) == [(0, 0), (0, 192), (0, 316)]


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        pytest.param((480, 640), (512, 683), id="landscape"),
        pytest.param((640, 480), (683, 512), id="portrait"),
        pytest.param((1, 1), (512, 512), id="pixel"),
        pytest.param((1, 5000), (384, 4096), id="strip"),
    ],
)
def test_slide_size(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert slide_size(size, 512, 384) == expected


def test_components_are_those_of_scikit_image(rng: np.random.Generator) -> None:
    from skimage.measure import label

    for _ in range(60):
        mask = rng.random(rng.integers(1, 30, 2)) < rng.uniform(0.2, 0.8)
        found, parts = components(mask), label(mask, connectivity=2)
        assert len(found) == parts.max()
        for part in found:
            assert np.array_equal(part, parts == parts[part][0])


def test_a_spiral_is_one_component() -> None:
    mask = np.zeros((31, 31), bool)
    mask[::2] = True
    mask[1::4, -1] = mask[3::4, 0] = True
    (part,) = components(mask)
    assert np.array_equal(part, mask)
    assert components(np.zeros((3, 3), bool)) == []


MASKS = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=12))


@given(MASKS, st.integers(1, 8))
@settings(max_examples=200, deadline=None)
def test_upright_turns_as_pillow_does(mask: NDArray[np.bool_], orientation: int) -> None:
    picture = Pillow.fromarray(mask.astype(np.uint8))
    picture.getexif()[0x0112] = orientation
    turned = np.asarray(ImageOps.exif_transpose(picture)).astype(bool)
    assert np.array_equal(upright(mask, orientation), turned)


@given(MASKS, st.integers(1, 8))
@settings(max_examples=200, deadline=None)
def test_a_box_turns_with_its_mask(mask: NDArray[np.bool_], orientation: int) -> None:
    assume(mask.any())

    def box(of: NDArray[np.bool_]) -> tuple[int, int, int, int]:
        rows, columns = (np.flatnonzero(of.any(axis=axis)) for axis in (1, 0))
        return (
            int(columns[0]),
            int(rows[0]),
            int(columns[-1] - columns[0] + 1),
            int(rows[-1] - rows[0] + 1),
        )

    turned = upright(mask, orientation)
    size = turned.shape[0], turned.shape[1]
    assert upright_box(box(mask), orientation, size) == box(turned)


NUMBERS = st.floats(-30, 60, allow_nan=False, width=32)
POLYGONS = arrays(np.float64, st.tuples(st.integers(3, 9), st.just(2)), elements=NUMBERS)


def covered(points: NDArray[np.float64], where: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether an odd number of sides lies to the right of each place."""
    inside = np.zeros(len(where), bool)
    for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, axis=0), strict=True):
        crosses = (y0 > where[:, 1]) != (y1 > where[:, 1])
        with np.errstate(divide="ignore", invalid="ignore"):
            inside ^= crosses & (where[:, 0] < (x1 - x0) * (where[:, 1] - y0) / (y1 - y0) + x0)
    return inside


@given(POLYGONS)
@settings(max_examples=300, deadline=None)
def test_a_clipped_polygon_covers_what_it_covered_inside(points: NDArray[np.float64]) -> None:
    clipped = clip_polygon(points, (20, 30))
    if len(clipped):
        assert clipped.min() >= 0
        assert (clipped.max(axis=0) <= (30, 20)).all()
    # places that no side of a random polygon runs through
    where = np.random.default_rng(0).uniform((0, 0), (30, 20), (300, 2))
    same = covered(points, where) == (covered(clipped, where) if len(clipped) else False)
    assert same.mean() > 0.99


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        pytest.param([(2, 3), (9, 3), (9, 8)], [(2, 3), (9, 3), (9, 8)], id="inside"),
        pytest.param([(40, 3), (50, 3), (50, 8)], [], id="outside"),
        pytest.param([(-5, -5), (35, -5), (35, 25), (-5, 25)], [(0, 0), (30, 0), (30, 20), (0, 20)], id="around"),
    ],
)
def test_clipped_polygons(points: list[tuple[float, float]], expected: list[tuple[float, float]]) -> None:
    found = clip_polygon(np.array(points, float), (20, 30))
    assert sorted(map(tuple, found.tolist())) == sorted(expected)
