"""Hugging Face `datasets` image folders with `metadata.jsonl`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

from maskwright.errors import BadCoco
from maskwright.files.atomic import json_text, write_text
from maskwright.formats.folder_dataset import CopyImage, FolderDataset, Subsets, WriteSummary
from maskwright.formats.leftovers import Leftovers
from maskwright.formats.source import Row, Source, SourceCategory, SourceImage, excerpt, path_in

__all__ = ["METADATA", "read_datasets_folder", "write_datasets_folder"]

METADATA = "metadata.jsonl"
_COLUMNS = ("id", "category", "bbox", "area", "iscrowd", "segmentation")


def write_datasets_folder(
    dataset: FolderDataset, folder: Path, copy_image: CopyImage, subsets: Subsets
) -> WriteSummary:
    """Write images and `metadata.jsonl`, which `datasets.load_dataset("imagefolder", data_dir=...)` reads.

    Args:
        dataset: to write.
        folder: to write to.
        copy_image: names a copy `images/...`, or `SUBSET/images/...` where there are subsets.
        subsets: of the images; each has a folder with a `metadata.jsonl` of its own.

    Raises:
        MaskwrightError: the folder cannot be written.
    """
    summary, lines = WriteSummary(), dict[str, list[str]]()
    for image in dataset.images():
        annotations = dataset.of_image(image.id)
        home = subsets.get(image.id, "")
        row = {
            "file_name": copy_image(image).file_name.removeprefix(f"{home}/"),
            "image_id": image.id,
            "width": image.width,
            "height": image.height,
            "objects": {
                "id": [annotation.id for annotation in annotations],
                "category": [annotation.category for annotation in annotations],
                "bbox": [list(annotation.mask.bbox) for annotation in annotations],
                "area": [annotation.mask.area for annotation in annotations],
                "iscrowd": [int(annotation.crowd) for annotation in annotations],
                "segmentation": [dict(annotation.mask.rle) for annotation in annotations],
            },
        }
        summary.masks += len(annotations)
        lines.setdefault(home, []).append(json_text(row) + "\n")
    for home, rows in (lines or {"": []}).items():
        write_text(folder / home / METADATA, rows)
    return summary


def read_datasets_folder(folder: Path) -> Source:
    """Read an image folder whose rows have `objects` as above, or as detection datasets have them.

    Raises:
        BadCoco: no row has objects.
    """
    names: dict[str, int] = {}
    leftovers, skipped, images = Leftovers(), list[str](), list[SourceImage]()
    for file in sorted(folder.rglob(METADATA)):
        home = PurePosixPath(file.parent.relative_to(folder).as_posix())
        for number, line in enumerate(file.read_text(encoding="utf-8-sig", errors="replace").splitlines(), start=1):
            row: Any = None
            with suppress(ValueError, RecursionError):
                row = json.loads(line) if line.strip() else {}
            if row == {}:
                continue
            if not isinstance(row, Mapping) or not row.get("file_name"):
                skipped.append(f"{METADATA}, line {number}: it names no file")
                continue
            for key, value in row.items():
                if key not in ("file_name", "image_id", "width", "height", "objects") and value:
                    leftovers.add(key, "image", cosmetic=True)
            images.append(_image(row, home, names, leftovers))
    if not any(image.rows for image in images):
        raise BadCoco(f"{folder} has images in {METADATA}, but none has objects.", "Choose another folder.")
    categories = tuple(SourceCategory(key, name) for name, key in names.items())
    return Source(
        folder / METADATA, categories, tuple(images), tuple(skipped), leftovers.not_kept, leftovers.also_not_kept,
        homes=(folder,),
    )  # fmt: skip


def _image(row: Mapping[str, Any], home: PurePosixPath, names: dict[str, int], leftovers: Leftovers) -> SourceImage:
    objects = row.get("objects")
    if isinstance(objects, list) and all(isinstance(one, Mapping) for one in objects):
        # a mapping for each object, where others write a list for each key
        objects = {
            key: [one.get(key) for one in objects] for key in dict.fromkeys(key for one in objects for key in one)
        }
    columns = objects if isinstance(objects, Mapping) else {}
    categories = columns.get("category", columns.get("categories"))
    rows: list[Row] = []
    for place, category in enumerate(categories if isinstance(categories, list) else ()):
        values = {
            key: column[place] for key, column in columns.items() if isinstance(column, list) and place < len(column)
        }
        made = {key: values[key] for key in _COLUMNS if key in values and key != "category"}
        for key in values.keys() - {*_COLUMNS, "categories"}:
            leftovers.add(excerpt(key))
        label = str(category).strip() or "object"
        rows.append({**made, "category_id": names.setdefault(label, len(names) + 1)})
    height, width = row.get("height"), row.get("width")
    sized = all(type(side) is int and side > 0 for side in (height, width))
    key = row.get("image_id")
    return SourceImage(
        key if type(key) is int else None, path_in(str(home / str(row["file_name"]))),
        (int(str(height)), int(str(width))) if sized else None, tuple(rows),
    )  # fmt: skip
