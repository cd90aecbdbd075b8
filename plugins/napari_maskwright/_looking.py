"""Reading what is shown of a project."""

from __future__ import annotations

from dataclasses import dataclass

from maskwright.domain.click_prompt import ClickPrompt
from maskwright.session import AnnotationSession, MaskView

__all__ = ["OpenProposals", "Snapshot", "read_snapshot"]


@dataclass(frozen=True, slots=True)
class OpenProposals:
    """Proposals of this window on the image in view, by id."""

    ids: tuple[str, ...] = ()
    """With the preview's, which is shown and never decided on."""
    prompt: ClickPrompt | None = None
    disputed: bool = False
    """Somebody else changed the mask that the clicks correct: both are shown."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the project held at one moment."""

    number: int
    """Of the newest change that is surely in it."""
    counts: str
    rows: tuple[MaskView, ...] | None = None
    """Masks of the image in view, also those that are hidden; None when they were not read."""
    repeats: frozenset[str] = frozenset()
    """Proposals among them that repeat an accepted mask."""
    choices: tuple[tuple[str, int], ...] | None = None
    """The images by (name, id); None when they were not read."""


def read_snapshot(
    session: AnnotationSession, image_id: int | None, answer: OpenProposals, *, masks: bool, images: bool
) -> Snapshot:
    """Read the counts, and what else is wanted."""
    # first: what changes while the rest is read is news again
    number = session.change_number()
    rows, repeats = _masks(session, image_id, answer) if masks and image_id is not None else (None, frozenset())
    choices = tuple(session.choices()) if images else None
    return Snapshot(number, session.counts(), rows, repeats, choices)


def _masks(
    session: AnnotationSession, image_id: int, answer: OpenProposals
) -> tuple[tuple[MaskView, ...], frozenset[str]]:
    prompt = answer.prompt
    clicked = [prompt.previous] if prompt is not None and prompt.previous else []
    rows = session.shown(image_id, list(dict.fromkeys((*answer.ids, *clicked))), with_duplicates=True)
    if prompt is not None and clicked and not answer.disputed:
        # the correction stands where the mask was
        rows = [row for row in rows if row.annotation is None or row.annotation != prompt.corrects]
    return tuple(rows), frozenset(row.proposal for row in rows if row.proposal and row.duplicate)
