"""Routes of classes: list, add, change, merge, delete."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse

from maskwright.session import AnnotationSession, UsageError
from maskwright_app.ui.bodies import ClassBody, ClassChangeBody, ClassDeletionBody, MergeBody, PathId
from maskwright_app.ui.site import Site, answer, user_of

__all__ = ["ClassRoutes", "classes_json"]


class ClassRoutes:
    """The categories of the project; each change is one step for undo, and the answer is the whole list."""

    def __init__(self, site: Site) -> None:
        self._session, self._classes = site.session, site.session.classes
        self.router = APIRouter()
        for path, endpoint, method in (
            ("/classes", self.all, "GET"),
            ("/classes", self.add, "POST"),
            ("/classes/merge", self.merge, "POST"),
            ("/classes/{class_id}", self.change, "PATCH"),
            ("/classes/{class_id}", self.delete, "DELETE"),
        ):
            self.router.add_api_route(path, endpoint, methods=[method])

    def all(self) -> JSONResponse:
        """All classes in their order."""
        return answer(change=self._session.change_number(), classes=classes_json(self._session))

    def add(self, request: Request, body: ClassBody) -> JSONResponse:
        """Add a class."""
        self._classes.add(body.name, user=user_of(request))
        return self.all()

    def change(self, class_id: PathId, request: Request, body: ClassChangeBody) -> JSONResponse:
        """Change name, color, hotkey, synonyms or place; only what the body names changes."""
        user, category = user_of(request), self._classes.get(class_id)
        given = body.model_dump(exclude_unset=True)
        place = given.pop("order", None)
        if "hotkey" in given:
            given["shortcut"] = given.pop("hotkey")
        if given:
            category = self._classes.change(category.name, user=user, **given)
        if place is not None:
            self._classes.move(category.name, place, user=user)
        return self.all()

    def merge(self, request: Request, body: MergeBody) -> JSONResponse:
        """Move the masks of one class to another, and delete it."""
        source, target = self._classes.get(body.source), self._classes.get(body.target)
        self._classes.merge(source.name, target.name, user=user_of(request))
        return self.all()

    def delete(self, class_id: PathId, request: Request, body: ClassDeletionBody | None = None) -> JSONResponse:
        """Delete a class; its masks are deleted or move to another class."""
        category, user = self._classes.get(class_id), user_of(request)
        fate = body.masks if body else None
        if fate is None or fate == "delete":
            self._classes.delete(category.name, masks=fate or "refuse", user=user)
        elif fate.move_to == class_id:
            raise UsageError("The masks cannot move to the class that is deleted.", "Choose another class.")
        else:
            self._classes.merge(category.name, self._classes.get(fate.move_to).name, user=user)
        return self.all()


def classes_json(session: AnnotationSession) -> list[dict[str, Any]]:
    """All classes in their order, with their numbers of accepted masks."""
    return [
        {
            "id": entry.category.id,
            "name": entry.category.name,
            "color": entry.category.color,
            "hotkey": entry.category.shortcut,
            "order": place,
            "synonyms": list(entry.category.synonyms),
            "masks": entry.accepted,
        }
        for place, entry in enumerate(session.classes.all())
    ]
