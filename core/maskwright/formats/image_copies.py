"""Copies of images for an export: upright, so that readers which apply EXIF and readers which ignore it agree."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image as Pillow
from PIL import ImageOps

from maskwright.domain import ImageRecord
from maskwright.errors import MaskwrightError
from maskwright.files.atomic import replacing
from maskwright.files.hashing import sha256_of
from maskwright.files.names import DistinctNames, plain_name
from maskwright.progress import NO_PROGRESS, Progress

__all__ = ["ImageCopies"]

_ORIENTATION = 0x0112
_LEAST_LOSS: dict[str, dict[str, Any]] = {"JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"lossless": True}}
"""Options by format; the other formats are lossless."""


class ImageCopies:
    """Copies a project's images into a folder, under names that differ without their suffixes, too (rule X-5)."""

    def __init__(
        self,
        project: Path,
        folder: Path,
        *,
        name_of: Callable[[ImageRecord], str] = lambda record: record.file_name,
        path_of: Callable[[ImageRecord], Path] | None = None,
        total: int = 0,
        progress: Progress = NO_PROGRESS,
    ) -> None:
        """Take the project's folder and the target folder.

        Args:
            project: folder of the project.
            folder: to copy into.
            name_of: the path of an image's copy in the folder.
            path_of: the file of an image, which may be missing; by default that of its name in the project's folder.
            total: how many images the project has, for `progress`.
            progress: reports images.

        Raises:
            MaskwrightError: the copies would overwrite the project's own images.
        """
        if (folder / "images").resolve() == (project / "images").resolve():
            raise MaskwrightError(
                f"{folder} holds the project's own images.", "Choose another folder for an export with images."
            )
        self._folder, self._name_of = folder, name_of
        self._path_of = path_of or (lambda record: project / record.file_name)
        self._names = DistinctNames()
        self.total, self._done, self._progress = total, 0, progress
        self.missing: list[str] = []
        """Names of images whose file does not exist."""

    def copy(self, record: ImageRecord) -> ImageRecord:
        """Copy one image and return the record of the copy, which only has another name where the file is missing.

        Raises:
            MaskwrightError: the copy cannot be written.
        """
        self._progress.report(self._done, self.total)
        self._done += 1
        source = self._source(record)
        name = self._names.free(plain_name(self._name_of(record)))
        if source is None:
            self.missing.append(record.file_name)
            return replace(record, file_name=name)
        target = self._folder / name
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            if record.orientation == 1:
                with source.open("rb") as reader, replacing(target) as writer:
                    shutil.copyfileobj(reader, writer)
                return replace(record, file_name=name)
            _write_upright(source, target)
            sha256 = sha256_of(target)
        except OSError as error:
            raise MaskwrightError(
                f"Cannot copy {record.file_name} to {self._folder}: {error.strerror or error}.", "Choose another place."
            ) from error
        except (ValueError, SyntaxError, Pillow.DecompressionBombError) as error:
            raise MaskwrightError(
                f"Cannot turn {record.file_name} upright: {error}.", "Export without the images."
            ) from error
        return replace(record, file_name=name, orientation=1, sha256=sha256)

    def _source(self, record: ImageRecord) -> Path | None:
        """The file of an image; None where it is missing, or the address that it is read from does not answer."""
        try:
            path = self._path_of(record)
        except MaskwrightError:
            return None
        return path if path.is_file() else None

    def report_end(self) -> None:
        """Report that all images are done."""
        self._progress.report(self.total, self.total)


def _write_upright(source: Path, target: Path) -> None:
    with Pillow.open(source) as opened:
        # MPO: phones store further images behind a JPEG
        kind, icc = "JPEG" if opened.format == "MPO" else opened.format or "PNG", opened.info.get("icc_profile")
        upright = ImageOps.exif_transpose(opened)
    exif = upright.getexif()
    exif.pop(_ORIENTATION, None)
    profile = {"icc_profile": icc} if icc else {}
    with replacing(target) as writer:
        upright.save(writer, kind, exif=exif.tobytes(), **profile, **_LEAST_LOSS.get(kind, {}))
