"""Accepted masks in the file formats of other tools; pure functions make the values, `files` writes them."""

from __future__ import annotations

from maskwright.export.coco import (
    CocoOptions,
    CocoSummary,
    Dataset,
    coco_text,
    prediction_text,
    provenance_lines,
)
from maskwright.export.copies import Copies
from maskwright.export.files import replacing, sync_folder, write_json, write_text
from maskwright.export.folders import write_datasets_folder, write_index_masks, write_yolo
from maskwright.export.rules import validate

__all__ = [
    "CocoOptions",
    "CocoSummary",
    "Copies",
    "Dataset",
    "coco_text",
    "prediction_text",
    "provenance_lines",
    "replacing",
    "sync_folder",
    "validate",
    "write_datasets_folder",
    "write_index_masks",
    "write_json",
    "write_text",
    "write_yolo",
]
