"""A project's `images/`: pictures copied or linked in under names that nobody else gets."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from PIL import Image as Pillow

from maskwright.domain import Image
from maskwright.errors import MaskwrightError
from maskwright.files.atomic import replacing, sync_folder
from maskwright.files.hashing import sha256_of
from maskwright.files.names import numbered, plain_name, stem_key
from maskwright.store.db_errors import cannot_write

__all__ = ["PictureFolder", "sha256_of_file"]


class PictureFolder:
    """The folder, and the names that are taken in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._taken: set[str] = set()

    def place(self, source: Path | None, image: Image, copy: bool) -> Path:
        """The image's file in `images/`: where it lies there already, a copy of or link to it, or a new PNG."""
        if source and source.is_relative_to(self.folder) and plain_name(source.as_posix()) == source.as_posix():
            return source
        with _writing(self.folder / f"{image.sha256}.png") as png:
            if source is None:
                with replacing(png) as file:
                    Pillow.fromarray(image.pixels).save(file, "PNG")
                return png
            return self._take_over(source, image.sha256 if copy else None)

    def take(self, source: Path, wanted: str, sha256: str) -> tuple[Path, bool]:
        """A copy of a picture with these bytes at `wanted` (`images/...`); True unless that very file is there.

        Another picture of that name gives the copy a number.

        Raises:
            ProjectUnwritable: the folder cannot be written.
            MaskwrightError: the picture changed meanwhile.
        """
        with _writing(self.folder.parent / plain_name(wanted)) as target:
            if target.is_file() and sha256_of_file(target) == sha256:
                return target, False
            copy = self._reserve(target.relative_to(self.folder).as_posix(), exact=True)
            return self._copied(source, copy, sha256), True

    def forget(self, file: Path) -> None:
        """Remove a picture that nobody has come to know, and the folders that were made for it."""
        file.unlink(missing_ok=True)
        self._taken -= set(_keys(file.relative_to(self.folder)))
        with suppress(OSError):
            # ends at the first that is not empty
            for parent in file.relative_to(self.folder).parents[:-1]:
                (self.folder / parent).rmdir()

    def _take_over(self, source: Path, sha256: str | None) -> Path:
        """A copy of (with its expected SHA-256) or a link to a picture, under a name that nobody else gets."""
        target = self._reserve(plain_name(source.name))
        if sha256:
            return self._copied(source, target, sha256)
        try:
            _link(source, target)
        except BaseException:
            self.forget(target)
            raise
        return target

    def _copied(self, source: Path, target: Path, sha256: str) -> Path:
        try:
            _copy(source, target, sha256)
        except BaseException:
            self.forget(target)
            raise
        return target

    def _reserve(self, name: str, *, exact: bool = False) -> Path:
        """An empty file under the given name, or one with a number when its stem is taken.

        Readers of COCO files know an image by its path without suffix, and some disks do not tell capitals apart.
        `exact` takes the name as it is, although another suffix may have its stem.
        """
        if not self._taken:
            there = (file.relative_to(self.folder) for file in self.folder.rglob("*"))
            self._taken = {key for file in there for key in _keys(file)}
        for number, one in enumerate(numbered(Path(name).name)):
            inside = Path(name).with_name(one)
            stem, whole = _keys(inside)
            if (whole if exact and not number else stem) in self._taken:
                continue
            self._taken |= {stem, whole}
            file = self.folder / inside
            file.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileExistsError):
                file.touch(exist_ok=False)
                return file
        raise AssertionError("there is always a next number")

    def restore(self, source: Path, missing: Path, sha256: str) -> None:
        """Copy a picture back to where its file was lost; raises ProjectUnwritable."""
        with _writing(missing):
            _copy(source, missing, sha256)


def _keys(file: Path) -> tuple[str, str]:
    """A relative path without its suffix and, unlike any such, with it."""
    stem = stem_key(file)
    return stem, f"{stem}/{file.suffix.casefold()}"


@contextmanager
def _writing(file: Path) -> Iterator[Path]:
    """The file, in a folder that is there; what the system refuses becomes one sentence."""
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
            raise MaskwrightError(f"{source.name} changed while it was being copied. Add it again.")


def _link(source: Path, target: Path) -> None:
    temporary = target.with_name(f".{secrets.token_hex(8)}.tmp")
    temporary.symlink_to(source)
    temporary.replace(target)
    sync_folder(target.parent)


def sha256_of_file(file: Path) -> str:
    """Of a file's bytes; empty when it cannot be read, which opening it then explains."""
    try:
        return sha256_of(file)
    except OSError:
        return ""
