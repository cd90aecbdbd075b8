"""Decisions that are not written yet: one policy for retrying, dropping and conflicts."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from enum import Enum

from maskwright.domain.click_prompt import ClickPrompt
from maskwright.domain.proposal_id import ProposalId
from maskwright.errors import BadProject, Conflict, MaskwrightError, ProjectUnwritable
from maskwright.session.messages import unwritten

__all__ = ["Decision", "Pending", "WriteFailure"]


class WriteFailure(Enum):
    """What becomes of a decision that was not written."""

    RETRY = "retry"
    """The project cannot be written now: the masks stay on screen until it can."""
    CONFLICT = "conflict"
    """Somebody else changed the mask: both are shown, and deciding again replaces theirs."""
    REFUSED = "refused"
    """It can never be written, for example because somebody else has decided."""

    @classmethod
    def of(cls, error: BaseException) -> WriteFailure:
        """The kind of failure that an error is."""
        if isinstance(error, Conflict):
            return cls.CONFLICT
        unwritable = isinstance(error, ProjectUnwritable | BadProject) or not isinstance(error, MaskwrightError)
        return cls.RETRY if unwritable else cls.REFUSED


@dataclass(frozen=True, slots=True)
class Decision:
    """Proposals of one image to accept or to reject."""

    accept: bool
    image_id: int | None
    ids: tuple[ProposalId, ...]
    name: str = ""
    """Category of the mask that was clicked; the others keep their own."""
    prompt: ClickPrompt | None = None
    """The clicks that one of the proposals answers."""
    conflict: bool = False
    """Somebody else changed a mask that this corrects."""


@dataclass(frozen=True, slots=True)
class Pending:
    """Decisions that wait to be written, the oldest first."""

    decisions: tuple[Decision, ...] = ()
    reason: str = ""
    """Why the latest of them was not written."""

    def without(self, ids: Collection[ProposalId]) -> Pending:
        """Without these proposals."""
        left = (replace(d, ids=tuple(key for key in d.ids if key not in ids)) for d in self.decisions)
        return replace(self, decisions=tuple(d for d in left if d.ids))

    def after(self, decision: Decision, error: BaseException | None, reason: str = "") -> Pending:
        """After an attempt to write a decision.

        Args:
            decision: what was attempted.
            error: why it failed; None when it is on disk.
            reason: the sentence to show for it; by default the error's own.
        """
        rest = self.without(decision.ids)
        if error is None or WriteFailure.of(error) is WriteFailure.REFUSED:
            return rest
        conflict = WriteFailure.of(error) is WriteFailure.CONFLICT
        return Pending((*rest.decisions, replace(decision, conflict=conflict)), reason or str(error))

    def attempts(self, decision: Decision) -> tuple[Decision, ...]:
        """What to write when the user decides on proposals of which some may wait already.

        What waits to be accepted and is accepted again is retried as it was, under the name given then. After a
        conflict, or when accepted masks are rejected now, the new decision counts, with the earlier name if it has
        none.
        """
        waiting = self.among(decision.ids)
        retried = tuple(d for d in waiting if d.accept and decision.accept and not d.conflict)
        rest = tuple(key for key in decision.ids if not any(key in d.ids for d in retried))
        name = decision.name or next((d.name for d in waiting if d not in retried and d.name), "")
        return (*retried, replace(decision, ids=rest, name=name)) if rest else retried

    def ids(self, image_id: int | None) -> tuple[ProposalId, ...]:
        """Proposals of an image that wait; they stay on screen whatever became of their prompt."""
        return tuple(key for d in self.decisions if d.image_id == image_id for key in d.ids)

    def among(self, ids: Collection[ProposalId]) -> list[Decision]:
        """Decisions on any of these proposals."""
        return [d for d in self.decisions if not set(ids).isdisjoint(d.ids)]

    def in_conflict(self, proposal: ProposalId | None) -> bool:
        """Whether a proposal corrects a mask that somebody else has changed meanwhile."""
        return any(d.conflict and proposal in d.ids for d in self.decisions)

    @property
    def masks(self) -> int:
        """How many masks wait."""
        return sum(len(d.ids) for d in self.decisions)

    @property
    def message(self) -> str:
        """Why, and how many masks wait; empty when everything is saved."""
        return unwritten(self.reason, self.masks)
