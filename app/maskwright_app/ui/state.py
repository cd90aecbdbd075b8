"""Routes of the whole project: its state when the page opens, and its event stream."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, StreamingResponse

from maskwright.session import EXPORT_FORMATS
from maskwright_app.samples import samples
from maskwright_app.ui.answers import references_json
from maskwright_app.ui.classes import classes_json
from maskwright_app.ui.presets import presets_json
from maskwright_app.ui.site import Site, answer, user_of

__all__ = ["StateRoutes"]


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
            login=bool(user_of(request)),
            project=self._project(),
            classes=classes_json(self._session),
            samples=bool(samples()),
            formats=[
                {"name": name, "label": form.label, "sentence": form.sentence} for name, form in EXPORT_FORMATS.items()
            ],
            references=references_json(self._session.references.all()),
            **presets_json(self._session),
        )

    def _project(self) -> dict[str, Any]:
        folder, statuses, masks = self._session.folder, self._session.images.statuses(), self._session.project.status()
        counts = {"images": sum(statuses.values()), **statuses}
        counts |= {"masks": sum(masks.accepted.values()), "proposals": masks.proposed}
        return {"name": folder.name, "folder": str(folder), "counts": counts}

    async def events(self) -> StreamingResponse:
        """Server-sent events: change, progress, jobs, finetune."""
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(self._site.events.stream(), media_type="text/event-stream", headers=headers)
