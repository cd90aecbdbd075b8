"""The only SQL of Maskwright: images, categories, annotations and their history, in and out as plain values."""

from __future__ import annotations

from maskwright.store.dataset import StoredDataset
from maskwright.store.imports import ImportCounts, NewCategory, NewDataset
from maskwright.store.listening import ChangeListener
from maskwright.store.store import Store
from maskwright.store.values import (
    STATES,
    STATUSES,
    BoxPrompt,
    Change,
    Changes,
    Correction,
    Counts,
    ImageFilter,
    ImageSummary,
    NewAnnotation,
    NewImage,
    NewPrediction,
    NewRun,
    UndoStep,
    check_mask,
)

__all__ = [
    "STATES",
    "STATUSES",
    "BoxPrompt",
    "Change",
    "ChangeListener",
    "Changes",
    "Correction",
    "Counts",
    "ImageFilter",
    "ImageSummary",
    "ImportCounts",
    "NewAnnotation",
    "NewCategory",
    "NewDataset",
    "NewImage",
    "NewPrediction",
    "NewRun",
    "Store",
    "StoredDataset",
    "UndoStep",
    "check_mask",
]
