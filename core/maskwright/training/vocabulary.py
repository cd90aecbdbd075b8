"""Classes of a training run: names, synonyms, and which classes contain one another."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from importlib.resources import files
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["NO", "UNSURE", "YES", "Vocabulary"]

NO, YES, UNSURE = 0, 1, 2


class _Entry(NamedTuple):
    name: str
    synonyms: tuple[str, ...] = ()
    kind_of: str | None = None
    part_of: str | None = None


class Vocabulary:
    """Classes of a training run, with synonyms from the bundled list where it has the name."""

    def __init__(self, names: Iterable[str]) -> None:
        known: dict[str, _Entry] = {}
        owner: dict[str, str] = {}
        for row in json.loads((files("maskwright_assets") / "vocabulary.json").read_text(encoding="utf-8")):
            entry = _Entry(row["name"], tuple(row["synonyms"]), row.get("kind_of"), row.get("part_of"))
            known[entry.name] = entry
            owner |= dict.fromkeys((entry.name, *entry.synonyms), entry.name)
        # a source's own name for a listed class (human body for person) joins that class
        self._class_of = {name: owner.get(name, name) for name in names}
        self._set_entries(known.get(name, _Entry(name)) for name in sorted(set(self._class_of.values())))

    @classmethod
    def bundled(cls) -> Vocabulary:
        """All classes of the bundled list."""
        rows = json.loads((files("maskwright_assets") / "vocabulary.json").read_text(encoding="utf-8"))
        return cls(name for row in rows for name in (row["name"], *row["synonyms"]))

    @classmethod
    def exactly(cls, names: Sequence[str]) -> Vocabulary:
        """One class per name, in this order and without synonyms: a user may tell pedestrian from person."""
        vocabulary = cls(names)
        known = {entry.name: entry for entry in vocabulary.entries}
        vocabulary._class_of = {name: name for name in names}
        vocabulary._set_entries(known[name]._replace(synonyms=()) if name in known else _Entry(name) for name in names)
        return vocabulary

    @classmethod
    def plain(cls, names: Sequence[str]) -> Vocabulary:
        """One class per name, in this order, without synonyms, and none contains another: as a benchmark counts."""
        vocabulary = cls.exactly(names)
        vocabulary._set_entries(_Entry(name) for name in names)
        return vocabulary

    def _set_entries(self, entries: Iterable[_Entry]) -> None:
        self.entries = list(entries)
        self._index = {entry.name: index for index, entry in enumerate(self.entries)}

    def __len__(self) -> int:
        return len(self.entries)

    def index(self, name: str) -> int:
        """Class index of a source's category name; KeyError for a name that is not in the vocabulary."""
        return self._index[self._class_of[name]]

    def texts(self) -> list[tuple[str, ...]]:
        """Name and synonyms of each class, the name first."""
        return [(entry.name, *entry.synonyms) for entry in self.entries]

    def containment(self) -> NDArray[np.uint8]:
        """(T, T) table of whether a pixel of class `row` also belongs to class `column`: NO, YES or UNSURE.

        A brick wall is a wall; a wall may be a brick wall; a face may have been labelled as person.
        """
        table = np.full((len(self), len(self)), NO, np.uint8)
        for index, entry in enumerate(self.entries):
            table[index, index] = YES
            wider = self._index.get(entry.kind_of or "")
            if wider is not None:
                table[index, wider], table[wider, index] = YES, UNSURE
            whole = self._index.get(entry.part_of or "")
            if whole is not None:
                table[index, whole] = table[whole, index] = UNSURE
        return table
