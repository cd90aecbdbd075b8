"""Fine-tuning runs as a project keeps them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Run"]


@dataclass(frozen=True, slots=True)
class Run:
    """One fine-tuning run of a project."""

    id: int
    name: str
    """Also of its folder in `checkpoints/`."""
    state: str
    """running, done, cancelled, failed, or interrupted: its process is gone, and it can be resumed"""
    recipe: str
    base: str
    """The model it started from: a preset's name, a folder, or another run's `checkpoints/NAME`."""
    plan: Mapping[str, Any]
    """Masks, split and settings, frozen when the run was started."""
    progress: Mapping[str, Any]
    """step, steps, loss, seconds left, and the curve so far"""
    before: Mapping[str, Any] | None
    """Scores of the base on the held-out images; None until they are measured."""
    after: Mapping[str, Any] | None
    """Scores of the result on the same images."""
    message: str
    """Why it failed, in one sentence."""
    created_at: str
    updated_at: str
    """The last sign of life of its process."""
