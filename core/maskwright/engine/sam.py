"""SAM for images of any size: embeddings, clicks and boxes in pixels of the image, candidate masks at full size."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image as Pillow
from torch import Tensor

from maskwright.imaging.geometry import label_components
from maskwright.imaging.normalization import stretch_contrast
from maskwright.models.sam import Prompts, SamConfig, postprocess, preprocess
from maskwright.presets.loading import LoadedSam

__all__ = ["Clicks", "MaskCandidate", "SamEmbedding", "decode", "encode", "mask_prompt", "to_input_pixels"]

_MASK_LOGIT = 10.0
"""Logit of a mask without logits of its own, such as an accepted one, when clicks correct it."""
_BOX_MARGIN = 0.03
"""Share of a box's side by which a mask may exceed it, for presets with `filled_box`."""


class SamEmbedding(NamedTuple):
    """An image after SAM's image encoder."""

    features: Tensor
    """(1, C, h, w)"""
    input_hw: tuple[int, int]
    """Size of the resized image inside the padded input"""


class Clicks(NamedTuple):
    """A point and box prompt in pixels of the image."""

    points: NDArray[np.float64]
    """(N, 2) x and y"""
    labels: NDArray[np.int64]
    """(N,) 1 for a positive, 0 for a negative point"""
    box: tuple[float, float, float, float] | None
    """left, top, right, bottom"""


class MaskCandidate(NamedTuple):
    """One mask for a prompt, which may be ambiguous."""

    mask: NDArray[np.bool_]
    """(H, W)"""
    score: float
    """Predicted IoU, or the stability score of an automatic mask; 0 to 1"""
    logits: Tensor
    """(1, 4h, 4w), a mask prompt for the next click"""


@torch.inference_mode()
def encode(
    preset: LoadedSam,
    pixels: NDArray[np.uint8],
    device: torch.device,
    *,
    limits: tuple[float, float] | None = None,
) -> SamEmbedding:
    """Encode an (H, W, 3) image, its longest side resized to that of the input.

    Args:
        preset: SAM.
        pixels: of the image.
        device: of the model.
        limits: of the contrast, where the preset stretches it; None takes the image's own.
    """
    settings = preset.settings
    height, width = pixels.shape[:2]
    scale = settings.model.longest / max(height, width)
    size = max(1, math.floor(height * scale + 0.5)), max(1, math.floor(width * scale + 0.5))
    # Pillow's filter, as the authors' predictor: it averages when it makes smaller
    image = Pillow.fromarray(stretch_contrast(pixels, limits) if settings.stretch else pixels)
    resized = np.array(image.resize(size[::-1], Pillow.Resampling.BILINEAR))
    batch = torch.from_numpy(resized).to(device).permute(2, 0, 1)[None].float()
    encoder = preset.model.image_encoder
    features, _ = encoder(preprocess(batch, settings.model).to(next(encoder.parameters()).dtype))
    # the decoder runs in single precision
    return SamEmbedding(features.float(), size)


@torch.inference_mode()
def decode(
    preset: LoadedSam,
    embedding: SamEmbedding,
    clicks: Clicks,
    start: NDArray[np.bool_] | Tensor | None,
    size_hw: tuple[int, int],
) -> list[MaskCandidate]:
    """Predict masks for a prompt, best first: three for a single point, which is ambiguous, else one.

    Args:
        preset: SAM.
        embedding: of the image.
        clicks: at least one point or a box.
        start: the mask to correct, as an (H, W) mask or as the logits of an earlier candidate.
        size_hw: of the image.
    """
    settings, config = preset.settings, preset.settings.model
    limits = None
    if start is None and clicks.box is not None and settings.filled_box:
        start, limits = _box_mask(clicks.box, size_hw, 0.0), _box_mask(clicks.box, size_hw, _BOX_MARGIN)
    ambiguous = start is None and clicks.box is None and len(clicks.points) == 1
    if isinstance(start, np.ndarray):
        start = mask_prompt(start, config, embedding)
    prompts = _prompts(clicks, start, size_hw, embedding)
    logits, scores = preset.model.decode(embedding.features, prompts)
    outputs = slice(1, None) if ambiguous else slice(0, 1)
    logits, scores = logits[0, outputs], scores[0, outputs]
    if settings.connected:
        logits = _drop_unclicked_parts(logits, prompts, clicks, config)
    candidates = []
    for n in scores.argsort(descending=True).tolist():
        # one at a time: at 100 megapixels a plane of logits is 400 MB
        full = postprocess(logits[None, n : n + 1], embedding.input_hw, size_hw, config)[0, 0]
        mask = (full > 0).cpu().numpy()
        mask = mask if limits is None else mask & limits
        candidates.append(MaskCandidate(mask, float(scores[n].clamp(0, 1)), logits[n : n + 1]))
    return candidates


