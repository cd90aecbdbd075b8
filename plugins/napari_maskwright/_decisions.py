"""What a person decided, and what of it could not be saved yet."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from maskwright.domain.click_prompt import ClickPrompt
from maskwright.errors import BadProject, MaskwrightError, ProjectUnwritable

__all__ = ["Decision", "Unsaved", "counted", "not_written"]


@dataclass(frozen=True, slots=True)
class Decision:
    """A yes or no to proposals of one image."""

    image_id: int | None
    ids: tuple[str, ...]
    name: str
    """Of the clicked one among them; the others have their own."""
    keep: bool
    prompt: ClickPrompt | None = None
    """The clicks that one of them answers."""

    @property
    def words(self) -> str:
        """Such as "Accepted 3 masks."."""
        return f"{'Accepted' if self.keep else 'Rejected'} {counted(len(self.ids))}."


class Unsaved:
    """Decisions whose masks are kept on screen until they can be written, the oldest first."""

    def __init__(self) -> None:
        self._kept: list[Decision] = []
        self._why = ""

    def add(self, decision: Decision, why: str) -> None:
        """Keep a decision that could not be written; what was kept of the same masks gives way."""
        self.drop(decision.ids)
        self._kept.append(decision)
        self._why = why

    def drop(self, ids: Collection[str]) -> None:
        """Keep these proposals no longer."""
        left = [replace(one, ids=tuple(key for key in one.ids if key not in ids)) for one in self._kept]
        self._kept = [one for one in left if one.ids]

    def all(self) -> list[Decision]:
        """What is left to save."""
        return list(self._kept)

    def among(self, ids: Collection[str]) -> list[Decision]:
        """Those on any of these proposals."""
        return [one for one in self._kept if not set(ids).isdisjoint(one.ids)]

    def ids(self, image_id: int | None) -> list[str]:
        """The proposals of an image that wait to be saved."""
        return [key for one in self._kept if one.image_id == image_id for key in one.ids]

    @property
    def number(self) -> int:
        """How many masks wait."""
        return sum(len(one.ids) for one in self._kept)

    @property
    def sentence(self) -> str:
        """Why, and how many masks wait; empty when everything is saved."""
        if not self._kept:
            return ""
        return f"{self._why} {counted(self.number)} kept on screen, not saved yet."


def counted(number: int) -> str:
    """Such as "1 mask" and "3 masks"."""
    return f"{number} mask{'s' * (number != 1)}"


def not_written(error: Exception) -> bool:
    """Whether the project could not be written, rather than the decision be refused."""
    return isinstance(error, (ProjectUnwritable, BadProject)) or not isinstance(error, MaskwrightError)
