"""The categories of a project as front ends list, colour and change them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from maskwright.domain import UNNAMED, Category, TextPrompt
from maskwright.domain.palette import free_color
from maskwright.project import Project, user_name

__all__ = ["ClassEntry", "SessionClasses"]


@dataclass(frozen=True, slots=True)
class ClassEntry:
    """A category with its numbers of masks."""

    category: Category
    accepted: int


class SessionClasses:
    """The categories of a project; safe to share between threads."""

    def __init__(self, project: Project) -> None:
        self._project = project

    def all(self) -> list[ClassEntry]:
        """All categories, in the order that the user gave them; not that of masks without a name yet."""
        accepted = self._project.status().accepted
        entries = [ClassEntry(category, accepted.get(category.name, 0)) for category in self._project.categories()]
        return [entry for entry in entries if entry.accepted or entry.category.name != UNNAMED]

    def colors(self, names: Sequence[str]) -> dict[str, str]:
        """Colour by name: the project's, and for new names those they will get when accepted in this order."""
        # a deleted category gets its colour back when its name is used again
        colors = {category.name: category.color for category in self._project.store.categories.all(deleted=True)}
        for name in names:
            if name not in colors:
                colors[name] = free_color(list(colors.values()))
        return colors

    def add(self, name: str, *, user: str = "") -> Category:
        """Add a category, or return the one that there is; raises UsageError for an empty name."""
        return self._project.store.categories.add(name, user or user_name())

    def get(self, category_id: int) -> Category:
        """A category by its id; raises MaskwrightError when there is none."""
        return self._project.store.categories.by_id(category_id)

    def move(self, name: str, place: int, *, user: str = "") -> None:
        """Move a category to a place in the list, counted from 0."""
        self._project.store.categories.move(name, place, user or user_name())

    def with_synonyms(self, prompt: TextPrompt) -> TextPrompt:
        """The prompt with the synonyms of the project's categories beside those that were typed."""
        known = {category.name: category.synonyms for category in self._project.categories()}
        classes = tuple(
            named._replace(synonyms=tuple(dict.fromkeys([*named.synonyms, *known.get(named.name, ())])))
            for named in prompt.classes
        )
        return replace(prompt, classes=classes)

    def change(self, name: str, /, *, user: str = "", **values: Any) -> Category:
        """Change name, color, shortcut, synonyms or supercategory; see `CategoryStore.change` for the errors."""
        return self._project.store.categories.change(name, user or user_name(), **values)

    def merge(self, source: str, into: str, *, user: str = "") -> Category:
        """Move the masks of one category to another, and delete it, in one step for undo."""
        return self._project.store.categories.merge(source, into, user or user_name())

    def delete(self, name: str, *, masks: str = "refuse", user: str = "") -> None:
        """Delete a category; `masks` is "refuse" when it has masks, or "delete" them, too."""
        self._project.store.categories.delete(name, user or user_name(), masks=masks)
