"""A prediction as files: label map, overlay, masks."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pillow

from maskwright.domain import Image, Prediction
from maskwright.domain.palette import default_color
from maskwright.errors import MaskwrightError
from maskwright.files.atomic import json_text, replacing, write_text
from maskwright.files.names import fitting
from maskwright.overlay import Layer, blend

__all__ = ["write_prediction", "written_before"]


def write_prediction(prediction: Prediction, image: Image, folder: Path) -> dict[str, Any]:
    """Write STEM.labels.png (class numbers, 0 is background), STEM.overlay.png and STEM.masks.json.

    Args:
        prediction: to write.
        image: of the prediction.
        folder: for the files.

    Returns:
        The content of the JSON file without the provenance: paths, categories and masks.

    Raises:
        MaskwrightError: the folder cannot be written.
    """
    masks = prediction.masks()
    numbers = {name: index for index, name in enumerate(prediction.categories)}
    if prediction.overlapping_masks is None:
        layers = [Layer(mask, default_color(numbers[str(mask.category)])) for mask in masks]
    else:
        # objects of one category differ in color; of the candidates for one click only the best is in the label map
        candidates = prediction.kind.class_agnostic
        drawn = [mask for mask in masks if not candidates or prediction.label_map[mask.to_array()].all()]
        layers = [Layer(mask, default_color(index)) for index, mask in enumerate(drawn)]
    labels = prediction.label_map.astype(np.uint8 if len(prediction.categories) < 256 else np.uint16)
    files = _files(image, folder)
    content: dict[str, Any] = {
        **{key: str(file.absolute()) for key, file in files.items()},
        "categories": list(prediction.categories),
        "unfamiliar": list(prediction.out_of_vocabulary),
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
        text = json_text({**content, "provenance": dict(prediction.provenance)}) + "\n"
        # a file name that is not UTF-8 (Linux allows any bytes) is escaped
        text = text.encode("utf-8", "backslashreplace").decode()
        write_text(Path(content["masks_file"]), text)
    except OSError as error:
        raise MaskwrightError(
            f"Cannot write to {folder}: {error.strerror or error}.", "Name another folder with --out."
        ) from error
    return content


def written_before(image: Image, folder: Path, category: str, provenance: Mapping[str, Any]) -> dict[str, Any] | None:
    """What `write_prediction` has returned for the same prompt on the same image, read from its files; or None."""
    files = _files(image, folder)
    try:
        content: dict[str, Any] = json.loads(files["masks_file"].read_text(encoding="utf-8"))
        before = content.pop("provenance")
        same = {**before, "version": None} == {**json.loads(json.dumps(dict(provenance))), "version": None}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        # no such file, or not written by us
        return None
    whole = all(file.is_file() for file in files.values())
    return content if same and whole and content.get("categories") == [category] else None


def _files(image: Image, folder: Path) -> dict[str, Path]:
    stem = fitting(Path(image.name).stem or image.sha256[:12], ".overlay.png")
    return {
        "label_map": folder / f"{stem}.labels.png",
        "overlay": folder / f"{stem}.overlay.png",
        "masks_file": folder / f"{stem}.masks.json",
    }


def _write_png(file: Path, array: np.ndarray[Any, np.dtype[Any]]) -> None:
    buffer = io.BytesIO()
    Pillow.fromarray(array).save(buffer, "PNG")
    with replacing(file) as stream:
        stream.write(buffer.getvalue())
