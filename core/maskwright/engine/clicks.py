"""Prompts by click and box with SAM: pictures as embeddings, clicks in pixels, masks back in pixels; "segment all"."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike, NDArray
from PIL import Image as Pillow
from torch import Tensor

from maskwright.errors import BadPrompt
from maskwright.imaging.geometry import label_components
from maskwright.imaging.normalization import stretch_contrast
from maskwright.models.sam import Prompts, SamConfig, postprocess, preprocess
from maskwright.presets.loading import LoadedSam

__all__ = ["Clicks", "MaskCandidate", "SamEmbedding", "checked", "decode", "encode", "everything"]

_STARTING_LOGIT = 10.0
"""How sure a mask without logits counts when it is corrected."""
_BATCH = 64


class SamEmbedding(NamedTuple):
    """An image as the mask decoder wants it."""

    features: Tensor
    """(1, C, h, w)"""
    input_hw: tuple[int, int]
    """Size of the resized picture inside the padded input."""


class Clicks(NamedTuple):
    """A prompt in pixels of the image, checked."""

    points: NDArray[np.float64]
    """(N, 2) x and y"""
    labels: NDArray[np.int64]
    """(N,) 1 on the thing, 0 beside it"""
    box: tuple[float, float, float, float] | None
    """left, top, right, bottom"""


class MaskCandidate(NamedTuple):
    """One mask that a prompt may mean."""

    mask: NDArray[np.bool_]
    """(H, W)"""
    score: float
    """Predicted IoU, 0 to 1"""
    logits: Tensor
    """(1, 4h, 4w), to go on from"""


def checked(
    points: ArrayLike | Sequence[Sequence[float]],
    labels: ArrayLike | None,
    box: Sequence[float] | None,
    size_hw: tuple[int, int],
) -> Clicks:
    """A prompt that can be answered; points without labels are on the thing. Raises BadPrompt."""
    spots = np.asarray(points, np.float64) if np.size(points) else np.zeros((0, 2))
    if spots.ndim != 2 or spots.shape[1] != 2:
        raise BadPrompt("Points must be a list of (x, y) pairs.")
    signs = np.ones(len(spots), np.int64) if labels is None else np.asarray(labels).reshape(-1)
    if len(signs) != len(spots):
        raise BadPrompt(f"There are {len(spots)} points and {len(signs)} signs. Give one sign for each point.")
    if not np.isin(signs, (0, 1)).all():
        raise BadPrompt("The sign of a point must be 1 (on the thing) or 0 (beside it).")
    height, width = size_hw
    inside = (spots >= 0).all(axis=1) & (spots[:, 0] <= width) & (spots[:, 1] <= height)
    if not inside.all():
        raise BadPrompt("That point is outside the image. Nothing changed.")
    return Clicks(spots, signs.astype(np.int64), None if box is None else _checked_box(box, size_hw))


def _checked_box(box: Sequence[float], size_hw: tuple[int, int]) -> tuple[float, float, float, float]:
    """Corners in order, cut at the image's border."""
    corners = np.asarray(box, np.float64)
    if corners.shape != (4,) or not np.isfinite(corners).all():
        raise BadPrompt("A box must be four numbers: left, top, right, bottom.")
    height, width = size_hw
    x0, x1 = np.clip(sorted((corners[0], corners[2])), 0, width)
    y0, y1 = np.clip(sorted((corners[1], corners[3])), 0, height)
    if x1 <= x0 or y1 <= y0:
        raise BadPrompt("That box is empty or outside the image. Draw it around the thing.")
    return float(x0), float(y0), float(x1), float(y1)


@torch.inference_mode()
def encode(preset: LoadedSam, pixels: NDArray[np.uint8], device: torch.device) -> SamEmbedding:
    """Embedding of an (H, W, 3) image: its longest side resized, then one pass through the image encoder."""
    config = preset.settings
    height, width = pixels.shape[:2]
    scale = config.model.longest / max(height, width)
    size = max(1, math.floor(height * scale + 0.5)), max(1, math.floor(width * scale + 0.5))
    # Pillow's filter, as the authors' predictor: it averages when it makes smaller
    image = Pillow.fromarray(stretch_contrast(pixels) if config.stretch else pixels)
    resized = np.array(image.resize(size[::-1], Pillow.Resampling.BILINEAR))
    batch = torch.from_numpy(resized).to(device).permute(2, 0, 1)[None].float()
    encoder = preset.model.image_encoder
    features, _ = encoder(preprocess(batch, config.model).to(next(encoder.parameters()).dtype))
    # clicks are placed in single precision
    return SamEmbedding(features.float(), size)


