"""Category operations: get or add, change, merge, delete."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from maskwright.domain import Category
from maskwright.errors import MaskwrightError, UsageError
from maskwright.store import history, queries
from maskwright.store.orm import AnnotationRow, CategoryRow, ReferenceRow, now
from maskwright.store.transactions import Transactions
from maskwright.store.values import clean_name

__all__ = ["CategoryStore"]

_COLOR = re.compile("#[0-9a-f]{6}")


class CategoryStore:
    """The categories of a project."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    def get(self, name: str) -> Category:
        """The category of this name, in NFC and without surrounding blanks.

        Raises:
            UsageError: the name is empty.
            MaskwrightError: there is no such category.
        """
        with self._transactions.reading() as db:
            return queries.require_category(db, clean_name(name)).to_domain()

    def add(self, name: str, user: str = "") -> Category:
        """The category of this name, added when there is none; raises UsageError when the name is empty."""
        name = clean_name(name)
        with self._transactions.reading() as db:
            row = queries.category_row(db, name)
            if row is not None:
                return row.to_domain()
        with self._transactions.writing() as db:
            history.category(db, name, user, now())
            return queries.require_category(db, name).to_domain()

    def by_id(self, category_id: int) -> Category:
        """The category with this id; raises MaskwrightError when there is none."""
        with self._transactions.reading() as db:
            row = db.get(CategoryRow, category_id)
            if row is None or row.deleted:
                raise MaskwrightError(f"There is no category {category_id} in this project.", "Reload the list.")
            return row.to_domain()

    def move(self, name: str, place: int, user: str) -> None:
        """Move a category to a place in the list, counted from 0, in one step; raises MaskwrightError without it."""
        with self._transactions.writing() as db:
            moved = queries.require_category(db, clean_name(name))
            order = [category.id for category in queries.categories(db) if category.id != moved.id]
            order.insert(max(0, place), moved.id)
            step = history.begin_step(db, user, "change of the order")
            for position, key in enumerate(order):
                history.change_category(
                    db, db.get_one(CategoryRow, key), "category_changed", user, step, position=position
                )

    def all(self, *, deleted: bool = False) -> list[Category]:
        """All categories in id order; with `deleted` also the deleted ones, which the history may name."""
        with self._transactions.reading() as db:
            return queries.categories(db, deleted=deleted)

    def similar(self, names: Iterable[str]) -> dict[str, list[str]]:
        """For each clean name the names of other categories that differ from it only in case."""
        by_case: dict[str, list[str]] = {}
        for category in self.all():
            by_case.setdefault(category.name.casefold(), []).append(category.name)
        return {name: sorted(set(by_case.get(name.casefold(), ())) - {name}) for name in names}

    def change(self, name: str, user: str, /, **values: Any) -> Category:
        """Change the name, color, supercategory, shortcut (1 to 9 or None) or synonyms of a category, in one step.

        A shortcut that another category has changes hands.

        Raises:
            UsageError: a color that is not #rrggbb, or a shortcut that is not a number from 1 to 9.
            MaskwrightError: no such category, or another one has that name.
        """
        values = _checked(values)
        with self._transactions.writing() as db:
            row = queries.require_category(db, clean_name(name))
            if any(getattr(row, key) != value for key, value in values.items()):
                step = history.begin_step(db, user, "change of a category")
                history.change_category(db, row, "category_changed", user, step, **values)
            return row.to_domain()

    def merge(self, source: str, into: str, user: str) -> Category:
        """Move the masks and references of category `source` to `into`, and delete `source`, in one step.

        Raises:
            UsageError: both are the same.
            MaskwrightError: no such category.
        """
        with self._transactions.writing() as db:
            merged = queries.require_category(db, clean_name(source))
            target = queries.require_category(db, clean_name(into))
            if merged.id == target.id:
                raise UsageError("A category cannot be merged with itself.", "Choose another one.")
            step = history.begin_step(db, user, "merge")
            for row in _masks(db, merged.id):
                history.change(db, row, "category_changed", user, step, category_id=target.id)
            for mark in db.scalars(select(ReferenceRow).where(ReferenceRow.category_id == merged.id)):
                if db.get(ReferenceRow, (mark.annotation_id, target.id)) is None:
                    db.add(ReferenceRow(annotation_id=mark.annotation_id, category_id=target.id, shows=mark.shows))
                db.delete(mark)
            synonyms = list(dict.fromkeys([*target.synonyms, merged.name, *merged.synonyms]))
            history.change_category(db, merged, "category_changed", user, step, deleted=True, shortcut=None)
            history.change_category(db, target, "category_changed", user, step, synonyms=synonyms)
            return target.to_domain()

    def delete(self, name: str, user: str, *, masks: str = "refuse") -> None:
        """Delete a category, in one step.

        Args:
            name: of the category.
            user: who deletes it.
            masks: "refuse" when it has masks, or "delete" them, too; to keep them, merge it into another category.

        Raises:
            MaskwrightError: no such category, or it has masks and they are not to be deleted.
        """
        with self._transactions.writing() as db:
            row = queries.require_category(db, clean_name(name))
            visible = [mask for mask in _masks(db, row.id) if mask.state in ("accepted", "proposed")]
            if visible and masks != "delete":
                raise MaskwrightError(
                    f"{row.name} has {len(visible)} masks.",
                    "Merge it into another category, or delete its masks with it.",
                )
            step = history.begin_step(db, user, "deletion of a category")
            for mask in visible:
                history.change(db, mask, "state_changed", user, step, state="deleted")
            history.change_category(db, row, "category_changed", user, step, deleted=True, shortcut=None)


def _checked(values: dict[str, Any]) -> dict[str, Any]:
    """A category's new values as they are stored; raises UsageError."""
    checked = dict(values)
    if "name" in values:
        checked["name"] = clean_name(values["name"])
    if "synonyms" in values:
        checked["synonyms"] = list(dict.fromkeys(clean_name(synonym) for synonym in values["synonyms"]))
    if "color" in values:
        checked["color"] = values["color"].lower()
        if not _COLOR.fullmatch(checked["color"]):
            raise UsageError("A color is written as # and six of the digits 0 to 9 and a to f.")
    if values.get("shortcut") not in (None, *range(1, 10)):
        raise UsageError("A category's key is a number from 1 to 9.", "Choose one of them, or none.")
    return checked


def _masks(db: Session, category_id: int) -> Sequence[AnnotationRow]:
    return db.scalars(select(AnnotationRow).where(AnnotationRow.category_id == category_id)).all()
