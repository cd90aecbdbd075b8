"""Talk2DINO as a text method: sliding windows, cosines, and background cleaning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from maskwright.domain import ModelRef
from maskwright.engine.text_method import Scores, preprocess
from maskwright.engine.windows import SlidingWindows
from maskwright.models.sliding_window import EncodedWindows
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
        image = preprocess(pixels, self.device, stretch=self.preset.settings.stretch, limits=limits)
        return self._windows().encode(image, self._encode_batch, progress)

    @torch.inference_mode()
    def class_embedding(self, synonyms: Sequence[str]) -> Tensor:
        """(C,) unit vector of one class: the mean of its synonyms under every prompt template, projected."""
        prompts = [prompt.format(name) for name in synonyms for prompt in self.preset.settings.prompts]
        return self.preset.model.encode_class(self.preset.tokenizer(prompts).to(self.device))

    @torch.inference_mode()
    def scores(self, embedding: EncodedWindows, classes: Tensor, *, cleaning: float | None) -> Scores:
        """Scores of (T, C) classes, averaged where windows overlap; the preset's threshold is a probability of 0.5."""
        settings = self.preset.settings

        def predict(features: Tensor, attention: Tensor) -> Tensor:
            maps = scores(features[None], classes)[0]
            if cleaning:
                attended = class_attention(features, attention, classes, formula=settings.formula)
                maps = clean(maps, attended, weight=cleaning, formula=settings.formula)
            return maps

        windows = self._windows()
        return Scores(
            windows.scores(embedding, predict, align_corners=True),
            probability=lambda plane: ((plane - settings.threshold) * settings.logit_scale).sigmoid(),
            # as released: each window is refined, and then they are averaged
            pamr=lambda pixels: windows.scores(embedding, predict, align_corners=True, refine_on=pixels),
        )

    def _windows(self) -> SlidingWindows:
        return SlidingWindows(self.preset.settings.protocol, next(self.preset.model.visual.parameters()).dtype)

    def _encode_batch(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, h, w) patch features and (B, heads, h * w) attention logits of CLS to them."""
        features, attention = self.preset.model.encode_image(batch)
        return features.patch_map().float(), attention.float()
