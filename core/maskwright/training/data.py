"""Training data: images of labelled folders, read when they are drawn, and the batch of each step.

All randomness is drawn from the seed and the step's number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from maskwright.domain import Image
from maskwright.errors import MaskwrightError
from maskwright.formats.benchmarks.semantic import SEMANTIC, BenchmarkImage, stuff_training_images
from maskwright.formats.labelled_folder import LabelledFolder, LabelledImage, held_out, label_map, objects
from maskwright.imaging.normalization import stretch_contrast
from maskwright.models.normalization import IMAGENET_MEAN, IMAGENET_STD
from maskwright.training.augmentation import catseg_crop, own_crop
from maskwright.training.config import CropSchedule
from maskwright.training.vocabulary import Vocabulary

__all__ = [
    "IGNORE",
    "NONE",
    "Batch",
    "Sample",
    "Samples",
    "Source",
    "Steps",
    "folder_classes",
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


class Samples(Protocol):
    """Samples in memory (a tuple), or read each time that they are asked for."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Sample: ...
    def __iter__(self) -> Iterator[Sample]: ...


class _OnDemand:
    """Samples that are read each time, so that no folder is too large for the memory."""

    def __init__(self, files: Sequence[Path], read: Sequence[Callable[[], Sample]]) -> None:
        for file in files:
            if not file.is_file():
                raise MaskwrightError(f"There is no file {file}.", "Get the data set again.")
        self._read = read

    def __len__(self) -> int:
        return len(self._read)

    def __getitem__(self, index: int, /) -> Sample:
        return self._read[index]()

    def __iter__(self) -> Iterator[Sample]:
        return (read() for read in self._read)


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """Images of one labelled folder, with the classes that its annotators labelled."""

    name: str
    samples: Samples
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


def folder_classes(folder: Path) -> list[str]:
    """Classes of a training folder, in its order; raises MaskwrightError."""
    return SEMANTIC[_STUFF].names if _is_stuff(folder) else list(LabelledFolder.read(folder).categories.values())


_STUFF = "coco-stuff"


def _is_stuff(folder: Path) -> bool:
    """Whether a folder is COCO-Stuff as its owners publish it."""
    return not (folder / "annotations.json").is_file() and (folder / "stuffthingmaps").is_dir()


def read_source(
    folder: Path,
    index: int,
    vocabulary: Vocabulary,
    *,
    weight: float,
    background: bool,
    skip: frozenset[str] | None,
    stretch: bool = True,
) -> Source:
    """A labelled folder, or COCO-Stuff as published, for training on classes; images are read when they are drawn.

    Args:
        folder: Labelled folder, or one with `train2017/` and `stuffthingmaps/train2017/`.
        index: Number of this source.
        vocabulary: Classes of the run.
        weight: Share of each batch.
        background: Unlabelled pixels belong to none of the folder's classes.
        skip: Image names without extension to leave out beside the held-out ones; None takes every image.
        stretch: Stretch the contrast, as the trained model's settings will.

    Raises:
        MaskwrightError: It is no labelled folder, or a file is missing.
    """
    empty = NONE if background else IGNORE
    files, labels = (_stuff_labels if _is_stuff(folder) else _coco_labels)(folder, vocabulary, empty)
    rows = [
        (file, draw)
        for file, draw in zip(files, labels, strict=True)
        if skip is None or not (held_out(file.name) or file.stem in skip)
    ]

    def sample(file: Path, draw: Callable[[tuple[int, int]], NDArray[np.int16]]) -> Sample:
        image = Image.open(file)
        return Sample(stretch_contrast(image.pixels) if stretch else image.pixels, draw(image.size_hw), index)

    samples = _OnDemand([file for file, _ in rows], [partial(sample, *row) for row in rows])
    own = np.unique([vocabulary.index(name) for name in folder_classes(folder)])
    # folders of a single class are microscopy
    return Source(folder.name, samples, own, background, weight, upright=len(own) > 1)


