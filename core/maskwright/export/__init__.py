"""Accepted masks in the file formats of other tools; pure functions make the values, `files` writes them."""

from __future__ import annotations

from maskwright.export.coco import Dataset, provenance_lines, to_coco
from maskwright.export.files import replacing, sync_folder, write_json, write_text
from maskwright.export.rules import validate

__all__ = ["Dataset", "provenance_lines", "replacing", "sync_folder", "to_coco", "validate", "write_json", "write_text"]
