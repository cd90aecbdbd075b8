"""Pictures for the page: the image, one flattened overlay over it, and the bars above and below."""

from __future__ import annotations

import base64
import html
import io
import secrets
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from maskwright.domain import Reference
from maskwright.domain.click_prompt import ClickPrompt
from maskwright.overlay import Layer, flatten
from maskwright.session import Improvement, MaskView

__all__ = ["click_bar", "improvement", "like_bar", "picture", "shown_in"]

_LONGEST = 1280
"""Pixels of the longest side that the browser is sent; masks stay at full resolution here."""


def _data_uri(image: Pillow.Image, kind: str, **options: object) -> str:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _shrunk(size_hw: tuple[int, int]) -> tuple[int, int]:
    """(width, height) of what is shown."""
    scale = min(1.0, _LONGEST / max(size_hw))
    return max(1, round(size_hw[1] * scale)), max(1, round(size_hw[0] * scale))


def picture(
    pixels: NDArray[np.uint8],
    rows: Sequence[MaskView],
    name: str,
    prompt: ClickPrompt | None = None,
    image_id: int | None = None,
) -> str:
    """HTML of the image under its overlay and its clicks; the page's slider sets the overlay's opacity in the browser.

    Every picture has a mark of its own in `data-view`, by which the page knows whether it still shows it; `shown_in`
    tells the image's id from the mark.
    """
    size_hw = (pixels.shape[0], pixels.shape[1])
    base = Pillow.fromarray(pixels).resize(_shrunk(size_hw), Pillow.Resampling.LANCZOS)
    layers = [Layer(row.mask, row.color, outlined=row.annotation is not None, hatched=row.cleaned) for row in rows]
    overlay = Pillow.fromarray(flatten(layers, _shrunk(size_hw)))
    shown = ", ".join(dict.fromkeys(str(row.mask.category) for row in rows)) or "no masks yet"
    return (
        f'<figure class="mw-picture" data-view="{image_id or 0}-{secrets.token_hex(4)}">'
        f'<img class="mw-image" draggable="false" data-width="{size_hw[1]}" data-height="{size_hw[0]}"'
        f' src="{_data_uri(base, "JPEG", quality=88)}" alt="{html.escape(name, quote=True)}">'
        f'<img class="mw-overlay" draggable="false" src="{_data_uri(overlay, "PNG")}"'
        f' alt="masks: {html.escape(shown, quote=True)}">{_markers(prompt, size_hw)}</figure>'
    )


def shown_in(mark: str) -> int | None:
    """Id of the image that a picture with this mark shows; None without a picture."""
    return int(mark.partition("-")[0]) if mark else None


def _markers(prompt: ClickPrompt | None, size_hw: tuple[int, int]) -> str:
    """SVG of the clicks: discs with a plus on the thing, squares with a minus beside it, and the box."""
    height, width = size_hw
    unit = max(size_hw) / 100
    marks = []
    step = prompt.last if prompt else None
    if step and step.box:
        x0, y0, x1, y1 = step.box
        marks.append(f'<rect class="mw-box" x="{x0}" y="{y0}" width="{x1 - x0}" height="{y1 - y0}"/>')
    for x, y, sign in step.points if step else ():
        body = (
            f'<circle cx="{x}" cy="{y}" r="{unit}" fill="#009e73"/>'
            if sign
            else f'<rect x="{x - unit}" y="{y - unit}" width="{2 * unit}" height="{2 * unit}" fill="#d55e00"/>'
        )
        arm = 0.6 * unit
        lines = f"M{x - arm} {y}H{x + arm}" + (f"M{x} {y - arm}V{y + arm}" if sign else "")
        marks.append(f'<g class="mw-{"on" if sign else "beside"}">{body}<path d="{lines}"/></g>')
    return (
        f'<svg class="mw-marks" viewBox="0 0 {width} {height}" stroke-width="{unit / 4}" role="img"'
        f' aria-label="{len(marks)} clicks and boxes">{"".join(marks)}</svg>'
    )


