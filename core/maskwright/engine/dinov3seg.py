"""Text prompts with dinov3.seg: an image's evidence by local-global aggregation, then words against it.

The paper squashes every image to a square of 640 pixels. Here the ratio stays and the area is that of the square, so
that wide and tall images cost the same and nothing in them is deformed; a square image is treated as published. Windows
cover the whole of it: the last of each row and column is shifted back to the border. The decoder's maps, at a quarter
of that size, are enlarged to the image's own size in one step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from maskwright.domain import ModelRef
from maskwright.engine.text import Scores, enlarged, normalised
from maskwright.imaging.geometry import area_size, slide
from maskwright.imaging.normalization import stretch_contrast
from maskwright.models.cost_aggregation import correlation
from maskwright.models.dinov3seg import Dinov3Seg, ImageFeatures
from maskwright.models.talk2dino import class_attention, clean, cls_attention
from maskwright.presets.config import Dinov3SegProtocol
from maskwright.presets.loading import LoadedDinov3Seg

__all__ = ["Look", "SegEmbedding", "SegMethod"]

_TOGETHER = 16
"""Classes that are refined and decoded at a time: bounds the working memory."""
_SURE = 1e-6
"""Chances that were averaged become logits again no nearer to 0 and 1 than this."""
_LEFT_OUT = -100.0
"""Logit of a class that was not preselected."""


class Look(NamedTuple):
    """An image at one size: one piece of evidence, or one of the whole and one per window (CAT-Seg)."""

    whole: ImageFeatures
    windows: tuple[ImageFeatures, ...]
    places: tuple[tuple[int, int], ...]
    """(top, left) of each of `windows` in the resized image"""
    resized_hw: tuple[int, int]
    attention: Tensor
    """(heads, h * w) logits with which CLS looks at the whole in the last block of dino.txt's backbone"""


class SegEmbedding(NamedTuple):
    """What dinov3.seg keeps of an image."""

    looks: tuple[Look, ...]
    """One per size, the largest last"""


@dataclass(frozen=True, slots=True)
class SegMethod:
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
        """What an embedding depends on."""
        return self.preset.settings.protocol

    @torch.inference_mode()
    def encode(self, pixels: NDArray[np.uint8], check: Callable[[float], None]) -> SegEmbedding:
        """Look at an (H, W, 3) image; `check` is told the share done before each pass and may raise to stop."""
        config = self.preset.settings
        image = normalised(stretch_contrast(pixels) if config.stretch else pixels, self.device)
        sides = sorted(config.protocol.sides)
        looks: list[Look] = []

        def checked(share: float) -> None:
            check((len(looks) + share) / len(sides))

        for side in sides:
            with _half(self.device):
                looks.append(_at(self.preset, image, side, checked))
        return SegEmbedding(tuple(looks))

    @torch.inference_mode()
    def vectors(self, names: Sequence[str]) -> Tensor:
        """(P, C) unit views of one class: the mean over its synonyms, each half on its own."""
        prompts = [self.preset.settings.prompt.format(name) for name in names]
        text = self.preset.model.vlm.encode_text(self.preset.tokenizer(prompts).to(self.device)).float()
        return F.normalize(self.preset.model.views(text).mean(dim=0), dim=-1)

    @property
    def cleaning(self) -> float:
        """Weight of background cleaning."""
        return self.preset.settings.cleaning

    @torch.inference_mode()
    def scores(self, embedding: SegEmbedding, classes: Tensor, *, background: float | None) -> Scores:
        """Logits of (T, P, C) classes, each with a probability of its own."""
        chosen = _preselected(embedding.looks[-1].whole, classes, self.preset.settings.max_classes)
        with _half(self.device):
            maps = [_logits(look, classes[chosen], self.preset, background or 0.0) for look in embedding.looks]
        found = maps[-1]
        if len(maps) > 1:
            probabilities = [
                F.interpolate(m[None], found.shape[1:], mode="bilinear", align_corners=False).sigmoid() for m in maps
            ]
            found = torch.stack(probabilities).mean(dim=0)[0].logit(eps=_SURE)
        logits = found.new_full((len(classes), *found.shape[1:]), _LEFT_OUT)
        logits[chosen] = found
        return Scores(logits, probability=torch.sigmoid)


