"""INSID3: training-free in-context segmentation with DINOv3 (Cuttano et al., 2026), in the paper's order.

Where the paper and its authors' code differ, the code is followed. Features are rows: (N, C) for the N = h * w cells
of an image's patch grid, row by row. Debiased features serve matching between images, the original ones grouping
inside the target.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from maskwright.errors import ShapeError
from maskwright.models.average_linkage import average_linkage

__all__ = [
    "Clusters",
    "Example",
    "Found",
    "Insid3Config",
    "PatchFeatures",
    "Scores",
    "aggregate",
    "backward_matches",
    "candidates",
    "certainty",
    "cluster",
    "complement_of",
    "components_for",
    "debias",
    "encode",
    "example",
    "forward_similarity",
    "grid_mask",
    "match_points",
    "positional_basis",
    "prototype",
    "resized_mask",
    "segment",
    "select_seed",
    "square_mask",
]

_CHUNK = 1024
"""Target cells whose similarities to a whole reference are held at once."""


@dataclass(frozen=True, slots=True)
class Insid3Config:
    """Settings of the method; the defaults are those for DINOv3 ViT-L."""

    size: int = 1024
    """Side of the square that images are stretched to, in pixels."""
    components: int = 500
    """Dimensions of the positional subspace (k)."""
    tau: float = 0.6
    """Mean cosine at which two clusters still merge."""
    merge: float = 0.2
    """Score that a cluster needs beside the seed."""


def components_for(width: int) -> int:
    """K for another width than ViT-L's 1,024 channels: the same share of the space is given up as by its 500."""
    return max(1, round(500 * width / 1024))


class PatchFeatures(NamedTuple):
    """One image on the patch grid."""

    original: Tensor
    """(N, C) unit rows"""
    debiased: Tensor
    """(N, C - k) unit rows in coordinates of the complement of the positional subspace: the same cosines as those of
    `debias`, at C - k instead of C multiplications each"""
    grid_hw: tuple[int, int]


class Example(NamedTuple):
    """One reference image with its mask, encoded once for any number of targets."""

    debiased: Tensor
    """(N, C - k)"""
    inside: Tensor
    """(N,) bool"""
    mean: Tensor
    """(C - k,) mean of the debiased cells inside, not normalised; zero when there are none"""


class Clusters(NamedTuple):
    """A partition of the target's cells."""

    labels: Tensor
    """(N,) int64, 0 to K - 1"""
    sizes: Tensor
    """(K,) float"""
    original: Tensor
    """(K, C) unit prototypes of the original features"""
    debiased: Tensor
    """(K, C - k) unit prototypes of the debiased features"""


class Found(NamedTuple):
    """The target's mask and what led to it."""

    mask: Tensor
    """(N,) bool"""
    candidates: Tensor
    """(N,) bool"""
    score: float
    """`certainty` of the mask; 0 when nothing was found"""


# Sec. 3.1, the feature space


def encode(features: Tensor, complement: Tensor) -> PatchFeatures:
    """Cells of a (C, h, w) feature map; `complement` is (C, C - k), of `complement_of`."""
    original = F.normalize(features.flatten(1).T, dim=1)
    return PatchFeatures(original, F.normalize(original @ complement, dim=1), (features.shape[1], features.shape[2]))


def positional_basis(features: Tensor, components: int) -> Tensor:
    """(C, k) orthonormal basis of the positional subspace.

    Args:
        features: (C, h, w) of a picture that is black before normalisation: the paper's noise image is black in the
            authors' code.
        components: k; cut to what the features span.
    """
    rows = F.normalize(features.float().flatten(1).T, dim=1)
    rows = rows - rows.mean(dim=0)
    vectors: Tensor = torch.linalg.svd(rows.T, full_matrices=False).U
    return vectors[:, :components].contiguous()


def complement_of(basis: Tensor) -> Tensor:
    """(C, C - k) orthonormal basis of everything that is orthogonal to a (C, k) orthonormal `basis`."""
    whole: Tensor = torch.linalg.qr(basis, mode="complete").Q
    return whole[:, basis.shape[1] :].contiguous()


def debias(features: Tensor, basis: Tensor) -> Tensor:
    """Unit rows of (N, C) `features` without their part in the positional subspace (Eq. 4), in all C coordinates."""
    return F.normalize(features - (features @ basis) @ basis.T, dim=1)


