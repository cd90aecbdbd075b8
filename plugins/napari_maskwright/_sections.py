"""The parts of the dock that fold: options of text prompts, the project, the search for images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QListWidget,
    QListWidgetItem,
    QSlider,
    QVBoxLayout,
    QWidget,
)

from maskwright.domain import TextPrompt
from maskwright.session import CLEANING, METHODS, divide_countable
from napari_maskwright._qt_widgets import ImageBox, button

if TYPE_CHECKING:
    from maskwright.session import SearchHit

__all__ = ["ProjectBox", "SearchBox", "TextOptions"]

Trigger = Callable[[str], Callable[[], None]]
"""Makes a function that runs an action by name."""

_VISIBLE_MATCHES = 5
"""Most rows of the search result that are visible without scrolling."""


class TextOptions(QWidget):
    """Method, threshold, background and refinement of text prompts."""

    def __init__(self, trigger: Trigger) -> None:
        super().__init__()
        self.objects = QCheckBox("One mask for each object")
        self.objects.setChecked(True)
        self.objects.setToolTip("Two cows become two masks; off: one mask for all cows. Grass and sky stay whole.")
        self.background = QCheckBox("Background class")
        self.background.setChecked(True)
        self.background.setToolTip(
            "Pixels that fit none of the names stay unlabelled; off: every pixel gets the best name."
        )
        self.method = QComboBox()
        for name, method in METHODS.items():
            self.method.addItem(name, method)
        self.method.setToolTip("Method for text prompts; automatic: the first one that the model has.")
        self.cleaning = QComboBox()
        for name, cleaning in CLEANING.items():
            self.cleaning.addItem(f"Cleaning: {name.lower()}", cleaning)
        self.cleaning.setToolTip(
            "Background cleaning leaves pixels unlabelled that the image encoder does not attend to for any name, and "
            "draws them hatched in grey. Automatic: the model's own setting. Needs the background class."
        )
        self.background.toggled.connect(self.cleaning.setEnabled)
        self.refine = QCheckBox("Refine contours (PAMR)")
        self.refine.setToolTip("Contours follow the image's colours; takes longer.")
        self.threshold = QSlider(Qt.Horizontal)
        self.threshold.setRange(5, 95)
        self.threshold.setValue(50)
        self.threshold.setToolTip("Probability that a class needs; the image is not encoded again.")
        value = QLabel("0.50")
        self.threshold.valueChanged.connect(lambda number: value.setText(f"{number / 100:.2f}"))
        self.threshold.sliderReleased.connect(trigger("run"))
        row = QHBoxLayout()
        for part in (QLabel("Threshold"), self.threshold, value):
            row.addWidget(part)
        column = QVBoxLayout(self)
        column.setContentsMargins(8, 0, 0, 4)
        for widget in (self.method, self.objects, self.background, self.cleaning):
            column.addWidget(widget)
        column.addLayout(row)
        column.addWidget(self.refine)

    def prompt(self, words: str) -> TextPrompt:
        """The prompt for these words; raises MaskwrightError when it cannot be one."""
        background = self.background.isChecked()
        prompt = TextPrompt.parse(
            words,
            method=self.method.currentData(),
            background=background,
            threshold=self.threshold.value() / 100 if background else None,
            cleaning=self.cleaning.currentData() if background else None,
            refine="pamr" if self.refine.isChecked() else None,
        )
        return divide_countable(prompt) if self.objects.isChecked() else prompt


class ProjectBox(QWidget):
    """The project's folder, its images, export, and which contrast is segmented."""

    def __init__(self, trigger: Trigger) -> None:
        super().__init__()
        self.location = QLineEdit()
        self.location.setToolTip("Folder of the project, or a database URL; press Enter to open it.")
        self.location.returnPressed.connect(trigger("open"))
        self.images = ImageBox()
        self.images.setToolTip("Images of this project.")
        self.images.setMinimumContentsLength(12)
        self.images.activated.connect(lambda _: trigger("image")())
        self.contrast = QCheckBox("Use display contrast")
        self.contrast.setToolTip(
            "Segment what the layer's contrast limits show; off: the 0.1 to 99.9 percentile of the plane, whatever the "
            "display. The limits are stored with the masks."
        )
        self.contrast.toggled.connect(lambda _: trigger("contrast")())
        grid = QGridLayout(self)
        grid.setContentsMargins(8, 0, 0, 4)
        grid.addWidget(self.location, 0, 0)
        grid.addWidget(button("Open...", "Choose the project's folder.", trigger("choose project")), 0, 1)
        grid.addWidget(self.images, 1, 0)
        grid.addWidget(button("COCO...", "Export the accepted masks as a COCO file.", trigger("export")), 1, 1)
        grid.addWidget(self.contrast, 2, 0, 1, 2)
        grid.setColumnStretch(0, 1)


class SearchBox(QWidget):
    """The search for images by a phrase."""

    def __init__(self, trigger: Trigger) -> None:
        super().__init__()
        self.phrase = QLineEdit()
        self.phrase.setPlaceholderText("a bus in the snow")
        self.phrase.setToolTip(
            "Describe what the images show; Enter searches this project. The first search encodes every image once."
        )
        self.phrase.returnPressed.connect(trigger("find"))
        self.stop = button("Stop", "Stop the search; the next one continues there.", trigger("stop"))
        self.stop.setEnabled(False)
        self.matches = QListWidget()
        self.matches.setToolTip("Images with their score, the best first; double-click or Enter opens one.")
        self.matches.setVisible(False)
        self.matches.itemActivated.connect(lambda _: trigger("match")())
        self.notice = QLabel()
        self.notice.setWordWrap(True)
        # a long file name must not make the dock wide
        self.notice.setMinimumWidth(1)
        self.notice.setVisible(False)
        grid = QGridLayout(self)
        grid.setContentsMargins(8, 0, 0, 4)
        grid.addWidget(self.phrase, 0, 0)
        grid.addWidget(button("Find", "Rank the images of this project.", trigger("find")), 0, 1)
        grid.addWidget(self.stop, 0, 2)
        following = "Images without masks that are the most different from those with masks, and from one another."
        grid.addWidget(button("To label next", following, trigger("label_next")), 1, 0, 1, 3)
        grid.addWidget(self.matches, 2, 0, 1, 3)
        grid.addWidget(self.notice, 3, 0, 1, 3)
        grid.setColumnStretch(0, 1)

    def show_matches(self, matches: Sequence[SearchHit], notice: str) -> None:
        """List the images that match, with a sentence on the search or none."""
        self.matches.clear()
        for match in matches:
            item = QListWidgetItem(f"{match.score:.2f}  {Path(match.record.file_name).name}")
            item.setData(Qt.UserRole, match.record.id)
            self.matches.addItem(item)
        rows = min(len(matches), _VISIBLE_MATCHES) * self.matches.sizeHintForRow(0)
        self.matches.setFixedHeight(max(0, rows) + 2 * self.matches.frameWidth() + 4)
        self.matches.setVisible(bool(matches))
        self.notice.setText(notice)
        self.notice.setVisible(bool(notice))
