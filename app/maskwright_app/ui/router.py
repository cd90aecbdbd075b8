"""All routes below `/ui`."""

from __future__ import annotations

from fastapi import APIRouter

from maskwright_app.ui.images import ImageRoutes
from maskwright_app.ui.masks import MaskRoutes
from maskwright_app.ui.prompts import PromptRoutes
from maskwright_app.ui.site import Site
from maskwright_app.ui.state import StateRoutes

__all__ = ["router"]


def router(site: Site) -> APIRouter:
    """The routes on one site."""
    routes = APIRouter(prefix="/ui")
    for part in (StateRoutes(site), ImageRoutes(site), MaskRoutes(site), PromptRoutes(site)):
        routes.include_router(part.router)
    return routes
