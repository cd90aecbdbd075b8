"""Pascal VOC: an XML file of boxes for each image, and PNGs of classes and objects."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import degrees
from pathlib import Path, PurePosixPath
from xml.etree.ElementTree import Element
from xml.sax.saxutils import escape

import numpy as np
from numpy.typing import NDArray

from maskwright.domain import Annotation, Category, ImageRecord
from maskwright.errors import BadCoco
from maskwright.files.atomic import write_text
from maskwright.formats.folder_dataset import (
    CopyImage,
    FolderDataset,
    Subsets,
    WriteSummary,
    used_categories,
    write_png,
)
from maskwright.formats.label_png import VOC_COLORS, read_numbers, read_rgb, regions, row_of, voc_palette
from maskwright.formats.leftovers import Leftovers
from maskwright.formats.shapes import pixel_polygon, turned_box
from maskwright.formats.source import Row, Source, SourceCategory, SourceImage, excerpt, path_in
from maskwright.formats.xml_files import number, read_xml, text_of
from maskwright.imaging.reading import SUFFIXES

__all__ = ["is_voc", "read_voc", "read_voc_file", "write_voc"]

_BORDER = 255
"""Number of pixels on the border between objects."""
_CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
"""The challenge's own classes, numbered from 1, for a folder without labelmap.txt."""
_LEFT = ("truncated", "difficult", "occluded")
_OBJECT_KEYS = {*_LEFT, "name", "pose", "bndbox", "robndbox", "polygon", "attributes", "type"}
_COLORS = {r + (g << 8) + (b << 16): place for place, (r, g, b) in reversed(list(enumerate(VOC_COLORS)))}


def is_voc(folder: Path) -> bool:
    """Whether a folder is laid out as Pascal VOC."""
    return any((folder / name).is_dir() for name in ("SegmentationClass", "SegmentationObject")) or (
        any((folder / "Annotations").rglob("*.xml"))
    )


def read_voc(folder: Path) -> Source:
    """Read a Pascal VOC folder: masks from its PNGs, and boxes of objects that have none.

    Raises:
        BadCoco: it holds no annotations.
    """
    places = folder / "Annotations", folder / "SegmentationClass", folder / "SegmentationObject"
    xml = {_stem(file, folder): file for file in folder.glob("*.xml")}
    xml |= {_stem(file, places[0]): file for file in places[0].rglob("*.xml")}
    stems = sorted({*xml, *(_stem(file, place) for place in places[1:] for file in place.rglob("*.png"))})
    if not stems:
        raise BadCoco(f"{folder} holds no annotations of Pascal VOC.", "They lie in Annotations/.")
    reader = _Reader(_class_names(folder))
    images = [reader.image(folder, stem, xml.get(stem)) for stem in stems]
    return reader.source(folder / "Annotations", images, (folder / "JPEGImages", folder / "images", folder))


def _stem(file: Path, place: Path) -> str:
    """The path of a file in its folder without its suffix, which all files of an image share."""
    return file.relative_to(place).with_suffix("").as_posix()


def read_voc_file(file: Path, root: Element) -> Source:
    """Read one XML file of Pascal VOC: boxes alone."""
    reader = _Reader({})
    image = reader.boxes(file.stem, root, frozenset())
    return reader.source(file, [image], (file.parent, file.parent.parent / "JPEGImages", file.parent.parent))


def _class_names(folder: Path) -> dict[int, str]:
    """Class names by color, from labelmap.txt of CVAT and Datumaro or as in the challenge."""
    file = folder / "labelmap.txt"
    if not file.is_file():
        return {_rgb(VOC_COLORS[place]): name for place, name in enumerate(_CLASSES, start=1)}
    names = {}
    lines = file.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    for place, line in enumerate(line for line in lines if line.strip() and not line.startswith("#")):
        name, *others = line.split(":")
        color = [min(int(value), 255) for value in re.findall(r"\d+", others[0])] if others else []
        # without a color it is the challenge's of that number
        r, g, b = color if len(color) == 3 else VOC_COLORS[place % 256]
        if name.strip() and name.strip() != "background":
            names[_rgb((r, g, b))] = name.strip()
    return names


