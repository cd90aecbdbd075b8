"""COCO instances files of many tools, read without trusting them (rules X-19 to X-22)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, TypeGuard

import numpy as np
from numpy.typing import NDArray

from maskwright.domain import PlaneRecord, rle
from maskwright.errors import BadCoco, InvalidMask
from maskwright.formats.labelled_folder import read_coco
from maskwright.formats.segmentation import draw_polygons
from maskwright.imaging.geometry import clip_polygon, upright, upright_box

__all__ = [
    "CocoCategory",
    "CocoFile",
    "CocoImage",
    "Frame",
    "Region",
    "box_of",
    "excerpt",
    "is_number",
    "one_line",
    "plain",
    "provenance_beside",
    "region_of",
]

_SHA256 = re.compile(r"[0-9a-f]{64}")
_LONGEST_NAME, _LONGEST_PATH = 255, 1000
"""Bytes that the usual disks accept."""
_SHOWN = 60
_BREAKS = re.compile("[\x00-\x1f\x7f\x85\u2028\u2029]")
Row = Mapping[str, Any]


class CocoCategory(NamedTuple):
    """One row of `categories`."""

    id: Any
    name: str
    supercategory: str


@dataclass(frozen=True, slots=True)
class CocoImage:
    """One row of `images` with its annotations."""

    id: Any
    name: str
    """Its path, with forward slashes; empty where the file has none."""
    size_hw: tuple[int, int] | None
    """(height, width) in the file; None where it has no valid size."""
    sha256: str
    orientation: int
    captured: str
    rows: tuple[Row, ...]
    plane: PlaneRecord | None = None
    """Where it lies in a stack, as our own export writes it."""

    @property
    def inside(self) -> PurePosixPath | None:
        """The path, or None when it leaves the file's folder (it is then never opened) or is too long for a disk."""
        path = PurePosixPath(self.name)
        safe = bool(path.name) and not path.is_absolute() and ".." not in path.parts
        fits = len(self.name.encode()) <= _LONGEST_PATH and all(len(p.encode()) <= _LONGEST_NAME for p in path.parts)
        return path if safe and fits and not re.match("[A-Za-z]:", self.name) else None

    @property
    def label(self) -> str:
        """Its name in messages."""
        return one_line(self.name)[:_LONGEST_NAME] or f"image {excerpt(self.id)}"


@dataclass(frozen=True, slots=True)
class CocoFile:
    """A COCO instances file, checked as far as possible without its images."""

    file: Path
    categories: tuple[CocoCategory, ...]
    images: tuple[CocoImage, ...]
    skipped: tuple[str, ...]
    """Rows without an image, each with the reason."""

    @classmethod
    def read(cls, file: Path) -> CocoFile:
        """Read and check a file.

        Raises:
            MaskwrightError: there is no such file.
            BadCoco: not a COCO file, or its ids and names contradict each other.
        """
        data = read_coco(file)
        try:
            categories = _categories(data["categories"])
            rows, skipped = _annotations(data["annotations"], {category.id for category in categories})
            images: dict[Any, CocoImage] = {}
            for number, row in enumerate(data["images"]):
                if not isinstance(row, Mapping) or row.get("id") is None:
                    raise BadCoco(f"Entry {number} of images in {file.name} has no id.", "Export it again.")
                image = _image(row, tuple(rows.pop(row["id"], ())))
                before = images.setdefault(row["id"], image)
                if before is not image and before.name != image.name:
                    raise BadCoco(
                        f"Image id {excerpt(row['id'])} occurs twice in {file.name}, for {before.label} and "
                        f"{image.label}.",
                        "Export it again.",
                    )
        except TypeError as error:
            # an id that is a list or an object
            raise BadCoco(f"An id in {file.name} is neither a number nor text.", "Export it again.") from error
        lost = sum(map(len, rows.values()))
        if lost:
            skipped.append(f"{lost} annotations of images that the file does not list")
        return cls(file, categories, tuple(images.values()), tuple(skipped))


