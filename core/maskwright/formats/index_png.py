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
    """Write a PNG for each image whose pixels are class numbers, and `classes.json` with their names and colours.

    0 is nothing. Where masks overlap the smaller one is seen. More than 255 classes make pictures of 16 bits.

    Raises:
        MaskwrightError: the folder cannot be written.
    """
    kinds = used_categories(dataset)
    numbers = {one.id: number for number, one in enumerate(kinds, start=1)}
    palette = b"\0\0\0" + b"".join(bytes.fromhex(one.color[1:]) for one in kinds[:255])
    names = DistinctNames()
    for image in dataset.images():
        labels = np.zeros((image.height, image.width), np.uint8 if len(kinds) < 256 else np.uint16)
        found = (one for one in dataset.of_image(image.id) if not one.crowd)
        for one in sorted(found, key=lambda one: -one.mask.area):
            labels[one.mask.to_array()] = numbers[one.category_id]
        picture = Pillow.fromarray(labels)
        if labels.dtype == np.uint8:
            picture.putpalette(palette)
        encoded = io.BytesIO()
        picture.save(encoded, "PNG")
        inside = PurePosixPath("masks", *PurePosixPath(image.file_name).parts[1:]).with_suffix(".png")
        file = folder / names.free(str(inside))
        file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(file) as stream:
            stream.write(encoded.getvalue())
    write_json(folder / "classes.json", {numbers[one.id]: {"name": one.name, "color": one.color} for one in kinds})
