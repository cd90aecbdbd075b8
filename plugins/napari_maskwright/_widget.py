"""The dock widget: draws what the controller shows, and passes the user's actions to it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.layers import Image as ImageLayer
from napari.utils.notifications import show_error
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog, QListWidgetItem

from maskwright.domain import Image, TextPrompt
from maskwright.domain.click_prompt import ClickPrompt
from maskwright.domain.proposal_id import ProposalId
from maskwright.session import (
    FINETUNE_ACTIONS,
    AnnotationSession,
    FinetuneStatus,
    MaskView,
    MaskwrightError,
    default_project,
    divide_countable,
    duplicates_hidden,
)
from napari_maskwright._canvas import Canvas
from napari_maskwright._controller import Controller
from napari_maskwright._panels import KEYS, Form
from napari_maskwright._qt_widgets import MainThreadInvoker, swatch

if TYPE_CHECKING:
    import napari

    from maskwright.session import SearchHit

__all__ = ["KEYS", "AnnotatorWidget"]

_VISIBLE_MATCHES = 5
"""Most rows of the search result that are visible without scrolling."""
_OFF, _POINT, _BOX = range(3)
_CLICK_TOLERANCE = 5
"""Pixels of the screen that the mouse may move during a click."""


class AnnotatorWidget(Form):
    """Annotation of one project: search, prompts, decisions, fine-tuning."""

    def __init__(
        self,
        napari_viewer: napari.Viewer,
        *,
        project: str | None = None,
        preset: str = "tiny",
        device: str = "auto",
    ) -> None:
        """Show the widget in a viewer, and open a project.

        Args:
            napari_viewer: shows the image and its masks.
            project: folder or database URL; by default the default project, if it exists.
            preset: preset name or checkpoint folder.
            device: as for `Engine.load`.
        """
        super().__init__()
        self._viewer, self._preset, self._device = napari_viewer, preset, device
        self._invoker = MainThreadInvoker()
        self.controller: Controller | None = None
        self._canvas = Canvas(napari_viewer)
        self._layers = self._canvas.layers
        self._masks: list[MaskView] = []
        self._titles: Sequence[tuple[str, int]] = ()
        self._other_image_id: int | None = None
        callbacks, pressed = napari_viewer.mouse_drag_callbacks, self._mouse_pressed
        callbacks.append(pressed)
        # not a bound method of ours: when the signal arrives, this widget is deleted
        self.destroyed.connect(lambda: callbacks.remove(pressed) if pressed in callbacks else None)
        self.triggered.connect(self.run_action)
        self._accepted.selection_changed.connect(self._show_selected)
        self._accepted.delete_requested.connect(self._delete)
        self._accepted.history_requested.connect(self._request_history)
        for key, (action, _) in KEYS.items():
            napari_viewer.bind_key(key, lambda viewer, action=action: self.run_action(action), overwrite=True)
        location = project or default_project()
        self._project.setText(location)
        if project or (Path(location) / "project.db").exists():
            self.open_project(location)

    # the view of the controller

    def call_soon(self, call: Callable[[], None]) -> None:
        """Run on the window's thread; ignored when the window is closed."""
        try:
            self._invoker.posted.emit(call)
        except RuntimeError:
            return

    def show_images(self, images: Sequence[tuple[str, int]], current: int | None) -> None:
        """Fill the list of images."""
        self._images.blockSignals(True)  # noqa: FBT003 - Qt takes no keyword
        if images != self._titles:
            self._titles = images
            self._images.clear()
            for title, image_id in images:
                self._images.addItem(title, image_id)
        self._images.setCurrentIndex(self._images.findData(current))
        self._images.blockSignals(False)  # noqa: FBT003 - Qt takes no keyword

    def show_image(self, image_id: int, image: Image) -> None:
        """Show another image, and allow undo and redo on it."""
        self._accepted.select(())
        self._canvas.show_image(image_id, image)
        self._undo.setEnabled(True)
        self._undo.setToolTip("Undo the last click, else the last step on this image.")
        self._redo.setEnabled(True)
        self._redo.setToolTip("Redo what was undone last.")

    def show_masks(self, masks: Sequence[MaskView], unwritten: Collection[ProposalId]) -> None:
        """Draw the masks, and list the accepted ones and the proposals."""
        self._masks = list(masks)
        accepted = [mask for mask in masks if mask.annotation is not None]
        proposals = [mask for mask in masks if mask.proposal is not None]
        self._canvas.show_masks(accepted, proposals, [mask for mask in masks if mask.cleaning_preview])
        pixels = self._canvas.size_hw[0] * self._canvas.size_hw[1]
        self._accepted.show_masks(accepted, pixels)
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

    def show_clicks(self, prompt: ClickPrompt | None) -> None:
        """Draw the clicks and the box, and enable their buttons."""
        self._canvas.show_clicks(prompt)
        step = prompt.last if prompt is not None else None
        count = len(step.candidates) if step is not None else 0
        self._other.setEnabled(count > 1)
        self._other.setText(
            f"Mask {step.selected + 1} of {count} (J)" if step is not None and count > 1 else "Other (J)"
        )
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

    def show_searching(self, *, running: bool) -> None:
        """Enable the button that stops a search."""
        self._stop.setEnabled(running)

    def show_matches(self, matches: Sequence[SearchHit], notice: str) -> None:
        """List the images that match a phrase."""
        self._matches.clear()
        for match in matches:
            item = QListWidgetItem(f"{match.score:.2f}  {Path(match.record.file_name).name}")
            item.setData(Qt.UserRole, match.record.id)
            self._matches.addItem(item)
        rows = min(len(matches), _VISIBLE_MATCHES) * self._matches.sizeHintForRow(0)
        self._matches.setFixedHeight(max(0, rows) + 2 * self._matches.frameWidth() + 4)
        self._matches.setVisible(bool(matches))
        self._search_notice.setText(notice)
        self._search_notice.setVisible(bool(notice))

    def show_finetuning(self, status: FinetuneStatus) -> None:
        """Show where fine-tuning stands, and the buttons for what can be done now."""
        self._run_line.setText(status.message)
        self._run_bar.setVisible(status.share is not None)
        self._run_bar.setValue(round(100 * (status.share or 0)))
        for action, button in self._run_buttons.items():
            button.setVisible(action in status.actions)

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

    # actions

    def open_project(self, location: str) -> None:
        """Open or create a project, and close the one that was open."""
        try:
            session = AnnotationSession.open(location, preset=self._preset, device=self._device)
        except MaskwrightError as error:
            show_error(str(error))
            return
        self.close_project()
        self._project.setText(location)
        self.controller = Controller(session, self)
        self.controller.show_duplicates(visible=self._duplicates.isChecked())
        # not a bound method of ours: when the signal arrives, this widget is deleted
        self.destroyed.connect(self.controller.close)

    def close_project(self) -> None:
        """Stop running work and close the project."""
        if self.controller is not None:
            self.destroyed.disconnect(self.controller.close)
            self.controller.close()
            self.controller = None
            self.show_searching(running=False)
            self.show_matches((), "")
            self.show_unsaved("")
            self.show_other_image("", None)

    def run_action(self, name: str) -> None:
        """Run the action of a button, a key or a command."""
        without_project: dict[str, Callable[[], Any]] = {
            "hide": self._canvas.toggle_proposals,
            "tool": lambda: self._tool.setCurrentIndex((self._tool.currentIndex() + 1) % self._tool.count()),
            "sign": self._subtract.toggle,
            "open": lambda: self.open_project(self._project.text()),
            "choose project": self._choose_project,
            "add layer": self.add_layer,
        }
        if name in without_project:
            without_project[name]()
        elif self.controller is None:
            show_error("Open a project first.")
        elif name in FINETUNE_ACTIONS:
            self.controller.finetune(name)
        else:
            self._run_on_project(self.controller, name)

    def _run_on_project(self, controller: Controller, name: str) -> None:
        actions: dict[str, Callable[[], Any]] = {
            "run": lambda: self._propose(controller),
            "find": lambda: controller.find(self._phrase.text()),
            "stop": controller.stop_search,
            "match": lambda: controller.open_image(self._matches.currentItem().data(Qt.UserRole)),
            "image": lambda: controller.open_image(self._images.currentData()),
            "next": lambda: controller.step(1),
            "previous": lambda: controller.step(-1),
            "open other image": lambda: self._open_other_image(controller),
            "other": controller.next_candidate,
            "clear": controller.clear_clicks,
            "suggest": lambda: controller.suggest(self._show_names),
            "accept": lambda: controller.decide(self._selected_proposals(), self._name.text(), accept=True),
            "reject": lambda: controller.decide(self._selected_proposals(), self._name.text(), accept=False),
            "retry": controller.retry,
            "undo": controller.undo,
            "redo": controller.redo,
            "duplicates": lambda: controller.show_duplicates(visible=self._duplicates.isChecked()),
            "export": lambda: self._choose_export(controller),
        }
        actions[name]()

    def _propose(self, controller: Controller) -> None:
        background = self._background.isChecked()
        try:
            prompt = TextPrompt.parse(
                self._classes.text(),
                method=self._method.currentData(),
                background=background,
                threshold=self._threshold.value() / 100 if background else None,
                cleaning=self._cleaning.currentData() if background else None,
                refine="pamr" if self._refine.isChecked() else None,
            )
        except MaskwrightError as error:
            show_error(str(error))
        else:
            controller.propose(divide_countable(prompt) if self._instances.isChecked() else prompt)

    def _selected_proposals(self) -> list[ProposalId]:
        return [item.data(Qt.UserRole) for item in self._list.selectedItems()]

    def _open_other_image(self, controller: Controller) -> None:
        if self._other_image_id is not None:
            controller.open_image(self._other_image_id)

    def add_layer(self) -> None:
        """Add the selected image layer to the project; its masks are drawn over that layer."""
        layer = self._viewer.layers.selection.active
        if not isinstance(layer, ImageLayer) or self.controller is None:
            show_error("Select an image layer, and open a project.")
            return
        data, rgb, name = layer.data[0] if layer.multiscale else layer.data, layer.rgb, layer.name
        self.controller.add_image(
            lambda: Image.from_array(data, rgb=rgb, name=name),
            lambda image_id: self._canvas.user_layers.__setitem__(image_id, layer),
        )

    def _mouse_pressed(self, viewer: Any, event: Any) -> Iterator[None]:
        """Handle a press on the canvas until its release; a drag moves the view unless the box tool is on."""
        tool = self._tool.currentIndex()
        if event.button != 1 or self.controller is None or self._canvas.image_layer not in viewer.layers:
            return
        start, first = event.pos, self._canvas.to_pixels(event.position)
        opposite = "Alt" in event.modifiers
        if tool == _BOX:
            viewer.scene.camera.mouse_pan = False
        try:
            yield
            while event.type == "mouse_move":
                yield
        finally:
            viewer.scene.camera.mouse_pan = True
        moved = max(abs(now - then) for now, then in zip(event.pos, start, strict=True)) > _CLICK_TOLERANCE
        (x0, y0), (x1, y1) = first, self._canvas.to_pixels(event.position)
        if tool == _BOX and moved:
            self.controller.box((min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)))
        elif tool == _POINT and not moved and "Control" in event.modifiers:
            self._correct_at(x0, y0)
        elif tool == _POINT and not moved:
            label = int(self._subtract.isChecked() == opposite)
            self.controller.click(x0, y0, label, radius=self._canvas.click_radius)
        elif tool == _OFF and not moved:
            self._select_at(x0, y0)

    def _correct_at(self, x: float, y: float) -> None:
        """Let clicks correct the smallest accepted mask at a pixel."""
        ids = self._accepted_at(x, y)
        if ids and self.controller is not None:
            self.controller.correct(ids[0])

    def _select_at(self, x: float, y: float) -> None:
        """Select the topmost accepted mask at a pixel; if it is selected already, the one below."""
        active = self._viewer.layers.selection.active
        # while the user paints or draws in another layer, a click belongs to that tool
        if active is not None and str(getattr(active, "mode", "pan_zoom")) != "pan_zoom":
            return
        ids, before = self._accepted_at(x, y), self._accepted.ids
        place = ids.index(before[0]) + 1 if len(before) == 1 and before[0] in ids else 0
        self._accepted.select([ids[place % len(ids)]] if ids else [])

    def _accepted_at(self, x: float, y: float) -> list[int]:
        masks = [mask for mask in self._masks if mask.annotation is not None]
        return [mask.annotation for mask in self._canvas.masks_at(masks, x, y) if mask.annotation is not None]

    def _show_selected(self, ids: list[int]) -> None:
        self._canvas.show_selected([mask for mask in self._masks if mask.annotation in ids])

    def _delete(self, ids: list[int]) -> None:
        if self.controller is not None:
            self.controller.delete(ids)

    def _request_history(self, annotation: int | None) -> None:
        if self.controller is not None:
            self.controller.history(annotation)

    def _show_names(self, names: list[tuple[str, float]]) -> None:
        self._name.setText(names[0][0])
        self.show_status(
            "Suggested names: " + ", ".join(f"{name} ({probability:.2f})" for name, probability in names[:5])
        )

    def _choose_project(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Project folder", self._project.text())
        if folder:
            self.open_project(folder)

    def _choose_export(self, controller: Controller) -> None:
        file, _ = QFileDialog.getSaveFileName(self, "COCO file", "coco.json", "COCO (*.json)")
        if file:
            controller.export(Path(file))


def _row_text(mask: MaskView, state: str, pixels: int) -> str:
    """Such as "cow (duplicate)  12.0 %, score 0.91, out of vocabulary"."""
    score = "" if mask.mask.score is None else f", score {mask.mask.score:.2f}"
    vocabulary = ", out of vocabulary" if mask.out_of_vocabulary else ""
    return f"{mask.mask.category or 'clicked'}{state}  {100 * mask.mask.area / pixels:.1f} %{score}{vocabulary}"
