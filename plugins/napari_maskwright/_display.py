"""The dock as the view of the controller: what it shows, in lists and on the canvas."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_error
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QListWidgetItem

from maskwright.domain import Image
from maskwright.domain.click_prompt import ClickPrompt
from maskwright.domain.proposal_id import ProposalId
from maskwright.session import FinetuneStatus, MaskView, duplicates_hidden
from napari_maskwright._canvas import Canvas
from napari_maskwright._panels import Form
from napari_maskwright._qt_widgets import MainThreadInvoker, swatch

if TYPE_CHECKING:
    import napari

    from maskwright.session import SearchHit

__all__ = ["Display"]


class Display(Form):
    """Shows what the controller says; holds nothing that decides."""

    def __init__(self, viewer: napari.Viewer) -> None:
        super().__init__()
        self._viewer = viewer
        self._invoker = MainThreadInvoker()
        self._canvas = Canvas(viewer)
        self._masks: list[MaskView] = []
        self._titles: Sequence[tuple[str, int]] = ()
        self._other_image_id: int | None = None

    @property
    def _layers(self) -> dict[str, Any]:
        return self._canvas.layers

    def call_soon(self, call: Callable[[], None]) -> None:
        """Run on the window's thread; ignored when the window is closed."""
        try:
            self._invoker.posted.emit(call)
        except RuntimeError:
            return

    def show_images(self, images: Sequence[tuple[str, int]], current: int | None) -> None:
        """Fill the list of images."""
        box = self._project.images
        box.blockSignals(True)  # noqa: FBT003 - Qt takes no keyword
        if images != self._titles:
            self._titles = images
            box.clear()
            for title, image_id in images:
                box.addItem(title, image_id)
        box.setCurrentIndex(box.findData(current))
        box.blockSignals(False)  # noqa: FBT003 - Qt takes no keyword

    def show_image(self, image_id: int, image: Image | None) -> None:
        """Show another image, and allow undo and redo on it."""
        self._accepted.select(())
        if image is not None:
            self._canvas.show_image(image)
        box = self._project.images
        box.blockSignals(True)  # noqa: FBT003 - Qt takes no keyword
        box.setCurrentIndex(box.findData(image_id))
        box.blockSignals(False)  # noqa: FBT003 - Qt takes no keyword
        self._enable_undo(reason="")

    def show_no_image(self) -> None:
        """Show no masks, and nothing to undo."""
        self._accepted.select(())
        self._masks = []
        self._canvas.clear()
        self._list_masks((), ())
        self.show_duplicates(0)
        self.show_clicks(None)
        self._project.images.setCurrentIndex(-1)
        self._enable_undo(reason="This plane has no masks in the project yet.")

    def _enable_undo(self, *, reason: str) -> None:
        for part, tip in (
            (self._undo, "Undo the last click, else the last step on this image (Shift+U)."),
            (self._redo, "Redo what was undone last (Shift+R)."),
        ):
            part.setEnabled(not reason)
            part.setToolTip(reason or tip)

    def show_masks(self, masks: Sequence[MaskView], unwritten: Collection[ProposalId]) -> None:
        """Draw the masks, and list the accepted ones and the proposals."""
        self._masks = list(masks)
        accepted = [mask for mask in masks if mask.annotation is not None]
        proposals = [mask for mask in masks if mask.proposal is not None]
        self._canvas.show_masks(accepted, proposals, [mask for mask in masks if mask.cleaning_preview])
        self._list_masks(masks, unwritten)

    def _list_masks(self, masks: Sequence[MaskView], unwritten: Collection[ProposalId]) -> None:
        pixels = self._canvas.size_hw[0] * self._canvas.size_hw[1]
        self._accepted.show_masks([mask for mask in masks if mask.annotation is not None], pixels)
        proposals = [mask for mask in masks if mask.proposal is not None]
        selected = self._selected_proposals()
        self._list.clear()
        for mask in proposals:
            state = " (not saved)" if mask.proposal in unwritten else " (duplicate)" if mask.duplicate else ""
            text = _row_text(mask, state, pixels)
            item = QListWidgetItem(swatch(mask.color), text)
            item.setData(Qt.UserRole, mask.proposal)
            item.setToolTip(text)
            self._list.addItem(item)
            item.setSelected(mask.proposal in selected)
        self._list.fit()
        for button in (self._accept, self._reject):
            button.setEnabled(bool(proposals))
            button.setToolTip("All proposals, or those selected in the list." if proposals else "No open proposals.")

    def show_duplicates(self, count: int) -> None:
        """Show how many proposals are hidden."""
        self._hidden.setText(duplicates_hidden(count))
        self._hidden.setVisible(bool(count))
        self._duplicates.setVisible(bool(count) or self._duplicates.isChecked())

    def show_clicks(self, prompt: ClickPrompt | None) -> None:
        """Draw the clicks and the box, and enable their buttons."""
        self._canvas.show_clicks(prompt)
        step = prompt.last if prompt is not None else None
        count = len(step.candidates) if step is not None else 0
        self._other.setEnabled(count > 1)
        self._other.setText(f"{step.selected + 1} of {count}" if step is not None and count > 1 else "Other")
        self._clear.setEnabled(prompt is not None)
        self._suggest.setEnabled(count > 0)

    def show_history(self, sentences: Sequence[str]) -> None:
        """Show the history of the selected mask."""
        self._accepted.show_history(sentences)

    def show_status(self, text: str) -> None:
        """Show the status line."""
        self._status.setText(text)

    def show_busy(self, text: str) -> None:
        """Show the busy bar with a text, or hide it."""
        self._busy.setFormat(text)
        self._busy.setVisible(bool(text))
        self._stop_prompt.setVisible(bool(text))
        self._run.setVisible(not text)

    def show_searching(self, *, running: bool) -> None:
        """Enable the button that stops a search."""
        self._search.stop.setEnabled(running)

    def show_matches(self, matches: Sequence[SearchHit], notice: str) -> None:
        """List the images that match a phrase."""
        self._search.show_matches(matches, notice)

    def show_finetuning(self, status: FinetuneStatus) -> None:
        """Show where fine-tuning stands, and the buttons for what can be done now."""
        self._finetuning.show_status(status)

    def show_unsaved(self, message: str) -> None:
        """Show what could not be saved, with the button to try again."""
        self._unsaved.show_message(message)

    def show_other_image(self, message: str, image_id: int | None) -> None:
        """Show that a step belongs to another image, with the button that opens it."""
        self._other_image_id = image_id
        titles = [title for title, key in self._titles if key == image_id]
        self._other_image.button.setToolTip(f"Show {titles[0]}." if titles else "Show the image that the step was on.")
        self._other_image.show_message(message)

    def show_error(self, message: str) -> None:
        """Show an error as a napari notification."""
        show_error(message)

    def _selected_proposals(self) -> list[ProposalId]:
        return [item.data(Qt.UserRole) for item in self._list.selectedItems()]

    def _show_selected(self, ids: list[int]) -> None:
        self._canvas.show_selected([mask for mask in self._masks if mask.annotation in ids])


def _row_text(mask: MaskView, state: str, pixels: int) -> str:
    """Such as "cow (duplicate)  12.0 %, score 0.91, out of vocabulary"."""
    score = "" if mask.mask.score is None else f", score {mask.mask.score:.2f}"
    vocabulary = ", out of vocabulary" if mask.out_of_vocabulary else ""
    return f"{mask.mask.category or 'clicked'}{state}  {100 * mask.mask.area / pixels:.1f} %{score}{vocabulary}"
