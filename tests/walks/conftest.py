"""What a walk needs: a display, the page in a process of its own, and a tab on it."""

from __future__ import annotations

from ..app.conftest import page_server
from ..browser import tab
from ..display import display

__all__ = ["display", "page_server", "tab"]
