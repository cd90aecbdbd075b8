"""Controls of the dock and their layout; the widget connects them to actions."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtCore import QStringListModel, Qt, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QCompleter,
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QMenu,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QSlider,
    QVBoxLayout,
    QWidget,
)

from maskwright.session import NO_IMAGE
from napari_maskwright._accepted import AcceptedBox
from napari_maskwright._classes import ClassesBox
from napari_maskwright._finetune import FinetuneBox
from napari_maskwright._models import ModelsBox
from napari_maskwright._proposals import ProposalsBox
from napari_maskwright._qt_widgets import ActionBanner, BusyBar, Section, ToolButtons, WheelFilter, button
from napari_maskwright._sections import ProjectBox, SearchBox, TextOptions

__all__ = ["Form"]


class Form(QWidget):
    """What is used all the time stays visible; the rest folds in a scrolling column between it and the status line."""

    triggered = Signal(str)
    """Name of the action of a button or a field."""

    def __init__(self) -> None:
        super().__init__()
        self._proposals = ProposalsBox(self._trigger)
        self._accepted = AcceptedBox()
        self._classes_box = ClassesBox()
        self._models = ModelsBox()
        self._project = ProjectBox(self._trigger)
        self._search = SearchBox(self._trigger)
        self._text = TextOptions(self._trigger)
        self._finetuning = FinetuneBox(self._trigger)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(2, 8, 2, 4)
        outer.setSpacing(3)
        for row in (self._target_row(), self._text_row(), self._tool_row(), self._click_row()):
            outer.addLayout(row)
        outer.addWidget(self._proposals)
        outer.addWidget(self._sections(), 1)
        self._banners()
        self._busy = BusyBar()
        self._busy.setVisible(False)
        self._status = QLabel("Select an image layer, or open images of a project.")
        self._status.setWordWrap(True)
        self._status.setMinimumWidth(1)
        for part in (self._unsaved, self._other_image, self._create, self._busy):
            outer.addWidget(part)
        outer.addLayout(self._undo_row())
        outer.addWidget(self._status)
        self._wheel_filter = WheelFilter()
        for part in self.findChildren(QComboBox) + self.findChildren(QSlider):
            part.setFocusPolicy(Qt.StrongFocus)
            part.installEventFilter(self._wheel_filter)

    def _trigger(self, action: str) -> Callable[[], None]:
        return lambda: self.triggered.emit(action)

    def _sections(self) -> QScrollArea:
        boxes, column = QWidget(), QVBoxLayout()
        column.setContentsMargins(0, 0, 4, 0)
        column.setSpacing(2)
        for title, box in (
            ("Accepted masks", self._accepted),
            ("Classes", self._classes_box),
            ("Text options", self._text),
            ("Project and images", self._project),
            ("Find images", self._search),
            ("Models and server", self._models),
            ("Fine-tune", self._finetuning),
        ):
            column.addWidget(Section(title, box, opened=box is self._accepted))
        column.addStretch()
        boxes.setLayout(column)
        self._scroll = QScrollArea()
        self._scroll.setWidgetResizable(True)
        self._scroll.setFrameShape(QFrame.NoFrame)
        self._scroll.setWidget(boxes)
        self._scroll.setMinimumHeight(50)
        return self._scroll

    def _banners(self) -> None:
        self._unsaved = ActionBanner("Try again", "Save the masks that are marked as not saved.")
        self._unsaved.clicked.connect(self._trigger("retry"))
        self._other_image = ActionBanner("Open image", "Show the image that the step was on.")
        self._other_image.clicked.connect(self._trigger("open other image"))
        self._create = ActionBanner("Create", "Create a project there.")
        self._create.clicked.connect(self._trigger("create"))

    def _target_row(self) -> QHBoxLayout:
        self._target = QComboBox()
        self._target.setToolTip(
            "What is segmented: an image layer, in the plane that the sliders show, or the images of the project."
        )
        self._target.setMinimumContentsLength(8)
        self._target.activated.connect(lambda _: self.triggered.emit("target"))
        self._channels = QComboBox()
        self._channels.setToolTip("One channel, the one in view, or three channels as red, green and blue.")
        self._channels.activated.connect(lambda _: self.triggered.emit("channels"))
        self._channels.setVisible(False)
        self._target.setSizePolicy(QSizePolicy.Expanding, QSizePolicy.Fixed)
        row = QHBoxLayout()
        row.addWidget(self._target, 2)
        row.addWidget(self._channels, 1)
        for text, tip, action in (("<", "Previous image (Shift+N)", "previous"), (">", "Next image (N)", "next")):
            part = button(text, tip, self._trigger(action))
            part.setFixedWidth(28)
            row.addWidget(part)
        return row

    def _text_row(self) -> QHBoxLayout:
        self._classes = QLineEdit()
        self._classes.setPlaceholderText("words: grass, cow, sky")
        self._classes.setToolTip('Class names, separated by commas; synonyms of one class by "|". Enter finds masks.')
        self._classes.returnPressed.connect(self._trigger("run"))
        self._run = button("Find (Q)", "Find masks for the class names.", self._trigger("run"))
        self._stop_prompt = button("Stop", "Stop the prompt that is running.", self._trigger("stop prompt"))
        self._stop_prompt.setVisible(False)
        row = QHBoxLayout()
        row.addWidget(self._classes, 1)
        everything = button("All", "Find masks of everything in the image, without words.", self._trigger("everything"))
        everything.setFixedWidth(36)
        for part in (self._run, everything, self._stop_prompt):
            row.addWidget(part)
        return row

    def _tool_row(self) -> QHBoxLayout:
        self._tool = ToolButtons(
            {
                "Select": "A click selects an accepted mask; W changes the tool.",
                "Point": "Click: a positive point, Alt+click: a negative one, Ctrl+click: correct an accepted mask.",
                "Box": "Drag a box around the object.",
            }
        )
        self._subtract = QCheckBox("Subtract")
        self._subtract.setToolTip("Clicks are negative points, outside the object (K); Alt+click does the opposite.")
        use = button("Layer", "Use the selected layer of points, shapes or labels as prompts or masks.", lambda: None)
        self._layer_menu = QMenu(use)
        use.setMenu(self._layer_menu)
        row = QHBoxLayout()
        row.addWidget(self._tool, 1)
        row.addWidget(self._subtract)
        row.addWidget(use)
        return row

    def _click_row(self) -> QHBoxLayout:
        self._name = QLineEdit()
        self._name.setMinimumWidth(60)
        self._name.setPlaceholderText("name of the clicked mask (object)")
        self._name.setToolTip(
            "Category of masks that are clicked or painted; when this is empty, they are named object."
        )
        self._names = QStringListModel()
        completer = QCompleter(self._names)
        completer.setCaseSensitivity(Qt.CaseInsensitive)
        self._name.setCompleter(completer)
        self._suggest = button("?", "Compare the mask with the project's names.", self._trigger("suggest"))
        self._other = button("Other", "Another mask that the click may mean (J).", self._trigger("other"))
        self._clear = button("Clear", "Clear the clicks (Shift+H).", self._trigger("clear"))
        self._suggest.setFixedWidth(28)
        row = QHBoxLayout()
        row.addWidget(self._name, 1)
        for part in (self._suggest, self._other, self._clear):
            part.setEnabled(False)
            row.addWidget(part)
        return row

    def _undo_row(self) -> QGridLayout:
        grid = QGridLayout()
        self._undo: QPushButton = button("Undo", "", self._trigger("undo"))
        self._redo: QPushButton = button("Redo", "", self._trigger("redo"))
        for column, part in enumerate((self._undo, self._redo)):
            part.setEnabled(False)
            part.setToolTip(NO_IMAGE)
            grid.addWidget(part, 0, column)
        return grid