def _categories(rows: Sequence[Any]) -> tuple[CocoCategory, ...]:
    categories: dict[Any, CocoCategory] = {}
    for number, row in enumerate(rows):
        name = row.get("name") if isinstance(row, Mapping) else None
        if name is None or row.get("id") is None or not str(name).strip():
            raise BadCoco(f"Entry {number} of categories has no id or no name.", "Export the file again.")
        supercategory = row.get("supercategory")
        category = CocoCategory(row["id"], str(name), plain(supercategory) if isinstance(supercategory, str) else "")
        other = categories.setdefault(category.id, category)
        if other.name != category.name:
            raise BadCoco(
                f"Category id {excerpt(category.id)} has the names {excerpt(other.name)} and {excerpt(category.name)}.",
                "Export the file again.",
            )
    return tuple(categories.values())


def _annotations(rows: Sequence[Any], categories: set[Any]) -> tuple[dict[Any, list[Row]], list[str]]:
    """Rows by image, and why others were skipped."""
    by_image: dict[Any, list[Row]] = {}
    skipped = []
    for number, row in enumerate(rows):
        if not isinstance(row, Mapping) or row.get("image_id") is None:
            skipped.append(f"Entry {number} of annotations names no image")
            continue
        if row.get("category_id") not in categories:
            raise BadCoco(
                f"Annotation {excerpt(row.get('id'))} has category {excerpt(row.get('category_id'))}, which the file "
                "does not list.",
                "Export it again.",
            )
        by_image.setdefault(row["image_id"], []).append(row)
    return by_image, skipped


def _image(row: Row, rows: tuple[Row, ...]) -> CocoImage:
    # LVIS has no file names, only URLs, whose last two parts are the split's folder and the file
    name = row.get("file_name")
    if not name or not isinstance(name, str | int):
        name = "/".join(str(row.get("coco_url") or "").split("/")[-2:])
    height, width = _pixels(row.get("height")), _pixels(row.get("width"))
    orientation, sha256 = row.get("exif_orientation"), row.get("sha256")
    captured = row.get("date_captured")
    return CocoImage(
        row["id"],
        plain(str(name)).replace("\\", "/"),
        (height, width) if height and width else None,
        sha256 if isinstance(sha256, str) and _SHA256.fullmatch(sha256) else "",
        orientation if type(orientation) is int and 1 <= orientation <= 8 else 1,
        plain(captured) if isinstance(captured, str) else "",
        rows,
        _plane(row.get("plane")),
    )


def _plane(value: object) -> PlaneRecord | None:
    try:
        return PlaneRecord.from_dict(json.loads(plain(json.dumps(value, ensure_ascii=False))))
    except (TypeError, ValueError, RecursionError):
        return None


def _pixels(value: object) -> int:
    """The length of a side, or 0 when it is not valid."""
    return int(value) if is_number(value) and value >= 1 and value == int(value) else 0


def plain(text: str) -> str:
    """The text without what databases refuse: NUL and lone surrogates."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()


def one_line(text: str) -> str:
    """The text without line breaks and control characters, for messages."""
    return _BREAKS.sub(" ", plain(text))


def excerpt(value: object) -> str:
    """A value of the file as short text, for messages."""
    text = one_line(str(value))
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def is_number(value: object) -> TypeGuard[float]:
    """Whether a value is a number that is safe to compute with: finite, and far from overflow in products."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e9


@dataclass(frozen=True, slots=True)
class Frame:
    """How the masks of a file lie on an image."""

    size_hw: tuple[int, int]
    """(height, width) of the upright image."""
    orientation: int = 1
    """EXIF orientation of the image file."""
    turned: bool = False
    """Whether the file describes the image before its orientation was applied."""
    rotate: bool = False
    """Whether to turn run lengths whose width and height are swapped, too."""

    @property
    def written_hw(self) -> tuple[int, int]:
        """(height, width) in the file."""
        return self.size_hw[::-1] if self.turned and self.orientation >= 5 else self.size_hw


