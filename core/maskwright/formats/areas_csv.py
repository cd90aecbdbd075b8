"""A table of masks: class, area and box of each, for a spreadsheet."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from maskwright.formats.folder_dataset import FolderDataset, Subsets

__all__ = ["areas_csv"]

_COLUMNS = (
    "image", "file", "width", "height", "mask", "class", "area", "share", "x", "y", "box_width", "box_height", "score",
    "source", "annotator", "updated_at",
)  # fmt: skip
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def areas_csv(dataset: FolderDataset, subsets: Subsets) -> Iterator[str]:
    """Lines of the table: areas and boxes in pixels of the upright image, the share of the image from 0 to 1."""
    yield _line((*_COLUMNS, "split") if subsets else _COLUMNS)
    for image in dataset.images():
        pixels = image.width * image.height
        for row in dataset.of_image(image.id):
            mask = row.mask
            score = "" if mask.score is None else f"{mask.score:.4f}"
            values = (
                image.id, _text(image.file_name), image.width, image.height, row.id, _text(row.category), mask.area,
                f"{mask.area / pixels:.6f}", *mask.bbox, score, row.source, _text(row.annotator), row.updated_at,
            )  # fmt: skip
            yield _line((*values, subsets[image.id]) if subsets else values)


def _line(values: tuple[object, ...]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(values)
    return line.getvalue()


def _text(value: str) -> str:
    """A text that no spreadsheet takes for a formula."""
    return f"'{value}" if value.startswith(_FORMULA) else value
