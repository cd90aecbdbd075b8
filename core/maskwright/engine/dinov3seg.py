"""dinov3.seg as a text method: encoding by local-global aggregation, preselection of classes, and their scores.

The paper resizes every image to a square of 640 pixels. Here the aspect ratio is kept and the area is that of the
square, so that wide and tall images cost the same and nothing is distorted, unless the protocol asks for the square.
Windows cover the whole image: the last of each row and column is shifted back to the border. The decoder's maps, at a
quarter of that size, are upsampled to the size of the image in one step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from maskwright.domain import ModelRef
from maskwright.engine.text_method import Scores, half_precision, preprocess, upsample
from maskwright.imaging.geometry import area_size, slide
from maskwright.models.cost_aggregation import correlation
from maskwright.models.dinov3seg import Dinov3Seg, ImageFeatures
from maskwright.models.sliding_window import average_windows
from maskwright.models.talk2dino import class_attention, clean, cls_attention
from maskwright.presets.config import Dinov3SegProtocol
from maskwright.presets.loading import LoadedDinov3Seg
from maskwright.progress import Progress

__all__ = ["Dinov3SegMethod", "SegEmbedding", "Snapshot"]

_CHUNK = 16
"""Classes that are refined and decoded at a time: bounds the working memory."""
_EPS = 1e-6
"""Averaged probabilities are clamped to this distance from 0 and 1 before they become logits again."""
_EXCLUDED = -100.0
"""Logit of a class that was not preselected."""


class Snapshot(NamedTuple):
    """The image at one size: features of the whole, and for CAT-Seg's aggregation also of each window."""

    whole: ImageFeatures
    windows: tuple[ImageFeatures, ...]
    positions: tuple[tuple[int, int], ...]
    """(top, left) of each of `windows` in the resized image"""
    resized_hw: tuple[int, int]
    attention: Tensor
    """(heads, h * w) logits of the attention of CLS to the patches of the whole, in the last block of the backbone"""


class SegEmbedding(NamedTuple):
    """The embedding of an image."""

    snapshots: tuple[Snapshot, ...]
    """One per size, the largest last"""