def to_input_pixels(points: NDArray[np.float64], size_hw: tuple[int, int], embedding: SamEmbedding) -> Tensor:
    """(…, 2) points of an image in pixels of the encoder's input, which counts from the centre of the first pixel."""
    ratio = [new / old for new, old in zip(embedding.input_hw[::-1], size_hw[::-1], strict=True)]
    return torch.from_numpy(points * ratio - 0.5).float().to(embedding.features.device)


def mask_prompt(mask: NDArray[np.bool_], config: SamConfig, embedding: SamEmbedding) -> Tensor:
    """(1, 4h, 4w) logits of an (H, W) mask that SAM did not predict itself."""
    device = embedding.features.device
    plane = torch.from_numpy(mask).to(device)[None, None].float()
    plane = F.interpolate(plane, embedding.input_hw, mode="bilinear")
    side = config.stride // 4
    h, w = embedding.features.shape[-2:]
    padded = F.pad(plane, (0, 4 * w * side - plane.shape[-1], 0, 4 * h * side - plane.shape[-2]))
    small = F.avg_pool2d(padded, side) if side > 1 else padded
    return ((small * 2 - 1) * _MASK_LOGIT)[0]


def _prompts(clicks: Clicks, start: Tensor | None, size_hw: tuple[int, int], embedding: SamEmbedding) -> Prompts:
    points = labels = boxes = None
    if len(clicks.points):
        points = to_input_pixels(clicks.points, size_hw, embedding)[None]
        labels = torch.from_numpy(clicks.labels).to(points.device)[None]
    if clicks.box is not None:
        boxes = to_input_pixels(np.array(clicks.box).reshape(2, 2), size_hw, embedding).reshape(1, 4)
    return Prompts(points, labels, boxes, None if start is None else start[None])


def _box_mask(box: tuple[float, float, float, float], size_hw: tuple[int, int], margin: float) -> NDArray[np.bool_]:
    """(H, W) mask of the pixels that a box covers, extended on every side by a share of its length."""
    x0, y0, x1, y1 = box
    dx, dy = margin * (x1 - x0), margin * (y1 - y0)
    mask = np.zeros(size_hw, np.bool_)
    rows = slice(max(0, math.floor(y0 - dy)), math.ceil(y1 + dy))
    mask[rows, max(0, math.floor(x0 - dx)) : math.ceil(x1 + dx)] = True
    return mask


def _drop_unclicked_parts(logits: Tensor, prompts: Prompts, clicks: Clicks, config: SamConfig) -> Tensor:
    """(N, 4h, 4w) logits that are negative in the connected parts without a positive point."""
    positive = clicks.labels == 1
    if prompts.points is None or not positive.any():
        return logits
    cells = (prompts.points[0, torch.from_numpy(positive)] + 0.5) / (config.stride // 4)
    columns, rows = cells.cpu().numpy().astype(int).T
    result = logits.clone()
    for number, plane in enumerate((logits > 0).cpu().numpy()):
        parts = label_components(plane)
        rows, columns = rows.clip(0, plane.shape[0] - 1), columns.clip(0, plane.shape[1] - 1)
        clicked = set(parts[rows, columns].tolist()) - {0}
        if clicked:
            dropped = torch.from_numpy(plane & ~np.isin(parts, list(clicked))).to(result.device)
            result[number] = torch.where(dropped, -result[number].abs(), result[number])
    return result
