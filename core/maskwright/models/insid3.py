"""INSID3: training-free in-context segmentation with DINOv3 (Cuttano et al., 2026), in the paper's order.

Where the authors' code differs from the paper, the code is followed. Features are the N = h * w patches of an image as
rows (N, C), in row-major order. Debiased features match images with one another; the original features cluster the
patches of the target.
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
from maskwright.models.row_maximum import row_maximum

__all__ = [
    "Clusters",
    "EncodedReference",
    "Insid3Config",
    "PatchFeatures",
    "Scores",
    "Segmentation",
    "aggregate",
    "backward_matches",
    "candidates",
    "cluster",
    "complement_of",
    "components_for",
    "confidence",
    "debias",
    "encode",
    "encode_reference",
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
"""Target patches that are compared with a whole reference at a time; bounds the memory."""


@dataclass(frozen=True, slots=True)
class Insid3Config:
    """Hyperparameters; the defaults are those for DINOv3 ViT-L."""

    size: int = 1024
    """Side of the square input, in pixels."""
    components: int = 500
    """Dimensions k of the positional subspace."""
    tau: float = 0.6
    """Lowest mean cosine at which two clusters merge."""
    merge: float = 0.2
    """Combined score above which a cluster joins the seed."""


def components_for(width: int) -> int:
    """K for a backbone of `width` channels: 500, as the authors use for every size.

    Of a narrower backbone (ViT-S has 384 channels) 500 would leave nothing: it gets the same share as ViT-L.
    """
    return 500 if width > 500 else max(1, round(500 * width / 1024))


class PatchFeatures(NamedTuple):
    """Features of one image."""

    original: Tensor
    """(N, C), unit length"""
    debiased: Tensor
    """(N, C - k), unit length, in coordinates of the complement of the positional subspace. Cosines are those of
    `debias`, with C - k multiplications instead of C."""
    grid_hw: tuple[int, int]


class EncodedReference(NamedTuple):
    """A reference image with its mask on the patch grid; serves any number of targets."""

    debiased: Tensor
    """(N, C - k)"""
    foreground: Tensor
    """(N,) bool"""
    mean: Tensor
    """(C - k,) mean of the debiased foreground, not normalised; zero without foreground"""


class Clusters(NamedTuple):
    """A partition of the target's patches into K clusters."""

    labels: Tensor
    """(N,) int64, 0 to K - 1"""
    sizes: Tensor
    """(K,) float, in patches"""
    original: Tensor
    """(K, C) prototypes of the original features, unit length"""
    debiased: Tensor
    """(K, C - k) prototypes of the debiased features, unit length"""


class Segmentation(NamedTuple):
    """The predicted mask of a target, on the patch grid."""

    mask: Tensor
    """(N,) bool"""
    candidate_mask: Tensor
    """(N,) bool, see `candidates`"""
    confidence: float
    """See `confidence`; 0 for an empty mask"""


# Sec. 3.1: the feature space


def encode(features: Tensor, complement: Tensor) -> PatchFeatures:
    """Original and debiased features of one image.

    Args:
        features: (C, h, w) feature map.
        complement: (C, C - k), from `complement_of`.
    """
    original = F.normalize(features.flatten(1).T, dim=1)
    return PatchFeatures(original, F.normalize(original @ complement, dim=1), (features.shape[1], features.shape[2]))


def positional_basis(features: Tensor, components: int) -> Tensor:
    """(C, k) orthonormal basis of the positional subspace.

    Args:
        features: (C, h, w) features of an image that is black before normalisation, which is what the "noise" image of
            the paper is in the authors' code.
        components: k, at most the number of dimensions that the features span.
    """
    rows = F.normalize(features.float().flatten(1).T, dim=1)
    vectors: Tensor = torch.linalg.svd((rows - rows.mean(dim=0)).T, full_matrices=False).U
    return vectors[:, :components].contiguous()


def complement_of(basis: Tensor) -> Tensor:
    """(C, C - k) orthonormal basis of the orthogonal complement of a (C, k) orthonormal `basis`."""
    whole: Tensor = torch.linalg.qr(basis, mode="complete").Q
    return whole[:, basis.shape[1] :].contiguous()


def debias(features: Tensor, basis: Tensor) -> Tensor:
    """(N, C) features without their component in the positional subspace, unit length (Eq. 4)."""
    return F.normalize(features - (features @ basis) @ basis.T, dim=1)


def grid_mask(mask: Tensor, size: int, grid_hw: tuple[int, int]) -> Tensor:
    """A mask on the patch grid of its image, resized by way of the square input as in the authors' code.

    Args:
        mask: (H, W) bool.
        size: side of the square input, in pixels.
        grid_hw: the patch grid.

    Returns:
        (N,) bool; a mask that is not empty keeps at least the patch at its centroid.
    """
    square = F.interpolate(mask[None, None].float(), (size, size), mode="nearest")
    for mode in ("bilinear", "nearest"):
        patches = F.interpolate(square, grid_hw, mode=mode)[0, 0] > 0.5
        if patches.any() or not mask.any():
            return patches.flatten()
    y, x = (index.float().mean() for index in mask.nonzero(as_tuple=True))
    row = min(int((y + 0.5) / mask.shape[0] * grid_hw[0]), grid_hw[0] - 1)
    column = min(int((x + 0.5) / mask.shape[1] * grid_hw[1]), grid_hw[1] - 1)
    patches[row, column] = True
    return patches.flatten()


