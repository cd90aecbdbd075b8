"""OVS-DINO as a text method: sliding windows, and cosines of the refined features; SAM is not part of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from maskwright.domain import ModelRef
from maskwright.engine.text_method import Scores, preprocess
from maskwright.engine.windows import SlidingWindows
from maskwright.models.ovs_dino import middle_grid, sam_middle, similarity
from maskwright.models.sliding_window import EncodedWindows
from maskwright.models.talk2dino import class_attention, clean
from maskwright.presets.config import WindowProtocol
from maskwright.presets.loading import LoadedOvsDino
from maskwright.progress import Progress

__all__ = ["OvsDinoMethod"]


@dataclass(frozen=True, slots=True)
class OvsDinoMethod:
    """OVS-DINO as a `TextMethod`."""

    preset: LoadedOvsDino
    device: torch.device
    sam: nn.Module | None = None
    """SAM's image encoder, whose embedding then takes the place of F_middle: rows of Tables 2 and 4, not for use."""
    name = "ovs-dino"

    @property
    def ref(self) -> ModelRef:
        """Name and weights hash of the model."""
        return self.preset.ref

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

    @property
    def cleaning(self) -> float:
        """Weight of background cleaning."""
        return self.preset.settings.cleaning

    @torch.inference_mode()
    def encode(
        self, pixels: NDArray[np.uint8], progress: Progress, limits: tuple[float, float] | None = None
    ) -> EncodedWindows:
        """Encode the windows of an (H, W, 3) image: features in the space of the text."""
        image = preprocess(pixels, self.device, stretch=self.preset.settings.stretch, limits=limits)
        return self._windows().encode(image, self._encode_batch, progress)

    @torch.inference_mode()
    def class_embedding(self, synonyms: Sequence[str]) -> Tensor:
        """(D,) unit vector of one class: the mean of its synonyms under every prompt template."""
        prompts = [prompt.format(name) for name in synonyms for prompt in self.preset.settings.prompts]
        return self.preset.model.encode_class(self.preset.tokenizer(prompts).to(self.device))

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

        maps = self._windows().scores(embedding, predict, align_corners=False)
        least = math.log(settings.threshold / (1 - settings.threshold))
        return Scores(maps, probability=lambda plane: (heads.logits(plane) - least).sigmoid())

    def _windows(self) -> SlidingWindows:
        return SlidingWindows(self.procedure, next(self.preset.model.visual.parameters()).dtype)

    def _encode_batch(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        """(B, D, h, w) features and (B, heads, h * w) attention logits of CLS to the patches."""
        middle, side = None, self.preset.settings.protocol.window
        if self.sam is not None:
            patches = side // self.preset.model.visual.config.patch
            middle = sam_middle(self.sam, batch, batch.shape[-1], middle_grid((patches, patches)))
            batch = F.interpolate(batch.float(), (side, side), mode="bilinear", antialias=True).to(batch.dtype)
        features, attention = self.preset.model.encode_image(batch, middle)
        return features.float(), attention.float()
