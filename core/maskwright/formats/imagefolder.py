"""Hugging Face `datasets` image folders with `metadata.jsonl`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from maskwright.files.atomic import json_text, write_text
from maskwright.formats.folder_dataset import CopyImage, FolderDataset

__all__ = ["write_datasets_folder"]


def write_datasets_folder(dataset: FolderDataset, folder: Path, copy_image: CopyImage) -> None:
    """Write `images/` and `metadata.jsonl`, which `datasets.load_dataset("imagefolder", data_dir=...)` reads.

    Raises:
        MaskwrightError: the folder cannot be written.
    """

    def lines() -> Iterator[str]:
        for image in dataset.images():
            annotations = dataset.of_image(image.id)
            row = {
                "file_name": copy_image(image).file_name,
                "image_id": image.id,
                "width": image.width,
                "height": image.height,
                "objects": {
                    "id": [annotation.id for annotation in annotations],
                    "category": [annotation.category for annotation in annotations],
                    "bbox": [list(annotation.mask.bbox) for annotation in annotations],
                    "area": [annotation.mask.area for annotation in annotations],
                    "iscrowd": [int(annotation.crowd) for annotation in annotations],
                    "segmentation": [dict(annotation.mask.rle) for annotation in annotations],
                },
            }
            yield json_text(row) + "\n"

    write_text(folder / "metadata.jsonl", lines())
