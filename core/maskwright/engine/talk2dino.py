"""Text prompts with Talk2DINO: windows over the image, class vectors, scores, cleaning (facts 5.2 to 5.4)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from maskwright.domain import ModelRef
from maskwright.engine.text import Scores, normalised
from maskwright.imaging.geometry import slide, slide_size
from maskwright.imaging.normalization import stretch_contrast
from maskwright.models.talk2dino import class_attention, clean, scores
from maskwright.presets.config import WindowProtocol
from maskwright.presets.loading import LoadedTalk2Dino

__all__ = ["Talk2DinoMethod", "WindowPatches"]

_BATCH = 4


class WindowPatches(NamedTuple):
    """An image, cut and encoded under the sliding protocol."""

    features: Tensor
    """(W, C, h, w) patch features of every window, not normalised"""
    attention: Tensor
    """(W, heads, h * w) logits with which CLS looks at them in the last block"""
    places: tuple[tuple[int, int], ...]
    """(top, left) of each window in the resized image"""
    resized_hw: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Talk2DinoMethod:
    """Talk2DINO as a `TextMethod`."""

    preset: LoadedTalk2Dino
    device: torch.device
    name = "talk2dino"

    @property
    def ref(self) -> ModelRef:
        """Name and weights hash of the model."""
        return self.preset.ref

    @property
    def procedure(self) -> WindowProtocol:
        """What an embedding depends on."""
        return self.preset.settings.protocol

    @property
    def cleaning(self) -> float:
        """Weight of background cleaning."""
        return self.preset.settings.cleaning

    @torch.inference_mode()
    def encode(self, pixels: NDArray[np.uint8], check: Callable[[float], None]) -> WindowPatches:
        """Encode every window of an (H, W, 3) image; `check` is told the share done and may raise to stop."""
        config = self.preset.settings
        protocol, side = config.protocol, config.protocol.window
        size = slide_size((pixels.shape[0], pixels.shape[1]), protocol.short_side, side, protocol.longest)
        image = normalised(stretch_contrast(pixels) if config.stretch else pixels, self.device)
        # the authors do not smooth first, which benchmark pictures forgive and large photographs do not
        image = F.interpolate(image, size, mode="bilinear", antialias=True)
        image = image.to(next(self.preset.model.visual.parameters()).dtype)
        places = slide(size, side, protocol.stride)
        features, attention = [], []
        for start in range(0, len(places), _BATCH):
            check(start / len(places))
            crops = [image[:, :, y : y + side, x : x + side] for y, x in places[start : start + _BATCH]]
            found, looked = self.preset.model.encode_image(torch.cat(crops))
            features.append(found.patch_map().float())
            attention.append(looked.float())
        return WindowPatches(torch.cat(features), torch.cat(attention), tuple(places), size)

    @torch.inference_mode()
    def vectors(self, names: Sequence[str]) -> Tensor:
        """(C,) unit vector of one class: the mean of its synonyms under every prompt, projected."""
        prompts = [prompt.format(name) for name in names for prompt in self.preset.settings.prompts]
        return self.preset.model.encode_class(self.preset.tokenizer(prompts).to(self.device))

    @torch.inference_mode()
    def scores(self, embedding: WindowPatches, classes: Tensor, *, background: float | None) -> Scores:
        """Scores of (T, C) classes, the mean where windows overlap; at the threshold the probability is 0.5."""
        config, side = self.preset.settings, self.preset.settings.protocol.window
        total = torch.zeros(len(classes), *embedding.resized_hw, device=classes.device)
        count = torch.zeros(embedding.resized_hw, device=classes.device)
        for features, attention, (y, x) in zip(embedding.features, embedding.attention, embedding.places, strict=True):
            maps = scores(features[None], classes)[0]
            if background:
                looked_at = class_attention(features, attention, classes, formula=config.formula)
                maps = clean(maps, looked_at, weight=background, formula=config.formula)
            large = F.interpolate(maps[None], (side, side), mode="bilinear", align_corners=True)
            total[:, y : y + side, x : x + side] += large[0]
            count[y : y + side, x : x + side] += 1
        return Scores(
            total / count, probability=lambda plane: ((plane - config.threshold) * config.logit_scale).sigmoid()
        )
