"""All routes below `/ui`."""

from __future__ import annotations

from fastapi import APIRouter, HTTPException

from maskwright_app.ui.classes import ClassRoutes
from maskwright_app.ui.exchange import ExchangeRoutes
from maskwright_app.ui.images import ImageRoutes
from maskwright_app.ui.jobs import JobRoutes
from maskwright_app.ui.masks import MaskRoutes
from maskwright_app.ui.presets import PresetRoutes
from maskwright_app.ui.prompts import PromptRoutes
from maskwright_app.ui.site import Site
from maskwright_app.ui.state import StateRoutes

__all__ = ["router"]


def router(site: Site) -> APIRouter:
    """The routes on one site."""
    routes = APIRouter(prefix="/ui")
    parts = (StateRoutes, ImageRoutes, ClassRoutes, MaskRoutes, PromptRoutes, PresetRoutes, JobRoutes, ExchangeRoutes)
    for part in parts:
        routes.include_router(part(site).router)
    routes.add_api_route("/{path:path}", _unknown, methods=["GET", "POST", "PUT", "PATCH", "DELETE"])
    return routes


def _unknown(path: str) -> None:
    """Whatever else is asked below `/ui`; without this, Gradio would answer."""
    raise HTTPException(404, f"There is no address /ui/{path[:100]}")
