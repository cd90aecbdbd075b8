"""File names that keep the original, work on every disk, and do not collide."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator
from itertools import count
from pathlib import Path, PurePosixPath

__all__ = ["DistinctNames", "numbered", "plain_name", "plain_text", "stem_key"]

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


class DistinctNames:
    """Gives out names; some disks do not tell capitals apart, some readers do not look at endings."""

    def __init__(self) -> None:
        self._stems: set[str] = set()

    def free(self, wanted: str) -> str:
        """The path, or one with a number when its stem is taken."""
        path, number = PurePosixPath(wanted), 1
        while str(path.with_suffix("")).casefold() in self._stems:
            number += 1
            path = PurePosixPath(wanted).with_stem(f"{PurePosixPath(wanted).stem}-{number}")
        self._stems.add(str(path.with_suffix("")).casefold())
        return str(path)
