"""Two models side by side: the same prompt on the same image; nothing is stored."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from maskwright.domain import Image, Mask, TextPrompt
from maskwright.progress import NO_PROGRESS, Progress
from maskwright.session.engines import Engines
from maskwright.session.messages import answer_notice

__all__ = ["Side", "compare"]


@dataclass(frozen=True, slots=True)
class Side:
    """What one model answers."""

    preset: str
    masks: tuple[Mask, ...]
    seconds: float
    notice: str


def compare(
    engines: Engines, image: Image, prompt: TextPrompt, presets: Sequence[str], *, progress: Progress = NO_PROGRESS
) -> list[Side]:
    """Answers of several presets, in their order; raises as `Engine.load` and `Engine.segment`."""
    sides = []
    for number, preset in enumerate(presets):
        engine = engines.load(preset)
        started = time.perf_counter()
        prediction = engine.segment(image, prompt, progress=progress.part(number, len(presets)))
        masks = tuple(prediction.masks())
        notice = answer_notice(prediction, {mask.category for mask in masks})
        sides.append(Side(preset, masks, time.perf_counter() - started, notice))
    return sides
