"""Matching of the images of a COCO file with the project's images and with files near the COCO file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from maskwright.domain import Image, ImageRecord
from maskwright.errors import MaskwrightError
from maskwright.files.names import free_name
from maskwright.formats.coco_reader import CocoImage
from maskwright.imaging.reading import is_image_file
from maskwright.project.image_folder import sha256_if_readable
from maskwright.settings import Settings
from maskwright.store import NewImage, Store
from maskwright.store.values import LARGEST_ID

__all__ = ["NO_FILE", "ImageMatcher", "Match", "Unmatched"]

NO_FILE = "without a picture"
"""The method of a match that knows only the SHA-256 of the image."""
_OTHER_BYTES = "the image file there is not the one that the masks were made on (SHA-256 differs); check that they fit"


@dataclass(frozen=True, slots=True)
class Match:
    """The project's image for an image of a COCO file."""

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


@dataclass(frozen=True, slots=True)
class Unmatched:
    """An image of a COCO file that was not found."""

    ambiguous: bool = False
    """Several images have its name."""
    reason: str = ""
    """Why the file that was found cannot be used."""


class ImageMatcher:
    """Matches the images of one COCO file."""

    def __init__(self, store: Store, file: Path, folder: Path | None) -> None:
        """Take the project's store, the COCO file, and a folder of images if the user named one."""
        self._store = store
        records = store.images.all()
        self._by_path = {record.file_name: record for record in records}
        self._by_name = _by_name(records)
        self._names = set(self._by_path)
        beside = file.parent
        # COCO has annotations/instances_train2017.json and train2017/, others have images/default/, FiftyOne has data/
        split = file.stem.rpartition("_")[2]
        self._homes = [
            *([folder, folder / "images", folder.parent] if folder else ()),
            *(beside / name for name in ("images", "", "data")),
            *(beside.parent / name for name in ("images", f"images/{split}", split, "")),
        ]
        self._search_folder = folder or beside / "images"
        self._files: dict[str, list[Path]] | None = None

    def find(self, image: CocoImage) -> Match | Unmatched:
        """Match by SHA-256, by known masks, by the content of a file, by path, then by a unique name."""
        match = self._match(image)
        if isinstance(match, Match) and match.new:
            name = free_name(match.new.file_name, self._names.__contains__)
            self._names.add(name)
            return replace(match, new=replace(match.new, file_name=name))
        return match

    def _match(self, image: CocoImage) -> Match | Unmatched:
        known = self._store.images.by_sha256(image.sha256) if image.sha256 else None
        if known:
            return _of(known, "SHA-256")
        attributes = (row.get("attributes") for row in image.rows)
        uids = [str(row["uid"]) for row in attributes if isinstance(row, dict) and "uid" in row]
        uids = [uid for uid in uids if uid.isascii() and uid.isalnum()]
        known = self._store.imports.image_of_masks(uids) if uids else None
        if known and image.size_hw in (None, (known.height, known.width)):
            return _of(known, "known masks")
        match = self._near(image)
        if isinstance(match, Match):
            return match
        return self._in_project(image) or self._without_file(image, match.reason) or match

    def _near(self, image: CocoImage) -> Match | Unmatched:
        """A file near the COCO file, or why no file there can be used."""
        reason = ""
        for file in self._at_path(image):
            try:
                return self._opened(image, file)
            except MaskwrightError as error:
                reason = reason or str(error)
        same_name = self._of_name(PurePosixPath(image.name).name)
        for file in same_name if image.sha256 or len(same_name) == 1 else ():
            try:
                match = self._opened(image, file)
            except MaskwrightError as error:
                reason = reason or str(error)
            else:
                # a name alone does not justify other bytes
                if not match.warnings:
                    return match
        return Unmatched(len(same_name) > 1 and not reason, reason)

    def _at_path(self, image: CocoImage) -> Iterator[Path]:
        inside = image.inside
        if inside is not None:
            yield from dict.fromkeys(home / inside for home in self._homes if _is_file(home / inside))

    def _of_name(self, name: str) -> list[Path]:
        if self._files is None:
            self._files = {}
            for file in sorted(file for file in self._search_folder.rglob("*") if is_image_file(file)):
                self._files.setdefault(file.name, []).append(file)
        return self._files.get(name, [])

    def _opened(self, image: CocoImage, file: Path) -> Match:
        """A file as the image; raises MaskwrightError when it cannot be read."""
        sha256 = sha256_if_readable(file)
        known = self._store.images.by_sha256(sha256) if sha256 else None
        if known and image.sha256 in ("", sha256):
            return _of(known, "content")
        opened = Image.open(file)
        # a PNG that Maskwright wrote for an array is identified by its pixels
        by_pixels = bool(image.sha256) and image.sha256 == Image(opened.pixels).sha256
        warnings = () if by_pixels or image.sha256 in ("", opened.sha256) else (_OTHER_BYTES,)
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

    def _in_project(self, image: CocoImage) -> Match | Unmatched | None:
        name = PurePosixPath(image.name).name
        at_path = self._by_path.get(image.name) or self._by_path.get(_inside_images(image))
        if at_path and not image.sha256:
            return _of(at_path, "path")
        if at_path and image.size_hw == (at_path.height, at_path.width):
            return _of(at_path, "path", _OTHER_BYTES)
        if image.sha256 or name not in self._by_name:
            return None
        only = self._by_name[name]
        return _of(only, "name") if only else Unmatched(ambiguous=True)

    def _without_file(self, image: CocoImage, reason: str) -> Match | None:
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


def _by_name(records: Sequence[ImageRecord]) -> dict[str, ImageRecord | None]:
    """Records by the last part of their file name; None where several share it."""
    by_name: dict[str, ImageRecord | None] = {}
    for record in records:
        name = PurePosixPath(record.file_name).name
        by_name[name] = None if name in by_name else record
    return by_name


def _new(image: CocoImage, sha256: str, opened: Image) -> NewImage:
    height, width = opened.size_hw
    return NewImage(
        sha256, _inside_images(image), width, height, opened.orientation, opened.captured, id=_own_id(image),
        plane=image.plane,
    )  # fmt: skip


def _own_id(image: CocoImage) -> int | None:
    """The image's id in the file, if a project can keep it."""
    return image.id if type(image.id) is int and 1 <= image.id <= LARGEST_ID else None


def _of(record: ImageRecord, method: str, *warnings: str) -> Match:
    return Match(method, (record.height, record.width), record.orientation, known=record.id, warnings=warnings)


def _inside_images(image: CocoImage) -> str:
    """The image's path in a project."""
    path = image.inside or PurePosixPath(PurePosixPath(image.name).name or "image")
    return str(path) if path.parts[0] == "images" and len(path.parts) > 1 else f"images/{path}"


def _is_file(file: Path) -> bool:
    try:
        return file.is_file()
    except OSError:
        # a path that this system refuses
        return False
