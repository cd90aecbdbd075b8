"""Supervisely projects: `meta.json`, and in each dataset `img/` with `ann/` beside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from maskwright.errors import BadCoco
from maskwright.formats.label_png import row_of
from maskwright.formats.labelled_folder import load_json
from maskwright.formats.leftovers import Leftovers
from maskwright.formats.shapes import decode_png, part_row, pixel_polygon
from maskwright.formats.source import Row, Source, SourceCategory, SourceImage, excerpt, is_number, path_in

__all__ = ["is_supervisely", "read_supervisely"]

_BARE = {"point", "line", "graph", "cuboid", "cuboid_3d", "any"}

_SAID = ("tags", "description", "nnCreated", "instance", "customData", "meta")
"""What an object may say beside its class and shape."""


def is_supervisely(folder: Path) -> bool:
    """Whether a folder is a Supervisely project."""
    return (folder / "meta.json").is_file() and any(_files(folder))


def _files(folder: Path) -> list[Path]:
    """Files of annotations; data sets may lie in data sets."""
    return sorted(file for file in folder.rglob("ann/*.json") if (file.parent.parent / "img").is_dir())


def read_supervisely(folder: Path) -> Source:
    """Read a Supervisely project.

    Raises:
        BadCoco: meta.json lists no classes, or a file is not JSON.
    """
    meta = load_json(folder / "meta.json")
    classes = meta.get("classes") if isinstance(meta, Mapping) else None
    if not isinstance(classes, list):
        raise BadCoco("meta.json lists no classes.", "Export the project again.")
    names: dict[str, int] = {}
    for row in classes:
        if isinstance(row, Mapping) and str(row.get("title") or "").strip():
            names.setdefault(str(row["title"]).strip(), len(names) + 1)
    reader = _Reader(names)
    images = [reader.image(folder, file) for file in _files(folder)]
    categories = tuple(SourceCategory(key, name) for name, key in names.items())
    found = reader.leftovers
    return Source(
        folder / "meta.json", categories, tuple(images), tuple(reader.skipped), found.not_kept, found.also_not_kept,
        homes=(folder,),
    )  # fmt: skip


class _Reader:
    def __init__(self, names: dict[str, int]) -> None:
        self._names = names
        self.leftovers, self.skipped = Leftovers(), list[str]()

    def image(self, folder: Path, file: Path) -> SourceImage:
        data = load_json(file)
        name = path_in((file.parent.parent / "img" / file.stem).relative_to(folder).as_posix())
        size = data.get("size") if isinstance(data, Mapping) else None
        sides = [size.get(side) for side in ("height", "width")] if isinstance(size, Mapping) else []
        if len(sides) != 2 or not all(type(side) is int and 0 < side < 1 << 16 for side in sides):
            self.skipped.append(f"{excerpt(name)}: its file has no size")
            return SourceImage(None, name)
        size_hw, rows = (int(str(sides[0])), int(str(sides[1]))), list[Row]()
        for tag in data.get("tags") or ():
            self.leftovers.add(f"tag {tag.get('name') if isinstance(tag, Mapping) else tag}", "image")
        for key in ("description", "customBigData"):
            if data.get(key):
                self.leftovers.add(key, "image", cosmetic=True)
        for place, figure in enumerate(data.get("objects") or ()):
            try:
                row = self._row(figure, size_hw)
            except BadCoco as error:
                self.skipped.append(f"{excerpt(name)}, object {place}: {error}")
            else:
                rows += [row] if row else []
        return SourceImage(None, name, size_hw, tuple(rows))

    def _row(self, figure: Any, size_hw: tuple[int, int]) -> Row | None:
        title = str(figure.get("classTitle") or "").strip() if isinstance(figure, Mapping) else ""
        if not title:
            raise BadCoco("it has no class")
        kind = str(figure.get("geometryType") or "")
        if kind in _BARE:
            self.leftovers.add(f"{kind} without an area", "object")
            return None
        for key in _SAID:
            if figure.get(key):
                self.leftovers.add(key, "object")
        category = self._names.setdefault(title, len(self._names) + 1)
        if kind in ("bitmap", "alpha_mask"):
            bitmap = figure.get("bitmap")
            origin = bitmap.get("origin") if isinstance(bitmap, Mapping) else None
            if not isinstance(origin, list) or not _is_point(origin) or not isinstance(bitmap.get("data"), str):
                raise BadCoco("its bitmap cannot be read")
            part = decode_png(bitmap["data"], packed=True)
            return {"category_id": category, "segmentation": part_row(part, (int(origin[0]), int(origin[1])), size_hw)}
        points = figure.get("points")
        outer = points.get("exterior") if isinstance(points, Mapping) else None
        if not isinstance(outer, list) or not all(map(_is_point, outer)):
            raise BadCoco("its points cannot be read")
        if kind == "rectangle" and len(outer) == 2:
            (x0, y0), (x1, y1) = outer
            # both corners are pixels of the rectangle
            box = [min(x0, x1), min(y0, y1), abs(x1 - x0) + 1, abs(y1 - y0) + 1]
            return {"category_id": category, "bbox": box}
        if kind != "polygon" or len(outer) < 3:
            raise BadCoco(f"{excerpt(kind or 'it')} is no shape that is read")
        holes = [hole for hole in points.get("interior") or () if isinstance(hole, list) and all(map(_is_point, hole))]
        mask = pixel_polygon(outer, size_hw)
        for hole in holes:
            if len(hole) >= 3:
                mask &= ~pixel_polygon(hole, size_hw)
        return row_of(mask, category)


def _is_point(point: object) -> bool:
    return isinstance(point, list) and len(point) == 2 and all(map(is_number, point))
