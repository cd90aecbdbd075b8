"""Pictures for the page: the image, one flattened overlay over it, and the legend."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from maskwright.domain import Mask
from maskwright.overlays import Layer, flatten

__all__ = ["Row", "legend", "picture"]

_LONGEST = 1280
"""Pixels of the longest side that the browser is sent; masks stay at full resolution here."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the legend, and one colour of the overlay."""

    mask: Mask
    color: str
    proposal: str | None = None
    """Id of an open proposal; None for an accepted mask."""
    unfamiliar: bool = False


def _data_uri(image: Pillow.Image, kind: str, **options: object) -> str:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _shrunk(size_hw: tuple[int, int]) -> tuple[int, int]:
    """(width, height) of what is shown."""
    scale = min(1.0, _LONGEST / max(size_hw))
    return max(1, round(size_hw[1] * scale)), max(1, round(size_hw[0] * scale))


def picture(pixels: NDArray[np.uint8], rows: Sequence[Row], name: str) -> str:
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


def legend(rows: Sequence[Row], size_hw: tuple[int, int]) -> str:
    """HTML of the lines with colour, name, share and score; open proposals have Accept and Reject buttons."""
    if not rows:
        return '<p class="mw-empty">No masks on this image yet.</p>'
    total = size_hw[0] * size_hw[1]
    return f'<ul class="mw-legend">{"".join(_line(row, total) for row in rows)}</ul>'


def _line(row: Row, total: int) -> str:
    name = html.escape(str(row.mask.category), quote=True)
    facts = f"{100 * row.mask.area / total:.1f} %"
    if row.mask.score is not None:
        facts += f", score {row.mask.score:.2f}"
    hint = ' <abbr title="not among the words this model was taught">unfamiliar</abbr>'
    hint = hint if row.unfamiliar else ""
    if row.proposal is None:
        end = '<span class="mw-kept">accepted</span>'
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
