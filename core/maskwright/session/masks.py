"""The stored masks of an image as a front end lists and edits them: accepted masks, and proposals of prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np

from maskwright.domain import Annotation, Mask, PromptKind
from maskwright.domain.proposal_id import ProposalId
from maskwright.errors import Conflict, MaskwrightError
from maskwright.imaging.geometry import label_components
from maskwright.project import Project, user_name
from maskwright.session.duplicates import duplicates, same_mask
from maskwright.session.messages import CLOSED_PROPOSAL, edit_message, plural
from maskwright.session.open_proposals import OpenProposals
from maskwright.session.views import Proposals
from maskwright.store import Correction, NewAnnotation

__all__ = ["MaskEdit", "SessionMasks", "StoredMask"]

_VISIBLE = ("accepted", "proposed")
_MOST_PARTS = 200


@dataclass(frozen=True, slots=True)
class StoredMask:
    """A mask of the project with what a front end shows beside it."""

    annotation: Annotation
    color: str
    """#rrggbb of its category"""
    duplicate: bool = False
    """A proposal that repeats an accepted mask of the image."""
    reference_of: tuple[str, ...] = ()
    """Categories that it is a reference of."""
    negative_reference_of: tuple[str, ...] = ()
    """Categories that it shows what they are not."""

    @property
    def accepted(self) -> bool:
        """Whether it is an accepted mask and no proposal."""
        return self.annotation.state == "accepted"


@dataclass(frozen=True, slots=True)
class MaskEdit:
    """A mask that was changed or made with a brush."""

    annotation_id: int | None
    """The accepted mask; None for a new one."""
    before: Mask | None
    """Its pixels as the user saw them."""
    after: Mask
    """Its pixels now; none deletes it."""


