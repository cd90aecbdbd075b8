"""Click prompts: validation, cached embeddings and logits, and the prediction."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from maskwright.domain import EverythingPrompt, Image, Mask, Prediction, PromptKind, Provenance
from maskwright.engine import sam
from maskwright.engine.cache import EmbeddingCache, EmbeddingKey, LruCache
from maskwright.engine.everything import generate_masks, resolve
from maskwright.engine.sam import Clicks, MaskCandidate, SamEmbedding
from maskwright.errors import BadPrompt, InvalidMask
from maskwright.presets.loading import LoadedSam
from maskwright.progress import NO_PROGRESS, Progress

__all__ = ["ClickSegmenter", "parse_clicks"]

_CACHED_LOGITS = 96


class ClickSegmenter:
    """SAM with the logits of its latest masks, which further clicks on them start from."""

    def __init__(self, preset: LoadedSam, device: torch.device, embeddings: EmbeddingCache) -> None:
        self.preset = preset
        self._device, self._embeddings = device, embeddings
        self._logits = LruCache[tuple[str, str], Tensor](_CACHED_LOGITS)

    def segment(self, image: Image, clicks: Clicks, start: Mask | None, category: str | None) -> Prediction:
        """See `Engine.segment_click`."""
        if not len(clicks.points) and clicks.box is None:
            raise BadPrompt("Click on the thing first, or draw a box around it.")
        if start is not None and tuple(start.rle["size"]) != image.size_hw:
            raise InvalidMask("The mask to correct has another size than its image.")
        prompt = {
            "points": [[*map(float, xy), int(label)] for xy, label in zip(clicks.points, clicks.labels, strict=True)],
            "box": clicks.box,
            "start": None if start is None else hashlib.sha256(start.rle["counts"].encode()).hexdigest(),
        }
        kind = PromptKind.CLICK if len(clicks.points) else PromptKind.BOX
        provenance = self._provenance(image, kind, prompt, {})
        known = None if start is None else self.mask_or_logits(image, start)
        candidates = sam.decode(self.preset, self.embedding(image), clicks, known, image.size_hw)
        name = category or (start.category if start else None) or "object"
        masks = self._masks(image, [c for c in candidates if c.mask.any()], name)
        return _prediction(image, name, masks, masks[:1], provenance)

    def segment_everything(self, image: Image, prompt: EverythingPrompt, progress: Progress) -> Prediction:
        """See `Engine.segment_everything`."""
        prompt = resolve(prompt, self.preset.settings)
        # names of version 0.7, as projects store them
        parameters = {
            "side": prompt.points_per_side,
            "least_score": prompt.pred_iou_thresh,
            "least_stability": prompt.stability_score_thresh,
        }
        provenance = self._provenance(image, PromptKind.EVERYTHING, PromptKind.EVERYTHING.value, parameters)
        candidates = generate_masks(self.preset, self.embedding(image), image.size_hw, prompt, progress)
        masks = self._masks(image, candidates, prompt.category)
        return _prediction(image, prompt.category, masks, masks, provenance)

    def embedding(self, image: Image, progress: Progress = NO_PROGRESS) -> SamEmbedding:
        """The image after SAM's encoder, cached; raises Cancelled on request."""
        key = EmbeddingKey(image.sha256, self.preset.ref, self.preset.settings)
        return self._embeddings.get_or_make(  # type: ignore[no-any-return]
            key, lambda: sam.encode(self.preset, image.pixels, self._device, progress=progress)
        )

    def mask_or_logits(self, image: Image, mask: Mask) -> Tensor | NDArray[np.bool_]:
        """The logits of a mask that was predicted here lately, else the (H, W) mask itself."""
        logits = self._logits.get((image.sha256, mask.rle["counts"]))
        return mask.to_array() if logits is None else logits

    def _masks(self, image: Image, candidates: Sequence[MaskCandidate], category: str) -> list[Mask]:
        """Candidates as masks, each set of pixels once; their logits are cached."""
        masks: dict[str, Mask] = {}
        for candidate in candidates:
            mask = Mask.from_array(candidate.mask, category=category, score=round(candidate.score, 4))
            counts = mask.rle["counts"]
            if counts not in masks:
                masks[counts] = mask
                self._logits.put((image.sha256, counts), candidate.logits)
        return list(masks.values())

    def _provenance(self, image: Image, kind: PromptKind, prompt: Any, parameters: Mapping[str, Any]) -> Provenance:
        return Provenance(kind, self.preset.ref, "sam", image.sha256, prompt, parameters)


def _prediction(
    image: Image, category: str, masks: Sequence[Mask], displayed: Sequence[Mask], provenance: Provenance
) -> Prediction:
    """A prediction whose label map is the union of the displayed masks."""
    label_map = np.zeros(image.size_hw, np.int32)
    for mask in displayed:
        label_map[mask.to_array()] = 1
    best = max((float(mask.score or 0) for mask in masks), default=0.0)
    return Prediction(
        label_map=label_map,
        categories=(category,),
        scores=(best,),
        max_scores=(best,),
        out_of_vocabulary=(),
        provenance=provenance,
        overlapping_masks=tuple(masks),
    )


def parse_clicks(
    points: ArrayLike | Sequence[Sequence[float]],
    labels: ArrayLike | None,
    box: Sequence[float] | None,
    size_hw: tuple[int, int],
) -> Clicks:
    """Check a point and box prompt on an image of the given size.

    Args:
        points: (N, 2) x and y in pixels.
        labels: (N,) 1 or 0; None makes all points positive.
        box: left, top, right, bottom in pixels.
        size_hw: of the image.

    Raises:
        BadPrompt: wrong shapes, a point outside the image, or a box without area.
    """
    xy = np.asarray(points, np.float64) if np.size(points) else np.zeros((0, 2))
    if xy.ndim != 2 or xy.shape[1] != 2:
        raise BadPrompt("Points must be a list of (x, y) pairs.")
    signs = np.ones(len(xy), np.int64) if labels is None else np.asarray(labels).reshape(-1)
    if len(signs) != len(xy):
        raise BadPrompt(f"There are {len(xy)} points and {len(signs)} labels. Give one label for each point.")
    if not np.isin(signs, (0, 1)).all():
        raise BadPrompt("The label of a point must be 1 (positive) or 0 (negative).")
    height, width = size_hw
    inside = (xy >= 0).all(axis=1) & (xy[:, 0] <= width) & (xy[:, 1] <= height)
    if not inside.all():
        raise BadPrompt("That point is outside the image. Nothing changed.")
    return Clicks(xy, signs.astype(np.int64), None if box is None else _parse_box(box, size_hw))


def _parse_box(box: Sequence[float], size_hw: tuple[int, int]) -> tuple[float, float, float, float]:
    """Corners in order, cut at the border of the image."""
    corners = np.asarray(box, np.float64)
    if corners.shape != (4,) or not np.isfinite(corners).all():
        raise BadPrompt("A box must be four numbers: left, top, right, bottom.")
    height, width = size_hw
    x0, x1 = np.clip(sorted((corners[0], corners[2])), 0, width)
    y0, y1 = np.clip(sorted((corners[1], corners[3])), 0, height)
    if x1 <= x0 or y1 <= y0:
        raise BadPrompt("That box is empty or outside the image. Draw it around the thing.")
    return float(x0), float(y0), float(x1), float(y1)