def _rgb(color: tuple[int, int, int]) -> int:
    return color[0] + (color[1] << 8) + (color[2] << 16)


@dataclass(frozen=True, slots=True)
class _Masks:
    """The PNGs of one image: numbers of objects, and colors of classes."""

    objects: NDArray[np.int64] | None
    classes: NDArray[np.int64] | None


class _Reader:
    def __init__(self, by_color: dict[int, str]) -> None:
        self._by_color = by_color
        self._names: dict[str, int] = {}
        for name in by_color.values():
            self._names.setdefault(name, len(self._names) + 1)
        self.leftovers, self.skipped = Leftovers(), list[str]()
        self._used = set[int]()

    def source(self, file: Path, images: Sequence[SourceImage], homes: tuple[Path, ...]) -> Source:
        # the challenge's classes are there without being in use
        categories = tuple(SourceCategory(key, name) for name, key in self._names.items() if key in self._used)
        found = self.leftovers
        return Source(
            file, categories, tuple(images), tuple(self.skipped), found.not_kept, found.also_not_kept, homes=homes
        )

    def image(self, folder: Path, stem: str, xml: Path | None) -> SourceImage:
        root = read_xml(xml) if xml else Element("annotation")
        names = [text_of(one, "name") for one in root.iterfind("object")]
        try:
            masks = _masks(folder, stem)
            rows = list(self._rows(masks, names))
        except BadCoco as error:
            self.skipped.append(f"{stem}: {error}")
            masks, rows = _Masks(None, None), []
        drawn = frozenset(int(str(row["object"])) for row in rows if "object" in row)
        image = self.boxes(stem, root, drawn, folder)
        pixels = masks.objects if masks.objects is not None else masks.classes
        size_hw = image.size_hw if pixels is None else (int(pixels.shape[0]), int(pixels.shape[1]))
        plain_rows = [{key: value for key, value in row.items() if key != "object"} for row in rows]
        return SourceImage(None, image.name, size_hw, (*plain_rows, *image.rows))

    def _rows(self, masks: _Masks, names: Sequence[str]) -> Iterator[Row]:
        if masks.objects is None:
            for color, mask in regions(masks.classes) if masks.classes is not None else ():
                if color and color != _rgb(VOC_COLORS[_BORDER]):
                    yield row_of(mask, self._class(color))
            return
        for place, mask in regions(masks.objects):
            if place in (0, _BORDER):
                continue
            name = names[place - 1] if place <= len(names) else ""
            if masks.classes is not None:
                colors, counts = np.unique(masks.classes[mask], return_counts=True)
                color = int(colors[counts.argmax()])
                category = self._class(color) if color in self._by_color or not name else self._category(name)
            else:
                category = self._category(name or "object")
            yield row_of(mask, category, object=place)

    def _class(self, color: int) -> int:
        name = self._by_color.get(color)
        if name is None:
            shown = f"{color & 255},{color >> 8 & 255},{color >> 16}"
            raise BadCoco(f"its label image has the color {shown}, which labelmap.txt does not name")
        return self._category(name)

    def _category(self, name: str) -> int:
        key = self._names.setdefault(name, len(self._names) + 1)
        self._used.add(key)
        return key

    def _leave(self, element: Element) -> None:
        """Count what an object says beside its class and shape."""
        for key in _LEFT:
            if text_of(element, key) not in ("", "0"):
                self.leftovers.add(key, "object")
        for attribute in element.iterfind("attributes/attribute"):
            if text_of(attribute, "value").lower() not in ("", "0", "0.0", "false"):
                self.leftovers.add(f"attribute {text_of(attribute, 'name')}", "object")
        for key in {child.tag for child in element} - _OBJECT_KEYS:
            self.leftovers.add(key, "object")

    def boxes(self, stem: str, root: Element, drawn: frozenset[int], folder: Path | None = None) -> SourceImage:
        """The image of an XML file, with the boxes of objects that have no mask, numbered from 1."""
        height, width = (number(text_of(root, f"size/{side}")) for side in ("height", "width"))
        size_hw = (int(height), int(width)) if height and width and min(height, width) >= 1 else None
        rows = []
        for place, element in enumerate(root.iterfind("object"), start=1):
            self._leave(element)
            if place in drawn:
                continue
            name, geometry = text_of(element, "name"), _geometry(element, size_hw)
            if geometry is None or not name:
                self.skipped.append(f"{excerpt(stem)}, object {place}: it has no name or no box")
                continue
            rows.append({**geometry, "category_id": self._category(name)})
        name = path_in(text_of(root, "filename"))
        if name and "/" in stem and "/" not in name:
            name = f"{stem.rpartition('/')[0]}/{name}"
        return SourceImage(
            None, name if name.lower().endswith(SUFFIXES) else _file_name(folder, name or stem), size_hw, tuple(rows)
        )


