"""Talk2DINO as a text method: sliding windows, cosines, and background cleaning."""

from __future__ import annotations

import torch
from torch import Tensor

from maskwright.engine.text_method import Scores
from maskwright.engine.windows import WindowedMethod
from maskwright.models.sliding_window import EncodedWindows
from maskwright.models.talk2dino import class_attention, clean, scores
from maskwright.presets.loading import LoadedTalk2Dino

__all__ = ["Talk2DinoMethod"]


class Talk2DinoMethod(WindowedMethod[LoadedTalk2Dino]):
    """Talk2DINO as a `TextMethod`."""

    __slots__ = ()
    name = "talk2dino"

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

        windows = self.windows
        return Scores(
            windows.scores(embedding, predict, align_corners=True),
            probability=lambda plane: ((plane - settings.threshold) * settings.logit_scale).sigmoid(),
            # as released: each window is refined, and then they are averaged
            pamr=lambda pixels: windows.scores(embedding, predict, align_corners=True, refine_on=pixels),
        )

    def encode_batch(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, h, w) patch features, and attention logits."""
        features, attention = self.preset.model.encode_image(batch)
        return features.patch_map().float(), attention.float()
