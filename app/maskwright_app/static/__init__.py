"""Scripts and styles that run in the browser, as text."""

from __future__ import annotations

from importlib.resources import files

__all__ = ["ASK_NEWS", "BUTTONS", "CSS", "DOWNLOAD", "HEAD", "OPACITY", "POINTER", "SHOW_NEWS", "STATUS"]


def _read(name: str) -> str:
    return (files(__name__) / name).read_text(encoding="utf-8")


CSS = _read("page.css")
HEAD = f"<script>\n{_read('keys.js')}</script>"
"""Keyboard shortcuts, for the head of the page."""
BUTTONS = _read("buttons.js")
"""Of an HTML component: buttons with `data-act` trigger its click event."""
STATUS = 'element.setAttribute("role", "status");\n' + BUTTONS
"""The same, for a line that screen readers announce when it changes."""
POINTER = _read("pointer.js")
"""Of the image: clicks and drags become points and boxes in pixels of the image."""
ASK_NEWS = _read("ask_news.js")
"""Before an update: sends which view of the image is on screen instead of its HTML."""
SHOW_NEWS = _read("show_news.js")
"""After an update: shows it only where that view is still on screen."""
OPACITY = "(percent) => document.documentElement.style.setProperty('--mw-opacity', percent / 100)"
DOWNLOAD = _read("download.js")
