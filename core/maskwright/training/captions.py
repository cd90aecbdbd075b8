"""Pictures with captions: COCO captions files, or class names in place of sentences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maskwright.errors import BadCoco, MaskwrightError
from maskwright.formats.labelled_folder import held_out, read_coco

__all__ = ["Captioned", "read_captions"]

_FILES = ("captions.json", "annotations.json")


@dataclass(frozen=True, slots=True)
class Captioned:
    """One picture with what it was said to show."""

    file: Path
    captions: tuple[str, ...]
    names: bool
    """The captions are class names, which are shown under prompts while a model learns."""


def read_captions(folder: Path, skip: frozenset[str] = frozenset()) -> list[Captioned]:
    """Pictures of `images/` with their captions; held-out pictures and those named in `skip` are left out.

    Reads `captions.json`, else `annotations.json`: rows with a `caption` (COCO captions), else the names of the
    categories that a picture's rows show.

    Raises:
        MaskwrightError: neither file is there, or no picture has a caption.
        BadCoco: the file is damaged.
    """
    found = [folder / name for name in _FILES if (folder / name).is_file()]
    if not found:
        raise MaskwrightError(
            f"{folder} has no captions: it needs images/ and captions.json or annotations.json (COCO). Check the name."
        )
    data = read_coco(found[0], ("images", "annotations"))
    try:
        said = _said(data)
        names = not any("caption" in row for row in data["annotations"])
        rows = [
            Captioned(folder / "images" / str(row["file_name"]), tuple(said.get(row["id"], ())), names)
            for row in data["images"]
            if not held_out(str(row["file_name"])) and Path(str(row["file_name"])).stem not in skip
        ]
    except (KeyError, TypeError) as error:
        raise BadCoco(f"{found[0]} is not complete: {error} is missing or not valid. Export it again.") from error
    rows = [row for row in rows if row.captions]
    if not rows:
        raise MaskwrightError(f"{found[0]} gives no picture a caption that may be learned from. Name another folder.")
    return rows


def _said(data: Mapping[str, Any]) -> dict[Any, dict[str, None]]:
    """By image id the captions, each once and in order; class names where a row has none."""
    names = {row["id"]: str(row["name"]) for row in data.get("categories", ())}
    said: dict[Any, dict[str, None]] = {}
    for row in data["annotations"]:
        text = str(row["caption"] or "").strip() if "caption" in row else names[row["category_id"]]
        if text:
            said.setdefault(row["image_id"], {})[text] = None
    return said
