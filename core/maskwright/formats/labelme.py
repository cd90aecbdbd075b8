"""LabelMe: a JSON file for each image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from posixpath import normpath
from typing import Any

import numpy as np

from maskwright.domain import Annotation
from maskwright.errors import BadCoco
from maskwright.files.atomic import write_json
from maskwright.formats.contours import outline, shift
from maskwright.formats.folder_dataset import CopyImage, FolderDataset, Subsets, WriteSummary
from maskwright.formats.labelled_folder import load_json
from maskwright.formats.leftovers import Leftovers
from maskwright.formats.shapes import decode_png, ellipse, flat, part_row, png_text
from maskwright.formats.source import Row, Source, SourceCategory, SourceImage, excerpt, is_number, path_in

__all__ = ["is_labelme", "read_labelme", "write_labelme"]

_VERSION = "5.5.0"
_BARE = {"point", "points", "line", "linestrip"}
"""Shapes without an area."""
_TURNED = {"oriented_rectangle", "rotation"}
"""Rectangles with all their corners: of LabelMe, and of X-AnyLabeling."""
_SHAPE_KEYS = {"label", "points", "group_id", "shape_type", "mask", "direction"}
_FILE_KEYS = {"version", "flags", "shapes", "imagePath", "imageData", "imageHeight", "imageWidth"}


def is_labelme(data: Any) -> bool:
    """Whether the content of a JSON file is LabelMe's."""
    return isinstance(data, Mapping) and isinstance(data.get("shapes"), list) and "imagePath" in data


def read_labelme(folder: Path, files: Sequence[Path]) -> Source:
    """Read LabelMe's files of a folder.

    Shapes of one label and one group are parts of one object.

    Raises:
        BadCoco: a file is not JSON.
    """
    names: dict[str, int] = {}
    leftovers, skipped, images = Leftovers(), list[str](), list[SourceImage]()
    for file in files:
        data = load_json(file)
        height, width = data.get("imageHeight"), data.get("imageWidth")
        sized = all(type(side) is int and side > 0 for side in (height, width))
        size_hw = (int(height), int(width)) if sized else None
        rows = _Rows(file, names, leftovers, skipped, size_hw).read(data["shapes"])
        # paths are relative to the file; one that leaves the folder is found by its name
        beside = file.parent.relative_to(folder).as_posix()
        name = normpath(f"{beside}/{path_in(data.get('imagePath') or '')}")
        images.append(SourceImage(None, path_in(name), size_hw, tuple(rows)))
        for key, value in (data.get("flags") or {}).items() if isinstance(data.get("flags"), Mapping) else ():
            if value:
                leftovers.add(f"flag {key}", "image")
        for key in data.keys() - _FILE_KEYS:
            if data[key]:
                leftovers.add(key, "image", cosmetic=True)
    categories = tuple(SourceCategory(key, name) for name, key in names.items())
    return Source(
        files[0] if len(files) == 1 else folder / "labelme", categories, tuple(images), tuple(skipped),
        leftovers.not_kept, leftovers.also_not_kept, homes=(folder,),
    )  # fmt: skip


