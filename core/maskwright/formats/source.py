"""What a reader of annotations returns, whatever the format: images and categories, with annotations as COCO rows."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, TypeGuard
from urllib.parse import unquote

from maskwright.domain import PlaneRecord

__all__ = [
    "Row",
    "Source",
    "SourceCategory",
    "SourceImage",
    "excerpt",
    "id_key",
    "is_number",
    "one_line",
    "path_in",
    "plain",
]

_LONGEST_NAME, _LONGEST_PATH = 255, 1000
"""Bytes that the usual disks accept."""
_SHOWN = 60
_BREAKS = re.compile("[\x00-\x1f\x7f\x85\u2028\u2029]")
_ADDRESS = re.compile("[A-Za-z][A-Za-z0-9+.-]+://")
_SERVED = re.compile(r"/local-files/\?d=([^&#]+)")
"""Label Studio's address of a file on its own disk."""
_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,17}")
_LARGEST_FLOAT_ID = 1e15
Row = Mapping[str, Any]


class SourceCategory(NamedTuple):
    """A category with its id in the file."""

    id: Any
    name: str
    supercategory: str = ""


@dataclass(frozen=True, slots=True)
class SourceImage:
    """An image with its annotations."""

    id: Any
    name: str
    """Its path in NFC, with forward slashes; empty where the file has none."""
    size_hw: tuple[int, int] | None = None
    """(height, width) in the file; None where it has no valid size."""
    rows: tuple[Row, ...] = ()
    """Annotations as rows of a COCO file."""
    sha256: str = ""
    orientation: int = 1
    captured: str = ""
    upright: bool = False
    """Whether the file says that it describes the upright image."""
    plane: PlaneRecord | None = None
    """Where it lies in a stack, as our own export writes it."""
    relative: bool = False
    """Whether coordinates are fractions of the image's width and height."""

    @property
    def inside(self) -> PurePosixPath | None:
        """The path, or None when it leaves the file's folder (it is then never opened) or is too long for a disk."""
        path = PurePosixPath(self.name)
        safe = bool(path.name) and not path.is_absolute() and ".." not in path.parts
        fits = len(self.name.encode()) <= _LONGEST_PATH and all(len(p.encode()) <= _LONGEST_NAME for p in path.parts)
        return path if safe and fits and not re.match("[A-Za-z]:", self.name) else None

    @property
    def label(self) -> str:
        """Its name in messages."""
        return one_line(self.name)[:_LONGEST_NAME] or f"image {excerpt(self.id)}"


@dataclass(frozen=True, slots=True)
class Source:
    """Annotations of any format, checked as far as possible without the images."""

    file: Path
    categories: tuple[SourceCategory, ...]
    images: tuple[SourceImage, ...]
    skipped: tuple[str, ...] = ()
    """Rows that belong to no image, each with the reason."""
    not_kept: tuple[str, ...] = ()
    """What the file says of its masks that a project cannot keep, a sentence each."""
    also_not_kept: tuple[str, ...] = ()
    """The same of what does not change any mask, such as licences."""
    homes: tuple[Path, ...] = ()
    """Folders in which this format keeps its images, to be searched before others."""
    stretched: bool = False
    """Whether outlines were scaled to the size that an image has before its EXIF turn, as Label Studio does."""
    provenance: Mapping[str, Row] = field(default_factory=dict)
    """How masks of our own export were made, by `uid`."""


def path_in(name: object) -> str:
    """A file name of a file as a path in NFC with forward slashes; of an address the path alone."""
    text = plain(str(name)).replace("\\", "/")
    served = _SERVED.search(text)
    if served:
        text = plain(unquote(served[1]))
    elif _ADDRESS.match(text):
        # without a library, which refuses some addresses: scheme://host/path?query#fragment
        path = re.split("[?#]", text.partition("://")[2], maxsplit=1)[0].partition("/")[2]
        text = plain(unquote(path)).lstrip("/")
    return unicodedata.normalize("NFC", text)


def plain(text: str) -> str:
    """The text without what databases refuse: NUL and lone surrogates."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()


def one_line(text: str) -> str:
    """The text without line breaks and control characters, for messages."""
    return _BREAKS.sub(" ", plain(text))


def id_key(value: Any) -> Any:
    """An id as one value, whether a tool writes it as a number or as text."""
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        return int(value)
    if isinstance(value, float) and abs(value) < _LARGEST_FLOAT_ID and value.is_integer():
        return int(value)
    return value


def excerpt(value: object) -> str:
    """A value of the file as short text, for messages."""
    text = one_line(str(value))
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def is_number(value: object) -> TypeGuard[float]:
    """Whether a value is a number that is safe to compute with: finite, and far from overflow in products."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e9