def _scaled(points: NDArray[np.float64], size_hw: tuple[int, int], embedding: SamEmbedding) -> Tensor:
    """(…, 2) points of an image in pixels of the encoder's input, which counts from the centre of the first pixel."""
    ratio = [new / old for new, old in zip(embedding.input_hw[::-1], size_hw[::-1], strict=True)]
    return torch.from_numpy(points * ratio - 0.5).float().to(embedding.features.device)


def _prompts(clicks: Clicks, start: Tensor | None, size_hw: tuple[int, int], embedding: SamEmbedding) -> Prompts:
    points = labels = boxes = None
    if len(clicks.points):
        points = _scaled(clicks.points, size_hw, embedding)[None]
        labels = torch.from_numpy(clicks.labels).to(points.device)[None]
    if clicks.box is not None:
        boxes = _scaled(np.array(clicks.box).reshape(2, 2), size_hw, embedding).reshape(1, 4)
    return Prompts(points, labels, boxes, None if start is None else start[None])


def starting_logits(mask: NDArray[np.bool_], config: SamConfig, embedding: SamEmbedding) -> Tensor:
    """(1, 4h, 4w) logits of a mask that was not made here, so that clicks can correct it."""
    device = embedding.features.device
    plane = torch.from_numpy(mask).to(device)[None, None].float()
    plane = F.interpolate(plane, embedding.input_hw, mode="bilinear")
    side = config.stride // 4
    h, w = embedding.features.shape[-2:]
    padded = F.pad(plane, (0, 4 * w * side - plane.shape[-1], 0, 4 * h * side - plane.shape[-2]))
    small = F.avg_pool2d(padded, side) if side > 1 else padded
    return ((small * 2 - 1) * _STARTING_LOGIT)[0]


@torch.inference_mode()
def decode(
    preset: LoadedSam,
    embedding: SamEmbedding,
    clicks: Clicks,
    start: NDArray[np.bool_] | Tensor | None,
    size_hw: tuple[int, int],
) -> list[MaskCandidate]:
    """Masks of a prompt, the best first: three of a single click, which may mean several things, else one.

    Args:
        preset: with the decoder.
        embedding: of the image.
        clicks: on the image.
        start: the mask to correct, as an (H, W) mask or as the logits of an earlier answer.
        size_hw: of the image.
    """
    config = preset.settings.model
    within = None
    if start is None and clicks.box is not None and preset.settings.filled_box:
        start, within = _filled(clicks.box, size_hw, 0.0), _filled(clicks.box, size_hw, _MARGIN)
    several = start is None and clicks.box is None and len(clicks.points) == 1
    if isinstance(start, np.ndarray):
        start = starting_logits(start, config, embedding)
    prompts = _prompts(clicks, start, size_hw, embedding)
    logits, scores = preset.model.decode(embedding.features, prompts)
    chosen = slice(1, None) if several else slice(0, 1)
    logits, scores = logits[0, chosen], scores[0, chosen]
    if preset.settings.connected:
        logits = _clicked_parts(logits, prompts, clicks, config)
    answers = []
    for place in scores.argsort(descending=True).tolist():
        # one at a time: at 100 megapixels a plane of logits is 400 MB
        full = postprocess(logits[None, place : place + 1], embedding.input_hw, size_hw, config)[0, 0]
        mask = (full > 0).cpu().numpy()
        mask = mask if within is None else mask & within
        answers.append(MaskCandidate(mask, float(scores[place].clamp(0, 1)), logits[place : place + 1]))
    return answers


_MARGIN = 0.03
"""Share of a box's side by which its answer may leave it."""


def _filled(box: tuple[float, float, float, float], size_hw: tuple[int, int], margin: float) -> NDArray[np.bool_]:
    """(H, W) mask of the pixels that a box covers, made larger by a share of its sides."""
    x0, y0, x1, y1 = box
    dx, dy = margin * (x1 - x0), margin * (y1 - y0)
    mask = np.zeros(size_hw, np.bool_)
    rows = slice(max(0, math.floor(y0 - dy)), math.ceil(y1 + dy))
    mask[rows, max(0, math.floor(x0 - dx)) : math.ceil(x1 + dx)] = True
    return mask


