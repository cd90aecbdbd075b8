"""The formats of an export: what they are called, and how each is written."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from maskwright.domain import ImageRecord
from maskwright.errors import MaskwrightError
from maskwright.formats.coco_writer import CocoOptions
from maskwright.formats.cvat import write_cvat
from maskwright.formats.folder_dataset import CopyImage, FolderDataset, Subsets, WriteSummary, flat_name
from maskwright.formats.imagefolder import write_datasets_folder
from maskwright.formats.index_png import write_index_masks
from maskwright.formats.labelme import write_labelme
from maskwright.formats.panoptic import NO_SUBSET, write_panoptic
from maskwright.formats.voc import write_voc
from maskwright.formats.yolo import write_yolo
from maskwright.project.splitting import SplitOptions

__all__ = ["FORMATS", "ExportFormat", "ExportOptions", "write_folder"]


@dataclass(frozen=True, slots=True)
class ExportFormat:
    """A format, as front ends offer it."""

    label: str
    sentence: str
    is_folder: bool = True
    """Whether it is a folder with the images; otherwise one file."""


FORMATS = {
    "coco": ExportFormat("COCO", "One JSON file with exact masks; read by most tools.", is_folder=False),
    "yolo": ExportFormat("YOLO", "A polygon file for each image; holes are kept by a bridge without width."),
    "labelme": ExportFormat("LabelMe", "A JSON file with exact masks for each image."),
    "cvat": ExportFormat("CVAT", "One XML file (CVAT for images 1.1) with exact masks."),
    "voc": ExportFormat("Pascal VOC", "Boxes, and label images of classes and objects; masks that overlap are cut."),
    "panoptic": ExportFormat(
        "COCO panoptic", "One label image of segments for each image; masks that overlap are cut."
    ),
    "datasets": ExportFormat("Hugging Face", "An image folder for the datasets library, with exact masks."),
    "masks": ExportFormat("Label images", "One PNG for each image; each pixel holds the number of its class."),
    "overlays": ExportFormat("Overlays", "Each image with its masks drawn over it, to look at."),
    "csv": ExportFormat("Areas", "A table with class, area and box of each mask.", is_folder=False),
    "predictions": ExportFormat("COCO results", "COCO's list of results with scores, of proposals.", is_folder=False),
}
"""By the name that commands use."""


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """What is exported, and how."""

    coco: CocoOptions = field(default_factory=CocoOptions)
    """How COCO is written; polygons and only annotated images also of other formats that have them."""
    split: SplitOptions | None = None
    """Write which images are for training, validation and test."""
    version: str = ""
    """Name of a frozen version to export instead of the project as it is."""


_SPLIT_WORD = re.compile(
    r"(?<![a-z])(train|training|val|valid|validation|dev|test|testing|eval|evaluation)(?![a-z])", re.IGNORECASE
)
"""Words in a path from which the datasets library would infer a split."""


def copy_name(format: str, subsets: Subsets) -> Callable[[ImageRecord], str]:  # noqa: A002
    """How a format names the copies of images."""

    def name(record: ImageRecord) -> str:
        subset = subsets.get(record.id, "")
        if format == "yolo":
            # readers replace the last folder called images, and some do not look into subfolders
            return f"images/{subset or 'train'}/{flat_name(record)}"
        if format == "panoptic":
            parts = PurePosixPath(record.file_name).parts
            return str(PurePosixPath("images", subset or NO_SUBSET, *(parts[1:] or parts)))
        if format == "voc":
            return f"JPEGImages/{flat_name(record)}"
        if format == "datasets":
            path = PurePosixPath(record.file_name)
            neutral = f"images/image-{record.id}{path.suffix}"
            return str(PurePosixPath(subset, neutral if _SPLIT_WORD.search(record.file_name) else path))
        return record.file_name

    return name


def write_folder(
    format: str,  # noqa: A002
    dataset: FolderDataset,
    folder: Path,
    copy_image: CopyImage,
    subsets: Subsets,
    coco: CocoOptions,
) -> WriteSummary:
    """Write a format that is a folder.

    Raises:
        MaskwrightError: the folder cannot be written.
    """
    polygons = coco.segmentation == "polygon"
    try:
        if format == "yolo":
            return write_yolo(dataset, folder, copy_image, subsets)
        if format == "labelme":
            return write_labelme(dataset, folder, copy_image, subsets, polygons=polygons)
        if format == "cvat":
            return write_cvat(dataset, folder, copy_image, subsets, polygons=polygons)
        if format == "voc":
            return write_voc(dataset, folder, copy_image, subsets)
        if format == "panoptic":
            return write_panoptic(dataset, folder, copy_image, subsets)
        if format == "datasets":
            return write_datasets_folder(dataset, folder, copy_image, subsets)
        return write_index_masks(dataset, folder)
    except OSError as error:
        raise MaskwrightError(f"Cannot write {folder}: {error.strerror or error}.", "Choose another place.") from error
