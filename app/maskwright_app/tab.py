"""The state of one browser tab."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from maskwright.domain.click_prompt import ClickPrompt
from maskwright.domain.proposal_id import ProposalId
from maskwright.session import MaskView, Pending, visible

__all__ = ["Tab"]


@dataclass(frozen=True, slots=True)
class Tab:
    """What a tab has open; accepted masks are in the project, and the rest is lost when the tab is closed."""

    image_id: int | None = None
    proposals: tuple[ProposalId, ...] = ()
    """Ids of masks for class names, references or a whole image, and of a cleaning preview."""
    search_category: str | None = None
    """Category to find by reference on this image and the next ones."""
    prompt: ClickPrompt | None = None
    """Clicks on the image."""
    pending: Pending = field(default_factory=Pending)
    """Decisions that are not written yet."""
    show_duplicates: bool = False
    """Whether the list has proposals that repeat an accepted mask."""
    history_of: int | None = None
    """Accepted mask whose history is unfolded."""

    def with_image(self, image_id: int | None) -> Tab:
        """On another image, without proposals or clicks."""
        return replace(self, image_id=image_id, proposals=(), prompt=None)

    def visible(self, masks: Sequence[MaskView]) -> list[MaskView]:
        """The masks of the image to draw and to list."""
        return visible(masks, duplicates=self.show_duplicates, unwritten=self.pending.ids(self.image_id))
