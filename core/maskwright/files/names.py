"""File names: portable between systems, and free of collisions."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator
from itertools import count
from pathlib import Path, PurePath, PurePosixPath

__all__ = ["DistinctNames", "numbered", "plain_name", "plain_text", "stem_key"]

_LONGEST = 255
"""Bytes of one file name on the usual Linux file systems."""


def numbered(name: str) -> Iterator[str]:
    """A file name and its numbered forms: cow.jpg, cow-2.jpg, cow-3.jpg, ..., each at most 255 bytes long."""
    stem, suffix = Path(name).stem, Path(name).suffix
    for number in count(1):
        end = suffix if number == 1 else f"-{number}{suffix}"
        while len(os.fsencode(stem + end)) > _LONGEST:
            stem = stem[:-1]
        yield stem + end


def stem_key(file: PurePath) -> str:
    """A relative path without its suffix, for comparison: case and Unicode form are ignored, as on some systems.

    Readers of COCO files often identify an image by its path without the suffix.
    """
    return unicodedata.normalize("NFC", file.with_suffix("").as_posix()).casefold()


def plain_text(text: str) -> str:
    """The text with bytes replaced that are not UTF-8, which Linux allows in file names."""
    return os.fsencode(text).decode("utf-8", "replace")


def plain_name(name: str) -> str:
    """A file name or relative path that means the same on every system."""
    # a backslash is a letter on Linux and separates folders on Windows
    return plain_text(name).replace("\\", "_")


class DistinctNames:
    """Relative paths of one export, no two of which have the same `stem_key`."""

    def __init__(self) -> None:
        self._keys: set[str] = set()

    def free(self, wanted: str) -> str:
        """The wanted path, or its first numbered form that is free; it is then taken."""
        path = PurePosixPath(wanted)
        for name in numbered(path.name):
            key = stem_key(path.with_name(name))
            if key not in self._keys:
                self._keys.add(key)
                return str(path.with_name(name))
        raise AssertionError("numbers do not end")
