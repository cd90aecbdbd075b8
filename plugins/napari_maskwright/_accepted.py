"""The list of an image's accepted masks: select, delete, show the history."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHBoxLayout,
    QListWidget,
    QListWidgetItem,
    QMenu,
    QVBoxLayout,
    QWidget,
)

from maskwright.session import MaskView
from napari_maskwright._qt_widgets import MaskList, button, swatch

__all__ = ["LIKE", "AcceptedBox"]

LIKE = {
    "here": "In this image",
    "next": "In the next image",
    "stack": "In all planes of the layer",
    "propagate": "Follow it through the planes",
}
"""Where to find what masks show, with the texts of the menu."""
_SELECT_FIRST = "Select an accepted mask first: in the list, or by a click on it with the Select tool."
_DELETE = "Delete the selected masks, in the list also with the Delete key; Undo brings them back."
_SELECT_ONE = "Select a single mask to show its history."


class AcceptedBox(QWidget):
    """Lists the accepted masks."""

    selection_changed = Signal(list)
    """Ids of the selected masks."""
    delete_requested = Signal(list)
    """Ids of the masks to delete."""
    like_requested = Signal(str)
    """Where to find what the selected masks show: one of `LIKE`."""
    history_requested = Signal(object)
    """Id of the mask whose history to show; None for none."""

    def __init__(self) -> None:
        super().__init__()
        self.list = MaskList("Select masks here, or by a click on the image with the Select tool.")
        self.list.itemSelectionChanged.connect(self._selected)
        self.list.delete_pressed.connect(self._delete)
        self.delete = button("Delete", _SELECT_FIRST, self._delete)
        self.history = button("History", _SELECT_FIRST, self._request_history)
        self.history.setCheckable(True)
        self.sentences = QListWidget()
        self.sentences.setWordWrap(True)
        self.sentences.setResizeMode(QListWidget.Adjust)
        self.sentences.setSelectionMode(QAbstractItemView.NoSelection)
        self.sentences.setHorizontalScrollBarPolicy(Qt.ScrollBarAlwaysOff)
        self.sentences.setMaximumHeight(130)
        self.sentences.setToolTip("History of the selected mask, the oldest step first.")
        self.sentences.setVisible(False)
        self.like = button("Find like this", _SELECT_FIRST, lambda: None)
        menu = QMenu(self.like)
        for name, text in LIKE.items():
            menu.addAction(text).triggered.connect(lambda _=False, name=name: self.like_requested.emit(name))
        self.like.setMenu(menu)
        row = QHBoxLayout()
        row.addWidget(self.like)
        row.addWidget(self.delete)
        row.addWidget(self.history)
        column = QVBoxLayout(self)
        column.setContentsMargins(8, 0, 0, 4)
        column.addWidget(self.list)
        column.addLayout(row)
        column.addWidget(self.sentences)
        self._selected()

    def show_masks(self, masks: Sequence[MaskView], pixels: int) -> None:
        """List the masks of an image with so many pixels; selected masks that are still there stay selected."""
        before = set(self.ids)
        self.list.blockSignals(True)  # noqa: FBT003 - Qt takes no keyword
        self.list.clear()
        for mask in masks:
            share = f"{100 * mask.mask.area / pixels:.1f} %"
            item = QListWidgetItem(swatch(mask.color), f"{mask.annotation}: {mask.mask.category}  {share}")
            score = "" if mask.mask.score is None else f", score {mask.mask.score:.2f}"
            item.setToolTip(f"Mask {mask.annotation}: {mask.mask.category}, {mask.mask.area} pixels{score}")
            item.setData(Qt.UserRole, mask.annotation)
            self.list.addItem(item)
        self.list.fit()
        self._select(before)

    def select(self, ids: Iterable[int]) -> None:
        """Select these masks and no others."""
        self.list.blockSignals(True)  # noqa: FBT003 - Qt takes no keyword
        self._select(set(ids))
        items = self.list.selectedItems()
        if items:
            self.list.scrollToItem(items[0])

    @property
    def ids(self) -> list[int]:
        """The selected masks."""
        return [item.data(Qt.UserRole) for item in self.list.selectedItems()]

    def show_history(self, sentences: Sequence[str]) -> None:
        """Show the history that was requested."""
        self.sentences.clear()
        self.sentences.addItems(list(sentences))
        self.sentences.scrollToBottom()

    def _select(self, ids: set[int]) -> None:
        for row in range(self.list.count()):
            item = self.list.item(row)
            item.setSelected(item.data(Qt.UserRole) in ids)
        self.list.blockSignals(False)  # noqa: FBT003 - Qt takes no keyword
        self._selected()

    def _selected(self) -> None:
        ids = self.ids
        self.delete.setEnabled(bool(ids))
        self.delete.setToolTip(_DELETE if ids else _SELECT_FIRST)
        self.like.setEnabled(bool(ids))
        self.like.setToolTip("Find what the selected masks show, by example." if ids else _SELECT_FIRST)
        self.history.setEnabled(len(ids) == 1 or self.history.isChecked())
        several = _SELECT_ONE if ids else _SELECT_FIRST
        self.history.setToolTip("History of the selected mask." if len(ids) == 1 else several)
        self.selection_changed.emit(ids)
        self._request_history()

    def _delete(self) -> None:
        if self.ids:
            self.delete_requested.emit(self.ids)

    def _request_history(self) -> None:
        ids = self.ids
        annotation = ids[0] if self.history.isChecked() and len(ids) == 1 else None
        self.sentences.setVisible(annotation is not None)
        self.history_requested.emit(annotation)
