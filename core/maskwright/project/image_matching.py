"""Matching of the images of a file of annotations with the project's images and with files near that file."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from maskwright.domain import Image, ImageRecord
from maskwright.errors import MaskwrightError
from maskwright.files.names import free_name, plain_name
from maskwright.formats.source import Source, SourceImage
from maskwright.imaging.reading import is_image_file
from maskwright.project.image_folder import sha256_if_readable
from maskwright.settings import Settings
from maskwright.store import NewImage, Store
from maskwright.store.values import LARGEST_ID

__all__ = ["NO_FILE", "ImageMatcher", "Match", "Unmatched"]

NO_FILE = "without a picture"
"""The method of a match that knows only the SHA-256 of the image."""
_OTHER_BYTES = "the image file there is not the one that the masks were made on (SHA-256 differs); check that they fit"
_OUTSIDE = "it is not in the folder named with --images; {} was taken"


@dataclass(frozen=True, slots=True)
class Match:
    """The project's image for an image of a file."""

    method: str
    """"SHA-256", "known masks", "content", "file", "path", "name", or NO_FILE."""
    size_hw: tuple[int, int]
    """(height, width) of the upright image."""
    orientation: int
    known: int | None = None
    """Its id, if it is in the project."""
    new: NewImage | None = None
    """The image to add, if not."""
    source: Path | None = None
    """The file to copy."""
    source_sha256: str = ""
    """Of its bytes."""
    warnings: tuple[str, ...] = ()
    by_name: bool = False
    """Whether only the last part of the path was compared."""

    @property
    def key(self) -> str:
        """The same for two matches with the same image."""
        return self.new.sha256 if self.new else str(self.known)


@dataclass(frozen=True, slots=True)
class Unmatched:
    """An image that was not found."""

    ambiguous: bool = False
    """Several images may be meant."""
    reason: str = ""
    """Why the file that was found cannot be used."""


