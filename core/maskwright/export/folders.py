"""Datasets that are folders: YOLO segmentation, Hugging Face `datasets`, and pictures of class numbers."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Protocol

import numpy as np
from PIL import Image as Pillow

from maskwright.domain import Annotation, Category, ImageRecord
from maskwright.export.coco import Dataset
from maskwright.export.files import json_text, replacing, write_json, write_text
from maskwright.export.names import DistinctNames
from maskwright.export.polygons import moved, outlined

__all__ = ["FolderDataset", "write_datasets_folder", "write_index_masks", "write_yolo"]

Deliver = Callable[[ImageRecord], ImageRecord]
"""Copies a picture; gives the record of the copy."""


class FolderDataset(Dataset, Protocol):
    """What a folder is made of: images one after the other, each with its annotations."""

    def of_image(self, image_id: int) -> list[Annotation]:
        """The annotations of one image, in id order."""


def write_yolo(dataset: FolderDataset, folder: Path, deliver: Deliver) -> dict[str, int]:
    """Write `images/`, `labels/` and `data.yaml` for YOLO segmentation; gives what that format could not say.

    A line is one outline, so an object of several parts becomes several lines, and holes are filled; groups are left
    out. All images are named for training and for validation: split them as the project needs.

    Raises:
        MaskwrightError: the folder cannot be written.
    """
    kinds = _kinds(dataset)
    numbers = {one.id: number for number, one in enumerate(kinds)}
    told = {"masks": 0, "split": 0, "holes_filled": 0, "groups_left_out": 0}
    for image in dataset.images():
        name = PurePosixPath(deliver(image).file_name)
        lines: list[str] = []
        for one in dataset.of_image(image.id):
            if one.crowd:
                told["groups_left_out"] += 1
                continue
            found = outlined(one.mask, fill=True)
            rings = moved(found.rings or [], *one.mask.bbox[:2])
            told["masks"] += 1
            told["split"] += len(rings) > 1
            told["holes_filled"] += found.had_hole
            for ring in rings:
                scaled = (value / (image.height if place % 2 else image.width) for place, value in enumerate(ring))
                lines.append(" ".join([str(numbers[one.category_id]), *(f"{value:.6f}" for value in scaled)]))
        label = PurePosixPath("labels", *name.parts[1:]).with_suffix(".txt")
        write_text(folder / label, "".join(f"{line}\n" for line in lines))
    # JSON is YAML, and says any name
    names = json.dumps({number: one.name for number, one in enumerate(kinds)}, ensure_ascii=False)
    write_text(folder / "data.yaml", f"path: .\ntrain: images\nval: images\nnames: {names}\n")
    return told


def write_datasets_folder(dataset: FolderDataset, folder: Path, deliver: Deliver) -> None:
    """Write `images/` and `metadata.jsonl`, which `datasets.load_dataset("imagefolder", data_dir=...)` reads.

    Raises:
        MaskwrightError: the folder cannot be written.
    """

    def lines() -> Iterator[str]:
        for image in dataset.images():
            found = dataset.of_image(image.id)
            objects = {
                "id": [one.id for one in found],
                "category": [one.category for one in found],
                "bbox": [list(one.mask.bbox) for one in found],
                "area": [one.mask.area for one in found],
                "iscrowd": [int(one.crowd) for one in found],
                "segmentation": [dict(one.mask.rle) for one in found],
            }
            row = {
                "file_name": deliver(image).file_name, "image_id": image.id, "width": image.width,
                "height": image.height, "objects": objects,
            }  # fmt: skip
            yield json_text(row) + "\n"

    write_text(folder / "metadata.jsonl", lines())


def write_index_masks(dataset: FolderDataset, folder: Path) -> None:
    """Write a PNG for each image whose pixels are class numbers, and `classes.json` with their names and colours.

    0 is nothing. Where masks overlap the smaller one is seen. More than 255 classes make pictures of 16 bits.

    Raises:
        MaskwrightError: the folder cannot be written.
    """
    kinds = _kinds(dataset)
    numbers = {one.id: number for number, one in enumerate(kinds, start=1)}
    palette = b"\0\0\0" + b"".join(bytes.fromhex(one.color[1:]) for one in kinds[:255])
    names = DistinctNames()
    for image in dataset.images():
        labels = np.zeros((image.height, image.width), np.uint8 if len(kinds) < 256 else np.uint16)
        found = (one for one in dataset.of_image(image.id) if not one.crowd)
        for one in sorted(found, key=lambda one: -one.mask.area):
            labels[one.mask.to_array()] = numbers[one.category_id]
        picture = Pillow.fromarray(labels)
        if labels.dtype == np.uint8:
            picture.putpalette(palette)
        encoded = io.BytesIO()
        picture.save(encoded, "PNG")
        inside = PurePosixPath("masks", *PurePosixPath(image.file_name).parts[1:]).with_suffix(".png")
        file = folder / names.free(str(inside))
        file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(file) as stream:
            stream.write(encoded.getvalue())
    write_json(folder / "classes.json", {numbers[one.id]: {"name": one.name, "color": one.color} for one in kinds})


def _kinds(dataset: Dataset) -> list[Category]:
    used = dataset.used()
    return [one for one in dataset.categories() if one.id in used]
