"""The list of an image's accepted masks: select, delete, show the history."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QHBoxLayout,
    QListWidget,
    QMenu,
    QVBoxLayout,
    QWidget,
)

from napari_maskwright._mask_table import MaskRow, MaskTable
from napari_maskwright._qt_widgets import button

__all__ = ["LIKE", "AcceptedBox"]

LIKE = {
    "here": "In this image",
    "next": "In the next image",
    "later": "In all later images of the project",
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
        self.list = MaskTable("Select masks here, or by a click on the image with the Select tool.")
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
        self.by_object = QCheckBox("A colour for each object")
        self.by_object.setToolTip("On: neighbours of one class differ; off: all masks of a class have its colour.")
        row = QHBoxLayout()
        row.addWidget(self.like)
        row.addWidget(self.delete)
        row.addWidget(self.history)
        column = QVBoxLayout(self)
        column.setContentsMargins(8, 0, 0, 4)
        column.addWidget(self.list)
        column.addLayout(row)
        column.addWidget(self.by_object)
        column.addWidget(self.sentences)
        self._selected()

    def show_rows(self, rows: Sequence[MaskRow]) -> None:
        """List these masks; selected ones that are still there stay selected."""
        self.list.show_rows(rows)
        # another version of a selected mask has another history
        self._selected()

    def select(self, ids: Iterable[int]) -> None:
        """Select these masks and no others."""
        self.list.select(set(ids))

    @property
    def ids(self) -> list[int]:
        """The selected masks."""
        ids: list[int] = self.list.keys
        return ids

    def show_history(self, sentences: Sequence[str]) -> None:
        """Show the history that was requested."""
        self.sentences.clear()
        self.sentences.addItems(list(sentences))
        self.sentences.scrollToBottom()

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
