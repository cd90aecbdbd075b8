"""Benchmarks of label maps: each yields an image with the label of every pixel.

Labels are 0 for background, k for the k-th class of the benchmark's list, and IGNORED for pixels that do not count.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from maskwright.domain import Image, rle
from maskwright.errors import MaskwrightError
from maskwright.formats.benchmarks.files import (
    IGNORED,
    class_names,
    place,
    read_json,
    read_labels,
    read_lines,
    read_pickle,
)

__all__ = ["SEMANTIC", "BenchmarkImage", "Semantic", "stuff_training_images"]

Labels = NDArray[np.int16]


class BenchmarkImage(NamedTuple):
    """An image with its label map; both are read when they are asked for."""

    name: str
    file: Path
    image: Callable[[], Image]
    labels: Callable[[], Labels]
    """(H, W) int16"""


@dataclass(frozen=True, slots=True)
class Semantic:
    """A benchmark of label maps."""

    classes: str
    """Its class list in the assets."""
    images: Callable[[Path], Sequence[BenchmarkImage]]
    """The images of the folder that a user named, in the owners' order."""
    background: bool = False
    """Whether pixels that are none of the classes count as a class of their own."""
    count: int | None = None
    """How many classes of the list it has; None for all."""

    @property
    def names(self) -> list[str]:
        """The classes in label order."""
        return class_names(self.classes)[: self.count]


def _entry(file: Path, labels: Callable[[], Labels]) -> BenchmarkImage:
    return BenchmarkImage(file.name, file, lambda: Image.open(file), labels)


def _mapped(file: Path, table: NDArray[np.int16]) -> Callable[[], Labels]:
    """Labels of a map whose values index a table; values beyond it do not count."""

    def read() -> Labels:
        values = read_labels(file)
        return np.where(values < len(table), table[np.minimum(values, len(table) - 1)], np.int16(IGNORED))

    return read


def _table(values: Sequence[int], size: int, other: int) -> NDArray[np.int16]:
    """Label by value: the k-th of `values` is class k, any other value below `size` is `other`."""
    table = np.full(size, other, np.int16)
    table[list(values)] = np.arange(1, len(values) + 1)
    return table


# PASCAL VOC 2012: 0 background, 1 to 20 classes, 255 void


def _voc(folder: Path, *, background: bool) -> list[BenchmarkImage]:
    lists = "ImageSets/Segmentation/val.txt"
    names = place(
        folder, f"VOCdevkit/VOC2012/{lists}", f"VOC2012/{lists}", lists, what="PASCAL VOC 2012 (VOCdevkit/VOC2012)"
    )
    root, table = names.parents[2], _table(range(1, 21), 21, 0)
    table[0] = 0 if background else IGNORED
    return [
        _entry(root / "JPEGImages" / f"{name}.jpg", _mapped(root / "SegmentationClass" / f"{name}.png", table))
        for name in read_lines(names)
    ]


# PASCAL-Context on VOC 2010: trainval_merged.json for 59 classes, a .mat with 459 classes per image

_CONTEXT = (
    2, 259, 260, 415, 324, 9, 258, 144, 18, 19, 22, 23, 397, 25, 284, 158, 159, 416, 33, 162, 420, 454, 295, 296, 427,
    44, 45, 46, 308, 59, 440, 445, 31, 232, 65, 354, 424, 68, 326, 72, 458, 34, 207, 80, 355, 85, 347, 220, 349, 360,
    98, 187, 104, 105, 366, 189, 368, 113, 115,
)  # fmt: skip
"""The 59 classes among PASCAL-Context's category ids; label k is the k-th smallest."""


