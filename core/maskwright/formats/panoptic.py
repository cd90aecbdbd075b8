"""COCO panoptic: a JSON file of segments, and one PNG for each image whose colors are their ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.domain import Annotation, Category, ImageRecord
from maskwright.errors import BadCoco
from maskwright.files.atomic import write_json
from maskwright.formats.coco_reader import coco_categories, coco_images
from maskwright.formats.folder_dataset import (
    CopyImage,
    FolderDataset,
    Subsets,
    WriteSummary,
    used_categories,
    write_png,
)
from maskwright.formats.label_png import read_numbers, regions, row_of
from maskwright.formats.labelled_folder import require_lists
from maskwright.formats.leftovers import Leftovers, coco_leftovers
from maskwright.formats.source import Row, Source, excerpt, id_key, path_in

__all__ = ["NO_SUBSET", "is_panoptic", "read_panoptic", "write_panoptic"]

NO_SUBSET = "default"
"""What an export without a split calls its only subset."""
_MOST_IDS = 1 << 24
_STUFF = ("stuff", "background")


def is_panoptic(data: Any) -> bool:
    """Whether the content of a JSON file is COCO's panoptic format."""
    rows = data.get("annotations") if isinstance(data, Mapping) else None
    return isinstance(rows, list) and any(isinstance(row, Mapping) and "segments_info" in row for row in rows[:10])


def read_panoptic(file: Path, data: Any) -> Source:
    """Read a panoptic file with the PNGs beside it.

    Raises:
        BadCoco: none of its PNGs is there, or the file contradicts itself.
    """
    require_lists(data, ("images", "annotations", "categories"))
    reader = _Reader(file)
    try:
        categories = coco_categories(data["categories"])
        reader.read(data["annotations"], {category.id for category in categories})
        images = coco_images(file, data["images"], reader.rows)
    except TypeError as error:
        raise BadCoco(f"An id in {file.name} is neither a number nor text.", "Export it again.") from error
    if reader.missing and not reader.found:
        raise BadCoco(
            f"{file.name} is a COCO panoptic file, whose masks are in PNGs such as {reader.missing[0]}, which were not "
            "found.",
            f"Put them into a folder {file.stem}/ beside the file.",
        )
    reader.skipped += [f"{name}: its PNG of segments was not found" for name in reader.missing]
    leftovers = coco_leftovers({**data, "annotations": []})
    not_kept = (*leftovers.not_kept, *reader.leftovers.not_kept)
    return Source(file, categories, images, tuple(reader.skipped), not_kept, leftovers.also_not_kept)


class _Reader:
    def __init__(self, file: Path) -> None:
        self._homes = [file.parent / file.stem, *(file.parent / name for name in ("panoptic", "masks", ""))]
        self.rows: dict[Any, list[Row]] = {}
        self.skipped, self.missing, self.found = list[str](), list[str](), 0
        self.leftovers = Leftovers()

    def read(self, rows: list[Any], categories: set[Any]) -> None:
        for number, row in enumerate(rows):
            segments = row.get("segments_info") if isinstance(row, Mapping) else None
            if not isinstance(segments, list) or row.get("image_id") is None:
                self.skipped.append(f"Entry {number} of annotations has no segments or names no image")
                continue
            name = path_in(row.get("file_name") or "")
            png = self._png(name)
            if png is None:
                self.missing.append(excerpt(name))
                continue
            self.found += 1
            try:
                self._segments(row, segments, png, categories)
            except BadCoco as error:
                if error.hint:
                    raise
                self.skipped.append(f"{excerpt(name)}: {error}")

    def _png(self, name: str) -> Path | None:
        path = PurePosixPath(name)
        if not path.name or path.is_absolute() or ".." in path.parts:
            return None
        return next((home / path for home in self._homes if (home / path).is_file()), None)

    def _segments(self, row: Row, segments: list[Any], png: Path, categories: set[Any]) -> None:
        masks = dict(regions(read_numbers(png)))
        listed = set()
        for segment in segments:
            key = id_key(segment.get("id")) if isinstance(segment, Mapping) else None
            category = id_key(segment.get("category_id")) if isinstance(segment, Mapping) else None
            if category not in categories:
                raise BadCoco(f"Segment {excerpt(key)} has category {excerpt(category)}, which the file does not list.",
                              "Export it again.")  # fmt: skip
            listed.add(key)
            if key not in masks:
                self.skipped.append(f"{png.name}, segment {excerpt(key)}: the PNG does not show it")
                continue
            made = row_of(masks[key], category, iscrowd=segment.get("iscrowd"), area=segment.get("area"))
            self.rows.setdefault(id_key(row["image_id"]), []).append({**made, "bbox": segment.get("bbox")})
        # 0 is what no segment covers
        unlisted = set(masks) - listed - {0}
        if unlisted:
            self.leftovers.add("segments that the file does not list", "image")


