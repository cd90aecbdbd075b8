"""What a walk needs: a display, the page in a process of its own, and a tab on it."""

from __future__ import annotations

from tests.app.conftest import page_server
from tests.browser import tab
from tests.display import display

__all__ = ["display", "page_server", "tab"]
