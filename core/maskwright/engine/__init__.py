"""The inference core: loaded models, device, embedding cache; one file per kind of prompt."""

from __future__ import annotations

from maskwright.engine.engine import METHODS, REFINEMENTS, Engine

__all__ = ["METHODS", "REFINEMENTS", "Engine"]
