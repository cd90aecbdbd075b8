"""Download a file over HTTP: resumed where it stopped, checked, and complete or not there at all."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from huggingface_hub.errors import HfHubHTTPError, HTTPError, OfflineModeIsEnabled  # type: ignore[attr-defined]
from huggingface_hub.utils import WeakFileLock, get_session, hf_raise_for_status  # type: ignore[attr-defined]

from maskwright.errors import BadWeights, NoDiskSpace, Unreachable
from maskwright.files.atomic import sync_folder
from maskwright.progress import Progress

__all__ = ["Remote", "download", "has_digest", "read_range", "unreachable"]

_CHUNK = 1 << 20
_TIMEOUT = 10.0
"""Seconds without a byte after which a connection counts as lost."""
_ATTEMPTS = 5
"""Attempts in a row that bring no byte."""
_PAUSE = 1.0
"""Seconds between two attempts."""


@dataclass(frozen=True, slots=True)
class Remote:
    """A file on a server."""

    url: str
    name: str
    """How messages call it."""
    digest: str = ""
    """SHA-256 (64 digits) or git blob hash (40 digits) of its content; empty when neither is known."""
    size: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


def download(remote: Remote, target: Path, lock: Path, *, progress: Progress, on_bytes: Callable[[int], None]) -> None:
    """Download a file.

    Bytes are written to `target` with the suffix `.part`, which stays when the download is interrupted and is
    continued by the next one; only a complete file with the right hash gets its name. A file whose hash is not known
    starts anew each time.

    Args:
        remote: the file.
        target: path of the result.
        lock: file that keeps other programs from downloading the same.
        progress: cancels; nothing is reported to it.
        on_bytes: called with the number of bytes that have arrived since the last call, negative when they are
            dropped.

    Raises:
        Cancelled: what has arrived is kept for the next time.
        Unreachable: no network, or the server stopped answering.
        NoDiskSpace: the disk is full.
        BadWeights: the content has another hash or length; it is deleted.
        HfHubHTTPError: the server refused, such as with 403 or 404.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    lock.parent.mkdir(parents=True, exist_ok=True)
    with _alone(lock, progress):
        if target.exists():
            on_bytes(target.stat().st_size)
            return
        if not remote.digest:
            part.unlink(missing_ok=True)
        on_bytes(part.stat().st_size if part.exists() else 0)
        try:
            _complete(remote, part, progress, on_bytes)
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise NoDiskSpace(remote.name, target.parent, remote.size or 0, 0) from error
            raise
        wrong = remote.size not in (None, part.stat().st_size) or not has_digest(part, remote.digest)
        if wrong:
            part.unlink()
            raise BadWeights(
                f"The file for {remote.name} is not the expected one (SHA-256 or length differs). It was deleted; get "
                "it again."
            )
        part.replace(target)
        sync_folder(target.parent)


def _complete(remote: Remote, part: Path, progress: Progress, on_bytes: Callable[[int], None]) -> None:
    """Append to a partial file until the server has nothing more."""
    left = _ATTEMPTS
    while True:
        progress.check()
        before = part.stat().st_size if part.exists() else 0
        if remote.size is not None and before == remote.size:
            return
        try:
            _append(remote, part, progress, on_bytes)
            return
        except HfHubHTTPError as error:
            if error.response.status_code < 500:
                raise
            cause: Exception = error
        except OfflineModeIsEnabled as error:
            raise unreachable(remote.url, error) from error
        except HTTPError as error:
            cause = error
        arrived = part.exists() and part.stat().st_size > before
        left = _ATTEMPTS if arrived else left - 1
        if not left:
            raise unreachable(remote.url, cause) from cause
        _wait(progress)


def _append(remote: Remote, part: Path, progress: Progress, on_bytes: Callable[[int], None]) -> None:
    start = part.stat().st_size if part.exists() else 0
    headers = {**remote.headers, "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    with get_session().stream("GET", remote.url, headers=headers, timeout=_TIMEOUT) as response:
        if response.status_code == 416:
            # longer than the file: left by something else
            part.unlink()
            on_bytes(-start)
            return _append(remote, part, progress, on_bytes)
        hf_raise_for_status(response)
        if start and response.status_code != 206:
            on_bytes(-start)
            start = 0
        with part.open("ab" if start else "wb") as file:
            # as they arrive, so that a lost connection costs nothing
            for chunk in response.iter_bytes():
                file.write(chunk)
                on_bytes(len(chunk))
                progress.check()
            file.flush()
            os.fsync(file.fileno())
    return None


def _wait(progress: Progress) -> None:
    end = time.monotonic() + _PAUSE
    while time.monotonic() < end:
        progress.check()
        time.sleep(min(0.05, _PAUSE))


@contextmanager
def _alone(lock: Path, progress: Progress) -> Iterator[None]:
    """Wait until no other program downloads the same file."""
    with ExitStack() as stack:
        while True:
            progress.check()
            try:
                stack.enter_context(WeakFileLock(lock, timeout=0.5))
            except TimeoutError:
                continue
            break
        yield


def read_range(remote: Remote, start: int, stop: int) -> bytes:
    """Bytes `start` to `stop` (exclusive) of a file on a server.

    Raises:
        Unreachable: no network, or the server sends something else.
        HfHubHTTPError: the server refused.
    """
    headers = {**remote.headers, "Accept-Encoding": "identity", "Range": f"bytes={start}-{stop - 1}"}
    try:
        with get_session().stream("GET", remote.url, headers=headers, timeout=_TIMEOUT) as response:
            hf_raise_for_status(response)
            if response.status_code != 206 and start:
                raise Unreachable(f"The server of {remote.name} sends only whole files. Try again later.")
            data = b""
            for chunk in response.iter_bytes():
                data += chunk
                if len(data) >= stop - start:
                    break
    except HfHubHTTPError:
        raise
    except (HTTPError, OfflineModeIsEnabled) as error:
        raise unreachable(remote.url, error) from error
    if len(data) < stop - start:
        raise Unreachable(f"The server of {remote.name} sent too few bytes. Try again later.")
    return data[: stop - start]


def unreachable(url: str, cause: Any) -> Unreachable:
    """The error for a server that does not answer, or for the hub's offline mode."""
    host = re.sub(r"^\w+://([^/]+).*$", r"\1", url)
    if isinstance(cause, OfflineModeIsEnabled):
        return Unreachable(
            "This computer is set to work offline, and the file is not on it.",
            f"Unset HF_HUB_OFFLINE to download it from {host}.",
        )
    return Unreachable(f"Cannot reach {host}.", "Check the network, then try again: a download continues where it was.")


def has_digest(file: Path, digest: str) -> bool:
    """Whether a file has a SHA-256, or a git blob hash, in hexadecimal; an empty one always fits."""
    if not re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", digest):
        return True
    found = hashlib.sha256()
    if len(digest) == 40:
        found = hashlib.sha1(b"blob %d\0" % file.stat().st_size, usedforsecurity=False)
    with file.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            found.update(chunk)
    return found.hexdigest() == digest