def _geometry(element: Element, size_hw: tuple[int, int] | None) -> Row | None:
    """The polygon that Roboflow and supervision write beside the box, or the box; pixels are counted from 1."""
    polygon = element.find("polygon")
    if polygon is not None and size_hw is not None:
        values = [number(child.text) for child in polygon]
        points = [
            (x - 1, y - 1) for x, y in zip(values[::2], values[1::2], strict=False) if x is not None and y is not None
        ]
        if len(points) >= 3 and 2 * len(points) == len(values):
            return row_of(pixel_polygon(points, size_hw), None)
    x, y, w, h, angle = (number(text_of(element, f"robndbox/{key}")) for key in ("cx", "cy", "w", "h", "angle"))
    if x is not None and y is not None and w and h:
        # roLabelImg writes radians
        corners = x - w / 2, y - h / 2, x + w / 2, y + h / 2
        return {"segmentation": [turned_box(corners, degrees(angle or 0.0))]}
    left, top, right, bottom = (number(text_of(element, f"bndbox/{side}")) for side in ("xmin", "ymin", "xmax", "ymax"))
    if left is None or top is None or right is None or bottom is None:
        return None
    # both ends belong to the box
    return {"bbox": [left - 1, top - 1, right - left + 1, bottom - top + 1]}


def _file_name(folder: Path | None, stem: str) -> str:
    """The name of the image file with this stem."""
    for place in ("JPEGImages", "images", "") if folder else ():
        for suffix in SUFFIXES:
            if folder and (folder / place / f"{stem}{suffix}").is_file():
                return path_in(f"{stem}{suffix}")
    return path_in(f"{stem}.jpg")


def _masks(folder: Path, stem: str) -> _Masks:
    classes, objects = folder / "SegmentationClass" / f"{stem}.png", folder / "SegmentationObject" / f"{stem}.png"
    numbers = read_numbers(objects) if objects.is_file() else None
    if numbers is not None and int(numbers.max()) > 0xFFFF:
        # written as colors
        colors, places = np.unique(numbers, return_inverse=True)
        numbers = np.array([_COLORS.get(int(color), 0) for color in colors])[places].reshape(numbers.shape)
    pixels = read_rgb(classes) if classes.is_file() else None
    if pixels is not None and not _has_palette(classes):
        # a gray image holds class numbers
        colors = np.array([_rgb(color) for color in VOC_COLORS])
        pixels = colors[np.clip(read_numbers(classes), 0, 255)]
    return _Masks(numbers, pixels)


def _has_palette(file: Path) -> bool:
    from PIL import Image as Pillow

    with Pillow.open(file) as opened:
        return opened.mode in ("P", "RGB", "RGBA")


