"""Masks of everything in an image: SAM on a grid of points (its automatic mask generator), without duplicates."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from maskwright.domain import EverythingPrompt
from maskwright.engine.sam import MaskCandidate, SamEmbedding, to_input_pixels
from maskwright.models.sam import Attended, Prompts, postprocess
from maskwright.presets.config import SamSettings
from maskwright.presets.loading import LoadedSam
from maskwright.progress import Progress

__all__ = ["click_each", "distinct", "generate_masks", "is_duplicate", "resolve", "stability_scores"]

_BATCH, _CPU_BATCH = 64, 8
"""Points that are decoded at a time; 64 outgrow the caches of a CPU, which then takes 1.6 times as long."""
_DUPLICATE_IOU = 0.7
"""IoU from which two masks count as the same object."""
_CONTAINED, _SIMILAR_AREA = 0.95, 0.6
"""They also do when this share of the smaller lies in the larger, and its area is this share of the larger's."""


def resolve(prompt: EverythingPrompt, settings: SamSettings) -> EverythingPrompt:
    """The prompt with the preset's values in place of None."""
    return EverythingPrompt(
        points_per_side=settings.points_per_side if prompt.points_per_side is None else prompt.points_per_side,
        pred_iou_thresh=settings.pred_iou_thresh if prompt.pred_iou_thresh is None else prompt.pred_iou_thresh,
        stability_score_thresh=settings.stability_score_thresh
        if prompt.stability_score_thresh is None
        else prompt.stability_score_thresh,
        category=prompt.category,
    )


@torch.inference_mode()
def click_each(
    preset: LoadedSam,
    embedding: SamEmbedding,
    points: NDArray[np.float64],
    size_hw: tuple[int, int],
    progress: Progress,
    *,
    least_iou: float,
) -> Iterator[tuple[NDArray[np.int64], Tensor, Tensor]]:
    """Decode a click at every point on its own.

    Args:
        preset: SAM.
        embedding: of the image.
        points: (N, 2) x and y in pixels of the image.
        size_hw: of the image.
        progress: reports points, and cancels between batches of them.
        least_iou: a point whose three masks all have a lower predicted IoU is left out.

    Yields:
        For each batch the indices of B points, (B, 3, 4h, 4w) logits and (B, 3) predicted IoU.
    """
    prompts = to_input_pixels(points, size_hw, embedding)[:, None]
    batch_size = _CPU_BATCH if prompts.device.type == "cpu" else _BATCH
    for first in range(0, len(prompts), batch_size):
        progress.check()
        progress.report(first, len(prompts), "Segmenting")
        batch = prompts[first : first + batch_size]
        labels = torch.ones(batch.shape[:2], dtype=torch.int64, device=batch.device)
        attended = preset.model.attend(embedding.features, Prompts(batch, labels))
        promising = (attended.iou[:, 1:] >= least_iou).any(dim=1)
        if promising.any():
            attended = Attended(*(part[promising] for part in attended))
            indices = first + promising.nonzero()[:, 0].cpu().numpy()
            yield indices, preset.model.mask_decoder.masks(attended)[:, 1:], attended.iou[:, 1:]
    progress.report(len(prompts), len(prompts), "Segmenting")


@torch.inference_mode()
def generate_masks(
    preset: LoadedSam, embedding: SamEmbedding, size_hw: tuple[int, int], prompt: EverythingPrompt, progress: Progress
) -> list[MaskCandidate]:
    """Decode every point of a grid, filter by predicted IoU and stability, and drop duplicates.

    Args:
        preset: SAM.
        embedding: of the image.
        size_hw: of the image.
        prompt: a resolved one.
        progress: reports points, and cancels between batches of them.

    Returns:
        The most stable first; `score` is the stability.
    """
    points = _grid(size_hw, prompt.points_per_side or 1)
    config = preset.settings.model
    h, w = (-(-side // (config.stride // 4)) for side in embedding.input_hw)
    good_logits, good_scores = [], []
    least_iou = prompt.pred_iou_thresh or 0.0
    for _, all_logits, all_scores in click_each(preset, embedding, points, size_hw, progress, least_iou=least_iou):
        # without the padding beside the image
        logits, scores = all_logits[:, :, :h, :w].flatten(0, 1), all_scores.flatten()
        stability = stability_scores(logits, preset.settings.stability_score_offset)
        good = (scores >= least_iou) & (stability >= (prompt.stability_score_thresh or 0.0))
        good &= (logits > 0).flatten(1).any(dim=1)
        good_logits.append(logits[good])
        good_scores.append(stability[good])
    if not good_logits:
        return []
    logits, stability = torch.cat(good_logits), torch.cat(good_scores)
    order = stability.argsort(descending=True)
    logits, stability = logits[order], stability[order]
    candidates = []
    for n in distinct(logits > 0):
        padding = 0, 4 * embedding.features.shape[-1] - w, 0, 4 * embedding.features.shape[-2] - h
        full = F.pad(logits[n], padding)
        mask = postprocess(full[None, None], embedding.input_hw, size_hw, config)[0, 0] > 0
        if mask.any():
            candidates.append(MaskCandidate(mask.cpu().numpy(), float(stability[n]), full[None]))
    return candidates


def _grid(size_hw: tuple[int, int], points_per_side: int) -> NDArray[np.float64]:
    """(N, 2) evenly spaced points in pixels, so many along the longer side."""
    height, width = size_hw
    step = max(height, width) / points_per_side
    columns, rows = (max(1, round(extent / step)) for extent in (width, height))
    x, y = (np.arange(columns) + 0.5) * width / columns, (np.arange(rows) + 0.5) * height / rows
    return np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)


def stability_scores(logits: Tensor, offset: float) -> Tensor:
    """(N,) stability scores: IoU of the masks at logits above `offset` and above minus that."""
    inner, outer = (logits > offset).flatten(1).sum(dim=1), (logits > -offset).flatten(1).sum(dim=1)
    return inner / outer.clamp(min=1)


def is_duplicate(common: int, first: int, second: int) -> bool:
    """Whether two masks with these areas and this number of common pixels count as the same object."""
    smaller, larger = sorted((first, second))
    contained = common >= _CONTAINED * smaller and smaller >= _SIMILAR_AREA * larger
    return contained or common >= _DUPLICATE_IOU * (first + second - common)


def distinct(masks: Tensor) -> list[int]:
    """Indices of (N, h, w) masks that do not duplicate an earlier one, by IoU or by containment."""
    flat = masks.flatten(1).float()
    areas = flat.sum(dim=1)
    shared = flat @ flat.T
    smaller, larger = torch.minimum(areas[:, None], areas), torch.maximum(areas[:, None], areas)
    iou = shared / (areas[:, None] + areas - shared)
    contained = (shared >= _CONTAINED * smaller) & (smaller >= _SIMILAR_AREA * larger)
    rows = ((iou >= _DUPLICATE_IOU) | contained).cpu().numpy()
    unique: list[int] = []
    for index, row in enumerate(rows):
        if not row[unique].any():
            unique.append(index)
    return unique
