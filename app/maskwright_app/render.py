"""Pictures for the page: the image, one flattened overlay over it, and the legend."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from maskwright.domain import Reference
from maskwright.overlays import Layer, flatten
from maskwright.session import Improvement, Shown

__all__ = ["improvement", "legend", "like_bar", "picture"]

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


def picture(pixels: NDArray[np.uint8], rows: Sequence[Shown], name: str) -> str:
    """HTML of the image under its overlay; the page's slider sets the overlay's opacity in the browser."""
    size_hw = (pixels.shape[0], pixels.shape[1])
    base = Pillow.fromarray(pixels).resize(_shrunk(size_hw), Pillow.Resampling.LANCZOS)
    layers = [Layer(row.mask, row.color, outlined=row.proposal is None) for row in rows]
    overlay = Pillow.fromarray(flatten(layers, _shrunk(size_hw)))
    shown = ", ".join(dict.fromkeys(str(row.mask.category) for row in rows)) or "no masks yet"
    return (
        '<figure class="mw-picture">'
        f'<img class="mw-image" src="{_data_uri(base, "JPEG", quality=88)}" alt="{html.escape(name, quote=True)}">'
        f'<img class="mw-overlay" src="{_data_uri(overlay, "PNG")}"'
        f' alt="masks: {html.escape(shown, quote=True)}">'
        "</figure>"
    )


def legend(rows: Sequence[Shown], size_hw: tuple[int, int], looked_for: str | None = None) -> str:
    """HTML of the lines with colour, name, share and score.

    Open proposals have Accept and Reject buttons; an accepted mask can become a reference of its category, or of what
    the category that is looked for is not.
    """
    if not rows:
        return '<p class="mw-empty">No masks on this image yet.</p>'
    total = size_hw[0] * size_hw[1]
    return f'<ul class="mw-legend">{"".join(_line(row, total, looked_for) for row in rows)}</ul>'


def _line(row: Shown, total: int, looked_for: str | None) -> str:
    name = html.escape(str(row.mask.category), quote=True)
    facts = f"{100 * row.mask.area / total:.1f} %"
    if row.mask.score is not None:
        facts += f", score {row.mask.score:.2f}"
    hint = ' <abbr title="not among the words this model was taught">unfamiliar</abbr>'
    hint = hint if row.unfamiliar else ""
    if row.proposal is None:
        end = _choices(row, name, looked_for)
    else:
        end = "".join(
            f'<button type="button" data-act="{act}" data-id="{row.proposal}" aria-label="{act} {name}">'
            f"{act.capitalize()}</button>"
            for act in ("accept", "reject")
        )
    return (
        f'<li class="{"mw-accepted" if row.proposal is None else "mw-proposal"}">'
        f'<span class="mw-swatch" style="background:{row.color}"></span>'
        f'<span class="mw-name">{name}{hint}</span><span class="mw-facts">{facts}</span>{end}</li>'
    )


def _choices(row: Shown, name: str, looked_for: str | None) -> str:
    """What can be done with an accepted mask."""
    own = (str(row.mask.category), True) in row.speaks
    buttons = [("like", "Reference" if own else "Find like this", own, f"find masks like this {name}")]
    if looked_for is not None and looked_for != row.mask.category:
        other = html.escape(looked_for, quote=True)
        chosen = (looked_for, False) in row.speaks
        buttons.append(("not", f"Not {other}", chosen, f"this {name} is not {other}"))
    return '<span class="mw-kept">accepted</span>' + "".join(
        f'<button type="button" data-act="{act}" data-id="{row.annotation}" aria-pressed="{str(pressed).lower()}"'
        f' aria-label="{label}">{text}</button>'
        for act, text, pressed, label in buttons
    )


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
