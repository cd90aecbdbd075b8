"""A prompt made of clicks as a value: what a person has clicked so far, what the answers were, and how to go back."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

from maskwright.domain.proposal_id import ProposalId

__all__ = ["ClickPrompt", "ClickStep"]


class ClickStep(NamedTuple):
    """What was asked at one moment, and what came back."""

    points: tuple[tuple[float, float, int], ...]
    """x and y in pixels of the image, and 1 on the thing or 0 beside it"""
    box: tuple[float, float, float, float] | None
    answers: tuple[ProposalId, ...]
    """Ids of the proposals, the best first"""
    chosen: int = 0


@dataclass(frozen=True, slots=True)
class ClickPrompt:
    """The clicks on one image, step by step; a session answers them."""

    image_id: int
    corrects: int | None = None
    """Id of the accepted mask that the clicks correct."""
    steps: tuple[ClickStep, ...] = ()

    @property
    def last(self) -> ClickStep:
        """What is asked now."""
        return self.steps[-1] if self.steps else ClickStep((), None, ())

    @property
    def proposal(self) -> ProposalId | None:
        """Id of the answer that is shown."""
        return self.last.answers[self.last.chosen] if self.last.answers else None

    @property
    def previous(self) -> ProposalId | None:
        """Id of the last answer there was: what the next click corrects."""
        return next((step.answers[step.chosen] for step in reversed(self.steps) if step.answers), None)

    @property
    def answers(self) -> tuple[ProposalId, ...]:
        """Ids of all answers so far."""
        return tuple(dict.fromkeys(key for step in self.steps for key in step.answers))

    def clicked(self, x: float, y: float, sign: int, *, near: float = 0.0) -> ClickStep | None:
        """The step after a click: a point more, or less when one lies within `near` pixels; None when none is left."""
        points = self.last.points
        hit = [p for p in points if (p[0] - x) ** 2 + (p[1] - y) ** 2 <= near**2]
        if hit:
            left = tuple(p for p in points if p != hit[-1])
            return ClickStep(left, self.last.box, ()) if left or self.last.box else None
        return ClickStep((*points, (x, y, sign)), self.last.box, ())

    def boxed(self, box: tuple[float, float, float, float]) -> ClickStep:
        """The step after a box is drawn; an earlier one is replaced."""
        return ClickStep(self.last.points, box, ())

    def answered(self, step: ClickStep) -> ClickPrompt:
        """The prompt with one step more."""
        return replace(self, steps=(*self.steps, step))

    def undone(self) -> ClickPrompt:
        """The prompt without its last step; the answers before it are still there."""
        return replace(self, steps=self.steps[:-1])

    def choosing(self, number: int) -> ClickPrompt:
        """The prompt with another of the last answers shown."""
        last = self.last
        return replace(self, steps=(*self.steps[:-1], last._replace(chosen=number % max(1, len(last.answers)))))
