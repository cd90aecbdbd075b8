"""The project's images as a session shows them: pixels in memory, titles, neighbors."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from maskwright.domain import Image, ImageRecord
from maskwright.files.atomic import atomic_save
from maskwright.files.hashing import sha256_of
from maskwright.imaging.encoding import EncodedImage, thumbnail, upright
from maskwright.progress import NO_PROGRESS, Progress
from maskwright.project import AddResult, Project, user_name
from maskwright.project.uploads import Upload, add_uploads
from maskwright.session.messages import image_title
from maskwright.settings import Settings
from maskwright.store import ImageFilter, ImageSummary

__all__ = ["SessionImages"]

_MOST_BYTES = 256 * 2**20
"""Of pixels in memory; the latest image stays even if it is larger."""
_THUMBNAIL = 256
"""Longer side of a thumbnail in pixels."""


class SessionImages:
    """Images of a project; the pixels of the latest stay in memory. Safe to share between threads."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._pixels: OrderedDict[int, Image] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, image: Image | Path) -> ImageRecord:
        """Add an image or an image file to the project; raises MaskwrightError with what is wrong with it."""
        opened = image if isinstance(image, Image) else Image.open(image)
        record = self._project.images.register(opened)
        self._remember(record.id, opened)
        return record

    def remove(self, files: Sequence[Path], *, user: str = "") -> int:
        """Delete the images that have the content of these files, each a step for undo; returns how many there were."""
        found = [self._project.store.images.by_sha256(sha256_of(file)) for file in files]
        present = [record.id for record in found if record is not None]
        for image_id in present:
            self.delete(image_id, user=user)
        return len(present)

    def add_folder(self, folder: Path) -> list[str]:
        """Add every image file of a folder; returns what is wrong with those that were not added."""
        return [result.problem for result in self._project.images.add(folder) if result.record is None]

    def known(self, image: Image) -> int | None:
        """Id of the image with this content, whose pixels are then in memory; None when the project has none."""
        record = self._project.store.images.by_sha256(image.sha256)
        if record is None:
            return None
        self._remember(record.id, image)
        return record.id

    def id_of(self, sha256: str) -> int | None:
        """Id of the image whose file has this hash; None when the project has none."""
        record = self._project.store.images.by_sha256(sha256)
        return None if record is None else record.id

    def add_uploads(
        self, uploads: Sequence[Upload], *, all_pages: bool = False, progress: Progress = NO_PROGRESS
    ) -> list[AddResult]:
        """Add files that somebody sent, also those in zip archives; one result for each image file, or each page."""
        return list(add_uploads(self._project.images, uploads, all_pages=all_pages, progress=progress))

    def find(self, filter: ImageFilter, offset: int = 0, limit: int | None = None) -> tuple[int, list[ImageSummary]]:  # noqa: A002
        """How many images a filter lets through, and a page of them with their numbers of masks."""
        return self._project.store.images.find(filter, offset, limit)

    def ids(self, filter: ImageFilter) -> list[int]:  # noqa: A002
        """Ids of all images that a filter lets through; fast also when they are very many."""
        return [key for key, _ in self._project.store.images.keys(filter)]

    def summary(self, image_id: int) -> ImageSummary:
        """An image with its numbers of masks; raises MaskwrightError when it is not there."""
        self.record(image_id)
        return self.find(ImageFilter(ids=[image_id]))[1][0]

    def statuses(self) -> dict[str, int]:
        """Number of images by status: none, proposed, done, complete, excluded."""
        return self._project.store.images.statuses()

    def next_unreviewed(self, after_id: int = 0) -> int | None:
        """The next image without accepted masks or with open proposals; None when there is no other."""
        return self._project.store.images.next_unreviewed(after_id)

    def review(self, image_id: int, review: str, *, user: str = "") -> ImageSummary:
        """Say that an image is complete or excluded; an empty text takes that back."""
        return self._project.store.images.review(image_id, review, user or user_name())

    def delete(self, image_id: int, *, user: str = "") -> int:
        """Delete an image with its masks, which undo takes back; returns how many accepted masks went with it."""
        return self._project.store.images.delete(image_id, user or user_name())

    def get(self, image_id: int) -> Image:
        """An image with its pixels; raises MaskwrightError when it is missing."""
        with self._lock:
            if image_id in self._pixels:
                self._pixels.move_to_end(image_id)
                return self._pixels[image_id]
        image = self._project.images.open(image_id)
        self._remember(image_id, image)
        return image

    def _remember(self, image_id: int, image: Image) -> None:
        with self._lock:
            self._pixels.pop(image_id, None)
            self._pixels[image_id] = image
            while len(self._pixels) > 1 and sum(image.memory for image in self._pixels.values()) > _MOST_BYTES:
                self._pixels.popitem(last=False)

    def encoded(self, image_id: int) -> EncodedImage:
        """An image as a browser shows it: upright, at its full size; raises MaskwrightError when it is missing."""
        record = self.record(image_id)
        return upright(self._project.images.file_of(record).read_bytes(), record.file_name)

    def thumbnail(self, image_id: int) -> bytes:
        """A small JPEG of an image, made once and kept on disk; raises MaskwrightError when the image is missing."""
        record = self.record(image_id)
        file = Settings.load().cache / "thumbnails" / record.sha256[:2] / f"{record.sha256}.jpg"
        if file.is_file():
            return file.read_bytes()
        small = thumbnail(self._project.images.file_of(record).read_bytes(), record.file_name, _THUMBNAIL)
        # a full or read-only disk is no reason to show no image
        with suppress(OSError):
            file.parent.mkdir(parents=True, exist_ok=True)
            atomic_save(file, lambda path: path.write_bytes(small))
        return small

    def record(self, image_id: int) -> ImageRecord:
        """What the project knows of an image; raises MaskwrightError when it has no such image."""
        return self._project.store.images.get(image_id)

    def records(self) -> list[ImageRecord]:
        """What the project knows of all images, the oldest first."""
        return self._project.images.all()

    def titles(self) -> list[tuple[str, int]]:
        """(title, id) of all images, the oldest first."""
        return [(image_title(record.id, record.file_name), record.id) for record in self._project.images.all()]

    def neighbor(self, image_id: int | None, step: int) -> int | None:
        """Id of the image `step` places later (earlier when negative); None past the ends.

        Without an image in view, the first one.
        """
        ids = [record.id for record in self._project.images.all()]
        if image_id not in ids:
            return ids[0] if ids else None
        place = ids.index(image_id) + step
        return ids[place] if 0 <= place < len(ids) else None
