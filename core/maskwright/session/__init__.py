"""All that both front ends show and decide; a front end imports this room and `domain` only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from maskwright.errors import (
    BadPrompt,
    Cancelled,
    Conflict,
    MaskwrightError,
    NothingToUndo,
    OtherImage,
    ProjectUnwritable,
    UsageError,
)
from maskwright.files.logins import Logins
from maskwright.progress import NO_PROGRESS, Progress, cancellable
from maskwright.project import AddResult
from maskwright.project.uploads import Upload
from maskwright.remote import UNKNOWN_IMAGE
from maskwright.session.batches import BatchJob, BatchPrompt
from maskwright.session.choices import CLEANINGS, REFINEMENT_CHOICES, Choice
from maskwright.session.classes import ClassEntry
from maskwright.session.comparison import Side
from maskwright.session.countable import countable_names, divide_countable
from maskwright.session.drawn import DrawnPrompt, masks_of_labels, polygon_mask, propose_drawn, propose_masks
from maskwright.session.exchange import EXPORT_FORMATS, ImportReport
from maskwright.session.finetune_answers import JudgedImage, JudgedMasks, JudgedOverlays
from maskwright.session.finetuning import FINETUNE_ACTIONS, RUN_ACTIONS, TUNABLE, FinetuneStatus, RunCard
from maskwright.session.layer_files import LabelledImage, is_coco, read_labelled, write_labelled
from maskwright.session.locations import LocationKind, ProjectLocation
from maskwright.session.masks import MaskEdit, StoredMask
from maskwright.session.messages import (
    CLOSED_PROPOSAL,
    FIRST_IMAGE,
    LAST_IMAGE,
    NO_IMAGE,
    NO_OPEN_MASK,
    deletion_message,
    duplicates_hidden,
    plural,
)
from maskwright.session.pending import Decision, Pending, WriteFailure
from maskwright.session.presets import PRESET_ACTIONS, PresetInfo
from maskwright.session.propagation import PropagationResult, StackPlane, propagate
from maskwright.session.session import AnnotationSession, default_project
from maskwright.session.stacks import StackLabels, label_stack
from maskwright.session.thumbnails import mask_thumbnail
from maskwright.session.views import MaskView, Proposal, Proposals, visible
from maskwright.store import STATUSES, Changes, ImageFilter, ImageSummary
from maskwright.training.finetune.recipes import RECIPES

if TYPE_CHECKING:
    # torch comes with the search, and a window should open before it
    from maskwright.project.search import SearchHit, SearchResult

__all__ = [
    "CLEANING",
    "CLEANINGS",
    "CLOSED_PROPOSAL",
    "EXPORT_FORMATS",
    "FINETUNE_ACTIONS",
    "FIRST_IMAGE",
    "LAST_IMAGE",
    "METHODS",
    "NO_IMAGE",
    "NO_OPEN_MASK",
    "NO_PROGRESS",
    "PRESET_ACTIONS",
    "RECIPES",
    "REFINEMENT_CHOICES",
    "RUN_ACTIONS",
    "STATUSES",
    "TUNABLE",
    "UNKNOWN_IMAGE",
    "AddResult",
    "AnnotationSession",
    "BadPrompt",
    "BatchJob",
    "BatchPrompt",
    "Cancelled",
    "Changes",
    "Choice",
    "ClassEntry",
    "Conflict",
    "Decision",
    "DrawnPrompt",
    "FinetuneStatus",
    "ImageFilter",
    "ImageSummary",
    "ImportReport",
    "JudgedImage",
    "JudgedMasks",
    "JudgedOverlays",
    "LabelledImage",
    "LocationKind",
    "Logins",
    "MaskEdit",
    "MaskView",
    "MaskwrightError",
    "NothingToUndo",
    "OtherImage",
    "Pending",
    "PresetInfo",
    "Progress",
    "ProjectLocation",
    "ProjectUnwritable",
    "PropagationResult",
    "Proposal",
    "Proposals",
    "RunCard",
    "SearchHit",
    "SearchResult",
    "Side",
    "StackLabels",
    "StackPlane",
    "StoredMask",
    "Upload",
    "UsageError",
    "WriteFailure",
    "cancellable",
    "countable_names",
    "default_project",
    "deletion_message",
    "divide_countable",
    "duplicates_hidden",
    "is_coco",
    "label_stack",
    "mask_thumbnail",
    "masks_of_labels",
    "plural",
    "polygon_mask",
    "propagate",
    "propose_drawn",
    "propose_masks",
    "read_labelled",
    "visible",
    "write_labelled",
]

METHODS = {
    "Automatic": None,
    "dinov3.seg": "dinov3seg",
    "dino.txt": "dinotxt",
    "Talk2DINO": "talk2dino",
    "OVS-DINO": "ovs-dino",
}
"""Text methods by the name they are shown under; automatic is the preset's first."""
CLEANING = {"Automatic": None, "On": True, "Off": False}
"""Background cleaning by the name it is shown under; automatic is what the preset says."""
