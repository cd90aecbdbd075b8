"""Three small pictures in the layout of each published data set, written from known label maps."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from scipy.io import savemat

from maskwright.domain import rle
from maskwright.formats.benchmarks.files import class_names

SIZE = (30, 40)
Labels = NDArray[np.int16]
STREET = {
    "road": 7, "sidewalk": 8, "building": 11, "wall": 12, "fence": 13, "pole": 17, "traffic light": 19,
    "traffic sign": 20, "vegetation": 21, "terrain": 22, "sky": 23, "person": 24, "rider": 25, "car": 26,
    "truck": 27, "bus": 28, "train": 31, "motorcycle": 32, "bicycle": 33,
}  # fmt: skip
"""Ids of Cityscapes' label definitions."""
NEVER_USED = ("street sign", "hat", "shoe", "eye glasses", "plate", "mirror", "window", "desk", "door", "blender",
              "hair brush")  # fmt: skip
"""Of COCO's 91 things, at ids 12, 26, 29, 30, 45, 66, 68, 69, 71, 83 and 91."""


def label_maps(classes: int, *, background: bool) -> list[Labels]:
    """Three maps of blocks: labels 0 (where there is a background) or 1 to `classes`, and -1."""
    rng = np.random.default_rng(classes)
    maps = []
    for _ in range(3):
        blocks = rng.integers(0 if background else 1, classes + 1, (3, 4)).astype(np.int16)
        blocks[rng.integers(3), rng.integers(4)] = -1
        maps.append(blocks.repeat(10, axis=0).repeat(10, axis=1))
    return maps


