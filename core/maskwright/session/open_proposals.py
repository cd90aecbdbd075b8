"""Proposals and cleaning previews that are open in a session's memory."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence

from maskwright.domain import Mask
from maskwright.domain.proposal_id import ProposalId
from maskwright.errors import MaskwrightError
from maskwright.session.messages import CLOSED_PROPOSAL
from maskwright.session.views import Proposal

__all__ = ["OpenProposals"]

_MOST_PROPOSALS = 4096
_MOST_PREVIEWS = 8


class OpenProposals:
    """A bounded table of open proposals by id; safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._proposals: OrderedDict[ProposalId, Proposal] = OrderedDict()
        self._previews: OrderedDict[ProposalId, tuple[int, Mask]] = OrderedDict()

    def add(self, proposals: Iterable[Proposal]) -> None:
        """Open proposals; the oldest are forgotten when there are too many."""
        with self._lock:
            self._proposals.update((proposal.id, proposal) for proposal in proposals)
            while len(self._proposals) > _MOST_PROPOSALS:
                self._proposals.popitem(last=False)

    def add_preview(self, image_id: int, mask: Mask) -> ProposalId:
        """Keep what background cleaning left unlabelled on an image; returns the id to view it by."""
        key = ProposalId.new()
        with self._lock:
            self._previews[key] = image_id, mask
            while len(self._previews) > _MOST_PREVIEWS:
                self._previews.popitem(last=False)
        return key

    def get(self, ids: Iterable[ProposalId]) -> list[Proposal]:
        """Those that are still open."""
        with self._lock:
            return [self._proposals[key] for key in ids if key in self._proposals]

    def previews(self, ids: Iterable[ProposalId], image_id: int) -> list[Mask]:
        """Cleaning previews of an image among the ids."""
        with self._lock:
            previews = [self._previews[key] for key in ids if key in self._previews]
        return [mask for image, mask in previews if image == image_id]

    def take(self, ids: Sequence[ProposalId]) -> list[Proposal]:
        """Remove and return proposals, each once.

        Raises:
            MaskwrightError: one is no longer open; none was removed.
        """
        with self._lock:
            if any(key not in self._proposals for key in ids):
                raise MaskwrightError(CLOSED_PROPOSAL)
            return [self._proposals.pop(key) for key in dict.fromkeys(ids)]

    def drop(self, ids: Iterable[ProposalId]) -> None:
        """Forget proposals; ids that are not open are ignored."""
        with self._lock:
            for key in ids:
                self._proposals.pop(key, None)

    def replace(self, ids: Iterable[ProposalId], change: Callable[[Proposal], Proposal]) -> None:
        """Change open proposals in place."""
        with self._lock:
            for key in ids:
                if key in self._proposals:
                    self._proposals[key] = change(self._proposals[key])