def grid_mask(mask: Tensor, size: int, grid_hw: tuple[int, int]) -> Tensor:
    """(N,) bool: which cells a bool (H, W) mask covers, by way of the square input; a small mask keeps one cell."""
    square = F.interpolate(mask[None, None].float(), (size, size), mode="nearest")
    for mode in ("bilinear", "nearest"):
        cells = F.interpolate(square, grid_hw, mode=mode)[0, 0] > 0.5
        if cells.any() or not mask.any():
            return cells.flatten()
    y, x = (index.float().mean() for index in mask.nonzero(as_tuple=True))
    row = min(int((y + 0.5) / mask.shape[0] * grid_hw[0]), grid_hw[0] - 1)
    column = min(int((x + 0.5) / mask.shape[1] * grid_hw[1]), grid_hw[1] - 1)
    cells[row, column] = True
    return cells.flatten()


def example(cells: PatchFeatures, inside: Tensor) -> Example:
    """An encoded reference whose thing is `inside` (N,)."""
    if inside.shape != cells.debiased.shape[:1]:
        raise ShapeError(f"the reference has {len(cells.debiased)} cells, its mask {tuple(inside.shape)}")
    chosen = cells.debiased[inside]
    mean = chosen.mean(dim=0) if len(chosen) else torch.zeros_like(cells.debiased[0])
    return Example(cells.debiased, inside, mean)


def prototype(examples: Sequence[Example]) -> Tensor:
    """(C - k,) unit prototype of one or several references (Eq. 1); zero when no reference has a cell inside."""
    return F.normalize(torch.stack([one.mean for one in examples]).mean(dim=0), dim=0)


# Sec. 3.2, fine-grained clustering


def cluster(target: PatchFeatures, tau: float) -> Clusters:
    """Average-linkage clusters of the original features, cut where the mean cosine falls under `tau`."""
    labels = average_linkage(target.original, tau)
    count = int(labels.max()) + 1
    sizes = torch.bincount(labels, minlength=count).to(target.original.dtype)

    def means(rows: Tensor) -> Tensor:
        return F.normalize(rows.new_zeros(count, rows.shape[1]).index_add_(0, labels, rows), dim=1)

    return Clusters(labels, sizes, means(target.original), means(target.debiased))


# Sec. 3.3, seed-cluster selection


def forward_similarity(target: PatchFeatures, towards: Tensor) -> Tensor:
    """(N,) cosine of each target cell to a prototype (Eq. 2, debiased)."""
    return target.debiased @ towards


def backward_matches(cells: Tensor, reference: Tensor) -> Tensor:
    """(M,) index of the most similar reference cell for each of (M, C - k) debiased target cells (Eq. 6)."""
    return torch.cat([(part @ reference.T).argmax(dim=1) for part in cells.split(_CHUNK)])


def candidates(target: PatchFeatures, examples: Sequence[Example], forward: Tensor) -> Tensor:
    """(N,) bool: cells that lean to the prototype and whose match lies inside in at least half the references (Eq. 7).

    Only cells that lean to the prototype are matched backward, which is exact and saves the rest of the product.
    """
    leaning = forward > 0
    if not leaning.any():
        leaning = forward > forward.quantile(0.9)
    index = leaning.nonzero()[:, 0]
    if not len(index):
        return leaning
    cells = target.debiased[index]
    votes = torch.zeros_like(index)
    for one in examples:
        if one.inside.any():
            votes += one.inside[backward_matches(cells, one.debiased)]
    chosen = torch.zeros_like(leaning)
    chosen[index[votes >= math.ceil(len(examples) / 2)]] = True
    return chosen


def select_seed(clusters: Clusters, chosen: Tensor, towards: Tensor) -> int:
    """Index of the cluster with a candidate whose debiased prototype is nearest to the reference's (Eq. 8 to 10)."""
    similarity = clusters.debiased @ towards
    holds = torch.bincount(clusters.labels[chosen], minlength=len(similarity)) > 0
    return int(similarity.masked_fill(~holds, -torch.inf).argmax())


# Sec. 3.4, cluster aggregation


class Scores(NamedTuple):
    """What the aggregation weighs, each (K,)."""

    cross: Tensor
    """Mean cosine of its cells to the prototype"""
    intra: Tensor
    """Cosine of its original prototype to the seed's (Eq. 11)"""
    share: Tensor
    """Share of its cells that are candidates; 1 for the seed"""

    @property
    def combined(self) -> Tensor:
        """Their product (Eq. 12, with the share of the authors' code)."""
        return self.cross * self.intra * self.share


def aggregate(clusters: Clusters, seed: int, chosen: Tensor, forward: Tensor) -> Scores:
    """Score every cluster against prototype and seed."""

    def share_of(values: Tensor) -> Tensor:
        sums = forward.new_zeros(len(clusters.sizes)).index_add_(0, clusters.labels, values.to(forward.dtype))
        return sums / clusters.sizes

    share = share_of(chosen)
    share[seed] = 1
    return Scores(share_of(forward), clusters.original @ clusters.original[seed], share)


