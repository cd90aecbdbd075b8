"""The dock widget: it draws, and hands every gesture to the controller."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image as ImageLayer
from napari.layers import Labels, Points, Shapes
from napari.utils import DirectLabelColormap
from napari.utils.notifications import show_error, show_info
from numpy.typing import NDArray
from qtpy.QtCore import QEvent, QObject, Qt, Signal
from qtpy.QtGui import QColor, QIcon, QPixmap
from qtpy.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QComboBox,
    QFileDialog,
    QFrame,
    QGridLayout,
    QGroupBox,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QListWidget,
    QListWidgetItem,
    QProgressBar,
    QPushButton,
    QScrollArea,
    QSlider,
    QVBoxLayout,
    QWidget,
)

from maskwright.clicking import ClickPrompt
from maskwright.domain import Image
from maskwright.errors import MaskwrightError
from maskwright.project import Project
from maskwright.session import CLEANING, METHODS, AnnotationSession, Improvement, Shown
from maskwright.settings import Settings
from napari_maskwright._controller import Controller
from napari_maskwright._layers import as_rgb8, colors_of, hatched, labels_of, placement

if TYPE_CHECKING:
    import napari

    from maskwright.engine import Engine
    from maskwright.search import Found

__all__ = ["KEYS", "AnnotatorWidget"]

KEYS = {
    "Q": ("run", "Find masks"),
    "G": ("accept", "Accept"),
    "U": ("reject", "Reject"),
    "N": ("next", "Next image"),
    "Shift-N": ("previous", "Previous image"),
    "H": ("hide", "Hide or show proposals"),
    "W": ("tool", "Click off, point, box"),
    "K": ("sign", "On the thing or beside it"),
    "J": ("other", "Another mask of the click"),
    "Shift-U": ("undo", "Undo the last click"),
    "Shift-H": ("clear", "Give the clicks up"),
}
"""Key -> (what it does, in words); letters that no napari default uses."""

_ACTIONS = {
    "start": "Improve model with my masks",
    "cancel": "Cancel run",
    "resume": "Resume run",
    "use": "Use new model",
    "back": "Go back to the earlier model",
}

_CLEANED = "left unlabelled by cleaning"
"""Kind of layer that holds no masks."""
_MATCHES = 5
"""How many images that were found are in sight at once."""
_CLICK_GESTURES = {"other": "other_answer", "undo": "undo_click", "clear": "clear_clicks"}
"""Gesture -> what the controller does."""
_OFF, _POINT, _BOX = range(3)
_STILL = 5
"""Pixels of the screen that a press may move and still be a click."""


class _Soon(QObject):
    """Carries calls to the thread this object lives on."""

    asked = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self.asked.connect(self._call, Qt.QueuedConnection)

    def _call(self, call: Callable[[], None]) -> None:
        call()


class _Busy(QProgressBar):
    """A bar that says what is being done; Qt's own shows no text while it is not known how much is to be done."""

    def __init__(self) -> None:
        super().__init__()
        self.setRange(0, 0)
        self.setTextVisible(True)
        self.setAlignment(Qt.AlignCenter)

    def text(self) -> str:
        """What stands on the bar."""
        return str(self.format())


class _Calm(QObject):
    """Leaves the wheel to the scroll area, for widgets that would change their value under a passing pointer."""

    def eventFilter(self, watched: QWidget, event: QEvent) -> bool:  # noqa: N802 - Qt's name
        """True when the widget shall not see the event."""
        turned = event.type() == QEvent.Wheel and not watched.hasFocus()
        if turned:
            event.ignore()
        return bool(turned)


