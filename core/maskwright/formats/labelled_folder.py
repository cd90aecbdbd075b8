"""Labelled folders: `images/` with COCO `annotations.json`, as label maps and objects for training and evaluation."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.domain import Annotation
from maskwright.errors import BadCoco, MaskwrightError
from maskwright.formats.segmentation import mask_of
from maskwright.formats.source import id_key
from maskwright.imaging.geometry import components

__all__ = [
    "LabelledFolder",
    "LabelledImage",
    "held_out",
    "label_map",
    "load_json",
    "objects",
    "rasterize",
    "read_coco",
    "require_lists",
]


def held_out(file_name: str) -> bool:
    """Whether an image is held out of training: one in five, by the SHA-256 of its name without suffix."""
    return int(hashlib.sha256(Path(file_name).stem.encode()).hexdigest(), 16) % 5 == 0


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """One row of `images` with its annotations."""

    file: Path
    size_hw: tuple[int, int]
    annotations: tuple[Mapping[str, Any], ...]
    sequence: str | None = None
    """Its video, where the file names one."""


@dataclass(frozen=True, slots=True)
class LabelledFolder:
    """A COCO dataset with its images."""

    folder: Path
    categories: Mapping[int, str]
    """Name by id, in file order."""
    images: tuple[LabelledImage, ...]
    things: frozenset[int] = frozenset()
    """Categories whose supercategory is "thing": countable objects."""

    @classmethod
    def read(cls, folder: Path) -> LabelledFolder:
        """Read `annotations.json`.

        Args:
            folder: with images/ and annotations.json.

        Raises:
            MaskwrightError: there is no `annotations.json`.
            BadCoco: it is not a complete COCO file.
        """
        file = folder / "annotations.json"
        if not file.is_file():
            raise MaskwrightError(
                f"{folder} is not a labelled folder: it needs images/ and annotations.json (COCO).", "Check the name."
            )
        data = read_coco(file)
        try:
            by_image: dict[int, list[Mapping[str, Any]]] = {}
            for row in data["annotations"]:
                row = {**row, "category_id": id_key(row["category_id"])} if "category_id" in row else row
                by_image.setdefault(id_key(row["image_id"]), []).append(row)
            images = tuple(
                LabelledImage(
                    folder / "images" / row["file_name"],
                    (int(row["height"]), int(row["width"])),
                    tuple(by_image.get(id_key(row["id"]), ())),
                    str(row["sequence"]) if row.get("sequence") is not None else None,
                )
                for row in data["images"]
            )
            names = {id_key(row["id"]): str(row["name"]) for row in data["categories"]}
            things = frozenset(id_key(row["id"]) for row in data["categories"] if row.get("supercategory") == "thing")
            return cls(folder, names, images, things)
        except (KeyError, TypeError, ValueError) as error:
            raise BadCoco(f"{file} is not complete: {error} is missing or not valid.", "Export it again.") from error

    def __iter__(self) -> Iterator[LabelledImage]:
        return iter(self.images)


def load_json(file: Path) -> Any:
    """The content of a JSON file.

    Raises:
        MaskwrightError: there is no such file.
        BadCoco: not JSON.
    """
    if not file.is_file():
        raise MaskwrightError(f"There is no file {file}.", "Check the name.")
    try:
        return json.loads(file.read_text(encoding="utf-8-sig"))
    except RecursionError as error:
        raise BadCoco(f"{file} is not a COCO dataset: it is nested too deep.", "Choose another file.") from error
    except (OSError, ValueError) as error:
        raise BadCoco(f"{file} is not a JSON file ({error}).", "Export it again.") from error


def read_coco(file: Path, keys: Sequence[str] = ("images", "annotations", "categories")) -> dict[str, Any]:
    """The content of a COCO file.

    Args:
        file: of JSON.
        keys: lists that it must have.

    Raises:
        MaskwrightError: there is no such file.
        BadCoco: not JSON, or a list is missing.
    """
    data: dict[str, Any] = load_json(file)
    require_lists(data, keys)
    return data


def require_lists(data: Any, keys: Sequence[str]) -> None:
    """Raise BadCoco unless the content of a JSON file is an object with these lists."""
    for key in keys:
        if not isinstance(data, dict) or not isinstance(data.get(key), list):
            raise BadCoco(f"This JSON is not a COCO dataset: {key} is missing.", "Choose another file.")


def label_map(
    annotations: Sequence[Mapping[str, Any]],
    classes: Mapping[int, int],
    size_hw: tuple[int, int],
    *,
    empty: int,
    crowd: int,
) -> NDArray[np.int16]:
    """Draw annotations into a (H, W) int16 label map; where they overlap the smaller wins, and crowds are lowest.

    Args:
        annotations: COCO rows of one image.
        classes: label by category id.
        size_hw: of the image.
        empty: label of pixels without annotation.
        crowd: label of pixels that only crowds cover.

    Raises:
        BadCoco: a damaged mask, or a category that is not in `classes`.
    """
    labels = np.full(size_hw, empty, np.int16)
    regions = [(mask_of(row, size_hw), row) for row in annotations if row.get("segmentation")]
    regions.sort(key=lambda pair: (not pair[1].get("iscrowd"), -int(pair[0].sum())))
    for region, row in regions:
        if row.get("iscrowd"):
            labels[region] = crowd
            continue
        if row.get("category_id") not in classes:
            raise BadCoco(
                f"An annotation has category {row.get('category_id')}, which the file does not list.",
                "Export it again.",
            )
        labels[region] = classes[row["category_id"]]
    return labels


_SMALLEST = 0.001
"""Fraction of the image below which a component is no object."""


def objects(annotations: Sequence[Mapping[str, Any]], size_hw: tuple[int, int]) -> list[NDArray[np.bool_]]:
    """The (H, W) 8-connected components of the masks, the largest first: the objects to click on.

    Crowds and components of less than 0.1 % of the image's area are left out.
    """
    parts = [
        part
        for row in annotations
        if row.get("segmentation") and not row.get("iscrowd")
        for part in components(mask_of(row, size_hw))
        if part.sum() >= _SMALLEST * part.size
    ]
    return sorted(parts, key=lambda part: -int(part.sum()))


def rasterize(
    annotations: Sequence[Annotation], labels: Mapping[str, int], size_hw: tuple[int, int], *, empty: int
) -> NDArray[np.int16]:
    """Draw a project's annotations into a (H, W) int16 label map, as `label_map`.

    Args:
        annotations: of one image.
        labels: by category name; other categories, and crowds, get -1.
        size_hw: of the image.
        empty: label of pixels without annotation.
    """
    rows = [
        {"id": a.id, "category_id": a.category_id, "segmentation": dict(a.mask.rle), "iscrowd": a.crowd}
        for a in annotations
    ]
    classes = {a.category_id: labels.get(a.category, -1) for a in annotations}
    return label_map(rows, classes, size_hw, empty=empty, crowd=-1)