def _clicked_parts(logits: Tensor, prompts: Prompts, clicks: Clicks, config: SamConfig) -> Tensor:
    """Logits (N, 4h, 4w) without the parts of each mask that no click on the thing touches."""
    positive = clicks.labels == 1
    if prompts.points is None or not positive.any():
        return logits
    cells = (prompts.points[0, torch.from_numpy(positive)] + 0.5) / (config.stride // 4)
    columns, rows = cells.cpu().numpy().astype(int).T
    kept = logits.clone()
    for number, plane in enumerate((logits > 0).cpu().numpy()):
        parts = label_components(plane)
        rows, columns = rows.clip(0, plane.shape[0] - 1), columns.clip(0, plane.shape[1] - 1)
        touched = set(parts[rows, columns].tolist()) - {0}
        if touched:
            away = torch.from_numpy(plane & ~np.isin(parts, list(touched))).to(kept.device)
            kept[number] = torch.where(away, -kept[number].abs(), kept[number])
    return kept


@torch.inference_mode()
def everything(
    preset: LoadedSam,
    embedding: SamEmbedding,
    size_hw: tuple[int, int],
    *,
    points_per_side: float,
    pred_iou_thresh: float,
    stability_score_thresh: float,
    check: Callable[[float], None],
) -> list[MaskCandidate]:
    """Masks of all things: a grid of clicks, the sure and stable answers, and of those alike the best.

    Args:
        preset: with the decoder.
        embedding: of the image.
        size_hw: of the image.
        points_per_side: clicks along the longer side.
        pred_iou_thresh: predicted IoU that a mask needs.
        stability_score_thresh: IoU between the mask at a higher and at a lower logit that it needs.
        check: told the share done; may raise to stop.

    Returns:
        The most stable first; `score` is the stability.
    """
    config = preset.settings.model
    height, width = size_hw
    step = max(height, width) / points_per_side
    columns, rows = (max(1, round(extent / step)) for extent in (width, height))
    grid = np.stack(
        np.meshgrid((np.arange(columns) + 0.5) * width / columns, (np.arange(rows) + 0.5) * height / rows), axis=-1
    ).reshape(-1, 2)
    points = _scaled(grid, size_hw, embedding)[:, None]
    h, w = (-(-side // (config.stride // 4)) for side in embedding.input_hw)
    kept, sure = [], []
    for first in range(0, len(points), _BATCH):
        check(first / len(points))
        some = points[first : first + _BATCH]
        labels = torch.ones(some.shape[:2], dtype=torch.int64, device=some.device)
        logits, scores = preset.model.decode(embedding.features, Prompts(some, labels))
        # outside the picture there is nothing
        logits, scores = logits[:, 1:, :h, :w].flatten(0, 1), scores[:, 1:].flatten()
        stable = _stability(logits, preset.settings.stability_score_offset)
        good = (scores >= pred_iou_thresh) & (stable >= stability_score_thresh) & (logits > 0).flatten(1).any(dim=1)
        kept.append(logits[good])
        sure.append(stable[good])
    logits, stable = torch.cat(kept), torch.cat(sure)
    order = stable.argsort(descending=True)
    logits, stable = logits[order], stable[order]
    answers = []
    for place in _distinct(logits > 0):
        full = F.pad(logits[place], (0, 4 * embedding.features.shape[-1] - w, 0, 4 * embedding.features.shape[-2] - h))
        mask = postprocess(full[None, None], embedding.input_hw, size_hw, config)[0, 0] > 0
        if mask.any():
            answers.append(MaskCandidate(mask.cpu().numpy(), float(stable[place]), full[None]))
    check(1.0)
    return answers


def _stability(logits: Tensor, offset: float) -> Tensor:
    """(N,) IoU of the masks at logits over `offset` and over minus that."""
    inner, outer = (logits > offset).flatten(1).sum(dim=1), (logits > -offset).flatten(1).sum(dim=1)
    return inner / outer.clamp(min=1)


_ALIKE = 0.7
"""IoU of masks that are taken for one thing."""
_INSIDE, _NEARLY = 0.95, 0.6
"""A mask is the same thing as another when so much of the smaller lies in the larger, and it is so much of its size."""


def _distinct(masks: Tensor) -> list[int]:
    """Places of masks (N, h, w) that are not nearly one before them: by mask IoU, and by containment."""
    flat = masks.flatten(1).float()
    areas = flat.sum(dim=1)
    shared = flat @ flat.T
    smaller, larger = torch.minimum(areas[:, None], areas), torch.maximum(areas[:, None], areas)
    iou = shared / (areas[:, None] + areas - shared)
    alike = (iou >= _ALIKE) | ((shared >= _INSIDE * smaller) & (smaller >= _NEARLY * larger))
    rows = alike.cpu().numpy()
    kept: list[int] = []
    for place, row in enumerate(rows):
        if not row[kept].any():
            kept.append(place)
    return kept
