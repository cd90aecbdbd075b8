"""CAT-Seg's crops, beside pixel-by-pixel formulations, and how its images take turns."""

from __future__ import annotations

import colorsys
from collections import Counter

import numpy as np
import pytest
import torch

from maskwright.training.augmentation import catseg_crop, ssd_colors
from maskwright.training.config import CropSchedule
from maskwright.training.data import IGNORE, Sample, Source, Steps

SCHEDULE = CropSchedule(
    steps=9, batch=4, crop=24, short_side=(24, 24), lr=1e-3, warmup=0.0, ema=0.0, seed=1, augment="catseg"
)


@pytest.mark.parametrize("seed", range(8))
def test_colours_of_ssd(seed: int) -> None:
    """Beside colorsys, one pixel at a time, with the same draws."""
    pixels = np.random.default_rng(99).integers(0, 256, (6, 5, 3), dtype=np.uint8)
    rng = np.random.default_rng(seed)
    steps: list[tuple[str, float]] = []
    if rng.random() < 0.5:
        steps.append(("brightness", rng.uniform(-32, 32)))
    last = rng.random() < 0.5
    if not last and rng.random() < 0.5:
        steps.append(("contrast", rng.uniform(0.5, 1.5)))
    if rng.random() < 0.5:
        steps.append(("saturation", rng.uniform(0.5, 1.5)))
    if rng.random() < 0.5:
        steps.append(("hue", int(rng.integers(-18, 19)) / 180))
    if last and rng.random() < 0.5:
        steps.append(("contrast", rng.uniform(0.5, 1.5)))

    def changed(rgb: tuple[float, ...]) -> tuple[float, ...]:
        for kind, value in steps:
            if kind in ("brightness", "contrast"):
                rgb = tuple(min(255.0, max(0.0, c + value if kind == "brightness" else c * value)) for c in rgb)
                continue
            h, s, v = colorsys.rgb_to_hsv(*(c / 255 for c in rgb))
            h, s = ((h + value) % 1, s) if kind == "hue" else (h, min(1.0, s * value))
            rgb = tuple(255 * c for c in colorsys.hsv_to_rgb(h, s, v))
        return rgb

    expected = np.array([[changed(tuple(map(float, pixel))) for pixel in row] for row in pixels])
    found = ssd_colors(pixels, np.random.default_rng(seed))
    # eight bits for hue and saturation
    assert np.abs(found - expected).max() < 16
    assert np.abs(found - expected).mean() < 2.5


@pytest.mark.parametrize("size_hw", [(40, 60), (48, 24), (12, 18)])
def test_a_crop_shows_what_its_labels_say(size_hw: tuple[int, int]) -> None:
    """The short side fills the crop; labels number columns, and the darkness of the image grows with them."""
    height, width = size_hw
    labels = np.arange(width, dtype=np.int16)[None].repeat(height, axis=0)
    pixels = (labels[..., None].repeat(3, axis=2) * 4).astype(np.uint8)
    for seed in range(10):
        image, target = catseg_crop(pixels, labels, SCHEDULE, np.random.default_rng(seed), stride=1, ignore=IGNORE)
        assert image.shape == (24, 24, 3)
        assert target.shape == (24, 24)
        assert (target != IGNORE).all()
        step = np.diff(target[0].astype(int))
        scale = min(size_hw) / 24
        assert set(np.abs(step)) <= {int(np.floor(scale)), int(np.ceil(scale))}, "no stretch"
        assert np.array_equal(np.sign(step) <= 0, np.full(23, step.sum() < 0) | (step == 0)), "mirrored as a whole"
        brightness = image.astype(int).sum(axis=2)[12]
        assert np.corrcoef(brightness, target[12])[0, 1] > 0.9


def test_a_panorama_is_padded() -> None:
    """Of 24 x 1,600 pixels at a short side of 24 the long side is limited to 1,333, so that 20 rows remain."""
    labels = np.ones((24, 1600), np.int16)
    pixels = np.full((24, 1600, 3), 200, np.uint8)
    image, target = catseg_crop(pixels, labels, SCHEDULE, np.random.default_rng(0), stride=1, ignore=IGNORE)
    assert image.shape == (24, 24, 3)
    assert (target[:20] == 1).all()
    assert (target[20:] == IGNORE).all()
    assert (image[20:] == 128).all()
    half, labels_of_half = catseg_crop(pixels, labels, SCHEDULE, np.random.default_rng(0), stride=4, ignore=IGNORE)
    assert np.array_equal(half, image)
    assert np.array_equal(labels_of_half, target[2::4, 2::4])


def test_all_images_take_turns() -> None:
    """Eleven images of two folders: each comes once in eleven draws, in another order the next time."""

    def source(name: str, first: int, count: int) -> Source:
        labels = [np.full((24, 24), first + n, np.int16) for n in range(count)]
        samples = tuple(Sample(np.zeros((24, 24, 3), np.uint8), one, 0) for one in labels)
        return Source(name, samples, np.arange(11), background=False, weight=1.0)

    steps = Steps([source("a", 0, 8), source("b", 8, 3)], SCHEDULE)
    drawn = [int(labels[0, 0]) for step in range(9) for labels in steps[step].labels]
    epochs = [drawn[start : start + 11] for start in (0, 11, 22)]
    assert all(Counter(epoch) == Counter(range(11)) for epoch in epochs)
    assert epochs[0] != epochs[1]
    batch = steps[5]
    assert batch.sources.tolist() == [int(labels[0, 0] >= 8) for labels in batch.labels]
    assert torch.equal(batch.pixels, steps[5].pixels)
