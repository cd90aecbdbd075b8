"""Writes what Datumaro writes: `python write_with_datumaro.py FOLDER MASKS`, a folder for each format; names on stdout.

MASKS is a file of numpy with an array (N, H, W) `masks`, `labels` and `images` (number of the image of each mask).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from datumaro.components.annotation import AnnotationType, Bbox, LabelCategories, Mask
from datumaro.components.dataset import Dataset
from datumaro.components.dataset_base import DatasetItem
from datumaro.components.media import Image

MASKS, BOXES = ("coco_panoptic", "voc_segmentation", "voc", "cvat", "cityscapes"), ("coco_instances", "yolo", "cvat")
home, given = Path(sys.argv[1]), np.load(sys.argv[2])
labels = LabelCategories.from_iterable(["cow", "dog"])


def items(kind: str) -> list[DatasetItem]:
    found = []
    for number, name in enumerate(("a", "sub/b")):
        annotations = []
        for key in np.flatnonzero(given["images"] == number):
            mask, label = given["masks"][key], int(given["labels"][key])
            y, x = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
            box = (int(x[0]), int(y[0]), int(np.ptp(x)) + 1, int(np.ptp(y)) + 1)
            made = Mask(image=mask, label=label) if kind == "masks" else Bbox(*box, label=label)
            annotations.append(made.wrap(id=len(annotations) + 1, group=len(annotations) + 1))
        image = Image.from_numpy(data=np.full((*given["masks"].shape[1:], 3), 40 + 100 * number, np.uint8))
        found.append(DatasetItem(id=name, subset="train", media=image, annotations=annotations))
    return found


names = []
for kind, formats in (("masks", MASKS), ("boxes", BOXES)):
    for name in formats:
        dataset = Dataset.from_iterable(items(kind), categories={AnnotationType.label: labels}, media_type=Image)
        dataset.export(str(home / f"{kind} {name}"), name, save_media=True)
        names.append(f"{kind} {name}")
print(json.dumps([{"name": name} for name in names]))
