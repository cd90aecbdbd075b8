"""Reading of image files as upright 8-bit RGB arrays, with a limit on the number of pixels."""

from __future__ import annotations

import io
import struct
import threading
import warnings
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageOps, UnidentifiedImageError, features
from PIL.TiffImagePlugin import TiffImageFile

from maskwright.errors import FileNotReadable, ImageTooLarge, ImageUnreadable, MaskwrightError, UnsupportedImage
from maskwright.imaging.normalization import to_8bit
from maskwright.settings import Settings

__all__ = [
    "ORIENTATION",
    "SUFFIXES",
    "DecodedImage",
    "file_kind",
    "is_image_file",
    "is_named_as_image",
    "open_image",
    "read_image",
    "read_mask",
]

_AVIF, _HEIF = (".avif",), (".heic", ".heif")
_READS_AVIF, _READS_HEIF = features.check("avif"), find_spec("pillow_heif") is not None
SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".tif", ".tiff", ".bmp",
    *(_AVIF if _READS_AVIF else ()), *(_HEIF if _READS_HEIF else ()),
)  # fmt: skip
_NOT_READ = (
    *_AVIF, *_HEIF, ".mp4", ".mov", ".avi", ".mkv", ".webm", ".gif", ".pdf", ".svg", ".psd", ".xcf", ".eps", ".dng",
    ".cr2", ".cr3", ".nef", ".arw", ".orf", ".raf", ".rw2", ".jp2", ".j2k", ".jxl", ".exr", ".hdr", ".ppm", ".pgm",
    ".pbm", ".pnm", ".tga", ".ico", ".dds", ".dcm", ".nii", ".mha", ".nrrd", ".czi", ".lif", ".nd2", ".svs",
)  # fmt: skip
_FORMATS = (
    "PNG",
    "JPEG",
    "WEBP",
    "TIFF",
    "BMP",
    *(("AVIF",) if _READS_AVIF else ()),
    *(("HEIF",) if _READS_HEIF else ()),
)
_PAGED = ("TIFF", "WEBP", "PNG")
"""Formats whose further frames are images of their own; those of a phone's JPEG are previews."""
ORIENTATION, _EXIF_IFD, _CAPTURED = 0x0112, 0x8769, 0x9003
_SUBFILE, _REDUCED = 254, 1
"""A TIFF page that is a smaller copy of another says so there."""
_LIMIT_LOCK = threading.Lock()

Kind = Literal["image", "unsupported", "other"]


class DecodedImage(NamedTuple):
    """A decoded image file."""

    pixels: NDArray[np.uint8]
    """(H, W, 3), upright"""
    orientation: int
    """EXIF orientation, 1 to 8, already applied to `pixels`."""
    captured: str
    """EXIF date and time of capture, or empty."""
    pages: int = 1
    """Number of pages of the file, such as the planes of a TIFF."""


def is_image_file(path: Path) -> bool:
    """Whether a scan of a folder includes this file."""
    return not path.name.startswith(".") and path.is_file() and file_kind(path) == "image"


def is_named_as_image(name: str) -> bool:
    """Whether a name ends as that of an image, a video or a document of images, also of a kind that is not read."""
    return Path(name).suffix.lower() in (*SUFFIXES, *_NOT_READ)


def file_kind(path: Path) -> Kind:
    """What a file is, by its suffix, and without a known one by its first bytes.

    Returns:
        "image"; "unsupported" for an image, video or document of images that is not read; or "other".
    """
    suffix = path.suffix.lower()
    if suffix in SUFFIXES:
        return "image"
    if suffix in _NOT_READ:
        return "unsupported"
    try:
        with path.open("rb") as file:
            return _kind_of(file.read(32))
    except OSError:
        return "other"


def _kind_of(start: bytes) -> Kind:
    """What a file is by its first bytes."""
    if start.startswith((b"\x89PNG\r\n", b"\xff\xd8\xff", b"II*\0", b"MM\0*")) or start[8:12] == b"WEBP":
        return "image"
    brand = start[8:12] if start[4:8] == b"ftyp" else b""
    if _is_heif(start):
        return "image" if _READS_HEIF else "unsupported"
    if brand == b"avif":
        return "image" if _READS_AVIF else "unsupported"
    return "unsupported" if brand or start.startswith((b"GIF8", b"%PDF", b"8BPS", b"\0\0\0\x0cjP")) else "other"


def _is_heif(start: bytes) -> bool:
    return start[4:8] == b"ftyp" and start[8:12] in (b"heic", b"heix", b"hevc", b"mif1", b"msf1")


def read_image(data: bytes, name: str, *, max_megapixels: float | None = None, page: int = 0) -> DecodedImage:
    """Decode one page of an image file.

    Args:
        data: bytes of the file.
        name: name of the file, for messages.
        max_megapixels: limit of width times height, by default that of the settings.
        page: of a file with several, from 0.

    Raises:
        UnsupportedImage: a known type of file that is not read.
        ImageUnreadable: damaged, empty or not an image, or without this page.
        ImageTooLarge: more pixels than the limit; raised before they are decoded.
    """
    limit = Settings.load().max_megapixels if max_megapixels is None else max_megapixels
    try:
        with warnings.catch_warnings():
            # Pillow warns of odd tags; a damaged file raises one of our errors instead
            warnings.simplefilter("ignore")
            opened = open_image(data)
            frames = _full_frames(data) if opened.format in _PAGED else [0]
            if page or frames[0]:
                opened.seek(frames[page])
            megapixels = opened.width * opened.height / 1e6
            if megapixels > limit:
                raise ImageTooLarge(Path(name).name, megapixels, limit)
            exif = opened.getexif()
            orientation, captured = exif.get(ORIENTATION), exif.get_ifd(_EXIF_IFD).get(_CAPTURED)
            opened.load()
            upright = ImageOps.exif_transpose(opened)
    except MaskwrightError:
        raise
    except (OSError, SyntaxError, ValueError, IndexError, UnidentifiedImageError, EOFError) as error:
        known = Path(name).suffix.lower() in _NOT_READ or _kind_of(data[:32]) == "unsupported"
        if isinstance(error, UnidentifiedImageError) and known:
            raise UnsupportedImage(Path(name).name, SUFFIXES, heif=_is_heif(data)) from error
        raise ImageUnreadable(Path(name).name) from error
    # a damaged file may hold any value there
    if not isinstance(orientation, int) or not 1 <= orientation <= 8:
        orientation = 1
    captured = captured if isinstance(captured, str) else ""
    return DecodedImage(_pillow_rgb8(upright), orientation, captured, len(frames))


def _full_frames(data: bytes) -> list[int]:
    """The frames of a file that are pages of their own, not smaller copies; at least the first."""
    frames = []
    # opened again, because going through damaged pages leaves Pillow's object in pieces
    with suppress(OSError, SyntaxError, ValueError, EOFError, KeyError, TypeError, IndexError, struct.error):
        opened = open_image(data)
        for frame in range(getattr(opened, "n_frames", 1)):
            opened.seek(frame)
            kind = opened.tag_v2.get(_SUBFILE, 0) if isinstance(opened, TiffImageFile) else 0
            if not (isinstance(kind, int) and kind & _REDUCED):
                frames.append(frame)
    return frames or [0]


@cache
def _register_heif() -> None:
    if _READS_HEIF:
        from pillow_heif import register_heif_opener

        register_heif_opener()


def open_image(data: bytes) -> Pillow.Image:
    """Open a file without decoding it, and without Pillow's own limit on pixels, which is global.

    Raises:
        OSError, SyntaxError, ValueError: not one of the formats that are read.
    """
    _register_heif()
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
