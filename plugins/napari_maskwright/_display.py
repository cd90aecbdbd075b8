"""The dock as the view of the controller: what it shows, in lists and on the canvas."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_error

from maskwright.domain import UNNAMED, Image, Mask
from maskwright.domain.click_prompt import ClickPrompt
from maskwright.domain.proposal_id import ProposalId
from maskwright.session import ClassEntry, FinetuneStatus, MaskView, PresetInfo, duplicates_hidden
from napari_maskwright._canvas import Canvas
from napari_maskwright._features import PixelArea
from napari_maskwright._mask_table import MaskRow
from napari_maskwright._panels import Form
from napari_maskwright._qt_widgets import ActivityProgress, MainThreadInvoker

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
        self._activity = ActivityProgress()
        self._masks: list[MaskView] = []
        self._unwritten: Collection[ProposalId] = ()
        self._name.textChanged.connect(self._show_name)
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
        """Fill the list of images; of a project without any, nothing stays from the one before."""
        self._list_images(images, current)
        if not images and self._canvas.image_layer is None:
            self._canvas.reset()

    def _list_images(self, images: Sequence[tuple[str, int]], current: int | None) -> None:
        self._titles = images
        self._project.images.show_images(images)
        self._project.images.choose(current)

    def show_image(self, image_id: int, image: Image | None) -> None:
        """Show another image, and allow undo and redo on it."""
        self._accepted.select(())
        if image is not None:
            self._canvas.show_image(image)
        self._project.images.choose(image_id)
        self._enable_undo(reason="")

    def show_no_image(self) -> None:
        """Show no masks, and nothing to undo."""
        self._accepted.select(())
        self._masks = []
        self._canvas.clear()
        self._list_masks((), ())
        self.show_duplicates(0)
        self.show_clicks(None)
        self._project.images.choose(None)
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
        self._masks, self._unwritten = list(masks), unwritten
        accepted = [mask for mask in masks if mask.annotation is not None]
        proposals = [mask for mask in masks if mask.proposal is not None]
        self._canvas.show_masks(accepted, proposals, [mask for mask in masks if mask.cleaning_preview])
        self._list_masks(masks, unwritten)

    def _list_masks(self, masks: Sequence[MaskView], unwritten: Collection[ProposalId]) -> None:
        pixels, area = self._canvas.size_hw[0] * self._canvas.size_hw[1], PixelArea.of(self._canvas.image_layer)
        accepted = [mask for mask in masks if mask.annotation is not None]
        self._accepted.show_rows([_row(mask, mask.annotation, "", pixels, area) for mask in accepted])
        rows = []
        for mask in (mask for mask in masks if mask.proposal is not None):
            state = " (not saved)" if mask.proposal in unwritten else " (duplicate)" if mask.duplicate else ""
            named = mask if mask.proposal in unwritten else self._named(mask)
            rows.append(_row(named, mask.proposal, state, pixels, area))
        self._proposals.show_rows(rows)

    def _named(self, mask: MaskView) -> MaskView:
        """A clicked mask with the name that it gets when it is accepted."""
        name = self._name.text().strip()
        if mask.proposal is None or mask.proposal.annotation_id is not None or not name:
            return mask
        mine = mask.mask
        return replace(
            mask, mask=Mask.from_rle(mine.rle, category=name, score=mine.score, area=mine.area, bbox=mine.bbox)
        )

    def _show_name(self) -> None:
        if any(mask.proposal is not None and mask.proposal.annotation_id is None for mask in self._masks):
            self._list_masks(self._masks, self._unwritten)

    def show_classes(self, classes: Sequence[ClassEntry]) -> None:
        """List the project's classes, and complete names from them."""
        self._classes_box.show_classes(classes)
        self._names.setStringList([entry.category.name for entry in classes])

    def show_models(self, presets: Sequence[PresetInfo], server: str) -> None:
        """List the presets, or say which server answers in their place."""
        self._models.show_presets(presets)
        self._models.show_server(server, f"{server} answers." if server else "This computer answers.")

    def show_duplicates(self, count: int) -> None:
        """Show how many proposals are hidden."""
        box = self._proposals
        box.hidden.setText(duplicates_hidden(count))
        box.hidden.setVisible(bool(count))
        box.duplicates.setVisible(bool(count) or box.duplicates.isChecked())

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
        self._activity.show(text)

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
        return self._proposals.selected

    def _show_selected(self, ids: list[int]) -> None:
        self._canvas.show_selected([mask for mask in self._masks if mask.annotation in ids])


def _row(mask: MaskView, key: Any, state: str, pixels: int, area: PixelArea) -> MaskRow:
    """A row of a table, whose tooltip is such as "cow, 12.0 % of the image, 4,210 px, score 0.91"."""
    name = mask.mask.category or UNNAMED
    parts = [
        f"{name}{state}" if mask.annotation is None else f"Mask {mask.annotation}: {name}",
        f"{100 * mask.mask.area / pixels:.1f} % of the image",
        f"{mask.mask.area:,} px",
        area.text(mask.mask.area) if area.unit else "",
        "" if mask.mask.score is None else f"score {mask.mask.score:.2f}",
        "out of vocabulary" if mask.out_of_vocabulary else "",
    ]
    tip = ", ".join(part for part in parts if part)
    text = area.text(mask.mask.area)
    return MaskRow(key, f"{name}{state}", mask.color, mask.mask.score, mask.mask.area, text, tip)
