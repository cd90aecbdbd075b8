"""Inference: loaded models, embedding cache, one file per kind of prompt."""

from __future__ import annotations

from maskwright.engine.engine import Engine

__all__ = ["Engine"]
