"""Captioned images: COCO captions files, Karpathy's splits, or class names as captions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maskwright.errors import BadCoco, MaskwrightError
from maskwright.formats.labelled_folder import held_out, load_json, read_coco

__all__ = ["CaptionedImage", "read_captions", "read_retrieval"]

_FILES = ("captions.json", "annotations.json")


@dataclass(frozen=True, slots=True)
class CaptionedImage:
    """One image with its captions."""

    file: Path
    captions: tuple[str, ...]
    names: bool
    """The captions are class names, which training puts into prompt templates."""


def read_captions(folder: Path, skip: frozenset[str] | None = frozenset()) -> list[CaptionedImage]:
    """Read the images of `images/` with their captions.

    The captions are those of `captions.json`, else of `annotations.json`: the `caption` of each row (COCO captions), or
    the names of its categories.

    Args:
        folder: Folder with `images/` and one of the two files.
        skip: Image names without extension to leave out beside held-out ones; None takes every image.

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
            if skip is None or not (held_out(str(row["file_name"])) or Path(str(row["file_name"])).stem in skip)
        ]
    except (KeyError, TypeError) as error:
        raise BadCoco(f"{files[0]} is not complete: {error} is missing or not valid. Export it again.") from error
    rows = [row for row in rows if row.captions]
    if not rows:
        raise MaskwrightError(f"{files[0]} has no image with a caption, held-out ones aside.", "Name another folder.")
    return rows


def read_retrieval(folder: Path) -> list[CaptionedImage]:
    """The captioned images that a retrieval benchmark measures, all of them.

    The folder holds Karpathy's `dataset_coco.json` or `dataset_flickr30k.json`, whose split "test" is read; or COCO's
    `annotations/captions_val2017.json` beside `val2017/`; or `images/` with `captions.json`.

    Raises:
        MaskwrightError: it holds none of these, or an image is missing.
        BadCoco: the file is damaged.
    """
    splits = sorted(folder.glob("dataset_*.json"))
    if splits:
        images = _karpathy(splits[0])
    elif (folder / "annotations" / "captions_val2017.json").is_file():
        images = _of_coco(folder / "annotations" / "captions_val2017.json", folder / "val2017")
    else:
        images = read_captions(folder, None)
    missing = next((image.file for image in images if not image.file.is_file()), None)
    if missing or not images:
        raise MaskwrightError(f"There is no file {missing or folder}.", "Name the folder of the images.")
    return images


def _karpathy(file: Path) -> list[CaptionedImage]:
    data = load_json(file)
    try:
        rows = [row for row in data["images"] if row["split"] == "test"]
        return [
            CaptionedImage(
                _found(file.parent, row), tuple(text["raw"].strip() for text in row["sentences"]), names=False
            )
            for row in rows
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise BadCoco(f"{file} is none of Karpathy's splits: {error}.", "Get it again.") from error


def _found(folder: Path, row: Mapping[str, Any]) -> Path:
    """The image of a row, in COCO's folders, in Flickr30k's or in `images/`."""
    name, places = str(row["filename"]), (str(row.get("filepath", ".")), "flickr30k-images", "images", ".")
    files = [folder / place / name for place in places]
    return next((file for file in files if file.is_file()), files[0])


def _of_coco(file: Path, images: Path) -> list[CaptionedImage]:
    data = read_coco(file, ("images", "annotations"))
    captions = _captions(data)
    return [
        CaptionedImage(images / str(row["file_name"]), tuple(captions[row["id"]]), names=False)
        for row in data["images"]
        if row["id"] in captions
    ]


def _captions(data: Mapping[str, Any]) -> dict[Any, dict[str, None]]:
    """Captions by image id, each once and in file order; class names where a row has none."""
    names = {row["id"]: str(row["name"]) for row in data.get("categories", ())}
    captions: dict[Any, dict[str, None]] = {}
    for row in data["annotations"]:
        text = str(row["caption"] or "").strip() if "caption" in row else names[row["category_id"]]
        if text:
            captions.setdefault(row["image_id"], {})[text] = None
    return captions