def click_bar(prompt: ClickPrompt | None, score: float | None, names: Sequence[tuple[str, float]] = ()) -> str:
    """HTML of what can be done with the clicks: another answer, a name, the way back."""
    if prompt is None or not prompt.steps:
        what = "the mask to correct" if prompt and prompt.corrects is not None else "a thing in the picture"
        return (
            f'<div class="mw-click"><span>Click on {what}. Shift+click: not this. Drag: a box around it.</span>'
            + ('<button type="button" data-act="clear">Leave it (Esc)</button>' if prompt else "")
            + "</div>"
        )
    count = len(prompt.last.candidates)
    told = f"Mask {prompt.last.selected + 1} of {count}, expected IoU {score:.2f}" if score is not None else "No mask"
    buttons = [
        ("other", "Other mask (J)", count > 1),
        ("what", "What is this?", count > 0),
        ("undo", "Undo click (Z)", True),
        ("clear", "Clear (Esc)", True),
    ]
    row = "".join(
        f'<button type="button" data-act="{act}" id="mw-click-{act}">{text}</button>'
        for act, text, useful in buttons
        if useful
    )
    chips = "".join(
        f'<button type="button" data-act="name" data-id="{html.escape(name, quote=True)}">'
        f"{html.escape(name)} {chance:.2f}</button>"
        for name, chance in names
    )
    return f'<div class="mw-click" role="status"><span>{told}</span>{row}{chips}</div>'


_THUMBNAIL = 72


def like_bar(category: str, shows: Sequence[Reference], not_this: Sequence[Reference]) -> str:
    """HTML of what is looked for on the next pictures: its references in small, and a button to stop."""
    name = html.escape(category, quote=True)
    shown = "".join(_thumbnail(one, f"reference of {name}") for one in shows)
    against = "".join(_thumbnail(one, f"not {name}") for one in not_this)
    against = f"<span>but not like</span>{against}" if against else ""
    return (
        f'<div class="mw-like" role="status"><span>Looking for <b>{name}</b> like</span>{shown}{against}'
        f'<button type="button" data-act="again">Look here</button>'
        f'<button type="button" data-act="stop">Stop</button></div>'
    )


def _thumbnail(one: Reference, label: str) -> str:
    """The mask's surroundings, dimmed outside the mask."""
    x, y, w, h = one.mask.bbox
    margin = max(4, max(w, h) // 8)
    top, left = max(0, y - margin), max(0, x - margin)
    crop = (slice(top, y + h + margin), slice(left, x + w + margin))
    pixels = one.image.pixels[crop].copy()
    pixels[~one.mask.to_array()[crop]] //= 3
    small = Pillow.fromarray(pixels)
    small.thumbnail((_THUMBNAIL, _THUMBNAIL))
    return f'<img src="{_data_uri(small, "JPEG", quality=85)}" alt="{label}">'


_ACTIONS = {
    "start": "Improve model with my masks",
    "cancel": "Cancel",
    "resume": "Resume",
    "use": "Use new model",
    "back": "Go back to the earlier model",
}


def improvement(told: Improvement) -> str:
    """HTML of where fine-tuning stands: sentence, bar, loss curve, and a button for each thing that can be done."""
    bar = ""
    if told.share is not None:
        bar = f'<progress max="1" value="{told.share:.3f}" aria-label="share of the run that is done"></progress>'
    buttons = "".join(
        f'<button type="button" data-act="{action}" class="mw-{"first" if number == 0 else "other"}">'
        f"{_ACTIONS[action]}</button>"
        for number, action in enumerate(told.actions)
    )
    line = html.escape(told.line, quote=True)
    return f'<div class="mw-improve"><p role="status">{line}</p>{bar}{_curve(told)}{buttons}</div>'


def _curve(told: Improvement) -> str:
    """The loss so far as a line that falls."""
    if len(told.curve) < 2:
        return ""
    width, height = 240, 48
    first, last = told.curve[0][0], told.curve[-1][0]
    losses = [loss for _, loss in told.curve]
    low, high = min(losses), max(losses)
    points = " ".join(
        f"{width * (step - first) / (last - first):.1f},{height - height * (loss - low) / ((high - low) or 1):.1f}"
        for step, loss in told.curve
    )
    return (
        f'<svg viewBox="-2 -2 {width + 4} {height + 4}" role="img" aria-label="loss from {losses[0]:.2f} to '
        f'{losses[-1]:.2f}"><polyline points="{points}" fill="none" stroke="#0072b2" stroke-width="2"/></svg>'
    )