def _context(folder: Path, *, background: bool) -> list[BenchmarkImage]:
    file = place(
        folder, "VOCdevkit/VOC2010/trainval_merged.json", "VOC2010/trainval_merged.json", "trainval_merged.json",
        what="PASCAL-Context",
    )  # fmt: skip
    data = read_json(file)
    rows: dict[Any, list[Any]] = {}
    for row in data["annos_segmentation"]:
        rows.setdefault(row["image_id"], []).append(row)
    labels = {category: label for label, category in enumerate(sorted(_CONTEXT), start=1)}

    def read(image: Any) -> Callable[[], Labels]:
        def labels_of() -> Labels:
            drawn = np.full((image["height"], image["width"]), 0 if background else IGNORED, np.int16)
            for row in rows.get(image["image_id"], ()):
                drawn[rle.decode(rle.compressed(row["segmentation"]))] = labels.get(row["category_id"], IGNORED)
            return drawn

        return labels_of

    images = sorted((image for image in data["images"] if image["phase"] == "val"), key=lambda row: row["file_name"])
    return [_entry(file.parent / "JPEGImages" / image["file_name"], read(image)) for image in images]


def _context_459(folder: Path) -> list[BenchmarkImage]:
    lists = "ImageSets/Main/val.txt"
    names = place(
        folder, f"VOCdevkit/VOC2010/{lists}", f"VOC2010/{lists}", lists, what="PASCAL VOC 2010 (VOCdevkit/VOC2010)"
    )
    root = names.parents[2]
    maps = place(root, "trainval", "PASCAL_Context/trainval", what="PASCAL-Context's label maps of 459 classes")

    def read(file: Path) -> Callable[[], Labels]:
        def labels() -> Labels:
            from scipy.io import loadmat

            values = np.asarray(loadmat(file)["LabelMap"]).astype(np.int16)
            return np.where(values > 0, values, np.int16(IGNORED))

        return labels

    # the owners drew no label map for a few images of the list
    drawn = [name for name in read_lines(names) if (maps / f"{name}.mat").is_file()]
    return [_entry(root / "JPEGImages" / f"{name}.jpg", read(maps / f"{name}.mat")) for name in drawn]


# ADE20K: 150 classes of the scene parsing challenge, 847 of the full data set


def _ade(folder: Path) -> list[BenchmarkImage]:
    place_of_labels = "annotations/validation"
    labels = place(folder, f"ADEChallengeData2016/{place_of_labels}", place_of_labels, what="ADEChallengeData2016")
    images, table = labels.parents[1] / "images" / "validation", _table(range(1, 151), 151, IGNORED)
    table[0] = IGNORED
    return [_entry(images / f"{file.stem}.jpg", _mapped(file, table)) for file in sorted(labels.glob("*.png"))]


_ADE_SIDE = 512
"""Short side that MaskFormer's preparation of the full ADE20K shrinks larger images to."""


