"""Captioned images: COCO captions files, or class names as captions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maskwright.errors import BadCoco, MaskwrightError
from maskwright.formats.labelled_folder import held_out, read_coco

__all__ = ["CaptionedImage", "read_captions"]

_FILES = ("captions.json", "annotations.json")


@dataclass(frozen=True, slots=True)
class CaptionedImage:
    """One image with its captions."""

    file: Path
    captions: tuple[str, ...]
    names: bool
    """The captions are class names, which training puts into prompt templates."""


def read_captions(folder: Path, skip: frozenset[str] = frozenset()) -> list[CaptionedImage]:
    """Read the images of `images/` with their captions, except held-out ones.

    The captions are those of `captions.json`, else of `annotations.json`: the `caption` of each row (COCO captions), or
    the names of its categories.

    Args:
        folder: Folder with `images/` and one of the two files.
        skip: Image names without extension to leave out.

    Raises:
        MaskwrightError: Neither file exists, or no image has a caption.
        BadCoco: The file is damaged.
    """
    files = [folder / name for name in _FILES if (folder / name).is_file()]
    if not files:
        raise MaskwrightError(
            f"{folder} has no captions: it needs images/ and captions.json or annotations.json (COCO). Check the name."
        )
    data = read_coco(files[0], ("images", "annotations"))
    try:
        captions = _captions(data)
        names = not any("caption" in row for row in data["annotations"])
        rows = [
            CaptionedImage(folder / "images" / str(row["file_name"]), tuple(captions.get(row["id"], ())), names)
            for row in data["images"]
            if not held_out(str(row["file_name"])) and Path(str(row["file_name"])).stem not in skip
        ]
    except (KeyError, TypeError) as error:
        raise BadCoco(f"{files[0]} is not complete: {error} is missing or not valid. Export it again.") from error
    rows = [row for row in rows if row.captions]
    if not rows:
        raise MaskwrightError(f"{files[0]} has no image with a caption outside the held-out ones. Name another folder.")
    return rows


def _captions(data: Mapping[str, Any]) -> dict[Any, dict[str, None]]:
    """Captions by image id, each once and in file order; class names where a row has none."""
    names = {row["id"]: str(row["name"]) for row in data.get("categories", ())}
    captions: dict[Any, dict[str, None]] = {}
    for row in data["annotations"]:
        text = str(row["caption"] or "").strip() if "caption" in row else names[row["category_id"]]
        if text:
            captions.setdefault(row["image_id"], {})[text] = None
    return captions