def encode_reference(features: PatchFeatures, foreground: Tensor) -> EncodedReference:
    """A reference from the features of its image and its (N,) bool mask; raises ShapeError when their sizes differ."""
    if foreground.shape != features.debiased.shape[:1]:
        raise ShapeError(f"the reference has {len(features.debiased)} patches, its mask {tuple(foreground.shape)}")
    rows = features.debiased[foreground]
    mean = rows.mean(dim=0) if len(rows) else torch.zeros_like(features.debiased[0])
    return EncodedReference(features.debiased, foreground, mean)


def prototype(references: Sequence[EncodedReference]) -> Tensor:
    """(C - k,) prototype of one or several references (Eq. 1), unit length; zero when none has foreground."""
    return F.normalize(torch.stack([reference.mean for reference in references]).mean(dim=0), dim=0)


# Sec. 3.2: fine-grained clustering


def cluster(target: PatchFeatures, tau: float) -> Clusters:
    """Clusters of the original features by average linkage, which stops at a mean cosine below `tau`."""
    labels = average_linkage(target.original, tau)
    count = int(labels.max()) + 1
    sizes = torch.bincount(labels, minlength=count).to(target.original.dtype)

    def prototypes(rows: Tensor) -> Tensor:
        return F.normalize(rows.new_zeros(count, rows.shape[1]).index_add_(0, labels, rows), dim=1)

    return Clusters(labels, sizes, prototypes(target.original), prototypes(target.debiased))


# Sec. 3.3: seed-cluster selection


def forward_similarity(target: PatchFeatures, ref_prototype: Tensor) -> Tensor:
    """(N,) cosine of each target patch with the reference prototype (Eq. 2, on debiased features)."""
    return target.debiased @ ref_prototype


def backward_matches(patches: Tensor, reference: Tensor) -> Tensor:
    """(M,) index of the most similar of (N, C - k) reference patches for each of (M, C - k) target patches (Eq. 6)."""
    return torch.cat([row_maximum(part @ reference.T) for part in patches.split(_CHUNK)])


def candidates(target: PatchFeatures, references: Sequence[EncodedReference], forward: Tensor) -> Tensor:
    """(N,) bool: similar to the prototype, and matched back to foreground in at least half the references (Eq. 7).

    Only patches that are similar to the prototype are matched backward, which changes nothing in the result.

    Args:
        target: features of the target.
        references: one or several.
        forward: (N,), from `forward_similarity`.
    """
    similar = forward > 0
    if not similar.any():
        similar = forward > forward.quantile(0.9)
    index = similar.nonzero()[:, 0]
    if not len(index):
        return similar
    patches = target.debiased[index]
    votes = torch.zeros_like(index)
    for reference in references:
        if reference.foreground.any():
            votes += reference.foreground[backward_matches(patches, reference.debiased)]
    candidate_mask = torch.zeros_like(similar)
    candidate_mask[index[votes >= math.ceil(len(references) / 2)]] = True
    return candidate_mask


def select_seed(clusters: Clusters, candidate_mask: Tensor, ref_prototype: Tensor) -> int:
    """Index of the seed: of the clusters with a candidate, the most similar to the reference prototype (Eqs. 8-10)."""
    similarity = clusters.debiased @ ref_prototype
    has_candidate = torch.bincount(clusters.labels[candidate_mask], minlength=len(similarity)) > 0
    return int(similarity.masked_fill(~has_candidate, -torch.inf).argmax())


# Sec. 3.4: cluster aggregation


class Scores(NamedTuple):
    """Scores of the clusters, each (K,)."""

    cross: Tensor
    """Cross-image similarity: mean cosine of the cluster's patches with the reference prototype"""
    intra: Tensor
    """Intra-image similarity: cosine of the cluster's original prototype with the seed's (Eq. 11)"""
    share: Tensor
    """Share of the cluster's patches that are candidates; 1 for the seed"""

    @property
    def combined(self) -> Tensor:
        """Product of the three (Eq. 12, with the authors' code's factor `share`)."""
        return self.cross * self.intra * self.share


def aggregate(clusters: Clusters, seed: int, candidate_mask: Tensor, forward: Tensor) -> Scores:
    """Scores of all clusters.

    Args:
        clusters: K of them.
        seed: index of the seed.
        candidate_mask: (N,) bool.
        forward: (N,), from `forward_similarity`.
    """

    def cluster_means(values: Tensor) -> Tensor:
        sums = forward.new_zeros(len(clusters.sizes)).index_add_(0, clusters.labels, values.to(forward.dtype))
        return sums / clusters.sizes

    share = cluster_means(candidate_mask)
    share[seed] = 1
    return Scores(cluster_means(forward), clusters.original @ clusters.original[seed], share)


