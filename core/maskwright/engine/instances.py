"""One mask per object inside the region of a class: SAM's masks of clicks into it, else the pieces of a watershed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from maskwright.domain import Image, Mask
from maskwright.domain.mask import iou
from maskwright.engine.clicks import ClickSegmenter
from maskwright.engine.everything import click_each, stability_scores
from maskwright.engine.sam import Clicks, SamEmbedding, decode
from maskwright.imaging.geometry import label_components
from maskwright.imaging.touching import centers, split_touching
from maskwright.models.sam import postprocess
from maskwright.progress import Progress

__all__ = ["ObjectDivider"]

_SIDE = 1024
"""Longest side, in pixels, at which a region is divided; SAM sees no more, either."""
_SMALLEST = 12
"""Pixels, at that size, of the smallest object."""
_MOST_CLICKS = 64
"""Pieces that are clicked, the largest first; more of them are small and roundish, and the watershed is enough."""
_ACCEPTED = ((0.7, 0.5), (0.5, 0.9))
"""What a mask of SAM needs: the product of predicted IoU and stability, and with it the share that lies in the region.
A sure mask may leave the region, for its contour is the better one."""
_NEW = 0.6
"""Share of an object that must not belong to better ones."""
_COVERED = 0.5
"""Share of a piece that a mask must cover to stand for it."""
_LARGER = 10
"""How many times larger an object must be for a piece of the watershed beside it to be a part of it."""
_LARGE = 0.03
"""Share of the image from which on a connected part of the region may be one object, such as a bus or a person."""
_WHOLE = 0.75
"""IoU of a large part and of SAM's mask for the box around it from which on it is one object and is not divided."""
_PIECE = 0.1
"""Rank of a piece that no mask fits: after all masks."""


class _Object(NamedTuple):
    """A candidate at the size at which the region is divided."""

    rank: float
    mask: NDArray[np.bool_]
    """(h, w)"""
    logits: Tensor | None
    """(1, 1, 4h, 4w) of SAM; None for a piece of the watershed"""
    attached: NDArray[np.bool_] | None = None
    """(h, w) of small pieces beside it that belong to it"""


class _Piece(NamedTuple):
    """One of the pieces of a region."""

    pieces: NDArray[np.int32]
    """(h, w) numbers of all pieces"""
    number: int


