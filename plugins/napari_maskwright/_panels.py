"""The dock's controls and where they lie; what they do is the widget's."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFrame,
    QGridLayout,
    QGroupBox,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QListWidget,
    QProgressBar,
    QScrollArea,
    QSlider,
    QVBoxLayout,
    QWidget,
)

from maskwright.session import CLEANING, METHODS
from napari_maskwright._accepted import AcceptedBox
from napari_maskwright._qt_widgets import ActionBanner, BusyBar, Masks, WheelFilter, button

__all__ = ["ACTIONS", "KEYS", "Form"]

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
    "Shift-U": ("undo", "Undo: the last click, else the last step"),
    "Shift-R": ("redo", "Redo"),
    "Shift-H": ("clear", "Give the clicks up"),
}
"""Key -> (what it does, in words); letters that no napari default uses."""

ACTIONS = {
    "start": "Improve model with my masks",
    "cancel": "Cancel run",
    "resume": "Resume run",
    "use": "Use new model",
    "back": "Go back to the earlier model",
}
"""What may be done about a run, and the button's text."""


class Form(QWidget):
    """Boxes in a column that scrolls, and below it what stays in sight."""

    asked = Signal(str)
    """What a button or a field stands for, in a word."""

    def __init__(self) -> None:
        super().__init__()
        boxes, column = QWidget(), QVBoxLayout()
        for box in (
            self._project_box(), self._find_box(), self._prompt_box(), self._click_box(), self._proposals_box(),
            self._accepted_box(), self._improve_box(),
        ):  # fmt: skip
            column.addWidget(box)
        column.addStretch()
        column.setContentsMargins(0, 0, 4, 0)
        boxes.setLayout(column)
        self._scroll = QScrollArea()
        self._scroll.setWidgetResizable(True)
        self._scroll.setFrameShape(QFrame.NoFrame)
        self._scroll.setWidget(boxes)
        self._calm = WheelFilter()
        for part in boxes.findChildren(QComboBox) + boxes.findChildren(QSlider):
            part.setFocusPolicy(Qt.StrongFocus)
            part.installEventFilter(self._calm)
        # what is being done, and what went wrong, stays in sight
        self._unsaved = ActionBanner("Try again", "Save the masks that are marked as not saved.")
        self._unsaved.taken.connect(self._asks("retry"))
        self._elsewhere = ActionBanner("Go there", "Show the image that the step was on.")
        self._elsewhere.taken.connect(self._asks("go"))
        self._busy = BusyBar()
        self._busy.setVisible(False)
        self._status = QLabel("Open a project to begin.")
        self._status.setWordWrap(True)
        outer = QVBoxLayout(self)
        outer.addWidget(self._scroll)
        for part in (self._unsaved, self._elsewhere, self._busy):
            outer.addWidget(part)
        outer.addLayout(self._steps_row())
        outer.addWidget(self._status)

    def _asks(self, word: str) -> Callable[[], None]:
        return lambda: self.asked.emit(word)

    def _steps_row(self) -> QHBoxLayout:
        row = QHBoxLayout()
        self._undo = button("Undo (Shift+U)", "", self._asks("undo"))
        self._redo = button("Redo (Shift+R)", "", self._asks("redo"))
        for part in (self._undo, self._redo):
            part.setEnabled(False)
            part.setToolTip("Open an image first.")
            row.addWidget(part)
        return row

    def _project_box(self) -> QGroupBox:
        box, grid = QGroupBox("Project"), QGridLayout()
        self._project = QLineEdit()
        self._project.setToolTip("Folder of the project, or a database URL; press Enter to open it.")
        self._project.returnPressed.connect(self._asks("open"))
        self._images = QComboBox()
        self._images.setToolTip("Images of this project.")
        self._images.setMinimumContentsLength(12)
        self._images.activated.connect(lambda _: self.asked.emit("image"))
        grid.addWidget(self._project, 0, 0, 1, 2)
        grid.addWidget(button("Open...", "Choose the project's folder.", self._asks("choose project")), 0, 2)
        grid.addWidget(self._images, 1, 0)
        grid.addWidget(button("<", "Previous image (Shift+N)", self._asks("previous")), 1, 1)
        grid.addWidget(button(">", "Next image (N)", self._asks("next")), 1, 2)
        take = button("Add selected layer", "Add the selected image layer to the project.", self._asks("take"))
        grid.addWidget(take, 2, 0)
        grid.addWidget(button("COCO...", "Write the accepted masks as a COCO file.", self._asks("export")), 2, 1, 1, 2)
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
        self._phrase.returnPressed.connect(self._asks("find"))
        self._stop = button("Stop", "Give the search up; the next one goes on there.", self._asks("stop"))
        self._stop.setEnabled(False)
        self._matches = QListWidget()
        self._matches.setToolTip("How well each image fits, the best first; double-click or Enter opens it.")
        self._matches.setVisible(False)
        self._matches.itemActivated.connect(lambda _: self.asked.emit("match"))
        self._found = QLabel()
        self._found.setWordWrap(True)
        # a long file name must not make the dock wide
        self._found.setMinimumWidth(1)
        self._found.setVisible(False)
        grid.addWidget(self._phrase, 0, 0)
        grid.addWidget(button("Find", "Rank the images of this project.", self._asks("find")), 0, 1)
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
        self._words.returnPressed.connect(self._asks("run"))
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
        self._threshold.sliderReleased.connect(self._asks("run"))
        row = QHBoxLayout()
        row.addWidget(QLabel("Threshold"))
        row.addWidget(self._threshold)
        row.addWidget(self._threshold_text)
        column.addWidget(self._words)
        column.addWidget(self._background)
        column.addWidget(self._cleaning)
        column.addLayout(row)
        column.addWidget(self._refine)
        self._run = button("Find masks (Q)", "Find masks for the words.", self._asks("run"))
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
        self._what = button("What is this?", "Compare the mask with the names of this project.", self._asks("suggest"))
        self._other = button("Other (J)", "Another mask that the click may mean.", self._asks("other"))
        self._clear = button("Clear (Shift+H)", "Give the clicks up.", self._asks("clear"))
        for number, part in enumerate((self._tool, self._beside, self._name, self._what, self._other, self._clear)):
            grid.addWidget(part, number // 2, number % 2)
        for part in (self._what, self._other, self._clear):
            part.setEnabled(False)
        box.setLayout(grid)
        return box

    def _proposals_box(self) -> QGroupBox:
        box, column = QGroupBox("Proposals"), QVBoxLayout()
        self._list = Masks("Select some to accept or reject only these.")
        column.addWidget(self._list)
        row = QHBoxLayout()
        self._accept = button("Accept (G)", "", self._asks("accept"))
        self._reject = button("Reject (U)", "", self._asks("reject"))
        for part in (self._accept, self._reject):
            part.setEnabled(False)
            part.setToolTip("No open proposals.")
            row.addWidget(part)
        column.addLayout(row)
        self._repeated = QCheckBox("Show duplicates")
        self._repeated.setToolTip(
            "Proposals that say again what was accepted under the same name are hidden; here they can be shown and "
            "accepted."
        )
        self._repeated.toggled.connect(lambda _: self.asked.emit("duplicates"))
        self._hidden = QLabel()
        self._hidden.setVisible(False)
        column.addWidget(self._hidden)
        column.addWidget(self._repeated)
        box.setLayout(column)
        return box

    def _accepted_box(self) -> QGroupBox:
        self._accepted = AcceptedBox()
        return self._accepted

    def _improve_box(self) -> QGroupBox:
        box, column = QGroupBox("A better model"), QVBoxLayout()
        self._run_line = QLabel("")
        self._run_line.setWordWrap(True)
        self._run_bar = QProgressBar()
        self._run_bar.setVisible(False)
        column.addWidget(self._run_line)
        column.addWidget(self._run_bar)
        self._run_buttons = {}
        for action, text in ACTIONS.items():
            part = button(text, text, self._asks(action))
            part.setVisible(False)
            self._run_buttons[action] = part
            column.addWidget(part)
        box.setLayout(column)
        return box