class SessionMasks:
    """Masks that the project stores; safe to share between threads."""

    def __init__(self, project: Project, opened: OpenProposals) -> None:
        """Take the project and the session's proposals in memory."""
        self._project, self._open = project, opened

    def of_image(self, image_id: int) -> list[StoredMask]:
        """Accepted masks and open proposals of an image, in id order; raises MaskwrightError without the image."""
        self._project.store.images.get(image_id)
        return self.describe(self._project.annotations(image_id, _VISIBLE))

    def get(self, annotation_id: int) -> StoredMask:
        """One mask in any state; raises MaskwrightError when there is none."""
        return self.describe([self._project.store.masks.get(annotation_id)])[0]

    def of_proposal(self, proposal: ProposalId) -> tuple[int, Mask]:
        """Image id and mask of an open or stored proposal; raises MaskwrightError when it is no longer there."""
        if proposal.annotation_id is not None:
            row = self._project.store.masks.get(proposal.annotation_id)
            return row.image_id, row.mask
        opened = self._open.get([proposal])
        if not opened:
            raise MaskwrightError(CLOSED_PROPOSAL)
        return opened[0].image_id, opened[0].mask

    def describe(self, annotations: Sequence[Annotation]) -> list[StoredMask]:
        """The masks with colours and reference marks; proposals among them that repeat accepted ones among them."""
        colors = {category.name: category.color for category in self._project.categories()}
        accepted = [a for a in annotations if a.state == "accepted"]
        marks = self._project.store.references.all() if accepted else []
        shows: dict[tuple[int, bool], list[str]] = {}
        for mark in marks:
            shows.setdefault((mark.annotation_id, mark.shows), []).append(mark.category)
        repeated = _repeated([a for a in annotations if a.state == "proposed"], accepted)
        return [
            StoredMask(
                a,
                colors.get(a.category, "#808080"),
                a.id in repeated,
                tuple(shows.get((a.id, True), ())),
                tuple(shows.get((a.id, False), ())),
            )
            for a in annotations
        ]

    def propose(
        self, answer: Proposals, *, instead: Mapping[ProposalId, Mask] = MappingProxyType({}), annotator: str = ""
    ) -> list[StoredMask]:
        """Store the answer to a prompt as proposals, in place of those that the same prompt left open before.

        So they survive a restart, and every window of the project shows them. No step for undo.

        Args:
            answer: of words, an example, or everything; its proposals leave the session's memory.
            instead: masks to store in the place of some proposals' own, such as a part of them.
            annotator: the user; by default the user of this computer.

        Returns:
            What is stored now, in the answer's order.
        """
        user, prediction = annotator or user_name(), answer.prediction
        opened = self._open.take([proposal.id for proposal in answer.all])
        chosen = [replace(proposal, mask=instead.get(proposal.id, proposal.mask)) for proposal in opened]
        drafts = [proposal.annotation(None, user, "proposed") for proposal in chosen]
        try:
            rows = self._project.store.predictions.add(
                answer.image_id, drafts, None, user, source=prediction.kind.source, names=prediction.categories,
                everything=prediction.kind is PromptKind.EVERYTHING,
            )  # fmt: skip
        except BaseException:
            self._open.add(opened)
            raise
        accepted = self._project.annotations(answer.image_id)
        return [mask for mask in self.describe([*accepted, *rows]) if mask.annotation.state == "proposed"]

    def store_proposals(
        self,
        image_id: int,
        masks: Sequence[tuple[Mask, Mapping[str, Any]]],
        category: str,
        *,
        annotator: str = "",
    ) -> None:
        """Store masks with their provenance as proposals, in place of open ones of the same categories and sources.

        Args:
            image_id: the image.
            masks: those without a category get `category`.
            category: a name.
            annotator: the user; by default the user of this computer.
        """
        user = annotator or user_name()
        drafts = [
            NewAnnotation(
                image_id, category if mask.category in (None, "object") else mask.category or category, mask,
                str(provenance["source"]), provenance, user, "proposed",
            )
            for mask, provenance in masks
        ]  # fmt: skip
        self._project.store.predictions.add(image_id, drafts, None, user)

    def above(self, image_id: int, score: float) -> list[ProposalId]:
        """Proposals of an image with at least this score, without those that repeat an accepted mask."""
        return [
            ProposalId.of_annotation(mask.annotation.id)
            for mask in self.of_image(image_id)
            if mask.annotation.state == "proposed" and not mask.duplicate and (mask.annotation.mask.score or 0) >= score
        ]

    def unnamed(self, keys: Sequence[ProposalId]) -> list[ProposalId]:
        """Those of stored proposals to which nobody has given a name yet."""
        stored = self._project.store.masks
        return [key for key in keys if key.annotation_id is not None and stored.get(key.annotation_id).unnamed]

    def draw(self, image_id: int, mask: Mask, category: str, *, annotator: str = "") -> Annotation:
        """Accept a mask that was drawn by hand; raises InvalidMask when it has another size than the image."""
        user = annotator or user_name()
        return self._project.store.masks.add(
            NewAnnotation(image_id, category, mask, "manual", {"source": "manual"}, user)
        )

    def correct(self, annotation_id: int, revision: int, mask: Mask, *, annotator: str = "") -> Annotation:
        """Replace the pixels of a mask by corrected ones, drawn by hand, as its next revision.

        Args:
            annotation_id: an accepted mask, or a proposal, which stays one.
            revision: that the user saw.
            mask: of the image's size.
            annotator: the user; by default the user of this computer.

        Raises:
            Conflict: somebody else has changed the mask since; nothing was overwritten.
            InvalidMask: another size than the image.
            MaskwrightError: the mask is empty, deleted or rejected.
        """
        correction = Correction(annotation_id, revision, mask, {"source": "manual"})
        (corrected,) = self._project.store.masks.decide("accepted", annotator or user_name(), corrections=[correction])
        return corrected

    def split(self, annotation_id: int, revision: int, *, annotator: str = "") -> list[Annotation]:
        """Divide a mask into its parts, in one step: the largest stays the mask, the others become masks beside it.

        Args:
            annotation_id: an accepted mask or a proposal; the parts are in its state.
            revision: that the user saw.
            annotator: the user; by default the user of this computer.

        Returns:
            The parts, the largest first.

        Raises:
            Conflict: somebody else has changed the mask since; nothing was overwritten.
            MaskwrightError: it has a single part, or too many.
        """
        row, user = self._project.store.masks.get(annotation_id), annotator or user_name()
        parts = label_components(row.mask.to_array())
        sizes = np.bincount(parts.ravel())[1:]
        if not 1 < len(sizes) <= _MOST_PARTS:
            number = plural(len(sizes), "part")
            advice = "Remove its specks first." if len(sizes) > 1 else "There is nothing to split."
            raise MaskwrightError(f"This mask has {number}.", advice)
        masks = [Mask.from_array(parts == number) for number in 1 + np.argsort(-sizes, kind="stable")]
        provenance = {"source": "manual"}
        return self._project.store.masks.decide(
            "accepted",
            user,
            corrections=[Correction(row.id, revision, masks[0], provenance)],
            new=[
                NewAnnotation(row.image_id, row.category, mask, "manual", provenance, user, row.state)
                for mask in masks[1:]
            ],
        )

    def edit(self, image_id: int, edits: Sequence[MaskEdit], category: str, *, annotator: str = "") -> str:
        """Store what a brush changed: revisions of masks and new masks in one step, masks without pixels deleted.

        Args:
            image_id: the image.
            edits: on accepted masks of this image.
            category: of new masks.
            annotator: the user; by default the user of this computer.

        Returns:
            A sentence that says what was done.

        Raises:
            Conflict: somebody else has changed one of the masks since; nothing was overwritten.
        """
        user, store = annotator or user_name(), self._project.store.masks
        corrections, emptied = [], dict[int, int | None]()
        for edit in edits:
            if edit.annotation_id is None:
                continue
            now = store.get(edit.annotation_id)
            if edit.before is None or now.mask.rle != edit.before.rle or now.state != "accepted":
                raise Conflict("Somebody else has changed that mask. Their version is on the screen now.")
            if edit.after.area:
                corrections.append(Correction(now.id, now.revision, edit.after, {"source": "manual"}))
            else:
                emptied[now.id] = now.revision
        new = [
            NewAnnotation(image_id, category, edit.after, "manual", {"source": "manual"}, user)
            for edit in edits
            if edit.annotation_id is None and edit.after.area
        ]
        if new or corrections:
            store.decide("accepted", user, new=new, corrections=corrections)
        if emptied:
            store.set_states(emptied, "deleted", user)
        return edit_message(changed=len(corrections), added=len(new), deleted=len(emptied))

    def reclassify(
        self, annotations: Mapping[int, int | None], category: str, *, annotator: str = ""
    ) -> list[Annotation]:
        """Change the category of masks, in one step; keys are ids, values revisions that were seen or None."""
        return self._project.store.masks.reclassify(annotations, category, annotator or user_name())

    def delete(self, annotations: Mapping[int, int | None], *, annotator: str = "") -> list[Annotation]:
        """Delete masks, in one step; arguments as `reclassify`."""
        return self._project.store.masks.set_states(annotations, "deleted", annotator or user_name())


def _repeated(proposed: Sequence[Annotation], accepted: Sequence[Annotation]) -> set[int]:
    """Ids of proposals that repeat an accepted mask: of their category, or of any when they have no name yet."""
    masks = [a.mask for a in accepted if not a.crowd]
    repeats = duplicates([a.mask for a in proposed], masks)
    return {
        a.id
        for a, repeated in zip(proposed, repeats, strict=True)
        if repeated or (a.unnamed and same_mask(a.mask, masks) is not None)
    }
