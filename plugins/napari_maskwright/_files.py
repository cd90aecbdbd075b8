"""Files as layers and layers as files: projects and COCO."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from napari.utils import DirectLabelColormap
from napari.utils.notifications import show_info

from maskwright.domain import Image
from maskwright.session import LabelledImage, MaskwrightError, is_coco, read_labelled, write_labelled

__all__ = ["read_coco", "read_project", "write_coco", "write_project"]

Layers = list[tuple[Any, dict[str, Any], str]]
LayerFiles = Sequence[tuple[Any, dict[str, Any], str]]


def read_project(path: str | Sequence[str]) -> Callable[[str], Layers] | None:
    """A reader of a project's folder, or of its `project.db`; None for anything else."""
    if not isinstance(path, str):
        return None
    file = Path(path) / "project.db" if Path(path).is_dir() else Path(path)
    return _read if file.name == "project.db" and file.exists() else None


def read_coco(path: str | Sequence[str]) -> Callable[[str], Layers] | None:
    """A reader of a COCO file; None for anything else."""
    return _read if isinstance(path, str) and is_coco(Path(path)) else None


def write_coco(path: str, layers: LayerFiles) -> list[str]:
    """Write labels, with the image that they lie on if it is among the layers, as COCO; returns the file."""
    return [str(write_labelled(Path(path), list(_labelled(layers))))]


def write_project(path: str, layers: LayerFiles) -> list[str]:
    """Add labels, with their image if it is among the layers, to the project of a `project.db`; returns the file."""
    file = Path(path)
    return [str(write_labelled(file if file.name == "project.db" else file.with_suffix("") / "project.db",
                               list(_labelled(layers))))]  # fmt: skip


def _read(path: str) -> Layers:
    images, sentence = read_labelled(Path(path))
    if sentence:
        show_info(sentence)
    layers: Layers = []
    for image in images:
        if image.pixels is not None:
            layers.append((image.pixels, {"name": image.name, "rgb": True}, "image"))
        rows = sorted(image.classes)
        features = {
            "index": rows,
            "class": [image.classes[number] for number in rows],
            "score": [image.scores.get(number, float("nan")) for number in rows],
            "area": [int(np.count_nonzero(image.labels == number)) for number in rows],
        }
        colors: dict[int | None, str] = {None: "#00000000", 0: "#00000000"}
        colors.update((number, color) for number, color in image.colors.items())
        options = {"features": features, "colormap": DirectLabelColormap(color_dict=colors)}
        layers.append((image.labels, {"name": f"{image.name} masks", **options}, "labels"))
    return layers


def _labelled(layers: LayerFiles) -> Iterator[LabelledImage]:
    """A labelled image for each plane of each layer of labels."""
    images = [(data, options) for data, options, kind in layers if kind == "image"]
    for data, options, kind in layers:
        if kind != "labels":
            continue
        labels = data[0] if options.get("multiscale") else data
        name, features = str(options.get("name") or "labels"), options.get("features")
        classes = {}
        if features is not None and {"index", "class"} <= set(features):
            pairs = zip(features["index"], features["class"], strict=True)
            classes = {int(number): str(category) for number, category in pairs}
        fitting = [(pixels, other) for pixels, other in images if _fits(pixels, other, labels.shape)]
        for index in np.ndindex(labels.shape[:-2]):
            title = " ".join([name, *(str(place) for place in index)])
            pixels = None
            if fitting:
                plane, other = fitting[0]
                title = " ".join([str(other.get("name") or name), *(str(place) for place in index)])
                pixels = Image.from_array(np.asarray(plane[index]), rgb=bool(other.get("rgb"))).pixels
            yield LabelledImage(title, np.asarray(labels[index]), pixels, classes)


def _fits(pixels: Any, options: dict[str, Any], shape: tuple[int, ...]) -> bool:
    if options.get("multiscale"):
        raise MaskwrightError("An image with several levels cannot be saved here.", "Save the labels alone.")
    return tuple(pixels.shape[:-1] if options.get("rgb") else pixels.shape) == tuple(shape)
