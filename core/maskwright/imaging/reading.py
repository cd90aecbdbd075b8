"""Reading of image files as upright 8-bit RGB arrays, with a limit on the number of pixels."""

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

from maskwright.errors import FileNotReadable, ImageTooLarge, ImageUnreadable, MaskwrightError, UnsupportedImage
from maskwright.imaging.normalization import to_8bit
from maskwright.settings import Settings

__all__ = ["ORIENTATION", "SUFFIXES", "DecodedImage", "is_image_file", "open_image", "read_image", "read_mask"]

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")
_KNOWN_BUT_NOT_READ = (".heic", ".heif", ".avif", ".mp4", ".mov", ".avi", ".mkv", ".webm", ".gif", ".pdf", ".svg")
_FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP")
ORIENTATION, _EXIF_IFD, _CAPTURED = 0x0112, 0x8769, 0x9003
_LIMIT_LOCK = threading.Lock()


class DecodedImage(NamedTuple):
    """A decoded image file."""

    pixels: NDArray[np.uint8]
    """(H, W, 3), upright"""
    orientation: int
    """EXIF orientation, 1 to 8, already applied to `pixels`."""
    captured: str
    """EXIF date and time of capture, or empty."""


def is_image_file(path: Path) -> bool:
    """Whether a scan of a folder includes this file."""
    return path.suffix.lower() in SUFFIXES and path.is_file() and not path.name.startswith(".")


def read_image(data: bytes, name: str, *, max_megapixels: float | None = None) -> DecodedImage:
    """Decode the first page of an image file.

    Args:
        data: bytes of the file.
        name: name of the file, for messages and for its suffix.
        max_megapixels: limit of width times height, by default that of the settings.

    Raises:
        UnsupportedImage: a known type of file that is not read.
        ImageUnreadable: damaged, empty or not an image.
        ImageTooLarge: more pixels than the limit; raised before they are decoded.
    """
    limit = Settings.load().max_megapixels if max_megapixels is None else max_megapixels
    if Path(name).suffix.lower() in _KNOWN_BUT_NOT_READ:
        raise UnsupportedImage(Path(name).name, SUFFIXES)
    try:
        with warnings.catch_warnings():
            # Pillow warns of odd tags; a damaged file raises one of our errors instead
            warnings.simplefilter("ignore")
            opened = open_image(data)
            megapixels = opened.width * opened.height / 1e6
            if megapixels > limit:
                raise ImageTooLarge(Path(name).name, megapixels, limit)
            exif = opened.getexif()
            orientation, captured = exif.get(ORIENTATION), exif.get_ifd(_EXIF_IFD).get(_CAPTURED)
            opened.load()
            upright = ImageOps.exif_transpose(opened)
    except MaskwrightError:
        raise
    except (OSError, SyntaxError, ValueError, UnidentifiedImageError, EOFError) as error:
        raise ImageUnreadable(Path(name).name) from error
    # a damaged file may hold any value there
    if not isinstance(orientation, int) or not 1 <= orientation <= 8:
        orientation = 1
    return DecodedImage(_pillow_rgb8(upright), orientation, captured if isinstance(captured, str) else "")


def open_image(data: bytes) -> Pillow.Image:
    """Open a file without decoding it, and without Pillow's own limit on pixels, which is global.

    Raises:
        OSError, SyntaxError, ValueError: not one of the formats that are read.
    """
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
    """(H, W) boolean mask of an image file: every pixel that is not black, or not index 0.

    Raises:
        MaskwrightError: there is no such file, or it is not an image.
    """
    try:
        with Pillow.open(file) as opened:
            values = np.asarray(opened)
    except FileNotFoundError as error:
        raise MaskwrightError(f"There is no file {file}. Check the name.") from error
    except PermissionError as error:
        raise FileNotReadable(file) from error
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError, Pillow.DecompressionBombError) as error:
        raise ImageUnreadable(file.name) from error
    # the last of two or four channels is alpha
    colours = values.reshape(*values.shape[:2], -1)[
        ..., : {2: 1, 4: 3}.get(values.shape[-1] if values.ndim == 3 else 1)
    ]
    mask: NDArray[np.bool_] = (colours != 0).any(axis=2)
    return mask
