"""File names: portable between systems, and free of collisions."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import PurePath, PurePosixPath

__all__ = ["DistinctNames", "file_stem", "fitting", "free_name", "numbered", "plain_name", "plain_text", "stem_key"]

_LONGEST = 255
"""Bytes of one file name on the usual Linux file systems."""
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)
"""Names that Windows keeps for devices."""


def fitting(stem: str, ending: str) -> str:
    """The stem, cut so that the name with this ending has at most 255 bytes."""
    while len(os.fsencode(stem + ending)) > _LONGEST:
        stem = stem[:-1]
    return stem


def file_stem(name: str) -> str:
    """A name of anything, such as a layer, as the stem of a file name that every system allows."""
    return _allowed(plain_text(name).replace("/", "_")).strip(" .") or "image"


def _allowed(text: str) -> str:
    """The text with "_" for every letter that a name on Windows cannot have; a slash stays."""
    return "".join("_" if letter in '<>:"\\|?*' or ord(letter) < 32 else letter for letter in text)


def numbered(path: str) -> Iterator[str]:
    """Yield a path and its numbered forms a/cow.jpg, a/cow-2.jpg, a/cow-3.jpg, ..., with names of at most 255 bytes."""
    file = PurePosixPath(path)
    for number in count(1):
        ending = file.suffix if number == 1 else f"-{number}{file.suffix}"
        yield str(file.with_name(fitting(file.stem, ending) + ending))


def free_name(path: str, is_taken: Callable[[str], bool]) -> str:
    """The path, or its first numbered form that is not taken."""
    return next(candidate for candidate in numbered(path) if not is_taken(candidate))


def stem_key(file: PurePath) -> str:
    """A relative path without its suffix, for comparison: case and Unicode form are ignored, as on some systems.

    Readers of COCO files often identify an image by its path without the suffix.
    """
    return unicodedata.normalize("NFC", file.with_suffix("").as_posix()).casefold()


def plain_text(text: str) -> str:
    """The text with bytes replaced that are not UTF-8, which Linux allows in file names."""
    return os.fsencode(text).decode("utf-8", "replace")


def plain_name(name: str) -> str:
    """A file name or relative path that every system takes, with the same meaning.

    Windows refuses some letters, the names of devices, and a blank or dot at the end of a name.
    """
    parts = _allowed(plain_text(name)).split("/")
    return "/".join(f"_{part}" if _RESERVED.fullmatch(part) else _without_end(part) for part in parts)


def _without_end(part: str) -> str:
    cut = part.rstrip(" .")
    return cut or part.replace(" ", "_").replace(".", "_") if part not in ("", ".", "..") else part


class DistinctNames:
    """Relative paths of one export, no two of which have the same `stem_key`."""

    def __init__(self) -> None:
        self._keys: set[str] = set()

    def free(self, path: str) -> str:
        """The path, or its first numbered form that is free; it is then taken."""
        name = free_name(path, lambda candidate: stem_key(PurePosixPath(candidate)) in self._keys)
        self._keys.add(stem_key(PurePosixPath(name)))
        return name
