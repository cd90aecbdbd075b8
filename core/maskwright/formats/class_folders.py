"""Images sorted into one folder per class, as ImageNet's validation images are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from maskwright.errors import BadCoco, MaskwrightError

__all__ = ["ClassifiedImages", "read_class_folders"]

_SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".bmp", ".webp"))
_SYNSETS, _NAMES = "LOC_synset_mapping.txt", "classes.json"


class ClassifiedImages(NamedTuple):
    """Images with the class that each shows."""

    names: tuple[str, ...]
    """Of the classes; synonyms are separated by commas."""
    images: list[tuple[Path, int]]
    """Files with the numbers of their classes."""


def read_class_folders(folder: Path) -> ClassifiedImages:
    """Read a folder that has a folder of images for each class.

    A class is called as its folder, `_` being a space, unless `classes.json` (folder: name) or ImageNet's
    `LOC_synset_mapping.txt`, there or in the folder above, names it.

    Raises:
        MaskwrightError: there are fewer than two folders with images, or one is not named by the file of names.
        BadCoco: `classes.json` is damaged.
    """
    groups = {
        place.name: sorted(file for file in place.iterdir() if file.suffix.lower() in _SUFFIXES)
        for place in sorted(folder.iterdir() if folder.is_dir() else ())
        if place.is_dir()
    }
    groups = {name: files for name, files in groups.items() if files}
    if len(groups) < 2:
        raise MaskwrightError(f"{folder} has no folders of images, one for each class.", "Name the folder above them.")
    known = _names(folder)
    if known:
        unknown = [name for name in groups if name not in known]
        if unknown:
            raise MaskwrightError(f"The file of class names beside {folder} does not list {unknown[0]}.", "Add it.")
    names = tuple(known.get(name, name.replace("_", " ")) for name in groups)
    return ClassifiedImages(names, [(file, n) for n, files in enumerate(groups.values()) for file in files])


def _names(folder: Path) -> dict[str, str]:
    for place in (folder, folder.parent):
        if (place / _NAMES).is_file():
            try:
                return {str(key): str(name) for key, name in json.loads((place / _NAMES).read_text("utf-8")).items()}
            except (ValueError, AttributeError) as error:
                raise BadCoco(f"{place / _NAMES} is no table of folder and class name.", "Correct it.") from error
        if (place / _SYNSETS).is_file():
            lines = (place / _SYNSETS).read_text("utf-8").splitlines()
            return {key: name for key, _, name in (line.strip().partition(" ") for line in lines) if name}
    return {}
