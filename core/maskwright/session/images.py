"""The project's images as a session shows them: pixels in memory, titles, neighbors."""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import Path

from maskwright.domain import Image, ImageRecord
from maskwright.project import Project
from maskwright.session.messages import image_title

__all__ = ["SessionImages"]

_MOST_IMAGES = 8


class SessionImages:
    """Images of a project; the pixels of the last few stay in memory. Safe to share between threads."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._pixels: OrderedDict[int, Image] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, image: Image | Path) -> ImageRecord:
        """Add an image or an image file to the project; raises MaskwrightError with what is wrong with it."""
        return self._project.images.register(image if isinstance(image, Image) else Image.open(image))

    def get(self, image_id: int) -> Image:
        """An image with its pixels; raises MaskwrightError when it is missing."""
        with self._lock:
            if image_id in self._pixels:
                self._pixels.move_to_end(image_id)
                return self._pixels[image_id]
        image = self._project.images.open(image_id)
        with self._lock:
            self._pixels[image_id] = image
            while len(self._pixels) > _MOST_IMAGES:
                self._pixels.popitem(last=False)
        return image

    def record(self, image_id: int) -> ImageRecord:
        """What the project knows of an image; raises MaskwrightError when it has no such image."""
        return self._project.store.images.get(image_id)

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
