"""VGG Image Annotator: the JSON files of its versions 1 and 2."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from maskwright.errors import BadCoco
from maskwright.formats.leftovers import Leftovers
from maskwright.formats.shapes import ellipse
from maskwright.formats.source import Row, Source, SourceCategory, SourceImage, excerpt, is_number, path_in

__all__ = ["is_via", "read_via"]

_METADATA = "_via_img_metadata"
_CLASS_KEYS = ("class", "label", "category", "type", "name", "object")
"""Attributes of regions that usually hold the class, in this order."""
_BARE = {"point", "polyline"}
_DEGREES = 57.29577951308232


def is_via(data: Any) -> bool:
    """Whether the content of a JSON file is VIA's: a project, or annotations by image."""
    if not isinstance(data, Mapping):
        return False
    if _METADATA in data:
        return True
    first = next(iter(data.values()), None)
    return isinstance(first, Mapping) and "filename" in first and "regions" in first


def read_via(file: Path, data: Any) -> Source:
    """Read a VIA file. The class is the attribute of regions that is called so, or the only one that is filled in.

    Raises:
        BadCoco: no attribute holds a class.
    """
    entries = data.get(_METADATA, data)
    entries = (
        [entry for entry in entries.values() if isinstance(entry, Mapping)] if isinstance(entries, Mapping) else []
    )
    regions = [(entry, region) for entry in entries for region in _regions(entry)]
    key = _class_key([region for _, region in regions])
    reader = _Reader(key)
    images = []
    for entry in entries:
        name = path_in(entry.get("filename") or "")
        for attribute, value in _mapping(entry.get("file_attributes")).items():
            if value not in ("", {}, None):
                reader.leftovers.add(f"attribute {attribute}", "image")
        images.append(SourceImage(None, name, None, tuple(reader.rows(name, entry))))
    categories = tuple(SourceCategory(number, name) for name, number in reader.names.items())
    found = reader.leftovers
    return Source(file, categories, tuple(images), tuple(reader.skipped), found.not_kept, found.also_not_kept)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _regions(entry: Mapping[str, Any]) -> list[Any]:
    regions = entry.get("regions")
    # version 1 has a mapping with numbers
    values = list(regions.values()) if isinstance(regions, Mapping) else regions
    return values if isinstance(values, list) else []


def _class_key(regions: list[Any]) -> str:
    attributes = [_mapping(_mapping(region).get("region_attributes")) for region in regions]
    keys = {key: sum(bool(one.get(key)) for one in attributes) for one in attributes for key in one}
    filled = [key for key, number in keys.items() if number]
    known = next((key for name in _CLASS_KEYS for key in filled if str(key).strip().lower() == name), None)
    if known is None and len(filled) > 1:
        raise BadCoco(
            f"The regions have the attributes {', '.join(map(excerpt, filled))}, and none is called class.",
            "Rename the one that holds the class to class, in VIA.",
        )
    return str(known if known is not None else filled[0] if filled else _CLASS_KEYS[0])


class _Reader:
    def __init__(self, key: str) -> None:
        self._key = key
        self.names: dict[str, int] = {}
        self.leftovers, self.skipped = Leftovers(), list[str]()

    def rows(self, name: str, entry: Mapping[str, Any]) -> list[Row]:
        rows: list[Row] = []
        for place, region in enumerate(_regions(entry)):
            try:
                row = self._row(_mapping(region))
            except BadCoco as error:
                self.skipped.append(f"{excerpt(name)}, region {place}: {error}")
            else:
                rows += [row] if row else []
        return rows

    def _row(self, region: Mapping[str, Any]) -> Row | None:
        shape, attributes = _mapping(region.get("shape_attributes")), _mapping(region.get("region_attributes"))
        kind = str(shape.get("name") or "")
        if kind in _BARE:
            self.leftovers.add(f"{kind} without an area", "region")
            return None
        value = attributes.get(self._key)
        # a checkbox has a mapping of what is ticked
        chosen = (
            [str(one) for one, ticked in value.items() if ticked] if isinstance(value, Mapping) else [str(value or "")]
        )
        label = ", ".join(chosen).strip()
        if not label:
            raise BadCoco(f"its attribute {excerpt(self._key)}, which holds the class, is empty")
        for key, other in attributes.items():
            if key != self._key and other not in ("", {}, None):
                self.leftovers.add(f"attribute {key}", "region")
        return {"category_id": self.names.setdefault(label, len(self.names) + 1), **_geometry(kind, shape)}


def _geometry(kind: str, shape: Mapping[str, Any]) -> Row:
    if kind in ("polygon", "polyline"):
        across, down = shape.get("all_points_x"), shape.get("all_points_y")
        if not isinstance(across, list) or not isinstance(down, list) or len(across) != len(down):
            raise BadCoco("its points cannot be read")
        return {"segmentation": [[value for pair in zip(across, down, strict=True) for value in pair]]}
    keys = {"rect": ("x", "y", "width", "height"), "circle": ("cx", "cy", "r"), "ellipse": ("cx", "cy", "rx", "ry")}
    if kind not in keys:
        raise BadCoco(f"{excerpt(kind or 'it')} is no shape that is read")
    values = [shape.get(key) for key in keys[kind]]
    if not all(map(is_number, values)):
        raise BadCoco("its numbers cannot be read")
    if kind == "rect":
        return {"bbox": values}
    theta = shape.get("theta")
    turn = theta * _DEGREES if is_number(theta) else 0.0
    x, y, rx, *ry = (float(value or 0) for value in values)
    return {"segmentation": [ellipse(x, y, rx, ry[0] if ry else rx, turn)]}