def write_voc(dataset: FolderDataset, folder: Path, copy_image: CopyImage, subsets: Subsets) -> WriteSummary:
    """Write Annotations/, JPEGImages/, SegmentationClass/, SegmentationObject/, ImageSets/ and labelmap.txt.

    A pixel belongs to one object: where masks overlap the smaller one is on top. Crowds are left out. With more than
    254 objects or classes the PNGs have 16 bits.

    Args:
        dataset: to write.
        folder: to write to.
        copy_image: names a copy `JPEGImages/NAME`, without further folders.
        subsets: of the images.

    Raises:
        MaskwrightError, OSError: the folder cannot be written.
    """
    categories = used_categories(dataset)
    classes = {category.id: number for number, category in enumerate(categories, start=1)}
    summary, stems, names = WriteSummary(), dict[int, str](), _written_names(categories)
    for image in dataset.images():
        name = PurePosixPath(copy_image(image).file_name).name
        stem = stems[image.id] = PurePosixPath(name).stem
        annotations = [one for one in dataset.of_image(image.id) if not one.crowd]
        summary.lost["mark groups and were left out"] += len(dataset.of_image(image.id)) - len(annotations)
        renamed = sum(names[one.category_id] != one.category for one in annotations)
        summary.lost["have a class whose name the format cannot hold and was changed"] += renamed
        owners = np.zeros((image.height, image.width), np.int64)
        numbered = list(enumerate(annotations, start=1))
        for place, one in sorted(numbered, key=lambda pair: -pair[1].mask.area):
            # 255 is the border
            owners[one.mask.to_array()] = place + (place >= _BORDER)
        shown = dict(zip(*np.unique(owners, return_counts=True), strict=True))
        areas = [(one.mask.area, shown.get(place + (place >= _BORDER), 0)) for place, one in numbered]
        left = [seen for _, seen in areas if seen]
        summary.masks += len(left)
        cut = sum(0 < seen < area for area, seen in areas)
        summary.lost["are covered in part by smaller ones and lose that part"] += cut
        summary.lost["are covered by smaller ones and have a box alone"] += len(annotations) - len(left)
        numbers = np.zeros(len(annotations) + 2, np.int64)
        for place, one in numbered:
            numbers[place + (place >= _BORDER)] = classes[one.category_id]
        for kind, pixels in (("SegmentationObject", owners), ("SegmentationClass", numbers[owners])):
            wide = pixels.max() >= _BORDER
            write_png(folder / kind / f"{stem}.png", pixels.astype(np.uint16 if wide else np.uint8), voc_palette())
        write_text(folder / "Annotations" / f"{stem}.xml", _xml(image, name, annotations, names))
    _write_lists(folder, list(names.values()), stems, subsets)
    return summary


def _write_lists(folder: Path, names: Sequence[str], stems: dict[int, str], subsets: Subsets) -> None:
    colors = [("background", VOC_COLORS[0])]
    colors += [(name, VOC_COLORS[place % 256]) for place, name in enumerate(names, start=1)]
    lines = [f"{name}:{r},{g},{b}::\n" for name, (r, g, b) in colors]
    write_text(folder / "labelmap.txt", ["# label:color_rgb:parts:actions\n", *lines])
    for subset in dict.fromkeys(subsets.values()) or ("trainval",):
        chosen = [stem for key, stem in stems.items() if not subsets or subsets[key] == subset]
        for kind in ("Main", "Segmentation"):
            write_text(folder / "ImageSets" / kind / f"{subset}.txt", [f"{stem}\n" for stem in chosen])


def _written_names(categories: Sequence[Category]) -> dict[int, str]:
    """Names of classes by id as a line of labelmap.txt can hold them, each once."""
    clean = {one.id: " ".join(one.name.replace(":", ";").split()).lstrip("# ") or "class" for one in categories}
    # readers take "background" for no class; a name that can stay as it is comes before one that becomes the same
    taken = {"background"}
    names: dict[int, str] = {}
    for one in sorted(categories, key=lambda one: clean[one.id] != one.name):
        name = clean[one.id] if clean[one.id] not in taken else f"{clean[one.id]} ({one.id})"
        names[one.id] = name
        taken.add(name)
    return {one.id: names[one.id] for one in categories}


def _xml(image: ImageRecord, name: str, annotations: Sequence[Annotation], names: Mapping[int, str]) -> str:
    objects = []
    for one in annotations:
        x, y, w, h = one.mask.bbox
        objects.append(
            f"<object><name>{escape(names[one.category_id])}</name><pose>Unspecified</pose><truncated>0</truncated>"
            f"<difficult>0</difficult><bndbox><xmin>{x + 1}</xmin><ymin>{y + 1}</ymin><xmax>{x + w}</xmax>"
            f"<ymax>{y + h}</ymax></bndbox></object>\n"
        )
    return (
        f"<annotation>\n<folder>JPEGImages</folder>\n<filename>{escape(name)}</filename>\n"
        f"<size><width>{image.width}</width><height>{image.height}</height><depth>3</depth></size>\n"
        f"<segmented>{int(bool(annotations))}</segmented>\n{''.join(objects)}</annotation>\n"
    )
