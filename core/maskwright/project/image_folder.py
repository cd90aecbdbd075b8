"""The `images/` folder of a project: files are copied or linked into it under unique names."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

from PIL import Image as Pillow

from maskwright.domain import Image, ImageRecord
from maskwright.errors import MaskwrightError
from maskwright.files.atomic import replacing, sync_folder
from maskwright.files.hashing import sha256_of
from maskwright.files.names import file_stem, numbered, plain_name, stem_key
from maskwright.project.addresses import AddressCache
from maskwright.settings import Settings
from maskwright.store.db_errors import cannot_write

__all__ = ["ImageFolder", "sha256_if_readable"]

_LARGE = 1 << 24
"""Values in an image from which on it is written fast."""


class ImageFolder:
    """The folder and the names that are in use in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._used: set[str] = set()

    @cached_property
    def cache(self) -> AddressCache:
        """Files of images that stay at an address."""
        settings = Settings.load()
        return AddressCache(settings.cache / "images", settings.remote_images_mb << 20)

    def open(self, record: ImageRecord) -> Image:
        """Read an image; see `ImageCollection.open`."""
        file = self.file_of(record)
        image = Image.open(file)
        if record.address:
            image = replace(image, name=Path(record.file_name).name)
        if image.sha256 != record.sha256 and record.sha256 in (file.stem, Image(image.pixels).sha256):
            # a PNG written by `register`: its record has the SHA-256 of the pixels, not of the file
            image = replace(image, sha256=record.sha256)
        if image.sha256 != record.sha256 or image.size_hw != (record.height, record.width):
            raise MaskwrightError(
                f"The image file {record.file_name} was changed after it was added.",
                "Put the old file back, or add the new one under another name.",
            )
        return image if record.plane is None else replace(image, plane=record.plane)

    def path_of(self, record: ImageRecord) -> Path:
        """Where the file of an image is, or is missing; that of an address is read into the cache.

        Raises:
            MaskwrightError: the address cannot be read, or has another content now.
        """
        if record.address:
            return self.cache.file(record.address, record.sha256, record.file_name)
        return self.folder.parent / record.file_name

    def file_of(self, record: ImageRecord) -> Path:
        """The file of an image; raises MaskwrightError when it is missing."""
        file = self.path_of(record)
        if not file.is_file():
            raise MaskwrightError(
                f"The image file {record.file_name} is missing from {self.folder.parent}.",
                "Put the file back, or add the image again; its masks are kept.",
            )
        return file

    def place(self, source: Path | None, image: Image, *, copy: bool) -> Path:
        """The image's file in the folder.

        Args:
            source: the file that the image was read from, which stays where it is when it is in the folder already;
                None writes a PNG of the pixels, under the name of an array that has one, such as a napari layer's,
                else named by the image's SHA-256.
            image: with its pixels.
            copy: copy the source; otherwise link to it.

        Raises:
            ProjectUnwritable: the folder cannot be written.
            MaskwrightError: the source changed meanwhile.
        """
        if source and source.is_relative_to(self.folder):
            inside = source.relative_to(self.folder).as_posix()
            if plain_name(inside) == inside:
                return source
        with _writing(self.folder / f"{image.sha256}.png") as png:
            if source is None:
                if image.name and Image(image.pixels).sha256 == image.sha256:
                    png = self._reserve(f"{file_stem(image.name)}.png")
                with replacing(png) as file:
                    _save_png(image, file)
                return png
            target = self._reserve(plain_name(source.name))
            return self._fill(target, source, image.sha256 if copy else None)

    def take(self, source: Path, name: str, sha256: str) -> tuple[Path, bool]:
        """Copy a file to `name` (`images/...`), numbered when another file has that name.

        Args:
            source: the file.
            name: relative to the project.
            sha256: of the source's bytes.

        Returns:
            The copy, and True; or the file at `name` with the same content, and False.

        Raises:
            ProjectUnwritable: the folder cannot be written.
            MaskwrightError: the source changed meanwhile.
        """
        with _writing(self.folder.parent / plain_name(name)) as target:
            if target.is_file() and sha256_if_readable(target) == sha256:
                return target, False
            copy = self._reserve(target.relative_to(self.folder).as_posix(), exact=True)
            return self._fill(copy, source, sha256), True

    def restore(self, source: Path, missing: Path, sha256: str) -> None:
        """Copy a file back to where it is missing; raises ProjectUnwritable."""
        with _writing(missing):
            _copy(source, missing, sha256)

    def remove(self, file: Path) -> None:
        """Remove a file that no row refers to, and the empty folders around it."""
        file.unlink(missing_ok=True)
        self._used -= set(_keys(file.relative_to(self.folder)))
        with suppress(OSError):
            # ends at the first that is not empty
            for parent in file.relative_to(self.folder).parents[:-1]:
                (self.folder / parent).rmdir()

    def _fill(self, target: Path, source: Path, sha256: str | None) -> Path:
        """Make a reserved file a copy of `source` with this SHA-256, or without one a link to it."""
        try:
            if sha256:
                _copy(source, target, sha256)
            else:
                _link(source, target)
        except BaseException:
            self.remove(target)
            raise
        return target

    def _reserve(self, name: str, *, exact: bool = False) -> Path:
        """An empty file under the given name, or a numbered one when its stem is in use.

        Readers of COCO files know an image by its path without suffix, and some disks ignore case. `exact` takes the
        name as it is, although a file with another suffix may have its stem.
        """
        if not self._used:
            existing = (file.relative_to(self.folder) for file in self.folder.rglob("*"))
            self._used = {key for file in existing for key in _keys(file)}
        for number, candidate in enumerate(numbered(Path(name).name)):
            path = Path(name).with_name(candidate)
            stem, full = _keys(path)
            if (full if exact and not number else stem) in self._used:
                continue
            self._used |= {stem, full}
            file = self.folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileExistsError):
                file.touch(exist_ok=False)
                return file
        raise AssertionError("numbered names do not end")


def _save_png(image: Image, file: BinaryIO) -> None:
    """Write the pixels; a large image with less compression, which takes a fifth of the time."""
    # three channels in the memory of one are one channel in the file
    pixels = image.pixels if image.pixels.strides[2] else image.pixels[..., 0]
    Pillow.fromarray(pixels).save(file, "PNG", compress_level=6 if pixels.size < _LARGE else 1)


def _keys(file: Path) -> tuple[str, str]:
    """A relative path without its suffix and, in a form that no stem has, with it."""
    stem = stem_key(file)
    return stem, f"{stem}/{file.suffix.casefold()}"


@contextmanager
def _writing(file: Path) -> Iterator[Path]:
    """The file, whose folder is made; an OSError becomes ProjectUnwritable."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        yield file
    except OSError as error:
        raise cannot_write(file.parent, error) from error


def _copy(source: Path, target: Path, sha256: str) -> None:
    digest = hashlib.sha256()
    with source.open("rb") as reader, replacing(target) as writer:
        while block := reader.read(1 << 20):
            digest.update(block)
            writer.write(block)
        if digest.hexdigest() != sha256:
            raise MaskwrightError(f"{source.name} changed while it was being copied.", "Add it again.")


def _link(source: Path, target: Path) -> None:
    temporary = target.with_name(f".{secrets.token_hex(8)}.tmp")
    temporary.symlink_to(source)
    temporary.replace(target)
    sync_folder(target.parent)


def sha256_if_readable(file: Path) -> str:
    """The SHA-256 of a file's bytes; empty when it cannot be read, for which opening it has the error."""
    try:
        return sha256_of(file)
    except OSError:
        return ""
