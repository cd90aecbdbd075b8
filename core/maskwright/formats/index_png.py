"""PNG label maps whose pixels are class numbers."""

from __future__ import annotations

import io
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image as Pillow

from maskwright.files.atomic import replacing, write_json
from maskwright.files.names import DistinctNames
from maskwright.formats.folder_dataset import FolderDataset, used_categories

__all__ = ["write_index_masks"]


def write_index_masks(dataset: FolderDataset, folder: Path) -> None:
    """Write a label map for each image, and `classes.json` with the names and colors of the class numbers.

    0 is background. Where masks overlap the smaller one wins. With more than 255 classes the PNGs have 16 bits.

    Raises:
        MaskwrightError: the folder cannot be written.
    """
    categories = used_categories(dataset)
    numbers = {category.id: number for number, category in enumerate(categories, start=1)}
    palette = b"\0\0\0" + b"".join(bytes.fromhex(category.color[1:]) for category in categories[:255])
    names = DistinctNames()
    for image in dataset.images():
        labels = np.zeros((image.height, image.width), np.uint8 if len(categories) < 256 else np.uint16)
        objects = [annotation for annotation in dataset.of_image(image.id) if not annotation.crowd]
        for annotation in sorted(objects, key=lambda annotation: -annotation.mask.area):
            labels[annotation.mask.to_array()] = numbers[annotation.category_id]
        png = Pillow.fromarray(labels)
        if labels.dtype == np.uint8:
            png.putpalette(palette)
        encoded = io.BytesIO()
        png.save(encoded, "PNG")
        path = PurePosixPath("masks", *PurePosixPath(image.file_name).parts[1:]).with_suffix(".png")
        file = folder / names.free(str(path))
        file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(file) as stream:
            stream.write(encoded.getvalue())
    classes = {numbers[category.id]: {"name": category.name, "color": category.color} for category in categories}
    write_json(folder / "classes.json", classes)
