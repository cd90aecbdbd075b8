"""What a user can choose for a text prompt, each with one plain sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from maskwright.domain.prompts import TEXT_METHODS

__all__ = ["CLEANINGS", "REFINEMENT_CHOICES", "Choice", "text_methods", "vocabulary"]


class Choice(NamedTuple):
    """An entry of a list to choose from."""

    key: str
    title: str
    sentence: str


_AUTOMATIC = Choice("", "Automatic", "The method that this model does best.")
_METHODS = {
    "dinov3seg": Choice("dinov3seg", "dinov3.seg", "Refines the comparison with the words; the sharpest contours."),
    "dinotxt": Choice("dinotxt", "dino.txt", "Compares the words with each patch of the image; knows the most words."),
    "talk2dino": Choice("talk2dino", "Talk2DINO", "Maps CLIP's words to the image; also searches images by a phrase."),
    "ovs-dino": Choice("ovs-dino", "OVS-DINO", "Compares the words with features whose edges were taught by SAM."),
}
CLEANINGS = (
    Choice("on", "On", "Pixels that stand out from the main object as background are left out."),
    Choice("off", "Off", "The threshold alone decides which pixels are left out."),
)
"""Background cleaning; an empty key leaves it to the model."""
REFINEMENT_CHOICES = (
    Choice("pamr", "PAMR", "Contours follow the edges of the image; fast."),
    Choice("crf", "CRF", "Contours follow the edges and colours of the image more closely; slow on large images."),
)
"""Refinements of contours; an empty key is none."""


def text_methods(folder: Path) -> list[Choice]:
    """The text methods of a preset's folder, the automatic choice first; none when it cannot be read."""
    parts = _parts(folder)
    methods = [_METHODS[name] for name in TEXT_METHODS if name in parts]
    return [_AUTOMATIC, *methods] if methods else []


def vocabulary(folder: Path) -> list[str]:
    """The class names that a preset was trained on; none when it takes any words, or cannot be read."""
    dinotxt = _parts(folder).get("dinotxt")
    names = dinotxt.get("familiar") if isinstance(dinotxt, dict) else None
    return [str(name) for name in names or ()]


def _parts(folder: Path) -> dict[str, Any]:
    """The entries of a preset's `config.json`; none when it cannot be read."""
    try:
        parts = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return parts if isinstance(parts, dict) else {}
