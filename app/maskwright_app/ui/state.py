"""Routes of the whole project: its state when the page opens, and its event stream."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, StreamingResponse

from maskwright.session import ClassEntry
from maskwright_app.ui.site import Site, answer, user_of

__all__ = ["StateRoutes", "class_json"]


class StateRoutes:
    """What the page asks first, and what it listens to."""

    def __init__(self, site: Site) -> None:
        self._site, self._session = site, site.session
        self.router = APIRouter()
        self.router.add_api_route("/state", self.state, methods=["GET"])
        self.router.add_api_route("/events", self.events, methods=["GET"])

    def state(self, request: Request) -> JSONResponse:
        """Project, user, classes and change number."""
        # read first: later changes then arrive as events
        change = self._session.change_number()
        return answer(
            change=change,
            user=user_of(request),
            project={"name": self._session.folder.name, "folder": str(self._session.folder)},
            classes=[class_json(entry) for entry in self._session.classes.all()],
        )

    async def events(self) -> StreamingResponse:
        """Server-sent events: change, progress, jobs, finetune."""
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(self._site.events.stream(), media_type="text/event-stream", headers=headers)


def class_json(entry: ClassEntry) -> dict[str, object]:
    """A category with its number of accepted masks."""
    category = entry.category
    return {
        "id": category.id,
        "name": category.name,
        "color": category.color,
        "hotkey": category.shortcut,
        "synonyms": list(category.synonyms),
        "masks": entry.accepted,
    }
