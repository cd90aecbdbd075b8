"""The accepted masks of an image in a list: choose, delete, and read what happened to one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QAbstractItemView,
    QGroupBox,
    QHBoxLayout,
    QListWidget,
    QListWidgetItem,
    QVBoxLayout,
)

from maskwright.session import MaskView
from napari_maskwright._qt_widgets import Masks, button, swatch

__all__ = ["AcceptedBox"]

_NONE = "Choose an accepted mask first: in the list, or by a click on it while the click tool is off."
_DELETE = "Delete the chosen masks, in the list also with the Delete key; Undo brings them back."
_SEVERAL = "Choose a single mask to read its history."


class AcceptedBox(QGroupBox):
    """Lists masks, and says which are chosen and what is wanted of them."""

    chosen = Signal(list)
    """Ids of the masks that are chosen now."""
    deleted = Signal(list)
    """Ids of the masks to delete."""
    asked = Signal(object)
    """Id of the mask whose history is to be shown; None for none."""

    def __init__(self) -> None:
        super().__init__("Accepted masks")
        self.list = Masks("Choose masks here, or by a click on the picture while the click tool is off.")
        self.list.itemSelectionChanged.connect(self._choose)
        self.delete = button("Delete", _NONE, self._delete)
        self.history = button("History", _NONE, self._ask)
        self.history.setCheckable(True)
        self.sentences = QListWidget()
        self.sentences.setWordWrap(True)
        self.sentences.setResizeMode(QListWidget.Adjust)
        self.sentences.setSelectionMode(QAbstractItemView.NoSelection)
        self.sentences.setHorizontalScrollBarPolicy(Qt.ScrollBarAlwaysOff)
        self.sentences.setMaximumHeight(130)
        self.sentences.setToolTip("What happened to the chosen mask, the oldest first.")
        self.sentences.setVisible(False)
        self.list.erased.connect(self._delete)
        row = QHBoxLayout()
        row.addWidget(self.delete)
        row.addWidget(self.history)
        column = QVBoxLayout(self)
        column.addWidget(self.list)
        column.addLayout(row)
        column.addWidget(self.sentences)
        self._choose()

    def show_masks(self, rows: Sequence[MaskView], pixels: int) -> None:
        """List the masks of an image of so many pixels; those that were chosen and are still there stay chosen."""
        before = set(self.ids)
        self.list.blockSignals(True)
        self.list.clear()
        for row in rows:
            share = f"{100 * row.mask.area / pixels:.1f} %"
            item = QListWidgetItem(swatch(row.color), f"{row.annotation}: {row.mask.category}  {share}")
            score = "" if row.mask.score is None else f", score {row.mask.score:.2f}"
            item.setToolTip(f"Mask {row.annotation}: {row.mask.category}, {row.mask.area} pixels{score}")
            item.setData(Qt.UserRole, row.annotation)
            self.list.addItem(item)
        self.list.fit()
        self._select(before)

    def choose(self, ids: Iterable[int]) -> None:
        """Choose these masks and no others."""
        self.list.blockSignals(True)
        self._select(set(ids))
        current = self.list.selectedItems()
        if current:
            self.list.scrollToItem(current[0])

    @property
    def ids(self) -> list[int]:
        """The masks that are chosen."""
        return [item.data(Qt.UserRole) for item in self.list.selectedItems()]

    def show_history(self, sentences: Sequence[str]) -> None:
        """Show what happened to the mask that was asked about."""
        self.sentences.clear()
        self.sentences.addItems(list(sentences))
        self.sentences.scrollToBottom()

    def _select(self, ids: set[int]) -> None:
        for place in range(self.list.count()):
            item = self.list.item(place)
            item.setSelected(item.data(Qt.UserRole) in ids)
        self.list.blockSignals(False)
        self._choose()

    def _choose(self) -> None:
        ids = self.ids
        self.delete.setEnabled(bool(ids))
        self.delete.setToolTip(_DELETE if ids else _NONE)
        self.history.setEnabled(len(ids) == 1 or self.history.isChecked())
        self.history.setToolTip("What happened to the chosen mask." if len(ids) == 1 else _SEVERAL if ids else _NONE)
        self.chosen.emit(ids)
        self._ask()

    def _delete(self) -> None:
        if self.ids:
            self.deleted.emit(self.ids)

    def _ask(self) -> None:
        ids = self.ids
        one = ids[0] if self.history.isChecked() and len(ids) == 1 else None
        self.sentences.setVisible(one is not None)
        self.asked.emit(one)
