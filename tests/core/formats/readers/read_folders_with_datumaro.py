"""What Datumaro reads: `python read_folders_with_datumaro.py FOLDER FORMAT ...`, masks and boxes as JSON on stdout."""

from __future__ import annotations

import json
import sys

import numpy as np
from datumaro.components.annotation import AnnotationType
from datumaro.components.dataset import Dataset
from pycocotools import mask as coco

found = []
for folder, form in zip(sys.argv[1::2], sys.argv[2::2], strict=True):
    dataset = Dataset.import_from(folder, form)
    names = [one.name for one in dataset.categories()[AnnotationType.label]]
    for item in dataset:
        for one in item.annotations:
            if one.type == AnnotationType.mask:
                packed = coco.encode(np.asfortranarray(one.image.astype(np.uint8)))
                found.append(
                    {"format": form, "image": item.id, "label": names[one.label], "counts": packed["counts"].decode()}
                )
print(json.dumps(found))
