"""What the controller needs of a window."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Protocol

from maskwright.domain import Image, PlaneRecord
from maskwright.domain.click_prompt import ClickPrompt
from maskwright.domain.proposal_id import ProposalId
from maskwright.session import ClassEntry, FinetuneStatus, MaskView, PresetInfo

if TYPE_CHECKING:
    from maskwright.session import SearchHit

__all__ = ["AnnotatorView"]


class AnnotatorView(Protocol):
    """What the controller needs of a window; all but `call_soon` is only called on the window's thread."""

    def call_soon(self, call: Callable[[], None]) -> None:
        """Run `call` on the window's thread; callable from any thread."""

    def show_images(self, images: Sequence[tuple[str, int]], current: int | None) -> None:
        """List the project's images by (title, id)."""

    def go_to_plane(self, image_id: int, record: PlaneRecord | None) -> bool:
        """Move the sliders to the plane that an image was taken from; False when the window does not have it.

        Args:
            image_id: the image.
            record: what the project knows of the plane; None for nothing, or not yet.
        """

    def show_image(self, image_id: int, image: Image | None) -> None:
        """Show another image; None when the window shows its pixels already."""

    def show_no_image(self) -> None:
        """Show that no image of the project is in view: no masks, nothing to undo."""

    def show_masks(self, masks: Sequence[MaskView], unwritten: Collection[ProposalId]) -> None:
        """Draw the accepted masks, the open proposals and the cleaning preview of the image.

        Args:
            masks: what to draw.
            unwritten: proposals whose decision could not be written yet.
        """

    def show_duplicates(self, count: int) -> None:
        """Show how many proposals that repeat an accepted mask are hidden."""

    def show_classes(self, classes: Sequence[ClassEntry]) -> None:
        """List the project's classes."""

    def show_models(self, presets: Sequence[PresetInfo], server: str) -> None:
        """List the presets; `server` is the address of the one that answers in their place, or empty."""

    def show_clicks(self, prompt: ClickPrompt | None) -> None:
        """Draw the clicks and the box of a prompt, and say which of its candidates is visible."""

    def show_history(self, sentences: Sequence[str]) -> None:
        """Show the history of the selected mask, the oldest step first."""

    def show_status(self, text: str) -> None:
        """Show the status line."""

    def show_busy(self, text: str) -> None:
        """Show what is running; empty when nothing is."""

    def show_searching(self, *, running: bool) -> None:
        """Show whether a search for images is running."""

    def show_matches(self, matches: Sequence[SearchHit], notice: str) -> None:
        """List the images that match a phrase, the best first, with a sentence on the search or none."""

    def show_finetuning(self, status: FinetuneStatus) -> None:
        """Show where fine-tuning stands."""

    def show_unsaved(self, message: str) -> None:
        """Show what could not be saved, with a button to try again; empty when everything is saved."""

    def show_other_image(self, message: str, image_id: int | None) -> None:
        """Show that a step belongs to another image, with a button that opens it; empty and None when it does not."""

    def show_error(self, message: str) -> None:
        """Show an error that the user can act on."""
