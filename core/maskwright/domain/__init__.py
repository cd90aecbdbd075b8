"""Frozen values: image, mask, prompt, prediction, annotation, category, fine-tuning run."""

from __future__ import annotations

from maskwright.domain.annotation import UNNAMED, Annotation, AnnotationKey, Category, ReferenceMark
from maskwright.domain.finetune_run import FinetunePlan, Run, RunProgress
from maskwright.domain.image import Image, ImageRecord
from maskwright.domain.mask import Mask
from maskwright.domain.plane import PlaneRecord
from maskwright.domain.prediction import Prediction
from maskwright.domain.prompts import ClassName, EverythingPrompt, Reference, ReferencePrompt, TextPrompt
from maskwright.domain.provenance import ModelRef, PromptKind, Provenance
from maskwright.domain.scores import InstanceScores, Scores

__all__ = [
    "UNNAMED",
    "Annotation",
    "AnnotationKey",
    "Category",
    "ClassName",
    "EverythingPrompt",
    "FinetunePlan",
    "Image",
    "ImageRecord",
    "InstanceScores",
    "Mask",
    "ModelRef",
    "PlaneRecord",
    "Prediction",
    "PromptKind",
    "Provenance",
    "Reference",
    "ReferenceMark",
    "ReferencePrompt",
    "Run",
    "RunProgress",
    "Scores",
    "TextPrompt",
]
