"""CVAT for images 1.1: one XML file with the shapes of all images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element
from xml.sax.saxutils import escape, quoteattr

import numpy as np

from maskwright.domain import Annotation, Category
from maskwright.errors import BadCoco
from maskwright.files.atomic import write_text
from maskwright.formats.contours import outline, shift
from maskwright.formats.folder_dataset import CopyImage, FolderDataset, Subsets, WriteSummary, used_categories
from maskwright.formats.leftovers import Leftovers
from maskwright.formats.shapes import ellipse, part_row, turned_box
from maskwright.formats.source import Row, Source, SourceCategory, SourceImage, excerpt, path_in
from maskwright.formats.xml_files import number

__all__ = ["read_cvat", "write_cvat"]

_BARE = {"polyline", "points", "cuboid", "skeleton", "tag"}
_SHAPES = {"polygon", "box", "mask", "ellipse", *_BARE}
_LEFT = ("occluded", "group_id")
"""Attributes of a shape that say something of it, with 0 or nothing as the usual value."""


def read_cvat(file: Path, root: Element) -> Source:
    """Read an export of CVAT "for images".

    Raises:
        BadCoco: the export of a video, whose frames have no image files.
    """
    if root.find("track") is not None and root.find("image") is None:
        raise BadCoco(f"{file.name} holds tracks of a video.", 'Export it as "CVAT for images 1.1".')
    names: dict[str, int] = {}
    for label in root.iterfind("meta//label/name"):
        name = (label.text or "").strip()
        if name:
            names.setdefault(name, len(names) + 1)
    reader = _Reader(names)
    images = [reader.image(element) for element in root.iterfind("image")]
    tracks = len(root.findall("track"))
    if tracks:
        reader.leftovers.add("tracks", "video", number=tracks)
    categories = tuple(SourceCategory(key, name) for name, key in names.items())
    found = reader.leftovers
    return Source(file, categories, tuple(images), tuple(reader.skipped), found.not_kept, found.also_not_kept)


class _Reader:
    def __init__(self, names: dict[str, int]) -> None:
        self._names = names
        self.leftovers, self.skipped = Leftovers(), list[str]()

    def image(self, element: Element) -> SourceImage:
        name = path_in(element.get("name") or "")
        sides = [number(element.get(side)) for side in ("height", "width")]
        height, width = (int(side) if side and side >= 1 else 0 for side in sides)
        size_hw = (height, width) if height and width else None
        rows = []
        for place, shape in enumerate(element):
            try:
                row = self._row(shape, size_hw)
            except BadCoco as error:
                self.skipped.append(f"{excerpt(name)}, shape {place}: {error}")
            else:
                rows += [row] if row else []
        key = element.get("id") or ""
        return SourceImage(int(key) if key.isdecimal() and len(key) < 10 else None, name, size_hw, tuple(rows))

    def _row(self, shape: Element, size_hw: tuple[int, int] | None) -> Row | None:
        if shape.tag not in _SHAPES:
            self.leftovers.add(f"<{shape.tag}>", "image", cosmetic=True)
            return None
        if shape.tag in _BARE:
            self.leftovers.add(f"{shape.tag} without an area", "shape")
            return None
        label = (shape.get("label") or "").strip()
        if not label:
            raise BadCoco("it has no label")
        for key in _LEFT:
            if number(shape.get(key)):
                self.leftovers.add(key, "shape")
        for attribute in shape.iterfind("attribute"):
            if (attribute.text or "").strip() not in ("", "false"):
                self.leftovers.add(f"attribute {attribute.get('name')}", "shape")
        category = self._names.setdefault(label, len(self._names) + 1)
        return {"category_id": category, **_geometry(shape, size_hw)}


def _geometry(shape: Element, size_hw: tuple[int, int] | None) -> Row:
    if shape.tag == "polygon":
        points = [[number(value) for value in pair.split(",")] for pair in (shape.get("points") or "").split(";")]
        if any(len(pair) != 2 or None in pair for pair in points):
            raise BadCoco("its points cannot be read")
        return {"segmentation": [[value for pair in points for value in pair]]}
    if shape.tag == "box":
        left, top, right, bottom = _numbers(shape, "xtl", "ytl", "xbr", "ybr")
        turn = number(shape.get("rotation"))
        if turn:
            corners = turned_box((left, top, right, bottom), turn)
            return {"segmentation": [corners]}
        return {"bbox": [left, top, right - left, bottom - top]}
    if shape.tag == "ellipse":
        x, y, rx, ry = _numbers(shape, "cx", "cy", "rx", "ry")
        return {"segmentation": [ellipse(x, y, rx, ry, number(shape.get("rotation")) or 0.0)]}
    left, top, width, height = map(int, _numbers(shape, "left", "top", "width", "height"))
    runs = [number(text) for text in (shape.get("rle") or "").split(",")]
    counts = np.array([run for run in runs if run is not None and run >= 0], np.int64)
    if size_hw is None or len(counts) != len(runs) or width < 1 or height < 1 or counts.sum() != width * height:
        raise BadCoco("its run lengths do not fit its box")
    # row by row, the first run is outside
    values = np.arange(len(counts)) % 2 == 1
    part = np.repeat(values, counts).reshape(height, width)
    return {"segmentation": part_row(part, (left, top), size_hw)}


def _numbers(shape: Element, *names: str) -> Sequence[float]:
    values = [number(shape.get(name)) for name in names]
    found = [value for value in values if value is not None]
    if len(found) != len(names):
        raise BadCoco(f"its {', '.join(names)} cannot be read")
    return found


def write_cvat(
    dataset: FolderDataset, folder: Path, copy_image: CopyImage, subsets: Subsets, *, polygons: bool
) -> WriteSummary:
    """Write `annotations.xml` and `images/`, as CVAT imports them.

    Args:
        dataset: to write.
        folder: to write to.
        copy_image: copies an image.
        subsets: of the images.
        polygons: write masks of one part without holes as polygons; all others, and without this all masks, are exact.

    Raises:
        MaskwrightError: the folder cannot be written.
    """
    summary = WriteSummary()

    def lines() -> Iterator[str]:
        yield '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n<version>1.1</version>\n<meta><task><labels>\n'
        yield from map(_label, used_categories(dataset))
        yield "</labels></task></meta>\n"
        for image in dataset.images():
            name = copy_image(image).file_name.removeprefix("images/")
            subset = f" subset={_attribute(subsets[image.id])}" if subsets else ""
            size = f'width="{image.width}" height="{image.height}"'
            yield f'<image id="{image.id}" name={_attribute(name)}{subset} {size}>\n'
            for annotation in dataset.of_image(image.id):
                if annotation.crowd:
                    summary.lost["mark groups and were left out"] += 1
                    continue
                summary.masks += 1
                yield _shape(annotation, polygons=polygons)
            yield "</image>\n"
        yield "</annotations>\n"

    write_text(folder / "annotations.xml", lines())
    return summary


def _label(category: Category) -> str:
    return f"<label><name>{escape(_visible(category.name))}</name><color>{category.color}</color></label>\n"


def _shape(annotation: Annotation, *, polygons: bool) -> str:
    x, y, w, h = annotation.mask.bbox
    start = f'label={_attribute(annotation.category)} source="manual" occluded="0" z_order="0"'
    contour = outline(annotation.mask, fill=False) if polygons else None
    rings = contour.rings if contour else None
    if rings and len(rings) == 1:
        (ring,) = shift(rings, x, y)
        points = ";".join(f"{a:.2f},{b:.2f}" for a, b in zip(ring[::2], ring[1::2], strict=True))
        return f'<polygon {start} points="{points}"></polygon>\n'
    runs = _row_runs(annotation.mask.to_array()[y : y + h, x : x + w])
    text = ", ".join(map(str, runs))
    return f'<mask {start} rle="{text}" left="{x}" top="{y}" width="{w}" height="{h}"></mask>\n'


def _row_runs(part: np.ndarray[Any, np.dtype[np.bool_]]) -> list[int]:
    """Run lengths row by row, beginning with those outside."""
    pixels = part.ravel()
    changes = np.flatnonzero(pixels[1:] != pixels[:-1]) + 1
    runs = np.diff([0, *changes.tolist(), len(pixels)]).tolist()
    return [0, *runs] if pixels[0] else runs


def _attribute(text: str) -> str:
    return quoteattr(_visible(text))


def _visible(text: str) -> str:
    """The text without control characters, which XML cannot hold."""
    return "".join(letter if letter >= " " or letter in "\t\n" else "\ufffd" for letter in text)
