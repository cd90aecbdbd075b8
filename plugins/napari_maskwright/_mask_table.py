"""Tables of masks: thumbnail, class, score and area; sorted by a click on a column's title."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QSize, Qt, Signal
from qtpy.QtGui import QIcon, QImage, QKeyEvent, QPixmap
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTreeWidget, QTreeWidgetItem

from napari_maskwright._qt_widgets import swatch

__all__ = ["THUMBNAIL", "MaskRow", "MaskTable"]

THUMBNAIL = 24
"""Sides of a thumbnail in pixels."""
_VISIBLE_ROWS = 6
"""Most rows that are visible without scrolling."""
_REST = 480
"""Pixels of a window's height that the rest of the dock needs."""
_CLASS, _SCORE, _AREA = range(3)
_MOST_THUMBNAILS = 2000


@dataclass(frozen=True, slots=True)
class MaskRow:
    """A mask as the table shows it."""

    key: Hashable
    """Identifies the mask."""
    name: str
    color: str
    """#rrggbb, for a square while there is no thumbnail"""
    score: float | None
    area: int
    """Number of pixels, by which rows are sorted."""
    area_text: str
    tip: str


class _Item(QTreeWidgetItem):
    """A row that is sorted by its numbers, not by their texts."""

    def __init__(self, row: MaskRow) -> None:
        score = "" if row.score is None else f"{row.score:.2f}"
        super().__init__([row.name, score, row.area_text])
        self.row = row
        right = Qt.AlignRight | Qt.AlignVCenter
        for column in (_SCORE, _AREA):
            # a number in one binding, an enum in another
            self.setData(column, Qt.TextAlignmentRole, int(getattr(right, "value", right)))
        self.setToolTip(_CLASS, row.tip)

    def __lt__(self, other: Any) -> bool:
        column = self.treeWidget().sortColumn()
        mine, others = self.row, other.row
        if column == _SCORE:
            return (mine.score or 0.0) < (others.score or 0.0)
        if column == _AREA:
            return bool(mine.area < others.area)
        return bool(mine.name.casefold() < others.name.casefold())


class MaskTable(QTreeWidget):
    """A list of masks that is as high as its rows, within limits; several rows can be selected."""

    delete_pressed = Signal()

    def __init__(self, tip: str) -> None:
        super().__init__()
        self.setColumnCount(3)
        self.setHeaderLabels(["Class", "Score", "Area"])
        self.setRootIsDecorated(False)
        self.setUniformRowHeights(True)
        self.setSelectionMode(QAbstractItemView.ExtendedSelection)
        self.setIconSize(QSize(THUMBNAIL, THUMBNAIL))
        self.setToolTip(tip)
        # a narrow dock cuts off the end of a name; its tooltip is complete
        self.setTextElideMode(Qt.ElideRight)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarAlwaysOff)
        header = self.header()
        header.setStretchLastSection(False)
        header.setSectionResizeMode(_CLASS, QHeaderView.Stretch)
        for column in (_SCORE, _AREA):
            header.setSectionResizeMode(column, QHeaderView.ResizeToContents)
        header.setToolTip("Click a title to sort by it; a new answer comes unsorted.")
        # the model's order, until somebody sorts
        header.setSortIndicator(-1, Qt.AscendingOrder)
        self.setSortingEnabled(True)
        self._items: dict[Hashable, _Item] = {}
        self._thumbnails: dict[Hashable, QIcon] = {}
        self._fit()

    def count(self) -> int:
        """Number of rows."""
        return int(self.topLevelItemCount())

    def rows(self) -> list[MaskRow]:
        """The rows, as they are sorted."""
        return [self.topLevelItem(place).row for place in range(self.count())]

    @property
    def keys(self) -> list[Any]:
        """Keys of the selected rows, from above."""
        return [row.key for place, row in enumerate(self.rows()) if self.topLevelItem(place).isSelected()]

    def show_rows(self, rows: Sequence[MaskRow]) -> None:
        """Show these rows; selected ones that are still there stay selected, without a signal, and the order stays."""
        selected, place = set(self.keys), self.verticalScrollBar().value()
        self.blockSignals(True)  # noqa: FBT003 - Qt takes no keyword
        drawn = {key: (item.row.area, item.row.color) for key, item in self._items.items()}
        self.clear()
        self._items = {row.key: _Item(row) for row in rows}
        self._thumbnails = {
            row.key: self._thumbnails[row.key]
            for row in rows
            if row.key in self._thumbnails and drawn.get(row.key) == (row.area, row.color)
        }
        for key, item in self._items.items():
            item.setIcon(_CLASS, self._thumbnails.get(key) or swatch(item.row.color))
        # each row that came in sorted would come before its equals
        self.setSortingEnabled(False)
        self.addTopLevelItems(list(self._items.values()))
        self.setSortingEnabled(True)
        for key in selected & set(self._items):
            self._items[key].setSelected(True)
        self.blockSignals(False)  # noqa: FBT003 - Qt takes no keyword
        self._fit()
        self.verticalScrollBar().setValue(place)

    def select(self, keys: Collection[Hashable]) -> None:
        """Select these rows and no others, and scroll to the first."""
        self.blockSignals(True)  # noqa: FBT003 - Qt takes no keyword
        for key, item in self._items.items():
            item.setSelected(key in keys)
        self.blockSignals(False)  # noqa: FBT003 - Qt takes no keyword
        items = self.selectedItems()
        if items:
            self.scrollToItem(items[0])
        self.itemSelectionChanged.emit()

    def without_thumbnail(self) -> list[Hashable]:
        """Keys of rows that show a square of their colour."""
        return [key for key in self._items if key not in self._thumbnails][:_MOST_THUMBNAILS]

    def show_thumbnails(self, thumbnails: Mapping[Hashable, NDArray[np.uint8]]) -> None:
        """Show thumbnails, (H, W, 3), of rows that are still there."""
        for key, pixels in thumbnails.items():
            if key in self._items:
                height, width = pixels.shape[:2]
                image = QImage(pixels.tobytes(), width, height, 3 * width, QImage.Format_RGB888)
                self._thumbnails[key] = QIcon(QPixmap.fromImage(image))
                self._items[key].setIcon(_CLASS, self._thumbnails[key])

    def keyboardSearch(self, search: str) -> None:  # noqa: N802 - Qt's name
        """Do nothing: letters are keys of the dock, and never change what is selected."""

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802 - Qt's name
        """Emit `delete_pressed` for the Delete key; letters and digits go on to the dock."""
        if event.key() == Qt.Key_Delete:
            self.delete_pressed.emit()
        elif event.text().isalnum():
            event.ignore()
        else:
            super().keyPressEvent(event)

    def _fit(self) -> None:
        """Set the height that the rows need."""
        # rows grow when their thumbnails come
        row = max(self.sizeHintForRow(0), THUMBNAIL + 2)
        # in a low window the rest of the dock needs its place
        room = max(2, (self.window().height() - _REST) // row) if self.isVisible() else _VISIBLE_ROWS
        rows = max(1, min(self.count(), _VISIBLE_ROWS, room))
        self.setFixedHeight(rows * row + self.header().sizeHint().height() + 2 * self.frameWidth() + 6)
