"""The dock widget: it draws, and hands every gesture to the controller."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.layers import Image as ImageLayer
from napari.utils.notifications import show_error
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog, QListWidgetItem

from maskwright.domain import Image
from maskwright.domain.click_prompt import ClickPrompt
from maskwright.errors import MaskwrightError
from maskwright.project import Project
from maskwright.session import AnnotationSession, Improvement, MaskView
from maskwright.settings import Settings
from napari_maskwright._canvas import Canvas
from napari_maskwright._controller import Controller
from napari_maskwright._layers import as_rgb8
from napari_maskwright._panels import ACTIONS, KEYS, Form
from napari_maskwright._qt_widgets import MainThreadInvoker, swatch

if TYPE_CHECKING:
    import napari

    from maskwright.engine import Engine
    from maskwright.project.search import SearchHit

__all__ = ["KEYS", "AnnotatorWidget"]

_MATCHES = 5
"""How many images that were found are in sight at once."""
_DIRECT = {
    "other": "other_answer", "clear": "clear_clicks", "undo": "undo", "redo": "redo", "retry": "retry",
    "stop": "stop_search",
}  # fmt: skip
"""Gesture -> what the controller does."""
_OFF, _POINT, _BOX = range(3)
_STILL = 5
"""Pixels of the screen that a press may move and still be a click."""


class AnnotatorWidget(Form):
    """Words, proposals, decisions and the better model, on one project."""

    def __init__(
        self,
        napari_viewer: napari.Viewer,
        *,
        project: str | None = None,
        preset: str = "tiny",
        device: str = "auto",
    ) -> None:
        super().__init__()
        self._viewer, self._preset, self._device = napari_viewer, preset, device
        self._soon = MainThreadInvoker()
        self.controller: Controller | None = None
        self._canvas = Canvas(napari_viewer)
        self._layers = self._canvas.layers
        self._rows: list[MaskView] = []
        self._choices: Sequence[tuple[str, int]] = ()
        self._there: int | None = None
        presses, pressed = napari_viewer.mouse_drag_callbacks, self._pressed
        presses.append(pressed)
        # not a bound method of ours: when the signal comes, this widget is gone
        self.destroyed.connect(lambda: presses.remove(pressed) if pressed in presses else None)
        self.asked.connect(self.gesture)
        self._accepted.chosen.connect(self._show_chosen)
        self._accepted.deleted.connect(self._delete)
        self._accepted.asked.connect(self._ask_history)
        self._bind_keys()
        place = project or str(Settings.load().project.expanduser())
        self._project.setText(place)
        if project or (Path(place) / "project.db").exists():
            self.open_project(place)

    # the view that the controller speaks to

    def call_soon(self, call: Callable[[], None]) -> None:
        """Run on the window's thread; a window that is gone needs no call."""
        try:
            self._soon.asked.emit(call)
        except RuntimeError:
            return

    def show_images(self, choices: Sequence[tuple[str, int]], current: int | None) -> None:
        """Fill the list of images."""
        self._images.blockSignals(True)
        if choices != self._choices:
            self._choices = choices
            self._images.clear()
            for name, image_id in choices:
                self._images.addItem(name, image_id)
        self._images.setCurrentIndex(self._images.findData(current))
        self._images.blockSignals(False)

    def show_image(self, image_id: int, image: Image) -> None:
        """Show the image, in the layer it was taken from when there is one."""
        self._accepted.choose(())
        self._canvas.show_image(image_id, image)
        self._undo.setEnabled(True)
        self._undo.setToolTip("Take back the last click, else the last step on this image.")
        self._redo.setEnabled(True)
        self._redo.setToolTip("Do again what was undone last.")

    def show_masks(self, rows: Sequence[MaskView], remarks: Mapping[str, str]) -> None:
        """Draw the masks, and list the accepted ones and the proposals."""
        self._rows = list(rows)
        cleaned = [row for row in rows if row.cleaned]
        accepted = [row for row in rows if row.proposal is None and not row.cleaned]
        proposals = [row for row in rows if row.proposal is not None]
        self._canvas.show_masks(accepted, proposals, cleaned)
        total = self._canvas.size_hw[0] * self._canvas.size_hw[1]
        # corrections stand where a mask was, and may belong to none
        self._accepted.show_masks([row for row in accepted if row.annotation is not None], total)
        chosen = {item.data(Qt.UserRole) for item in self._list.selectedItems()}
        self._list.clear()
        for row in proposals:
            score = "" if row.mask.score is None else f", score {row.mask.score:.2f}"
            unfamiliar = ", unfamiliar word" if row.unfamiliar else ""
            remark = f" ({remarks[str(row.proposal)]})" if row.proposal in remarks else ""
            text = f"{row.mask.category or 'clicked'}{remark}  {100 * row.mask.area / total:.1f} %{score}{unfamiliar}"
            item = QListWidgetItem(swatch(row.color), text)
            item.setData(Qt.UserRole, row.proposal)
            item.setToolTip(text)
            self._list.addItem(item)
            item.setSelected(row.proposal in chosen)
        self._list.fit()
        for button in (self._accept, self._reject):
            button.setEnabled(bool(proposals))
            button.setToolTip("All proposals, or those selected in the list." if proposals else "No open proposals.")

    def show_duplicates(self, count: int) -> None:
        """How many proposals are hidden."""
        self._hidden.setText(f"{count} duplicate{'s' * (count != 1)} hidden" if count else "")
        self._hidden.setVisible(bool(count))

    def show_clicks(self, prompt: ClickPrompt | None) -> None:
        """Show the clicks and the box, and which of the answers it is."""
        self._canvas.show_clicks(prompt)
        step = prompt.last if prompt is not None else None
        count = len(step.candidates) if step is not None else 0
        self._other.setEnabled(count > 1)
        self._other.setText(
            f"Mask {step.selected + 1} of {count} (J)" if step is not None and count > 1 else "Other (J)"
        )
        self._clear.setEnabled(prompt is not None)
        self._what.setEnabled(count > 0)

    def show_history(self, sentences: Sequence[str]) -> None:
        """What happened to the chosen mask."""
        self._accepted.show_history(sentences)

    def show_status(self, text: str) -> None:
        """One line that stays."""
        self._status.setText(text)

    def show_busy(self, text: str) -> None:
        """What is being worked on."""
        self._busy.setFormat(text)
        self._busy.setVisible(bool(text))

    def show_searching(self, running: bool) -> None:
        """Whether there is a search to stop."""
        self._stop.setEnabled(running)

    def show_matches(self, found: Sequence[SearchHit], notice: str) -> None:
        """List the images that were found."""
        self._matches.clear()
        for one in found:
            item = QListWidgetItem(f"{one.score:.2f}  {Path(one.record.file_name).name}")
            item.setData(Qt.UserRole, one.record.id)
            self._matches.addItem(item)
        rows = min(len(found), _MATCHES) * self._matches.sizeHintForRow(0)
        self._matches.setFixedHeight(max(0, rows) + 2 * self._matches.frameWidth() + 4)
        self._matches.setVisible(bool(found))
        self._found.setText(notice)
        self._found.setVisible(bool(notice))

    def show_improvement(self, told: Improvement) -> None:
        """Where fine-tuning stands, and what can be done now."""
        self._run_line.setText(told.line)
        self._run_bar.setVisible(told.share is not None)
        self._run_bar.setValue(round(100 * (told.share or 0)))
        for action, button in self._run_buttons.items():
            button.setVisible(action in told.actions)

    def show_unsaved(self, sentence: str) -> None:
        """What could not be saved, with the button to try again."""
        self._unsaved.show_sentence(sentence)

    def show_elsewhere(self, sentence: str, image_id: int | None) -> None:
        """That a step belongs to another image, with the button that goes there."""
        self._there = image_id
        names = [name for name, key in self._choices if key == image_id]
        self._elsewhere.button.setToolTip(f"Show {names[0]}." if names else "Show the image that the step was on.")
        self._elsewhere.show_sentence(sentence)

    def show_error(self, sentence: str) -> None:
        """Something the person can mend."""
        show_error(sentence)

    # gestures

    def open_project(self, place: str) -> None:
        """Open or create a project; the one that was open is given up."""
        try:
            opened = Project.open(place, create=True)
        except MaskwrightError as error:
            show_error(str(error))
            return
        self.close_project()
        self._project.setText(place)
        self.controller = Controller(AnnotationSession(self._engine, opened, self._preset), self)
        self.controller.show_duplicates(self._repeated.isChecked())
        # not a bound method of ours: when the signal comes, this widget is gone
        self.destroyed.connect(self.controller.close)

    def close_project(self) -> None:
        """Stop what runs and give the project free."""
        if self.controller is not None:
            self.destroyed.disconnect(self.controller.close)
            self.controller.close()
            self.controller = None
            self.show_searching(False)
            self.show_matches((), "")
            self.show_unsaved("")
            self.show_elsewhere("", None)

    def gesture(self, name: str) -> None:
        """Do what a button or key stands for."""
        own: dict[str, Callable[[], Any]] = {
            "hide": self._canvas.toggle_proposals,
            "tool": lambda: self._tool.setCurrentIndex((self._tool.currentIndex() + 1) % self._tool.count()),
            "sign": self._beside.toggle,
            "open": lambda: self.open_project(self._project.text()),
            "choose project": self._choose_project,
            "take": self.take_layer,
        }
        if name in own:
            own[name]()
        elif self.controller is None:
            show_error("Open a project first.")
        else:
            self._ask(self.controller, name)

    def _ask(self, controller: Controller, name: str) -> None:
        """Ask the controller for what a gesture stands for."""
        match name:
            case "run":
                controller.propose(
                    self._words.text(),
                    background=self._background.isChecked(),
                    threshold=self._threshold.value() / 100,
                    method=self._method.currentData(),
                    cleaning=self._cleaning.currentData(),
                    refine="pamr" if self._refine.isChecked() else None,
                )
            case "find":
                controller.find(self._phrase.text())
            case "accept" | "reject":
                chosen = [item.data(Qt.UserRole) for item in self._list.selectedItems()]
                controller.decide(name == "accept", chosen, self._name.text())
            case "next" | "previous":
                controller.step(1 if name == "next" else -1)
            case "image":
                controller.open_image(self._images.currentData())
            case "match":
                controller.open_image(self._matches.currentItem().data(Qt.UserRole))
            case "go":
                if self._there is not None:
                    controller.open_image(self._there)
            case "duplicates":
                controller.show_duplicates(self._repeated.isChecked())
            case "suggest":
                controller.suggest(self._show_names)
            case "export":
                self._choose_export(controller)
            case _ if name in ACTIONS:
                controller.act(name)
            case _:
                getattr(controller, _DIRECT[name])()

    def take_layer(self) -> None:
        """Add the selected image layer to the project; its masks will lie over that layer."""
        layer = self._viewer.layers.selection.active
        if not isinstance(layer, ImageLayer) or self.controller is None:
            show_error("Select an image layer, and open a project.")
            return
        data, rgb, name = layer.data[0] if layer.multiscale else layer.data, layer.rgb, layer.name
        self.controller.take(
            lambda: Image(as_rgb8(data, rgb=rgb), name=name),
            lambda image_id: self._canvas.taken.__setitem__(image_id, layer),
        )

    def _pressed(self, viewer: Any, event: Any) -> Any:
        """A press on the canvas; a drag moves the view, but with the box tool."""
        tool = self._tool.currentIndex()
        if event.button != 1 or self.controller is None or self._canvas.anchor not in viewer.layers:
            return
        start, pressed = event.pos, self._canvas.place(event.position)
        other = "Alt" in event.modifiers
        if tool == _BOX:
            viewer.scene.camera.mouse_pan = False
        try:
            yield
            while event.type == "mouse_move":
                yield
        finally:
            viewer.scene.camera.mouse_pan = True
        moved = max(abs(now - then) for now, then in zip(event.pos, start, strict=True)) > _STILL
        (x0, y0), (x1, y1) = pressed, self._canvas.place(event.position)
        if tool == _BOX and moved:
            self.controller.box((min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)))
        elif tool == _POINT and not moved and "Control" in event.modifiers:
            self._correct_at(x0, y0)
        elif tool == _POINT and not moved:
            sign = int(self._beside.isChecked() == other)
            self.controller.click(x0, y0, sign, near=self._canvas.near)
        elif tool == _OFF and not moved:
            self._choose_at(x0, y0)

    def _correct_at(self, x: float, y: float) -> None:
        """Let clicks correct the smallest accepted mask at a place."""
        hit = self._accepted_at(x, y)
        if hit and self.controller is not None:
            self.controller.correct(hit[0])

    def _choose_at(self, x: float, y: float) -> None:
        """Choose the accepted mask on top at a place; again, the one below it."""
        active = self._viewer.layers.selection.active
        # while the user paints or draws in a layer of their own, a click means something else
        if active is not None and str(getattr(active, "mode", "pan_zoom")) != "pan_zoom":
            return
        hit, before = self._accepted_at(x, y), self._accepted.ids
        place = hit.index(before[0]) + 1 if len(before) == 1 and before[0] in hit else 0
        self._accepted.choose([hit[place % len(hit)]] if hit else [])

    def _accepted_at(self, x: float, y: float) -> list[int]:
        under = self._canvas.under([row for row in self._rows if row.annotation is not None], x, y)
        return [row.annotation for row in under if row.annotation is not None]

    def _show_chosen(self, ids: list[int]) -> None:
        self._canvas.show_chosen([row for row in self._rows if row.annotation in ids])

    def _delete(self, ids: list[int]) -> None:
        if self.controller is not None:
            self.controller.delete(ids)

    def _ask_history(self, annotation: int | None) -> None:
        if self.controller is not None:
            self.controller.history(annotation)

    def _show_names(self, names: list[tuple[str, float]]) -> None:
        self._name.setText(names[0][0])
        self.show_status("It may be " + ", ".join(f"{name} ({chance:.2f})" for name, chance in names[:5]))

    def _engine(self, preset: str) -> Engine:
        from maskwright.engine import Engine

        return Engine.load(preset, self._device)

    def _bind_keys(self) -> None:
        for key, (name, _) in KEYS.items():
            self._viewer.bind_key(key, lambda viewer, name=name: self.gesture(name), overwrite=True)

    def _choose_project(self) -> None:
        place = QFileDialog.getExistingDirectory(self, "Project folder", self._project.text())
        if place:
            self.open_project(place)

    def _choose_export(self, controller: Controller) -> None:
        place, _ = QFileDialog.getSaveFileName(self, "COCO file", "coco.json", "COCO (*.json)")
        if place:
            controller.export(Path(place))
