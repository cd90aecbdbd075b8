"""Training data: labelled folders in memory, and the batch of each step.

Augmentation crops, resizes, mirrors and changes colours; all randomness is drawn from the seed and the step's number.
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
from maskwright.training.config import CropSchedule
from maskwright.training.vocabulary import Vocabulary

__all__ = [
    "IGNORE",
    "NONE",
    "Batch",
    "Sample",
    "Source",
    "Steps",
    "jitter_colors",
    "read_objects",
    "read_source",
    "source_indices",
]

IGNORE = -1
NONE = -2
"""Label of pixels that belong to none of the classes of their source."""
MEAN, STD = (np.array(values, np.float32) for values in (IMAGENET_MEAN, IMAGENET_STD))


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One image with a label per pixel: class index, IGNORE or NONE; for clicks the object's number, or 0."""

    pixels: NDArray[np.uint8]
    """(H, W, 3)"""
    labels: NDArray[np.int16]
    """(H, W)"""
    source: int
    image_class: int = -1
    """ImageNet class that the whole image is known to show"""


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """Images of one labelled folder, with the classes that its annotators labelled."""

    name: str
    samples: tuple[Sample, ...]
    classes: NDArray[np.int64]
    """Vocabulary indices of the classes that are labelled wherever they occur."""
    background: bool
    """Unlabelled pixels belong to none of `classes`; otherwise they are ignored."""
    weight: float
    """Share of each batch."""
    upright: bool = True
    """The images have a natural orientation, unlike microscopy, whose crops are also rotated."""
    from_teachers: bool = False
    """Labelled by other networks, whose silence about a class says nothing."""
    parts: bool = False
    """The objects of an image are parts of one, as garments are; for clicks their union is one more object."""


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
    """Read a labelled folder for training on classes, except held-out images.

    Args:
        folder: Labelled folder.
        index: Number of this source.
        vocabulary: Classes of the run.
        weight: Share of each batch.
        background: Unlabelled pixels belong to none of the folder's classes.
        skip: Image names without extension to leave out.
        stretch: Stretch the contrast, as the trained model's settings will.

    Raises:
        MaskwrightError: It is no labelled folder, or an image cannot be read.
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
    # folders of a single class are microscopy
    return Source(folder.name, tuple(samples), own, background, weight, upright=len(own) > 1)


def read_objects(folder: Path, *, weight: float, skip: frozenset[str]) -> Source:
    """Read a labelled folder as numbered objects, whatever their category, except held-out images.

    The contrast is left as it is: the image encoder's settings say whether it is stretched.

    Args:
        folder: Labelled folder.
        weight: Share of each batch.
        skip: Image names without extension to leave out.

    Raises:
        MaskwrightError: It is no labelled folder, or an image cannot be read.
    """
    data = LabelledFolder.read(folder)
    samples = []
    for row in data:
        if held_out(row.file.name) or row.file.stem in skip:
            continue
        image = Image.open(row.file)
        numbers = np.zeros(image.size_hw, np.int16)
        for number, mask in enumerate(objects(row.annotations, image.size_hw), start=1):
            numbers[mask] = number
        if numbers.any():
            samples.append(Sample(image.pixels, numbers, 0))
    return Source(
        folder.name,
        tuple(samples),
        np.zeros(1, np.int64),
        background=False,
        weight=weight,
        upright=len(data.categories) > 1,
    )


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Images and labels of one step."""

    pixels: Tensor
    """(B, 3, S, S) normalised float32"""
    labels: Tensor
    """(B, S / n, S / n) int64 labels as in `Sample`, one every n pixels"""
    sources: Tensor
    """(B,) int64 numbers of the sources"""
    image_classes: Tensor | None = None
    """(B,) int64 ImageNet classes of the whole images, or -1; None where no training uses them"""

    def to(self, device: str) -> Batch:
        """The same batch on another device."""
        known = None if self.image_classes is None else self.image_classes.to(device)
        return Batch(self.pixels.to(device), self.labels.to(device), self.sources.to(device), known)


