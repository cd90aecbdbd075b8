"""COCO instances files as many tools write them, read without trusting them (rules X-19 to X-22)."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from maskwright import rle
from maskwright.errors import BadCoco, InvalidMask
from maskwright.geometry import clip_polygon, upright
from maskwright.groundtruth import read_coco

__all__ = ["CocoCategory", "CocoFile", "CocoImage", "Frame", "Region", "box_of", "region_of"]

_SHA256 = re.compile(r"[0-9a-f]{64}")
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
    """Its path, with forward slashes."""
    size_hw: tuple[int, int] | None
    """As the file says it; None where it says nothing that can be a size."""
    sha256: str
    orientation: int
    captured: str
    rows: tuple[Row, ...]

    @property
    def inside(self) -> PurePosixPath | None:
        """The path, unless it leaves the file's own folder: such a path is never opened."""
        path = PurePosixPath(self.name)
        safe = bool(path.name) and not path.is_absolute() and ".." not in path.parts and "\0" not in self.name
        return path if safe and not re.match("[A-Za-z]:", self.name) else None


@dataclass(frozen=True, slots=True)
class CocoFile:
    """A COCO instances file, checked as far as can be without its pictures."""

    file: Path
    categories: tuple[CocoCategory, ...]
    images: tuple[CocoImage, ...]
    skipped: tuple[str, ...]
    """Rows that belong to no image, each with the reason."""

    @classmethod
    def read(cls, file: Path) -> CocoFile:
        """Read and check; raises BadCoco when nothing of the file can be trusted."""
        data = read_coco(file)
        try:
            categories = _categories(data["categories"])
            rows, skipped = _annotations(data["annotations"], {one.id for one in categories})
            images: dict[Any, CocoImage] = {}
            for number, row in enumerate(data["images"]):
                if not isinstance(row, Mapping) or row.get("id") is None:
                    raise BadCoco(f"Entry {number} of images in {file.name} has no id. Export it again.")
                image = _image(row, tuple(rows.pop(row["id"], ())))
                before = images.setdefault(row["id"], image)
                if before is not image and before.name != image.name:
                    raise BadCoco(
                        f"Image id {row['id']} stands twice in {file.name}, for {before.name} and {image.name}. "
                        "Export it again."
                    )
        except TypeError as error:
            # an id that is a list or an object
            raise BadCoco(f"An id in {file.name} is neither a number nor text. Export it again.") from error
        lost = sum(map(len, rows.values()))
        if lost:
            skipped.append(f"{lost} annotations of images that the file does not list")
        return cls(file, categories, tuple(images.values()), tuple(skipped))


def _categories(rows: Sequence[Any]) -> tuple[CocoCategory, ...]:
    found: dict[Any, CocoCategory] = {}
    for number, row in enumerate(rows):
        name = row.get("name") if isinstance(row, Mapping) else None
        if row is None or name is None or row.get("id") is None or not str(name).strip() or "\0" in str(name):
            raise BadCoco(f"Entry {number} of categories has no id or no name. Export the file again.")
        above = row.get("supercategory")
        one = CocoCategory(row["id"], str(name), plain(above) if isinstance(above, str) else "")
        if found.setdefault(one.id, one).name != one.name:
            raise BadCoco(
                f"Category id {one.id} stands for {found[one.id].name} and {one.name}. Export the file again."
            )
    return tuple(found.values())


def _annotations(rows: Sequence[Any], categories: set[Any]) -> tuple[dict[Any, list[Row]], list[str]]:
    """Rows by image, and why others were left out."""
    found: dict[Any, list[Row]] = {}
    skipped = []
    for number, row in enumerate(rows):
        if not isinstance(row, Mapping) or row.get("image_id") is None:
            skipped.append(f"Entry {number} of annotations names no image")
            continue
        if row.get("category_id") not in categories:
            raise BadCoco(
                f"Annotation {row.get('id')} names category {row.get('category_id')}, which the file does not "
                "list. Export it again."
            )
        found.setdefault(row["image_id"], []).append(row)
    return found, skipped


def _image(row: Row, rows: tuple[Row, ...]) -> CocoImage:
    # LVIS names no file, only where it was published: the split's folder and the file are the last two parts
    name = row.get("file_name") or "/".join(str(row.get("coco_url", "")).split("/")[-2:])
    size = row.get("height"), row.get("width")
    known = all(isinstance(one, int | float) and math.isfinite(one) and 1 <= one < 1 << 31 for one in size)
    orientation, sha256 = row.get("exif_orientation"), row.get("sha256")
    captured = row.get("date_captured")
    return CocoImage(
        row["id"],
        str(name).replace("\\", "/"),
        (int(size[0] or 0), int(size[1] or 0)) if known else None,
        sha256 if isinstance(sha256, str) and _SHA256.fullmatch(sha256) else "",
        orientation if type(orientation) is int and 1 <= orientation <= 8 else 1,
        plain(captured) if isinstance(captured, str) else "",
        rows,
    )


