"""Images of a fine-tuning run, resized as at inference, and their encodings by frozen encoders, kept on disk."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as Pillow
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from maskwright.engine.cache import LruCache
from maskwright.files.atomic import atomic_save
from maskwright.imaging.geometry import area_size
from maskwright.imaging.normalization import stretch_contrast
from maskwright.models.devices import mixed_precision
from maskwright.models.dinov3seg import Dinov3Seg
from maskwright.models.normalization import normalize
from maskwright.presets.config import Dinov3SegSettings
from maskwright.presets.loading import needs_single_precision
from maskwright.training.augmentation import jitter_colors
from maskwright.training.config import TuneConfig
from maskwright.training.finetune.images import TrainingImage

__all__ = ["Encoded", "Encodings", "Variant", "Variants"]

_MEMORY = 256 << 20
"""Bytes of resized images that are kept in memory."""


class Variant(NamedTuple):
    """An image as a run sees it."""

    pixels: NDArray[np.uint8]
    """(H, W, 3), H and W multiples of the patch"""
    mirrored: bool


class Encoded(NamedTuple):
    """A crop after the frozen encoders, in half precision."""

    features: Tensor
    """(B, C, h, w) patch features of dino.txt"""
    prior: Tensor
    """(B, A, h, w) output of the semantic prior encoder"""
    taps: tuple[Tensor, Tensor]
    """(B, A', n h, n w) its two intermediate maps"""

    def to(self, device: str) -> Encoded:
        """The same on another device, in single precision."""
        first, second = (tap.to(device).float() for tap in self.taps)
        return Encoded(self.features.to(device).float(), self.prior.to(device).float(), (first, second))


class Variants:
    """Resized, mirrored and recoloured images; variant n of an image depends on the seed alone."""

    def __init__(self, images: tuple[TrainingImage, ...], config: TuneConfig, *, patch: int, stretch: bool) -> None:
        self.images, self._config, self._patch, self._stretch = images, config, patch, stretch
        self._cache = LruCache[tuple[int, int], Variant](_MEMORY, lambda variant: variant.pixels.nbytes)

    def get(self, index: int, number: int) -> Variant:
        """Variant `number` of an image; the first two are the image as inference sees it, and its mirror image."""
        return self._cache.get_or_make((index, number), lambda: self._make(index, number))

    def _make(self, index: int, number: int) -> Variant:
        config = self._config
        rng = np.random.default_rng([config.seed, int(self.images[index].sha256[:8], 16), number, 7])
        pixels = self.images[index].open().pixels
        pixels = stretch_contrast(pixels) if self._stretch else pixels
        side = config.side if number < 2 else round(config.side * float(np.exp(rng.uniform(-0.3, 0.3))))
        height, width = area_size(
            (pixels.shape[0], pixels.shape[1]), max(side, config.least), least=config.least, multiple=self._patch
        )
        resized = Pillow.fromarray(pixels).resize((width, height), Pillow.Resampling.BILINEAR)
        array = np.asarray(jitter_colors(resized, rng) if number >= 2 else resized)
        mirrored = number % 2 == 1
        return Variant(np.ascontiguousarray(array[:, ::-1]) if mirrored else array, mirrored)


class Encodings:
    """Encodings of variants, one file each."""

    def __init__(self, model: Dinov3Seg, settings: Dinov3SegSettings, variants: Variants, folder: Path) -> None:
        self._model, self._settings, self._variants, self._folder = model, settings, variants, folder

    def prepare(self, index: int, number: int, device: torch.device) -> None:
        """Encode a variant, unless its file is there."""
        file = self.file(index, number)
        if not file.exists():
            tensors = self._encode(self._variants.get(index, number).pixels, device)
            file.parent.mkdir(parents=True, exist_ok=True)
            atomic_save(file, lambda temporary: save_file(tensors, temporary))

    def file(self, index: int, number: int) -> Path:
        """File of a variant, named after all that it depends on in a run: the parts of a cross-validation share it."""
        image, settings = self._variants.images[index], self._settings
        key = f"{image.sha256} {settings.sha256} {settings.built_on} {number}"
        return self._folder / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.safetensors"

    def crop(self, index: int, number: int, place: tuple[int, int], cells: int) -> Encoded:
        """(1, ...) maps of a square of `cells` cells, whose top left cell is `place`."""
        with safe_open(self.file(index, number), framework="pt") as stored:
            grid = stored.get_slice("features").get_shape()[-1]

            def cut(name: str) -> Tensor:
                part = stored.get_slice(name)
                times = part.get_shape()[-1] // grid
                top, left = (times * start for start in place)
                maps: Tensor = part[:, top : top + times * cells, left : left + times * cells]
                return maps[None]

            return Encoded(cut("features"), cut("prior"), (cut("first"), cut("second")))

    @torch.inference_mode()
    def _encode(self, pixels: NDArray[np.uint8], device: torch.device) -> dict[str, Tensor]:
        model = self._model
        image = normalize(torch.from_numpy(pixels.copy()).to(device).permute(2, 0, 1)[None].float() / 255)
        with mixed_precision(device, enabled=not needs_single_precision(model)):
            features = model.patch_features(image)
            prior, (first, second) = model.spe(image, (features.shape[-2], features.shape[-1]))
        maps = {"features": features, "prior": prior, "first": first, "second": second}
        return {name: value[0].half().contiguous().cpu() for name, value in maps.items()}
