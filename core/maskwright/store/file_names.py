"""Names for picture files that keep the original and work on every disk."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator
from itertools import count
from pathlib import Path

__all__ = ["numbered", "plain_name", "plain_text", "stem_key"]

_LONGEST = 255
"""Bytes, of one name on the usual Linux disks."""


def numbered(name: str) -> Iterator[str]:
    """cow.jpg, cow-2.jpg, cow-3.jpg, ..., each short enough for a disk."""
    stem, suffix = Path(name).stem, Path(name).suffix
    for number in count(1):
        end = suffix if number == 1 else f"-{number}{suffix}"
        while len(os.fsencode(stem + end)) > _LONGEST:
            stem = stem[:-1]
        yield stem + end


def stem_key(file: Path) -> str:
    """What two relative paths share when readers of COCO files, or disks that ignore capitals, would mix them up."""
    return unicodedata.normalize("NFC", file.with_suffix("").as_posix()).casefold()


def plain_text(text: str) -> str:
    """The text with bytes that are no UTF-8 (Linux allows them in file names) replaced."""
    return os.fsencode(text).decode("utf-8", "replace")


def plain_name(name: str) -> str:
    """A file name or path with forward slashes only that is the same on every system."""
    # a backslash is a letter here and a folder on Windows
    return plain_text(name).replace("\\", "_")