def plain(text: str) -> str:
    """The text without what no database takes: NUL, and halves of characters."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()


@dataclass(frozen=True, slots=True)
class Frame:
    """How masks of a file lie on an upright picture."""

    size_hw: tuple[int, int]
    """Of the upright picture."""
    turned_by: int = 1
    """EXIF orientation that brings the file's frame upright."""
    swapped: bool = False
    """Whether run lengths whose size is [width, height] are to be turned over."""

    @property
    def written_hw(self) -> tuple[int, int]:
        """The size in the file."""
        return self.size_hw[::-1] if self.turned_by >= 5 else self.size_hw


@dataclass(slots=True)
class Region:
    """A mask of the upright picture, and what to tell about it."""

    mask: NDArray[np.bool_]
    """(H, W)"""
    warnings: list[str] = field(default_factory=list)


def region_of(row: Row, frame: Frame) -> Region:
    """The mask of a row with run lengths or polygons.

    Raises:
        BadCoco: it cannot be read; the message is the reason alone, without the row's name.
    """
    shape, warnings = row.get("segmentation"), list[str]()
    if isinstance(shape, Mapping):
        mask = _run_lengths(shape, frame)
    elif isinstance(shape, list):
        mask = _polygons(shape, frame.written_hw, warnings)
    else:
        raise BadCoco("its segmentation is neither run lengths nor polygons")
    if not mask.any():
        raise BadCoco("its mask is empty")
    return Region(upright(mask, frame.turned_by), warnings)


def _run_lengths(shape: Row, frame: Frame) -> NDArray[np.bool_]:
    size, counts = shape.get("size"), shape.get("counts")
    height, width = frame.written_hw
    wrong_way = size == [width, height] and height != width
    if size != [height, width] and not (wrong_way and frame.swapped):
        hint = "; its width and height are swapped, --rotate reads it so" if wrong_way else ""
        raise BadCoco(f"its run lengths are for size {size}, the picture has [{height}, {width}]{hint}")
    try:
        if isinstance(counts, list):
            runs = np.asarray(counts, np.int64)
            if runs.ndim != 1 or any(type(one) is not int for one in counts):
                raise TypeError("not whole numbers")
            counts = rle.runs_to_text(runs)
        if not isinstance(counts, str):
            raise TypeError("no run lengths")
        mask = rle.decode({"size": [width, height] if wrong_way else [height, width], "counts": counts})
    except (InvalidMask, TypeError, ValueError, OverflowError, MemoryError) as error:
        raise BadCoco(f"its run lengths are damaged ({error})") from error
    return mask.T if wrong_way else mask


def _polygons(shape: Sequence[Any], size_hw: tuple[int, int], warnings: list[str]) -> NDArray[np.bool_]:
    from pycocotools import mask as coco

    polygons = [shape] if shape and all(isinstance(one, int | float) for one in shape) else shape
    kept = []
    for polygon in polygons:
        if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2 or not all(map(_is_number, polygon)):
            warnings.append("a polygon with fewer than three points, an odd length or no numbers was left out")
            continue
        points = np.array(polygon, float).reshape(-1, 2)
        outside = np.maximum(-points, points - (size_hw[1], size_hw[0])).max()
        if outside > 1:
            warnings.append(f"a polygon that left the picture by {outside:.0f} pixels was clipped")
        if outside > 0:
            points = clip_polygon(points, size_hw)
        if len(points) > 2:
            kept.append(points.ravel().tolist())
    if not kept:
        raise BadCoco("; ".join(dict.fromkeys(warnings)) or "its polygons lie outside the picture")
    mask: NDArray[np.bool_] = coco.decode(coco.merge(coco.frPyObjects(kept, *size_hw))).astype(bool)
    return mask


def _is_number(value: object) -> bool:
    # beyond that, sums of products are no numbers any more
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e9


def box_of(row: Row, size_hw: tuple[int, int]) -> tuple[float, float, float, float] | None:
    """The row's box as (x, y, width, height), cut off at the border; None when there is none inside the picture."""
    box = row.get("bbox")
    if not isinstance(box, list) or len(box) != 4 or not all(map(_is_number, box)):
        return None
    x, y, w, h = map(float, box)
    left, top, right, bottom = max(x, 0.0), max(y, 0.0), min(x + w, size_hw[1]), min(y + h, size_hw[0])
    return (left, top, right - left, bottom - top) if right > left and bottom > top else None