def _half(device: torch.device) -> AbstractContextManager[None]:
    """bfloat16 where the hardware has it; what needs single precision takes it by itself."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda")


def _at(preset: LoadedDinov3Seg, image: Tensor, side: int, check: Callable[[float], None]) -> Look:
    """Look at a normalised (1, 3, H, W) image made as large as a square of `side`."""
    protocol, model = preset.settings.protocol, preset.model
    window, patch = protocol.window, preset.settings.model.vlm.backbone.patch
    size = area_size((image.shape[-2], image.shape[-1]), side, least=window, multiple=patch)
    resized = F.interpolate(image, size, mode="bilinear", antialias=True)
    places = tuple(slide(size, window, protocol.stride))
    if protocol.aggregation != "catseg":
        used = places if protocol.aggregation == "lga" else ()
        with _attention(model) as seen:
            whole = model.aggregate(resized, used, window, check)
        return Look(whole, (), (), size, seen())
    least = max(patch, window // 2 // patch * patch)
    small = F.interpolate(
        resized, area_size(size, window, least=least, multiple=patch), mode="bilinear", antialias=True
    )
    looks = []
    for done, (top, left) in enumerate(places):
        check(done / (len(places) + 1))
        looks.append(_look(preset, resized[:, :, top : top + window, left : left + window]))
    with _attention(model) as seen:
        whole = _look(preset, small)
    return Look(whole, tuple(looks), places, size, seen())


@contextmanager
def _attention(model: Dinov3Seg) -> Iterator[Callable[[], Tensor]]:
    """Gives (heads, h * w) attention logits of the first picture that dino.txt's backbone sees meanwhile."""
    backbone = model.vlm.visual_model.backbone
    with backbone.watched() as seen:
        yield lambda: cls_attention(seen[0], backbone.global_tokens)[0].float()


def _look(preset: LoadedDinov3Seg, pixels: Tensor) -> ImageFeatures:
    return preset.model.look(pixels, preset.model.dense(pixels))


def _preselected(evidence: ImageFeatures, views: Tensor, most: int | None) -> Tensor:
    """Indices of the classes that are looked into: those whose cosine is highest anywhere in the image."""
    if most is None or len(views) <= most:
        return torch.arange(len(views), device=views.device)
    best = [
        correlation(evidence.features.float(), part[None]).mean(dim=1)[0].flatten(1).max(dim=1).values
        for part in views.split(_TOGETHER)
    ]
    return torch.cat(best).topk(most).indices.sort().values


def _logits(look: Look, views: Tensor, preset: LoadedDinov3Seg, cleaning: float) -> Tensor:
    """(T, h, w) logits on any grid; cleaning works on their probabilities."""
    logits = _compared(look, views, preset)
    if not cleaning:
        return logits
    features = F.normalize(look.whole.features[0].float(), dim=0)
    words = F.normalize(views.mean(dim=1), dim=-1)
    looked_at = enlarged(class_attention(features, look.attention, words), (logits.shape[-2], logits.shape[-1]))
    return clean(logits.sigmoid(), looked_at, weight=cleaning).logit(eps=_SURE)


def _compared(look: Look, views: Tensor, preset: LoadedDinov3Seg) -> Tensor:
    """(T, h, w) logits on any grid."""

    def compared(evidence: ImageFeatures) -> Tensor:
        return preset.model.compare(evidence, views[None], chunk=_TOGETHER).float()

    whole = compared(look.whole)
    if not look.windows:
        return whole[0]
    # CAT-Seg: probabilities of the windows averaged where they overlap, then with those of the whole
    side = preset.settings.protocol.window
    total = torch.zeros(len(views), *look.resized_hw, device=views.device)
    count = torch.zeros(look.resized_hw, device=views.device)
    for evidence, (top, left) in zip(look.windows, look.places, strict=True):
        probabilities = F.interpolate(compared(evidence), (side, side), mode="bilinear", align_corners=False).sigmoid()
        total[:, top : top + side, left : left + side] += probabilities[0]
        count[top : top + side, left : left + side] += 1
    large = F.interpolate(whole, look.resized_hw, mode="bilinear", align_corners=False).sigmoid()[0]
    return ((total / count + large) / 2).logit(eps=_SURE)