def write_panoptic(dataset: FolderDataset, folder: Path, copy_image: CopyImage, subsets: Subsets) -> WriteSummary:
    """Write `annotations/panoptic_SUBSET.json`, a folder of PNGs of the same name, and `images/SUBSET/`.

    A pixel belongs to one segment: where masks overlap the smaller one is on top, and crowds are lowest.

    Args:
        dataset: to write.
        folder: to write to.
        copy_image: names a copy `images/SUBSET/...`.
        subsets: of the images; without a split the only one is called "default".

    Raises:
        MaskwrightError, OSError: the folder cannot be written.
    """
    summary = WriteSummary()
    images: dict[str, list[Row]] = {}
    rows: dict[str, list[Row]] = {}
    for record in dataset.images():
        subset = subsets.get(record.id, NO_SUBSET)
        name = PurePosixPath(*PurePosixPath(copy_image(record).file_name).parts[2:])
        png = name.with_suffix(".png")
        colors, segments = _segments_of(record, dataset.of_image(record.id), summary)
        write_png(folder / "annotations" / f"panoptic_{subset}" / png, colors)
        size = {"width": record.width, "height": record.height}
        images.setdefault(subset, []).append({"id": record.id, "file_name": str(name), **size})
        row = {"image_id": record.id, "file_name": str(png), "segments_info": segments}
        rows.setdefault(subset, []).append(row)
    categories = [_category(category) for category in used_categories(dataset)]
    for subset in images or {NO_SUBSET: []}:
        value = {"images": images.get(subset, []), "annotations": rows.get(subset, []), "categories": categories}
        write_json(folder / "annotations" / f"panoptic_{subset}.json", value)
    return summary


def _segments_of(
    record: ImageRecord, annotations: Sequence[Annotation], summary: WriteSummary
) -> tuple[NDArray[np.uint8], list[Row]]:
    """The (H, W, 3) colors of an image's PNG, and its segments."""
    colors = np.zeros((record.height, record.width, 3), np.uint8)
    owners = np.zeros((record.height, record.width), np.int64)
    by_id = {one.id: one for one in annotations}
    for one in sorted(annotations, key=lambda one: (not one.crowd, -one.mask.area)):
        owners[one.mask.to_array()] = one.id
    segments: list[Row] = []
    for number, (key, mask) in enumerate(((key, mask) for key, mask in regions(owners) if key), start=1):
        one, y, x = by_id[key], np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        # ids are unique in an image; those of a very large project do not fit into a color
        color = key if key < _MOST_IDS else number
        colors[mask] = color & 255, color >> 8 & 255, color >> 16
        box = [int(x[0]), int(y[0]), int(x[-1] - x[0] + 1), int(y[-1] - y[0] + 1)]
        area = int(mask.sum())
        segments.append(
            {"id": color, "category_id": one.category_id, "iscrowd": int(one.crowd), "area": area, "bbox": box}
        )
        summary.lost["are covered in part by smaller ones and lose that part"] += area != one.mask.area
    summary.masks += len(segments)
    summary.lost["are covered by smaller ones and were left out"] += len(annotations) - len(segments)
    return colors, segments


def _category(category: Category) -> Row:
    return {
        "id": category.id,
        "name": category.name,
        "supercategory": category.supercategory,
        "isthing": int(category.supercategory not in _STUFF),
        "color": list(bytes.fromhex(category.color[1:])),
    }
