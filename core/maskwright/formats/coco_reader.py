"""COCO instances files of many tools, read without trusting them (rules X-19 to X-22)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from maskwright.domain import PlaneRecord
from maskwright.errors import BadCoco
from maskwright.formats.labelled_folder import require_lists
from maskwright.formats.leftovers import coco_leftovers
from maskwright.formats.source import (
    Row,
    Source,
    SourceCategory,
    SourceImage,
    excerpt,
    id_key,
    is_number,
    path_in,
    plain,
)

__all__ = ["coco_categories", "coco_images", "read_coco_source"]

_SHA256 = re.compile(r"[0-9a-f]{64}")


def read_coco_source(file: Path, data: Any) -> Source:
    """Check the content of a COCO instances file.

    Args:
        file: that it was read from.
        data: its content.

    Raises:
        BadCoco: not a COCO file, or its ids and names contradict each other.
    """
    _refuse_other_kinds(file, data)
    require_lists(data, ("images", "annotations", "categories"))
    try:
        categories = coco_categories(data["categories"])
        rows, skipped = _annotations(data["annotations"], {category.id for category in categories})
        images = coco_images(file, data["images"], rows)
    except TypeError as error:
        # an id that is a list or an object
        raise BadCoco(f"An id in {file.name} is neither a number nor text.", "Export it again.") from error
    lost = sum(map(len, rows.values()))
    if lost:
        skipped.append(f"{lost} annotations of images that the file does not list")
    info, leftovers = data.get("info"), coco_leftovers(data)
    return Source(
        file,
        categories,
        images,
        tuple(skipped),
        leftovers.not_kept,
        leftovers.also_not_kept,
        stretched=isinstance(info, Mapping) and info.get("contributor") == "Label Studio",
        provenance=_provenance_beside(file),
    )


def _refuse_other_kinds(file: Path, data: Any) -> None:
    """Raise BadCoco for what COCO calls results and captions, which have no masks of their own."""
    first = data[0] if isinstance(data, list) and data else None
    if isinstance(first, Mapping) and "image_id" in first:
        raise BadCoco(
            f"{file.name} is a COCO list of results, which names neither images nor categories.",
            "Import the dataset that it belongs to.",
        )
    rows = data.get("annotations") if isinstance(data, Mapping) else None
    first = rows[0] if isinstance(rows, list) and rows else None
    if isinstance(first, Mapping) and "caption" in first and not {"category_id", "segmentation"} & first.keys():
        raise BadCoco(f"{file.name} is a COCO captions file, which has no masks.", "Import the instances file.")


def coco_categories(rows: Sequence[Any]) -> tuple[SourceCategory, ...]:
    """The rows of `categories`; raises BadCoco where an id or a name is missing, or an id has two names."""
    categories: dict[Any, SourceCategory] = {}
    for number, row in enumerate(rows):
        name = row.get("name") if isinstance(row, Mapping) else None
        if name is None or row.get("id") is None or not str(name).strip():
            raise BadCoco(f"Entry {number} of categories has no id or no name.", "Export the file again.")
        supercategory = row.get("supercategory")
        text = plain(supercategory) if isinstance(supercategory, str) else ""
        category = SourceCategory(id_key(row["id"]), str(name), text)
        other = categories.setdefault(category.id, category)
        if other.name != category.name:
            raise BadCoco(
                f"Category id {excerpt(category.id)} has the names {excerpt(other.name)} and {excerpt(category.name)}.",
                "Export the file again.",
            )
    return tuple(categories.values())


def coco_images(file: Path, rows: Sequence[Any], annotations: dict[Any, list[Row]]) -> tuple[SourceImage, ...]:
    """The rows of `images`, each with its annotations, which are taken out of `annotations`; raises BadCoco."""
    images: dict[Any, SourceImage] = {}
    for number, row in enumerate(rows):
        if not isinstance(row, Mapping) or row.get("id") is None:
            raise BadCoco(f"Entry {number} of images in {file.name} has no id.", "Export it again.")
        key = id_key(row["id"])
        image = _image(row, key, tuple(annotations.pop(key, ())))
        before = images.setdefault(key, image)
        if before is not image and before.name != image.name:
            raise BadCoco(
                f"Image id {excerpt(key)} occurs twice in {file.name}, for {before.label} and {image.label}.",
                "Export it again.",
            )
    return tuple(images.values())


def _annotations(rows: Sequence[Any], categories: set[Any]) -> tuple[dict[Any, list[Row]], list[str]]:
    """Rows by image, and why others were skipped."""
    by_image: dict[Any, list[Row]] = {}
    skipped = []
    for number, row in enumerate(rows):
        if not isinstance(row, Mapping) or row.get("image_id") is None:
            skipped.append(f"Entry {number} of annotations names no image")
            continue
        category = id_key(row.get("category_id"))
        if category not in categories:
            raise BadCoco(
                f"Annotation {excerpt(row.get('id'))} has category {excerpt(category)}, which the file does not list.",
                "Export it again.",
            )
        keys = {name: id_key(row[name]) for name in ("id", "category_id") if name in row}
        if isinstance(row.get("score"), str):
            with suppress(ValueError):
                keys["score"] = float(row["score"])
        by_image.setdefault(id_key(row["image_id"]), []).append({**row, **keys})
    return by_image, skipped


def _image(row: Row, key: Any, rows: tuple[Row, ...]) -> SourceImage:
    # LVIS has no file names, only URLs, whose last two parts are the split's folder and the file
    name = row.get("file_name")
    if not name or not isinstance(name, str | int):
        name = "/".join(str(row.get("coco_url") or "").split("/")[-2:])
    height, width = _pixels(row.get("height")), _pixels(row.get("width"))
    orientation, sha256 = row.get("exif_orientation"), row.get("sha256")
    captured = row.get("date_captured")
    return SourceImage(
        key,
        path_in(name),
        (height, width) if height and width else _size_of_run_lengths(rows),
        rows,
        sha256 if isinstance(sha256, str) and _SHA256.fullmatch(sha256) else "",
        orientation if type(orientation) is int and 1 <= orientation <= 8 else 1,
        plain(captured) if isinstance(captured, str) else "",
        upright="exif_orientation" in row,
        plane=_plane(row.get("plane")),
    )


def _plane(value: object) -> PlaneRecord | None:
    try:
        return PlaneRecord.from_dict(json.loads(plain(json.dumps(value, ensure_ascii=False))))
    except (TypeError, ValueError, RecursionError):
        return None


def _pixels(value: object) -> int:
    """The length of a side, or 0 when it is not valid; some tools write it as text."""
    value = id_key(value)
    return int(value) if is_number(value) and value >= 1 and value == int(value) else 0


def _size_of_run_lengths(rows: Sequence[Row]) -> tuple[int, int] | None:
    """(height, width) that all run lengths of an image share; None without any, or where they differ."""
    shapes = (row.get("segmentation") for row in rows)
    sizes = {str(shape.get("size")): shape.get("size") for shape in shapes if isinstance(shape, Mapping)}
    size = next(iter(sizes.values())) if len(sizes) == 1 else None
    if not isinstance(size, list) or len(size) != 2:
        return None
    height, width = map(_pixels, size)
    return (height, width) if height and width else None


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def _provenance_beside(file: Path) -> dict[str, Row]:
    """The provenance that our own export writes beside a file, by `uid`; invalid lines are skipped."""
    beside = file.with_name(file.name.removesuffix(".json") + ".provenance.jsonl")
    by_uid: dict[str, Row] = {}
    if not beside.is_file():
        return by_uid
    with beside.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            try:
                row = json.loads(line, parse_constant=_refuse)
                # raises for lone surrogates
                json.dumps(row, ensure_ascii=False).encode()
                by_uid[str(row["uid"])] = dict(row["provenance"])
            except (ValueError, KeyError, TypeError, RecursionError):
                continue
    return by_uid
