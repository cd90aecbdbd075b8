"""The words of the field as frozen values: image, mask, reference, prediction, annotation, category."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from maskwright import rle as _rle
from maskwright.errors import ImageUnreadable, InvalidMask, MaskwrightError, ShapeError
from maskwright.pictures import read_picture
from maskwright.rle import Rle

__all__ = [
    "Annotation",
    "AnnotationKey",
    "Category",
    "Image",
    "ImageRecord",
    "Mask",
    "ModelRef",
    "Prediction",
    "Reference",
    "Run",
]

BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Image:
    """An upright picture: `mw.Image(array)` or `mw.Image.open(path)`.

    Raises:
        ShapeError: the array is not (H, W, 3) uint8 with at least one pixel.
    """

    pixels: NDArray[np.uint8]
    """(H, W, 3) uint8 RGB, read-only"""
    name: str = ""
    path: Path | None = None
    sha256: str = ""
    """Of the file's bytes; for an array of shape, dtype and pixels."""
    orientation: int = 1
    """EXIF orientation of the file; `pixels` are upright already."""
    captured: str = ""

    def __post_init__(self) -> None:
        pixels = np.asarray(self.pixels)
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
            raise ShapeError(f"An image must be (H, W, 3) uint8, got {pixels.dtype} {pixels.shape}.")
        object.__setattr__(self, "pixels", _locked(pixels))
        if not self.sha256:
            object.__setattr__(self, "sha256", _array_sha256(self.pixels))

    @classmethod
    def open(cls, path: str | Path) -> Image:
        """Read a picture file upright.

        Raises:
            MaskwrightError: missing, unreadable, unsupported or too large; the sentence says which.
        """
        path = Path(path)
        try:
            data = path.read_bytes()
        except FileNotFoundError as error:
            raise MaskwrightError(f"There is no file {path}. Check the name.") from error
        except IsADirectoryError as error:
            raise MaskwrightError(f"{path} is a folder, not a picture. Name one file.") from error
        except OSError as error:
            raise ImageUnreadable(path.name) from error
        return cls.from_bytes(data, path.name, path=path)

    @classmethod
    def from_bytes(cls, data: bytes, name: str, *, path: Path | None = None) -> Image:
        """Decode a picture file's bytes; raises as `open` does."""
        picture = read_picture(data, name)
        return cls(picture.pixels, name, path, hashlib.sha256(data).hexdigest(), picture.orientation, picture.captured)

    @property
    def size_hw(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return int(self.pixels.shape[0]), int(self.pixels.shape[1])


def _locked(array: NDArray[Any]) -> NDArray[Any]:
    """A read-only copy, or the array itself when nobody can write to it any more."""
    if not (array.flags.owndata and not array.flags.writeable):
        array = array.copy()
        array.flags.writeable = False
    return array


def _array_sha256(pixels: NDArray[np.uint8]) -> str:
    digest = hashlib.sha256(f"{pixels.shape} {pixels.dtype}".encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Mask:
    """A category's region in one image, kept as run lengths."""

    category: str | None
    rle: Rle
    score: float | None = None
    area: int = field(init=False)
    """Number of mask pixels."""
    bbox: tuple[int, int, int, int] = field(init=False)
    """Tight (x, y, width, height) in pixels."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "area", _rle.area(self.rle))
        object.__setattr__(self, "bbox", _rle.bbox(self.rle))

    @classmethod
    def from_array(cls, mask: BoolArray, *, category: str | None = None, score: float | None = None) -> Mask:
        """From a boolean (H, W) array; raises InvalidMask for anything else."""
        return cls(category, _rle.encode(np.asarray(mask)), score)

    @classmethod
    def measured(
        cls, category: str | None, rle: Rle, score: float | None, area: int, bbox: tuple[int, int, int, int]
    ) -> Mask:
        """From run lengths whose area and box were computed before, which is much of the work of reading many."""
        mask = object.__new__(cls)
        for name, value in (("category", category), ("rle", rle), ("score", score), ("area", area), ("bbox", bbox)):
            object.__setattr__(mask, name, value)
        return mask

    def to_array(self) -> BoolArray:
        """Boolean (H, W) array."""
        return _rle.decode(self.rle)


@dataclass(frozen=True, slots=True)
class Reference:
    """An image with the mask of the thing to find elsewhere; a boolean (H, W) array is taken for a mask, too."""

    image: Image
    mask: Mask
    uid: str = ""
    """Of the accepted mask it is, if it is one."""

    def __post_init__(self) -> None:
        if not isinstance(self.mask, Mask):
            object.__setattr__(self, "mask", Mask.from_array(self.mask))
        if tuple(self.mask.rle["size"]) != self.image.size_hw:
            raise InvalidMask("The reference mask has another size than its image.")


@dataclass(frozen=True, slots=True)
class ModelRef:
    """A model by name and by the SHA-256 of its weights."""

    name: str
    sha256: str


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """The answer to one prompt."""

    label_map: NDArray[np.int32]
    """(H, W): 0 none, k the 1-based index into `categories`; read-only"""
    categories: tuple[str, ...]
    scores: tuple[float, ...]
    """Per category, mean probability over its pixels; 0 where it has none."""
    best: tuple[float, ...]
    """Per category, the highest probability anywhere in the image."""
    unfamiliar: tuple[str, ...]
    """Prompted words that the model was not taught."""
    provenance: Mapping[str, Any]
    overlapping: tuple[Mask, ...] | None = None
    """Of clicks: masks that a label map cannot hold, the best first; the label map shows that one, or all of them."""
    removed: NDArray[np.bool_] | None = None
    """(H, W) pixels that background cleaning left unlabelled; None where it was not used."""
    note: str = ""
    """A sentence that a person should read with the answer."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "label_map", _locked(self.label_map))
        if self.removed is not None:
            object.__setattr__(self, "removed", _locked(self.removed))
        object.__setattr__(self, "provenance", MappingProxyType(dict(self.provenance)))

    def masks(self) -> list[Mask]:
        """One mask for each category that has pixels, in prompt order; of clicks all that were found, best first."""
        if self.overlapping is not None:
            return list(self.overlapping)
        found = []
        for index, (name, score) in enumerate(zip(self.categories, self.scores, strict=True), start=1):
            region = self.label_map == index
            if region.any():
                found.append(Mask.from_array(region, category=name, score=round(score, 4)))
        return found


@dataclass(frozen=True, slots=True)
class Category:
    """A class of a project."""

    id: int
    name: str
    color: str
    """#rrggbb"""
    supercategory: str = ""
    shortcut: int | None = None
    """The number key 1 to 9 that chooses it."""
    synonyms: tuple[str, ...] = ()
    """Other words for it in text prompts."""


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


@dataclass(frozen=True, slots=True)
class Annotation:
    """A mask that a person accepted, as the store keeps it."""

    id: int
    uid: str
    image_id: int
    category_id: int
    category: str
    mask: Mask
    state: str
    """proposed (by a batch, undecided), accepted, rejected or deleted"""
    source: str
    """text, reference, click, box, manual, import or finetuned"""
    revision: int
    annotator: str
    created_at: str
    """UTC, ISO 8601 with milliseconds"""
    updated_at: str
    provenance: Mapping[str, Any] = field(default_factory=dict)
    crowd: bool = False
    """It marks a group or a region to ignore, not one object."""


class AnnotationKey(NamedTuple):
    """Which mask of what on which image, without the mask."""

    uid: str
    revision: int
    image_id: int
    category_id: int
    category: str


class ReferenceMark(NamedTuple):
    """That a mask was chosen to say what a category is, or what it is not."""

    annotation_id: int
    category: str
    shows: bool


@dataclass(frozen=True, slots=True)
class Run:
    """One fine-tuning run of a project."""

    id: int
    name: str
    """Also of its folder in `checkpoints/`."""
    state: str
    """running, done, cancelled, failed, or interrupted: its process is gone, and it can be resumed"""
    recipe: str
    base: str
    """The model it started from: a preset's name, a folder, or another run's `checkpoints/NAME`."""
    plan: Mapping[str, Any]
    """Masks, split and settings, frozen when the run was started."""
    progress: Mapping[str, Any]
    """step, steps, loss, seconds left, and the curve so far"""
    before: Mapping[str, Any] | None
    """Scores of the base on the held-out images; None until they are measured."""
    after: Mapping[str, Any] | None
    """Scores of the result on the same images."""
    message: str
    """Why it failed, in one sentence."""
    created_at: str
    updated_at: str
    """The last sign of life of its process."""
