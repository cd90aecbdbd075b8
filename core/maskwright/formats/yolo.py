"""YOLO segmentation folders, as Ultralytics documents them."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath

from maskwright.files.atomic import write_text
from maskwright.formats.contours import bridged_rings
from maskwright.formats.folder_dataset import (
    CopyImage,
    FolderDataset,
    Subsets,
    WriteSummary,
    used_categories,
)

__all__ = ["write_yolo"]


def write_yolo(dataset: FolderDataset, folder: Path, copy_image: CopyImage, subsets: Subsets) -> WriteSummary:
    """Write `images/SUBSET/`, `labels/SUBSET/` and `data.yaml` for YOLO segmentation.

    A line is one outline, so an object of several parts becomes several lines; a hole is joined to its outline by a
    bridge without width. Crowds are skipped. Without a split all images are listed for training and for validation.

    Args:
        dataset: to write.
        folder: to write to.
        copy_image: names a copy `images/SUBSET/NAME`, without further folders, which some readers do not look into.
        subsets: of the images.

    Raises:
        MaskwrightError: the folder cannot be written.
    """
    categories = used_categories(dataset)
    numbers = {category.id: number for number, category in enumerate(categories)}
    summary, used = WriteSummary(), set[str]()
    for image in dataset.images():
        name = PurePosixPath(copy_image(image).file_name)
        used.add(str(name.parent))
        lines: list[str] = []
        for annotation in dataset.of_image(image.id):
            if annotation.crowd:
                summary.lost["mark groups and were left out"] += 1
                continue
            rings = bridged_rings(annotation.mask)
            summary.masks += 1
            summary.lost["of several parts became several outlines"] += len(rings) > 1
            for ring in rings:
                scaled = (value / (image.height if place % 2 else image.width) for place, value in enumerate(ring))
                lines.append(" ".join([str(numbers[annotation.category_id]), *(f"{value:.6f}" for value in scaled)]))
        label = PurePosixPath("labels", *name.parts[1:]).with_suffix(".txt")
        write_text(folder / label, "".join(f"{line}\n" for line in lines))
    write_text(folder / "data.yaml", _data_yaml([category.name for category in categories], used, subsets))
    return summary


def _data_yaml(names: list[str], used: set[str], subsets: Subsets) -> str:
    """The file that Ultralytics is given; without `path` its own folder counts, wherever it is read from."""
    places = {"train": "images/train", "val": "images/val" if "images/val" in used else "images/train"}
    if "images/test" in used and subsets:
        places["test"] = "images/test"
    lines = [f"{name}: {place}" for name, place in places.items()]
    # JSON is valid YAML, whatever characters the names have
    return "\n".join([*lines, f"nc: {len(names)}", f"names: {json.dumps(names, ensure_ascii=False)}", ""])
