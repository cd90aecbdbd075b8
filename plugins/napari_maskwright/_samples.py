"""Sample photographs as napari layers, without network."""

from __future__ import annotations

from importlib.resources import as_file, files
from typing import Any

from maskwright.domain import Image

__all__ = ["cat", "nuclei"]

Layers = list[tuple[Any, dict[str, Any], str]]


def _layer(package: str, *place: str, name: str) -> Layers:
    with as_file(files(package).joinpath(*place)) as path:
        return [(Image.open(path).pixels, {"name": name}, "image")]


def cat() -> Layers:
    """Chelsea the cat, (300, 451, 3) uint8."""
    return _layer("skimage", "data", "chelsea.png", name="cat")


def nuclei() -> Layers:
    """Stained nuclei from the Data Science Bowl 2018."""
    return _layer("maskwright_assets", "samples", "5c6eb9a47852754d.jpg", name="nuclei")
