"""Files that are either there as a whole or not at all."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from maskwright.errors import MaskwrightError

__all__ = ["json_text", "replacing", "sync_folder", "write_json", "write_text"]


def json_text(value: Any) -> str:
    """One line of JSON: non-ASCII as is, keys in their order; raises ValueError for NaN and infinities."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file as UTF-8 with a line end; raises as `write_text`."""
    write_text(path, json_text(value) + "\n")


def write_text(path: Path, text: str | Iterable[str]) -> None:
    """Write a UTF-8 file in one step, making its folder when there is none.

    Args:
        path: of the file.
        text: as a whole, or in pieces, which are not kept.

    Raises:
        MaskwrightError: the file cannot be written; what was there before is still there.
    """
    pieces = [text] if isinstance(text, str) else text
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            for piece in pieces:
                file.write(piece.encode())
    except OSError as error:
        raise MaskwrightError(
            f"Cannot write {path}: {error.strerror}. Free some space or choose another place, then try again."
        ) from error


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write that takes `path`'s place, safely on disk, when the block ends without an error.

    Raises:
        OSError: as the system reports it; `path` is as before.
    """
    # short and in the same folder: a long name has no room for a suffix, and a rename cannot cross disks
    temporary = path.parent / f".{secrets.token_hex(8)}.tmp"
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make a rename durable; Windows neither needs nor allows it."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
