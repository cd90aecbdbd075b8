"""Files that somebody sends: images, and zip archives of them, which are read without trusting them."""

from __future__ import annotations

import shutil
import stat
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from maskwright.errors import MaskwrightError
from maskwright.files.names import plain_name
from maskwright.imaging.reading import is_named_as_image
from maskwright.progress import NO_PROGRESS, Progress
from maskwright.project.images import AddResult, ImageCollection

__all__ = ["Upload", "add_uploads", "unpacked"]

_MOST_ENTRIES = 20_000
_MOST_ENTRY_BYTES = 1 << 30
_MOST_ARCHIVE_BYTES = 32 << 30
_PIECE = 1 << 20
_RATIO = 200
"""An archive that grows by more than this is taken for a bomb; photographs hardly shrink."""


class Upload(NamedTuple):
    """A file with the name that its sender gave it."""

    name: str
    file: Path


def add_uploads(
    images: ImageCollection,
    uploads: Sequence[Upload],
    *,
    all_pages: bool = False,
    progress: Progress = NO_PROGRESS,
) -> Iterator[AddResult]:
    """Add files to a project, those of zip archives, too; one that cannot be added does not stop the others.

    Args:
        images: of the project.
        uploads: image files and zip archives; their names are never used as paths.
        all_pages: add every page of a TIFF as an image; otherwise the first.
        progress: reports files, and cancels between them.

    Yields:
        One result for each image file, in order; its path is the sender's name.

    Raises:
        ProjectUnwritable: the project cannot be written; files added so far stay.
        Cancelled: on request.
    """
    with tempfile.TemporaryDirectory(prefix="maskwright-") as folder:
        for done, upload in enumerate(uploads):
            progress.report(done, len(uploads))
            progress.check()
            if PurePosixPath(upload.name).suffix.lower() == ".zip":
                yield from _add_archive(images, upload, Path(folder), progress, all_pages=all_pages)
            else:
                yield from _add(images, upload.name, upload.file, Path(folder), all_pages=all_pages)
        progress.report(len(uploads), len(uploads))


def _add(images: ImageCollection, name: str, file: Path, folder: Path, *, all_pages: bool) -> list[AddResult]:
    # the project keeps the sender's name, but not the folders in it
    named = folder / (plain_name(PurePosixPath(name.replace("\\", "/")).name) or "image.png")
    try:
        shutil.move(file, named) if file != named else None
        return [replace(result, path=Path(name)) for result in images.add(named, all_pages=all_pages)]
    finally:
        named.unlink(missing_ok=True)


def _add_archive(
    images: ImageCollection, upload: Upload, folder: Path, progress: Progress, *, all_pages: bool
) -> Iterator[AddResult]:
    try:
        with zipfile.ZipFile(upload.file) as archive:
            entries = _entries(archive, upload)
            for done, entry in enumerate(entries):
                progress.report(done, len(entries))
                progress.check()
                label = f"{upload.name}: {entry.filename}"
                problem = _refusal(entry)
                if problem:
                    yield AddResult(Path(label), None, problem=f"{label} {problem}")
                    continue
                inner = folder / "entry"
                _extract(archive, entry, inner)
                yield from _add(images, entry.filename, inner, folder, all_pages=all_pages)
    except (
        zipfile.BadZipFile,
        EOFError,
        RuntimeError,
        NotImplementedError,
        ValueError,
        OSError,
        MaskwrightError,
    ) as error:
        if isinstance(error, MaskwrightError):
            raise
        problem = f"Cannot read {upload.name}: it is damaged, protected by a password, or not a zip archive."
        yield AddResult(Path(upload.name), None, problem=problem)


def unpacked(file: Path, folder: Path) -> Path:
    """Unpack a zip archive of annotations.

    Args:
        file: the archive.
        folder: an empty folder.

    Returns:
        The folder, or the only one in it, or its only file.

    Raises:
        MaskwrightError: the archive is damaged, or not what annotations are.
    """
    home = folder / (file.stem or "annotations")
    home.mkdir()
    try:
        with zipfile.ZipFile(file) as archive:
            for entry in _checked(archive, file):
                problem = "" if entry.is_dir() else _refusal(entry)
                if problem:
                    raise MaskwrightError(f"{file.name}: {entry.filename} {problem}")
                if not entry.is_dir():
                    target = home / entry.filename.replace("\\", "/")
                    target.parent.mkdir(parents=True, exist_ok=True)
                    _extract(archive, entry, target)
    except (zipfile.BadZipFile, EOFError, RuntimeError, NotImplementedError, ValueError, OSError) as error:
        raise MaskwrightError(
            f"Cannot read {file.name}: it is damaged, protected by a password, or not a zip archive."
        ) from error
    inside = [entry for entry in home.iterdir() if entry.name != "__MACOSX" and not entry.name.startswith(".")]
    return inside[0] if len(inside) == 1 else home


def _checked(archive: zipfile.ZipFile, file: Path) -> list[zipfile.ZipInfo]:
    """The entries of an archive; raises ValueError for a number or size that no dataset has."""
    entries = archive.infolist()
    total = sum(entry.file_size for entry in entries)
    if len(entries) > _MOST_ENTRIES or total > _MOST_ARCHIVE_BYTES or total > _RATIO * file.stat().st_size:
        raise ValueError
    return entries


def _entries(archive: zipfile.ZipFile, upload: Upload) -> list[zipfile.ZipInfo]:
    """The image files of an archive; raises ValueError for what no set of photographs is."""
    return [
        entry
        for entry in _checked(archive, upload.file)
        if not entry.is_dir()
        and is_named_as_image(entry.filename)
        and not any(part == "__MACOSX" or part.startswith("._") for part in PurePosixPath(entry.filename).parts)
    ]


def _refusal(entry: zipfile.ZipInfo) -> str:
    """Why an entry is not extracted; empty when it is."""
    path = PurePosixPath(entry.filename.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
        return "points outside the archive and was skipped."
    if stat.S_ISLNK(entry.external_attr >> 16):
        return "is a link and was skipped."
    if entry.file_size > _MOST_ENTRY_BYTES:
        return f"is larger than {_MOST_ENTRY_BYTES >> 20} MB and was skipped."
    return ""


def _extract(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path) -> None:
    """Write an entry, at most as many bytes as it says it has; raises ValueError when there are more."""
    with archive.open(entry) as source, target.open("wb") as file:
        left = entry.file_size
        while piece := source.read(_PIECE):
            left -= len(piece)
            if left < 0:
                raise ValueError
            file.write(piece)
