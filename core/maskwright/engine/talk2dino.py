"""Talk2DINO as a text method: sliding windows, cosines, and background cleaning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from maskwright.domain import ModelRef
from maskwright.engine.text_method import Scores, preprocess
from maskwright.imaging.geometry import slide, slide_size
from maskwright.models.sliding_window import EncodedWindows, average_windows, encode_windows
from maskwright.models.talk2dino import class_attention, clean, scores
from maskwright.presets.config import WindowProtocol
from maskwright.presets.loading import LoadedTalk2Dino
from maskwright.progress import Progress

__all__ = ["Talk2DinoMethod"]


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
        """The settings that an embedding depends on."""
        return self.preset.settings.protocol

    @property
    def cleaning(self) -> float:
        """Weight of background cleaning."""
        return self.preset.settings.cleaning

    @torch.inference_mode()
    def encode(
        self, pixels: NDArray[np.uint8], progress: Progress, limits: tuple[float, float] | None = None
    ) -> EncodedWindows:
        """Encode the windows of an (H, W, 3) image; patch features are not normalised."""
        settings, protocol = self.preset.settings, self.preset.settings.protocol
        size = slide_size((pixels.shape[0], pixels.shape[1]), protocol.short_side, protocol.window, protocol.longest)
        image = preprocess(pixels, self.device, stretch=settings.stretch, limits=limits)
        # the release does not antialias, which benchmark images forgive and large photographs do not
        image = F.interpolate(image, size, mode="bilinear", antialias=True)
        image = image.to(next(self.preset.model.visual.parameters()).dtype)
        positions = slide(size, protocol.window, protocol.stride)
        return encode_windows(image, protocol.window, positions, self._encode_batch, progress)

    @torch.inference_mode()
    def class_embedding(self, synonyms: Sequence[str]) -> Tensor:
        """(C,) unit vector of one class: the mean of its synonyms under every prompt template, projected."""
        prompts = [prompt.format(name) for name in synonyms for prompt in self.preset.settings.prompts]
        return self.preset.model.encode_class(self.preset.tokenizer(prompts).to(self.device))

    @torch.inference_mode()
    def scores(self, embedding: EncodedWindows, classes: Tensor, *, cleaning: float | None) -> Scores:
        """Scores of (T, C) classes, averaged where windows overlap; the preset's threshold is a probability of 0.5."""
        settings, side = self.preset.settings, self.preset.settings.protocol.window

        def predict(features: Tensor, attention: Tensor) -> Tensor:
            maps = scores(features[None], classes)[0]
            if cleaning:
                attended = class_attention(features, attention, classes, formula=settings.formula)
                maps = clean(maps, attended, weight=cleaning, formula=settings.formula)
            return F.interpolate(maps[None], (side, side), mode="bilinear", align_corners=True)[0]

        maps = (predict(*window) for window in zip(embedding.features, embedding.attention, strict=True))
        return Scores(
            average_windows(maps, embedding.positions, embedding.resized_hw),
            probability=lambda plane: ((plane - settings.threshold) * settings.logit_scale).sigmoid(),
        )

    def _encode_batch(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, h, w) patch features and (B, heads, h * w) attention logits of CLS to them."""
        features, attention = self.preset.model.encode_image(batch)
        return features.patch_map().float(), attention.float()
