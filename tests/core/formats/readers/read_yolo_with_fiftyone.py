"""What FiftyOne reads: `python read_yolo_with_fiftyone.py FOLDER SPLIT ...`, each object as JSON on stdout."""

from __future__ import annotations

import json
import sys

from fiftyone.utils.yolo import YOLOv5DatasetImporter

found = []
for split in sys.argv[2:]:
    importer = YOLOv5DatasetImporter(
        dataset_dir=sys.argv[1], yaml_path="data.yaml", split=split, label_type="instances"
    )
    with importer:
        for path, _, label in importer:
            for one in label.detections:
                x, y, w, h = one.bounding_box
                row = {"image": path, "label": one.label, "box": [x, y, w, h], "hole": bool((~one.mask).any())}
                found.append({**row, "split": split})
print(json.dumps(found))