def segment(
    target: PatchFeatures,
    references: Sequence[EncodedReference],
    config: Insid3Config,
    *,
    negative_references: Sequence[EncodedReference] = (),
) -> Segmentation:
    """Segment the concept of the references in the target (Fig. 3).

    Args:
        target: features of the image to segment.
        references: one or several of the concept.
        config: hyperparameters.
        negative_references: of other concepts (our addition): a patch that is more similar to one of these than to the
            reference prototype is left out of the mask.
    """
    ref_prototype = prototype(references)
    forward = forward_similarity(target, ref_prototype)
    candidate_mask = candidates(target, references, forward)
    if negative_references:
        # a prototype each, since negative references need not resemble one another
        negatives = torch.stack([prototype([reference]) for reference in negative_references])
        negative = (target.debiased @ negatives.T).amax(dim=1) > forward
        candidate_mask &= ~negative
    if not candidate_mask.any():
        return Segmentation(torch.zeros_like(candidate_mask), candidate_mask, 0.0)
    clusters = cluster(target, config.tau)
    seed = select_seed(clusters, candidate_mask, ref_prototype)
    combined = aggregate(clusters, seed, candidate_mask, forward).combined
    mask = (combined > config.merge)[clusters.labels]
    if negative_references:
        mask &= ~negative
    return Segmentation(mask, candidate_mask, confidence(target, references, candidate_mask, mask))


def confidence(
    target: PatchFeatures, references: Sequence[EncodedReference], candidate_mask: Tensor, mask: Tensor
) -> float:
    """Confidence in a predicted mask, 0 to 1, to sort masks by; our addition.

    It is the product of three measures of agreement, each of which tends to be low for a wrong mask: the cosine of the
    mask's prototype with the reference prototype, the share of the mask's patches that are candidates, and the share of
    the references' foreground patches whose most similar target patch lies in the mask.

    Args:
        target: features of the target.
        references: that the mask was predicted from.
        candidate_mask: (N,) bool.
        mask: (N,) bool.
    """
    if not mask.any():
        return 0.0
    similarity = F.normalize(target.debiased[mask].mean(dim=0), dim=0) @ prototype(references)
    precision = (candidate_mask & mask).sum() / mask.sum()
    foreground = torch.cat([reference.debiased[reference.foreground] for reference in references])
    recall = mask[backward_matches(foreground, target.debiased)].float().mean()
    return float((similarity * precision * recall).clamp(0, 1))


def square_mask(mask: Tensor, grid_hw: tuple[int, int], size: int) -> Tensor:
    """(size, size) bool mask of the square input from an (N,) mask of the patch grid; bilinear."""
    return (F.interpolate(mask.reshape(1, 1, *grid_hw).float(), (size, size), mode="bilinear") > 0.5)[0, 0]


def resized_mask(square: Tensor, to_hw: tuple[int, int]) -> Tensor:
    """(H, W) bool mask of the image from the mask of its square input; bilinear."""
    return (F.interpolate(square[None, None].float(), to_hw, mode="bilinear") > 0.5)[0, 0]


# Supplementary material: keypoint matching

_WINDOW = 7.0
"""Standard deviation of the Gaussian around the best match, in patches."""
_TEMPERATURE = 0.04


def match_points(
    source: Tensor, target: Tensor, grid_hw: tuple[int, int], points_xy: Tensor, sizes_hw: tuple[tuple[int, int], ...]
) -> Tensor:
    """Points of the target that correspond to points of the source, by a soft argmax around the best match.

    Args:
        source: (N, C) features, unit length; debiased or original.
        target: likewise.
        grid_hw: patch grid of both.
        points_xy: (K, 2) x and y in pixels of the source image.
        sizes_hw: (height, width) of the source and of the target image, in pixels.

    Returns:
        (K, 2) x and y in pixels of the target image.
    """
    h, w = grid_hw
    device = points_xy.device
    scale = [torch.tensor([w / size[1], h / size[0]], dtype=points_xy.dtype, device=device) for size in sizes_hw]
    patches = (points_xy * scale[0]).round().long()
    column, row = patches[:, 0].clamp(0, w - 1), patches[:, 1].clamp(0, h - 1)
    similarity = source[row * w + column] @ target.T
    best = similarity.argmax(dim=1)
    ys, xs = torch.meshgrid(torch.arange(h, device=device), torch.arange(w, device=device), indexing="ij")
    distance = (ys.flatten() - (best // w)[:, None]) ** 2 + (xs.flatten() - (best % w)[:, None]) ** 2
    near = torch.exp(-distance / (2 * _WINDOW**2))
    weights = (similarity * near / _TEMPERATURE).softmax(dim=1)
    expected = torch.stack([weights @ xs.flatten().to(weights.dtype), weights @ ys.flatten().to(weights.dtype)], dim=1)
    return expected / scale[1]
