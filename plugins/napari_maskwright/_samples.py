"""Sample images as napari layers; they need no network."""

from __future__ import annotations

from importlib.resources import as_file, files
from typing import Any

from maskwright.domain import Image

__all__ = ["cat", "nuclei"]

Layers = list[tuple[Any, dict[str, Any], str]]


def cat() -> Layers:
    """Chelsea the cat, (300, 451, 3) uint8."""
    return _layer("skimage", "data", "chelsea.png", name="cat")


def nuclei() -> Layers:
    """Stained nuclei from the 2018 Data Science Bowl."""
    return _layer("maskwright_assets", "samples", "5c6eb9a47852754d.jpg", name="nuclei")


def _layer(package: str, *path: str, name: str) -> Layers:
    with as_file(files(package).joinpath(*path)) as file:
        return [(Image.open(file).pixels, {"name": name}, "image")]