def photograph(file: Path, seed: int, size: tuple[int, int] = SIZE) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    blocks = np.random.default_rng(seed).integers(0, 256, (*(side // 10 for side in size), 3), np.uint8)
    Pillow.fromarray(blocks.repeat(10, axis=0).repeat(10, axis=1)).save(file)


def _png(file: Path, values: NDArray[Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Pillow.fromarray(values).save(file)


def _coded(labels: Labels, code: Mapping[int, int]) -> NDArray[np.uint8]:
    """The owners' value of each label."""
    values = np.zeros(labels.shape, np.uint8)
    for label, value in code.items():
        values[labels == label] = value
    return values


def voc(folder: Path, maps: Sequence[Labels], *, background: bool) -> None:
    root = folder / "VOCdevkit" / "VOC2012"
    names = [f"2007_00000{n}" for n in range(3)]
    for number, (name, labels) in enumerate(zip(names, maps, strict=True)):
        photograph(root / "JPEGImages" / f"{name}.jpg", number)
        # without background both it and the void contour are ignored
        code = {n: n for n in range(21)} | {-1: 255 if background or number else 0}
        image = Pillow.fromarray(_coded(labels, code), "P")
        image.putpalette(np.random.default_rng(0).integers(0, 256, 768, np.uint8).tobytes())
        (root / "SegmentationClass").mkdir(exist_ok=True)
        image.save(root / "SegmentationClass" / f"{name}.png")
    lists = root / "ImageSets" / "Segmentation" / "val.txt"
    lists.parent.mkdir(parents=True)
    lists.write_text("\n".join(names) + "\n")


CONTEXT_IDS = {
    "aeroplane": 2, "bag": 9, "bed": 18, "bedclothes": 19, "bench": 22, "bicycle": 23, "bird": 25, "boat": 31,
    "book": 33, "bottle": 34, "building": 44, "bus": 45, "cabinet": 46, "car": 59, "cat": 65, "ceiling": 68,
    "chair": 72, "cloth": 80, "computer": 85, "cow": 98, "cup": 104, "curtain": 105, "dog": 113, "door": 115,
    "fence": 144, "floor": 158, "flower": 159, "food": 162, "grass": 187, "ground": 189, "horse": 207,
    "keyboard": 220, "light": 232, "motorbike": 258, "mountain": 259, "mouse": 260, "person": 284, "plate": 295,
    "platform": 296, "pottedplant": 308, "road": 324, "rock": 326, "sheep": 347, "shelves": 349, "sidewalk": 354,
    "sign": 355, "sky": 360, "snow": 366, "sofa": 368, "diningtable": 397, "track": 415, "train": 416, "tree": 420,
    "truck": 424, "tvmonitor": 427, "wall": 440, "water": 445, "window": 454, "wood": 458,
}  # fmt: skip
"""PASCAL-Context's ids, which number its 459 names in alphabetical order."""


def context(folder: Path, maps: Sequence[Labels], *, background: bool) -> None:
    root = folder / "VOCdevkit" / "VOC2010"
    ids = [CONTEXT_IDS[name] for name in class_names("pc59")]
    images, rows = [], []
    for number, labels in enumerate(maps):
        name = f"2008_00000{number}.jpg"
        photograph(root / "JPEGImages" / name, number)
        row = {"image_id": number, "file_name": name, "height": SIZE[0], "width": SIZE[1], "phase": "val"}
        images.append(row)
        for label in np.unique(labels[labels > 0]):
            mask = dict(rle.encode(labels == label))
            rows.append({"id": len(rows), "image_id": number, "category_id": ids[label - 1], "segmentation": mask})
    images.append({"image_id": 9, "file_name": "2008_000009.jpg", "height": 1, "width": 1, "phase": "train"})
    data = {"images": images[::-1], "annos_segmentation": rows}
    (root / "trainval_merged.json").write_text(json.dumps(data))


def context_459(folder: Path, maps: Sequence[Labels]) -> None:
    root = folder / "VOCdevkit" / "VOC2010"
    (root / "trainval").mkdir(parents=True)
    for number, labels in enumerate(maps):
        photograph(root / "JPEGImages" / f"2008_00000{number}.jpg", number)
        savemat(root / "trainval" / f"2008_00000{number}.mat", {"LabelMap": np.maximum(labels, 0).astype(np.uint16)})
    lists = root / "ImageSets" / "Main" / "val.txt"
    lists.parent.mkdir(parents=True)
    lists.write_text("2008_000000\n2008_000001\n2008_000002\n2008_000009\n")


def ade(folder: Path, maps: Sequence[Labels]) -> None:
    root = folder / "ADEChallengeData2016"
    for number, labels in enumerate(maps, start=1):
        photograph(root / "images" / "validation" / f"ADE_val_0000000{number}.jpg", number)
        values = np.maximum(labels, 0).astype(np.uint8)
        _png(root / "annotations" / "validation" / f"ADE_val_0000000{number}.png", values)


def ade_full(folder: Path, maps: Sequence[Labels]) -> None:
    """The classes in another order among more objects, as the owners' index lists them."""
    names = class_names("ade847")
    objects = sorted([*names, *(f"other {n}" for n in range(2000))])
    place = "ADE20K_2021_17_01/images/ADE/validation/urban/street"
    files = []
    for number, labels in enumerate(maps):
        files.append(f"ADE_val_0000000{number}.jpg")
        photograph(folder / place / files[-1], number)
        values = np.zeros(labels.shape, np.int64)
        for label in np.unique(labels[labels > 0]):
            values[labels == label] = objects.index(names[label - 1]) + 1
        values[labels == -1] = objects.index("other 7") + 1
        colours = np.stack([values // 256 * 10, values % 256, np.full_like(values, 3)], axis=-1).astype(np.uint8)
        _png(folder / place / f"ADE_val_0000000{number}_seg.png", colours)
    index = {
        "filename": np.array([*files, "ADE_train_00000001.jpg"], dtype=object), "folder": [place] * 4,
        "objectnames": objects,
    }  # fmt: skip
    (folder / "ADE20K_2021_17_01" / "index_ade20k.pkl").write_bytes(pickle.dumps(index))


def cityscapes(folder: Path, maps: Sequence[Labels]) -> None:
    code = {n: STREET[name] for n, name in enumerate(class_names("cityscapes"), start=1)} | {-1: 4}
    for number, labels in enumerate(maps):
        name = f"lindau_00000{number}_000019"
        photograph(folder / "leftImg8bit" / "val" / "lindau" / f"{name}_leftImg8bit.png", number)
        _png(folder / "gtFine" / "val" / "lindau" / f"{name}_gtFine_labelIds.png", _coded(labels, code))


def _stuff_values() -> list[int]:
    """Pixel value of each of the 171 classes: COCO's id less one, of the ids that are used."""
    things = [n for n in range(1, 91) if n not in (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)]
    return [n - 1 for n in (*things, *range(92, 183))]


def stuff(folder: Path, maps: Sequence[Labels], *, background: bool) -> None:
    values = _stuff_values()
    code = dict(enumerate(values, start=1)) | {-1: 255}
    if background:
        code[0] = values[100]
    for number, labels in enumerate(maps):
        photograph(folder / "val2017" / f"00000000000{number}.jpg", number)
        _png(folder / "stuffthingmaps" / "val2017" / f"00000000000{number}.png", _coded(labels, code))


WRITERS: dict[str, Callable[[Path, Sequence[Labels]], None]] = {
    "voc20": lambda folder, maps: voc(folder, maps, background=False),
    "voc21": lambda folder, maps: voc(folder, maps, background=True),
    "pc59": lambda folder, maps: context(folder, maps, background=False),
    "pc60": lambda folder, maps: context(folder, maps, background=True),
    "pc459": context_459,
    "ade150": ade,
    "ade847": ade_full,
    "cityscapes": cityscapes,
    "coco-stuff": lambda folder, maps: stuff(folder, maps, background=False),
    "coco-object": lambda folder, maps: stuff(folder, maps, background=True),
}
