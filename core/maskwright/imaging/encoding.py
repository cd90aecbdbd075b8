"""Image files as a browser displays them: upright, 8 bits a channel, and small ones for lists."""

from __future__ import annotations

import io
from typing import NamedTuple

from PIL import Image as Pillow
from PIL import ImageOps

from maskwright.imaging.reading import ORIENTATION, open_image, read_image

__all__ = ["EncodedImage", "thumbnail", "upright"]

_SHOWN_AS_THEY_ARE = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp", "BMP": "image/bmp"}
"""Formats that every browser decodes, with their media types."""
_PLAIN_MODES = ("RGB", "L", "P", "1")
"""Modes that a browser shows as `read_image` does; CMYK, 16 bits and alpha look different there."""


class EncodedImage(NamedTuple):
    """The bytes of an image file with their media type."""

    data: bytes
    media_type: str


def upright(data: bytes, name: str) -> EncodedImage:
    """A file that a browser shows pixel by pixel as `read_image` reads it.

    The file itself where it is upright and plain; else JPEG of a rotated JPEG, and PNG of anything else. Raises as
    `read_image` does.
    """
    kind = _shown_as_it_is(data)
    if kind:
        return EncodedImage(data, kind)
    jpeg = data.startswith(b"\xff\xd8")
    pixels, file = Pillow.fromarray(read_image(data, name).pixels), io.BytesIO()
    if jpeg:
        pixels.save(file, "JPEG", quality=95)
        return EncodedImage(file.getvalue(), "image/jpeg")
    pixels.save(file, "PNG", compress_level=1)
    return EncodedImage(file.getvalue(), "image/png")


def thumbnail(data: bytes, name: str, side: int) -> bytes:
    """A JPEG of an image file with a longer side of at most `side` pixels; raises as `read_image` does."""
    small = _reduced_jpeg(data, side) or Pillow.fromarray(read_image(data, name).pixels)
    small.thumbnail((side, side))
    file = io.BytesIO()
    small.save(file, "JPEG", quality=80)
    return file.getvalue()


def _shown_as_it_is(data: bytes) -> str:
    """Media type of a file that browsers show as `read_image` reads it; empty for another."""
    try:
        opened = open_image(data)
        rotated = opened.getexif().get(ORIENTATION, 1) != 1
    except (OSError, SyntaxError, ValueError):
        return ""
    plain = opened.mode in _PLAIN_MODES and "transparency" not in opened.info and not rotated
    return _SHOWN_AS_THEY_ARE.get(str(opened.format), "") if plain else ""


def _reduced_jpeg(data: bytes, side: int) -> Pillow.Image | None:
    """A JPEG of which only a fraction of the pixels is decoded; None for another or a damaged file."""
    try:
        opened = open_image(data)
        if opened.format != "JPEG" or opened.mode not in ("RGB", "L"):
            return None
        opened.draft("RGB", (side, side))
        return ImageOps.exif_transpose(opened).convert("RGB")
    except (OSError, SyntaxError, ValueError):
        return None
