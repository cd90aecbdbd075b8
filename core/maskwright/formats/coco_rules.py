"""Validation of a COCO file without a reader library.

Three things are kept apart: what stops a common reader or makes it take the file otherwise than meant (errors), what
some readers stumble over or what contradicts itself (warnings), and the rules of our own exports (X-1 to X-15), which
no other tool has to follow (extras).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any, Literal

from maskwright.domain import rle
from maskwright.errors import InvalidMask
from maskwright.formats.segmentation import polygons_to_rle
from maskwright.formats.source import id_key

__all__ = ["FORBIDDEN_ATTRIBUTES", "Fault", "faults_of", "validate"]

_LARGEST = 1 << 16
"""Pixels of a side; a larger image is not drawn."""
_SECTIONS = ("info", "licenses", "images", "annotations", "categories")
_NEEDED = _SECTIONS[2:]
_INFO = {"description": str, "url": str, "version": str, "year": int, "contributor": str, "date_created": str}
_IMAGE_TEXTS = ("coco_url", "flickr_url", "date_captured", "sha256")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
_DIFFERENCE = 0.02
"""Relative difference of an area or box that the way a mask is drawn explains."""

Level = Literal["error", "warning", "extra"]


class Fault(str):
    """A sentence, with how much it matters."""

    __slots__ = ("level",)
    level: Level

    def __new__(cls, text: str, level: Level = "error") -> Fault:
        """Take the sentence and its level."""
        fault = super().__new__(cls, text)
        fault.level = level
        return fault


FORBIDDEN_ATTRIBUTES = frozenset(
    {"label", "mask", "bounding_box", "confidence", "index", "tags"}
    | {"id", "image_id", "category_id", "bbox", "segmentation", "area", "iscrowd", "is_crowd", "score"}
    | {"keypoints", "supercategory"}
)
"""FiftyOne makes attributes fields of the object: the first six cause an error, the others override fields."""

Row = Mapping[str, Any]


def validate(coco: Mapping[str, Any]) -> list[str]:
    """The faults of a COCO dictionary by the rules of our own exports, a sentence each; empty when all hold."""
    return list(faults_of(coco))


def faults_of(coco: Mapping[str, Any]) -> list[Fault]:
    """All faults of a COCO dictionary with their levels."""
    missing = [section for section in _NEEDED if section not in coco]
    if missing:
        return [Fault(f"The keys must be {', '.join(_SECTIONS)}, in this order: {', '.join(missing)} is missing.")]
    invalid = [section for section in _NEEDED if not _is_list_of_objects(coco[section])]
    if invalid:
        return [Fault(f"{section} must be a list of objects.") for section in invalid]
    faults = list(_about(coco))
    licenses = coco.get("licenses")
    sections = {"licenses": licenses if _is_list_of_objects(licenses) else [], **{key: coco[key] for key in _NEEDED}}
    for section, rows in sections.items():
        faults += _ids(section, rows)
    images = {row["id"]: row for row in coco["images"] if type(row.get("id")) is int}
    categories, known_licenses = (
        {row["id"] for row in sections[section] if type(row.get("id")) is int} for section in ("categories", "licenses")
    )
    checks: dict[str, Callable[[Row], Iterator[Fault]]] = {
        "licenses": lambda row: _extra_unless("name must be text", holds=isinstance(row.get("name"), str)),
        "images": lambda row: _image(row, known_licenses),
        "annotations": lambda row: _annotation(row, images, categories),
        "categories": _category,
    }
    for section, check in checks.items():
        for row in sections[section]:
            faults += [Fault(f"{section} {row.get('id')}: {fault}.", fault.level) for fault in check(row)]
    names = [str(row.get("name")) for row in coco["categories"]]
    faults += _unless("Two categories have the same name.", holds=len(set(names)) == len(names), level="warning")
    return faults


def _about(coco: Mapping[str, Any]) -> Iterator[Fault]:
    yield from _extra_unless(f"The keys must be {', '.join(_SECTIONS)}, in this order.", holds=tuple(coco) == _SECTIONS)
    if not isinstance(coco.get("info"), Mapping):
        yield Fault("info must be an object.", "extra")
    else:
        yield from _info(coco["info"])
    if not _is_list_of_objects(coco.get("licenses")):
        yield Fault("licenses must be a list of objects.", "extra")


def _is_list_of_objects(rows: object) -> bool:
    return isinstance(rows, list) and all(isinstance(row, Mapping) for row in rows)


def _unless(fault: str, *, holds: bool, level: Level = "error") -> Iterator[Fault]:
    if not holds:
        yield Fault(fault, level)


def _extra_unless(fault: str, *, holds: bool) -> Iterator[Fault]:
    return _unless(fault, holds=holds, level="extra")


def _is_int(value: object, least: int) -> bool:
    return type(value) is int and value >= least


def _is_known(value: object, ids: Container[int]) -> bool:
    return type(value) is int and value in ids


def _are_numbers(values: object, number: int) -> bool:
    return isinstance(values, list) and len(values) == number and all(type(value) in (int, float) for value in values)


def _info(info: Row) -> Iterator[Fault]:
    yield from _extra_unless(
        f"info must have the keys {', '.join(_INFO)}, in this order.", holds=tuple(info) == tuple(_INFO)
    )
    for key, kind in _INFO.items():
        yield from _extra_unless(f"info.{key} has the wrong type.", holds=type(info.get(key)) is kind)
    date = str(info.get("date_created"))
    yield from _extra_unless("info.date_created must be YYYY-MM-DDTHH:MM:SSZ.", holds=bool(_DATE.fullmatch(date)))


def _ids(section: str, rows: Iterable[Row]) -> Iterator[Fault]:
    ids: list[Any] = [row.get("id") for row in rows]
    own = section == "licenses"
    least = 0 if own else 1
    if not all(type(value) is int for value in ids):
        yield Fault(f"{section}: every id must be a whole number from {least}.", "extra" if own else "error")
    elif len(set(ids)) != len(ids):
        yield Fault(f"{section}: ids must be unique and in order.", "extra" if own else "error")
    elif ids and min(ids) < least:
        # readers take category 0 for the background, and annotation 0 for none
        yield Fault(f"{section}: every id must be a whole number from {least}.", "warning")
    elif ids != sorted(ids):
        yield Fault(f"{section}: ids must be unique and in order.", "extra")


def _image(row: Row, licenses: set[Any]) -> Iterator[Fault]:
    name = row.get("file_name")
    relative = isinstance(name, str) and bool(name) and not PurePosixPath(name).is_absolute()
    # "C:" and "\\" would be a drive and a folder on Windows
    plain = relative and not re.match(r"[A-Za-z]:|.*\\", str(name)) and ".." not in PurePosixPath(str(name)).parts
    yield from _unless("file_name must be a relative path with forward slashes", holds=plain)
    yield from _unless(
        "width and height must be pixels", holds=_is_int(row.get("width"), 1) and _is_int(row.get("height"), 1)
    )
    yield from _extra_unless("license is not in the file", holds=_is_known(row.get("license"), licenses))
    for key in _IMAGE_TEXTS:
        yield from _extra_unless(f"{key} must be text", holds=isinstance(row.get(key), str))
    orientation = row.get("exif_orientation")
    yield from _extra_unless(
        "exif_orientation must be from 1 to 8", holds=type(orientation) is int and 1 <= orientation <= 8
    )


def _category(row: Row) -> Iterator[Fault]:
    name = row.get("name")
    yield from _unless("name must not be empty", holds=isinstance(name, str) and bool(name))
    yield from _extra_unless("supercategory must be text", holds=isinstance(row.get("supercategory"), str))


def _known(key: str, row: Row, ids: Container[int]) -> Iterator[Fault]:
    value = row.get(key)
    if not _is_known(value, ids):
        as_text = isinstance(value, str) and _is_known(id_key(value), ids)
        yield Fault(f"{key} is text, but the ids in the file are numbers" if as_text else f"{key} is not in the file")


def _annotation(row: Row, images: Mapping[int, Row], categories: set[int]) -> Iterator[Fault]:
    yield from _known("category_id", row, categories)
    # Datumaro refuses a file in which one is missing
    yield from _unless("iscrowd must be 0 or 1", holds=type(row.get("iscrowd")) is int and row["iscrowd"] in (0, 1))
    box, area = row.get("bbox"), row.get("area")
    yield from _unless("bbox must be a list of four numbers", holds=_are_numbers(box, 4))
    if _are_numbers(box, 4):
        yield from _extra_unless("bbox must be whole numbers", holds=all(type(value) is int for value in box or ()))
    yield from _unless("area must be a number of pixels", holds=_are_numbers([area], 1), level="warning")
    if _are_numbers([area], 1):
        yield from _extra_unless("area must be a number of pixels", holds=_is_int(area, 1))
    if not _is_known(row.get("image_id"), images):
        yield from _known("image_id", row, images)
    else:
        yield from _segmentation(row, images[row["image_id"]])
    if "score" in row:
        score = row["score"]
        holds = type(score) is float and 0 <= score <= 1
        yield from _unless("score must be a number from 0 to 1", holds=holds, level="warning")
    yield from _attributes(row.get("attributes"))


def _segmentation(row: Row, image: Row) -> Iterator[Fault]:
    if not all(_is_int(image.get(side), 1) and image[side] < _LARGEST for side in ("width", "height")):
        yield Fault("its image has no size")
    elif isinstance(row.get("segmentation"), Mapping):
        yield from _run_lengths(row, [image["height"], image["width"]])
    elif row.get("segmentation") in (None, []) and _are_numbers(row.get("bbox"), 4):
        yield Fault("segmentation must be RLE or a list of polygons; it has a box alone", "warning")
    else:
        yield from _unless("a crowd must be RLE", holds=row.get("iscrowd") != 1, level="warning")
        yield from _polygons(row, [image["height"], image["width"]])


def _run_lengths(row: Row, size: list[int]) -> Iterator[Fault]:
    if row["segmentation"].get("size") != size:
        yield Fault("the segmentation's size must be the image's [height, width]")
        return
    try:
        mask = rle.compressed(row["segmentation"])
    except InvalidMask as error:
        yield Fault(f"the segmentation cannot be read ({error})")
        return
    yield from _measures(row, rle.area(mask), list(rle.bbox(mask)))


def _polygons(row: Row, size: list[int]) -> Iterator[Fault]:
    polygons = row.get("segmentation")
    if not isinstance(polygons, list) or not polygons:
        yield Fault("segmentation must be RLE or a list of polygons")
        return
    faults = [fault for polygon in polygons for fault in _polygon(polygon, size)]
    yield from faults
    if not any(fault.level == "error" for fault in faults):
        mask = polygons_to_rle(polygons, tuple(size))
        yield from _measures(row, rle.area(mask), list(rle.bbox(mask)))


def _polygon(polygon: object, size: list[int]) -> Iterator[Fault]:
    if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
        yield Fault("a polygon must be a flat list of at least three points")
    elif not all(type(value) in (int, float) and abs(value) < math.inf for value in polygon):
        yield Fault("a polygon must hold numbers")
    else:
        height, width = size
        inside = all(0 <= x <= width and 0 <= y <= height for x, y in zip(polygon[::2], polygon[1::2], strict=True))
        yield from _unless("a polygon leaves the image", holds=inside, level="warning")
        yield from _extra_unless(
            "a polygon has more than 2 decimals", holds=all(round(value, 2) == value for value in polygon)
        )


def _measures(row: Row, area: int, box: list[int]) -> Iterator[Fault]:
    yield from _unless("the mask is empty", holds=area > 0, level="warning")
    theirs, their_box = row.get("area"), row.get("bbox")
    if theirs != area:
        close = isinstance(theirs, int | float) and abs(theirs - area) <= max(_DIFFERENCE * area, sum(box[2:]) / 2)
        yield Fault(f"area must be {area}", "extra" if close else "warning")
    if their_box != box:
        numbers = their_box if isinstance(their_box, list) and _are_numbers(their_box, 4) else [math.inf] * 4
        # corners of polygons are between pixels
        limit = 1 + _DIFFERENCE * max(box[2:])
        close = all(abs(ours - other) <= limit for ours, other in zip(box, numbers, strict=True))
        yield Fault(f"bbox must be {box}", "extra" if close else "warning")


def _attributes(attributes: object) -> Iterator[Fault]:
    if not isinstance(attributes, Mapping):
        yield Fault("attributes are missing", "extra")
        return
    forbidden = FORBIDDEN_ATTRIBUTES & set(attributes)
    yield from _unless(
        f"attributes must not be called {', '.join(sorted(forbidden))}", holds=not forbidden, level="warning"
    )
    flat = all(isinstance(value, str | int | float | bool) for value in attributes.values())
    yield from _unless("attributes must be text, numbers or true and false", holds=flat, level="warning")
