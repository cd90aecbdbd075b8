"""Fine-tuning in the dock: where it stands, its curves, what learns, and the models that it made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from qtpy.QtCore import QPointF, Signal
from qtpy.QtGui import QPainter, QPaintEvent, QPalette, QPolygonF
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QLabel, QMessageBox, QProgressBar, QPushButton, QVBoxLayout, QWidget

from maskwright.session import FINETUNE_ACTIONS, RECIPES, RUN_ACTIONS, TUNABLE, FinetuneStatus, RunCard
from napari_maskwright._qt_widgets import Section, button

__all__ = ["FinetuneBox"]


class Curve(QWidget):
    """A number of a run by training step."""

    def __init__(self, *, close_up: bool = False) -> None:
        """Draw from 0 at the bottom, or with `close_up` from the lowest value."""
        super().__init__()
        self._close_up = close_up
        self._points: tuple[tuple[int, float], ...] = ()
        self.setFixedHeight(48)
        self.setVisible(False)

    def show_points(self, points: tuple[tuple[int, float], ...], name: str) -> None:
        """Draw (step, value) points; fewer than two are no curve."""
        self._points = points
        self.setVisible(len(points) > 1)
        if points:
            text = f"{name} {points[-1][1]:.3f} after {points[-1][0]} steps"
            self.setToolTip(text)
            self.setAccessibleName(text)
        self.update()

    def paintEvent(self, event: QPaintEvent | None) -> None:  # noqa: N802, ARG002 - Qt's name and signature
        """Draw the curve in the colour of the text."""
        if len(self._points) < 2:
            return
        values = [value for _, value in self._points]
        last, lowest = self._points[-1][0], min(values) if self._close_up else 0.0
        height = max(max(values) - lowest, 1e-6)
        right, bottom = self.width() - 1, self.height() - 2
        painter = QPainter(self)
        painter.setRenderHint(QPainter.Antialiasing)
        painter.setPen(self.palette().color(QPalette.WindowText))
        painter.drawPolyline(
            QPolygonF([QPointF(right * x / last, bottom - bottom * (y - lowest) / height) for x, y in self._points])
        )
        painter.end()


class RunsBox(QWidget):
    """The models that fine-tuning made, one at a time with what its scores say."""

    acted = Signal(str, str)
    """An action of RUN_ACTIONS, and the run's name."""
    judged = Signal(str)
    """The run whose held-out images should be shown."""

    def __init__(self) -> None:
        super().__init__()
        self.runs = QComboBox()
        self.runs.setToolTip("Fine-tuned models of this project, the latest first.")
        self.runs.setMinimumContentsLength(12)
        self.runs.currentIndexChanged.connect(lambda _: self._describe())
        self.line = QLabel()
        self.line.setWordWrap(True)
        # a long name must not make the dock wide
        self.line.setMinimumWidth(1)
        self.look = button(
            "Held-out images...",
            "What people, the model before and this one say of images that it did not learn from.",
            lambda: self.judged.emit(self._card().name),
        )
        self.buttons: dict[str, QPushButton] = {}
        column, row = QVBoxLayout(self), QHBoxLayout()
        column.setContentsMargins(0, 0, 0, 0)
        for part in (self.runs, self.line, self.look):
            column.addWidget(part)
        # the run that is going on has its buttons above
        for action in ("resume", "use", "original", "delete"):
            part = button(RUN_ACTIONS[action], RUN_ACTIONS[action], partial(self._act, action))
            self.buttons[action] = part
            row.addWidget(part)
        column.addLayout(row)
        self._cards: tuple[RunCard, ...] = ()
        self.setVisible(False)

    def show_cards(self, cards: tuple[RunCard, ...]) -> None:
        """List the runs; the one in view stays."""
        if cards == self._cards:
            return
        before, latest = self.runs.currentData(), [card.name for card in cards[:1]]
        if latest != [card.name for card in self._cards[:1]]:
            before = None
        self._cards = cards
        self.runs.blockSignals(True)  # noqa: FBT003 - Qt takes no keyword
        self.runs.clear()
        for card in cards:
            self.runs.addItem(card.title, card.name)
        self.runs.setCurrentIndex(max(0, self.runs.findData(before)))
        self.runs.blockSignals(False)  # noqa: FBT003 - Qt takes no keyword
        self.setVisible(bool(cards))
        self._describe()

    def _card(self) -> RunCard:
        return self._cards[int(self.runs.currentIndex())]

    def _describe(self) -> None:
        if not self._cards:
            return
        card = self._card()
        self.line.setText(card.judgement)
        self.line.setVisible(bool(card.judgement))
        self.look.setVisible(card.judged > 0)
        for action, part in self.buttons.items():
            part.setVisible(action in card.actions)
            font = part.font()
            font.setBold(action == card.recommended)
            part.setFont(font)

    def _act(self, action: str) -> None:
        name = self._card().name
        question = f"Delete {name} with its model? This cannot be undone."
        if action != "delete" or QMessageBox.question(self, "Maskwright", question) == QMessageBox.Yes:
            self.acted.emit(action, name)


