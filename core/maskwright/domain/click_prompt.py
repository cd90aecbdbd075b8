"""Click prompts: points and a box on one image, with the candidate masks of every step so that undo is a value."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

from maskwright.domain.proposal_id import ProposalId

__all__ = ["ClickPrompt", "ClickStep"]


class ClickStep(NamedTuple):
    """The prompt at one moment, and the masks that were predicted for it."""

    points: tuple[tuple[float, float, int], ...]
    """(x, y, label) in pixels of the image; label 1 is a positive point, 0 a negative one"""
    box: tuple[float, float, float, float] | None
    """(left, top, right, bottom) in pixels of the image"""
    candidates: tuple[ProposalId, ...]
    """Ids of the predicted masks, best first"""
    selected: int = 0
    """Index of the candidate on display"""


@dataclass(frozen=True, slots=True)
class ClickPrompt:
    """The clicks on one image, step by step."""

    image_id: int
    corrects: int | None = None
    """Id of the annotation that the clicks correct."""
    steps: tuple[ClickStep, ...] = ()

    @property
    def last(self) -> ClickStep:
        """The current step; an empty one before the first click."""
        return self.steps[-1] if self.steps else ClickStep((), None, ())

    @property
    def proposal(self) -> ProposalId | None:
        """Id of the candidate on display."""
        return self.last.candidates[self.last.selected] if self.last.candidates else None

    @property
    def previous(self) -> ProposalId | None:
        """Id of the latest mask of any step, which the next click corrects."""
        return next((step.candidates[step.selected] for step in reversed(self.steps) if step.candidates), None)

    @property
    def candidates(self) -> tuple[ProposalId, ...]:
        """Ids of the candidates of all steps."""
        return tuple(dict.fromkeys(key for step in self.steps for key in step.candidates))

    def toggle_point(self, x: float, y: float, label: int, *, radius: float = 0.0) -> ClickStep | None:
        """Add a point, or remove the one that lies within `radius` pixels; None when the prompt is then empty."""
        points = self.last.points
        near = [p for p in points if (p[0] - x) ** 2 + (p[1] - y) ** 2 <= radius**2]
        if near:
            rest = tuple(p for p in points if p != near[-1])
            return ClickStep(rest, self.last.box, ()) if rest or self.last.box else None
        return ClickStep((*points, (x, y, label)), self.last.box, ())

    def with_box(self, box: tuple[float, float, float, float]) -> ClickStep:
        """Set the box, in place of an earlier one."""
        return ClickStep(self.last.points, box, ())

    def with_step(self, step: ClickStep) -> ClickPrompt:
        """Append a step."""
        return replace(self, steps=(*self.steps, step))

    def undo(self) -> ClickPrompt:
        """Drop the last step; the masks of the step before are still there."""
        return replace(self, steps=self.steps[:-1])

    def select(self, number: int) -> ClickPrompt:
        """Display another candidate of the last step; numbers wrap around."""
        last = self.last
        return replace(self, steps=(*self.steps[:-1], last._replace(selected=number % max(1, len(last.candidates)))))
