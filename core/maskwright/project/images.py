"""The images of a project: add, open, list, relink; each is identified by the SHA-256 of its file's bytes."""

from __future__ import annotations

import getpass
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from maskwright.domain import Image, ImageRecord, PlaneRecord
from maskwright.errors import BadProject, MaskwrightError, ProjectUnwritable
from maskwright.files.names import plain_text
from maskwright.imaging.reading import file_kind
from maskwright.progress import NO_PROGRESS, Progress
from maskwright.project.addresses import images_at, name_of
from maskwright.project.image_folder import ImageFolder, sha256_if_readable
from maskwright.store import ImageSummary, NewImage, Store

__all__ = ["AddResult", "ImageCollection", "RelinkResult", "user_name"]

_NOT_SCANNED = ("exports", "checkpoints", "backups", "versions", "embeddings")


@dataclass(frozen=True, slots=True)
class AddResult:
    """The result of adding one file."""

    path: Path | str
    """The file, or its address."""
    record: ImageRecord | None
    new: bool = False
    """Whether its content is new to the project."""
    problem: str = ""
    """Why there is no record."""
    notice: str = ""
    """A message for the user although the file was added."""
    pages: int = 1
    """Pages of the file, of which only the first was added."""


@dataclass(frozen=True, slots=True)
class RelinkResult:
    """The result of a search for missing image files; names are relative to the project."""

    by_content: tuple[str, ...]
    """Files that are back with the same bytes."""
    by_path: tuple[str, ...]
    """Files replaced by one with the same path and size, but other bytes."""
    missing: tuple[str, ...]