class FinetuneBox(QWidget):
    """Where fine-tuning stands, and what can be done about it."""

    def __init__(self, trigger: Callable[[str], Callable[[], None]]) -> None:
        """Take a function that makes a function which runs an action by name."""
        super().__init__()
        self.line = QLabel("")
        self.line.setWordWrap(True)
        self.line.setMinimumWidth(1)
        self._bar = QProgressBar()
        self._bar.setVisible(False)
        self._curves = {"Loss": Curve(), "Held-out images": Curve(close_up=True)}
        self.buttons: dict[str, QPushButton] = {}
        self.runs = RunsBox()
        column = QVBoxLayout(self)
        column.setContentsMargins(8, 0, 0, 4)
        for part in (self.line, self._bar, *self._curves.values()):
            column.addWidget(part)
        for action, text in FINETUNE_ACTIONS.items():
            part = button(text, text, trigger(action))
            part.setVisible(False)
            self.buttons[action] = part
            column.addWidget(part)
        column.addWidget(self._advanced(trigger))
        column.addWidget(self.runs)

    def _advanced(self, trigger: Callable[[str], Callable[[], None]]) -> Section:
        body = QWidget()
        column = QVBoxLayout(body)
        column.setContentsMargins(8, 0, 0, 0)
        self.learner, self.recipe, self.needs = QComboBox(), QComboBox(), QLabel()
        self.learner.setToolTip("What it learns for.")
        self.recipe.setToolTip("What learns: the more, the longer it takes.")
        self.needs.setWordWrap(True)
        self.needs.setMinimumWidth(1)
        for name, learns in RECIPES.items():
            self.recipe.addItem(f"{name}: {learns}", name)
        for part in (self.learner, self.recipe):
            part.setMinimumContentsLength(12)
            part.setSizeAdjustPolicy(QComboBox.AdjustToMinimumContentsLengthWithIcon)
            part.activated.connect(lambda _: trigger("finetune needs")())
            column.addWidget(part)
        column.addWidget(self.needs)
        section = Section("Advanced", body)
        section.header.toggled.connect(lambda opened: trigger("finetune needs")() if opened else None)
        return section

    def options(self) -> dict[str, Any]:
        """What a run that is started now should learn."""
        task, method = self.learner.currentData() or ("text", None)
        return {"task": task, "method": method, "recipe": self.recipe.currentData()}

    def show_learners(self, learners: Sequence[tuple[str, str | None]], needs: str) -> None:
        """List what the model can be tuned for, and say what the run would need."""
        if [self.learner.itemData(row) for row in range(self.learner.count())] != list(learners):
            self.learner.clear()
            for key in learners:
                self.learner.addItem(f"Learns for {TUNABLE[key]}", key)
        self.needs.setText(needs)

    def show_status(self, status: FinetuneStatus) -> None:
        """Show where it stands, and the buttons for what can be done now."""
        self.line.setText(status.message)
        self._bar.setVisible(status.share is not None)
        self._bar.setValue(round(100 * (status.share or 0)))
        for (name, curve), points in zip(self._curves.items(), (status.curve, status.metrics), strict=True):
            curve.show_points(points, name)
        for action, part in self.buttons.items():
            part.setVisible(action in status.actions)
        self.runs.show_cards(status.runs)
