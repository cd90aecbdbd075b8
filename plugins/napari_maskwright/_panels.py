"""Controls of the dock and their layout; the widget connects them to actions."""

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
    QPushButton,
    QScrollArea,
    QSlider,
    QVBoxLayout,
    QWidget,
)

from maskwright.session import CLEANING, FINETUNE_ACTIONS, METHODS, NO_IMAGE
from napari_maskwright._accepted import AcceptedBox
from napari_maskwright._qt_widgets import ActionBanner, BusyBar, MaskList, WheelFilter, button

__all__ = ["KEYS", "Form"]

KEYS = {
    "Q": ("run", "Find masks"),
    "G": ("accept", "Accept"),
    "U": ("reject", "Reject"),
    "N": ("next", "Next image"),
    "Shift-N": ("previous", "Previous image"),
    "H": ("hide", "Hide or show proposals"),
    "W": ("tool", "Click off, point, box"),
    "K": ("sign", "Positive or negative points"),
    "J": ("other", "Another mask for the clicks"),
    "Shift-U": ("undo", "Undo: the last click, else the last step"),
    "Shift-R": ("redo", "Redo"),
    "Shift-H": ("clear", "Clear the clicks"),
}
"""Key -> (action, description); keys that no napari default uses."""


class Form(QWidget):
    """Group boxes in a scrolling column; messages, undo and the status line stay visible below it."""

    triggered = Signal(str)
    """Name of the action of a button or a field."""

    def __init__(self) -> None:
        super().__init__()
        boxes, column = QWidget(), QVBoxLayout()
        self._accepted = AcceptedBox()
        for box in (
            self._project_box(),
            self._search_box(),
            self._text_box(),
            self._click_box(),
            self._proposals_box(),
            self._accepted,
            self._finetune_box(),
        ):
            column.addWidget(box)
        column.addStretch()
        column.setContentsMargins(0, 0, 4, 0)
        boxes.setLayout(column)
        self._scroll = QScrollArea()
        self._scroll.setWidgetResizable(True)
        self._scroll.setFrameShape(QFrame.NoFrame)
        self._scroll.setWidget(boxes)
        self._wheel_filter = WheelFilter()
        for part in boxes.findChildren(QComboBox) + boxes.findChildren(QSlider):
            part.setFocusPolicy(Qt.StrongFocus)
            part.installEventFilter(self._wheel_filter)
        self._unsaved = ActionBanner("Try again", "Save the masks that are marked as not saved.")
        self._unsaved.clicked.connect(self._trigger("retry"))
        self._other_image = ActionBanner("Open image", "Show the image that the step was on.")
        self._other_image.clicked.connect(self._trigger("open other image"))
        self._busy = BusyBar()
        self._busy.setVisible(False)
        self._status = QLabel("Open a project to begin.")
        self._status.setWordWrap(True)
        outer = QVBoxLayout(self)
        outer.addWidget(self._scroll)
        for part in (self._unsaved, self._other_image, self._busy):
            outer.addWidget(part)
        outer.addLayout(self._undo_row())
        outer.addWidget(self._status)

    def _trigger(self, action: str) -> Callable[[], None]:
        return lambda: self.triggered.emit(action)

    def _undo_row(self) -> QHBoxLayout:
        row = QHBoxLayout()
        self._undo = button("Undo (Shift+U)", "", self._trigger("undo"))
        self._redo = button("Redo (Shift+R)", "", self._trigger("redo"))
        for part in (self._undo, self._redo):
            part.setEnabled(False)
            part.setToolTip(NO_IMAGE)
            row.addWidget(part)
        return row

    def _project_box(self) -> QGroupBox:
        box, grid = QGroupBox("Project"), QGridLayout()
        self._project = QLineEdit()
        self._project.setToolTip("Folder of the project, or a database URL; press Enter to open it.")
        self._project.returnPressed.connect(self._trigger("open"))
        self._images = QComboBox()
        self._images.setToolTip("Images of this project.")
        self._images.setMinimumContentsLength(12)
        self._images.activated.connect(lambda _: self.triggered.emit("image"))
        grid.addWidget(self._project, 0, 0, 1, 2)
        grid.addWidget(button("Open...", "Choose the project's folder.", self._trigger("choose project")), 0, 2)
        grid.addWidget(self._images, 1, 0)
        grid.addWidget(button("<", "Previous image (Shift+N)", self._trigger("previous")), 1, 1)
        grid.addWidget(button(">", "Next image (N)", self._trigger("next")), 1, 2)
        add = button("Add selected layer", "Add the selected image layer to the project.", self._trigger("add layer"))
        grid.addWidget(add, 2, 0)
        export = button("COCO...", "Export the accepted masks as a COCO file.", self._trigger("export"))
        grid.addWidget(export, 2, 1, 1, 2)
        grid.setColumnStretch(0, 1)
        box.setLayout(grid)
        return box

    def _search_box(self) -> QGroupBox:
        box, grid = QGroupBox("Find images"), QGridLayout()
        self._phrase = QLineEdit()
        self._phrase.setPlaceholderText("a bus in the snow")
        self._phrase.setToolTip(
            "Describe what the images show; Enter searches this project. The first search encodes every image once."
        )
        self._phrase.returnPressed.connect(self._trigger("find"))
        self._stop = button("Stop", "Stop the search; the next one continues there.", self._trigger("stop"))
        self._stop.setEnabled(False)
        self._matches = QListWidget()
        self._matches.setToolTip("Images with their score, the best first; double-click or Enter opens one.")
        self._matches.setVisible(False)
        self._matches.itemActivated.connect(lambda _: self.triggered.emit("match"))
        self._search_notice = QLabel()
        self._search_notice.setWordWrap(True)
        # a long file name must not make the dock wide
        self._search_notice.setMinimumWidth(1)
        self._search_notice.setVisible(False)
        grid.addWidget(self._phrase, 0, 0)
        grid.addWidget(button("Find", "Rank the images of this project.", self._trigger("find")), 0, 1)
        grid.addWidget(self._stop, 0, 2)
        grid.addWidget(self._matches, 1, 0, 1, 3)
        grid.addWidget(self._search_notice, 2, 0, 1, 3)
        grid.setColumnStretch(0, 1)
        box.setLayout(grid)
        return box

    def _text_box(self) -> QGroupBox:
        box, column = QGroupBox("Text prompt"), QVBoxLayout()
        self._classes = QLineEdit()
        self._classes.setPlaceholderText("grass, cow, sky")
        self._classes.setToolTip('Class names, separated by commas; synonyms of one class by "|". Enter finds masks.')
        self._classes.returnPressed.connect(self._trigger("run"))
        self._background = QCheckBox("Background class")
        self._background.setChecked(True)
        self._background.setToolTip(
            "Pixels that fit none of the names stay unlabelled; off: every pixel gets the best name."
        )
        self._instances = QCheckBox("One mask for each object")
        self._instances.setChecked(True)
        self._instances.setToolTip("Two cows become two masks; off: one mask for all cows. Grass and sky stay whole.")
        self._method = QComboBox()
        for name, method in METHODS.items():
            self._method.addItem(name, method)
        self._method.setToolTip("Method for text prompts; automatic: the first one that the model has.")
        self._cleaning = QComboBox()
        for name, cleaning in CLEANING.items():
            self._cleaning.addItem(f"Cleaning: {name.lower()}", cleaning)
        self._cleaning.setToolTip(
            "Background cleaning leaves pixels unlabelled that the image encoder does not attend to for any name, and "
            "draws them hatched in grey. Automatic: the model's own setting. Needs the background class."
        )
        self._background.toggled.connect(self._cleaning.setEnabled)
        self._refine = QCheckBox("Refine contours (PAMR)")
        self._refine.setToolTip("Contours follow the image's colours; takes longer.")
        self._threshold = QSlider(Qt.Horizontal)
        self._threshold.setRange(5, 95)
        self._threshold.setValue(50)
        self._threshold.setToolTip("Probability that a class needs; the image is not encoded again.")
        self._threshold_text = QLabel("0.50")
        self._threshold.valueChanged.connect(lambda value: self._threshold_text.setText(f"{value / 100:.2f}"))
        self._threshold.sliderReleased.connect(self._trigger("run"))
        row = QHBoxLayout()
        row.addWidget(QLabel("Threshold"))
        row.addWidget(self._threshold)
        row.addWidget(self._threshold_text)
        column.addWidget(self._classes)
        column.addWidget(self._instances)
        column.addWidget(self._background)
        column.addWidget(self._cleaning)
        column.addLayout(row)
        column.addWidget(self._refine)
        self._run = button("Find masks (Q)", "Find masks for the class names.", self._trigger("run"))
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
            "Point: a click adds a positive point, Alt+click a negative one, Ctrl+click corrects an accepted mask. "
            "Box: drag around the object."
        )
        self._subtract = QCheckBox("Subtract (K)")
        self._subtract.setToolTip("Clicks are negative points, outside the object; Alt+click does the opposite.")
        self._name = QLineEdit()
        self._name.setPlaceholderText("name")
        self._name.setToolTip("Category of the clicked mask when it is accepted.")
        self._suggest = button("Suggest name", "Compare the mask with the project's names.", self._trigger("suggest"))
        self._other = button("Other (J)", "Another mask that the click may mean.", self._trigger("other"))
        self._clear = button("Clear (Shift+H)", "Clear the clicks.", self._trigger("clear"))
        parts = (self._tool, self._subtract, self._name, self._suggest, self._other, self._clear)
        for number, part in enumerate(parts):
            grid.addWidget(part, number // 2, number % 2)
        for part in (self._suggest, self._other, self._clear):
            part.setEnabled(False)
        box.setLayout(grid)
        return box

    def _proposals_box(self) -> QGroupBox:
        box, column = QGroupBox("Proposals"), QVBoxLayout()
        self._list = MaskList("Select some to accept or reject only these.")
        column.addWidget(self._list)
        row = QHBoxLayout()
        self._accept = button("Accept (G)", "", self._trigger("accept"))
        self._reject = button("Reject (U)", "", self._trigger("reject"))
        for part in (self._accept, self._reject):
            part.setEnabled(False)
            part.setToolTip("No open proposals.")
            row.addWidget(part)
        column.addLayout(row)
        self._duplicates = QCheckBox("Show duplicates")
        self._duplicates.setToolTip(
            "Proposals that repeat an accepted mask of the same category are hidden; show them here to decide on them."
        )
        self._duplicates.toggled.connect(lambda _: self.triggered.emit("duplicates"))
        self._hidden = QLabel()
        self._hidden.setVisible(False)
        column.addWidget(self._hidden)
        column.addWidget(self._duplicates)
        box.setLayout(column)
        return box

    def _finetune_box(self) -> QGroupBox:
        box, column = QGroupBox("Fine-tune"), QVBoxLayout()
        self._run_line = QLabel("")
        self._run_line.setWordWrap(True)
        self._run_bar = QProgressBar()
        self._run_bar.setVisible(False)
        column.addWidget(self._run_line)
        column.addWidget(self._run_bar)
        self._run_buttons: dict[str, QPushButton] = {}
        for action, text in FINETUNE_ACTIONS.items():
            part = button(text, text, self._trigger(action))
            part.setVisible(False)
            self._run_buttons[action] = part
            column.addWidget(part)
        box.setLayout(column)
        return box
