"""Routes of presets: which there are, use one, fetch one; and what a prompt lets choose."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse

from maskwright.session import CLEANINGS, REFINEMENT_CHOICES, AnnotationSession, Choice, PresetInfo, Progress
from maskwright_app.ui.bodies import PresetBody
from maskwright_app.ui.site import Site, answer, user_of

__all__ = ["PresetRoutes", "presets_json"]

_STATES = {"bundled": "ready", "installed": "ready", "fetchable": "fetch", "gated": "fetch", "by_hand": "missing"}


class PresetRoutes:
    """Presets answer prompts without a restart; fetches run in the background and report as events."""

    def __init__(self, site: Site) -> None:
        self._site, self._session = site, site.session
        self._session.presets.on_change = lambda info: site.events.publish("presets", _preset(info))
        self.router = APIRouter()
        self.router.add_api_route("/presets", self.all, methods=["GET"])
        self.router.add_api_route("/presets/words", self.words, methods=["GET"])
        for name, endpoint in (("use", self.use), ("fetch", self.fetch), ("cancel", self.cancel)):
            self.router.add_api_route(f"/presets/{name}", endpoint, methods=["POST"])

    def all(self) -> JSONResponse:
        """The presets and the one in use."""
        return answer(**presets_json(self._session))

    def words(self) -> JSONResponse:
        """Class names that the model of text was trained on, for completion; none when it takes any words."""
        return answer(words=self._session.presets.vocabulary())

    async def use(self, request: Request, body: PresetBody) -> JSONResponse:
        """Load a preset and answer prompts by it, in every window on the project."""
        user = user_of(request)

        def load(_: Progress) -> PresetInfo:
            return self._session.presets.use(body.preset, tasks_only=body.prompts, user=user)

        info = await self._site.run(request, body.request, load)
        return answer(notice=f"{info.title} answers prompts now.", **presets_json(self._session))

    def fetch(self, body: PresetBody) -> JSONResponse:
        """Start to fetch a preset in the background."""
        info = self._session.presets.fetch(body.preset)
        return answer(notice=f"Fetching {info.title}.", **presets_json(self._session))

    def cancel(self, body: PresetBody) -> JSONResponse:
        """Stop a fetch; what has arrived is kept."""
        self._session.presets.cancel(body.preset)
        return answer(notice="", **presets_json(self._session))


def presets_json(session: AnnotationSession) -> dict[str, Any]:
    """The presets, the one in use for text, and what a text prompt lets choose."""
    presets = session.presets.all()
    used = next((info for info in presets if "text" in info.used_for), None)
    prompts = ["everything" if task == "click" else "like" if task == "example" else task for task in _tasks(presets)]
    preset = {
        "name": used.name if used else "",
        "title": used.title if used else "A fine-tuned model",
        "prompts": [*prompts, *(["click"] if "everything" in prompts else [])],
        "methods": _choices(session.presets.text_methods()),
    }
    choices = {"refine": _choices(REFINEMENT_CHOICES), "cleaning": _choices(CLEANINGS)}
    return {"preset": preset, "presets": [_preset(info) for info in presets], "choices": choices}


def _tasks(presets: Sequence[PresetInfo]) -> list[str]:
    return sorted({task for info in presets for task in info.used_for}) or ["click", "example", "text"]


def _choices(choices: Sequence[Choice]) -> list[dict[str, str]]:
    return [choice._asdict() for choice in choices]


def _preset(info: PresetInfo) -> dict[str, Any]:
    state = "in use" if info.used_for else _STATES.get(info.state, info.state)
    return {
        "name": info.name,
        "title": info.title,
        "prompts": list(info.tasks),
        "used_for": list(info.used_for),
        "size": f"{info.size / 1e9:.1f} GB" if info.size > 1e9 else f"{info.size / 1e6:.0f} MB",
        "licence": info.licence,
        "page": info.page,
        "improves": info.improves,
        "state": state,
        "share": info.share,
        "message": info.message,
    }
