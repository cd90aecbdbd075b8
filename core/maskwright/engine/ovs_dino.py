"""OVS-DINO as a text method: sliding windows, and cosines of the refined features; SAM is not part of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maskwright.engine.text_method import Scores
from maskwright.engine.windows import WindowedMethod
from maskwright.models.ovs_dino import middle_grid, sam_middle, similarity
from maskwright.models.sliding_window import EncodedWindows
from maskwright.models.talk2dino import class_attention, clean
from maskwright.presets.config import WindowProtocol
from maskwright.presets.loading import LoadedOvsDino

__all__ = ["OvsDinoMethod"]


@dataclass(frozen=True, slots=True)
class OvsDinoMethod(WindowedMethod[LoadedOvsDino]):
    """OVS-DINO as a `TextMethod`."""

    sam: nn.Module | None = None
    """SAM's image encoder, whose embedding then takes the place of F_middle: rows of Tables 2 and 4, not for use."""
    name = "ovs-dino"

    @property
    def procedure(self) -> WindowProtocol:
        """The settings that an embedding depends on; SAM sees the windows at the size that it taught with."""
        protocol, size = self.preset.settings.protocol, self.preset.settings.teacher_size
        if self.sam is None:
            return protocol
        short_side, longest, stride = (
            round(length * size / protocol.window)
            for length in (protocol.short_side, protocol.longest, protocol.stride)
        )
        return replace(protocol, short_side=short_side, longest=longest, window=size, stride=stride)

    @torch.inference_mode()
    def scores(self, embedding: EncodedWindows, classes: Tensor, *, cleaning: float | None) -> Scores:
        """Cosines with (T, D) classes, averaged where windows overlap; a probability is the sigmoid of a s + b."""
        settings, heads = self.preset.settings, self.preset.model.heads

        def predict(features: Tensor, attention: Tensor) -> Tensor:
            maps = similarity(features[None], classes)[0]
            if cleaning:
                attended = class_attention(F.normalize(features, dim=0), attention, classes)
                maps = clean(maps, attended, weight=cleaning)
            return maps

        maps = self.windows.scores(embedding, predict, align_corners=False)
        least = math.log(settings.threshold / (1 - settings.threshold))
        return Scores(maps, probability=lambda plane: (heads.logits(plane) - least).sigmoid())

    def encode_batch(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        """(B, D, h, w) features and (B, heads, h * w) attention logits of CLS to the patches."""
        middle, side = None, self.preset.settings.protocol.window
        if self.sam is not None:
            patches = side // self.preset.model.visual.config.patch
            middle = sam_middle(self.sam, batch, batch.shape[-1], middle_grid((patches, patches)))
            batch = F.interpolate(batch.float(), (side, side), mode="bilinear", antialias=True).to(batch.dtype)
        features, attention = self.preset.model.encode_image(batch, middle)
        return features.float(), attention.float()
