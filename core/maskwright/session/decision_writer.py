"""Decisions on proposals, written to the project; what was not written stays open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from maskwright.domain import Annotation
from maskwright.domain.proposal_id import ProposalId
from maskwright.errors import Conflict
from maskwright.project import Project, user_name
from maskwright.session.duplicates import IOU, same_mask
from maskwright.session.open_proposals import OpenProposals
from maskwright.session.views import Proposal
from maskwright.store import Correction, NewAnnotation

__all__ = ["DecisionWriter", "Written"]


class Written(NamedTuple):
    """What a decision made of its proposals."""

    annotations: list[Annotation]
    """All masks, those of `repeated` last."""
    repeated: list[Annotation]
    """Masks accepted earlier, in the place of clicked ones that are the same and were not added again."""


class DecisionWriter:
    """Accepts and rejects open proposals and those that a batch stored."""

    def __init__(self, project: Project, opened: OpenProposals) -> None:
        self._project, self._open = project, opened

    def write(
        self,
        ids: Sequence[ProposalId],
        state: str,
        category: str | None,
        annotator: str = "",
        *,
        only_clicked: bool = False,
    ) -> Written:
        """Decide on proposals in one transaction; they stay open when this raises.

        Args:
            ids: proposals of one or several images.
            state: "accepted" or "rejected".
            category: name for them; None keeps each one's own.
            annotator: the user; by default the user of this computer.
            only_clicked: the name is for answers of SAM only, which have none.
        """
        user = annotator or user_name()
        stored = [key.annotation_id for key in ids if key.annotation_id is not None]
        proposals = self._open.take([key for key in ids if key.annotation_id is None])
        new: list[NewAnnotation] = []
        corrections: list[Correction] = []
        repeated: list[Annotation] = []
        try:
            for proposal in proposals:
                name = category if not only_clicked or proposal.class_agnostic else None
                seen = proposal.corrects
                if seen is not None:
                    # a rejected correction leaves the accepted mask as it is
                    if state == "accepted":
                        corrections.append(Correction(seen.id, seen.revision, proposal.mask, proposal.provenance, name))
                    continue
                draft = proposal.annotation(name, user, state)
                earlier = self._accepted_before(draft) if proposal.class_agnostic and state == "accepted" else None
                if earlier is None:
                    new.append(draft)
                else:
                    repeated.append(earlier)
            annotations = self._project.store.masks.decide(
                state, user, new=new, corrections=corrections, stored=stored,
                category=None if only_clicked else category,
            )  # fmt: skip
        except BaseException as error:
            # nothing was written: the masks stay on screen
            self._open.add(proposals)
            if isinstance(error, Conflict):
                self._refresh_corrected(proposals)
            raise
        return Written([*annotations, *repeated], repeated)

    def _accepted_before(self, draft: NewAnnotation) -> Annotation | None:
        """The accepted mask that a clicked mask repeats; one inside a larger mask was placed there on purpose."""
        accepted = self._project.store.masks.similar(draft.image_id, draft.category, draft.mask, IOU)
        place = same_mask(draft.mask, [a.mask for a in accepted])
        return None if place is None else accepted[place]

    def _refresh_corrected(self, proposals: Sequence[Proposal]) -> None:
        """Update the corrected masks: both are on screen now, and accepting again may replace the other user's."""

        def refreshed(proposal: Proposal) -> Proposal:
            known = proposal.corrects
            return proposal if known is None else replace(proposal, corrects=self._project.store.masks.get(known.id))

        self._open.replace([proposal.id for proposal in proposals], refreshed)