@dataclass(slots=True)
class Region:
    """A mask of the upright image, with warnings."""

    mask: NDArray[np.bool_]
    """(H, W)"""
    warnings: list[str] = field(default_factory=list)


def region_of(row: Row, frame: Frame) -> Region:
    """The mask of a row with run lengths or polygons.

    Raises:
        BadCoco: it cannot be read; the message is the reason alone.
    """
    segmentation, warnings = row.get("segmentation"), list[str]()
    if isinstance(segmentation, Mapping):
        mask = _run_lengths(segmentation, frame)
    elif isinstance(segmentation, list):
        mask = _upright(_polygons(segmentation, frame.written_hw, warnings), frame)
    else:
        raise BadCoco("its segmentation is neither run lengths nor polygons")
    if not mask.any():
        raise BadCoco("its mask is empty")
    return Region(mask, warnings)


def _upright(mask: NDArray[np.bool_], frame: Frame) -> NDArray[np.bool_]:
    return upright(mask, frame.orientation) if frame.turned else mask


def _run_lengths(segmentation: Row, frame: Frame) -> NDArray[np.bool_]:
    size, (height, width) = segmentation.get("size"), frame.written_hw
    sizes = f"its run lengths are for size {excerpt(size)}, the image has [{height}, {width}]"
    swapped = size == [width, height] and height != width
    before_turn = swapped and frame.orientation >= 5 and not frame.turned
    if swapped and not frame.rotate:
        why = (
            f"made before EXIF orientation {frame.orientation} turned it" if before_turn else "width and height swapped"
        )
        raise BadCoco(f"{sizes} ({why}); --rotate turns it")
    if size != [height, width] and not swapped:
        raise BadCoco(sizes)
    try:
        mask = rle.decode(rle.compressed(segmentation))
    except InvalidMask as error:
        raise BadCoco(f"its run lengths are damaged ({error})") from error
    if before_turn:
        return upright(mask, frame.orientation)
    return _upright(mask.T if swapped else mask, frame)


def _polygons(segmentation: Sequence[Any], size_hw: tuple[int, int], warnings: list[str]) -> NDArray[np.bool_]:
    flat = all(isinstance(value, int | float) for value in segmentation)
    polygons = [segmentation] if flat else segmentation
    valid = []
    for polygon in polygons:
        if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2 or not all(map(is_number, polygon)):
            warnings.append("a polygon with fewer than three points, an odd length or no numbers was skipped")
            continue
        points = np.array(polygon, float).reshape(-1, 2)
        outside = np.maximum(-points, points - (size_hw[1], size_hw[0])).max()
        if outside > 0:
            points = clip_polygon(points, size_hw)
        if len(points) < 3:
            warnings.append("a polygon outside the image was skipped")
            continue
        if outside > 1:
            warnings.append(f"a polygon that left the image by {outside:.0f} pixels was clipped")
        valid.append(points.ravel().tolist())
    if not valid:
        raise BadCoco("; ".join(dict.fromkeys(warnings)))
    return draw_polygons(valid, size_hw)


def box_of(row: Row, frame: Frame) -> tuple[float, float, float, float] | None:
    """The row's box on the upright image as (x, y, width, height), clipped; None when it has none inside."""
    box = row.get("bbox")
    if not isinstance(box, list) or len(box) != 4 or not all(map(is_number, box)):
        return None
    x, y, w, h = map(float, box)
    height, width = frame.written_hw
    left, top, right, bottom = max(x, 0.0), max(y, 0.0), min(x + w, width), min(y + h, height)
    if right <= left or bottom <= top:
        return None
    inside = left, top, right - left, bottom - top
    return upright_box(inside, frame.orientation, frame.size_hw) if frame.turned else inside


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def provenance_beside(file: Path) -> dict[str, Mapping[str, Any]]:
    """The provenance that our own export writes beside a file, by `uid`; invalid lines are skipped."""
    beside = file.with_name(file.name.removesuffix(".json") + ".provenance.jsonl")
    by_uid: dict[str, Mapping[str, Any]] = {}
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
