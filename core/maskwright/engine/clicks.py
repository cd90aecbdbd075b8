"""Click prompts: validation, cached embeddings and logits, and the prediction."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from maskwright.domain import EverythingPrompt, Image, Mask, Prediction, PromptKind, Provenance
from maskwright.engine import sam
from maskwright.engine.cache import EmbeddingCache, EmbeddingKey, LruCache
from maskwright.engine.everything import generate_masks, is_duplicate, resolve
from maskwright.engine.sam import Clicks, MaskCandidate, SamEmbedding
from maskwright.engine.tiles import Piece, Tile, around, grid, is_large, keep_distinct, whole
from maskwright.errors import BadPrompt, InvalidMask
from maskwright.presets.loading import LoadedSam
from maskwright.progress import Progress

__all__ = ["ClickSegmenter", "parse_clicks"]

_CACHED_LOGITS = 96


class KnownLogits(NamedTuple):
    """Logits of a mask, and the part of the image that they belong to."""

    tile: Tile
    logits: Tensor


class ClickSegmenter:
    """SAM with the logits of its latest masks, which further clicks on them start from."""

    def __init__(self, preset: LoadedSam, device: torch.device, embeddings: EmbeddingCache) -> None:
        self.preset = preset
        self._device, self._embeddings = device, embeddings
        self._logits = LruCache[tuple[str, str], KnownLogits](_CACHED_LOGITS)

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
        tile, candidates = self._decode(image, clicks, start)
        provenance = self._provenance(image, kind, prompt, {"tile": list(tile[:4])} if is_large(image.size_hw) else {})
        name = category or (start.category if start else None) or "object"
        masks = self._masks(image, tile, candidates, name)
        return _prediction(image, name, masks, masks[:1], provenance)

    def _decode(self, image: Image, clicks: Clicks, start: Mask | None) -> tuple[Tile, list[MaskCandidate]]:
        """Candidates that are not empty, in the smallest part of the image that holds the best of them."""
        known = None if start is None else self.known_logits(image, start)
        extent = _extent(clicks, start)
        tiles = list(around(image.size_hw, extent))
        if known is not None and known.tile not in tiles and known.tile.contains(extent):
            # a further click goes on where the one before it was
            larger = [tile for tile in tiles if tile[2] * tile[3] > known.tile[2] * known.tile[3]]
            tiles = [known.tile, *larger]
        for tile in tiles:
            before: Tensor | NDArray[np.bool_] | None = None
            if start is not None:
                before = known.logits if known is not None and known.tile == tile else tile.sample(start)
            embedding = self.embedding(tile.of(image))
            candidates = sam.decode(self.preset, embedding, _moved(clicks, tile), before, tile.size_hw)
            candidates = [candidate for candidate in candidates if candidate.mask.any()]
            if candidates and not tile.cuts(candidates[0].mask, image.size_hw):
                break
        # the tile does not show where the others end
        return tile, [c for n, c in enumerate(candidates) if not n or not tile.cuts(c.mask, image.size_hw)]

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
        if is_large(image.size_hw):
            masks = self._everything_in_tiles(image, prompt, progress)
        else:
            candidates = generate_masks(self.preset, self.embedding(image), image.size_hw, prompt, progress)
            masks = self._masks(image, whole(image.size_hw), candidates, prompt.category)
        return _prediction(image, prompt.category, masks, masks, provenance)

    def _everything_in_tiles(self, image: Image, prompt: EverythingPrompt, progress: Progress) -> list[Mask]:
        """Masks that lie whole in a tile, and of larger objects those of the whole image, the most stable first."""
        size, pieces = image.size_hw, list[Piece]()
        tiles = [*grid(size), whole(size)]
        for done, tile in enumerate(tiles):
            step = progress.part(done, len(tiles))
            embedding = self.embedding(tile.of(image))
            found = (
                Piece.of(candidate.mask, candidate.score, tile, size)
                for candidate in generate_masks(self.preset, embedding, tile.size_hw, prompt, step)
            )
            pieces = keep_distinct((piece for piece in found if not piece.cut), is_duplicate, pieces)
        return [piece.mask(prompt.category, size) for piece in sorted(pieces, key=lambda piece: -piece.score)]

    def prepare(self, image: Image) -> None:
        """Encode an image ahead of its first click; of a large one that would be the wrong part."""
        if not is_large(image.size_hw):
            self.embedding(image)

    def embedding(self, image: Image) -> SamEmbedding:
        """The image after SAM's encoder, cached."""
        key = EmbeddingKey(image.sha256, self.preset.ref, self.preset.settings)

        def encode() -> SamEmbedding:
            return sam.encode(self.preset, image.pixels, self._device, limits=image.contrast)

        return self._embeddings.get_or_make(key, encode)  # type: ignore[no-any-return]

    def known_logits(self, image: Image, mask: Mask) -> KnownLogits | None:
        """The logits of a mask that was predicted here lately, or None."""
        return self._logits.get((image.sha256, mask.rle["counts"]))

    def _masks(self, image: Image, tile: Tile, candidates: Sequence[MaskCandidate], category: str) -> list[Mask]:
        """Candidates as masks, each set of pixels once; their logits are cached."""
        masks: dict[str, Mask] = {}
        for candidate in candidates:
            mask = Piece.of(candidate.mask, candidate.score, tile, image.size_hw).mask(category, image.size_hw)
            counts = mask.rle["counts"]
            if counts not in masks:
                masks[counts] = mask
                self._logits.put((image.sha256, counts), KnownLogits(tile, candidate.logits))
        return list(masks.values())

    def _provenance(self, image: Image, kind: PromptKind, prompt: Any, parameters: Mapping[str, Any]) -> Provenance:
        return Provenance(kind, self.preset.ref, "sam", image.sha256, prompt, parameters)


def _prediction(
    image: Image, category: str, masks: Sequence[Mask], displayed: Sequence[Mask], provenance: Provenance
) -> Prediction:
    """A prediction whose label map is the union of the displayed masks."""
    # of a large image only the part with the masks takes memory
    label_map = np.zeros(image.size_hw, np.int32)
    for mask in displayed:
        x, y, width, height = mask.bbox
        label_map[y : y + height, x : x + width][mask.part()] = 1
    label_map.flags.writeable = False
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


def _extent(clicks: Clicks, start: Mask | None) -> tuple[float, float, float, float]:
    """Left, top, right, bottom of all that a prompt names."""
    corners = [*map(tuple, clicks.points)]
    if clicks.box is not None:
        corners += [clicks.box[:2], clicks.box[2:]]
    if start is not None and start.area:
        x, y, width, height = start.bbox
        corners += [(x, y), (x + width, y + height)]
    xs, ys = zip(*corners, strict=True)
    return float(min(xs)), float(min(ys)), float(max(xs)), float(max(ys))


def _moved(clicks: Clicks, tile: Tile) -> Clicks:
    """A prompt in pixels of a tile."""
    box = None
    if clicks.box is not None:
        (left, top), (right, bottom) = tile.points(np.array(clicks.box).reshape(2, 2)).tolist()
        box = left, top, right, bottom
    return Clicks(tile.points(clicks.points), clicks.labels, box)


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
