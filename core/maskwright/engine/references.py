"""Reference prompts with INSID3: cached features, the mask in pixels of the image, and the prediction."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from maskwright import __version__
from maskwright.domain import Image, Prediction, PromptKind, Provenance, Reference, ReferencePrompt
from maskwright.engine.cache import EmbeddingCache, EmbeddingKey, load_tensor, save_tensor
from maskwright.engine.tiles import SIDE, Tile, around, grid, is_large, whole
from maskwright.errors import BadPrompt
from maskwright.imaging.normalization import stretch_contrast
from maskwright.models import insid3
from maskwright.models.crf import crf
from maskwright.models.dense_features import dense_features, square_input, stretched
from maskwright.models.insid3 import EncodedReference, PatchFeatures
from maskwright.models.pamr import pamr
from maskwright.presets.config import Insid3Settings
from maskwright.presets.loading import LoadedInsid3
from maskwright.progress import Progress

__all__ = ["ReferenceSegmenter"]

_LEAST_SHARE = 0.5
"""Of the highest confidence in a tile of a large image: below it the mask of a tile does not count."""
_PAMR_SIDE = 512
"""Side at which PAMR refines at most: its weights are 48 numbers a pixel."""


class _Procedure(NamedTuple):
    """What an image's features depend on beside the weights."""

    settings: Insid3Settings
    size: int
    """Side of the square input, in pixels."""
    components: int
    """Dimensions of the positional subspace."""


class ReferenceSegmenter:
    """INSID3 with a basis of its positional subspace, which is cached on disk."""

    def __init__(
        self, preset: LoadedInsid3, device: torch.device, embeddings: EmbeddingCache, cache_folder: Path
    ) -> None:
        self._preset, self._device, self._embeddings = preset, device, embeddings
        self._cache_folder = cache_folder.expanduser()
        self._complements: dict[_Procedure, Tensor] = {}

    def provenance(self, image: Image, prompt: ReferencePrompt) -> Provenance:
        """See `Engine.provenance`."""
        parameters = {
            **asdict(self._preset.settings.method),
            "refine": prompt.refine,
            "not_this": [reference.identity for reference in prompt.negative_references],
        }
        identities = [reference.identity for reference in prompt.references]
        return Provenance(PromptKind.REFERENCE, self._preset.ref, "insid3", image.sha256, identities, parameters)

    @torch.inference_mode()
    def segment(self, image: Image, prompt: ReferencePrompt, progress: Progress) -> Prediction:
        """See `Engine.segment_like`."""
        references = (*prompt.references, *prompt.negative_references)
        encoded = []
        for done, reference in enumerate(references):
            progress.check()
            progress.report(done, len(references) + 1, "Encoding")
            encoded.append(self._encode_reference(reference))
        positive, negative = encoded[: len(prompt.references)], encoded[len(prompt.references) :]
        side = max(SIDE, *(max(_tile_of(reference)[2:4]) for reference in prompt.references))
        tiles = grid(image.size_hw, side) if is_large(image.size_hw) else [whole(image.size_hw)]
        found: list[tuple[Tile, NDArray[np.bool_], float]] = []
        for done, tile in enumerate(tiles):
            progress.check()
            part = tile.of(image)
            mask, confidence = self._segment(part, self._features(part), positive, negative, prompt.refine)
            found.append((tile, mask, confidence))
            steps = len(references) + len(tiles)
            progress.report(len(references) + done + 1, steps, "Encoding")
        label_map, score = _joined(found, image.size_hw)
        return Prediction(
            label_map=label_map,
            categories=(prompt.category or prompt.references[0].mask.category or "object",),
            scores=(score,),
            max_scores=(score,),
            out_of_vocabulary=(),
            provenance=self.provenance(image, prompt),
        )

    @torch.inference_mode()
    def match_points(self, source: Image, points_xy: ArrayLike, target: Image) -> NDArray[np.float64]:
        """See `Engine.match_points`."""
        points = _points_inside(points_xy, source.size_hw)
        settings = self._preset.settings
        matching = settings.points
        procedure = self._procedure
        if matching is not None:
            procedure = _Procedure(settings, matching.size, matching.components)
        source_features, target_features = self._features(source, procedure), self._features(target, procedure)
        h, w = source_features.grid_hw
        # INSID3 counts patches from 0 at their centres, pixels count from 0 at the border: half a patch apart
        centre = 0.5 if matching is None or matching.centred else 0.0
        half = [np.array([image.size_hw[1] / w, image.size_hw[0] / h]) * centre for image in (source, target)]
        matched = insid3.match_points(
            source_features.debiased,
            target_features.debiased,
            source_features.grid_hw,
            torch.from_numpy(points - half[0]).float().to(self._device),
            (source.size_hw, target.size_hw),
        )
        return matched.double().cpu().numpy() + half[1]

    def _segment(
        self,
        image: Image,
        target: PatchFeatures,
        positive: Sequence[EncodedReference],
        negative: Sequence[EncodedReference],
        refine: str | None,
    ) -> tuple[NDArray[np.bool_], float]:
        """(H, W) mask, and the confidence in it."""
        method = self._preset.settings.method
        segmentation = insid3.segment(target, positive, method, negative_references=negative)
        if not segmentation.mask.any():
            return np.zeros(image.size_hw, np.bool_), 0.0
        square = insid3.square_mask(segmentation.mask, target.grid_hw, method.size)
        if refine is not None:
            pixels = stretched(_unit_range(image.pixels, self._device), method.size)
            square = crf(pixels, square) if refine == "crf" else _refine_pamr(pixels, square)
        mask = insid3.resized_mask(square, image.size_hw).cpu().numpy()
        return mask, segmentation.confidence if mask.any() else 0.0

    def _encode_reference(self, reference: Reference) -> EncodedReference:
        tile = _tile_of(reference)
        features = self._features(tile.of(reference.image))
        mask = torch.from_numpy(tile.sample(reference.mask)).to(features.original.device)
        grid_mask = insid3.grid_mask(mask, self._preset.settings.method.size, features.grid_hw)
        return insid3.encode_reference(features, grid_mask)

    @property
    def _procedure(self) -> _Procedure:
        """That of masks."""
        settings = self._preset.settings
        return _Procedure(settings, settings.method.size, settings.method.components)

    def _features(self, image: Image, procedure: _Procedure | None = None) -> PatchFeatures:
        """Patch features of an image, cached; by default those that masks are found with."""
        procedure = procedure or self._procedure

        def encode() -> PatchFeatures:
            pixels = stretch_contrast(image.pixels, image.contrast) if procedure.settings.stretch else image.pixels
            square = square_input(_unit_range(pixels, self._device), procedure.size)
            return insid3.encode(self._dense_features(square), self._complement_basis(procedure))

        key = EmbeddingKey(image.sha256, self._preset.ref, procedure)
        return self._embeddings.get_or_make(key, encode)  # type: ignore[no-any-return]

    def _dense_features(self, square: Tensor) -> Tensor:
        settings = self._preset.settings
        return dense_features(self._preset.model, square, stem=settings.stem, position=settings.position)

    def _complement_basis(self, procedure: _Procedure) -> Tensor:
        """(C, C - k) basis of the orthogonal complement of the preset's positional subspace."""
        if procedure not in self._complements:
            self._complements[procedure] = insid3.complement_of(self._positional_basis(procedure))
        return self._complements[procedure]

    def _positional_basis(self, procedure: _Procedure) -> Tensor:
        """(C, k) basis of the positional subspace, from disk or from the features of a black image."""
        size = procedure.size
        key = f"{self._preset.ref.sha256} {procedure} {self._device.type} {__version__}"
        file = self._cache_folder / f"positions-{hashlib.sha256(key.encode()).hexdigest()[:24]}.safetensors"
        basis = load_tensor(file, "basis", self._device)
        if basis is None:
            black = square_input(torch.zeros(3, size, size, device=self._device), size)
            basis = insid3.positional_basis(self._dense_features(black), procedure.components)
            save_tensor(file, "basis", basis)
        return basis


