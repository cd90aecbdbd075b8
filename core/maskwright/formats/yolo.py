"""YOLO segmentation folders."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from maskwright.files.atomic import write_text
from maskwright.formats.contours import outline, shift
from maskwright.formats.folder_dataset import CopyImage, FolderDataset, used_categories

__all__ = ["YoloSummary", "write_yolo"]


@dataclass(slots=True)
class YoloSummary:
    """What the format could not represent, in numbers of masks."""

    split: int = 0
    """Masks of several parts, which became several lines."""
    holes_filled: int = 0
    crowds_skipped: int = 0


def write_yolo(dataset: FolderDataset, folder: Path, copy_image: CopyImage) -> YoloSummary:
    """Write `images/`, `labels/` and `data.yaml` for YOLO segmentation.

    A line is one outline, so an object of several parts becomes several lines, and holes are filled; crowds are
    skipped. All images are listed for training and for validation: split them as your project needs.

    Raises:
        MaskwrightError: the folder cannot be written.
    """
    categories = used_categories(dataset)
    numbers = {category.id: number for number, category in enumerate(categories)}
    summary = YoloSummary()
    for image in dataset.images():
        name = PurePosixPath(copy_image(image).file_name)
        lines: list[str] = []
        for annotation in dataset.of_image(image.id):
            if annotation.crowd:
                summary.crowds_skipped += 1
                continue
            contour = outline(annotation.mask, fill=True)
            rings = shift(contour.rings or [], *annotation.mask.bbox[:2])
            summary.split += len(rings) > 1
            summary.holes_filled += contour.had_hole
            for ring in rings:
                scaled = (value / (image.height if place % 2 else image.width) for place, value in enumerate(ring))
                lines.append(" ".join([str(numbers[annotation.category_id]), *(f"{value:.6f}" for value in scaled)]))
        label = PurePosixPath("labels", *name.parts[1:]).with_suffix(".txt")
        write_text(folder / label, "".join(f"{line}\n" for line in lines))
    # JSON is valid YAML, whatever characters the names have
    names = json.dumps({number: category.name for number, category in enumerate(categories)}, ensure_ascii=False)
    write_text(folder / "data.yaml", f"path: .\ntrain: images\nval: images\nnames: {names}\n")
    return summary
