"""Private JSON routes of the page, below `/ui`."""

from __future__ import annotations

from maskwright_app.ui.router import router
from maskwright_app.ui.site import Site

__all__ = ["Site", "router"]
