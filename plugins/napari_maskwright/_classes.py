"""The project's classes in the dock: the same list as in the browser page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QColor
from qtpy.QtWidgets import (
    QAbstractItemView,
    QColorDialog,
    QHBoxLayout,
    QHeaderView,
    QLineEdit,
    QMenu,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)

from maskwright.session import ClassEntry
from napari_maskwright._qt_widgets import button, swatch

__all__ = ["ClassesBox"]

_NAME, _KEY, _MASKS = range(3)
_VISIBLE_ROWS = 6
_SELECT_FIRST = "Select a class first."


class ClassesBox(QWidget):
    """Lists the classes; names are edited in place."""

    requested = Signal(object)
    """A change: a function that takes the session's classes."""
    chosen = Signal(str)
    """Name of the class that new masks get."""
    given = Signal(str)
    """Name of the class that the selected masks should get."""

    def __init__(self) -> None:
        super().__init__()
        self.list = QTreeWidget()
        self.list.setHeaderLabels(["Class", "Key", "Masks"])
        self.list.setRootIsDecorated(False)
        self.list.setSelectionMode(QAbstractItemView.SingleSelection)
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarAlwaysOff)
        self.list.setToolTip("The project's classes. Selected: the name of the next mask. Double-click renames.")
        header = self.list.header()
        header.setStretchLastSection(False)
        header.setSectionResizeMode(_NAME, QHeaderView.Stretch)
        for column in (_KEY, _MASKS):
            header.setSectionResizeMode(column, QHeaderView.ResizeToContents)
        self.list.itemSelectionChanged.connect(self._selected)
        self.list.itemChanged.connect(self._edited)
        self.new = QLineEdit()
        self.new.setPlaceholderText("new class")
        self.new.setToolTip("Name of a new class; Enter adds it.")
        self.new.returnPressed.connect(self._add)
        self.give = button("Give to masks", "", lambda: self.given.emit(self.name))
        self.change = button("Change", _SELECT_FIRST, lambda: None)
        self.menu = QMenu(self.change)
        self.menu.aboutToShow.connect(self._fill_menu)
        self.change.setMenu(self.menu)
        row = QHBoxLayout()
        row.addWidget(self.new, 1)
        row.addWidget(self.give)
        row.addWidget(self.change)
        column = QVBoxLayout(self)
        column.setContentsMargins(8, 0, 0, 4)
        column.addWidget(self.list)
        column.addLayout(row)
        self._entries: tuple[ClassEntry, ...] = ()
        self.show_classes(())

    @property
    def name(self) -> str:
        """Name of the selected class, or empty."""
        items = self.list.selectedItems()
        return str(items[0].data(_NAME, Qt.UserRole)) if items else ""

    def name_of_key(self, key: int) -> str:
        """Name of the class with a number key: its own, else by its place in the list; empty when there is none."""
        own = [entry.category.name for entry in self._entries if entry.category.shortcut == key]
        free = [entry.category.name for entry in self._entries if entry.category.shortcut is None]
        taken = {entry.category.shortcut for entry in self._entries}
        places = [number for number in range(1, 10) if number not in taken]
        return own[0] if own else dict(zip(places, free, strict=False)).get(key, "")

    def show_classes(self, entries: Sequence[ClassEntry]) -> None:
        """List these classes; the selected one stays selected."""
        self._entries, before = tuple(entries), self.name
        self.list.blockSignals(True)  # noqa: FBT003 - Qt takes no keyword
        self.list.clear()
        keys = {self.name_of_key(key): key for key in range(1, 10)}
        for entry in self._entries:
            category = entry.category
            item = QTreeWidgetItem([category.name, str(keys.get(category.name, "")), str(entry.accepted)])
            item.setIcon(_NAME, swatch(category.color))
            item.setData(_NAME, Qt.UserRole, category.name)
            item.setToolTip(_NAME, ", ".join([category.name, *category.synonyms]))
            item.setFlags(item.flags() | Qt.ItemIsEditable)
            self.list.addTopLevelItem(item)
            item.setSelected(category.name == before)
        self.list.blockSignals(False)  # noqa: FBT003 - Qt takes no keyword
        rows = max(2, min(len(self._entries), _VISIBLE_ROWS))
        height = self.list.sizeHintForRow(0) if self._entries else self.fontMetrics().height() + 4
        self.list.setFixedHeight(rows * height + self.list.header().sizeHint().height() + 6)
        self._enable()

    def choose(self, name: str) -> None:
        """Select a class by its name."""
        for place in range(self.list.topLevelItemCount()):
            item = self.list.topLevelItem(place)
            item.setSelected(item.data(_NAME, Qt.UserRole) == name)

    def _selected(self) -> None:
        self._enable()
        if self.name:
            self.chosen.emit(self.name)

    def _enable(self) -> None:
        for part, tip in (
            (self.give, "Give this class to the masks selected in the lists."),
            (self.change, "Colour, key, merge or delete."),
        ):
            part.setEnabled(bool(self.name))
            part.setToolTip(tip if self.name else _SELECT_FIRST)

    def _add(self) -> None:
        name = self.new.text().strip()
        if name:
            self.new.clear()
            self.requested.emit(lambda classes: classes.add(name))

    def _edited(self, item: Any, column: int) -> None:
        before, after = str(item.data(_NAME, Qt.UserRole)), item.text(_NAME).strip()
        # what holds until the change is made: it may be refused, and keys and counts are not typed
        self.show_classes(self._entries)
        if column == _NAME and after and after != before:
            self.requested.emit(lambda classes: classes.change(before, name=after))

    def _fill_menu(self) -> None:
        name = self.name
        self.menu.clear()

        def add(menu: QMenu, text: str, change: Callable[[Any], object]) -> None:
            menu.addAction(text).triggered.connect(lambda _=False: self.requested.emit(change))

        self.menu.addAction("Rename").triggered.connect(lambda _=False: self.list.editItem(self._item(name), _NAME))
        self.menu.addAction("Colour...").triggered.connect(lambda _=False: self._choose_color(name))
        keys = self.menu.addMenu("Key")
        for key in (*range(1, 10), None):
            add(keys, "None" if key is None else str(key), _change(name, shortcut=key))
        others = [entry.category.name for entry in self._entries if entry.category.name != name]
        merge = self.menu.addMenu("Merge into")
        merge.setEnabled(bool(others))
        for other in others:
            add(merge, other, _merge(name, other))
        add(self.menu, "Delete", lambda classes: classes.delete(name))

    def _item(self, name: str) -> Any:
        items = [self.list.topLevelItem(place) for place in range(self.list.topLevelItemCount())]
        return next((item for item in items if item.data(_NAME, Qt.UserRole) == name), None)

    def _choose_color(self, name: str) -> None:
        colors = {entry.category.name: entry.category.color for entry in self._entries}
        color = QColorDialog.getColor(QColor(colors.get(name, "#808080")), self, f"Colour of {name}")
        if color.isValid():
            self.requested.emit(lambda classes: classes.change(name, color=color.name()))


def _change(name: str, **values: Any) -> Callable[[Any], object]:
    return lambda classes: classes.change(name, **values)


def _merge(name: str, other: str) -> Callable[[Any], object]:
    return lambda classes: classes.merge(name, other)
