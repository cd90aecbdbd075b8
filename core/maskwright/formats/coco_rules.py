"""Validation of a COCO file by the rules of an export (X-1 to X-15), without a reader library."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Container, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from maskwright.domain import rle
from maskwright.errors import InvalidMask
from maskwright.formats.segmentation import polygons_to_rle

__all__ = ["FORBIDDEN_ATTRIBUTES", "validate"]

_LARGEST = 1 << 16
"""Pixels of a side; a larger image is not drawn."""
_SECTIONS = ("info", "licenses", "images", "annotations", "categories")
_INFO = {"description": str, "url": str, "version": str, "year": int, "contributor": str, "date_created": str}
_IMAGE_TEXTS = ("coco_url", "flickr_url", "date_captured", "sha256")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")

FORBIDDEN_ATTRIBUTES = frozenset(
    {"label", "mask", "bounding_box", "confidence", "index", "tags"}
    | {"id", "image_id", "category_id", "bbox", "segmentation", "area", "iscrowd", "is_crowd", "score"}
    | {"keypoints", "supercategory"}
)
"""FiftyOne makes attributes fields of the object: the first six cause an error, the others override fields."""

Row = Mapping[str, Any]


def validate(coco: Mapping[str, Any]) -> list[str]:
    """The faults of a COCO dictionary, a sentence each; empty when every rule holds."""
    if tuple(coco) != _SECTIONS:
        return [f"The keys must be {', '.join(_SECTIONS)}, in this order."]
    invalid = [section for section in _SECTIONS[1:] if not _is_list_of_objects(coco[section])]
    if invalid or not isinstance(coco["info"], Mapping):
        return [f"{section} must be a list of objects." for section in invalid] or ["info must be an object."]
    faults = list(_info(coco["info"]))
    for section in _SECTIONS[1:]:
        faults += _ids(section, coco[section])
    images = {row["id"]: row for row in coco["images"] if _is_int(row.get("id"), 1)}
    categories, licenses = (
        {row["id"] for row in coco[section] if _is_int(row.get("id"), 0)} for section in ("categories", "licenses")
    )
    checks: dict[str, Callable[[Row], Iterator[str]]] = {
        "licenses": lambda row: _fault_unless("name must be text", holds=isinstance(row.get("name"), str)),
        "images": lambda row: _image(row, licenses),
        "annotations": lambda row: _annotation(row, images, categories),
        "categories": _category,
    }
    for section, check in checks.items():
        faults += [f"{section} {row.get('id')}: {fault}." for row in coco[section] for fault in check(row)]
    names = [str(row.get("name")) for row in coco["categories"]]
    faults += _fault_unless("Two categories have the same name.", holds=len(set(names)) == len(names))
    return faults


def _is_list_of_objects(rows: object) -> bool:
    return isinstance(rows, list) and all(isinstance(row, Mapping) for row in rows)


def _fault_unless(fault: str, *, holds: bool) -> Iterator[str]:
    if not holds:
        yield fault


def _is_int(value: object, least: int) -> bool:
    return type(value) is int and value >= least


def _is_known(value: object, ids: Container[int]) -> bool:
    return type(value) is int and value in ids


def _info(info: Row) -> Iterator[str]:
    yield from _fault_unless(
        f"info must have the keys {', '.join(_INFO)}, in this order.", holds=tuple(info) == tuple(_INFO)
    )
    for key, kind in _INFO.items():
        yield from _fault_unless(f"info.{key} has the wrong type.", holds=type(info.get(key)) is kind)
    date = str(info.get("date_created"))
    yield from _fault_unless("info.date_created must be YYYY-MM-DDTHH:MM:SSZ.", holds=bool(_DATE.fullmatch(date)))


def _ids(section: str, rows: list[Row]) -> Iterator[str]:
    ids: list[Any] = [row.get("id") for row in rows]
    least = 0 if section == "licenses" else 1
    if not all(_is_int(value, least) for value in ids):
        yield f"{section}: every id must be a whole number from {least}."
    elif ids != sorted(set(ids)):
        yield f"{section}: ids must be unique and in order."


def _image(row: Row, licenses: set[Any]) -> Iterator[str]:
    name = row.get("file_name")
    relative = isinstance(name, str) and bool(name) and not PurePosixPath(name).is_absolute()
    # "C:" and "\\" would be a drive and a folder on Windows
    plain = relative and not re.match(r"[A-Za-z]:|.*\\", str(name)) and ".." not in PurePosixPath(str(name)).parts
    yield from _fault_unless("file_name must be a relative path with forward slashes", holds=plain)
    yield from _fault_unless(
        "width and height must be pixels", holds=_is_int(row.get("width"), 1) and _is_int(row.get("height"), 1)
    )
    yield from _fault_unless("license is not in the file", holds=_is_known(row.get("license"), licenses))
    for key in _IMAGE_TEXTS:
        yield from _fault_unless(f"{key} must be text", holds=isinstance(row.get(key), str))
    orientation = row.get("exif_orientation")
    yield from _fault_unless(
        "exif_orientation must be from 1 to 8", holds=type(orientation) is int and 1 <= orientation <= 8
    )


def _category(row: Row) -> Iterator[str]:
    name = row.get("name")
    yield from _fault_unless("name must not be empty", holds=isinstance(name, str) and bool(name))
    yield from _fault_unless("supercategory must be text", holds=isinstance(row.get("supercategory"), str))


def _annotation(row: Row, images: Mapping[int, Row], categories: set[int]) -> Iterator[str]:
    yield from _fault_unless("category_id is not in the file", holds=_is_known(row.get("category_id"), categories))
    yield from _fault_unless(
        "iscrowd must be 0 or 1", holds=type(row.get("iscrowd")) is int and row["iscrowd"] in (0, 1)
    )
    yield from _fault_unless("area must be a number of pixels", holds=_is_int(row.get("area"), 1))
    box = row.get("bbox")
    yield from _fault_unless(
        "bbox must be whole numbers", holds=isinstance(box, list) and all(type(value) is int for value in box)
    )
    if not _is_known(row.get("image_id"), images):
        yield "image_id is not in the file"
    else:
        image = images[row["image_id"]]
        if not all(_is_int(image.get(side), 1) and image[side] < _LARGEST for side in ("width", "height")):
            yield "its image has no size"
        elif isinstance(row.get("segmentation"), Mapping):
            yield from _run_lengths(row, [image["height"], image["width"]])
        else:
            yield from _fault_unless("a crowd must be RLE", holds=row.get("iscrowd") == 0)
            yield from _polygons(row, [image["height"], image["width"]])
    if "score" in row:
        score = row["score"]
        yield from _fault_unless("score must be a number from 0 to 1", holds=type(score) is float and 0 <= score <= 1)
    yield from _attributes(row.get("attributes"))


def _run_lengths(row: Row, size: list[int]) -> Iterator[str]:
    if row["segmentation"].get("size") != size:
        yield "the segmentation's size must be the image's [height, width]"
        return
    try:
        mask = rle.compressed(row["segmentation"])
    except InvalidMask as error:
        yield f"the segmentation cannot be read ({error})"
        return
    yield from _measures(row, rle.area(mask), list(rle.bbox(mask)))


def _polygons(row: Row, size: list[int]) -> Iterator[str]:
    polygons = row.get("segmentation")
    if not isinstance(polygons, list) or not polygons:
        yield "segmentation must be RLE or a list of polygons"
        return
    faults = [fault for polygon in polygons for fault in _polygon(polygon, size)]
    yield from faults
    if not faults:
        mask = polygons_to_rle(polygons, tuple(size))
        yield from _measures(row, rle.area(mask), list(rle.bbox(mask)))


def _polygon(polygon: object, size: list[int]) -> Iterator[str]:
    if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
        yield "a polygon must be a flat list of at least three points"
    elif not all(type(value) in (int, float) and abs(value) < math.inf for value in polygon):
        yield "a polygon must hold numbers"
    else:
        height, width = size
        inside = all(0 <= x <= width and 0 <= y <= height for x, y in zip(polygon[::2], polygon[1::2], strict=True))
        yield from _fault_unless("a polygon leaves the image", holds=inside)
        yield from _fault_unless(
            "a polygon has more than 2 decimals", holds=all(round(value, 2) == value for value in polygon)
        )


def _measures(row: Row, area: int, box: list[int]) -> Iterator[str]:
    yield from _fault_unless("the mask is empty", holds=area > 0)
    yield from _fault_unless(f"area must be {area}", holds=row.get("area") == area)
    yield from _fault_unless(f"bbox must be {box}", holds=row.get("bbox") == box)


def _attributes(attributes: object) -> Iterator[str]:
    if not isinstance(attributes, Mapping):
        yield "attributes are missing"
        return
    forbidden = FORBIDDEN_ATTRIBUTES & set(attributes)
    yield from _fault_unless(f"attributes must not be called {', '.join(sorted(forbidden))}", holds=not forbidden)
    flat = all(isinstance(value, str | int | float | bool) for value in attributes.values())
    yield from _fault_unless("attributes must be text, numbers or true and false", holds=flat)