class ImageCollection:
    """The images of one project: the files in its `images/` folder and their records."""

    def __init__(self, folder: Path, store: Store) -> None:
        """Take the project's folder and store."""
        self.folder = folder
        self.files = ImageFolder(folder / "images")
        self._store = store

    def add(self, path: str | Path, *, copy: bool = True, all_pages: bool = False) -> list[AddResult]:
        """Add an image file, or every image in a folder and its subfolders, in the order of their names.

        Args:
            path: file or folder.
            copy: copy files into the project's `images/`; otherwise only link to them.
            all_pages: add every page of a file with several as an image of its own, saved as PNG; otherwise the first.

        Returns:
            One result for each file or page; a file that cannot be read does not stop the others. Files of a folder
            that are images, but of a kind that is not read, are among them.

        Raises:
            ProjectUnwritable: the project cannot be written; files added so far stay.
        """
        path = Path(path).expanduser().absolute()
        if not path.is_dir():
            return self._add_file(path, copy=copy, all_pages=all_pages)
        files = self._scan(path, ("image", "unsupported"))
        return [result for file in files for result in self._add_file(file, copy=copy, all_pages=all_pages)]

    def add_address(self, address: str, *, copy: bool = False, all_pages: bool = False) -> Iterator[AddResult]:
        """Add an image, or every image below an address that fsspec reads, such as s3://bucket/photos.

        Only for addresses that the user of this computer names: it connects to them. One that the project has is not
        read again, so that a call that was stopped goes on with the next; reading the image compares its content.

        Args:
            address: of a file, a folder, or one in an archive (zip://photos::https://host/photos.zip).
            copy: copy files into the project's `images/`; otherwise they are read where they are, through a cache.
            all_pages: as in `add`; pages are saved in the project.

        Yields:
            One result for each file or page; one that cannot be read does not stop the others.

        Raises:
            MaskwrightError: the address cannot be read.
            ProjectUnwritable: the project cannot be written; files added so far stay.
        """
        for one in images_at(address):
            try:
                yield from self._add_remote(one, copy=copy, all_pages=all_pages)
            except (BadProject, ProjectUnwritable):
                raise
            except MaskwrightError as error:
                yield AddResult(one, None, problem=plain_text(str(error)))

    def passed_over(self, folder: str | Path) -> list[Path]:
        """The files of a folder and its subfolders that are no images, hidden ones excepted."""
        return self._scan(Path(folder).expanduser().absolute(), ("other",))

    def register(self, image: Image) -> ImageRecord:
        """The record of an image, which is added when its content is new.

        Args:
            image: the file that it was read from is copied; without a file its pixels are saved as PNG.

        Returns:
            Its record.

        Raises:
            ProjectUnwritable: the project cannot be written.
        """
        known = self._store.images.by_sha256(image.sha256)
        if known is None:
            return self._store_image(image, copy=True)
        if image.plane is None or known.plane is not None:
            return known
        # it was added before, without the stack that it belongs to
        new = NewImage(image.sha256, known.file_name, known.width, known.height, plane=image.plane)
        return self._store.images.add(new)

    def open(self, image_id: int) -> Image:
        """Read an image of the project.

        Args:
            image_id: of its record.

        Returns:
            The upright (H, W, 3) uint8 pixels, with the SHA-256 under which the image was added.

        Raises:
            MaskwrightError: no such image, or its file is missing, changed or unreadable.
        """
        return self.files.open(self._store.images.get(image_id))

    def file_of(self, record: ImageRecord) -> Path:
        """The file of an image; raises MaskwrightError when it is missing."""
        return self.files.file_of(record)

    def path_of(self, record: ImageRecord) -> Path:
        """Where the file of an image is, or is missing; also of a frozen version's. Raises MaskwrightError."""
        now = None if record.address else self._store.images.by_sha256(record.sha256)
        return self.files.path_of(now if now and now.address else record)

    def all(self, *, excluded: bool = True) -> list[ImageRecord]:
        """All records in id order; without `excluded`, those that take part in batches, training and exports."""
        return self._store.images.all(excluded=excluded)

    def page(self, after_id: int = 0, limit: int | None = 100) -> list[ImageSummary]:
        """At most `limit` records with their numbers of masks, in id order, after the id `after_id`."""
        return self._store.images.page(after_id, limit)

    def missing(self) -> list[ImageRecord]:
        """Records whose file does not exist; those with an address are not looked at."""
        return [one for one in self.all() if not one.address and not (self.folder / one.file_name).is_file()]

    def relink(self, folder: str | Path, *, progress: Progress = NO_PROGRESS) -> RelinkResult:
        """Search a folder and its subfolders for missing image files, and copy them back.

        A file is identified by its bytes; otherwise a file with the path and size of a missing one replaces it.

        Args:
            folder: to search.
            progress: reports files.

        Returns:
            Which files are back, replaced or still missing.

        Raises:
            ProjectUnwritable: the project cannot be written; files restored so far stay.
        """
        missing, home = self.missing(), Path(folder).expanduser().absolute()
        files = self._scan(home, ("image",)) if missing else []
        by_sha256: dict[str, Path] = {}
        for done, file in enumerate(files):
            progress.report(done, len(files))
            by_sha256.setdefault(sha256_if_readable(file), file)
            # a PNG written by `register` is named by the SHA-256 of its pixels
            by_sha256.setdefault(file.stem, file)
        progress.report(len(files), len(files))
        by_content, by_path, still_missing = [], [], []
        for record in missing:
            if self._restore(record, by_sha256.get(record.sha256)):
                by_content.append(record.file_name)
            elif self._replace(record, home):
                by_path.append(record.file_name)
            else:
                still_missing.append(record.file_name)
        return RelinkResult(tuple(by_content), tuple(by_path), tuple(still_missing))

    def replace(self, image_id: int, file: str | Path) -> ImageRecord:
        """Give an image of the project another file of the same size, such as a better version; its masks stay.

        The old file stays in the folder: frozen versions refer to it.

        Raises:
            MaskwrightError: the file cannot be read, has another size, or is an image of the project already.
            ProjectUnwritable: the project cannot be written.
        """
        record, image = self._store.images.get(image_id), Image.open(Path(file).expanduser().absolute())
        known = self._store.images.by_sha256(image.sha256)
        if known:
            raise MaskwrightError(f"{image.name} is image {known.id} of the project already.", "Choose another file.")
        if image.size_hw != (record.height, record.width):
            raise MaskwrightError(
                f"{image.name} has {image.size_hw[1]} x {image.size_hw[0]} pixels, {record.file_name} "
                f"{record.width} x {record.height}: its masks would not fit.",
                "Choose a file of the same size, or add it as another image.",
            )
        copy = self.files.place(image.path, image, copy=True)
        name = copy.relative_to(self.folder).as_posix()
        return self._store.images.relocate(
            image_id, user_name(), file_name=name, sha256=image.sha256, orientation=image.orientation, address=""
        )

    def _restore(self, record: ImageRecord, file: Path | None) -> bool:
        """Copy a missing file back if its content is the record's."""
        if file is None:
            return False
        sha256 = sha256_if_readable(file)
        if sha256 != record.sha256 and Image(Image.open(file).pixels).sha256 != record.sha256:
            return False
        self.files.restore(file, self.folder / record.file_name, sha256)
        return True

    def _replace(self, record: ImageRecord, home: Path) -> bool:
        """Replace a missing file by one with its path and size, if there is one."""
        name = Path(record.file_name)
        for file in (home / name, home.joinpath(*name.parts[1:])):
            try:
                image = Image.open(file)
            except MaskwrightError:
                continue
            if Image(image.pixels).sha256 == record.sha256:
                self.files.restore(file, self.folder / record.file_name, image.sha256)
                return True
            if image.size_hw == (record.height, record.width) and not self._store.images.by_sha256(image.sha256):
                self.files.restore(file, self.folder / record.file_name, image.sha256)
                self._store.images.relocate(record.id, user_name(), sha256=image.sha256)
                return True
        return False

    def _scan(self, folder: Path, kinds: tuple[str, ...]) -> list[Path]:
        excluded = [self.folder / name for name in _NOT_SCANNED]
        files = (file for file in folder.rglob("*") if not file.name.startswith(".") and file.is_file())
        found = (file for file in files if file_kind(file) in kinds)
        return sorted(file for file in found if not any(file.is_relative_to(path) for path in excluded))

    def _add_file(self, file: Path, *, copy: bool, all_pages: bool) -> list[AddResult]:
        try:
            if not all_pages:
                return [self._register_file(file, copy=copy)]
            first = Image.open(file)
            if first.pages == 1:
                return [self._register_file(file, copy=copy)]
            pages = [first, *(Image.open(file, page=page) for page in range(1, first.pages))]
        except (BadProject, ProjectUnwritable):
            raise
        except MaskwrightError as error:
            return [AddResult(file, None, problem=plain_text(str(error)))]
        return [self._register_page(file, page, number) for number, page in enumerate(pages)]

    def _add_remote(self, address: str, *, copy: bool, all_pages: bool) -> Iterator[AddResult]:
        known = self._store.images.by_address(address)
        if known is not None:
            yield AddResult(address, known)
            return
        name = name_of(address)
        file, sha256 = self.files.cache.fetch(address, name)
        image = Image.from_bytes(file.read_bytes(), Path(name).name)
        if all_pages and image.pages > 1:
            for number in range(image.pages):
                page = Image.open(file, page=number)
                yield replace(self._register_page(Path(name), page, number), path=address)
            return
        known = self._store.images.by_sha256(sha256)
        if copy:
            name = self.files.take(file, f"images/{Path(name).name}", sha256)[0].relative_to(self.folder).as_posix()
        height, width = image.size_hw
        new = NewImage(
            sha256, name, width, height, image.orientation, image.captured, address, user_name(),
            address="" if copy else address,
        )  # fmt: skip
        yield AddResult(
            address,
            self._store.images.add(new),
            known is None,
            notice="" if known else image.pages_notice,
            pages=image.pages,
        )

    def _register_page(self, file: Path, page: Image, number: int) -> AddResult:
        plane = PlaneRecord(file.stem, plain_text(file.name), ("page",), (number,))
        image = Image(page.pixels, plane.name, plane=plane)
        known = self._store.images.by_sha256(image.sha256)
        return AddResult(file, known or self._store_image(image, copy=True), new=known is None)

    def _register_file(self, file: Path, *, copy: bool) -> AddResult:
        sha256, alias = sha256_if_readable(file), self._alias(file)
        known = self._store.images.by_sha256(sha256) if sha256 else None
        if known is None:
            image = Image.open(file)
            record = self._store_image(image, copy=copy)
            notices = (self._changed_notice(alias, record), image.pages_notice)
            return AddResult(file, record, new=True, notice=" ".join(filter(None, notices)), pages=image.pages)
        notice = ""
        if not known.address and not (self.folder / known.file_name).exists():
            self.files.restore(file, self.folder / known.file_name, known.sha256)
            notice = f"{plain_text(file.name)} is the missing file of image {known.id}, which has it again."
        # only the alias is new
        new = NewImage(sha256, known.file_name, known.width, known.height, alias=alias)
        return AddResult(file, self._store.images.add(new), notice=notice)

    def _changed_notice(self, alias: str, record: ImageRecord) -> str:
        """The notice for a file that was added before with other content."""
        former = [image for image in self._store.images.by_alias(alias) if image.id < record.id]
        masks = sum(len(self._store.masks.find(image.id)) for image in former)
        name = Path(alias).name
        return f"{name} has changed since it was added; {masks} masks belong to the old image." if former else ""

    def _store_image(self, image: Image, *, copy: bool) -> ImageRecord:
        """Write the file, then the row: a row never refers to a missing file."""
        source = image.path.absolute() if image.path and sha256_if_readable(image.path) == image.sha256 else None
        file = self.files.place(source, image, copy=copy)
        name, stored_name = file.relative_to(self.folder).as_posix(), ""
        height, width = image.size_hw
        # a PNG of pixels is upright
        orientation, alias = (image.orientation, self._alias(source)) if source else (1, "")
        try:
            new = NewImage(
                image.sha256, name, width, height, orientation, image.captured, alias, user_name(), plane=image.plane
            )  # fmt: skip
            record = self._store.images.add(new)
            stored_name = record.file_name
        finally:
            # no row, or another process was faster; a file of the user, or one that another process may use, stays
            if source != file and stored_name != name and file.stem != image.sha256:
                file.unlink(missing_ok=True)
        return record

    def _alias(self, file: Path) -> str:
        """The path relative to the project, so that both can be moved together."""
        try:
            return plain_text(Path(os.path.relpath(file, self.folder)).as_posix())
        except ValueError:
            # another drive on Windows
            return file.name


def user_name() -> str:
    """The name of the current user; "unknown" where there is none, as in a container."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return "unknown"
