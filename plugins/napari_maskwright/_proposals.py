"""The part of the dock with the open proposals: the table, the decisions, and accepting all above a score."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from qtpy.QtWidgets import QCheckBox, QDoubleSpinBox, QHBoxLayout, QLabel, QVBoxLayout, QWidget

from maskwright.domain.proposal_id import ProposalId
from napari_maskwright._mask_table import MaskRow, MaskTable
from napari_maskwright._qt_widgets import button

__all__ = ["ProposalsBox"]

_NONE = "No open proposals."


class ProposalsBox(QWidget):
    """Shows the proposals of the image in view; accepting many is one step for undo."""

    def __init__(self, trigger: Callable[[str], Callable[[], None]]) -> None:
        """Take a function that makes a function which runs an action by name."""
        super().__init__()
        self.table = MaskTable("Proposals; select some to accept or reject only these.")
        self.accept = button("Accept (G)", _NONE, trigger("accept"))
        self.reject = button("Reject (U)", _NONE, trigger("reject"))
        self.least = QDoubleSpinBox()
        self.least.setRange(0.0, 1.0)
        self.least.setSingleStep(0.05)
        self.least.setValue(0.8)
        self.least.setPrefix("\N{GREATER-THAN OR EQUAL TO} ")
        # arrows of the keyboard and the wheel change it, and the row is narrow
        self.least.setButtonSymbols(QDoubleSpinBox.NoButtons)
        self.least.setStyleSheet("QDoubleSpinBox { min-width: 20px; padding: 1px 2px }")
        self.least.setFixedWidth(self.least.fontMetrics().horizontalAdvance(self.least.text()) + 12)
        self.least.setToolTip("Score from which on the button beside it accepts.")
        self.least.valueChanged.connect(lambda _: self._count())
        self.above = button("", "", trigger("accept above"))
        for part, text in ((self.accept, "Accept (G)"), (self.reject, "Reject (U)"), (self.above, "Accept 88")):
            # as narrow as its text, whatever a theme says
            part.setMinimumWidth(part.fontMetrics().horizontalAdvance(text) + 12)
        self.duplicates = QCheckBox("Show duplicates")
        self.duplicates.setToolTip(
            "Proposals that repeat an accepted mask of the same category are hidden; show them here to decide on them."
        )
        self.duplicates.toggled.connect(lambda _: trigger("duplicates")())
        self.duplicates.setVisible(False)
        self.hidden = QLabel()
        self.hidden.setVisible(False)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.table)
        for parts in ((self.accept, self.reject, self.above, self.least), (self.hidden, self.duplicates)):
            row = QHBoxLayout()
            row.setSpacing(2)
            for part in parts:
                row.addWidget(part, part is self.hidden)
            column.addLayout(row)
        self.show_rows(())

    def show_rows(self, rows: Sequence[MaskRow]) -> None:
        """List these proposals."""
        self.table.show_rows(rows)
        for part in (self.accept, self.reject):
            part.setEnabled(bool(rows))
            part.setToolTip("All proposals, or those selected in the list." if rows else _NONE)
        self._count()

    @property
    def selected(self) -> list[ProposalId]:
        """Ids of the selected proposals."""
        keys: list[Any] = self.table.keys
        return keys

    @property
    def ids_above(self) -> list[ProposalId]:
        """Ids of the proposals with at least the score that is set."""
        keys: list[Any] = [row.key for row in self.table.rows() if (row.score or 0.0) >= self.least.value()]
        return keys

    def _count(self) -> None:
        number = len(self.ids_above)
        self.above.setText(f"Accept {number}")
        self.above.setEnabled(bool(number))
        self.above.setToolTip(
            f"Accept the {number} with a score of at least {self.least.value():.2f}, in one step for undo."
            if number
            else "No proposal has so high a score."
        )