class _Rows:
    """The shapes of one file as annotation rows."""

    def __init__(
        self, file: Path, names: dict[str, int], leftovers: Leftovers, skipped: list[str],
        size_hw: tuple[int, int] | None,
    ) -> None:  # fmt: skip
        self._file, self._names, self._leftovers, self._skipped = file, names, leftovers, skipped
        self._size_hw = size_hw
        self._groups: dict[tuple[int, str], dict[str, Any]] = {}

    def read(self, shapes: Sequence[Any]) -> list[Row]:
        rows: list[Row] = []
        for place, shape in enumerate(shapes):
            try:
                row = self._row(shape)
            except BadCoco as error:
                self._skipped.append(f"{self._file.name}, shape {place}: {error}")
            else:
                rows += [row] if row else []
        return rows

    def _row(self, shape: Any) -> Row | None:
        label = shape.get("label") if isinstance(shape, Mapping) else None
        if not isinstance(label, str) or not label.strip():
            raise BadCoco("it has no label")
        kind = str(shape.get("shape_type") or "polygon")
        if kind in _BARE:
            self._leftovers.add(f"{kind} without an area", "shape")
            return None
        for key, value in shape.items():
            says = any(value.values()) if isinstance(value, Mapping) else value
            if key not in _SHAPE_KEYS and says:
                self._leftovers.add(key, "shape")
        points = shape.get("points")
        if not isinstance(points, list) or not all(_is_point(point) for point in points):
            raise BadCoco("its points cannot be read")
        category = self._names.setdefault(label.strip(), len(self._names) + 1)
        row = {"category_id": category, **self._geometry(kind, points, shape)}
        return self._grouped(row, shape.get("group_id"))

    def _geometry(self, kind: str, points: list[list[float]], shape: Mapping[str, Any]) -> Row:
        if kind == "polygon" or (kind in _TURNED and len(points) >= 4):
            return {"segmentation": [flat(points)]}
        if kind == "rectangle" and len(points) == 4:
            # X-AnyLabeling writes all four corners
            points = [[choose(side) for side in zip(*points, strict=True)] for choose in (min, max)]
        if len(points) != 2:
            raise BadCoco(f"a {excerpt(kind)} needs two points" if kind in ("rectangle", "circle", "mask") else
                          f"{excerpt(kind)} is no shape that is read")  # fmt: skip
        (x0, y0), (x1, y1) = points
        if kind == "rectangle":
            return {"bbox": [min(x0, x1), min(y0, y1), abs(x1 - x0), abs(y1 - y0)]}
        if kind == "circle":
            radius = float(np.hypot(x1 - x0, y1 - y0))
            return {"segmentation": [ellipse(x0, y0, radius, radius)]}
        if kind == "mask" and isinstance(shape.get("mask"), str) and self._size_hw:
            part = decode_png(shape["mask"])
            return {"segmentation": part_row(part, (round(min(x0, x1)), round(min(y0, y1))), self._size_hw)}
        raise BadCoco(f"{excerpt(kind)} is no shape that is read")

    def _grouped(self, row: dict[str, Any], group: object) -> Row | None:
        """The row, or None where it became another polygon of an earlier one."""
        if group is None:
            return row
        first = self._groups.setdefault((row["category_id"], str(group)), row)
        if first is row:
            return row
        former, latter = first.get("segmentation"), row.get("segmentation")
        if isinstance(former, list) and isinstance(latter, list):
            first["segmentation"] = [*former, *latter]
            return None
        self._leftovers.add("group_id", "shape")
        return row


def _is_point(point: object) -> bool:
    return isinstance(point, list) and len(point) == 2 and all(map(is_number, point))


def write_labelme(
    dataset: FolderDataset, folder: Path, copy_image: CopyImage, subsets: Subsets, *, polygons: bool
) -> WriteSummary:
    """Write `images/`, with LabelMe's JSON file beside each image.

    Args:
        dataset: to write.
        folder: to write to.
        copy_image: copies an image.
        subsets: of the images; a flag of the image.
        polygons: write masks of one part without holes as polygons, which LabelMe can edit; all others, and without
            this all masks, are exact "mask" shapes.

    Raises:
        MaskwrightError: the folder cannot be written.
    """
    summary = WriteSummary()
    for image in dataset.images():
        copied = PurePosixPath(copy_image(image).file_name)
        annotations = [one for one in dataset.of_image(image.id) if not one.crowd]
        summary.lost["mark groups and were left out"] += len(dataset.of_image(image.id)) - len(annotations)
        summary.masks += len(annotations)
        value = {
            "version": _VERSION,
            "flags": {subsets[image.id]: True} if subsets else {},
            "shapes": [_shape(one, polygons=polygons) for one in annotations],
            "imagePath": copied.name,
            "imageData": None,
            "imageHeight": image.height,
            "imageWidth": image.width,
        }
        write_json(folder / copied.with_suffix(".json"), value)
    return summary


def _shape(annotation: Annotation, *, polygons: bool) -> Row:
    x, y, w, h = annotation.mask.bbox
    shape: Row = {"label": annotation.category, "group_id": None, "description": "", "flags": {}}
    contour = outline(annotation.mask, fill=False) if polygons else None
    rings = contour.rings if contour else None
    if rings and len(rings) == 1:
        (ring,) = shift(rings, x, y)
        points = [[float(a), float(b)] for a, b in zip(ring[::2], ring[1::2], strict=True)]
        return {**shape, "points": points, "shape_type": "polygon", "mask": None}
    part = annotation.mask.to_array()[y : y + h, x : x + w]
    # both corners are pixels of the mask
    corners = [[float(x), float(y)], [float(x + w - 1), float(y + h - 1)]]
    return {**shape, "points": corners, "shape_type": "mask", "mask": png_text(part)}
