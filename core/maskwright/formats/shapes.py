"""Shapes that other tools draw, as polygons and masks."""

from __future__ import annotations

import base64
import binascii
import io
import math
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageDraw

from maskwright.domain import rle
from maskwright.errors import BadCoco

__all__ = ["decode_png", "ellipse", "flat", "part_row", "pixel_polygon", "png_text", "turned_box"]

_CORNERS = 72
"""Of the polygon that stands for an ellipse: its area is 0.13 % too small."""
_MOST_PIXELS = 1 << 28


def flat(points: Sequence[Sequence[float]]) -> list[float]:
    """Points as COCO writes a polygon."""
    return [float(value) for point in points for value in point]


def ellipse(x: float, y: float, rx: float, ry: float, degrees: float = 0.0) -> list[float]:
    """An ellipse around (x, y) as a flat polygon, turned clockwise on the screen."""
    turn = math.radians(degrees)
    points = []
    for number in range(_CORNERS):
        angle = 2 * math.pi * number / _CORNERS
        across, down = rx * math.cos(angle), ry * math.sin(angle)
        points += [
            x + across * math.cos(turn) - down * math.sin(turn),
            y + across * math.sin(turn) + down * math.cos(turn),
        ]
    return points


def turned_box(box: tuple[float, float, float, float], degrees: float) -> list[float]:
    """A box (left, top, right, bottom) as a flat polygon, turned clockwise on the screen around its center."""
    left, top, right, bottom = box
    x, y, turn = (left + right) / 2, (top + bottom) / 2, math.radians(degrees)
    points = []
    for across, down in ((left - x, top - y), (right - x, top - y), (right - x, bottom - y), (left - x, bottom - y)):
        points += [
            x + across * math.cos(turn) - down * math.sin(turn),
            y + across * math.sin(turn) + down * math.cos(turn),
        ]
    return points


def pixel_polygon(points: Sequence[Sequence[float]], size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """The (H, W) mask of a polygon whose corners are pixels that belong to it."""
    canvas = Pillow.new("1", (size_hw[1], size_hw[0]))
    ImageDraw.Draw(canvas).polygon([(float(x), float(y)) for x, y in points], fill=1, outline=1)
    return np.array(canvas, np.bool_)


def decode_png(text: str, *, packed: bool = False) -> NDArray[np.bool_]:
    """The mask in a base64 text of a PNG, which some tools pack with zlib first.

    Raises:
        BadCoco: it cannot be read; the message is the reason alone.
    """
    try:
        data = base64.b64decode(text, validate=False)
        if packed:
            data = zlib.decompressobj().decompress(data, _MOST_PIXELS)
        with Pillow.open(io.BytesIO(data), formats=("PNG",)) as opened:
            if opened.width * opened.height > _MOST_PIXELS:
                raise ValueError
            # with alpha it is the mask; a palette's index 0 is outside
            pixels = np.asarray(opened.getchannel("A") if "A" in opened.getbands() else opened)
    except (binascii.Error, zlib.error, OSError, ValueError, SyntaxError, Pillow.DecompressionBombError) as error:
        raise BadCoco("its mask is no PNG that can be read") from error
    mask: NDArray[np.bool_] = (pixels if pixels.ndim == 2 else pixels.any(axis=2)) != 0
    return mask


def png_text(mask: NDArray[np.bool_], *, packed: bool = False) -> str:
    """A mask as base64 text of a PNG of one bit."""
    encoded = io.BytesIO()
    Pillow.fromarray(mask).save(encoded, "PNG")
    data = encoded.getvalue()
    return base64.b64encode(zlib.compress(data) if packed else data).decode("ascii")


def part_row(part: NDArray[np.bool_], corner_xy: tuple[int, int], size_hw: tuple[int, int]) -> dict[str, object]:
    """Run lengths of a mask that is given by its part at a corner of the image; what lies outside is cut off.

    Raises:
        BadCoco: it lies outside; the message is the reason alone.
    """
    (x, y), (height, width) = corner_xy, size_hw
    left, top = max(x, 0), max(y, 0)
    inside = part[top - y : max(height - y, 0), left - x : max(width - x, 0)]
    if not inside.any():
        raise BadCoco("its mask is empty or outside the image")
    return dict(rle.encode_box(inside, left, top, size_hw))
