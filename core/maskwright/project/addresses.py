"""Images that stay where they are: listed, read and cached by fsspec addresses such as s3://bucket/photos.

Whoever names an address makes this computer connect to it. So only the command line and Python add one
(`ImageCollection.add_address`): what a browser sends is never taken for an address.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from maskwright.errors import MaskwrightError, UsageError
from maskwright.files.hashing import sha256_of
from maskwright.files.names import fitting, plain_name
from maskwright.imaging.reading import SUFFIXES

__all__ = ["AddressCache", "images_at", "is_address", "name_of"]

_BUCKETS = ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss")
"""Read by obstore, which needs neither of the clouds' own packages."""
_SLACK = 16
"""The folder is looked through each time that this part of the limit was added."""


def is_address(text: str | Path) -> bool:
    """Whether a text is an address, not a path."""
    return "://" in str(text)


def images_at(address: str) -> list[str]:
    """The addresses of the image files below an address, in the order of their names; or of itself, if it is a file.

    Args:
        address: such as s3://bucket/photos, https://host/cow.jpg or zip://photos::https://host/photos.zip.

    Raises:
        MaskwrightError: it cannot be read, or a package for it is missing.
        UsageError: a path of this computer.
    """
    scheme, _, _ = address.partition("://")
    if scheme in ("file", "local"):
        raise UsageError(f"{address} is on this computer.", "Name the path itself.")
    own, *around = address.split("::")
    if _suffix(own):
        return [address]
    with _reading(address, own):
        files, path = _file_system(address)
        if not files.isdir(path):
            return [address]
        names = sorted(files.find(path))
    full = [name if is_address(name) else f"{scheme}://{name.lstrip('/')}" for name in names]
    images = (one for one in full if _suffix(one) and not PurePosixPath(one).name.startswith("."))
    return ["::".join((one, *around)) for one in images]


def name_of(address: str) -> str:
    """A relative path under `images/` that stands for an address: another one for each, without any secret in it."""
    parts: list[str] = []
    for one in reversed(address.split("::")):
        split = urlsplit(one)
        parts += [split.hostname or "", *unquote(split.path).split("/")]
    plain = [plain_name(part) for part in parts if part not in ("", ".", "..")] or ["image"]
    cut = [fitting(part, "") for part in plain]
    if address.partition("://")[2] == "/".join(cut):
        return "/".join(("images", *cut))
    # several addresses may lead to these parts: a digest tells them apart
    ending = f"-{hashlib.sha256(address.encode()).hexdigest()[:12]}{_suffix(address.split('::')[0])}"
    return "/".join(("images", *cut[:-1], fitting(PurePosixPath(plain[-1]).stem, ending) + ending))


def _suffix(address: str) -> str:
    """The ending of an address without archives, when it is that of an image; empty otherwise."""
    suffix = PurePosixPath(urlsplit(address).path).suffix.lower()
    return suffix if suffix in SUFFIXES else ""


class AddressCache:
    """Files of addresses on this disk, known by their content, up to a total size; the least recently used go."""

    def __init__(self, folder: Path, limit: int) -> None:
        """Take a folder, which several processes may share, and its most bytes."""
        self._folder, self._limit = folder, limit
        # the first file added has the folder looked through
        self._added = limit

    def file(self, address: str, sha256: str, name: str) -> Path:
        """The file with this content, read from the address unless it is here.

        Args:
            address: of the file.
            sha256: of its bytes.
            name: for messages, which must not show what is in an address.

        Raises:
            MaskwrightError: it cannot be read, or has another content now.
        """
        cached = self._place(address, sha256)
        # another process may delete it at any time
        with suppress(OSError):
            if sha256_of(cached) == sha256:
                os.utime(cached)
                return cached
        file, found = self.fetch(address, name)
        if found != sha256:
            raise MaskwrightError(
                f"The image file {name} was changed after it was added.",
                "Put the old file back, or add the new one under another name.",
            )
        return file

    def fetch(self, address: str, name: str) -> tuple[Path, str]:
        """Read an address; returns the file here and the SHA-256 of its bytes, and raises MaskwrightError."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".", dir=self._folder) as temporary:
            file = Path(temporary) / "file"
            with _reading(address, name):
                files, path = _file_system(address)
                files.get_file(path, str(file))
            sha256 = sha256_of(file)
            place = self._place(address, sha256)
            place.parent.mkdir(exist_ok=True)
            self._added += file.stat().st_size
            file.replace(place)
        if self._added > self._limit / _SLACK:
            self._trim(place)
        return place, sha256

    def _place(self, address: str, sha256: str) -> Path:
        return self._folder / sha256[:2] / f"file-{sha256}{_suffix(address.split('::')[0])}"

    def _trim(self, newest: Path) -> None:
        """Delete what was not used for longest, until the rest fits."""
        files = []
        for file in self._folder.glob("*/file-*"):
            # another process may be faster
            with suppress(OSError):
                stat = file.stat()
                files.append((stat.st_mtime, stat.st_size, file))
        used = sum(size for _, size, _ in files)
        for _, size, file in sorted(files):
            if used > self._limit and file != newest:
                file.unlink(missing_ok=True)
                used -= size
        self._added = 0


@cache
def _register() -> None:
    if find_spec("obstore"):
        from obstore.fsspec import register

        register(_BUCKETS)


def _file_system(address: str) -> tuple[Any, str]:
    """The file system of an address, and the path there."""
    own, *around = address.split("::")
    scheme, _, path = own.partition("://")
    if around:
        return _archive(scheme, "::".join(around)), path
    from fsspec.core import url_to_fs

    _register()
    found: tuple[Any, str] = url_to_fs(address)
    return found


@lru_cache(maxsize=8)
def _archive(scheme: str, around: str) -> Any:
    """The file system in an archive; opening one reads its list of files."""
    from fsspec.core import url_to_fs

    _register()
    return url_to_fs(f"{scheme}://::{around}")[0]


@contextmanager
def _reading(address: str, name: str) -> Iterator[None]:
    """Turn what a file system raises into one sentence."""
    scheme = address.partition("://")[0]
    try:
        yield
    except ImportError as error:
        raise MaskwrightError(
            f"Reading {scheme}:// needs a package that is not installed.",
            "Run `pip install 'maskwright[remote-files]'`.",
        ) from error
    except FileNotFoundError as error:
        raise MaskwrightError(f"There is no {name} at its address.", "Check the address.") from error
    except PermissionError as error:
        raise MaskwrightError(f"{name} may not be read.", "Check the credentials in the environment.") from error
    except Exception as error:  # each file system has errors of its own
        kind = type(error).__name__
        raise MaskwrightError(f"Cannot read {name} ({kind}).", "Check the address and the network.") from error
