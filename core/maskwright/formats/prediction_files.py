"""One prediction as files: label map, overlay, masks."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pillow

from maskwright.domain import Image, Prediction
from maskwright.domain.palette import default_color
from maskwright.errors import MaskwrightError
from maskwright.files.atomic import json_text, replacing, write_text
from maskwright.overlay import Layer, blend

__all__ = ["write_prediction", "written_before"]

_LONGEST = 255 - len(".overlay.png")
"""Bytes of a stem: the usual disks take names of 255."""


def write_prediction(found: Prediction, image: Image, folder: Path) -> dict[str, Any]:
    """Write STEM.labels.png (index of the class, 0 none), STEM.overlay.png and STEM.masks.json; gives the answer.

    Raises:
        MaskwrightError: the folder cannot be written.
    """
    masks = found.masks()
    numbers = {name: index for index, name in enumerate(found.categories)}
    if found.overlapping_masks is None:
        layers = [Layer(mask, default_color(numbers[str(mask.category)])) for mask in masks]
    else:
        # things of one name, told apart by their colours; of the answers to one click only the best is in the label map
        shown = [mask for mask in masks if found.label_map[mask.to_array()].all()]
        layers = [Layer(mask, default_color(index)) for index, mask in enumerate(shown)]
    labels = found.label_map.astype(np.uint8 if len(found.categories) < 256 else np.uint16)
    files = _files(image, folder)
    answer: dict[str, Any] = {
        **{key: str(file.absolute()) for key, file in files.items()},
        "categories": list(found.categories),
        "unfamiliar": list(found.out_of_vocabulary),
        "masks": [
            {
                "category": mask.category,
                "score": mask.score,
                "bbox": list(mask.bbox),
                "area": mask.area,
                "segmentation": dict(mask.rle),
            }
            for mask in masks
        ],
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write_png(files["label_map"], labels)
        _write_png(files["overlay"], blend(image.pixels, layers))
        text = json_text({**answer, "provenance": dict(found.provenance)}) + "\n"
        # a file name that is no text (Linux allows any bytes) stands as JSON's own escapes
        text = text.encode("utf-8", "backslashreplace").decode()
        write_text(Path(answer["masks_file"]), text)
    except OSError as error:
        raise MaskwrightError(
            f"Cannot write to {folder}: {error.strerror or error}. Name another folder with --out."
        ) from error
    return answer


def written_before(image: Image, folder: Path, category: str, provenance: Mapping[str, Any]) -> dict[str, Any] | None:
    """The answer that `write_prediction` left for this very prompt on this very image, or None."""
    files = _files(image, folder)
    try:
        found: dict[str, Any] = json.loads(files["masks_file"].read_text(encoding="utf-8"))
        before = found.pop("provenance")
        same = {**before, "version": None} == {**json.loads(json.dumps(dict(provenance))), "version": None}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        # none, or not one of ours
        return None
    whole = all(file.is_file() for file in files.values())
    return found if same and whole and found.get("categories") == [category] else None


def _files(image: Image, folder: Path) -> dict[str, Path]:
    stem = _short(Path(image.name).stem or image.sha256[:12])
    return {
        "label_map": folder / f"{stem}.labels.png",
        "overlay": folder / f"{stem}.overlay.png",
        "masks_file": folder / f"{stem}.masks.json",
    }


def _short(stem: str) -> str:
    """The stem, cut so that it fits on a disk together with our suffixes."""
    while len(os.fsencode(stem)) > _LONGEST:
        stem = stem[:-1]
    return stem


def _write_png(file: Path, array: np.ndarray[Any, np.dtype[Any]]) -> None:
    buffer = io.BytesIO()
    Pillow.fromarray(array).save(buffer, "PNG")
    with replacing(file) as stream:
        stream.write(buffer.getvalue())
