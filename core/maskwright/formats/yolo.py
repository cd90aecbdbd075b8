"""YOLO segmentation folders."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath

from maskwright.files.atomic import write_text
from maskwright.formats.contours import moved, outlined
from maskwright.formats.folder_dataset import Deliver, FolderDataset, used_categories

__all__ = ["write_yolo"]


def write_yolo(dataset: FolderDataset, folder: Path, deliver: Deliver) -> dict[str, int]:
    """Write `images/`, `labels/` and `data.yaml` for YOLO segmentation; gives what that format could not say.

    A line is one outline, so an object of several parts becomes several lines, and holes are filled; groups are left
    out. All images are named for training and for validation: split them as the project needs.

    Raises:
        MaskwrightError: the folder cannot be written.
    """
    kinds = used_categories(dataset)
    numbers = {one.id: number for number, one in enumerate(kinds)}
    told = {"masks": 0, "split": 0, "holes_filled": 0, "groups_left_out": 0}
    for image in dataset.images():
        name = PurePosixPath(deliver(image).file_name)
        lines: list[str] = []
        for one in dataset.of_image(image.id):
            if one.crowd:
                told["groups_left_out"] += 1
                continue
            found = outlined(one.mask, fill=True)
            rings = moved(found.rings or [], *one.mask.bbox[:2])
            told["masks"] += 1
            told["split"] += len(rings) > 1
            told["holes_filled"] += found.had_hole
            for ring in rings:
                scaled = (value / (image.height if place % 2 else image.width) for place, value in enumerate(ring))
                lines.append(" ".join([str(numbers[one.category_id]), *(f"{value:.6f}" for value in scaled)]))
        label = PurePosixPath("labels", *name.parts[1:]).with_suffix(".txt")
        write_text(folder / label, "".join(f"{line}\n" for line in lines))
    # JSON is YAML, and says any name
    names = json.dumps({number: one.name for number, one in enumerate(kinds)}, ensure_ascii=False)
    write_text(folder / "data.yaml", f"path: .\ntrain: images\nval: images\nnames: {names}\n")
    return told