def segment(
    target: PatchFeatures, examples: Sequence[Example], config: Insid3Config, *, not_this: Sequence[Example] = ()
) -> Found:
    """The target's cells that show what the references show (Fig. 3).

    Args:
        target: the image to segment.
        examples: 1 to k references; a cell needs the backward vote of half of them.
        config: settings.
        not_this: references of what it is not; a cell nearer to one of these than to the prototype is lost to it.
    """
    towards = prototype(examples)
    forward = forward_similarity(target, towards)
    chosen = candidates(target, examples, forward)
    if not_this:
        # our addition: each negative is a prototype of its own, since they need not resemble one another
        against = torch.stack([prototype([one]) for one in not_this])
        lost = (target.debiased @ against.T).amax(dim=1) > forward
        chosen &= ~lost
    nothing = torch.zeros_like(chosen)
    if not chosen.any():
        return Found(nothing, chosen, 0.0)
    clusters = cluster(target, config.tau)
    seed = select_seed(clusters, chosen, towards)
    combined = aggregate(clusters, seed, chosen, forward).combined
    mask = (combined > config.merge)[clusters.labels]
    if not_this:
        mask &= ~lost
    return Found(mask, chosen, certainty(target, examples, chosen, mask))


def certainty(target: PatchFeatures, examples: Sequence[Example], chosen: Tensor, mask: Tensor) -> float:
    """How much a find is to be trusted, 0 to 1; our addition, for sorting.

    The product of three agreements, each of which a wrong mask tends to fail: the cosine of the mask's prototype to the
    references', the share of the mask's cells that are candidates, and the way back: the share of the references' cells
    whose most similar target cell lies in the mask.
    """
    if not mask.any():
        return 0.0
    alike = F.normalize(target.debiased[mask].mean(dim=0), dim=0) @ prototype(examples)
    agreed = (chosen & mask).sum() / mask.sum()
    shown = torch.cat([one.debiased[one.inside] for one in examples])
    back = mask[backward_matches(shown, target.debiased)].float().mean()
    return float((alike * agreed * back).clamp(0, 1))


def square_mask(mask: Tensor, grid_hw: tuple[int, int], size: int) -> Tensor:
    """(size, size) bool of the square input from (N,) cells; bilinear."""
    return (F.interpolate(mask.reshape(1, 1, *grid_hw).float(), (size, size), mode="bilinear") > 0.5)[0, 0]


def resized_mask(square: Tensor, to_hw: tuple[int, int]) -> Tensor:
    """(H, W) bool of the picture from the mask of its square input; bilinear."""
    return (F.interpolate(square[None, None].float(), to_hw, mode="bilinear") > 0.5)[0, 0]


# Supplementary, keypoint matching

_WINDOW = 7.0
"""Width of the Gaussian around the best match, in cells."""
_TEMPERATURE = 0.04


def match_points(
    source: Tensor, target: Tensor, grid_hw: tuple[int, int], points_xy: Tensor, sizes_hw: tuple[tuple[int, int], ...]
) -> Tensor:
    """(K, 2) pixel points of the target that correspond to (K, 2) `points_xy` of the source.

    Args:
        source: (N, C) unit cells, debiased or original.
        target: likewise.
        grid_hw: the grid of both.
        points_xy: (x, y) in pixels of the source picture.
        sizes_hw: (height, width) of the source and of the target picture.
    """
    h, w = grid_hw
    device = points_xy.device
    scale = [torch.tensor([w / size[1], h / size[0]], dtype=points_xy.dtype, device=device) for size in sizes_hw]
    cells = (points_xy * scale[0]).round().long()
    column, row = cells[:, 0].clamp(0, w - 1), cells[:, 1].clamp(0, h - 1)
    similarity = source[row * w + column] @ target.T
    best = similarity.argmax(dim=1)
    ys, xs = torch.meshgrid(torch.arange(h, device=device), torch.arange(w, device=device), indexing="ij")
    away = (ys.flatten() - (best // w)[:, None]) ** 2 + (xs.flatten() - (best % w)[:, None]) ** 2
    near = torch.exp(-away / (2 * _WINDOW**2))
    weights = (similarity * near / _TEMPERATURE).softmax(dim=1)
    expected = torch.stack([weights @ xs.flatten().to(weights.dtype), weights @ ys.flatten().to(weights.dtype)], dim=1)
    return expected / scale[1]
