"""Text prompts with dino.txt: windows over the image, class vectors, scores (facts 3.2)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from maskwright.domain import ModelRef
from maskwright.engine.text import Scores, enlarged, normalised
from maskwright.imaging.geometry import slide, slide_size
from maskwright.imaging.normalization import stretch_contrast
from maskwright.models.dinotxt import average_prompts
from maskwright.models.dinotxt_highres import Clusters, cluster, dense_features
from maskwright.models.talk2dino import class_attention, clean, cls_attention
from maskwright.presets.config import DinoTxtSettings
from maskwright.presets.loading import LoadedDinoTxt

__all__ = ["DinoTxtMethod", "Pyramid", "Windows", "inside"]

_BATCH = 4


class Windows(NamedTuple):
    """An image at one size, cut and encoded under the sliding protocol."""

    features: Tensor
    """(W, C, h, w) unit patch features of every window"""
    attention: Tensor
    """(W, heads, h * w) logits with which CLS looks at them in the last block of the backbone"""
    places: tuple[tuple[int, int], ...]
    """(top, left) of each window in the resized image"""
    resized_hw: tuple[int, int]


class Pyramid(NamedTuple):
    """An image's embedding: its windows at each size of the protocol."""

    levels: tuple[Windows, ...]


@dataclass(frozen=True, slots=True)
class DinoTxtMethod:
    """dino.txt as a `TextMethod`."""

    preset: LoadedDinoTxt
    device: torch.device
    high_resolution: bool = False
    """The slow procedure for fine structures"""
    name = "dinotxt"

    @property
    def ref(self) -> ModelRef:
        """Name and weights hash of the model."""
        return self.preset.ref

    @property
    def procedure(self) -> Any:
        """What an embedding depends on."""
        config = self.preset.settings
        return config.protocol, config.high_resolution if self.high_resolution else None

    def encode(self, pixels: NDArray[np.uint8], check: Callable[[float], None]) -> Pyramid | Clusters:
        """Encode windows, or crops to be clustered."""
        way = _encode_clusters if self.high_resolution else _encode_windows
        return way(self.preset, pixels, self.device, check)

    @torch.inference_mode()
    def vectors(self, names: Sequence[str]) -> Tensor:
        """(C,) unit vector of one class: mean over its synonyms under every prompt of the preset."""
        prompts = [prompt.format(name) for name in names for prompt in self.preset.settings.prompts]
        ids = self.preset.tokenizer(prompts).to(self.device)
        return average_prompts(self.preset.model.encode_text(ids).float())

    @property
    def cleaning(self) -> float | None:
        """Weight of background cleaning; clusters of the slow procedure have no attention to clean with."""
        return None if self.high_resolution else self.preset.settings.cleaning

    @torch.inference_mode()
    def scores(self, embedding: Pyramid | Clusters, classes: Tensor, *, background: float | None) -> Scores:
        """Probabilities of (T, C) unit class vectors, against "none of these" where that may be."""
        probabilities = _probabilities(embedding, classes, self.preset.settings, background)
        return Scores(probabilities) if background is None else Scores(probabilities[1:], probabilities[0])


def _resized(pixels: NDArray[np.uint8], short_side: int, config: DinoTxtSettings, device: torch.device) -> Tensor:
    size = slide_size((pixels.shape[0], pixels.shape[1]), short_side, config.protocol.window)
    pixels = stretch_contrast(pixels) if config.stretch else pixels
    return F.interpolate(normalised(pixels, device), size=size, mode="bicubic", antialias=True)


def _patches(preset: LoadedDinoTxt, batch: Tensor) -> tuple[Tensor, Tensor]:
    """(B, C, h, w) patch features after the vision head, and (B, heads, h * w) attention logits of CLS on them."""
    dtype = next(preset.model.parameters()).dtype
    backbone = preset.model.visual_model.backbone
    with backbone.watched() as seen:
        features = preset.model.encode_image(batch.to(dtype)).patch_map().float()
    return features, cls_attention(seen[0], backbone.global_tokens).float()


