"""Small Qt widgets of the dock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qtpy.QtCore import QEvent, QObject, Qt, Signal
from qtpy.QtGui import QColor, QIcon, QKeyEvent, QPixmap
from qtpy.QtWidgets import (
    QAbstractItemView,
    QButtonGroup,
    QFrame,
    QHBoxLayout,
    QLabel,
    QListWidget,
    QProgressBar,
    QPushButton,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

__all__ = [
    "ActionBanner",
    "BusyBar",
    "MainThreadInvoker",
    "MaskList",
    "Section",
    "ToolButtons",
    "WheelFilter",
    "button",
    "swatch",
]

_VISIBLE_ROWS = 7
"""Most rows of a mask list that are visible without scrolling."""


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


class MaskList(QListWidget):
    """A list of masks that is as high as its rows, within limits; several rows can be selected."""

    delete_pressed = Signal()

    def keyboardSearch(self, search: str) -> None:  # noqa: N802 - Qt's name
        """Do nothing: letters are keys of the dock, and never change what is selected."""

    def __init__(self, tip: str) -> None:
        super().__init__()
        self.setSelectionMode(QAbstractItemView.ExtendedSelection)
        self.setToolTip(tip)
        # a narrow dock cuts off the end of a row; its tooltip is complete
        self.setTextElideMode(Qt.ElideRight)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarAlwaysOff)
        self.fit()

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802 - Qt's name
        """Emit `delete_pressed` for the Delete key; letters go on to the dock."""
        if event.key() == Qt.Key_Delete:
            self.delete_pressed.emit()
        elif event.text().isalpha():
            event.ignore()
        else:
            super().keyPressEvent(event)

    def fit(self) -> None:
        """Set the height that the rows need."""
        row = self.sizeHintForRow(0) if self.count() else self.fontMetrics().height() + 2
        self.setFixedHeight(max(2, min(self.count(), _VISIBLE_ROWS)) * row + 2 * self.frameWidth() + 4)


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