class ImageMatcher:
    """Matches the images of one file, each only with the image that it certainly means.

    A name alone decides only where no other image of the file, of the project or of the folder has it.
    """

    def __init__(self, store: Store, source: Source, folder: Path | None) -> None:
        """Take the project's store, the file, and a folder of images if the user named one."""
        self._store, self._folder = store, folder
        records = store.images.all()
        self._by_path = _unique((_nfc(record.file_name), record) for record in records)
        self._by_name = _unique((_last(record.file_name), record) for record in records)
        self._taken = {record.file_name for record in records}
        names = Counter(_last(image.name) for image in source.images)
        self._shared = {name for name, number in names.items() if number > 1}
        beside = source.file.parent
        # COCO has annotations/instances_train2017.json and train2017/, others have images/default/, FiftyOne has data/
        split = source.file.stem.rpartition("_")[2]
        self._homes = [
            *source.homes,
            *(beside / name for name in ("images", f"images/{split}", "", "data")),
            *(beside.parent / name for name in ("images", f"images/{split}", split, "")),
        ]
        self._search_folder = folder or (source.homes[0] if source.homes else beside / "images")
        self._files: dict[str, list[Path]] | None = None
        self._listed: dict[Path, dict[str, list[str]]] = {}

    def find(self, image: SourceImage) -> Match | Unmatched:
        """Match by SHA-256, by known masks, by the content of a file, by path, then by a unique name."""
        match = self._match(image)
        if isinstance(match, Match) and match.new:
            name = free_name(match.new.file_name, self._taken.__contains__)
            self._taken.add(name)
            return replace(match, new=replace(match.new, file_name=name))
        return match

    def _match(self, image: SourceImage) -> Match | Unmatched:
        known = self._store.images.by_sha256(image.sha256) if image.sha256 else None
        if known:
            return _of(known, "SHA-256")
        attributes = (row.get("attributes") for row in image.rows)
        uids = [str(row["uid"]) for row in attributes if isinstance(row, dict) and "uid" in row]
        uids = [uid for uid in uids if uid.isascii() and uid.isalnum()]
        known = self._store.imports.image_of_masks(uids) if uids else None
        if known and image.size_hw in (None, (known.height, known.width)):
            return _of(known, "known masks")
        match = self._at_path(image)
        if isinstance(match, Match) or match.ambiguous:
            return match
        in_project = self._in_project(image)
        if in_project:
            return in_project
        match = self._at_name(image, match.reason)
        return self._without_file(image, match.reason) or match if isinstance(match, Unmatched) else match

    # files

    def _at_path(self, image: SourceImage) -> Match | Unmatched:
        """The file at the image's whole relative path; ambiguous where two folders have different ones."""
        reason = ""
        for homes, outside in self._places():
            found: dict[str, Match] = {}
            for file in self._existing(image, homes):
                # the folder above the named one is for paths that begin with its name
                if self._folder and not outside and not file.is_relative_to(self._folder):
                    continue
                try:
                    match = self._opened(image, file)
                except MaskwrightError as error:
                    reason = reason or str(error)
                    continue
                if outside:
                    match = replace(match, warnings=(*match.warnings, _OUTSIDE.format(file)))
                found.setdefault(match.key, match)
            if len(found) > 1:
                found = _certain(image, found)
            if len(found) > 1:
                return Unmatched(ambiguous=True)
            if found:
                return next(iter(found.values()))
        return Unmatched(reason=reason)

    def _places(self) -> Iterator[tuple[list[Path], bool]]:
        """Folders to look in, and whether the user named another one."""
        if self._folder:
            yield [self._folder, self._folder / "images", self._folder.parent], False
        yield self._homes, self._folder is not None

    def _existing(self, image: SourceImage, homes: Iterable[Path]) -> Iterator[Path]:
        inside = image.inside
        if inside is None:
            return
        yield from dict.fromkeys(file for home in homes for file in self._resolve(home, inside))

    def _resolve(self, home: Path, inside: PurePosixPath) -> list[Path]:
        """The files at a path whose names may be written in another Unicode form."""
        if str(inside).isascii():
            return [home / inside] if _is_file(home / inside) else []
        files = [home]
        for part in inside.parts:
            files = [file / name for file in files for name in self._names_in(file).get(part, ())]
        return [file for file in files if _is_file(file)]

    def _names_in(self, folder: Path) -> dict[str, list[str]]:
        """Names in a folder by their NFC form; two of one form are two files on some disks."""
        if folder not in self._listed:
            names = self._listed[folder] = {}
            with suppress(OSError):
                for file in sorted(folder.iterdir()):
                    names.setdefault(_nfc(file.name), []).append(file.name)
        return self._listed[folder]

    def _of_name(self, name: str) -> list[Path]:
        if self._files is None:
            self._files = {}
            for file in sorted(file for file in self._search_folder.rglob("*") if is_image_file(file)):
                self._files.setdefault(_nfc(file.name), []).append(file)
        return self._files.get(name, [])

    def _opened(self, image: SourceImage, file: Path) -> Match:
        """A file as the image; raises MaskwrightError when it cannot be read."""
        sha256 = sha256_if_readable(file)
        known = self._store.images.by_sha256(sha256) if sha256 else None
        if known and image.sha256 in ("", sha256):
            return _of(known, "content")
        opened = Image.open(file)
        # a PNG that Maskwright wrote for an array is identified by its pixels
        pixels = Image(opened.pixels).sha256
        by_pixels = image.sha256 == pixels
        known = known or (self._store.images.by_sha256(pixels) if not image.sha256 else None)
        warnings: tuple[str, ...] = () if by_pixels or image.sha256 in ("", opened.sha256) else (_OTHER_BYTES,)
        if opened.pages > 1:
            warnings += (f"its file has {opened.pages} pages, such as planes of a stack; the first is used",)
        if known:
            return _of(known, "content", *warnings)
        new = _new(image, image.sha256 if by_pixels else opened.sha256, opened)
        return Match(
            "file",
            opened.size_hw,
            opened.orientation,
            new=new,
            source=file,
            source_sha256=opened.sha256,
            warnings=warnings,
        )

    # the project, and names alone

    def _in_project(self, image: SourceImage) -> Match | None:
        """The project's image at the same whole path."""
        inside = image.inside
        at_path = inside and (self._by_path.get(str(inside)) or self._by_path.get(_nfc(_inside_images(image))))
        if not at_path:
            return None
        if not image.sha256:
            return _of(at_path, "path", *self._outside())
        same_size = image.size_hw == (at_path.height, at_path.width)
        return _of(at_path, "path", _OTHER_BYTES) if same_size else None

    def _at_name(self, image: SourceImage, reason: str) -> Match | Unmatched:
        """The only file or image that has the last part of the path, which no other image of the file has."""
        name = _last(image.name)
        files, in_project = self._of_name(name), self._by_name.get(name)
        if image.sha256:
            return self._of_bytes(image, files) or Unmatched(reason=reason)
        if not files and name not in self._by_name:
            return Unmatched(reason=reason)
        if name in self._shared or len(files) > 1 or (name in self._by_name and not in_project):
            return Unmatched(not reason, reason)
        if files:
            try:
                match = replace(self._opened(image, files[0]), by_name=True)
            except MaskwrightError as error:
                return Unmatched(reason=reason or str(error))
            other = in_project is not None and match.known != in_project.id
            return Unmatched(ambiguous=True) if other else match
        assert in_project is not None
        return replace(_of(in_project, "name", *self._outside()), by_name=True)

    def _of_bytes(self, image: SourceImage, files: Iterable[Path]) -> Match | None:
        """The file with the SHA-256 of the image: a name alone does not justify other bytes."""
        for file in files:
            try:
                match = self._opened(image, file)
            except MaskwrightError:
                continue
            if not match.warnings:
                return match
        return None

    def _outside(self) -> tuple[str, ...]:
        return (_OUTSIDE.format("the project's image"),) if self._folder else ()

    def _without_file(self, image: SourceImage, reason: str) -> Match | None:
        """An image that its SHA-256 identifies is added without its file, which may be found later."""
        limit = Settings.load().max_megapixels * 1e6
        if not image.sha256 or image.size_hw is None or image.inside is None:
            return None
        if image.size_hw[0] * image.size_hw[1] > limit:
            return None
        height, width = image.size_hw
        new = NewImage(
            image.sha256, _inside_images(image), width, height, image.orientation, image.captured, id=_own_id(image),
            plane=image.plane,
        )  # fmt: skip
        return Match(NO_FILE, image.size_hw, 1, new=new, warnings=(reason,) if reason else ())


