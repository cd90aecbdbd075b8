"""Pictures that go with an export: upright, so that readers which apply EXIF and readers which ignore it agree."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image as Pillow
from PIL import ImageOps

from maskwright.domain import ImageRecord
from maskwright.errors import MaskwrightError
from maskwright.files.atomic import replacing
from maskwright.files.hashing import sha256_of
from maskwright.files.names import DistinctNames

__all__ = ["Copies"]

_ORIENTATION = 0x0112
_FINEST: dict[str, dict[str, Any]] = {"JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"lossless": True}}
"""The least loss that JPEG allows; other kinds lose nothing."""


class Copies:
    """Copies of a project's pictures in a folder, none of which share a path without its ending (rule X-5)."""

    def __init__(self, project: Path, folder: Path) -> None:
        """Take the folder of the project and the one to fill.

        Raises:
            MaskwrightError: the copies would fall on the project's own pictures.
        """
        if (folder / "images").resolve() == (project / "images").resolve():
            raise MaskwrightError(
                f"{folder} holds the project's own pictures. Choose another folder for an export with pictures."
            )
        self._project, self._folder = project, folder
        self._names = DistinctNames()
        self.missing: list[str] = []
        """Names of pictures whose file is not there."""

    def deliver(self, record: ImageRecord) -> ImageRecord:
        """Copy one picture; gives the record of the copy, or the same where the file is missing.

        Raises:
            MaskwrightError: the copy cannot be written.
        """
        source = self._project / record.file_name
        name = self._names.free(record.file_name)
        if not source.is_file():
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
            digest = sha256_of(target)
        except OSError as error:
            raise MaskwrightError(
                f"Cannot copy {record.file_name} to {self._folder}: {error.strerror or error}. Choose another place."
            ) from error
        except (ValueError, SyntaxError, Pillow.DecompressionBombError) as error:
            raise MaskwrightError(
                f"Cannot turn {record.file_name} upright: {error}. Leave the pictures out."
            ) from error
        return replace(record, file_name=name, orientation=1, sha256=digest)


def _write_upright(source: Path, target: Path) -> None:
    with Pillow.open(source) as opened:
        # telephones put further pictures behind a JPEG
        kind, icc = "JPEG" if opened.format == "MPO" else opened.format or "PNG", opened.info.get("icc_profile")
        upright = ImageOps.exif_transpose(opened)
    exif = upright.getexif()
    exif.pop(_ORIENTATION, None)
    profile = {"icc_profile": icc} if icc else {}
    with replacing(target) as writer:
        upright.save(writer, kind, exif=exif.tobytes(), **profile, **_FINEST.get(kind, {}))