class Steps(Dataset[Batch]):
    """Batches of a run: item n is the batch of step n, which depends on the seed alone, so that any step can resume."""

    def __init__(
        self,
        sources: Sequence[Source],
        schedule: CropSchedule,
        *,
        stride: int = 4,
        image_weights: Callable[[Source], NDArray[np.float64]] | None = None,
    ) -> None:
        """Draw batches from sources.

        Args:
            sources: Sources, drawn in proportion to their weights.
            schedule: Number of steps, batch and crop sizes, seed.
            stride: Pixels per label.
            image_weights: Probability of each image of a source; by default images with rare classes are drawn more
                often.
        """
        self.sources, self.schedule, self.stride = sources, schedule, stride
        self.image_weights = [(image_weights or _rare_classes_first)(source) for source in sources]

    def __len__(self) -> int:
        return self.schedule.steps

    def __iter__(self) -> Iterator[Batch]:
        return (self[n] for n in range(len(self)))

    def __getitem__(self, step: int) -> Batch:
        schedule = self.schedule
        rng = np.random.default_rng([schedule.seed, step])
        chosen = source_indices(self.sources, schedule.batch, rng)
        pixels, labels, known = [], [], []
        for index in chosen:
            source = self.sources[index]
            sample = source.samples[rng.choice(len(source.samples), p=self.image_weights[index])]
            known.append(sample.image_class)
            image, target = _augmented(sample, schedule, rng, rotate=not source.upright, stride=self.stride)
            pixels.append(image)
            labels.append(target)
        stacked = (np.stack(pixels).astype(np.float32) / 255 - MEAN) / STD
        return Batch(
            torch.from_numpy(stacked).permute(0, 3, 1, 2).contiguous(),
            torch.from_numpy(np.stack(labels).astype(np.int64)),
            torch.from_numpy(chosen.astype(np.int64)),
            torch.tensor(known),
        )


def source_indices(sources: Sequence[Source], count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Sources of the images of a batch, by systematic sampling: every batch has nearly the same mixture."""
    weights = np.array([source.weight for source in sources])
    places = (np.arange(count) + rng.random()) / count * weights.sum()
    return np.asarray(np.searchsorted(np.cumsum(weights), places).clip(max=len(sources) - 1))


def _rare_classes_first(source: Source) -> NDArray[np.float64]:
    """Probability of each image: mean over its classes of 1 / sqrt(number of images with the class).

    All are equal where teachers labelled, whose rarest classes are often mistakes.
    """
    if source.from_teachers:
        return np.full(len(source.samples), 1 / len(source.samples))
    present = [np.unique(sample.labels[sample.labels >= 0]) for sample in source.samples]
    counts = np.bincount(np.concatenate([*present, np.zeros(1, np.int64)]), minlength=1).clip(min=1)
    weights = np.array([np.mean(counts[p] ** -0.5) if p.size else 0.1 for p in present])
    return np.asarray(weights / weights.sum())


def _augmented(
    sample: Sample, schedule: CropSchedule, rng: np.random.Generator, *, rotate: bool, stride: int
) -> tuple[NDArray[np.uint8], NDArray[np.int16]]:
    """Random crop of the resized image, mirrored and with changed colours; one label every `stride` pixels.

    `rotate` is for microscopy: crops are also rotated and inverted, and 1.3 times as large, because objects are small.
    """
    crop, short_side = schedule.crop, schedule.short_side
    height, width = sample.labels.shape
    scale = np.exp(rng.uniform(*np.log(short_side))) * (1.3 if rotate else 1.0) / min(height, width)
    stretch = np.exp(rng.uniform(-0.15, 0.15))
    size = max(crop, round(width * scale * stretch)), max(crop, round(height * scale / stretch))
    left, top = (int(rng.integers(0, full - crop + 1)) for full in size)
    # box of the crop in pixels of the original image, so that only the crop is resized
    box = tuple(
        edge * full / now
        for edge, full, now in zip((left, top, left + crop, top + crop), (width, height) * 2, size * 2, strict=True)
    )
    image = Pillow.fromarray(sample.pixels).resize((crop, crop), Pillow.Resampling.BILINEAR, box=box)
    target = Pillow.fromarray(sample.labels.astype(np.int32)).resize(
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