def _ade_847(folder: Path) -> list[BenchmarkImage]:
    index = place(
        folder, "ADE20K_2021_17_01/index_ade20k.pkl", "index_ade20k.pkl", what="the full ADE20K (ADE20K_2021_17_01)"
    )
    data = read_pickle(index)
    numbers = {name: number for number, name in enumerate(data["objectnames"], start=1)}
    classes = class_names("ade847")
    missing = [name for name in classes if name not in numbers]
    if missing:
        raise MaskwrightError(f"{index} does not list {missing[0]}. Get ADE20K_2021_17_01.")
    table = _table([numbers[name] for name in classes], len(numbers) + 1, IGNORED)

    def entry(file: Path) -> BenchmarkImage:
        def labels() -> Labels:
            colours = read_labels(file.with_name(f"{file.stem}_seg.png"))
            objects = colours[..., 0] // 10 * 256 + colours[..., 1]
            drawn = np.where(objects < len(table), table[np.minimum(objects, len(table) - 1)], np.int16(IGNORED))
            height, width = drawn.shape
            to = _ade_size(height, width)
            rows, columns = (np.arange(new) * old // new for new, old in zip(to, (height, width), strict=True))
            shrunk: Labels = drawn[rows[:, None], columns]
            return shrunk

        def image() -> Image:
            opened = Image.open(file)
            to = _ade_size(*opened.size_hw)
            return opened if to == opened.size_hw else Image(_bilinear(opened.pixels, to), name=file.name)

        return BenchmarkImage(file.name, file, image, labels)

    # the index names files from the folder that holds the data set's own
    pairs = zip(data["folder"], data["filename"], strict=True)
    files = [index.parents[1] / place / name for place, name in pairs if name.split("_")[1] == "val"]
    return [entry(file) for file in files]


def _ade_size(height: int, width: int) -> tuple[int, int]:
    """Size after that preparation, whose two conditions leave images with one short side alone."""
    if width >= height > _ADE_SIDE:
        return _ADE_SIDE, round(width / height * _ADE_SIDE)
    if height >= width > _ADE_SIDE:
        return round(height / width * _ADE_SIDE), _ADE_SIDE
    return height, width


def _bilinear(pixels: NDArray[np.uint8], to_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """Bilinear resizing without smoothing, as that preparation does."""
    (y, rows), (x, columns) = (_positions(new, old) for new, old in zip(to_hw, pixels.shape[:2], strict=True))
    values = pixels.astype(np.float32)
    across = (
        values[:, x] * (1 - columns)[:, None] + values[:, np.minimum(x + 1, pixels.shape[1] - 1)] * columns[:, None]
    )
    down = across[y] * (1 - rows)[:, None, None] + across[np.minimum(y + 1, pixels.shape[0] - 1)] * rows[:, None, None]
    resized: NDArray[np.uint8] = np.rint(down).astype(np.uint8)
    return resized


def _positions(new: int, old: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Whole and fractional part of the place of each new pixel's centre among the old ones."""
    at = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
    whole = at.astype(np.int64)
    return whole, (at - whole).astype(np.float32)


# Cityscapes: labelIds, of which 19 are evaluated

_CITYSCAPES = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)


def _cityscapes(folder: Path) -> list[BenchmarkImage]:
    root = place(folder, "gtFine/val", "cityscapes/gtFine/val", what="Cityscapes (gtFine and leftImg8bit)").parents[1]
    table = _table(_CITYSCAPES, 34, IGNORED)
    images = sorted((root / "leftImg8bit" / "val").glob("*/*_leftImg8bit.png"))

    def labels(image: Path) -> Path:
        name = image.name.replace("_leftImg8bit.png", "_gtFine_labelIds.png")
        return root / "gtFine" / "val" / image.parent.name / name

    return [_entry(image, _mapped(labels(image), table)) for image in images]


# COCO-Stuff: category ids less one; eleven were never used, 255 is unlabelled

_STUFF = tuple(n for n in range(182) if n not in {11, 25, 28, 29, 44, 65, 67, 68, 70, 82, 90})
_THINGS = 80


def _stuff(folder: Path, split: str = "val2017", *, only_things: bool) -> list[BenchmarkImage]:
    labels = place(
        folder, f"stuffthingmaps/{split}", f"annotations/{split}", f"stuffthingmaps_trainval2017/{split}",
        what="COCO-Stuff's label maps",
    )  # fmt: skip
    images = place(folder, split, f"images/{split}", what=f"the images of COCO {split}")
    # COCO-Object counts stuff and unlabelled pixels as background
    table = _table(_STUFF[:_THINGS], 256, 0) if only_things else _table(_STUFF, 182, IGNORED)
    files = sorted(labels.glob("*.png"))
    return [_entry(images / f"{file.stem}.jpg", _mapped(file, table)) for file in files if file.stem.isdigit()]


def stuff_training_images(folder: Path) -> list[BenchmarkImage]:
    """The training images of COCO-Stuff, labelled as those of its benchmark; raises MaskwrightError."""
    return _stuff(folder, "train2017", only_things=False)


SEMANTIC = {
    "voc20": Semantic("voc20", lambda folder: _voc(folder, background=False)),
    "voc21": Semantic("voc20", lambda folder: _voc(folder, background=True), background=True),
    "pc59": Semantic("pc59", lambda folder: _context(folder, background=False)),
    "pc60": Semantic("pc59", lambda folder: _context(folder, background=True), background=True),
    "pc459": Semantic("pc459", _context_459),
    "ade150": Semantic("ade150", _ade),
    "ade847": Semantic("ade847", _ade_847),
    "cityscapes": Semantic("cityscapes", _cityscapes),
    "coco-stuff": Semantic("coco-stuff", lambda folder: _stuff(folder, only_things=False)),
    "coco-object": Semantic(
        "coco-stuff", lambda folder: _stuff(folder, only_things=True), background=True, count=_THINGS
    ),
}
"""By name."""
