"""What FiftyOne makes of a file and its pictures: `python read_with_fiftyone.py FOLDER FILE`, JSON on stdout.

The importer is what `Dataset.from_dir` asks for every sample; the database behind a dataset is a download of its own,
which is not there everywhere.
"""

from __future__ import annotations

import json
import sys

import numpy as np
from fiftyone.utils.coco import COCODetectionDatasetImporter
from pycocotools import mask as coco

importer = COCODetectionDatasetImporter(
    data_path=sys.argv[1], labels_path=sys.argv[2], label_types=["segmentations"], include_id=True, extra_attrs=True
)
masks = []
with importer:
    for path, metadata, label in importer:
        segmentations = label["segmentations"] if isinstance(label, dict) else label
        height, width = metadata["height"], metadata["width"]
        for one in segmentations.detections if segmentations else ():
            x, y, w, h = one.bounding_box
            packed = coco.encode(np.asfortranarray(one.mask.astype(np.uint8)))
            masks.append(
                {
                    "uid": one.uid,
                    "image": path,
                    "label": one.label,
                    "crowd": one.iscrowd,
                    "source": one.source,
                    "xywh": [x * width, y * height, w * width, h * height],
                    "rle": {"size": packed["size"], "counts": packed["counts"].decode()},
                }
            )
print(json.dumps(masks))
