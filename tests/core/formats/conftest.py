"""A small dataset with a hole, two parts and names that are not plain ASCII."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from maskwright.domain import Annotation, Category, ImageRecord, Mask
from maskwright.formats.coco_writer import CocoOptions, coco_text


@dataclass(frozen=True)
class Data:
    """What an exporter reads."""

    records: tuple[ImageRecord, ...]
    kinds: tuple[Category, ...]
    masks: tuple[Annotation, ...]

    def images(self) -> tuple[ImageRecord, ...]:
        return self.records

    def categories(self) -> tuple[Category, ...]:
        return self.kinds

    def annotations(self) -> tuple[Annotation, ...]:
        return self.masks

    def of_image(self, image_id: int) -> list[Annotation]:
        return [one for one in self.masks if one.image_id == image_id]

    def annotated(self) -> set[int]:
        return {one.image_id for one in self.masks}

    def used(self) -> set[int]:
        return {one.category_id for one in self.masks}

    def newest(self) -> str:
        return max((one.updated_at for one in self.masks), default="")


def to_coco(data: Data, **options: object) -> dict[str, Any]:
    """The file's text, read."""
    found: dict[str, Any] = json.loads("".join(coco_text(data, CocoOptions(**options))))  # type: ignore[arg-type]
    return found


def mask_of(kind: str) -> Mask:
    """A mask of 30 x 40 pixels: "ring" has a hole, "parts" has two parts, "empty" nothing, else a 24 x 15 block."""
    pixels = np.zeros((30, 40), bool)
    if kind != "empty":
        pixels[5:20, 8:32] = True
    if kind == "ring":
        pixels[9:14, 12:20] = False
    if kind == "parts":
        pixels[:, 15:18] = False
    return Mask.from_array(pixels)


MakeAnnotation = Callable[..., Annotation]


def annotation(number: int, kind: str = "block", **others: object) -> Annotation:
    values: dict[str, object] = {
        "id": number,
        "uid": f"{number:032x}",
        "image_id": 3,
        "category_id": 2,
        "category": "草",
        "mask": mask_of(kind),
        "state": "accepted",
        "source": "text",
        "revision": 1,
        "annotator": "ann",
        "created_at": "2026-01-02T03:04:05.678Z",
        "updated_at": "2026-02-03T04:05:06.789Z",
    }
    return Annotation(**(values | others))  # type: ignore[arg-type]


@pytest.fixture
def data() -> Data:
    images = (
        ImageRecord(3, "3" * 64, "images/vache à l'étable #1.jpg", 40, 30, 6, "2024:05:06 07:08:09"),
        ImageRecord(7, "7" * 64, "images/b.png", 5, 4, 1, ""),
    )
    categories = (
        Category(1, "<img src=x onerror=alert(1)>", "#0072b2"),
        Category(2, "草", "#d55e00"),
        Category(5, "sky", "#009e73", "background"),
    )
    scored = Mask(None, mask_of("parts").rle, 1.002)
    told = {
        "preset": "tiny",
        "weights": "ab" * 32,
        "version": "0.1.0",
        "prompt": ["vache", "草"],
        "parameters": {"threshold": 0.5},
    }
    annotations = (
        annotation(2, "ring", provenance=told),
        annotation(4, mask=scored, category_id=1, updated_at="2026-03-04T05:06:07.890Z"),
    )
    return Data(images, categories, annotations)
