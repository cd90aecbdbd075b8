"""Random crops of training images: Maskwright's own, and those of CAT-Seg (Cho et al., 2024).

All randomness is drawn from the generator that is passed. A label stands for `stride` pixels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageEnhance

from maskwright.training.config import CropSchedule

__all__ = ["catseg_crop", "jitter_colors", "own_crop", "ssd_colors"]

Pixels = NDArray[np.uint8]
Labels = NDArray[np.int16]


def own_crop(
    pixels: Pixels, labels: Labels, schedule: CropSchedule, rng: np.random.Generator, *, rotate: bool, stride: int
) -> tuple[Pixels, Labels]:
    """Random crop of the resized image, stretched a little, mirrored and with changed colours.

    `rotate` is for microscopy: crops are also rotated and inverted, and 1.3 times as large, because objects are small.
    """
    crop, short_side = schedule.crop, schedule.short_side
    height, width = labels.shape
    scale = np.exp(rng.uniform(*np.log(short_side))) * (1.3 if rotate else 1.0) / min(height, width)
    stretch = np.exp(rng.uniform(-0.15, 0.15))
    size = max(crop, round(width * scale * stretch)), max(crop, round(height * scale / stretch))
    left, top = (int(rng.integers(0, full - crop + 1)) for full in size)
    # box of the crop in pixels of the original image, so that only the crop is resized
    box = tuple(
        edge * full / now
        for edge, full, now in zip((left, top, left + crop, top + crop), (width, height) * 2, size * 2, strict=True)
    )
    image = Pillow.fromarray(pixels).resize((crop, crop), Pillow.Resampling.BILINEAR, box=box)
    target = Pillow.fromarray(labels.astype(np.int32)).resize(
        (crop // stride, crop // stride), Pillow.Resampling.NEAREST, box=box
    )
    image = jitter_colors(image, rng)
    pixels, labels = np.asarray(image), np.asarray(target).astype(np.int16)
    if rng.random() < 0.5:
        pixels, labels = pixels[:, ::-1], labels[:, ::-1]
    if rotate:
        turns = int(rng.integers(4))
        pixels, labels = np.rot90(pixels, turns), np.rot90(labels, turns)
        if rng.random() < 0.15:
            pixels = 255 - pixels
    return pixels, labels


def jitter_colors(image: Pillow.Image, rng: np.random.Generator) -> Pillow.Image:
    """The image with other brightness, contrast and saturation; one in ten is grey."""
    for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        image = enhance(image).enhance(float(rng.uniform(0.7, 1.3)))
    if rng.random() < 0.1:
        image = image.convert("L").convert("RGB")
    return image


_LONGEST = 1333
"""Limit of the long side that CAT-Seg leaves at its library's default."""
_GREY = 128
"""Value of padded pixels."""


def catseg_crop(
    pixels: Pixels, labels: Labels, schedule: CropSchedule, rng: np.random.Generator, *, stride: int, ignore: int
) -> tuple[Pixels, Labels]:
    """CAT-Seg's crop: short side resized, crop, colours of SSD, mirror, then padding of what is smaller.

    An image that is wider or taller than 1,333 pixels at that size is shrunk to it.
    """
    crop = schedule.crop
    height, width = labels.shape
    scale = int(rng.integers(schedule.short_side[0], schedule.short_side[1] + 1)) / min(height, width)
    scale = min(scale, _LONGEST / max(height, width))
    size = int(width * scale + 0.5), int(height * scale + 0.5)
    left, top = (int(rng.integers(max(0, full - crop) + 1)) for full in size)
    box = left, top, min(left + crop, size[0]), min(top + crop, size[1])
    image = Pillow.fromarray(pixels).resize(size, Pillow.Resampling.BILINEAR).crop(box)
    target = Pillow.fromarray(labels.astype(np.int32)).resize(size, Pillow.Resampling.NEAREST).crop(box)
    pixels, labels = ssd_colors(np.asarray(image), rng), np.asarray(target).astype(np.int16)
    if rng.random() < 0.5:
        pixels, labels = pixels[:, ::-1], labels[:, ::-1]
    missing = (0, crop - labels.shape[0]), (0, crop - labels.shape[1])
    pixels = np.pad(pixels, (*missing, (0, 0)), constant_values=_GREY)
    labels = np.pad(labels, missing, constant_values=ignore)
    return pixels, labels[stride // 2 :: stride, stride // 2 :: stride]


def ssd_colors(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Colour jitter of SSD (Liu et al., 2016): each of four changes with probability 1/2, contrast second or last."""
    if rng.random() < 0.5:
        pixels = _scaled(pixels, 1.0, rng.uniform(-32, 32))
    contrast_last = rng.random() < 0.5
    if not contrast_last:
        pixels = _contrast(pixels, rng)
    if rng.random() < 0.5:
        hsv = _hsv(pixels)
        hsv[..., 1] = _scaled(hsv[..., 1], rng.uniform(0.5, 1.5), 0.0)
        pixels = _rgb(hsv)
    if rng.random() < 0.5:
        # by up to 18 of 180 steps; here the circle has 256
        hsv = _hsv(pixels)
        hsv[..., 0] = (hsv[..., 0].astype(int) + round(int(rng.integers(-18, 19)) * 256 / 180)) % 256
        pixels = _rgb(hsv)
    return _contrast(pixels, rng) if contrast_last else pixels


def _contrast(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    return _scaled(pixels, rng.uniform(0.5, 1.5), 0.0) if rng.random() < 0.5 else pixels


def _scaled(values: Pixels, factor: float, offset: float) -> Pixels:
    scaled = values.astype(np.float32) * np.float32(factor) + np.float32(offset)
    return np.asarray(scaled.clip(0, 255).astype(np.uint8))


def _hsv(pixels: Pixels) -> Pixels:
    return np.array(Pillow.fromarray(pixels).convert("HSV"))


def _rgb(hsv: Pixels) -> Pixels:
    return np.asarray(Pillow.fromarray(hsv, "HSV").convert("RGB"))