@torch.inference_mode()
def _encode_windows(
    preset: LoadedDinoTxt, pixels: NDArray[np.uint8], device: torch.device, check: Callable[[float], None]
) -> Pyramid:
    """Encode every window of the slide at every size; `check` is told the share done and may raise to stop."""
    protocol = preset.settings.protocol
    images = [_resized(pixels, side, preset.settings, device) for side in protocol.short_sides]
    places = [slide((i.shape[-2], i.shape[-1]), protocol.window, protocol.stride) for i in images]
    done, total = 0, sum(map(len, places))
    levels = []
    for image, here in zip(images, places, strict=True):
        features, attention = [], []
        for start in range(0, len(here), _BATCH):
            check(done / total)
            batch = here[start : start + _BATCH]
            crops = [image[:, :, y : y + protocol.window, x : x + protocol.window] for y, x in batch]
            found, looked = _patches(preset, torch.cat(crops))
            features.append(F.normalize(found, dim=1))
            attention.append(looked)
            done += len(batch)
        size = image.shape[-2], image.shape[-1]
        levels.append(Windows(torch.cat(features), torch.cat(attention), tuple(here), size))
    return Pyramid(tuple(levels))


@torch.inference_mode()
def _encode_clusters(
    preset: LoadedDinoTxt, pixels: NDArray[np.uint8], device: torch.device, check: Callable[[float], None]
) -> Clusters:
    """The high-resolution procedure: distorted crops of three scales, averaged and clustered."""
    settings = preset.settings.high_resolution
    features = dense_features(
        _resized(pixels, max(preset.settings.protocol.short_sides), preset.settings, device)[0],
        lambda crop: _patches(preset, crop)[0],
        settings,
        window=preset.settings.protocol.window,
        on_crop=lambda done, total: check(done / total),
    )
    return cluster(features, settings)


@torch.inference_mode()
def inside(
    embedding: Pyramid | Clusters, classes: Tensor, config: DinoTxtSettings, mask: NDArray[np.bool_]
) -> list[float]:
    """Mean probability of each of (T, C) classes inside an (H, W) mask, where it may also be none of them."""
    probabilities = _probabilities(embedding, classes, config, 0.0)[1:]
    region = torch.from_numpy(mask).to(probabilities.device)[None, None].float()
    weight = F.interpolate(region, probabilities.shape[-2:], mode="area")[0, 0]
    return [float(value) for value in (probabilities * weight).sum(dim=(1, 2)) / weight.sum()]


def _probabilities(
    embedding: Pyramid | Clusters, classes: Tensor, config: DinoTxtSettings, background: float | None
) -> Tensor:
    """(T, h, w) probabilities, with "none of these" put first when it may win."""
    logits = _Logits(config, open_vocabulary=background is not None)
    if isinstance(embedding, Pyramid):
        sizes = [level.resized_hw for level in embedding.levels]
        largest = max(sizes)
        side = config.protocol.window
        maps = [_slide_average(level, classes, logits, side, background or 0.0) for level in embedding.levels]
        return torch.stack([enlarged(m, largest) for m in maps]).mean(dim=0)
    cosine = classes @ embedding.centroids.T
    return logits.probabilities(cosine[None, :, :, None])[0, :, :, 0][:, embedding.assignment]


class _Logits(NamedTuple):
    config: DinoTxtSettings
    open_vocabulary: bool

    def probabilities(self, cosine: Tensor) -> Tensor:
        """(B, T, h, w) cosines -> (B, T, h, w) probabilities, with "none of these" put first when it may win."""
        if not self.open_vocabulary:
            return (cosine * self.config.logit_scale).softmax(dim=1)
        none = torch.zeros_like(cosine[:, :1])
        return torch.cat([none, (cosine - self.config.threshold) * self.config.background_scale], dim=1).softmax(dim=1)


def _slide_average(windows: Windows, classes: Tensor, logits: _Logits, side: int, cleaning: float) -> Tensor:
    """Per window: cosine, bilinear to the window's size, probabilities; then the mean where windows overlap."""
    total = torch.zeros(len(classes) + logits.open_vocabulary, *windows.resized_hw, device=classes.device)
    count = torch.zeros(windows.resized_hw, device=classes.device)
    for features, attention, (y, x) in zip(windows.features, windows.attention, windows.places, strict=True):
        cosine = torch.einsum("tc,chw->thw", classes, features)
        if cleaning:
            cosine = clean(cosine, class_attention(features, attention, classes), weight=cleaning)
        large = F.interpolate(cosine[None], size=(side, side), mode="bilinear", align_corners=False)
        total[:, y : y + side, x : x + side] += logits.probabilities(large)[0]
        count[y : y + side, x : x + side] += 1
    return total / count
