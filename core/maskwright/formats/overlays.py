"""Images with their masks drawn over them, to look at."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from PIL import Image as Pillow

from maskwright.domain import Image
from maskwright.errors import MaskwrightError
from maskwright.files.atomic import replacing
from maskwright.files.names import DistinctNames
from maskwright.formats.folder_dataset import FolderDataset
from maskwright.overlay import Layer, blend
from maskwright.progress import Progress

__all__ = ["write_overlays"]

_OPACITY = 0.5
_QUALITY = 92


def write_overlays(
    dataset: FolderDataset, folder: Path, open_image: Callable[[int], Image], progress: Progress
) -> list[str]:
    """Write a JPEG for each image that has masks, in the colours of their categories, into `overlays/` of a folder.

    Args:
        dataset: the masks.
        folder: to write to.
        open_image: reads the image with an id; raises MaskwrightError when its file is missing.
        progress: reports images, and cancels between them.

    Returns:
        Names of the images that are missing.

    Raises:
        MaskwrightError: the folder cannot be written.
    """
    colors = {category.id: category.color for category in dataset.categories()}
    annotated, names = dataset.annotated(), DistinctNames()
    missing = []
    chosen = [record for record in dataset.images() if record.id in annotated]
    for number, record in enumerate(chosen):
        progress.report(number, len(chosen))
        progress.check()
        try:
            pixels = open_image(record.id).pixels
        except MaskwrightError:
            missing.append(record.file_name)
            continue
        layers = [Layer(row.mask, colors[row.category_id]) for row in dataset.of_image(record.id)]
        encoded = io.BytesIO()
        Pillow.fromarray(blend(pixels, layers, _OPACITY)).save(encoded, "JPEG", quality=_QUALITY)
        path = PurePosixPath("overlays", *PurePosixPath(record.file_name).parts[1:]).with_suffix(".jpg")
        file = folder / names.free(str(path))
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with replacing(file) as stream:
                stream.write(encoded.getvalue())
        except OSError as error:
            raise MaskwrightError(
                f"Cannot write {file}: {error.strerror or error}.", "Choose another place."
            ) from error
    return missing
