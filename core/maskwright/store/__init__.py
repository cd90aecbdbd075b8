"""The only SQL of Maskwright: images, categories, annotations and their history, in and out as plain values."""

from __future__ import annotations

from maskwright.store.store import Store
from maskwright.store.values import STATES, Counts, DatasetSnapshot, NewAnnotation, NewImage, NewRun, check_mask

__all__ = ["STATES", "Counts", "DatasetSnapshot", "NewAnnotation", "NewImage", "NewRun", "Store", "check_mask"]
