"""The line under the buttons: what was saved and when, what was not, and where the step to undo is."""

from __future__ import annotations

import html
from datetime import datetime

__all__ = ["elsewhere", "said", "saved", "unsaved"]


def saved(sentence: str = "", waiting: int = 0) -> str:
    """HTML for what is on disk now; call it after the call that wrote it has returned.

    Args:
        sentence: what was done, unless that can be seen.
        waiting: masks that could not be written before, and still wait.
    """
    now = datetime.now().astimezone()
    time = f'<time datetime="{now.isoformat(timespec="seconds")}">{now:%H:%M:%S}</time>'
    time = f'<span class="mw-saved">Saved {time}</span>'
    line = f"<p>{html.escape(sentence)} {time}</p>" if sentence else f"<p>{time}</p>"
    if waiting:
        one = waiting == 1
        line += f'<p class="mw-alert">{waiting} mask{"s" * (not one)} {"is" if one else "are"} not saved. '
        line += f"{_button('again', 'Try again')}</p>"
    return line


def unsaved(error: str, masks: int = 0, *, conflict: bool = False, again: tuple[str, int | None] | None = None) -> str:
    """HTML for what could not be written, with a button that does the same once more.

    Args:
        error: the sentence.
        masks: how many stay on screen for it.
        conflict: somebody else changed a mask meanwhile; doing it again replaces that one.
        again: what the button does, and with which mask; by default all that waits.
    """
    kept = f" {masks} mask{'s' * (masks != 1)} kept on screen." if masks and not conflict else ""
    text = "Replace it with mine" if conflict else "Try again"
    act, key = again or ("again", None)
    return f'<p class="mw-alert"><b>Not saved.</b> {html.escape(error)}{kept} {_button(act, text, key)}</p>'


def elsewhere(error: str, image_id: int) -> str:
    """HTML for a step that was on another image than the one in view, with the way there."""
    return f"<p>{html.escape(error)} {_button('go', f'Go to image {image_id}', image_id)}</p>"


def said(sentence: str) -> str:
    """HTML for a sentence about nothing that is kept."""
    return f"<p>{html.escape(sentence)}</p>"


def _button(act: str, text: str, key: int | None = None) -> str:
    of = "" if key is None else f' data-id="{key}"'
    return f'<button type="button" data-act="{act}"{of}>{text}</button>'
