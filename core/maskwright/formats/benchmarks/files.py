"""Files of published data sets: folders, label maps, pickles, and the class lists that come with Maskwright."""

from __future__ import annotations

import json
import pickle
from importlib.resources import files as resources
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import UnidentifiedImageError

from maskwright.errors import ImageUnreadable, MaskwrightError

__all__ = ["IGNORED", "class_names", "place", "read_json", "read_labels", "read_lines", "read_pickle", "unpickle"]

IGNORED = -1
"""Label of pixels that are not counted."""

# what numpy's pickled arrays and plain containers need; anything else could run code
_HARMLESS = {
    ("numpy", "dtype"), ("numpy", "ndarray"), ("numpy.core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"), ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "scalar"), ("collections", "OrderedDict"), ("collections", "defaultdict"),
    ("builtins", "dict"), ("builtins", "list"), ("builtins", "set"), ("_codecs", "encode"),
}  # fmt: skip


def class_names(name: str) -> list[str]:
    """Names of a class list in label order; synonyms are separated by commas."""
    file = resources("maskwright_assets") / "benchmark_classes.json"
    return list(json.loads(file.read_text(encoding="utf-8"))[name]["names"])


def place(folder: Path, *candidates: str, what: str) -> Path:
    """The first of some paths inside a folder that exists.

    Args:
        folder: that the user named.
        candidates: relative paths.
        what: the data set, for the message.

    Raises:
        MaskwrightError: none of them exists.
    """
    for candidate in candidates:
        if (folder / candidate).exists():
            return folder / candidate
    raise MaskwrightError(f"{folder} does not hold {what}: it needs {candidates[0]}. Name the folder that has it.")


def read_labels(file: Path) -> NDArray[np.int32]:
    """(H, W) int32 values of a label map: palette indices, grey values, or (H, W, 3) of a colour image.

    Raises:
        MaskwrightError: the file is missing or no image.
    """
    try:
        with Pillow.open(file) as opened:
            return np.asarray(opened).astype(np.int32)
    except FileNotFoundError as error:
        raise MaskwrightError(f"There is no file {file}. Get the data set again.") from error
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError) as error:
        raise ImageUnreadable(file.name) from error


def read_lines(file: Path) -> list[str]:
    """The lines of a text file that are not empty."""
    return [line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]


def read_json(file: Path) -> Any:
    """The content of a JSON file; raises MaskwrightError."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise MaskwrightError(f"{file} is not readable JSON ({error}). Get the data set again.") from error


class _Unpickler(pickle.Unpickler):
    """Containers, numbers, texts and numpy arrays only: an unpickled file must not run code."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _HARMLESS:
            raise pickle.UnpicklingError(f"it names {module}.{name}")
        return super().find_class(module, name)


def read_pickle(file: Path) -> Any:
    """The content of a pickle of plain values; raises MaskwrightError when it holds anything else."""
    try:
        with file.open("rb") as stream:
            return unpickle(stream, file)
    except OSError as error:
        raise MaskwrightError(f"{file} cannot be read ({error.strerror}). Get the data set again.") from error


def unpickle(stream: BinaryIO, file: Path) -> Any:
    """Plain values from an open pickle; `file` is for the message of MaskwrightError."""
    try:
        return _Unpickler(stream).load()
    except (pickle.UnpicklingError, EOFError, AttributeError, ImportError, IndexError, ValueError) as error:
        raise MaskwrightError(f"{file} is not a pickle of plain values ({error}). Get the data set again.") from error
