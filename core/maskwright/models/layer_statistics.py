"""Statistics of feature layers (OVS-DINO, Sec. 3): spectra (Eqs. 3 to 6), similarity of two networks, components.

Shapes: B images, C channels, (h, w) cells, N = h * w tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["frequency_ratio", "hsic", "principal_maps", "radial_energy"]

_TINY = 1e-12


def radial_energy(maps: Tensor) -> Tensor:
    """(R + 1,) energy at the radii 0 to R of the spectrum of (B, C, h, w) maps; R is the Nyquist frequency.

    The power |F|^2 of the two-dimensional Fourier transform (Eqs. 3 and 4), averaged over images and channels, then
    over the frequencies of each integer radius (Eq. 5); that of the shorter side limits the radii.
    """
    power = torch.fft.fft2(maps.double()).abs().square().mean(dim=(0, 1))
    height, width = power.shape
    limit = min(height, width) // 2
    down, across = (torch.fft.fftfreq(n, d=1 / min(height, width)).double() for n in (height, width))
    radius = torch.hypot(down[:, None], across[None]).round().long()
    inside = radius <= limit
    sums = torch.zeros(limit + 1, dtype=torch.float64).index_add(0, radius[inside], power[inside])
    return sums / torch.bincount(radius[inside], minlength=limit + 1)


def frequency_ratio(energy: Tensor, cutoff: float = 0.5) -> float:
    """log10 of the energy above a radius over that up to it (Eq. 6); `cutoff` is its share of the largest radius."""
    last = int(cutoff * (len(energy) - 1))
    return float(torch.log10(energy[last + 1 :].sum() / energy[: last + 1].sum().clamp(min=_TINY)))


def hsic(first: Tensor, second: Tensor) -> float:
    """Unbiased HSIC (Song et al., 2012) of (N, C) and (N, D) tokens under linear kernels; N is at least 4.

    Linear CKA is the sum of hsic(x, y) over batches, divided by the root of the sums of hsic(x, x) and hsic(y, y)
    (Nguyen et al., 2021).
    """
    count = len(first)
    one, other = (tokens.double() @ tokens.double().T for tokens in (first, second))
    for kernel in (one, other):
        kernel.fill_diagonal_(0)
    traced = (one * other).sum()
    sums = one.sum() * other.sum() / ((count - 1) * (count - 2))
    crossed = 2 / (count - 2) * (one.sum(dim=0) @ other.sum(dim=1))
    return float((traced + sums - crossed) / (count * (count - 3)))


def principal_maps(features: Tensor) -> Tensor:
    """(3, h, w) first three principal components of the tokens of a (C, h, w) map, each from 0 to 1."""
    tokens = features.flatten(1).T.double()
    tokens = tokens - tokens.mean(dim=0)
    _, _, directions = torch.linalg.svd(tokens, full_matrices=False)
    # the sign of a component is arbitrary: its largest weight is positive
    directions = directions[:3]
    largest = directions.gather(1, directions.abs().argmax(dim=1, keepdim=True))
    maps = (tokens @ (directions * largest.sign()).T).T
    low, high = maps.amin(dim=1, keepdim=True), maps.amax(dim=1, keepdim=True)
    scaled: Tensor = (maps - low) / (high - low).clamp(min=_TINY)
    return scaled.reshape(-1, *features.shape[1:]).float()
