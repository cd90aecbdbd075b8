"""What a front end draws: proposals, masks with their colours, and which masks are visible."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from maskwright.domain import Annotation, Mask, Prediction, PromptKind, ReferenceMark
from maskwright.domain.proposal_id import ProposalId
from maskwright.session.messages import answer_notice, duplicates_hidden
from maskwright.store import NewAnnotation

__all__ = ["MaskView", "Proposal", "Proposals", "visible"]

_CLEANING_COLOR = "#808080"


@dataclass(frozen=True, slots=True)
class Proposal:
    """A mask that a model suggests and nobody has decided on."""

    id: ProposalId
    image_id: int
    mask: Mask
    provenance: Mapping[str, Any]
    out_of_vocabulary: bool = False
    """The model was not taught this class name."""
    corrects: Annotation | None = None
    """The accepted mask, in the revision that the user saw, that accepting replaces."""

    @property
    def from_clicks(self) -> bool:
        """Whether it answers points or a box."""
        return PromptKind.of(self.provenance) in (PromptKind.CLICK, PromptKind.BOX)

    @property
    def class_agnostic(self) -> bool:
        """Whether the model assigns no category, so that the user names the mask."""
        kind = PromptKind.of(self.provenance)
        return kind is not None and kind.class_agnostic

    def annotation(self, name: str | None, user: str, state: str) -> NewAnnotation:
        """What the project stores when a user decides; without a name it keeps its own category."""
        category = name or self.mask.category or ""
        source = str(self.provenance["source"])
        return NewAnnotation(self.image_id, category, self.mask, source, self.provenance, user, state)


@dataclass(frozen=True, slots=True)
class Proposals:
    """The answer to one prompt on an image of the project."""

    image_id: int
    prediction: Prediction
    all: tuple[Proposal, ...]
    """In the model's order, the same whatever was accepted before; all of them are open."""
    repeated: frozenset[ProposalId] = frozenset()
    """Those that repeat an accepted mask."""
    cleaning_preview: ProposalId | None = None
    """Id, for a view, of what background cleaning left unlabelled; None when that is nothing."""

    @property
    def new(self) -> tuple[Proposal, ...]:
        """Without the duplicates."""
        return tuple(proposal for proposal in self.all if proposal.id not in self.repeated)

    @property
    def ids(self) -> tuple[ProposalId, ...]:
        """What to pass to `AnnotationSession.view` to see all of it."""
        preview = (self.cleaning_preview,) if self.cleaning_preview else ()
        return (*(proposal.id for proposal in self.all), *preview)

    @property
    def answer_notice(self) -> str:
        """What to know of the answer itself, or empty."""
        return answer_notice(self.prediction, {proposal.mask.category for proposal in self.all})

    @property
    def notice(self) -> str:
        """`answer_notice`, and how many duplicates are hidden."""
        hidden = duplicates_hidden(len(self.repeated))
        return " ".join(part for part in (self.answer_notice, f"{hidden}." if hidden else "") if part)


@dataclass(frozen=True, slots=True)
class MaskView:
    """One mask of an image as every front end draws it."""

    mask: Mask
    color: str
    """#rrggbb"""
    proposal: ProposalId | None = None
    """Id of an open proposal; None for an accepted mask."""
    annotation: int | None = None
    """Id of an accepted mask; None for a proposal."""
    out_of_vocabulary: bool = False
    duplicate: bool = False
    """A proposal that repeats an accepted mask of the image."""
    cleaning_preview: bool = False
    """No mask to decide on: what background cleaning left unlabelled."""
    reference_of: tuple[str, ...] = ()
    """Categories that this accepted mask is a reference of."""
    negative_reference_of: tuple[str, ...] = ()
    """Categories that this accepted mask shows what they are not."""

    @classmethod
    def of_annotation(cls, annotation: Annotation, color: str, marks: Iterable[ReferenceMark]) -> MaskView:
        """An accepted mask; `marks` are the project's references."""
        mine = [mark for mark in marks if mark.annotation_id == annotation.id]
        return cls(
            annotation.mask,
            color,
            annotation=annotation.id,
            reference_of=tuple(mark.category for mark in mine if mark.shows),
            negative_reference_of=tuple(mark.category for mark in mine if not mark.shows),
        )

    @classmethod
    def of_proposal(cls, proposal: Proposal, color: str, *, duplicate: bool) -> MaskView:
        """An open proposal."""
        return cls(proposal.mask, color, proposal.id, out_of_vocabulary=proposal.out_of_vocabulary, duplicate=duplicate)

    @classmethod
    def of_cleaning(cls, mask: Mask) -> MaskView:
        """What background cleaning left unlabelled."""
        return cls(mask, _CLEANING_COLOR, cleaning_preview=True)


def visible(masks: Sequence[MaskView], *, duplicates: bool, unwritten: Collection[ProposalId] = ()) -> list[MaskView]:
    """Masks to draw: duplicates only on request, unwritten ones always."""
    return [m for m in masks if duplicates or not m.duplicate or m.proposal in unwritten]