class ObjectDivider:
    """Divides regions of classes into objects, with SAM where there is one."""

    def __init__(self, clicks: ClickSegmenter | None, lock: AbstractContextManager[Any]) -> None:
        """Take SAM, if there is one, and the lock of its engine."""
        self._clicks, self._lock = clicks, lock

    @property
    def parameters(self) -> dict[str, Any]:
        """For the provenance: the models that made the objects."""
        sam = None if self._clicks is None else self._clicks.preset.ref
        return {"split": "watershed", "clicks": None if sam is None else {"preset": sam.name, "weights": sam.sha256}}

    def objects(
        self, image: Image, region: NDArray[np.bool_], probability: NDArray[np.float32], category: str,
        progress: Progress,
    ) -> list[Mask]:  # fmt: skip
        """Divide the region of one class.

        Args:
            image: of the region.
            region: (H, W) pixels of the class.
            probability: (H, W) of the class.
            category: name of the class.
            progress: reports clicks, and cancels between batches of them.

        Returns:
            Disjoint masks, the largest first; the score is the mean probability in the region.
        """
        if not region.any():
            return []
        scale = min(1.0, _SIDE / max(region.shape))
        size = max(1, round(region.shape[0] * scale)), max(1, round(region.shape[1] * scale))
        small = _resize(region, size) >= 0.5
        with self._lock:
            whole = self._whole(image, small)
            rest = small & ~np.any([found.mask for found in whole], axis=0) if whole else small
            pieces = split_touching(rest, _resize(probability, size), smallest=_SMALLEST)
            objects = _joined(_distinct([*whole, *self._candidates(image, small, pieces, progress)]))
        taken = np.zeros(region.shape, np.bool_)
        masks = []
        for found in objects:
            pixels = self._full_size(image, found, region) & ~taken
            if pixels.any():
                taken |= pixels
                known = pixels & region if (pixels & region).any() else pixels
                score = round(float(probability[known].mean()), 4)
                masks.append(Mask.from_array(pixels, category=category, score=score))
        return sorted(masks, key=lambda mask: -mask.area)

    def _whole(self, image: Image, region: NDArray[np.bool_]) -> list[_Object]:
        """Large connected parts of the region that SAM sees as one object when it is given the box around them."""
        if self._clicks is None:
            return []
        parts = label_components(region)
        areas = np.bincount(parts.ravel())
        scale = np.array(image.size_hw) / np.array(region.shape)
        whole = []
        for number in np.flatnonzero(areas >= _LARGE * region.size):
            part = parts == number
            if not number:
                continue
            (top, left), (bottom, right) = (np.argwhere(part).min(axis=0), np.argwhere(part).max(axis=0) + 1)
            box = (left * scale[1], top * scale[0], right * scale[1], bottom * scale[0])
            prompt = Clicks(np.zeros((0, 2)), np.zeros(0, np.int64), box)
            best = decode(self._clicks.preset, self._clicks.embedding(image), prompt, None, image.size_hw)[0]
            mask = _resize(best.mask, region.shape) >= 0.5
            if iou(mask, part) >= _WHOLE:
                whole.append(_Object(1 + best.score, mask, best.logits[None]))
        return whole

    def _candidates(
        self, image: Image, region: NDArray[np.bool_], pieces: NDArray[np.int32], progress: Progress
    ) -> Iterator[_Object]:
        """For each piece SAM's mask that fits it best, else the piece."""
        areas = np.bincount(pieces.ravel())[1:]
        order = np.argsort(-areas, kind="stable")
        clicked = order[: _MOST_CLICKS if self._clicks else 0]
        for number in order[len(clicked) :] + 1:
            yield _Object(_PIECE, pieces == number, None)
        if self._clicks is None or not len(clicked):
            return
        points = centers(pieces)[clicked] / np.array(region.shape[::-1]) * np.array(image.size_hw[::-1])
        settings, embedding = self._clicks.preset.settings, self._clicks.embedding(image)
        best = {number: _Object(_PIECE, pieces == number, None) for number in clicked + 1}
        clicks = click_each(
            self._clicks.preset, embedding, points, image.size_hw, progress, least_iou=min(_ACCEPTED)[0]
        )  # fmt: skip
        for indices, logits, scores in clicks:
            stable = stability_scores(logits.flatten(0, 1), settings.stability_score_offset).view(scores.shape)
            masks = (_upsample(logits, embedding, region.shape, self._clicks) > 0).cpu().numpy()
            for index, quality in enumerate((scores * stable).cpu().numpy()):
                number = int(clicked[indices[index]]) + 1
                for n, mask in enumerate(masks[index]):
                    rank = _fit(mask, _Piece(pieces, number), region, float(quality[n]))
                    if rank > best[number].rank:
                        found = logits[index : index + 1, n : n + 1].clone()
                        best[number] = _Object(rank, mask.copy(), found)
        yield from best.values()

    def _full_size(self, image: Image, found: _Object, region: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """(H, W) pixels of an object in the image."""
        whole = found.mask if found.attached is None else found.mask | found.attached
        if whole.shape == region.shape:
            return whole
        pieces = whole if found.logits is None else found.attached
        pixels = np.zeros_like(region) if pieces is None else (_resize(pieces, region.shape) >= 0.5) & region
        if found.logits is not None and self._clicks is not None:
            logits = _upsample(found.logits, self._clicks.embedding(image), region.shape, self._clicks)
            pixels |= (logits[0, 0] > 0).cpu().numpy()
        return pixels


def _fit(mask: NDArray[np.bool_], piece: _Piece, region: NDArray[np.bool_], quality: float) -> float:
    """Rank of SAM's mask for a piece: its quality times its IoU with all pieces that it covers.

    0 for a mask that is not to be accepted, or that does not cover the piece itself.
    """
    pieces, number = piece
    area = int(mask.sum())
    if area < _SMALLEST:
        return 0.0
    inside = (mask & region).sum() / area
    if not any(quality >= least and inside >= share for least, share in _ACCEPTED):
        return 0.0
    areas = np.bincount(pieces.ravel())
    shared = np.bincount(pieces[mask], minlength=len(areas))
    covered = shared >= _COVERED * areas
    covered[0] = False
    if not covered[number]:
        return 0.0
    both = int(shared[covered].sum())
    return quality * both / (area + int(areas[covered].sum()) - both)


def _distinct(candidates: Iterable[_Object]) -> list[_Object]:
    """The best first, without those that lie in better ones."""
    chosen: list[_Object] = []
    taken: NDArray[np.bool_] | None = None
    for candidate in sorted(candidates, key=lambda found: -found.rank):
        mask = candidate.mask if taken is None else candidate.mask & ~taken
        new = int(mask.sum())
        if new >= max(_SMALLEST, _NEW * int(candidate.mask.sum())):
            chosen.append(candidate)
            taken = mask.copy() if taken is None else taken | mask
    return chosen


def _joined(objects: list[_Object]) -> list[_Object]:
    """Objects without the specks, which are much smaller pieces of the watershed that no mask of SAM fits.

    A speck beside a larger object, such as a hoof that a rein cuts off, is a part of it; the others are errors of the
    region.
    """
    from scipy.ndimage import binary_dilation

    areas = [int(found.mask.sum()) for found in objects]
    specks: set[int] = set()
    for place, piece in enumerate(objects):
        if piece.logits is None and max(areas) >= _LARGER * areas[place]:
            specks.add(place)
            around = binary_dilation(piece.mask, np.ones((3, 3)))
            beside = [
                other for other, found in enumerate(objects)
                if areas[other] >= _LARGER * areas[place] and (around & found.mask).any()
            ]  # fmt: skip
            if beside:
                # to the first, which ranks highest
                owner = objects[beside[0]]
                parts = piece.mask if owner.attached is None else owner.attached | piece.mask
                objects[beside[0]] = owner._replace(attached=parts)
    return [found for place, found in enumerate(objects) if place not in specks]


@torch.inference_mode()
def _upsample(logits: Tensor, embedding: SamEmbedding, size_hw: tuple[int, ...], clicks: ClickSegmenter) -> Tensor:
    """(B, N, 4h, 4w) logits at the size (H, W)."""
    return postprocess(logits, embedding.input_hw, (size_hw[0], size_hw[1]), clicks.preset.settings.model)


def _resize(plane: NDArray[Any], size_hw: tuple[int, ...]) -> NDArray[np.float32]:
    """(h, w) float32 at another size; averaged where it becomes smaller."""
    if plane.shape == tuple(size_hw):
        return plane.astype(np.float32)
    tensor = torch.from_numpy(plane.astype(np.float32))[None, None]
    smaller = size_hw[0] <= plane.shape[0]
    if smaller:
        return F.interpolate(tensor, tuple(size_hw), mode="area")[0, 0].numpy()
    return F.interpolate(tensor, tuple(size_hw), mode="bilinear", align_corners=False)[0, 0].numpy()
