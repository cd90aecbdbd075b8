"""Atomic writes: a file is there as a whole, or as it was before."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from maskwright.errors import MaskwrightError

__all__ = ["atomic_save", "json_text", "replacing", "sync_folder", "write_json", "write_text"]


def json_text(value: Any) -> str:
    """One line of JSON, non-ASCII characters as they are; raises ValueError for NaN and infinities."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file as UTF-8 with a final newline; raises as `write_text` does."""
    write_text(path, json_text(value) + "\n")


def write_text(path: Path, text: str | Iterable[str]) -> None:
    """Write a UTF-8 file atomically; its folder is made where there is none.

    Args:
        path: of the file.
        text: as a whole, or in pieces that need not fit into memory together.

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
    """A new file to write to, which replaces `path` durably when the block ends without an error.

    Raises:
        OSError: as the system reports it; `path` is as before.
    """
    with _replacement(path) as temporary, temporary.open("xb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def atomic_save(path: Path, write: Callable[[Path], object]) -> None:
    """Replace `path` durably by what `write` saves, for libraries that take a path and not an open file.

    Args:
        path: of the file.
        write: saves to the path it is called with.

    Raises:
        OSError: as the system reports it; `path` is as before.
    """
    with _replacement(path) as temporary:
        temporary.touch(exist_ok=False)
        mode = temporary.stat().st_mode
        write(temporary)
        # safetensors makes files that only their owner can read
        temporary.chmod(mode)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())


@contextmanager
def _replacement(path: Path) -> Iterator[Path]:
    """A temporary path that is renamed to `path` when the block ends without an error."""
    # short and in the same folder: a long name has no room for a suffix, and a rename cannot cross disks
    temporary = path.parent / f".{secrets.token_hex(8)}.tmp"
    try:
        yield temporary
        temporary.replace(path)
        sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make a rename in a folder durable; Windows neither needs nor allows it."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
