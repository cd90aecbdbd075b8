"""Buttons and images in HTML."""

from __future__ import annotations

import base64
import html
import io

from PIL import Image as Pillow

__all__ = ["button", "data_uri", "escape"]


def escape(text: str) -> str:
    """Text for an element or a quoted attribute."""
    return html.escape(text, quote=True)


def button(act: str, text: str, key: int | str | None = None, **attributes: str | bool | None) -> str:
    """A button whose click event carries `act` and `key`.

    Args:
        act: what it does.
        text: its label.
        key: what it does it to.
        attributes: more attributes, with `_` for `-`; None leaves one out.
    """
    values = {"data-act": act, "data-id": None if key is None else str(key)}
    values |= {name.rstrip("_").replace("_", "-"): _text(value) for name, value in attributes.items()}
    written = "".join(f' {name}="{escape(value)}"' for name, value in values.items() if value is not None)
    return f'<button type="button"{written}>{escape(text)}</button>'


def data_uri(image: Pillow.Image, kind: str, **options: object) -> str:
    """An image as a `src` attribute; `kind` is JPEG or PNG, `options` go to Pillow."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _text(value: str | bool | None) -> str | None:  # noqa: FBT001 - an attribute's value
    return str(value).lower() if isinstance(value, bool) else value
