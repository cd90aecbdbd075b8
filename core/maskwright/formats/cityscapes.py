"""Cityscapes and data sets in its layout: PNGs of class and object numbers in `gtFine/`."""

from __future__ import annotations

from pathlib import Path

from maskwright.errors import BadCoco
from maskwright.formats.label_png import read_numbers, regions, row_of
from maskwright.formats.leftovers import Leftovers
from maskwright.formats.source import Source, SourceCategory, SourceImage, path_in
from maskwright.imaging.reading import SUFFIXES

__all__ = ["is_cityscapes", "read_cityscapes"]

_CLASSES = (
    "unlabeled", "ego vehicle", "rectification border", "out of roi", "static", "dynamic", "ground", "road", "sidewalk",
    "parking", "rail track", "building", "wall", "fence", "guard rail", "bridge", "tunnel", "pole", "polegroup",
    "traffic light", "traffic sign", "vegetation", "terrain", "sky", "person", "rider", "car", "truck", "bus",
    "caravan", "trailer", "train", "motorcycle", "bicycle",
)  # fmt: skip
"""Class names by the data set's own number."""
_EMPTY = ("background", "unlabeled", "void")
_NOTHING = 4
"""Numbers below this say that a pixel is not labelled."""
_OBJECTS = 1000
"""From here on a number is 1000 x class + object; a smaller one of a countable class is a group."""
_COUNTABLE = range(24, 34)
_ENDINGS = ("_instanceIds.png", "_labelIds.png")


def is_cityscapes(folder: Path) -> bool:
    """Whether a folder has label images in the layout of Cityscapes."""
    return any(next(folder.rglob(f"*{ending}"), None) for ending in _ENDINGS)


def read_cityscapes(folder: Path) -> Source:
    """Read the objects and regions of `*_instanceIds.png`, or the regions of `*_labelIds.png` where there is none."""
    objects = {_stem(file, _ENDINGS[0]): file for file in sorted(folder.rglob(f"*{_ENDINGS[0]}"))}
    classes = {_stem(file, _ENDINGS[1]): file for file in sorted(folder.rglob(f"*{_ENDINGS[1]}"))}
    images_by_stem, names = _images(folder), _names(folder)
    leftovers, skipped, images, used = Leftovers(), list[str](), list[SourceImage](), set[int]()
    for stem, file in sorted({**classes, **objects}.items()):
        rows = []
        size_hw = None
        try:
            numbers = read_numbers(file)
            size_hw = (int(numbers.shape[0]), int(numbers.shape[1]))
            for value, mask in regions(numbers):
                key = value // _OBJECTS if value >= _OBJECTS else value
                if key not in names:
                    if key >= _NOTHING:
                        leftovers.add("pixels without a class", "image")
                    continue
                used.add(key)
                rows.append(
                    row_of(mask, key, iscrowd=int(value < _OBJECTS and key in _COUNTABLE and file in objects.values()))
                )
        except BadCoco as error:
            skipped.append(f"{stem}: {error}")
        name = images_by_stem.get(stem) or f"{stem}_leftImg8bit.png"
        images.append(SourceImage(None, path_in(name), size_hw, tuple(rows)))
    categories = tuple(SourceCategory(key, names[key]) for key in sorted(used))
    return Source(
        folder / "gtFine", categories, tuple(images), tuple(skipped), leftovers.not_kept, leftovers.also_not_kept,
        homes=(folder, folder.parent),
    )  # fmt: skip


def _names(folder: Path) -> dict[int, str]:
    """Class names by number: the data set's own, or those of a data set in its layout in the order of a file."""
    file = folder / "label_colors.txt"
    if not file.is_file():
        return {key: name for key, name in enumerate(_CLASSES) if key >= _NOTHING}
    lines = file.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    # a color may stand before the name
    names = [" ".join(word for word in line.split() if not word.isdecimal()) for line in lines if line[:1] != "#"]
    first = 0 if names and names[0].lower() in _EMPTY else 1
    return {key: name for key, name in enumerate(filter(None, names), start=first) if name.lower() not in _EMPTY}


def _stem(file: Path, ending: str) -> str:
    """The part of a name that image and labels share, such as "bonn_000001_000019"."""
    name = file.name.removesuffix(ending)
    return name.removesuffix("_gtFine").removesuffix("_gtCoarse")


def _images(folder: Path) -> dict[str, str]:
    """Image files by that part; relative to the folder, or to the one above it where images lie beside gtFine/."""
    found: dict[str, str] = {}
    for home in (folder, folder.parent / "leftImg8bit"):
        for file in sorted(home.rglob("*")) if home.is_dir() else ():
            if file.suffix.lower() in SUFFIXES and not file.name.endswith(
                (*_ENDINGS, "_color.png", "_labelTrainIds.png")
            ):
                base = folder if home == folder else folder.parent
                found.setdefault(file.stem.removesuffix("_leftImg8bit"), file.relative_to(base).as_posix())
    return found
