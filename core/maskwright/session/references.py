"""References of categories: which accepted masks show them, and which show what they are not."""

from __future__ import annotations

from collections.abc import Sequence

from maskwright.domain import Reference, ReferenceMark
from maskwright.errors import MaskwrightError
from maskwright.project import Project, user_name

__all__ = ["SessionReferences"]


class SessionReferences:
    """Marked references of a project."""

    def __init__(self, project: Project) -> None:
        self._project = project

    def get(self, annotation_id: int) -> Reference:
        """An accepted mask with its image; raises MaskwrightError when it is not accepted."""
        return self._project.reference(annotation_id)

    def resolve(self, references: Sequence[int | Reference]) -> list[Reference]:
        """References as they are, and accepted masks by their ids as references."""
        return [self.get(key) if isinstance(key, int) else key for key in references]

    def of(self, category: str) -> tuple[list[Reference], list[Reference]]:
        """Positive and negative references of a category; see `Project.references`."""
        return self._project.references(category)

    def all(self) -> list[ReferenceMark]:
        """All marks on accepted masks."""
        return self._project.store.references.all()

    def mark(self, annotation_id: int, category: str = "", *, shows: bool | None, user: str = "") -> None:
        """Mark an accepted mask as an example.

        Args:
            annotation_id: of the mask.
            category: that it is an example of; by default its own.
            shows: True for what the category is, False for what it is not, None to take the mark back.
            user: recorded in the history; by default the user of this computer.

        Raises:
            MaskwrightError: no such mask or category, or the mask is not accepted.
        """
        annotation = self._project.store.masks.get(annotation_id)
        if annotation.state != "accepted":
            raise MaskwrightError("Only an accepted mask can be an example.", "Accept it first.")
        self._project.store.references.mark(
            annotation_id, category or annotation.category, user or user_name(), shows=shows
        )

    def toggle(self, annotation_id: int, searched: str | None, *, negative: bool = False) -> str:
        """Choose an accepted mask as a reference, or take the choice back.

        A reference of a category that is not searched for only becomes what is searched for; a second call takes it
        back.

        Args:
            annotation_id: of the accepted mask.
            searched: category that is searched for at present.
            negative: the mask shows what `searched` is not, instead of its own category.

        Returns:
            The category to search for.
        """
        annotation = self._project.store.masks.get(annotation_id)
        category = searched if negative else annotation.category
        if category is None:
            raise MaskwrightError("Choose a mask with Find like this first.")
        marked = {(m.annotation_id, m.category, m.shows) for m in self._project.store.references.all()}
        is_marked = (annotation_id, category, not negative) in marked
        if not is_marked or category == searched:
            self._project.mark_reference(annotation, shows=None if is_marked else not negative, category=category)
        return category
