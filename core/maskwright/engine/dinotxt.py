"""dino.txt as a text method: sliding windows or high-resolution inference, and class probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from maskwright.domain import ModelRef
from maskwright.engine.text_method import Scores, half_precision, preprocess, upsample
from maskwright.imaging.geometry import slide, slide_size
from maskwright.models.dinotxt import average_prompts
from maskwright.models.dinotxt_highres import Clusters, cluster, dense_features
from maskwright.models.sliding_window import EncodedWindows, average_windows, encode_windows
from maskwright.models.talk2dino import class_attention, clean, cls_attention
from maskwright.presets.loading import LoadedDinoTxt
from maskwright.progress import Progress

__all__ = ["DinoTxtMethod", "Pyramid"]


class Pyramid(NamedTuple):
    """The embedding of an image: unit patch features of its windows at each size of the protocol."""

    levels: tuple[EncodedWindows, ...]


@dataclass(frozen=True, slots=True)
class DinoTxtMethod:
    """dino.txt as a `TextMethod`."""

    preset: LoadedDinoTxt
    device: torch.device
    high_resolution: bool = False
    """High-resolution inference: slow, for fine structures."""
    name = "dinotxt"

    @property
    def ref(self) -> ModelRef:
        """Name and weights hash of the model."""
        return self.preset.ref

    @property
    def procedure(self) -> Any:
        """The settings that an embedding depends on."""
        settings = self.preset.settings
        return settings.protocol, settings.high_resolution if self.high_resolution else None

    @property
    def cleaning(self) -> float | None:
        """Weight of background cleaning; None at high resolution, whose clusters have no attention to clean with."""
        return None if self.high_resolution else self.preset.settings.cleaning

    @torch.inference_mode()
    def encode(
        self, pixels: NDArray[np.uint8], progress: Progress, limits: tuple[float, float] | None = None
    ) -> Pyramid | Clusters:
        """Encode the windows of an (H, W, 3) image, or at high resolution cluster the features of its crops."""
        if self.high_resolution:
            return self._encode_clusters(pixels, progress, limits)
        protocol, sides = self.preset.settings.protocol, self.preset.settings.protocol.short_sides
        levels = []
        for number, side in enumerate(sides):
            image = self._resized(pixels, side, limits)
            positions = slide((image.shape[-2], image.shape[-1]), protocol.window, protocol.stride)
            part = progress.part(number, len(sides))
            windows = encode_windows(image, protocol.window, positions, self._encode_batch, part)
            levels.append(windows._replace(features=F.normalize(windows.features, dim=1)))
        return Pyramid(tuple(levels))

    @torch.inference_mode()
    def class_embedding(self, synonyms: Sequence[str]) -> Tensor:
        """(C,) unit vector of one class: the mean over its synonyms under every prompt template of the preset."""
        prompts = [prompt.format(name) for name in synonyms for prompt in self.preset.settings.prompts]
        ids = self.preset.tokenizer(prompts).to(self.device)
        return average_prompts(self.preset.model.encode_text(ids).float())

    @torch.inference_mode()
    def scores(self, embedding: Pyramid | Clusters, classes: Tensor, *, cleaning: float | None) -> Scores:
        """Probabilities of (T, C) classes, and of background where pixels may be that."""
        maps = self._probability_maps(embedding, classes, cleaning)
        return Scores(maps) if cleaning is None else Scores(maps[1:], maps[0])

    @torch.inference_mode()
    def mean_probabilities(
        self, embedding: Pyramid | Clusters, classes: Tensor, mask: NDArray[np.bool_]
    ) -> list[float]:
        """Mean probability of each of (T, C) classes inside an (H, W) mask, where pixels may be background."""
        maps = self._probability_maps(embedding, classes, 0.0)[1:]
        region = torch.from_numpy(mask).to(maps.device)[None, None].float()
        weight = F.interpolate(region, maps.shape[-2:], mode="area")[0, 0]
        return [float(value) for value in (maps * weight).sum(dim=(1, 2)) / weight.sum()]

    def _resized(self, pixels: NDArray[np.uint8], short_side: int, limits: tuple[float, float] | None) -> Tensor:
        settings = self.preset.settings
        size = slide_size((pixels.shape[0], pixels.shape[1]), short_side, settings.protocol.window)
        image = preprocess(pixels, self.device, stretch=settings.stretch, limits=limits)
        return F.interpolate(image, size=size, mode="bicubic", antialias=True)

    def _encode_batch(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, h, w) patch features after the vision head, (B, heads, h * w) attention logits of CLS to them."""
        model = self.preset.model
        backbone = model.visual_model.backbone
        with backbone.record_attention() as seen, half_precision(self.device, model):
            features = model.encode_image(batch).patch_map().float()
        return features, cls_attention(seen[0], backbone.global_tokens).float()

    def _encode_clusters(
        self, pixels: NDArray[np.uint8], progress: Progress, limits: tuple[float, float] | None
    ) -> Clusters:
        """High-resolution inference: distorted crops of three scales, averaged and clustered."""
        settings = self.preset.settings
        features = dense_features(
            self._resized(pixels, max(settings.protocol.short_sides), limits)[0],
            lambda crop: self._encode_batch(crop)[0],
            settings.high_resolution,
            window=settings.protocol.window,
            progress=progress,
        )
        return cluster(features, settings.high_resolution)

    def _probability_maps(self, embedding: Pyramid | Clusters, classes: Tensor, cleaning: float | None) -> Tensor:
        """(T, h, w) probabilities; unless `cleaning` is None (1 + T, h, w), background first."""
        if isinstance(embedding, Pyramid):
            largest = max(level.resized_hw for level in embedding.levels)
            maps = [upsample(self._average(level, classes, cleaning), largest) for level in embedding.levels]
            return torch.stack(maps).mean(dim=0)
        cosine = (classes @ embedding.centroids.T)[None, :, :, None]
        return self._probabilities(cosine, background=cleaning is not None)[0, :, :, 0][:, embedding.assignment]

    def _average(self, windows: EncodedWindows, classes: Tensor, cleaning: float | None) -> Tensor:
        """Per window: cosines, upsampled to the window's size, probabilities; then their mean where windows overlap."""
        side = self.preset.settings.protocol.window

        def predict(features: Tensor, attention: Tensor) -> Tensor:
            cosine = torch.einsum("tc,chw->thw", classes, features)
            if cleaning:
                cosine = clean(cosine, class_attention(features, attention, classes), weight=cleaning)
            return self._probabilities(upsample(cosine, (side, side))[None], background=cleaning is not None)[0]

        maps = (predict(*window) for window in zip(windows.features, windows.attention, strict=True))
        return average_windows(maps, windows.positions, windows.resized_hw)

    def _probabilities(self, cosine: Tensor, *, background: bool) -> Tensor:
        """(B, T, h, w) cosines -> probabilities of the same size; with `background` that comes first in T."""
        settings = self.preset.settings
        if not background:
            return (cosine * settings.logit_scale).softmax(dim=1)
        logits = (cosine - settings.threshold) * settings.background_scale
        return torch.cat([torch.zeros_like(cosine[:, :1]), logits], dim=1).softmax(dim=1)
