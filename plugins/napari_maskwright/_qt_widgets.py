"""Small Qt widgets of the dock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from napari.utils import progress
from qtpy.QtCore import QAbstractListModel, QEvent, QObject, Qt, QTimer, Signal
from qtpy.QtGui import QColor, QIcon, QPixmap
from qtpy.QtWidgets import (
    QButtonGroup,
    QComboBox,
    QFrame,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

__all__ = [
    "ActionBanner",
    "ActivityProgress",
    "BusyBar",
    "ImageBox",
    "MainThreadInvoker",
    "Section",
    "ToolButtons",
    "WheelFilter",
    "button",
    "swatch",
]

_ACTIVITY_MS = 1000
"""Milliseconds after which work counts as long."""


class MainThreadInvoker(QObject):
    """Runs calls on the thread that this object lives on."""

    posted = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self.posted.connect(self._call, Qt.QueuedConnection)

    def _call(self, call: Callable[[], None]) -> None:
        call()


class BusyBar(QProgressBar):
    """An indeterminate progress bar with a text; Qt's own shows no text while it is indeterminate."""

    def __init__(self) -> None:
        super().__init__()
        self.setRange(0, 0)
        self.setTextVisible(True)
        self.setAlignment(Qt.AlignCenter)

    def text(self) -> str:
        """The text on the bar."""
        return str(self.format())


class WheelFilter(QObject):
    """Leaves the wheel to the scroll area, for widgets whose value would change under a passing pointer."""

    def eventFilter(self, watched: QWidget, event: QEvent) -> bool:  # noqa: N802 - Qt's name
        """True when the widget must not receive the event."""
        turned = event.type() == QEvent.Wheel and not watched.hasFocus()
        if turned:
            event.ignore()
        return bool(turned)


class _Titles(QAbstractListModel):
    """(title, id) of many images; Qt asks for those that are visible."""

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self.images: Sequence[tuple[str, int]] = ()

    def rowCount(self, _: Any = None) -> int:  # noqa: N802 - Qt's name
        return len(self.images)

    def data(self, index: Any, role: int = Qt.DisplayRole) -> Any:
        if role not in (Qt.DisplayRole, Qt.UserRole) or not 0 <= index.row() < len(self.images):
            return None
        return self.images[index.row()][role == Qt.UserRole]


class ImageBox(QComboBox):
    """A list to choose one of many images from; `currentData` is the id of the chosen one."""

    def __init__(self) -> None:
        super().__init__()
        self.setSizeAdjustPolicy(QComboBox.AdjustToMinimumContentsLengthWithIcon)
        self._titles = _Titles(self)
        self._rows: dict[int, int] = {}
        self.setModel(self._titles)

    def show_images(self, images: Sequence[tuple[str, int]]) -> None:
        """List images by (title, id); none is chosen."""
        if images != self._titles.images:
            self._titles.beginResetModel()
            self._titles.images = images
            self._rows = {image_id: row for row, (_, image_id) in enumerate(images)}
            self._titles.endResetModel()

    def choose(self, image_id: int | None) -> None:
        """Show that an image is chosen; None for none."""
        self.setCurrentIndex(-1 if image_id is None else self._rows.get(image_id, -1))


class Section(QWidget):
    """A part of the dock under a title that folds it away."""

    def __init__(self, title: str, body: QWidget, *, opened: bool = False) -> None:
        super().__init__()
        self.header = QToolButton()
        self.header.setText(title)
        self.header.setToolTip(f"Show or hide: {title.lower()}.")
        self.header.setCheckable(True)
        self.header.setToolButtonStyle(Qt.ToolButtonTextBesideIcon)
        self.header.setSizePolicy(QSizePolicy.Expanding, QSizePolicy.Fixed)
        # flat, as a title, in any theme
        self.header.setStyleSheet("QToolButton { border: none; font-weight: bold; text-align: left; padding: 3px }")
        self.header.toggled.connect(self._show_body)
        self._body = body
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        column.addWidget(self.header)
        column.addWidget(body)
        self.header.setChecked(opened)
        self._show_body()

    def _show_body(self) -> None:
        opened = self.header.isChecked()
        self.header.setArrowType(Qt.DownArrow if opened else Qt.RightArrow)
        self._body.setVisible(opened)


class ToolButtons(QWidget):
    """Buttons of which exactly one is pressed."""

    changed = Signal(int)

    def __init__(self, names: dict[str, str]) -> None:
        """`names` are the buttons' texts and tooltips."""
        super().__init__()
        self._group = QButtonGroup(self)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(0)
        for number, (text, tip) in enumerate(names.items()):
            part = QPushButton(text)
            part.setCheckable(True)
            part.setChecked(not number)
            part.setToolTip(tip)
            # as narrow as its text, whatever a theme says
            part.setMinimumWidth(part.fontMetrics().horizontalAdvance(text) + 8)
            self._group.addButton(part, number)
            row.addWidget(part)
        self._group.idClicked.connect(self.changed.emit)

    def current(self) -> int:
        """Number of the pressed button, from 0."""
        return int(self._group.checkedId())

    def press_next(self) -> None:
        """Press the button after the pressed one, or the first."""
        self.press((self.current() + 1) % len(self._group.buttons()))

    def press(self, number: int) -> None:
        """Press a button by its number."""
        self._group.button(number).setChecked(True)
        self.changed.emit(number)


class ActionBanner(QFrame):
    """A message with a button; hidden while there is no message."""

    clicked = Signal()

    def __init__(self, text: str, tip: str) -> None:
        """`text` and `tip` are the button's."""
        super().__init__()
        self.setObjectName("banner")
        # orange, because something did not go as expected
        self.setStyleSheet("#banner { border: 1px solid #e69f00; border-radius: 3px }")
        self.label = QLabel()
        self.label.setWordWrap(True)
        # a long name must not make the dock wide
        self.label.setMinimumWidth(1)
        self.button = button(text, tip, self.clicked.emit)
        row = QHBoxLayout(self)
        row.setContentsMargins(6, 4, 6, 4)
        row.addWidget(self.label, 1)
        row.addWidget(self.button)
        self.setVisible(False)

    def show_message(self, message: str) -> None:
        """Show a message with the button, or nothing when it is empty."""
        self.label.setText(message)
        self.setVisible(bool(message))


class ActivityProgress:
    """Long work in napari's activity dock; what is over at once does not flicker there."""

    def __init__(self) -> None:
        self._text, self._bar = "", None
        self._timer = QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(_ACTIVITY_MS)
        self._timer.timeout.connect(self._begin)

    def show(self, text: str) -> None:
        """Show what is running; empty when nothing is."""
        self._text = text
        if not text:
            self.close()
        elif self._bar is not None:
            self._bar.set_description(text)
        elif not self._timer.isActive():
            self._timer.start()

    def close(self) -> None:
        """Take it away."""
        self._timer.stop()
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _begin(self) -> None:
        self._bar = progress(total=0, desc=self._text)


def button(text: str, tip: str, clicked: Callable[[], Any]) -> QPushButton:
    """A button with a tooltip; `clicked` is called without arguments."""
    widget = QPushButton(text)
    widget.setToolTip(tip)
    # Qt would pass whether it is checked
    widget.clicked.connect(lambda _=False: clicked())
    return widget


def swatch(color: str) -> QIcon:
    """A small square of a colour."""
    square = QPixmap(14, 14)
    square.fill(QColor(color))
    return QIcon(square)