@dataclass(frozen=True, slots=True)
class Dinov3SegMethod:
    """dinov3.seg as a `TextMethod`."""

    preset: LoadedDinov3Seg
    device: torch.device
    name = "dinov3seg"

    @property
    def ref(self) -> ModelRef:
        """Name and weights hash of the model."""
        return self.preset.ref

    @property
    def procedure(self) -> Dinov3SegProtocol:
        """The settings that an embedding depends on."""
        return self.preset.settings.protocol

    @property
    def cleaning(self) -> float:
        """Weight of background cleaning."""
        return self.preset.settings.cleaning

    @torch.inference_mode()
    def encode(
        self, pixels: NDArray[np.uint8], progress: Progress, limits: tuple[float, float] | None = None
    ) -> SegEmbedding:
        """Encode an (H, W, 3) image at every size of the protocol."""
        image = preprocess(pixels, self.device, stretch=self.preset.settings.stretch, limits=limits)
        sides = sorted(self.preset.settings.protocol.sides)
        with half_precision(self.device, self.preset.model):
            return SegEmbedding(
                tuple(self._encode_at(image, side, progress.part(n, len(sides))) for n, side in enumerate(sides))
            )

    @torch.inference_mode()
    def class_embedding(self, synonyms: Sequence[str]) -> Tensor:
        """(P, C) unit vectors of one class: the mean over its synonyms, for each half of the text embedding."""
        prompts = [self.preset.settings.prompt.format(name) for name in synonyms]
        text = self.preset.model.vlm.encode_text(self.preset.tokenizer(prompts).to(self.device)).float()
        return F.normalize(self.preset.model.text_views(text).mean(dim=0), dim=-1)

    @torch.inference_mode()
    def scores(self, embedding: SegEmbedding, classes: Tensor, *, cleaning: float | None) -> Scores:
        """Logits of (T, P, C) classes; each class has a probability of its own, so background needs no score."""
        selected = _preselect(embedding.snapshots[-1].whole, classes, self.preset.settings.max_classes)
        with half_precision(self.device, self.preset.model):
            maps = [self._logits(snapshot, classes[selected], cleaning or 0.0) for snapshot in embedding.snapshots]
        merged = maps[-1]
        if len(maps) > 1:
            size = merged.shape[-2], merged.shape[-1]
            merged = torch.stack([upsample(m, size).sigmoid() for m in maps]).mean(dim=0).logit(eps=_EPS)
        logits = merged.new_full((len(classes), *merged.shape[1:]), _EXCLUDED)
        logits[selected] = merged
        return Scores(logits, probability=torch.sigmoid)

    def _encode_at(self, image: Tensor, side: int, progress: Progress) -> Snapshot:
        """Encode a normalised (1, 3, H, W) image, resized to the area of a square of `side`."""
        protocol, model = self.preset.settings.protocol, self.preset.model
        window, patch = protocol.window, self.preset.settings.model.vlm.backbone.patch
        size = (side, side)
        if not protocol.square:
            size = area_size((image.shape[-2], image.shape[-1]), side, least=window, multiple=patch)
        resized = F.interpolate(image, size, mode="bilinear", antialias=True)
        positions = tuple(slide(size, window, protocol.stride))
        if protocol.aggregation != "catseg":
            with _attention(model) as attention:
                local = positions if protocol.aggregation == "lga" else ()
                prior = positions if protocol.prior == "lga" else ()
                whole = model.aggregate_windows(resized, local, window, prior_positions=prior, progress=progress)
            return Snapshot(whole, (), (), size, attention())
        windows = []
        for done, (top, left) in enumerate(positions):
            progress.check()
            progress.report(done, len(positions) + 1, "Encoding")
            crop = resized[:, :, top : top + window, left : left + window]
            windows.append(model.encode(crop, model.patch_features(crop)))
        least = max(patch, window // 2 // patch * patch)
        small = F.interpolate(
            resized, area_size(size, window, least=least, multiple=patch), mode="bilinear", antialias=True
        )
        with _attention(model) as attention:
            whole = model.encode(small, model.patch_features(small))
        progress.report(len(positions) + 1, len(positions) + 1, "Encoding")
        return Snapshot(whole, tuple(windows), positions, size, attention())

    def _logits(self, snapshot: Snapshot, classes: Tensor, cleaning: float) -> Tensor:
        """(T, h, w) logits on any grid; cleaning works on their probabilities."""
        logits = self._compare(snapshot, classes)
        if not cleaning:
            return logits
        features = F.normalize(snapshot.whole.features[0].float(), dim=0)
        means = F.normalize(classes.mean(dim=1), dim=-1)
        attended = class_attention(features, snapshot.attention, means)
        attended = upsample(attended, (logits.shape[-2], logits.shape[-1]))
        return clean(logits.sigmoid(), attended, weight=cleaning).logit(eps=_EPS)

    def _compare(self, snapshot: Snapshot, classes: Tensor) -> Tensor:
        """(T, h, w) logits on any grid."""

        def compare(features: ImageFeatures) -> Tensor:
            pooling = self.preset.settings.class_pooling
            return self.preset.model.predict(features, classes[None], chunk=_CHUNK, pooling=pooling).float()[0]

        whole = compare(snapshot.whole)
        if not snapshot.windows:
            return whole
        # CAT-Seg: probabilities of the windows averaged where they overlap, then with those of the whole
        side = self.preset.settings.protocol.window
        windows = (upsample(compare(features), (side, side)).sigmoid() for features in snapshot.windows)
        local = average_windows(windows, snapshot.positions, snapshot.resized_hw)
        return ((local + upsample(whole, snapshot.resized_hw).sigmoid()) / 2).logit(eps=_EPS)


@contextmanager
def _attention(model: Dinov3Seg) -> Iterator[Callable[[], Tensor]]:
    """Yield a function for the (heads, h * w) attention logits of the first image encoded inside the context."""
    backbone = model.vlm.visual_model.backbone
    with backbone.record_attention() as seen:
        yield lambda: cls_attention(seen[0], backbone.global_tokens)[0].float()


def _preselect(features: ImageFeatures, classes: Tensor, limit: int | None) -> Tensor:
    """Indices of the `limit` classes with the highest cosine anywhere in the image; all of them when it is None."""
    if limit is None or len(classes) <= limit:
        return torch.arange(len(classes), device=classes.device)
    best = [
        correlation(features.features.float(), chunk[None])[0].amax(dim=(0, 2, 3)) for chunk in classes.split(_CHUNK)
    ]
    return torch.cat(best).topk(limit).indices.sort().values
