"""A dataset read back from a COCO file of our own export, as exporters read a project."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from maskwright.domain import Annotation, Category, ImageRecord, Mask, PlaneRecord
from maskwright.domain.palette import default_color
from maskwright.domain.rle import Rle
from maskwright.errors import BadCoco
from maskwright.formats.coco_writer import FROZEN_COLOR
from maskwright.formats.labelled_folder import read_coco

__all__ = ["FrozenDataset"]


class FrozenDataset:
    """Images, categories and annotations as they were; the whole is in memory."""

    def __init__(self, file: Path) -> None:
        """Read a file.

        Raises:
            MaskwrightError: there is no such file.
            BadCoco: it was changed by hand, so that it lacks what our export writes.
        """
        data = read_coco(file)
        provenance = _provenance(file)
        try:
            self._images = [_image(row) for row in data["images"]]
            self._categories = [_category(number, row) for number, row in enumerate(data["categories"])]
            names = {category.id: category.name for category in self._categories}
            self._annotations = [_annotation(row, names, provenance) for row in data["annotations"]]
        except (KeyError, TypeError, ValueError) as error:
            raise BadCoco(f"{file} was changed: {error} is missing or not valid.", "Freeze a new version.") from error
        self._by_image: dict[int, list[Annotation]] = {}
        for annotation in self._annotations:
            self._by_image.setdefault(annotation.image_id, []).append(annotation)

    def images(self) -> list[ImageRecord]:
        """All images, in id order."""
        return self._images

    def categories(self) -> list[Category]:
        """All categories, in id order."""
        return self._categories

    def annotations(self) -> list[Annotation]:
        """The annotations, in id order."""
        return self._annotations

    def of_image(self, image_id: int) -> list[Annotation]:
        """The annotations of one image, in id order."""
        return self._by_image.get(image_id, [])

    def annotated(self) -> set[int]:
        """Ids of images with an annotation."""
        return set(self._by_image)

    def used(self) -> set[int]:
        """Ids of categories with an annotation."""
        return {annotation.category_id for annotation in self._annotations}

    def newest(self) -> str:
        """When the annotations were last changed; empty when there are none."""
        return max((annotation.updated_at for annotation in self._annotations), default="")

    def number(self) -> int:
        """Number of annotations."""
        return len(self._annotations)


def _image(row: Mapping[str, Any]) -> ImageRecord:
    return ImageRecord(
        row["id"], row["sha256"], row["file_name"], row["width"], row["height"], row["exif_orientation"],
        row["date_captured"], PlaneRecord.from_dict(row.get("plane")),
    )  # fmt: skip


def _category(number: int, row: Mapping[str, Any]) -> Category:
    return Category(row["id"], row["name"], row.get(FROZEN_COLOR) or default_color(number), row["supercategory"])


def _annotation(row: Mapping[str, Any], names: Mapping[int, str], provenance: Mapping[str, Any]) -> Annotation:
    attributes, segmentation = row["attributes"], row["segmentation"]
    x, y, w, h = row["bbox"]
    rle = Rle(size=list(segmentation["size"]), counts=segmentation["counts"])
    category = names[row["category_id"]]
    return Annotation(
        id=row["id"],
        uid=attributes["uid"],
        image_id=row["image_id"],
        category_id=row["category_id"],
        category=category,
        mask=Mask.from_rle(rle, category=category, score=row.get("score"), area=row["area"], bbox=(x, y, w, h)),
        state=attributes["status"],
        source=attributes["source"],
        revision=attributes["revision"],
        annotator=attributes["annotator"],
        created_at=attributes["created_at"],
        updated_at=attributes["updated_at"],
        provenance=provenance.get(attributes["uid"], {}),
        crowd=row["iscrowd"] == 1,
    )


def _provenance(file: Path) -> dict[str, Any]:
    beside = file.with_name(file.name.removesuffix(".json") + ".provenance.jsonl")
    if not beside.is_file():
        return {}
    rows = (json.loads(line) for line in beside.read_text(encoding="utf-8").splitlines())
    return {row["uid"]: row["provenance"] for row in rows}
