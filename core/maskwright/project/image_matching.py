"""Which picture a row of a COCO file means: one that the project has, or one that lies near the file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from maskwright.domain import Image, ImageRecord
from maskwright.errors import MaskwrightError
from maskwright.formats.coco_reader import CocoImage
from maskwright.imaging.reading import is_image_file
from maskwright.project.image_folder import sha256_of_file
from maskwright.settings import Settings
from maskwright.store import NewImage, Store
from maskwright.store.images import file_names
from maskwright.store.values import LARGEST_ID

__all__ = ["ImageMatcher", "Match", "Unmatched"]

_OTHER_BYTES = "the picture there is not the one that the masks were made on (SHA-256 differs); look whether they fit"


@dataclass(frozen=True, slots=True)
class Match:
    """The project's image for a row of a file."""

    how: str
    """"SHA-256", "known masks", "content", "file", "path", "name", or "without a picture"."""
    size_hw: tuple[int, int]
    """Of the upright picture."""
    orientation: int
    known: int | None = None
    """Its id, if the project has it."""
    new: NewImage | None = None
    """What to add, if not."""
    source: Path | None = None
    """The picture to copy."""
    digest: str = ""
    """SHA-256 of its bytes."""
    warnings: tuple[str, ...] = ()

    @property
    def sha256(self) -> str:
        """Of a new image."""
        return self.new.sha256 if self.new else ""


@dataclass(frozen=True, slots=True)
class Unmatched:
    """A row of a file whose picture is not known."""

    ambiguous: bool = False
    """Several pictures have its name."""
    reason: str = ""
    """Why the picture that is there cannot be taken."""


class ImageMatcher:
    """Looks for the pictures of one file."""

    def __init__(self, store: Store, file: Path, chosen: Path | None) -> None:
        """Take the project, the COCO file, and a folder of pictures if there is one."""
        self._store, self._chosen = store, chosen
        records = store.images()
        self._by_path = {record.file_name: record for record in records}
        self._by_name = file_names(records)
        self._names = set(self._by_path)
        beside = file.parent
        # COCO has annotations/instances_train2017.json and train2017/, others have images/default/, FiftyOne has data/
        split = file.stem.rpartition("_")[2]
        self._homes = [
            *([chosen, chosen / "images", chosen.parent] if chosen else ()),
            *(beside / name for name in ("images", "", "data")),
            *(beside.parent / name for name in ("images", f"images/{split}", split, "")),
        ]
        self._searched = chosen or beside / "images"
        self._there: dict[str, list[Path]] | None = None

    def find(self, image: CocoImage) -> Match | Unmatched:
        """By SHA-256, by masks that are known, by the picture's content, by path, by a name that only one has."""
        found = self._found(image)
        if isinstance(found, Match) and found.new:
            return replace(found, new=replace(found.new, file_name=self._free(found.new.file_name)))
        return found

    def _found(self, image: CocoImage) -> Match | Unmatched:
        known = self._store.image_by_sha256(image.sha256) if image.sha256 else None
        if known:
            return _of(known, "SHA-256")
        attributes = (row.get("attributes") for row in image.rows)
        uids = [str(told["uid"]) for told in attributes if isinstance(told, dict) and "uid" in told]
        uids = [uid for uid in uids if uid.isascii() and uid.isalnum()]
        known = self._store.image_of_masks(uids) if uids else None
        if known and image.size_hw in (None, (known.height, known.width)):
            return _of(known, "known masks")
        found = self._near(image)
        if isinstance(found, Match):
            return found
        return self._in_project(image) or self._without_picture(image, found.reason) or found

    def _near(self, image: CocoImage) -> Match | Unmatched:
        """The picture that lies near the file, or why none of those there is it."""
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
                # the name alone is no ground to take other bytes for it
                if not match.warnings:
                    return match
        return Unmatched(len(same_name) > 1 and not reason, reason)

    def _at_path(self, image: CocoImage) -> Iterator[Path]:
        inside = image.inside
        if inside is not None:
            yield from dict.fromkeys(home / inside for home in self._homes if _is_file(home / inside))

    def _of_name(self, name: str) -> list[Path]:
        if self._there is None:
            self._there = {}
            for file in sorted(file for file in self._searched.rglob("*") if is_image_file(file)):
                self._there.setdefault(file.name, []).append(file)
        return self._there.get(name, [])

    def _opened(self, image: CocoImage, file: Path) -> Match:
        """A file as the row's picture; raises MaskwrightError when it cannot be read."""
        digest = sha256_of_file(file)
        known = self._store.image_by_sha256(digest) if digest else None
        if known and image.sha256 in ("", digest):
            return _of(known, "content")
        picture = Image.open(file)
        # a PNG that Maskwright made of an array is known by its pixels
        by_pixels = bool(image.sha256) and file.stem == image.sha256 == Image(picture.pixels).sha256
        warnings = () if by_pixels or image.sha256 in ("", picture.sha256) else (_OTHER_BYTES,)
        if known:
            return _of(known, "content", *warnings)
        sha256 = image.sha256 if by_pixels else picture.sha256
        new = _new(image, sha256, picture.size_hw, picture.orientation, picture.captured)
        return Match(
            "file", picture.size_hw, picture.orientation, new=new, source=file, digest=picture.sha256, warnings=warnings
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

    def _without_picture(self, image: CocoImage, reason: str) -> Match | None:
        """An image that the file identifies without doubt is kept; its picture may come later."""
        limit = Settings.load().max_megapixels * 1e6
        if not image.sha256 or image.size_hw is None or image.inside is None:
            return None
        if image.size_hw[0] * image.size_hw[1] > limit:
            return None
        new = _new(image, image.sha256, image.size_hw, image.orientation, image.captured)
        return Match("without a picture", image.size_hw, 1, new=new, warnings=(reason,) if reason else ())

    def _free(self, wanted: str) -> str:
        """A name that no image has, be its file there or not."""
        path, number = PurePosixPath(wanted), 1
        while wanted in self._names:
            number += 1
            wanted = str(path.with_stem(f"{path.stem}-{number}"))
        self._names.add(wanted)
        return wanted


def _new(image: CocoImage, sha256: str, size_hw: tuple[int, int], orientation: int, captured: str) -> NewImage:
    wish = image.id if type(image.id) is int and 1 <= image.id <= LARGEST_ID else None
    height, width = size_hw
    return NewImage(sha256, _inside_images(image), width, height, orientation, captured, id=wish)


def _of(record: ImageRecord, how: str, *warnings: str) -> Match:
    return Match(how, (record.height, record.width), record.orientation, known=record.id, warnings=warnings)


def _inside_images(image: CocoImage) -> str:
    """Where the picture would be in a project."""
    path = image.inside or PurePosixPath(PurePosixPath(image.name).name or "picture")
    return str(path) if path.parts[0] == "images" and len(path.parts) > 1 else f"images/{path}"


def _is_file(file: Path) -> bool:
    try:
        return file.is_file()
    except OSError:
        # a path that this system does not take
        return False
