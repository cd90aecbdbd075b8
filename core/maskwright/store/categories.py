"""Categories: made when first used, renamed without losing a mask, merged and deleted in one step."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from maskwright.domain import Category
from maskwright.errors import MaskwrightError
from maskwright.store import history, queries
from maskwright.store.orm import AnnotationRow, CategoryRow, ReferenceRow, now
from maskwright.store.transactions import Transactions
from maskwright.store.values import clean_name

__all__ = ["CategoryStore"]

_COLOR = re.compile("#[0-9a-f]{6}")


class CategoryStore(Transactions):
    """What a store knows of categories."""

    def category(self, name: str, *, create: bool = True, who: str = "") -> Category:
        """The category of this name (in NFC, without blanks around it), made when it is new.

        Raises:
            MaskwrightError: the name is empty, or unknown and `create` is false.
        """
        name = clean_name(name)
        with self._reading() as db:
            row = queries.category_row(db, name)
            if row is not None:
                return row.to_domain()
        if not create:
            raise _unknown(name)
        with self._writing() as db:
            history.category(db, name, who, now())
            return _found(db, name).to_domain()

    def categories(self, *, deleted: bool = False) -> list[Category]:
        """All categories in id order; with `deleted` also those that were deleted, as the history knows them."""
        with self._reading() as db:
            return queries.categories(db, deleted=deleted)

    def alike(self, name: str) -> list[str]:
        """Names of other categories that differ from this one in capitals only."""
        name = clean_name(name)
        with self._reading() as db:
            names = [one.name for one in queries.categories(db)]
        return sorted(one for one in names if one != name and one.casefold() == name.casefold())

    def change_category(self, name: str, who: str, /, **values: Any) -> Category:
        """A category with another name, color, supercategory, shortcut (1 to 9 or None) or synonyms; one step.

        Raises:
            MaskwrightError: no such category, a name or key that another has, or a color or key that is none.
        """
        if "name" in values:
            values["name"] = clean_name(values["name"])
        if "synonyms" in values:
            values["synonyms"] = list(dict.fromkeys(clean_name(one) for one in values["synonyms"]))
        if "color" in values:
            values["color"] = values["color"].lower()
        if not _COLOR.fullmatch(values.get("color", "#000000")):
            raise MaskwrightError("A colour is written as # and six of the digits 0 to 9 and a to f. Choose one so.")
        if values.get("shortcut") not in (None, *range(1, 10)):
            raise MaskwrightError("A category's key is a number from 1 to 9. Choose one of them, or none.")
        with self._writing() as db:
            row = _found(db, clean_name(name))
            if any(getattr(row, key) != value for key, value in values.items()):
                step = history.begin_step(db, who, "change of a category")
                history.change_category(db, row, "category_changed", who, step, **values)
            return row.to_domain()

    def merge_categories(self, source: str, into: str, who: str) -> Category:
        """The category `into`, which has the masks of `source`, too; `source` is gone. One step.

        Raises:
            MaskwrightError: no such category, or both are the same.
        """
        with self._writing() as db:
            one, other = _found(db, clean_name(source)), _found(db, clean_name(into))
            if one.id == other.id:
                raise MaskwrightError("A category cannot be merged with itself. Choose another one.")
            step = history.begin_step(db, who, "merge")
            for row in _masks(db, one.id):
                history.change(db, row, "category_changed", who, step, category_id=other.id)
            for mark in db.scalars(select(ReferenceRow).where(ReferenceRow.category_id == one.id)):
                if db.get(ReferenceRow, (mark.annotation_id, other.id)) is None:
                    db.add(ReferenceRow(annotation_id=mark.annotation_id, category_id=other.id, shows=mark.shows))
                db.delete(mark)
            synonyms = list(dict.fromkeys([*other.synonyms, one.name, *one.synonyms]))
            history.change_category(db, one, "category_changed", who, step, deleted=True, shortcut=None)
            history.change_category(db, other, "category_changed", who, step, synonyms=synonyms)
            return other.to_domain()

    def delete_category(self, name: str, who: str, *, masks: str = "refuse") -> None:
        """Delete a category, in one step.

        Args:
            name: of the category.
            who: the person.
            masks: "refuse" when it has masks, or "delete" them, too; to keep them, merge it into another category.

        Raises:
            MaskwrightError: no such category, or it has masks and they are not to be deleted.
        """
        with self._writing() as db:
            row = _found(db, clean_name(name))
            used = [one for one in _masks(db, row.id) if one.state in ("accepted", "proposed")]
            if used and masks != "delete":
                raise MaskwrightError(
                    f"{row.name} has {len(used)} masks. Merge it into another category, or delete its masks with it."
                )
            step = history.begin_step(db, who, "deletion of a category")
            for one in used:
                history.change(db, one, "state_changed", who, step, state="deleted")
            history.change_category(db, row, "category_changed", who, step, deleted=True, shortcut=None)


def _masks(db: Session, category_id: int) -> Sequence[AnnotationRow]:
    return db.scalars(select(AnnotationRow).where(AnnotationRow.category_id == category_id)).all()


def _found(db: Session, name: str) -> CategoryRow:
    row = queries.category_row(db, name)
    if row is None:
        raise _unknown(name)
    return row


def _unknown(name: str) -> MaskwrightError:
    return MaskwrightError(f"There is no category {name!r} in this project. Check the spelling.")
