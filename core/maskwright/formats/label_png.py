"""Images whose pixels are numbers: of classes, of objects, or of both."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from maskwright.domain import rle
from maskwright.errors import BadCoco
from maskwright.formats.source import Row

__all__ = ["VOC_COLORS", "read_numbers", "read_rgb", "regions", "row_of", "voc_palette"]

_MOST = 1 << 16
"""Numbers of one image; more is no label image, but a photograph."""


def read_numbers(file: Path) -> NDArray[np.int64]:
    """(H, W) numbers of a label image: gray values or palette indices, or R + 256 G + 65536 B.

    Raises:
        BadCoco: it cannot be read; the message is the reason alone.
    """
    pixels = _pixels(file)
    if pixels.ndim == 2:
        return pixels.astype(np.int64)
    return _combined(pixels)


def read_rgb(file: Path) -> NDArray[np.int64]:
    """(H, W) colors of a label image as R + 256 G + 65536 B, also of one with a palette; raises as `read_numbers`."""
    return _combined(_pixels(file, rgb=True))


def _combined(pixels: NDArray[np.generic]) -> NDArray[np.int64]:
    numbers: NDArray[np.int64] = pixels[..., :3].astype(np.int64) @ np.array([1, 1 << 8, 1 << 16])
    return numbers


def _pixels(file: Path, *, rgb: bool = False) -> NDArray[np.generic]:
    try:
        with Pillow.open(file, formats=("PNG", "TIFF", "BMP")) as opened:
            pixels = np.asarray(opened.convert("RGB") if rgb else opened)
    except (OSError, ValueError, SyntaxError, Pillow.DecompressionBombError) as error:
        raise BadCoco(f"its label image {file.name} cannot be read") from error
    if pixels.ndim == 3 and pixels.shape[2] == 2:
        # gray with alpha
        pixels = pixels[..., 0]
    return pixels.astype(np.uint8) if pixels.dtype == np.bool_ else pixels


def regions(numbers: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.bool_]]]:
    """Each number of a label image with its (H, W) mask.

    Raises:
        BadCoco: more numbers than any label image has.
    """
    values = np.unique(numbers)
    if len(values) > _MOST:
        raise BadCoco("its label image has more numbers than objects can be")
    for value in values.tolist():
        yield value, numbers == value


def row_of(mask: NDArray[np.bool_], category: Any, **others: object) -> Row:
    """An annotation row with a mask as run lengths."""
    return {"category_id": category, "segmentation": dict(rle.encode(mask)), **others}


def _voc_color(number: int) -> tuple[int, int, int]:
    color = [0, 0, 0]
    for bit in range(8):
        for channel in range(3):
            color[channel] |= (number >> (3 * bit + channel) & 1) << (7 - bit)
    return color[0], color[1], color[2]


VOC_COLORS = tuple(map(_voc_color, range(256)))
"""Colors of Pascal VOC's label images by number; 255 is the border between objects."""


def voc_palette() -> bytes:
    """The palette of Pascal VOC's label images."""
    return bytes(value for color in VOC_COLORS for value in color)
