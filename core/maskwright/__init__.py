"""Maskwright: segmentation masks by word, by click or by example.

The public names load on first use, so that `import maskwright` needs neither torch nor SQLAlchemy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from maskwright.domain import Annotation, Category, Image, Mask, Prediction, Reference
    from maskwright.engine import Engine
    from maskwright.errors import MaskwrightError
    from maskwright.project import Project

__version__ = "0.7.0"

_HOMES = {
    "Annotation": "domain",
    "Category": "domain",
    "Engine": "engine",
    "Image": "domain",
    "Mask": "domain",
    "MaskwrightError": "errors",
    "Prediction": "domain",
    "Project": "project",
    "Reference": "domain",
}

__all__ = [
    "Annotation",
    "Category",
    "Engine",
    "Image",
    "Mask",
    "MaskwrightError",
    "Prediction",
    "Project",
    "Reference",
    "__version__",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
