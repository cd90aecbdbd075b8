"""The line under the decision buttons: what was saved and when, what was not, and where the last step is."""

from __future__ import annotations

from datetime import datetime

from maskwright.session import OtherImage, Pending
from maskwright_app.html.elements import button, escape

__all__ = ["failed", "message", "other_image", "saved", "unwritten"]


def saved(sentence: str = "", pending: Pending = Pending()) -> str:  # noqa: B008  # immutable
    """What is on disk now; call it after the write has returned.

    Args:
        sentence: what was done, unless the masks show it.
        pending: decisions that are still not written.
    """
    now = datetime.now().astimezone()
    time = f'<time datetime="{now.isoformat(timespec="seconds")}">{now:%H:%M:%S}</time>'
    parts = (escape(sentence), f'<span class="mw-saved">Saved {time}</span>')
    return f"<p>{' '.join(part for part in parts if part)}</p>{unwritten(pending)}"


def unwritten(pending: Pending) -> str:
    """Which decisions are not written, with a button that tries again; empty when there are none."""
    if not pending.masks:
        return ""
    conflict = any(decision.conflict for decision in pending.decisions)
    return _alert(pending.message, button("retry", "Replace with mine" if conflict else "Try again"))


def failed(error: Exception, act: str, key: int | None = None) -> str:
    """A deletion, undo or redo that was not written, with a button that tries again."""
    return _alert(f"Not saved. {error}", button(act, "Try again", key))


def other_image(error: OtherImage) -> str:
    """A step that was on another image than the one in view, with a button that opens it."""
    return f"<p>{escape(str(error))} {button('open', f'Go to image {error.image_id}', error.image_id)}</p>"


def message(sentence: str) -> str:
    """A sentence about nothing that is stored."""
    return f"<p>{escape(sentence)}</p>"


def _alert(sentence: str, action: str) -> str:
    return f'<p class="mw-alert">{escape(sentence)} {action}</p>'
