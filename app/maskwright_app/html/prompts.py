"""Bars above the image: the clicks, and the category that is searched for by reference."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image as Pillow

from maskwright.domain import Reference
from maskwright.domain.click_prompt import ClickPrompt
from maskwright.session import click_hint
from maskwright_app.html.elements import button, data_uri, escape

__all__ = ["click_bar", "reference_bar"]

_THUMBNAIL = 72


def click_bar(prompt: ClickPrompt | None, iou: float | None, names: Sequence[tuple[str, float]] = ()) -> str:
    """What the clicks returned, with buttons for what can be done with them.

    Args:
        prompt: the clicks, or None.
        iou: IoU that SAM predicts of the mask; None without a mask.
        names: suggested categories, each with its probability.
    """
    if prompt is None or not prompt.steps:
        cancel = button("clear", "Cancel (Esc)", id="mw-click-clear") if prompt else ""
        return f'<div class="mw-click"><span>{click_hint(prompt)}</span>{cancel}</div>'
    answers = len(prompt.last.candidates)
    text = f"Mask {prompt.last.selected + 1} of {answers}, predicted IoU {iou:.2f}" if iou is not None else "No mask"
    buttons = [
        button("other", "Next mask (J)", id="mw-click-other") if answers > 1 else "",
        button("suggest", "Suggest names", id="mw-click-suggest") if answers else "",
        button("undo", "Undo click (Z)", id="mw-click-undo"),
        button("clear", "Clear (Esc)", id="mw-click-clear"),
        *(button("name", f"{name} {probability:.2f}", name) for name, probability in names),
    ]
    return f'<div class="mw-click" role="status"><span>{text}</span>{"".join(buttons)}</div>'


def reference_bar(category: str, references: Sequence[Reference], negative_references: Sequence[Reference]) -> str:
    """The category that is searched for, with thumbnails of its references."""
    negative = "".join(_thumbnail(reference, f"negative reference of {category}") for reference in negative_references)
    return (
        f'<div class="mw-references" role="status"><span>Find <b>{escape(category)}</b> like</span>'
        + "".join(_thumbnail(reference, f"reference of {category}") for reference in references)
        + (f"<span>but not like</span>{negative}" if negative else "")
        + button("search", "Search this image")
        + button("stop", "Stop")
        + "</div>"
    )


def _thumbnail(reference: Reference, label: str) -> str:
    """The mask's surroundings, dimmed outside the mask."""
    x, y, w, h = reference.mask.bbox
    margin = max(4, max(w, h) // 8)
    top, left = max(0, y - margin), max(0, x - margin)
    crop = (slice(top, y + h + margin), slice(left, x + w + margin))
    pixels = reference.image.pixels[crop].copy()
    pixels[~reference.mask.to_array()[crop]] //= 3
    small = Pillow.fromarray(pixels)
    small.thumbnail((_THUMBNAIL, _THUMBNAIL))
    return f'<img src="{data_uri(small, "JPEG", quality=85)}" alt="{escape(label)}">'
