"""Picture files: upright 8-bit RGB in, with a limit on pixels and one sentence for what cannot be read."""

from __future__ import annotations

import io
import threading
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageOps, UnidentifiedImageError

from maskwright.errors import ImageTooLarge, ImageUnreadable, MaskwrightError, UnsupportedImage
from maskwright.imaging.normalization import to_8bit
from maskwright.settings import Settings

__all__ = ["SUFFIXES", "DecodedImage", "is_image_file", "read_image", "read_mask"]

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")
_KNOWN_BUT_NOT_READ = (".heic", ".heif", ".avif", ".mp4", ".mov", ".avi", ".mkv", ".webm", ".gif", ".pdf", ".svg")
_FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP")
_ORIENTATION, _EXIF_IFD, _CAPTURED = 0x0112, 0x8769, 0x9003
_LIMIT_LOCK = threading.Lock()


class DecodedImage(NamedTuple):
    """A decoded file."""

    pixels: NDArray[np.uint8]
    """(H, W, 3), upright"""
    orientation: int
    """EXIF orientation, 1 to 8, already applied to `pixels`."""
    captured: str
    """EXIF date and time, or empty."""


def is_image_file(path: Path) -> bool:
    """Whether a folder scan takes this file."""
    return path.suffix.lower() in SUFFIXES and path.is_file() and not path.name.startswith(".")


def read_image(data: bytes, name: str, *, max_megapixels: float | None = None) -> DecodedImage:
    """Decode the first page of a picture file.

    Args:
        data: the file's bytes.
        name: the file's name, for messages.
        max_megapixels: limit on width times height; default from the settings.

    Raises:
        UnsupportedImage: a kind of file that is known but not read.
        ImageUnreadable: damaged, empty or not an image.
        ImageTooLarge: more pixels than the limit; nothing was decoded.
    """
    limit = Settings.load().max_megapixels if max_megapixels is None else max_megapixels
    if Path(name).suffix.lower() in _KNOWN_BUT_NOT_READ:
        raise UnsupportedImage(Path(name).name, SUFFIXES)
    try:
        with warnings.catch_warnings():
            # a damaged file is one sentence of ours, not Pillow's remarks on its tags
            warnings.simplefilter("ignore")
            opened = _opened(data)
            megapixels = opened.width * opened.height / 1e6
            if megapixels > limit:
                raise ImageTooLarge(Path(name).name, megapixels, limit)
            exif = opened.getexif()
            orientation, captured = exif.get(_ORIENTATION), exif.get_ifd(_EXIF_IFD).get(_CAPTURED)
            opened.load()
            upright = ImageOps.exif_transpose(opened)
    except MaskwrightError:
        raise
    except (OSError, SyntaxError, ValueError, UnidentifiedImageError, EOFError) as error:
        raise ImageUnreadable(Path(name).name) from error
    # a damaged file may hold anything there
    if not isinstance(orientation, int) or not 1 <= orientation <= 8:
        orientation = 1
    return DecodedImage(_pillow_rgb8(upright), orientation, captured if isinstance(captured, str) else "")


def _opened(data: bytes) -> Pillow.Image:
    """The file's header; Pillow's own limit on pixels, one for the process, must not refuse what the settings allow."""
    with _LIMIT_LOCK:
        before = Pillow.MAX_IMAGE_PIXELS
        Pillow.MAX_IMAGE_PIXELS = None
        try:
            return Pillow.open(io.BytesIO(data), formats=_FORMATS)
        finally:
            Pillow.MAX_IMAGE_PIXELS = before


def _pillow_rgb8(image: Pillow.Image) -> NDArray[np.uint8]:
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return np.repeat(to_8bit(np.asarray(image))[:, :, None], 3, axis=2)
    if image.mode == "LA" or image.mode == "RGBA" or "transparency" in image.info:
        return np.asarray(image.convert("RGBA"))[:, :, :3].copy()
    return np.asarray(image.convert("RGB")).copy()


def read_mask(file: Path) -> NDArray[np.bool_]:
    """(H, W) of a mask file: everything that is not black, or not index 0.

    Raises:
        MaskwrightError: there is no such file, or it is not an image.
    """
    try:
        with Pillow.open(file) as opened:
            values = np.asarray(opened)
    except FileNotFoundError as error:
        raise MaskwrightError(f"There is no file {file}. Check the name.") from error
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError, Pillow.DecompressionBombError) as error:
        raise ImageUnreadable(file.name) from error
    # the last channel of two or four is opacity
    colours = values.reshape(*values.shape[:2], -1)[
        ..., : {2: 1, 4: 3}.get(values.shape[-1] if values.ndim == 3 else 1)
    ]
    mask: NDArray[np.bool_] = (colours != 0).any(axis=2)
    return mask
