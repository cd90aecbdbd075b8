"""PAMR and CRF: contours go to the picture's edges, and nothing else changes."""

from __future__ import annotations

import torch
from torch import Tensor

from maskwright.models.crf import CrfConfig, crf
from maskwright.models.pamr import pamr


def _iou(a: Tensor, b: Tensor) -> float:
    return float((a & b).sum() / (a | b).sum())


def _scene() -> tuple[Tensor, Tensor, Tensor]:
    """A bright disk on dark ground with some noise; its mask; the same mask three pixels aside."""
    torch.manual_seed(0)
    ys, xs = torch.meshgrid(torch.arange(160), torch.arange(200), indexing="ij")
    disk = (ys - 80) ** 2 + (xs - 100) ** 2 < 45**2
    image = torch.where(disk, 0.8, 0.3).expand(3, -1, -1) + 0.01 * torch.randn(3, 160, 200)
    return image.clamp(0, 1), disk, torch.roll(disk, 3, dims=1)


def test_crf_moves_the_contour_to_the_edge_and_leaves_the_rest() -> None:
    image, disk, aside = _scene()
    refined = crf(image, aside)
    assert _iou(aside, disk) < 0.93
    assert _iou(refined, disk) > 0.98
    far = torch.zeros_like(disk)
    far[:20] = far[-20:] = True
    far[75:85, 95:105] = True
    assert torch.equal(refined[far], aside[far])


def test_crf_has_nothing_to_do() -> None:
    image, disk, _ = _scene()
    for whole in (torch.zeros_like(disk), torch.ones_like(disk)):
        assert torch.equal(crf(image, whole), whole)
    strip = torch.zeros(3, 1, 50)
    half = torch.arange(50)[None] < 25
    assert crf(strip, half).shape == (1, 50)


def test_crf_without_kernels_keeps_what_is_sure() -> None:
    image, _, aside = _scene()
    silent = crf(image, aside, CrfConfig(bilateral=0, spatial=0))
    assert not (silent & ~aside).any(), "half sure is not more than half"


def test_pamr_follows_colours_and_keeps_constants() -> None:
    image, disk, aside = _scene()
    refined = pamr(image[None] * 255, aside[None, None].float())[0, 0] > 0.5
    assert _iou(refined, disk) > _iou(aside, disk) + 0.03
    flat = torch.full((1, 2, 160, 200), 0.25)
    assert torch.allclose(pamr(image[None] * 255, flat), flat, atol=1e-5)
