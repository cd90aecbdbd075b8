"""The image with its masks and clicks."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from PIL import Image as Pillow

from maskwright.domain import Image
from maskwright.domain.click_prompt import ClickPrompt
from maskwright.session import MaskView, draw_masks
from maskwright_app.html.elements import data_uri, escape

__all__ = ["figure", "image_of_view"]

_LONGEST_SIDE = 1280
"""Pixels that the browser gets; masks keep full resolution in the session."""


def figure(image: Image, masks: Sequence[MaskView], prompt: ClickPrompt | None = None, image_id: int = 0) -> str:
    """The image, one flattened overlay and the clicks; the browser sets the overlay's opacity.

    Each call has a `data-view` of its own, by which the browser knows whether a view is still on screen.

    Args:
        image: pixels and name.
        masks: those to draw.
        prompt: clicks on this image.
        image_id: of the image in the project.
    """
    size_wh = _shrink(image.size_hw)
    height, width = image.size_hw
    pixels = Pillow.fromarray(image.pixels).resize(size_wh, Pillow.Resampling.LANCZOS)
    overlay = Pillow.fromarray(draw_masks(masks, size_wh))
    names = ", ".join(dict.fromkeys(str(mask.mask.category) for mask in masks)) or "none"
    return (
        f'<figure class="mw-figure" data-view="{image_id}-{secrets.token_hex(4)}">'
        f'<img class="mw-image" draggable="false" data-width="{width}" data-height="{height}"'
        f' src="{data_uri(pixels, "JPEG", quality=88)}" alt="{escape(image.name)}">'
        f'<img class="mw-overlay" draggable="false" src="{data_uri(overlay, "PNG")}"'
        f' alt="masks: {escape(names)}">{_markers(prompt, image.size_hw)}</figure>'
    )


def image_of_view(view: str) -> int | None:
    """Id of the image that a `data-view` shows; None for an empty one."""
    return int(view.partition("-")[0]) if view else None


def _shrink(size_hw: tuple[int, int]) -> tuple[int, int]:
    scale = min(1.0, _LONGEST_SIDE / max(size_hw))
    return max(1, round(size_hw[1] * scale)), max(1, round(size_hw[0] * scale))


def _markers(prompt: ClickPrompt | None, size_hw: tuple[int, int]) -> str:
    """SVG: discs with a plus for positive points, squares with a minus for negative ones, and the box."""
    height, width = size_hw
    unit = max(size_hw) / 100
    markers = []
    step = prompt.last if prompt else None
    if step and step.box:
        x0, y0, x1, y1 = step.box
        markers.append(f'<rect class="mw-box" x="{x0}" y="{y0}" width="{x1 - x0}" height="{y1 - y0}"/>')
    markers += [_point(x, y, unit, positive=bool(label)) for x, y, label in (step.points if step else ())]
    return (
        f'<svg class="mw-marks" viewBox="0 0 {width} {height}" stroke-width="{unit / 4}" role="img"'
        f' aria-label="points and boxes: {len(markers)}">{"".join(markers)}</svg>'
    )


def _point(x: float, y: float, unit: float, *, positive: bool) -> str:
    arm = 0.6 * unit
    line = f'<path d="M{x - arm} {y}H{x + arm}{f"M{x} {y - arm}V{y + arm}" if positive else ""}"/>'
    if positive:
        return f'<g class="mw-positive"><circle cx="{x}" cy="{y}" r="{unit}" fill="#009e73"/>{line}</g>'
    left, top, side = x - unit, y - unit, 2 * unit
    square = f'<rect x="{left}" y="{top}" width="{side}" height="{side}" fill="#d55e00"/>'
    return f'<g class="mw-negative">{square}{line}</g>'