def _certain(image: SourceImage, found: dict[str, Match]) -> dict[str, Match]:
    """Of several files at one path those that the SHA-256 or else the size in the file speaks for."""
    if image.sha256:
        return {key: match for key, match in found.items() if _OTHER_BYTES not in match.warnings} or found
    sizes = (image.size_hw, image.size_hw[::-1]) if image.size_hw else ()
    return {key: match for key, match in found.items() if match.size_hw in sizes} or found


def _unique(records: Iterable[tuple[str, ImageRecord]]) -> dict[str, ImageRecord | None]:
    """Records by a name; None where several share it."""
    by_name: dict[str, ImageRecord | None] = {}
    for name, record in records:
        by_name[name] = None if name in by_name else record
    return by_name


def _nfc(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _last(path: str) -> str:
    return _nfc(PurePosixPath(path).name)


def _new(image: SourceImage, sha256: str, opened: Image) -> NewImage:
    height, width = opened.size_hw
    captured = opened.captured or image.captured
    return NewImage(
        sha256, _inside_images(image), width, height, opened.orientation, captured, id=_own_id(image), plane=image.plane
    )


def _own_id(image: SourceImage) -> int | None:
    """The image's id in the file, if a project can keep it."""
    return image.id if type(image.id) is int and 1 <= image.id <= LARGEST_ID else None


def _of(record: ImageRecord, method: str, *warnings: str) -> Match:
    return Match(method, (record.height, record.width), record.orientation, known=record.id, warnings=warnings)


def _inside_images(image: SourceImage) -> str:
    """The image's path in a project."""
    path = image.inside or PurePosixPath(PurePosixPath(image.name).name or "image")
    return plain_name(str(path) if path.parts[0] == "images" and len(path.parts) > 1 else f"images/{path}")


def _is_file(file: Path) -> bool:
    try:
        return file.is_file()
    except OSError:
        # a path that this system refuses
        return False
