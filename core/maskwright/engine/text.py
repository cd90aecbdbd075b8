"""Text prompts with dino.txt: windows over the image, class vectors, scores, labels (facts 3.2)."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from maskwright.errors import EmptyPrompt
from maskwright.geometry import slide, slide_size
from maskwright.models.dinotxt import average_prompts
from maskwright.models.dinotxt_highres import Clusters, cluster, dense_features
from maskwright.models.presets import DinoTxtPreset, TextPreset
from maskwright.models.tokens import clean
from maskwright.pictures import stretched

__all__ = [
    "ClassName",
    "Labels",
    "Pyramid",
    "Windows",
    "class_names",
    "encode_clusters",
    "encode_windows",
    "inside",
    "label",
    "labelled",
    "normalised",
    "vectors",
]

_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)
_BATCH = 4


class ClassName(NamedTuple):
    """One class of a prompt: the name shown, and every synonym that stands for it."""

    name: str
    synonyms: tuple[str, ...]


class Windows(NamedTuple):
    """An image at one size, cut and encoded under the sliding protocol."""

    features: Tensor
    """(W, C, h, w) unit patch features of every window"""
    places: tuple[tuple[int, int], ...]
    """(top, left) of each window in the resized image"""
    resized_hw: tuple[int, int]


class Pyramid(NamedTuple):
    """An image's embedding: its windows at each size of the protocol."""

    levels: tuple[Windows, ...]


class Labels(NamedTuple):
    """Scores turned into regions."""

    label_map: NDArray[np.int32]
    """(H, W), 0 none, k the 1-based class"""
    scores: tuple[float, ...]
    """Per class the mean probability over its pixels"""
    best: tuple[float, ...]
    """Per class the highest probability anywhere"""


def class_names(prompt: str | Sequence[str]) -> list[ClassName]:
    """Classes of a prompt: separated by commas (or given as a list), synonyms by "|", repeated names once.

    Raises:
        EmptyPrompt: not a single name is left.
    """
    parts = prompt.split(",") if isinstance(prompt, str) else prompt
    found: dict[str, ClassName] = {}
    for part in parts:
        names = tuple(dict.fromkeys(n for raw in part.split("|") if (n := unicodedata.normalize("NFC", raw.strip()))))
        if names:
            found.setdefault(clean(names[0]), ClassName(names[0], names))
    if not found:
        raise EmptyPrompt
    return list(found.values())


def normalised(pixels: NDArray[np.uint8], device: torch.device) -> Tensor:
    """(1, 3, H, W) float32, ImageNet statistics."""
    image = torch.from_numpy(pixels.copy()).to(device).permute(2, 0, 1)[None].float() / 255
    mean, std = (torch.tensor(v, device=device)[:, None, None] for v in (_MEAN, _STD))
    return (image - mean) / std


def _resized(pixels: NDArray[np.uint8], short_side: int, config: TextPreset, device: torch.device) -> Tensor:
    size = slide_size((pixels.shape[0], pixels.shape[1]), short_side, config.protocol.window)
    pixels = stretched(pixels) if config.stretch else pixels
    return F.interpolate(normalised(pixels, device), size=size, mode="bicubic", antialias=True)


def _patches(preset: DinoTxtPreset, batch: Tensor) -> Tensor:
    """(B, C, h, w) patch features after the vision head."""
    dtype = next(preset.model.parameters()).dtype
    return preset.model.encode_image(batch.to(dtype)).patch_map().float()


@torch.inference_mode()
def encode_windows(
    preset: DinoTxtPreset, pixels: NDArray[np.uint8], device: torch.device, check: Callable[[float], None]
) -> Pyramid:
    """Encode every window of the slide at every size; `check` is told the share done and may raise to stop."""
    protocol = preset.config.protocol
    images = [_resized(pixels, side, preset.config, device) for side in protocol.short_sides]
    places = [slide((i.shape[-2], i.shape[-1]), protocol.window, protocol.stride) for i in images]
    done, total = 0, sum(map(len, places))
    levels = []
    for image, here in zip(images, places, strict=True):
        features = []
        for start in range(0, len(here), _BATCH):
            check(done / total)
            batch = here[start : start + _BATCH]
            crops = [image[:, :, y : y + protocol.window, x : x + protocol.window] for y, x in batch]
            features.append(F.normalize(_patches(preset, torch.cat(crops)), dim=1))
            done += len(batch)
        levels.append(Windows(torch.cat(features), tuple(here), (image.shape[-2], image.shape[-1])))
    return Pyramid(tuple(levels))


@torch.inference_mode()
def encode_clusters(
    preset: DinoTxtPreset, pixels: NDArray[np.uint8], device: torch.device, check: Callable[[float], None]
) -> Clusters:
    """The high-resolution procedure: distorted crops of three scales, averaged and clustered."""
    settings = preset.config.high_resolution
    features = dense_features(
        _resized(pixels, max(preset.config.protocol.short_sides), preset.config, device)[0],
        lambda crop: _patches(preset, crop),
        settings,
        window=preset.config.protocol.window,
        on_crop=lambda done, total: check(done / total),
    )
    return cluster(features, settings)


@torch.inference_mode()
def vectors(preset: DinoTxtPreset, names: Sequence[str], device: torch.device) -> Tensor:
    """(C,) unit vector of one class: mean over its synonyms under every prompt of the preset."""
    prompts = [prompt.format(name) for name in names for prompt in preset.config.prompts]
    return average_prompts(preset.model.encode_text(preset.tokenizer(prompts).to(device)).float())


