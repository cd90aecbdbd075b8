"""Hugging Face `datasets` image folders with `metadata.jsonl`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from maskwright.files.atomic import json_text, write_text
from maskwright.formats.folder_dataset import Deliver, FolderDataset

__all__ = ["write_datasets_folder"]


def write_datasets_folder(dataset: FolderDataset, folder: Path, deliver: Deliver) -> None:
    """Write `images/` and `metadata.jsonl`, which `datasets.load_dataset("imagefolder", data_dir=...)` reads.

    Raises:
        MaskwrightError: the folder cannot be written.
    """

    def lines() -> Iterator[str]:
        for image in dataset.images():
            found = dataset.of_image(image.id)
            objects = {
                "id": [one.id for one in found],
                "category": [one.category for one in found],
                "bbox": [list(one.mask.bbox) for one in found],
                "area": [one.mask.area for one in found],
                "iscrowd": [int(one.crowd) for one in found],
                "segmentation": [dict(one.mask.rle) for one in found],
            }
            row = {
                "file_name": deliver(image).file_name, "image_id": image.id, "width": image.width,
                "height": image.height, "objects": objects,
            }  # fmt: skip
            yield json_text(row) + "\n"

    write_text(folder / "metadata.jsonl", lines())
