"""The pictures of a project: added, found again, read; known by the SHA-256 of their bytes."""

from __future__ import annotations

import getpass
import os
from dataclasses import dataclass, replace
from pathlib import Path

from maskwright.domain import Image, ImageRecord
from maskwright.errors import BadProject, MaskwrightError, ProjectUnwritable
from maskwright.files.names import plain_text
from maskwright.imaging.reading import is_image_file
from maskwright.progress import NO_PROGRESS, Progress
from maskwright.project.image_folder import PictureFolder, sha256_of_file
from maskwright.store import ImageSummary, NewImage, Store

__all__ = ["Added", "ProjectImages", "Relinked", "user_name"]

_NOT_SCANNED = ("exports", "checkpoints", "backups")


@dataclass(frozen=True, slots=True)
class Added:
    """What became of one file that was to be added."""

    path: Path
    record: ImageRecord | None
    new: bool = False
    """Whether the project did not know this content before."""
    problem: str = ""
    """Why there is no record, in one sentence."""
    notice: str = ""
    """Something to tell the person although all went well."""


@dataclass(frozen=True, slots=True)
class Relinked:
    """What became of missing pictures."""

    by_content: tuple[str, ...]
    """Files that are back, byte for byte."""
    by_path: tuple[str, ...]
    """Files whose path and size are those of a missing one, but whose bytes are not."""
    missing: tuple[str, ...]