Labels = Callable[[tuple[int, int]], NDArray[np.int16]]
"""From the size of an image to its (H, W) labels."""


def _coco_labels(folder: Path, vocabulary: Vocabulary, empty: int) -> tuple[list[Path], list[Labels]]:
    data = LabelledFolder.read(folder)
    classes = {key: vocabulary.index(name) for key, name in data.categories.items()}

    def labels(row: LabelledImage, size_hw: tuple[int, int]) -> NDArray[np.int16]:
        return label_map(row.annotations, classes, size_hw, empty=empty, crowd=IGNORE)

    return [row.file for row in data], [partial(labels, row) for row in data]


def _stuff_labels(folder: Path, vocabulary: Vocabulary, empty: int) -> tuple[list[Path], list[Labels]]:
    # labels of the reader: classes from 1 in the order of their list, -1 for unlabelled pixels
    names = SEMANTIC[_STUFF].names
    table = np.array([empty, *map(vocabulary.index, names), empty], np.int16)
    rows = stuff_training_images(folder)

    def labels(row: BenchmarkImage, size_hw: tuple[int, int]) -> NDArray[np.int16]:
        drawn = table[row.labels()]
        if drawn.shape != size_hw:
            raise MaskwrightError(f"{row.name} and its label map differ in size.", "Get the data set again.")
        return drawn

    return [row.file for row in rows], [partial(labels, row) for row in rows]


def read_objects(folder: Path, *, weight: float, skip: frozenset[str]) -> Source:
    """Read a labelled folder into memory as numbered objects, whatever their category, except held-out images.

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
        self.image_weights: list[NDArray[np.float64]] = []
        if schedule.augment == "maskwright":
            self.image_weights = [(image_weights or _rare_classes_first)(source) for source in sources]

    def __len__(self) -> int:
        return self.schedule.steps

    def __iter__(self) -> Iterator[Batch]:
        return (self[n] for n in range(len(self)))

    def __getitem__(self, step: int) -> Batch:
        schedule = self.schedule
        rng = np.random.default_rng([schedule.seed, step])
        pixels, labels, known, chosen = [], [], [], []
        for index, sample in self._drawn(step, rng):
            if schedule.augment == "catseg":
                image, target = catseg_crop(
                    sample.pixels, sample.labels, schedule, rng, stride=self.stride, ignore=IGNORE
                )  # fmt: skip
            else:
                rotate = not self.sources[index].upright
                image, target = own_crop(
                    sample.pixels, sample.labels, schedule, rng, rotate=rotate, stride=self.stride
                )  # fmt: skip
            pixels.append(image)
            labels.append(target)
            known.append(sample.image_class)
            chosen.append(index)
        stacked = (np.stack(pixels).astype(np.float32) / 255 - MEAN) / STD
        return Batch(
            torch.from_numpy(stacked).permute(0, 3, 1, 2).contiguous(),
            torch.from_numpy(np.stack(labels).astype(np.int64)),
            torch.tensor(chosen),
            torch.tensor(known),
        )

    def _drawn(self, step: int, rng: np.random.Generator) -> Iterator[tuple[int, Sample]]:
        """The samples of a step, each with the number of its source."""
        schedule = self.schedule
        if schedule.augment == "catseg":
            # all images take turns, in another order in each epoch
            ends = np.cumsum([len(source.samples) for source in self.sources])
            for place in range(step * schedule.batch, (step + 1) * schedule.batch):
                epoch, turn = divmod(place, int(ends[-1]))
                row = _order(schedule.seed, epoch, int(ends[-1]))[turn]
                index = int(np.searchsorted(ends, row, side="right"))
                yield index, self.sources[index].samples[int(row - ends[index])]
            return
        for index in source_indices(self.sources, schedule.batch, rng).tolist():
            samples = self.sources[index].samples
            yield index, samples[int(rng.choice(len(samples), p=self.image_weights[index]))]


@lru_cache(maxsize=2)
def _order(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    """The order of the images of an epoch."""
    return np.random.default_rng([seed, epoch, 2]).permutation(count)


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
