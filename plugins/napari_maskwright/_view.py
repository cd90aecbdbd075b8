"""What the controller asks of a window."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from maskwright.domain import Image
from maskwright.domain.click_prompt import ClickPrompt
from maskwright.session import Improvement, MaskView

if TYPE_CHECKING:
    # torch comes with the search, and a window should open before it
    from maskwright.project.search import SearchHit

__all__ = ["AnnotatorView"]


class AnnotatorView(Protocol):
    """What the controller asks of a window; all but `call_soon` is only ever called on its own thread."""

    def call_soon(self, call: Callable[[], None]) -> None:
        """Run `call` on the window's thread; may be asked from any thread."""

    def show_images(self, choices: Sequence[tuple[str, int]], current: int | None) -> None:
        """The project's images by (name, id)."""

    def show_image(self, image_id: int, image: Image) -> None:
        """Another image."""

    def show_masks(self, rows: Sequence[MaskView], remarks: Mapping[str, str]) -> None:
        """The accepted masks of the image, its open proposals, and what cleaning left unlabelled.

        A remark, by the proposal's id, is a word on it: "not saved", "duplicate".
        """

    def show_duplicates(self, count: int) -> None:
        """How many proposals that repeat an accepted mask are hidden."""

    def show_clicks(self, prompt: ClickPrompt | None) -> None:
        """The clicks and the box of a prompt, and which of its answers is shown."""

    def show_history(self, sentences: Sequence[str]) -> None:
        """What happened to the mask that was asked about, the oldest first."""

    def show_status(self, text: str) -> None:
        """One line that stays."""

    def show_busy(self, text: str) -> None:
        """What is being worked on; empty when nothing is."""

    def show_searching(self, running: bool) -> None:
        """Whether images are being looked at for a phrase."""

    def show_matches(self, found: Sequence[SearchHit], notice: str) -> None:
        """The images that were found, the best first, and a sentence on the search, or none."""

    def show_improvement(self, told: Improvement) -> None:
        """Where fine-tuning stands."""

    def show_unsaved(self, sentence: str) -> None:
        """What could not be saved, with a way to try again; empty when everything is saved."""

    def show_elsewhere(self, sentence: str, image_id: int | None) -> None:
        """That a step belongs to another image, with a way to go there; empty and None when there is none."""

    def show_error(self, sentence: str) -> None:
        """Something the person can mend."""