class ProjectImages:
    """What a project does with pictures."""

    folder: Path
    store: Store
    _pictures: PictureFolder

    def add(self, path: str | Path, *, copy: bool = True) -> list[Added]:
        """Register a picture file, or every picture in a folder and its folders, in the order of their names.

        Args:
            path: file or folder.
            copy: keep a copy in the project's `images/`; otherwise only a link to where the file lies.

        Returns:
            One result for each file; a file that cannot be read does not stop the others.

        Raises:
            ProjectUnwritable: the project cannot be written; files added so far stay.
        """
        path = Path(path).expanduser().absolute()
        return [self._add_file(file, copy) for file in (self._scan(path) if path.is_dir() else [path])]

    def add_image(self, image: Image) -> ImageRecord:
        """The record of an image, which is added when its content is new.

        The file it was read from is copied; without one the pixels are saved as PNG, named by the image's SHA-256.
        """
        known = self.store.image_by_sha256(image.sha256)
        return known or self._keep(image, copy=True)

    def image(self, image_id: int) -> Image:
        """The pixels of an image, with the SHA-256 it was added under.

        Raises:
            MaskwrightError: no such image, or its file is missing, changed or unreadable.
        """
        record = self.store.image(image_id)
        file = self.folder / record.file_name
        if not file.is_file():
            raise MaskwrightError(
                f"The picture {record.file_name} is missing from {self.folder}. "
                "Put the file back, or add the picture again; its masks are kept."
            )
        image = Image.open(file)
        if image.sha256 != record.sha256 and file.stem == record.sha256:
            # a PNG that we made: the image is known by its pixels, not by the file's bytes
            image = replace(image, sha256=record.sha256)
        if image.sha256 != record.sha256 or image.size_hw != (record.height, record.width):
            raise MaskwrightError(
                f"The picture {record.file_name} was changed after it was added. "
                "Put the old file back, or add the new one under another name."
            )
        return image

    def images(self, after_id: int = 0, limit: int | None = None) -> list[ImageRecord]:
        """Images in id order, at most `limit` of those with a larger id than `after_id`."""
        return self.store.images(after_id, limit)

    def page(self, after_id: int = 0, limit: int | None = 100) -> list[ImageSummary]:
        """Images with the numbers of their masks, in id order; the next page begins after the last id."""
        return self.store.page(after_id, limit)

    def missing(self) -> list[ImageRecord]:
        """Images whose file is not where it was."""
        return [record for record in self.images() if not (self.folder / record.file_name).is_file()]

    def relink(self, folder: str | Path, *, progress: Progress = NO_PROGRESS) -> Relinked:
        """Look in a folder and its folders for missing pictures, and copy them back.

        A picture is known by its bytes; else, when path and size are those of a missing one, it takes that one's place.

        Raises:
            ProjectUnwritable: the project cannot be written; what was found so far stays.
        """
        lost, home = self.missing(), Path(folder).expanduser().absolute()
        files = self._scan(home) if lost else []
        contents: dict[str, Path] = {}
        for done, file in enumerate(files):
            progress.report(done, len(files))
            contents.setdefault(sha256_of_file(file), file)
            # a PNG that Maskwright made of an array is known by its pixels
            contents.setdefault(file.stem, file)
        progress.report(len(files), len(files))
        by_content, by_path, missing = [], [], []
        for record in lost:
            if self._restored(record, contents.get(record.sha256)):
                by_content.append(record.file_name)
            elif self._replaced(record, home):
                by_path.append(record.file_name)
            else:
                missing.append(record.file_name)
        return Relinked(tuple(by_content), tuple(by_path), tuple(missing))

    def _restored(self, record: ImageRecord, file: Path | None) -> bool:
        if file is None:
            return False
        digest = sha256_of_file(file)
        if digest != record.sha256 and Image(Image.open(file).pixels).sha256 != record.sha256:
            return False
        self._pictures.restore(file, self.folder / record.file_name, digest)
        return True

    def _replaced(self, record: ImageRecord, home: Path) -> bool:
        """Whether a file at the record's path has its size; it is then what the record means from now on."""
        inside = Path(record.file_name)
        for file in (home / inside, home.joinpath(*inside.parts[1:])):
            try:
                found = Image.open(file)
            except MaskwrightError:
                continue
            if found.size_hw == (record.height, record.width) and not self.store.image_by_sha256(found.sha256):
                self._pictures.restore(file, self.folder / record.file_name, found.sha256)
                self.store.relocate(record.id, user_name(), sha256=found.sha256)
                return True
        return False

    def _scan(self, folder: Path) -> list[Path]:
        ours = [self.folder / name for name in _NOT_SCANNED]
        found = (file for file in folder.rglob("*") if is_image_file(file))
        return sorted(file for file in found if not any(file.is_relative_to(one) for one in ours))

    def _add_file(self, file: Path, copy: bool) -> Added:
        try:
            return self._register(file, copy)
        except (BadProject, ProjectUnwritable):
            raise
        except MaskwrightError as error:
            return Added(file, None, problem=plain_text(str(error)))

    def _register(self, file: Path, copy: bool) -> Added:
        digest, alias = sha256_of_file(file), self._alias(file)
        known = self.store.image_by_sha256(digest) if digest else None
        if known is None:
            record = self._keep(Image.open(file), copy=copy)
            return Added(file, record, new=True, notice=self._former_content(alias, record))
        if not (self.folder / known.file_name).exists():
            self._pictures.restore(file, self.folder / known.file_name, known.sha256)
        # known content: only the alias is new
        return Added(
            file, self.store.add_image(NewImage(digest, known.file_name, known.width, known.height, alias=alias))
        )

    def _former_content(self, alias: str, record: ImageRecord) -> str:
        """The sentence for a file whose content is no longer what it was when it was added before."""
        former = [one for one in self.store.images_added_from(alias) if one.id < record.id]
        masks = sum(len(self.store.annotations(one.id)) for one in former)
        name = Path(alias).name
        return f"{name} has changed since it was added; {masks} masks belong to the old picture." if former else ""

    def _keep(self, image: Image, *, copy: bool) -> ImageRecord:
        """Put the image's file into `images/`, then its row into the database: a row never names a missing file."""
        source = image.path.absolute() if image.path and sha256_of_file(image.path) == image.sha256 else None
        file = self._pictures.place(source, image, copy)
        name, kept = file.relative_to(self.folder).as_posix(), ""
        height, width = image.size_hw
        # a PNG of ours is upright
        orientation, alias = (image.orientation, self._alias(source)) if source else (1, "")
        try:
            new = NewImage(image.sha256, name, width, height, orientation, image.captured, alias, user_name())
            record = self.store.add_image(new)
            kept = record.file_name
        finally:
            # no row, or another process was faster; what the user put there, and what another may use, stays
            if source not in (None, file) and kept != name:
                file.unlink(missing_ok=True)
        return record

    def _alias(self, file: Path) -> str:
        """The path relative to the project, so that both can move together."""
        try:
            return plain_text(Path(os.path.relpath(file, self.folder)).as_posix())
        except ValueError:
            # another drive on Windows
            return file.name


def user_name() -> str:
    """Who works here; there may be no name, as in a container."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return "unknown"
