"""Score maps to label maps: refined contours follow the image's edges, and nothing else changes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from maskwright.domain.prompts import REFINEMENTS
from maskwright.engine import label_map
from maskwright.engine.label_map import label, refine
from maskwright.engine.text_method import Scores


def _noise(height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def _disk(pixels: int = 0) -> torch.Tensor:
    """(80, 100) bool disk, moved to the right by some pixels."""
    ys, xs = torch.meshgrid(torch.arange(80), torch.arange(100), indexing="ij")
    return (ys - 40) ** 2 + (xs - 50 - pixels) ** 2 < 25**2


@pytest.mark.parametrize("method", REFINEMENTS)
def test_a_contour_moves_to_the_edge_of_the_image(method: str) -> None:
    """Left dark, right bright; the class on the left ends three pixels too far right."""
    size = 60, 400
    pixels = np.full((*size, 3), 40, np.uint8)
    pixels[:, 200:] = 210
    predicted = torch.zeros(size)
    predicted[:, :203] = 1
    expected = np.where(np.arange(400) < 200, 1, 2)[None].repeat(60, axis=0)
    plain = Scores(torch.stack([predicted, 1 - predicted]))
    before = label(plain, size, 0.0).label_map
    after = label(refine(plain, pixels, method, 0.0), size, 0.0).label_map
    assert (before != expected).sum() == 3 * 60
    assert (after != expected).sum() == 0


@pytest.mark.parametrize("rival", [None, 0.25], ids=["threshold", "background score"])
@pytest.mark.parametrize("shift", [3, -3])
def test_crf_moves_a_contour_with_background(rival: float | None, shift: int) -> None:
    """A bright disk on dark ground, predicted three pixels aside, with probability 0.7 inside and 0.2 outside."""
    image = torch.where(_disk(), 200, 60).to(torch.uint8)[..., None].expand(-1, -1, 3).numpy()
    maps = torch.where(_disk(shift), 0.7, 0.2)[None]
    scores = Scores(maps) if rival is None else Scores(maps, torch.full(maps.shape[1:], rival))
    found = label(refine(scores, image, "crf", 0.5), (80, 100), 0.5)
    truth = _disk().numpy()
    region = found.label_map == 1
    assert (region & truth).sum() / (region | truth).sum() > 0.96
    assert found.scores[0] == pytest.approx(0.7 if rival is None else 0.7 / 0.95, abs=0.02)
    assert found.max_scores[0] <= 0.85


def test_crf_at_junctions_of_three_classes() -> None:
    """Two classes below a third, both borders three pixels off; every pixel keeps a class."""
    size = 200, 320
    pixels = np.full((*size, 3), 60, np.uint8)
    pixels[100:, :160], pixels[100:, 160:] = (200, 40, 40), (40, 40, 220)
    expected = np.ones(size, np.int32)
    expected[100:, :160], expected[100:, 160:] = 2, 3
    predicted = np.ones(size, np.int32)
    predicted[103:, :163], predicted[103:, 163:] = 2, 3
    maps = torch.stack([torch.where(torch.from_numpy(predicted == k), 0.8, 0.1) for k in (1, 2, 3)])
    refined = refine(Scores(maps), pixels, "crf", 0.0)
    found = label(refined, size, 0.0).label_map
    assert (predicted != expected).sum() > 1000
    assert (found != expected).sum() < 50
    assert torch.equal(refined.maps.sort(dim=0).values, maps.sort(dim=0).values), "classes swap their probabilities"


def test_crf_changes_only_a_band_and_repeats_exactly() -> None:
    maps = torch.rand(4, 6, 8, generator=torch.Generator().manual_seed(0))
    plain = label(Scores(maps), (90, 120), 0.6)
    first, second = (label(refine(Scores(maps), _noise(90, 120), "crf", 0.6), (90, 120), 0.6) for _ in range(2))
    assert np.array_equal(first.label_map, second.label_map)
    assert first.scores == second.scores
    changed = first.label_map != plain.label_map
    contour = np.zeros_like(changed)
    contour[:-1] |= plain.label_map[:-1] != plain.label_map[1:]
    contour[:, :-1] |= plain.label_map[:, :-1] != plain.label_map[:, 1:]
    rows, columns = np.nonzero(contour)
    distance = [np.hypot(rows - y, columns - x).min() for y, x in zip(*np.nonzero(changed), strict=True)]
    assert changed.any()
    assert max(distance) <= 6


def test_crf_without_a_contour_changes_nothing() -> None:
    maps = torch.rand(1, 6, 8, generator=torch.Generator().manual_seed(0))
    refined = refine(Scores(maps), _noise(12, 16), "crf", 0.0)
    assert np.array_equal(label(refined, (12, 16), 0.0).label_map, np.ones((12, 16)))
    torch.testing.assert_close(refined.maps[0].max().item(), label(Scores(maps), (12, 16), 0.0).max_scores[0])


@pytest.mark.parametrize("method", REFINEMENTS)
@pytest.mark.parametrize("background", [pytest.param(False, id="closed"), pytest.param(True, id="with background")])
def test_refinement_keeps_constants_and_returns_probabilities(method: str, background: bool) -> None:
    maps = torch.tensor([0.2, -1.0, 3.0])[:, None, None].expand(3, 10, 15)
    given = Scores(maps, torch.full((10, 15), 0.4) if background else None, torch.sigmoid)
    found = label(refine(given, _noise(30, 45), method, 0.5 if background else 0.0), (30, 45), 0.0)
    expected = label(given, (30, 45), 0.0)
    assert np.array_equal(found.label_map, expected.label_map)
    assert found.scores == pytest.approx(expected.scores, abs=1e-5)
    assert found.max_scores == pytest.approx(expected.max_scores, abs=1e-5)


@pytest.mark.parametrize("method", REFINEMENTS)
def test_many_classes_in_chunks_equal_all_at_once(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    maps, pixels = torch.rand(7, 12, 17, generator=torch.Generator().manual_seed(0)), _noise(24, 30)
    whole = refine(Scores(maps), pixels, method, 0.0).maps
    monkeypatch.setattr(label_map, "_CHUNK", 2)
    assert torch.allclose(refine(Scores(maps), pixels, method, 0.0).maps, whole, atol=1e-6)


@pytest.mark.parametrize("method", REFINEMENTS)
@pytest.mark.parametrize(
    ("size", "refined_size"),
    [
        pytest.param((40, 60), (40, 60), id="small"),
        pytest.param((90, 120), (50, 67), id="short side"),
        pytest.param((60, 600), (22, 224), id="many pixels"),
        pytest.param((2, 6000), (1, 3873), id="a strip"),
    ],
)
def test_large_images_are_refined_at_a_smaller_size(
    method: str, size: tuple[int, int], refined_size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(label_map, "_MAX_SHORT_SIDE", 50)
    monkeypatch.setattr(label_map, "_MAX_PIXELS", 5000)
    maps: Any = refine(Scores(torch.rand(2, 5, 5)), _noise(*size), method, 0.0).maps
    assert tuple(maps.shape[1:]) == refined_size
