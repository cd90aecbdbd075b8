"""What Datumaro reads from a folder: `python read_with_datumaro.py FOLDER`, JSON on stdout."""

from __future__ import annotations

import json
import sys

import numpy as np
from datumaro.components.annotation import AnnotationType
from datumaro.components.dataset import Dataset
from pycocotools import mask as coco

found = Dataset.import_from(sys.argv[1], "coco_instances", merge_instance_polygons=True)
names = [one.name for one in found.categories()[AnnotationType.label]]
masks = []
for item in found:
    for one in item.annotations:
        if one.type == AnnotationType.mask:
            packed = coco.encode(np.asfortranarray(one.image.astype(np.uint8)))
            masks.append(
                {
                    "uid": one.attributes["uid"],
                    "image": item.id,
                    "size": list(item.media.data.shape[:2]),
                    "label": names[one.label],
                    "crowd": int(one.attributes["is_crowd"]),
                    "rle": {"size": packed["size"], "counts": packed["counts"].decode()},
                }
            )
print(json.dumps(masks))
