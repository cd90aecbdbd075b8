"""PNG label maps whose pixels are class numbers, with the classes in `classes.json`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import numpy as np

from maskwright.errors import BadCoco
from maskwright.files.atomic import write_json
from maskwright.files.names import DistinctNames, plain_name
from maskwright.formats.folder_dataset import FolderDataset, WriteSummary, used_categories, write_png
from maskwright.formats.label_png import read_numbers, regions, row_of
from maskwright.formats.labelled_folder import load_json
from maskwright.formats.source import Row, Source, SourceCategory, SourceImage, path_in
from maskwright.imaging.reading import SUFFIXES

__all__ = ["read_index_masks", "write_index_masks"]

_CLASSES = "classes.json"


def write_index_masks(dataset: FolderDataset, folder: Path) -> WriteSummary:
    """Write a label map for each image, and `classes.json` with the names and colors of the class numbers.

    0 is background. Where masks overlap the smaller one wins. With more than 255 classes the PNGs have 16 bits.

    Raises:
        MaskwrightError, OSError: the folder cannot be written.
    """
    categories = used_categories(dataset)
    numbers = {category.id: number for number, category in enumerate(categories, start=1)}
    palette = b"\0\0\0" + b"".join(bytes.fromhex(category.color[1:]) for category in categories[:255])
    names, summary = DistinctNames(), WriteSummary()
    for image in dataset.images():
        labels = np.zeros((image.height, image.width), np.uint8 if len(categories) < 256 else np.uint16)
        annotations = dataset.of_image(image.id)
        objects = [annotation for annotation in annotations if not annotation.crowd]
        summary.masks += len(objects)
        summary.lost["mark groups and were left out"] += len(annotations) - len(objects)
        for annotation in sorted(objects, key=lambda annotation: -annotation.mask.area):
            labels[annotation.mask.to_array()] = numbers[annotation.category_id]
        covered = sum((labels[one.mask.to_array()] != numbers[one.category_id]).any() for one in objects)
        summary.lost["are covered in part by smaller ones and lose that part"] += int(covered)
        path = PurePosixPath("masks", *PurePosixPath(plain_name(image.file_name)).parts[1:]).with_suffix(".png")
        write_png(folder / names.free(str(path)), labels, palette)
    classes = {numbers[category.id]: {"name": category.name, "color": category.color} for category in categories}
    write_json(folder / _CLASSES, classes)
    return summary


def read_index_masks(folder: Path) -> Source:
    """Read label maps in `masks/`: one mask for each class of an image.

    Raises:
        BadCoco: `classes.json` does not name classes by their numbers.
    """
    classes = load_json(folder / _CLASSES)
    names: dict[int, str] = {}
    for key, value in classes.items() if isinstance(classes, Mapping) else ():
        name = value.get("name") if isinstance(value, Mapping) else value
        if str(key).isdecimal() and isinstance(name, str) and name.strip():
            names[int(key)] = name.strip()
    if not names:
        raise BadCoco(f"{folder / _CLASSES} names no classes by their numbers.", 'Write {"1": {"name": "cow"}, ...}.')
    skipped, images = list[str](), list[SourceImage]()
    for file in sorted((folder / "masks").rglob("*.png")):
        stem, rows, size_hw = file.relative_to(folder / "masks").with_suffix(""), list[Row](), None
        try:
            numbers = read_numbers(file)
            size_hw = (int(numbers.shape[0]), int(numbers.shape[1]))
            for number, mask in regions(numbers):
                if number in names:
                    rows.append(row_of(mask, number))
                elif number:
                    skipped.append(f"{stem.as_posix()}: {_CLASSES} has no class {number}")
        except BadCoco as error:
            skipped.append(f"{stem.as_posix()}: {error}")
        images.append(SourceImage(None, path_in(_image_name(folder, stem)), size_hw, tuple(rows)))
    categories = tuple(SourceCategory(number, name) for number, name in sorted(names.items()))
    homes = (folder / "images", folder)
    return Source(folder / _CLASSES, categories, tuple(images), tuple(skipped), homes=homes)


def _image_name(folder: Path, stem: Path) -> str:
    """The image with the path of a label map but another suffix."""
    for suffix in SUFFIXES:
        if (folder / "images" / f"{stem}{suffix}").is_file():
            return f"{stem.as_posix()}{suffix}"
    return f"{stem.as_posix()}.png"
