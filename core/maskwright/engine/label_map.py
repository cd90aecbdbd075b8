"""From score maps to a label map: refinement of contours, arg-max and threshold."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from maskwright.engine.text_method import Scores, upsample
from maskwright.models import pamr
from maskwright.models.crf import foreground_probability

__all__ = ["Labels", "label", "refine"]

_MAX_SHORT_SIDE, _MAX_PIXELS = 512, 2**20
"""Size at which scores are refined at most: PAMR's weights are 48 numbers a pixel, the CRF's more in its band."""
_CHUNK = 16
"""Classes that are upsampled at a time."""


class Labels(NamedTuple):
    """A label map with the scores of its T classes."""

    label_map: NDArray[np.int32]
    """(H, W), 0 none, k the 1-based class"""
    scores: tuple[float, ...]
    """Per class the mean probability over its pixels"""
    max_scores: tuple[float, ...]
    """Per class the highest probability of any pixel"""
    probability: NDArray[np.float32]
    """(H, W) probability of the label, or of the most probable class where there is none"""


@torch.inference_mode()
def label(scores: Scores, size_hw: tuple[int, int], threshold: float) -> Labels:
    """Upsample to the image's size and take the arg-max, one class at a time so that memory stays bounded.

    Args:
        scores: of T classes.
        size_hw: of the image.
        threshold: least probability of a class; 0 labels every pixel.
    """
    maps, background, probability, _ = scores
    other = torch.ones(size_hw, device=maps.device) if background is None else upsample(background[None], size_hw)[0]
    top = torch.full(size_hw, -1.0, device=maps.device)
    labels = torch.zeros(size_hw, dtype=torch.int32, device=maps.device)
    max_scores = []
    for index, small in enumerate(maps, start=1):
        plane = probability(upsample(small[None], size_hw)[0])
        better = plane > top
        top = torch.where(better, plane, top)
        labels.masked_fill_(better, index)
        max_scores.append(float((plane if background is None else plane / (plane + other)).max()))
    score = top if background is None else top / (top + other)
    labels.masked_fill_(score < threshold, 0)
    flat = labels.flatten().long()
    pixels = torch.bincount(flat, minlength=len(maps) + 1)
    sums = torch.zeros(len(maps) + 1, dtype=torch.float64, device=score.device)
    sums.index_add_(0, flat, score.flatten().double())
    means = (sums / pixels.clamp(min=1))[1:]
    return Labels(labels.cpu().numpy(), tuple(means.tolist()), tuple(max_scores), score.cpu().numpy())


@torch.inference_mode()
def refine(scores: Scores, pixels: NDArray[np.uint8], method: str, threshold: float) -> Scores:
    """Refine score maps so that the contours of their labels follow the image's edges.

    Args:
        scores: of T classes.
        pixels: (H, W, 3) RGB.
        method: one of REFINEMENTS; PAMR runs in the text method's published order where it has one.
        threshold: least probability of a class, as for `label`.

    Returns:
        Probabilities, at the image's size or smaller: short side at most 512, at most 2^20 pixels; in the published
        order refined scores at the size at which they were made.
    """
    if method == "pamr" and scores.pamr is not None:
        return scores._replace(maps=scores.pamr(pixels))
    height, width = pixels.shape[:2]
    scale = min(1.0, _MAX_SHORT_SIDE / min(height, width), (_MAX_PIXELS / (height * width)) ** 0.5)
    size = max(1, round(height * scale)), max(1, round(width * scale))
    image = torch.from_numpy(pixels.copy()).to(scores.maps.device).permute(2, 0, 1)[None].float()
    image = F.interpolate(image, size, mode="area")[0]
    return _refine_crf(scores, image, threshold) if method == "crf" else _refine_pamr(scores, image)


def _refine_pamr(scores: Scores, image: Tensor) -> Scores:
    """PAMR of each class's probability map; `image` is (3, h, w) in 0..255."""
    maps, background, probability, _ = scores
    size = image.shape[-2], image.shape[-1]
    affinity = pamr.affinity(image)
    refined = torch.cat([pamr.refine(probability(upsample(chunk, size)), affinity) for chunk in maps.split(_CHUNK)])
    return Scores(refined, None if background is None else pamr.refine(upsample(background[None], size), affinity)[0])


def _refine_crf(scores: Scores, image: Tensor, threshold: float) -> Scores:
    """A binary CRF for each label that is present; pixels in its band go to the label with the highest probability.

    At every pixel the classes compete with each other and, above a threshold of 0, with background, which has the
    threshold as its probability. `image` is (3, h, w) in 0..255.
    """
    size = image.shape[-2], image.shape[-1]
    values = torch.cat([scores.probability(upsample(chunk, size)) for chunk in scores.maps.split(_CHUNK)])
    if scores.background is not None:
        values = values / (values + upsample(scores.background[None], size))
    # just under the threshold: a class that reaches it wins
    rival = torch.full((1, *size), threshold * (1 - 1e-6) if threshold else -1.0, device=values.device)
    competing = torch.cat([rival, values])
    (top, second), (labels, _) = competing.topk(2, dim=0)
    refined, highest = labels.clone(), torch.full(size, -1.0, device=values.device)
    for number in labels.unique().tolist():
        own = competing[number]
        unary = own / (own + torch.where(labels == number, second, top).clamp(min=0)).clamp(min=1e-12)
        belief = foreground_probability(image / 255, labels == number, unary)
        refined = torch.where(belief > highest, number, refined)
        highest = torch.maximum(highest, belief)
    return Scores(_relabel(values, labels, refined, threshold))


def _relabel(values: Tensor, labels: Tensor, refined: Tensor, threshold: float) -> Tensor:
    """Change (T, h, w) probabilities so that their labels are `refined`.

    Two classes swap their probabilities; those of a pixel that turns to or from background are mirrored at the
    threshold.
    """
    changed = labels != refined
    before, after, columns = labels[changed], refined[changed], values[:, changed]
    place = torch.arange(len(before), device=values.device)
    mirrored = (2 * threshold - columns).clamp(0, 1)
    columns = torch.where(after == 0, torch.minimum(columns, mirrored), columns)
    new, old = (after - 1).clamp(min=0), (before - 1).clamp(min=0)
    winner = torch.where(before == 0, torch.maximum(columns, mirrored)[new, place], columns[old, place])
    loser = columns[new, place]
    swap = (before > 0) & (after > 0)
    columns[old[swap], place[swap]] = loser[swap]
    columns[new[after > 0], place[after > 0]] = winner[after > 0]
    values = values.clone()
    values[:, changed] = columns
    return values