@torch.inference_mode()
def label(
    embedding: Pyramid | Clusters,
    classes: Tensor,
    config: TextPreset,
    size_hw: tuple[int, int],
    *,
    threshold: float | None,
) -> Labels:
    """Give each pixel its best class.

    Args:
        embedding: of the image.
        classes: (T, C) unit class vectors.
        config: factors and cosine threshold of the preset.
        size_hw: of the image that is labelled.
        threshold: None for a closed vocabulary, else the probability against "none of these" that a class needs.
    """
    chances = _chances(embedding, classes, config, open_vocabulary=threshold is not None)
    if threshold is None:
        return labelled(chances, None, size_hw, 0.0)
    return labelled(chances[1:], chances[0], size_hw, threshold)


@torch.inference_mode()
def inside(embedding: Pyramid | Clusters, classes: Tensor, config: TextPreset, mask: NDArray[np.bool_]) -> list[float]:
    """Mean probability of each of (T, C) classes inside an (H, W) mask, where it may also be none of them."""
    chances = _chances(embedding, classes, config, open_vocabulary=True)[1:]
    region = torch.from_numpy(mask).to(chances.device)[None, None].float()
    weight = F.interpolate(region, chances.shape[-2:], mode="area")[0, 0]
    return [float(value) for value in (chances * weight).sum(dim=(1, 2)) / weight.sum()]


def _chances(embedding: Pyramid | Clusters, classes: Tensor, config: TextPreset, *, open_vocabulary: bool) -> Tensor:
    """(T, h, w) probabilities, with "none of these" put first when it may win."""
    logits = _Logits(config, open_vocabulary=open_vocabulary)
    if isinstance(embedding, Pyramid):
        sizes = [level.resized_hw for level in embedding.levels]
        largest = max(sizes)
        maps = [_slide_average(level, classes, logits, config.protocol.window) for level in embedding.levels]
        return torch.stack([_enlarged(m, largest) for m in maps]).mean(dim=0)
    cosine = classes @ embedding.centroids.T
    return logits.chances(cosine[None, :, :, None])[0, :, :, 0][:, embedding.assignment]


class _Logits(NamedTuple):
    config: TextPreset
    open_vocabulary: bool

    def chances(self, cosine: Tensor) -> Tensor:
        """(B, T, h, w) cosines -> (B, T, h, w) probabilities, with "none of these" put first when it may win."""
        if not self.open_vocabulary:
            return (cosine * self.config.sharpness).softmax(dim=1)
        none = torch.zeros_like(cosine[:, :1])
        return torch.cat([none, (cosine - self.config.threshold) * self.config.scale], dim=1).softmax(dim=1)


def _slide_average(windows: Windows, classes: Tensor, logits: _Logits, side: int) -> Tensor:
    """Per window: cosine, bilinear to the window's size, probabilities; then the mean where windows overlap."""
    total = torch.zeros(len(classes) + logits.open_vocabulary, *windows.resized_hw, device=classes.device)
    count = torch.zeros(windows.resized_hw, device=classes.device)
    for features, (y, x) in zip(windows.features, windows.places, strict=True):
        cosine = torch.einsum("tc,chw->thw", classes, features)
        large = F.interpolate(cosine[None], size=(side, side), mode="bilinear", align_corners=False)
        total[:, y : y + side, x : x + side] += logits.chances(large)[0]
        count[y : y + side, x : x + side] += 1
    return total / count


def _enlarged(maps: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """(T, h, w) maps at another size, bilinear."""
    return F.interpolate(maps[None], size=size_hw, mode="bilinear", align_corners=False)[0]


def labelled(
    maps: Tensor,
    none: Tensor | None,
    size_hw: tuple[int, int],
    threshold: float,
    *,
    chance: Callable[[Tensor], Tensor] = lambda plane: plane,
) -> Labels:
    """Bilinear to the image's size and arg-max, one class at a time so that memory does not grow with classes.

    Args:
        maps: (T, h, w) of the classes.
        none: (h, w) of "none of these", which a class's probability is then taken against.
        size_hw: of the image.
        threshold: probability that a class needs.
        chance: from a map's values at full size to probabilities.
    """
    against = torch.ones(size_hw, device=maps.device) if none is None else _enlarged(none[None], size_hw)[0]
    top = torch.full(size_hw, -1.0, device=maps.device)
    labels = torch.zeros(size_hw, dtype=torch.int32, device=maps.device)
    best = []
    for index, small in enumerate(maps, start=1):
        plane = chance(_enlarged(small[None], size_hw)[0])
        better = plane > top
        top = torch.where(better, plane, top)
        labels.masked_fill_(better, index)
        best.append(float((plane if none is None else plane / (plane + against)).max()))
    score = top if none is None else top / (top + against)
    labels.masked_fill_(score < threshold, 0)
    flat = labels.flatten().long()
    pixels = torch.bincount(flat, minlength=len(maps) + 1)
    sums = torch.zeros(len(maps) + 1, dtype=torch.float64, device=score.device)
    sums.index_add_(0, flat, score.flatten().double())
    means = (sums / pixels.clamp(min=1))[1:]
    return Labels(labels.cpu().numpy(), tuple(means.tolist()), tuple(best))
