"""Images: pixels in memory, and the record of one in a project."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.domain.plane import PlaneRecord
from maskwright.errors import FileNotReadable, ImageUnreadable, MaskwrightError, ShapeError
from maskwright.imaging.normalization import contrast_limits, to_8bit
from maskwright.imaging.reading import read_image

__all__ = ["BoolArray", "Image", "ImageRecord"]

BoolArray = NDArray[np.bool_]
_HASHED_ROWS = 256


@dataclass(frozen=True, slots=True, eq=False)
class Image:
    """An image in upright orientation: `mw.Image(array)` or `mw.Image.open(path)`.

    Raises:
        ShapeError: the array is not (H, W, 3) uint8 with at least one pixel.
    """

    pixels: NDArray[np.uint8]
    """(H, W, 3) uint8 RGB, read-only"""
    name: str = ""
    """File name, or a name for lists."""
    path: Path | None = None
    """File it was read from."""
    sha256: str = ""
    """Hash of the file's bytes, or of an array's shape, dtype and pixels."""
    orientation: int = 1
    """EXIF orientation of the file; `pixels` are upright already."""
    captured: str = ""
    """EXIF date and time of capture; empty when unknown."""
    plane: PlaneRecord | None = None
    """Where it lies in a stack, if it was read from one."""
    contrast: tuple[float, float] | None = None
    """Of a part of an image: the limits of the whole, which models stretch the contrast from."""
    pages: int = 1
    """Number of pages of the file, such as the planes of a TIFF, of which this is one."""

    def __post_init__(self) -> None:
        pixels = np.asarray(self.pixels)
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
            raise ShapeError(f"An image must be (H, W, 3) uint8, got {pixels.dtype} {pixels.shape}.")
        object.__setattr__(self, "pixels", read_only(pixels))
        if not self.sha256:
            object.__setattr__(self, "sha256", _array_sha256(self.pixels))

    @classmethod
    def open(cls, path: str | Path, *, page: int = 0) -> Image:
        """Read an image file and turn it upright (EXIF).

        Args:
            path: JPEG, PNG, TIFF or another supported format.
            page: of a file with several, from 0; any but the first is known by its pixels, not by the file's bytes.

        Raises:
            ImageUnreadable: the file is damaged, empty or not an image.
            UnsupportedImage: a file type that is known but not read.
            ImageTooLarge: more pixels than the limit.
            MaskwrightError: there is no such file, or it may not be read.
        """
        path = Path(path)
        try:
            data = path.read_bytes()
        except FileNotFoundError as error:
            raise MaskwrightError(f"There is no file {path}. Check the name.") from error
        except IsADirectoryError as error:
            raise MaskwrightError(f"{path} is a folder, not an image. Name one file.") from error
        except PermissionError as error:
            raise FileNotReadable(path) from error
        except OSError as error:
            raise ImageUnreadable(path.name) from error
        if page:
            decoded = read_image(data, path.name, page=page)
            return cls(decoded.pixels, path.name, pages=decoded.pages)
        return cls.from_bytes(data, path.name, path=path)

    @classmethod
    def from_bytes(cls, data: bytes, name: str, *, path: Path | None = None) -> Image:
        """Decode the bytes of an image file; raises as `open` does."""
        decoded = read_image(data, name)
        sha256 = hashlib.sha256(data).hexdigest()
        return cls(decoded.pixels, name, path, sha256, decoded.orientation, decoded.captured, pages=decoded.pages)

    @classmethod
    def from_array(cls, array: Any, *, rgb: bool, name: str = "", limits: tuple[float, float] | None = None) -> Image:
        """Convert pixels of any number type, such as the data of a napari layer.

        Args:
            array: (H, W) grey, or with `rgb` (H, W, 3) or (H, W, 4), whose alpha is ignored. Types other than uint8 are
                rescaled from their 0.1 and 99.9 percentiles to 0 and 255.
            rgb: whether the last axis is colour.
            name: for lists.
            limits: values to rescale to 0 and 255 in place of the percentiles, also for uint8.

        Raises:
            ShapeError: more or fewer axes, as of a stack, or no pixels.
        """
        if array.ndim != (3 if rgb else 2):
            raise ShapeError(
                f"That is no single plane, but an array of shape {tuple(array.shape)}. "
                "Choose a layer with a single plane, or save the plane as an image."
            )
        pixels = np.asarray(array)[..., :3] if rgb else np.asarray(array)
        if not pixels.size:
            raise ShapeError("There are no pixels. Choose another layer.")
        if pixels.dtype != np.uint8 or limits is not None:
            pixels = to_8bit(pixels, limits)
        return cls(np.ascontiguousarray(pixels) if rgb else _grey_as_rgb(pixels), name)

    def part(self, xywh: tuple[int, int, int, int]) -> Image:
        """The pixels in a box (x, y, width, height), known by the image's content and the box."""
        x, y, width, height = xywh
        pixels, limits = self.pixels[y : y + height, x : x + width], self.contrast or contrast_limits(self.pixels)
        return Image(pixels, self.name, sha256=f"{self.sha256}/{x},{y},{width},{height}", contrast=limits)

    def reduced(self, factor: int) -> Image:
        """A smaller image, of which each pixel is the mean of a square of pixels; made in memory of its own size."""
        if factor == 1:
            return self
        height, width = self.size_hw
        small = np.empty((-(-height // factor), -(-width // factor), 3), np.uint8)
        ends = np.minimum(np.arange(factor, width + factor, factor), width)
        for row in range(len(small)):
            rows = self.pixels[row * factor : (row + 1) * factor]
            sums = np.add.reduceat(rows.sum(axis=0, dtype=np.uint32), np.arange(0, width, factor), axis=0)
            small[row] = sums / (len(rows) * np.diff(ends, prepend=0)[:, None])
        limits = self.contrast or contrast_limits(self.pixels)
        return Image(small, self.name, sha256=f"{self.sha256}/{factor}", contrast=limits)

    @property
    def memory(self) -> int:
        """Bytes of the pixels; three channels may share the memory of one."""
        owner = self.pixels if self.pixels.base is None else self.pixels.base
        return int(getattr(owner, "nbytes", self.pixels.nbytes))

    @property
    def pages_notice(self) -> str:
        """A message for the user where the file has further pages; empty otherwise."""
        return f"{self.name} has {self.pages} pages, such as planes of a stack; the first is used." * (self.pages > 1)

    @property
    def size_hw(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return int(self.pixels.shape[0]), int(self.pixels.shape[1])


def _grey_as_rgb(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W, 3) view of a (H, W) plane: three channels in the memory of one."""
    owned = np.array(pixels, order="C")
    owned.flags.writeable = False
    return np.broadcast_to(owned[..., None], (*owned.shape, 3))


def read_only(array: NDArray[Any]) -> NDArray[Any]:
    """A read-only copy, or the array itself when it and the array whose data it shows are read-only."""
    owner = array if array.base is None else array.base
    locked = isinstance(owner, np.ndarray) and owner.flags.owndata and not owner.flags.writeable
    if not locked or array.flags.writeable:
        array = array.copy()
        array.flags.writeable = False
    return array


def _array_sha256(pixels: NDArray[np.uint8]) -> str:
    digest = hashlib.sha256(f"{pixels.shape} {pixels.dtype}".encode())
    # in parts, because a view in the memory of one channel is three times as large when it is contiguous
    for top in range(0, len(pixels), _HASHED_ROWS):
        digest.update(np.ascontiguousarray(pixels[top : top + _HASHED_ROWS]).data)
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """An image of a project; `file_name` is relative to the project's folder, with forward slashes."""

    id: int
    sha256: str
    file_name: str
    width: int
    height: int
    orientation: int
    captured: str
    plane: PlaneRecord | None = None
    """Where it lies in a stack, if it was read from one."""
    address: str = ""
    """Where its file is read from, such as s3://bucket/cow.jpg; empty for one in the folder."""
