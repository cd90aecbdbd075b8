"""Small parts of the dock that Qt lacks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qtpy.QtCore import QEvent, QObject, Qt, Signal
from qtpy.QtGui import QColor, QIcon, QKeyEvent, QPixmap
from qtpy.QtWidgets import (
    QAbstractItemView,
    QFrame,
    QHBoxLayout,
    QLabel,
    QListWidget,
    QProgressBar,
    QPushButton,
    QWidget,
)

__all__ = ["ActionBanner", "BusyBar", "MainThreadInvoker", "Masks", "WheelFilter", "button", "swatch"]

_LINES = 7
"""How many masks of a list are in sight at once."""


class MainThreadInvoker(QObject):
    """Carries calls to the thread this object lives on."""

    asked = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self.asked.connect(self._call, Qt.QueuedConnection)

    def _call(self, call: Callable[[], None]) -> None:
        call()


class BusyBar(QProgressBar):
    """A bar that says what is being done; Qt's own shows no text while it is not known how much is to be done."""

    def __init__(self) -> None:
        super().__init__()
        self.setRange(0, 0)
        self.setTextVisible(True)
        self.setAlignment(Qt.AlignCenter)

    def text(self) -> str:
        """What stands on the bar."""
        return str(self.format())


class WheelFilter(QObject):
    """Leaves the wheel to the scroll area, for widgets that would change their value under a passing pointer."""

    def eventFilter(self, watched: QWidget, event: QEvent) -> bool:  # noqa: N802 - Qt's name
        """True when the widget shall not see the event."""
        turned = event.type() == QEvent.Wheel and not watched.hasFocus()
        if turned:
            event.ignore()
        return bool(turned)


class ActionBanner(QFrame):
    """A sentence with one thing to do about it; there only while there is a sentence."""

    taken = Signal()

    def __init__(self, text: str, tip: str) -> None:
        """`text` and `tip` are the button's."""
        super().__init__()
        self.setObjectName("offer")
        # it is there because something did not go as asked
        self.setStyleSheet("#offer { border: 1px solid #e69f00; border-radius: 3px }")
        self.label = QLabel()
        self.label.setWordWrap(True)
        # a long name must not make the dock wide
        self.label.setMinimumWidth(1)
        self.button = button(text, tip, self.taken.emit)
        row = QHBoxLayout(self)
        row.setContentsMargins(6, 4, 6, 4)
        row.addWidget(self.label, 1)
        row.addWidget(self.button)
        self.setVisible(False)

    def show_sentence(self, sentence: str) -> None:
        """Show a sentence with the button, or nothing when it is empty."""
        self.label.setText(sentence)
        self.setVisible(bool(sentence))


class Masks(QListWidget):
    """A list of masks, as high as it is full within limits; several can be selected."""

    erased = Signal()
    """The Delete key was pressed in it."""

    def __init__(self, tip: str) -> None:
        super().__init__()
        self.setSelectionMode(QAbstractItemView.ExtendedSelection)
        self.setToolTip(tip)
        # in a narrow dock the end of a line is left out; the tooltip has it all
        self.setTextElideMode(Qt.ElideRight)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarAlwaysOff)
        self.fit()

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802 - Qt's name
        """Tell of the Delete key; the others are the list's."""
        if event.key() == Qt.Key_Delete:
            self.erased.emit()
        else:
            super().keyPressEvent(event)

    def fit(self) -> None:
        """Take the height that the lines need."""
        line = self.sizeHintForRow(0) if self.count() else self.fontMetrics().height() + 2
        self.setFixedHeight(max(2, min(self.count(), _LINES)) * line + 2 * self.frameWidth() + 4)


def button(text: str, tip: str, clicked: Callable[[], Any]) -> QPushButton:
    """A button that calls without arguments."""
    made = QPushButton(text)
    made.setToolTip(tip)
    # Qt would hand over whether it is checked
    made.clicked.connect(lambda _=False: clicked())
    return made


def swatch(color: str) -> QIcon:
    """A small square of a colour."""
    square = QPixmap(14, 14)
    square.fill(QColor(color))
    return QIcon(square)