class AnnotatorWidget(QWidget):
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
        self._soon = _Soon()
        self.controller: Controller | None = None
        self._layers: dict[str, Any] = {}
        self._taken: dict[int, Any] = {}
        self._anchor: Any = None
        self._rows: list[Shown] = []
        presses, pressed = napari_viewer.mouse_drag_callbacks, self._pressed
        presses.append(pressed)
        # not a bound method of ours: when the signal comes, this widget is gone
        self.destroyed.connect(lambda: presses.remove(pressed) if pressed in presses else None)
        self._build()
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
        self._images.clear()
        for name, image_id in choices:
            self._images.addItem(name, image_id)
        self._images.setCurrentIndex(self._images.findData(current))
        self._images.blockSignals(False)

    def show_image(self, image_id: int, image: Image) -> None:
        """Show the image, in the layer it was taken from when there is one."""
        for kind in ("image", "proposals", "accepted", _CLEANED, "clicks", "box"):
            self._remove(kind)
        taken = self._taken.get(image_id)
        if taken is not None and taken in self._viewer.layers:
            self._anchor = taken
        else:
            self._anchor = self._viewer.add_image(image.pixels, name=image.name, rgb=True)
            self._layers["image"] = self._anchor
            self._viewer.reset_view()
        self._size_hw = image.size_hw

    def show_masks(self, rows: Sequence[Shown]) -> None:
        """Accepted masks as outlines, proposals as areas and in the list, what cleaning left unlabelled as stripes."""
        self._rows = list(rows)
        cleaned = [row for row in rows if row.cleaned]
        accepted = [row for row in rows if row.proposal is None and not row.cleaned]
        proposals = [row for row in rows if row.proposal is not None]
        self._draw("accepted", labels_of(accepted, self._size_hw), colors_of(accepted), contour=2, opacity=0.9)
        self._draw("proposals", labels_of(proposals, self._size_hw), colors_of(proposals), contour=0, opacity=0.6)
        if cleaned:
            selected = set(self._viewer.layers.selection)
            self._draw(_CLEANED, *hatched(cleaned, self._size_hw), contour=0, opacity=0.6)
            # this layer goes with the next prompt, and would take the selection with it
            self._viewer.layers.selection = selected
        else:
            self._remove(_CLEANED)
        self._list.clear()
        total = self._size_hw[0] * self._size_hw[1]
        for row in proposals:
            score = "" if row.mask.score is None else f", score {row.mask.score:.2f}"
            unfamiliar = ", unfamiliar word" if row.unfamiliar else ""
            text = f"{row.mask.category}  {100 * row.mask.area / total:.1f} %{score}{unfamiliar}"
            item = QListWidgetItem(_swatch(row.color), text)
            item.setData(Qt.UserRole, row.proposal)
            self._list.addItem(item)
        for button in (self._accept, self._reject):
            button.setEnabled(bool(proposals))
            button.setToolTip("All proposals, or those selected in the list." if proposals else "No open proposals.")

    def show_clicks(self, prompt: ClickPrompt | None) -> None:
        """Show the clicks, discs on the thing and crosses beside it, and the box."""
        step = prompt.last if prompt is not None else None
        points = step.points if step is not None else ()
        for kind in ("clicks", "box"):
            self._remove(kind)
        if points:
            layer = Points(
                [(y - 0.5, x - 0.5) for x, y, _ in points], name=f"{self._anchor.name} clicks",
                symbol=["disc" if sign else "cross" for *_, sign in points],
                face_color=["#009e73" if sign else "#d55e00" for *_, sign in points], border_color="white",
                size=max(3.0, max(self._size_hw) / 60), **placement(self._anchor),
            )  # fmt: skip
            layer.editable = False
            self._layers["clicks"] = self._viewer.add_layer(layer)
        if step is not None and step.box is not None:
            x0, y0, x1, y1 = (value - 0.5 for value in step.box)
            frame = Shapes(
                [[(y0, x0), (y1, x1)]], shape_type="rectangle", name=f"{self._anchor.name} box",
                face_color="transparent", edge_color="white", edge_width=max(self._size_hw) / 200,
                **placement(self._anchor),
            )  # fmt: skip
            frame.editable = False
            self._layers["box"] = self._viewer.add_layer(frame)
        count = len(step.answers) if step is not None else 0
        self._other.setEnabled(count > 1)
        self._other.setText(f"Mask {step.chosen + 1} of {count} (J)" if step is not None and count > 1 else "Other (J)")
        for button in (self._undo, self._clear):
            button.setEnabled(prompt is not None)
        self._what.setEnabled(count > 0)

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

    def show_matches(self, found: Sequence[Found], notice: str) -> None:
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

    def gesture(self, name: str) -> None:
        """Do what a button or key stands for."""
        if name == "hide":
            layers = [self._layers[kind] for kind in ("proposals", _CLEANED) if kind in self._layers]
            visible = any(layer.visible for layer in layers)
            for layer in layers:
                layer.visible = not visible
            return
        if name == "tool":
            self._tool.setCurrentIndex((self._tool.currentIndex() + 1) % self._tool.count())
            return
        if name == "sign":
            self._beside.toggle()
            return
        if self.controller is None:
            show_error("Open a project first.")
            return
        if name in _CLICK_GESTURES:
            getattr(self.controller, _CLICK_GESTURES[name])()
        elif name == "run":
            self.controller.propose(
                self._words.text(),
                background=self._background.isChecked(),
                threshold=self._threshold.value() / 100,
                method=self._method.currentData(),
                cleaning=self._cleaning.currentData(),
                refine="pamr" if self._refine.isChecked() else None,
            )
        elif name == "find":
            self.controller.find(self._phrase.text())
        elif name == "stop":
            self.controller.stop_search()
        elif name in ("accept", "reject"):
            chosen = [item.data(Qt.UserRole) for item in self._list.selectedItems()]
            self.controller.decide(name == "accept", chosen, self._name.text())
        elif name in ("next", "previous"):
            self.controller.step(1 if name == "next" else -1)

    def take_layer(self) -> None:
        """Add the selected image layer to the project; its masks will lie over that layer."""
        layer = self._viewer.layers.selection.active
        if not isinstance(layer, ImageLayer) or self.controller is None:
            show_error("Select an image layer, and open a project.")
            return
        data, rgb, name = layer.data[0] if layer.multiscale else layer.data, layer.rgb, layer.name
        self.controller.take(
            lambda: Image(as_rgb8(data, rgb=rgb), name=name),
            lambda image_id: self._taken.__setitem__(image_id, layer),
        )

    def _pressed(self, viewer: Any, event: Any) -> Any:
        """A press on the canvas while a click tool is chosen; a drag in the point tool still moves the view."""
        tool = self._tool.currentIndex()
        if tool == _OFF or event.button != 1 or self.controller is None or self._anchor not in viewer.layers:
            return
        start, pressed = event.pos, self._place(event.position)
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
        (x0, y0), (x1, y1) = pressed, self._place(event.position)
        if tool == _BOX and moved:
            self.controller.box((min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)))
        elif tool == _POINT and not moved and "Control" in event.modifiers:
            self._correct_at(x0, y0)
        elif tool == _POINT and not moved:
            sign = int(self._beside.isChecked() == other)
            self.controller.click(x0, y0, sign, near=self._near())

    def _correct_at(self, x: float, y: float) -> None:
        """Let clicks correct the smallest accepted mask at a place."""
        height, width = self._size_hw
        row, column = min(max(int(y), 0), height - 1), min(max(int(x), 0), width - 1)
        hit = [r for r in self._rows if r.annotation is not None and r.mask.to_array()[row, column]]
        if hit and self.controller is not None:
            self.controller.correct(int(min(hit, key=lambda r: r.mask.area).annotation or 0))

    def _place(self, position: Any) -> tuple[float, float]:
        """The (x, y) in the image's pixels, counted from its border, of a place in the world."""
        row, column = self._anchor.world_to_data(position)[-2:]
        return float(column) + 0.5, float(row) + 0.5

    def _near(self) -> float:
        """How many of the image's pixels a marker's reach on the screen is."""
        scale = abs(float(self._anchor.scale[-1])) or 1.0
        return 8 / (float(self._viewer.scene.camera.zoom) * scale)

    def _suggest(self) -> None:
        if self.controller is not None:
            self.controller.suggest(self._show_names)

    def _show_names(self, names: list[tuple[str, float]]) -> None:
        self._name.setText(names[0][0])
        self.show_status("It may be " + ", ".join(f"{name} ({chance:.2f})" for name, chance in names[:5]))

    # drawing

    def _engine(self, preset: str) -> Engine:
        from maskwright.engine import Engine

        return Engine.load(preset, self._device)

    def _draw(
        self,
        kind: str,
        labels: NDArray[np.integer[Any]],
        colors: Mapping[int | None, str],
        *,
        contour: int,
        opacity: float,
    ) -> None:
        colormap = DirectLabelColormap(color_dict=dict(colors))
        layer = self._layers.get(kind)
        if layer is not None and layer in self._viewer.layers:
            layer.data = labels
            layer.colormap = colormap
            return
        layer = Labels(
            labels, name=f"{self._anchor.name} {kind}", colormap=colormap, opacity=opacity, **placement(self._anchor)
        )
        layer.contour = contour
        # editing comes with the store's revisions; until then a stroke would be lost
        layer.editable = False
        self._layers[kind] = self._viewer.add_layer(layer)

    def _remove(self, kind: str) -> None:
        layer = self._layers.pop(kind, None)
        if layer is not None and layer in self._viewer.layers:
            self._viewer.layers.remove(layer)

    def _bind_keys(self) -> None:
        for key, (name, _) in KEYS.items():
            self._viewer.bind_key(key, lambda viewer, name=name: self.gesture(name), overwrite=True)

    def _build(self) -> None:
        boxes, column = QWidget(), QVBoxLayout()
        for box in (
            self._project_box(), self._find_box(), self._prompt_box(), self._click_box(), self._proposals_box(),
            self._improve_box(),
        ):  # fmt: skip
            column.addWidget(box)
        column.addStretch()
        column.setContentsMargins(0, 0, 4, 0)
        boxes.setLayout(column)
        self._scroll = QScrollArea()
        self._scroll.setWidgetResizable(True)
        self._scroll.setFrameShape(QFrame.NoFrame)
        self._scroll.setWidget(boxes)
        self._calm = _Calm()
        for part in boxes.findChildren(QComboBox) + boxes.findChildren(QSlider):
            part.setFocusPolicy(Qt.StrongFocus)
            part.installEventFilter(self._calm)
        # what is being done stays in sight
        self._busy = _Busy()
        self._busy.setVisible(False)
        self._status = QLabel("Open a project to begin.")
        self._status.setWordWrap(True)
        outer = QVBoxLayout(self)
        outer.addWidget(self._scroll)
        outer.addWidget(self._busy)
        outer.addWidget(self._status)

    def _project_box(self) -> QGroupBox:
        box, grid = QGroupBox("Project"), QGridLayout()
        self._project = QLineEdit()
        self._project.setToolTip("Folder of the project, or a database URL; press Enter to open it.")
        self._project.returnPressed.connect(lambda: self.open_project(self._project.text()))
        self._images = QComboBox()
        self._images.setToolTip("Images of this project.")
        self._images.setMinimumContentsLength(12)
        self._images.activated.connect(self._choose_image)
        grid.addWidget(self._project, 0, 0, 1, 2)
        grid.addWidget(_button("Open...", "Choose the project's folder.", self._choose_project), 0, 2)
        grid.addWidget(self._images, 1, 0)
        grid.addWidget(_button("<", "Previous image (Shift+N)", lambda: self.gesture("previous")), 1, 1)
        grid.addWidget(_button(">", "Next image (N)", lambda: self.gesture("next")), 1, 2)
        take = _button("Add selected layer", "Add the selected image layer to the project.", self.take_layer)
        grid.addWidget(take, 2, 0)
        grid.addWidget(_button("COCO...", "Write the accepted masks as a COCO file.", self._choose_export), 2, 1, 1, 2)
        grid.setColumnStretch(0, 1)
        box.setLayout(grid)
        return box

    def _find_box(self) -> QGroupBox:
        box, grid = QGroupBox("Find images"), QGridLayout()
        self._phrase = QLineEdit()
        self._phrase.setPlaceholderText("a bus in the snow")
        self._phrase.setToolTip(
            "What the images show, in words; Enter searches this project. The first search looks at every image once."
        )
        self._phrase.returnPressed.connect(lambda: self.gesture("find"))
        self._stop = _button("Stop", "Give the search up; the next one goes on there.", lambda: self.gesture("stop"))
        self._stop.setEnabled(False)
        self._matches = QListWidget()
        self._matches.setToolTip("How well each image fits, the best first; double-click or Enter opens it.")
        self._matches.setVisible(False)
        self._matches.itemActivated.connect(self._open_match)
        self._found = QLabel()
        self._found.setWordWrap(True)
        # a long file name must not make the dock wide
        self._found.setMinimumWidth(1)
        self._found.setVisible(False)
        grid.addWidget(self._phrase, 0, 0)
        grid.addWidget(_button("Find", "Rank the images of this project.", lambda: self.gesture("find")), 0, 1)
        grid.addWidget(self._stop, 0, 2)
        grid.addWidget(self._matches, 1, 0, 1, 3)
        grid.addWidget(self._found, 2, 0, 1, 3)
        grid.setColumnStretch(0, 1)
        box.setLayout(grid)
        return box

    def _prompt_box(self) -> QGroupBox:
        box, column = QGroupBox("Words"), QVBoxLayout()
        self._words = QLineEdit()
        self._words.setPlaceholderText("grass, cow, sky")
        self._words.setToolTip('Class names, separated by commas; synonyms of one class by "|". Enter finds masks.')
        self._words.returnPressed.connect(lambda: self.gesture("run"))
        self._background = QCheckBox("Leave the rest unlabelled")
        self._background.setChecked(True)
        self._background.setToolTip("Pixels that fit none of the names stay free; off: every pixel gets the best name.")
        self._method = QComboBox()
        for name, method in METHODS.items():
            self._method.addItem(name, method)
        self._method.setToolTip("Which method answers words; automatic: the first one that the model has.")
        self._cleaning = QComboBox()
        for name, wanted in CLEANING.items():
            self._cleaning.addItem(f"Cleaning: {name.lower()}", wanted)
        self._cleaning.setToolTip(
            "Pixels where the image encoder looks for none of the names stay unlabelled and are shown in grey stripes. "
            "Automatic: as suits the model. Only while the rest is left unlabelled."
        )
        self._background.toggled.connect(self._cleaning.setEnabled)
        self._refine = QCheckBox("Refine contours (PAMR)")
        self._refine.setToolTip("Contours follow the picture's colours; takes longer.")
        self._threshold = QSlider(Qt.Horizontal)
        self._threshold.setRange(5, 95)
        self._threshold.setValue(50)
        self._threshold.setToolTip("How sure a class must be; the model does not run again.")
        self._threshold_text = QLabel("0.50")
        self._threshold.valueChanged.connect(lambda value: self._threshold_text.setText(f"{value / 100:.2f}"))
        self._threshold.sliderReleased.connect(lambda: self.gesture("run"))
        row = QHBoxLayout()
        row.addWidget(QLabel("Threshold"))
        row.addWidget(self._threshold)
        row.addWidget(self._threshold_text)
        column.addWidget(self._words)
        column.addWidget(self._background)
        column.addWidget(self._cleaning)
        column.addLayout(row)
        column.addWidget(self._refine)
        self._run = _button("Find masks (Q)", "Find masks for the words.", lambda: self.gesture("run"))
        row = QHBoxLayout()
        row.addWidget(self._method, 1)
        row.addWidget(self._run, 1)
        column.addLayout(row)
        box.setLayout(column)
        return box

    def _click_box(self) -> QGroupBox:
        box, grid = QGroupBox("Clicks"), QGridLayout()
        self._tool = QComboBox()
        self._tool.addItems(["Off (W)", "Point (W)", "Box (W)"])
        self._tool.setToolTip(
            "Point: click on the thing, Alt+click beside it; Ctrl+click on an accepted mask corrects it. Box: drag."
        )
        self._beside = QCheckBox("Beside it (K)")
        self._beside.setToolTip("The next click says what the thing is not; Alt+click does the opposite.")
        self._name = QLineEdit()
        self._name.setPlaceholderText("name")
        self._name.setToolTip("Name under which the clicked mask is accepted.")
        self._what = _button("What is this?", "Compare the mask with the names of this project.", self._suggest)
        self._other = _button("Other (J)", "Another mask that the click may mean.", lambda: self.gesture("other"))
        self._undo = _button("Undo (Shift+U)", "Take the last click back.", lambda: self.gesture("undo"))
        self._clear = _button("Clear (Shift+H)", "Give the clicks up.", lambda: self.gesture("clear"))
        for number, part in enumerate(
            (self._tool, self._beside, self._name, self._what, self._other, self._undo, self._clear)
        ):
            grid.addWidget(part, number // 2, number % 2)
        for button in (self._what, self._other, self._undo, self._clear):
            button.setEnabled(False)
        box.setLayout(grid)
        return box

    def _proposals_box(self) -> QGroupBox:
        box, column = QGroupBox("Proposals"), QVBoxLayout()
        self._list = QListWidget()
        self._list.setSelectionMode(QAbstractItemView.ExtendedSelection)
        self._list.setToolTip("Select some to accept or reject only these.")
        self._list.setMaximumHeight(160)
        column.addWidget(self._list)
        row = QHBoxLayout()
        self._accept = _button("Accept (G)", "", lambda: self.gesture("accept"))
        self._reject = _button("Reject (U)", "", lambda: self.gesture("reject"))
        for button in (self._accept, self._reject):
            button.setEnabled(False)
            button.setToolTip("No open proposals.")
            row.addWidget(button)
        column.addLayout(row)
        box.setLayout(column)
        return box

    def _improve_box(self) -> QGroupBox:
        box, column = QGroupBox("A better model"), QVBoxLayout()
        self._run_line = QLabel("")
        self._run_line.setWordWrap(True)
        self._run_bar = QProgressBar()
        self._run_bar.setVisible(False)
        column.addWidget(self._run_line)
        column.addWidget(self._run_bar)
        self._run_buttons = {}
        for action, text in _ACTIONS.items():
            button = _button(text, "", lambda _=False, action=action: self._act(action))
            button.setVisible(False)
            self._run_buttons[action] = button
            column.addWidget(button)
        box.setLayout(column)
        return box

    def _act(self, action: str) -> None:
        if self.controller is not None:
            self.controller.act(action)

    def _open_match(self, item: QListWidgetItem) -> None:
        if self.controller is not None:
            self.controller.open_image(item.data(Qt.UserRole))

    def _choose_image(self, index: int) -> None:
        if self.controller is not None:
            self.controller.open_image(self._images.itemData(index))

    def _choose_project(self) -> None:
        place = QFileDialog.getExistingDirectory(self, "Project folder", self._project.text())
        if place:
            self.open_project(place)

    def _choose_export(self) -> None:
        if self.controller is None:
            show_info("Open a project first.")
            return
        place, _ = QFileDialog.getSaveFileName(self, "COCO file", "coco.json", "COCO (*.json)")
        if place:
            self.controller.export(Path(place))


def _button(text: str, tip: str, clicked: Callable[..., Any]) -> QPushButton:
    button = QPushButton(text)
    button.setToolTip(tip)
    button.clicked.connect(clicked)
    return button


def _swatch(color: str) -> QIcon:
    square = QPixmap(14, 14)
    square.fill(QColor(color))
    return QIcon(square)
