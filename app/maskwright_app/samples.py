"""Sample images of the package, each with its licence and class names to try."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path

__all__ = ["Sample", "samples"]


@dataclass(frozen=True, slots=True)
class Sample:
    """An image with its origin."""

    path: Path
    class_names: str
    """Separated by commas."""
    credit: str
    licence: str
    source: str
    """Address where it was published."""


def samples() -> list[Sample]:
    """All samples, in the order of the gallery."""
    folder = files("maskwright_assets") / "samples"
    result = []
    for entry in json.loads((folder / "samples.json").read_text(encoding="utf-8")):
        source = files("skimage") / "data" if entry.get("package") == "skimage.data" else folder
        with as_file(source / entry["file"]) as path:
            result.append(Sample(path, entry["words"], entry["credit"], entry["licence"], entry["source"]))
    return result
