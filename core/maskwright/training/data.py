"""Training images in COCO form: read once, held in memory, cropped and varied afresh for every step.

Pictures vary by crop, size, mirror and colour; everything is drawn from the seed and the number of the step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageEnhance
from torch import Tensor
from torch.utils.data import Dataset

from maskwright.domain import Image
from maskwright.formats.labelled_folder import LabelledFolder, held_out, label_map, objects
from maskwright.imaging.normalization import stretch_contrast
from maskwright.models.normalization import IMAGENET_MEAN, IMAGENET_STD
from maskwright.training.config import TrainConfig
from maskwright.training.vocabulary import Vocabulary

__all__ = ["IGNORE", "Batch", "Sample", "Source", "Steps", "crops", "read_objects", "read_source"]

IGNORE = -1
NONE = -2
"""Pixels that carry none of the classes their source labels."""
MEAN, STD = (np.array(values, np.float32) for values in (IMAGENET_MEAN, IMAGENET_STD))


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One picture with its labels: class index of the vocabulary, IGNORE or NONE; or the number of its object, or 0."""

    pixels: NDArray[np.uint8]
    """(H, W, 3)"""
    labels: NDArray[np.int16]
    """(H, W)"""
    source: int


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """One labelled folder: what its annotators looked for, and how far its silence can be trusted."""

    name: str
    samples: tuple[Sample, ...]
    classes: NDArray[np.int64]
    """Vocabulary indices that this source labels wherever they occur."""
    background: bool
    """Unlabelled pixels are truly none of `classes`."""
    weight: float
    """Share of each batch."""
    upright: bool = True
    """Its pictures have an up and a down; microscopy has not."""


def read_source(
    folder: Path,
    index: int,
    vocabulary: Vocabulary,
    *,
    weight: float,
    background: bool,
    skip: frozenset[str],
    stretch: bool = True,
) -> Source:
    """Read a labelled folder, leaving out held-out pictures and those named in `skip`.

    `stretch` is whether the model will be asked with stretched contrast.

    Raises:
        MaskwrightError: the folder is not one, or a picture cannot be read.
    """
    data = LabelledFolder.read(folder)
    classes = {key: vocabulary.index(name) for key, name in data.categories.items()}
    empty = NONE if background else IGNORE
    samples = []
    for row in data:
        if held_out(row.file.name) or row.file.stem in skip:
            continue
        image = Image.open(row.file)
        labels = label_map(row.annotations, classes, image.size_hw, empty=empty, crowd=IGNORE)
        samples.append(Sample(stretch_contrast(image.pixels) if stretch else image.pixels, labels, index))
    own = np.unique(list(classes.values()))
    # a folder of a single class is microscopy here
    return Source(folder.name, tuple(samples), own, background, weight, upright=len(own) > 1)


def read_objects(folder: Path, *, weight: float, skip: frozenset[str]) -> Source:
    """Read a labelled folder as pictures of numbered objects, whatever their category; held-out pictures are left out.

    Raises:
        MaskwrightError: the folder is not one, or a picture cannot be read.
    """
    data = LabelledFolder.read(folder)
    samples = []
    for row in data:
        if held_out(row.file.name) or row.file.stem in skip:
            continue
        image = Image.open(row.file)
        numbers = np.zeros(image.size_hw, np.int16)
        for number, one in enumerate(objects(row.annotations, image.size_hw), start=1):
            numbers[one] = number
        if numbers.any():
            samples.append(Sample(stretch_contrast(image.pixels), numbers, 0))
    return Source(folder.name, tuple(samples), np.zeros(1, np.int64), False, weight, upright=len(data.categories) > 1)


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """One step's pictures and labels."""

    pixels: Tensor
    """(B, 3, S, S) normalised float32"""
    labels: Tensor
    """(B, S / n, S / n) int64, as the samples' labels"""
    sources: Tensor
    """(B,) int64"""

    def to(self, device: str) -> Batch:
        """The same batch on another device."""
        return Batch(self.pixels.to(device), self.labels.to(device), self.sources.to(device))


