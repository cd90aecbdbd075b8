"""What a walk needs: a display, the page in a process of its own, and tabs on it."""

from __future__ import annotations

from tests.app.page.conftest import new_image, open_tab, server
from tests.display import display

__all__ = ["display", "new_image", "open_tab", "server"]