def _tile_of(reference: Reference) -> Tile:
    """The part of the reference image that is encoded: of a large one, that around the mask."""
    x, y, width, height = reference.mask.bbox
    return next(around(reference.image.size_hw, (x, y, x + width, y + height)))


def _joined(
    found: Sequence[tuple[Tile, NDArray[np.bool_], float]], size_hw: tuple[int, int]
) -> tuple[NDArray[np.int32], float]:
    """(H, W) label map of an image from the masks of its tiles, and the confidence in it.

    A tile in which the confidence is less than half of the highest shows something else.
    """
    highest = max(confidence for _, _, confidence in found)
    counted = [(tile, mask) for tile, mask, confidence in found if mask.any() and confidence >= _LEAST_SHARE * highest]
    # of a large image only the part with the masks takes memory
    label_map = np.zeros(size_hw, np.int32)
    for tile, mask in counted:
        left, top, right, bottom = tile.edges
        pixels = mask.repeat(tile.factor, axis=0).repeat(tile.factor, axis=1) if tile.factor > 1 else mask
        label_map[top:bottom, left:right][pixels[: tile.height, : tile.width]] = 1
    label_map.flags.writeable = False
    return label_map, highest


def _unit_range(pixels: NDArray[np.uint8], device: torch.device) -> Tensor:
    """(3, H, W) in 0..1."""
    return torch.from_numpy(pixels.copy()).to(device).permute(2, 0, 1).float() / 255


def _refine_pamr(pixels: Tensor, square: Tensor) -> Tensor:
    side = min(_PAMR_SIDE, len(square))
    small = F.interpolate(square[None, None].float(), (side, side), mode="area")
    refined = pamr(F.interpolate(pixels[None] * 255, (side, side), mode="area"), small)
    return F.interpolate(refined, tuple(square.shape), mode="bilinear")[0, 0] > 0.5


def _points_inside(points_xy: ArrayLike, size_hw: tuple[int, int]) -> NDArray[np.float64]:
    """(K, 2) points inside an image; raises BadPrompt."""
    points = np.asarray(points_xy, np.float64)
    if points.ndim != 2 or points.shape[1] != 2:
        raise BadPrompt("Points must be a list of (x, y) pairs.")
    inside = (points >= 0).all(axis=1) & (points[:, 0] <= size_hw[1]) & (points[:, 1] <= size_hw[0])
    if not inside.all():
        raise BadPrompt("That point is outside the image. Nothing changed.")
    return points