class Steps(Dataset[Batch]):
    """Item n is the whole batch of step n, the same for the same seed: a run can be resumed at any step."""

    def __init__(
        self,
        sources: Sequence[Source],
        *,
        batch: int,
        crop: int,
        short_side: tuple[int, int],
        seed: int,
        steps: int,
        stride: int = 4,
        chances: Callable[[Source], NDArray[np.float64]] | None = None,
    ) -> None:
        """Draw from sources.

        Args:
            sources: what to draw from, in proportion to their weights.
            batch: pictures a step.
            crop: side of the crops in pixels.
            short_side: range that a picture's short side is resized to.
            seed: of everything random.
            steps: how many there are.
            stride: pixels per label.
            chances: of each picture of a source; by default pictures with rare classes come more often.
        """
        self.sources = sources
        self.batch, self.crop, self.short_side, self.stride = batch, crop, short_side, stride
        self.seed, self.steps = seed, steps
        self.weights = np.array([s.weight for s in sources]) / sum(s.weight for s in sources)
        self.chances = [(chances or _rare_first)(source) for source in sources]

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[Batch]:
        return (self[n] for n in range(self.steps))

    def __getitem__(self, step: int) -> Batch:
        rng = np.random.default_rng([self.seed, step])
        # systematic draw: every batch has nearly the same mixture, which the stem's batch statistics need
        places = (np.arange(self.batch) + rng.random()) / self.batch
        chosen = np.searchsorted(np.cumsum(self.weights), places).clip(max=len(self.sources) - 1)
        pixels, labels = [], []
        for index in chosen:
            source = self.sources[index]
            sample = source.samples[rng.choice(len(source.samples), p=self.chances[index])]
            image, target = _varied(
                sample, self.crop, self.short_side, rng, flat=not source.upright, stride=self.stride
            )
            pixels.append(image)
            labels.append(target)
        stacked = (np.stack(pixels).astype(np.float32) / 255 - MEAN) / STD
        return Batch(
            torch.from_numpy(stacked).permute(0, 3, 1, 2).contiguous(),
            torch.from_numpy(np.stack(labels).astype(np.int64)),
            torch.from_numpy(chosen.astype(np.int64)),
        )


def crops(config: TrainConfig, sources: Sequence[Source]) -> Steps:
    """The steps of a run on words."""
    return Steps(
        sources, batch=config.batch, crop=config.crop, short_side=config.short_side, seed=config.seed,
        steps=config.steps,
    )  # fmt: skip


def _rare_first(source: Source) -> NDArray[np.float64]:
    """Chance of each picture: the mean over its classes of one over the root of how many pictures show the class."""
    present = [np.unique(sample.labels[sample.labels >= 0]) for sample in source.samples]
    counts = np.bincount(np.concatenate([*present, np.zeros(1, np.int64)]), minlength=1).clip(min=1)
    weights = np.array([np.mean(counts[p] ** -0.5) if p.size else 0.1 for p in present])
    return np.asarray(weights / weights.sum())


def _varied(
    sample: Sample, crop: int, short_side: tuple[int, int], rng: np.random.Generator, *, flat: bool, stride: int
) -> tuple[NDArray[np.uint8], NDArray[np.int16]]:
    """A random crop of the resized picture, mirrored and with changed colours; one label every `stride` pixels.

    `flat` sources look the same from every side (microscopy), so they are also turned; their objects are small, so they
    are shown larger.
    """
    height, width = sample.labels.shape
    scale = np.exp(rng.uniform(*np.log(short_side))) * (1.3 if flat else 1.0) / min(height, width)
    stretch = np.exp(rng.uniform(-0.15, 0.15))
    size = max(crop, round(width * scale * stretch)), max(crop, round(height * scale / stretch))
    left, top = (int(rng.integers(0, full - crop + 1)) for full in size)
    # cut before resizing: the crop's box in the picture's own pixels
    box = tuple(
        edge * full / now
        for edge, full, now in zip((left, top, left + crop, top + crop), (width, height) * 2, size * 2, strict=True)
    )
    image = Pillow.fromarray(sample.pixels).resize((crop, crop), Pillow.Resampling.BILINEAR, box=box)
    target = Pillow.fromarray(sample.labels.astype(np.int32)).resize(
        (crop // stride, crop // stride), Pillow.Resampling.NEAREST, box=box
    )
    image = _coloured(image, rng)
    pixels, labels = np.asarray(image), np.asarray(target).astype(np.int16)
    if rng.random() < 0.5:
        pixels, labels = pixels[:, ::-1], labels[:, ::-1]
    if flat:
        turns = int(rng.integers(4))
        pixels, labels = np.rot90(pixels, turns), np.rot90(labels, turns)
        if rng.random() < 0.15:
            pixels = 255 - pixels
    return pixels, labels


def _coloured(image: Pillow.Image, rng: np.random.Generator) -> Pillow.Image:
    for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        image = enhance(image).enhance(float(rng.uniform(0.7, 1.3)))
    if rng.random() < 0.1:
        image = image.convert("L").convert("RGB")
    return image
