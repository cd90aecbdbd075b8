"""Text normalisation of CLIP's tokenizer; class names are compared in this form."""

from __future__ import annotations

import html

import ftfy

__all__ = ["clean_text"]


def clean_text(text: str) -> str:
    """Repair mojibake, unescape HTML twice, collapse spaces, lower-case."""
    text = html.unescape(html.unescape(ftfy.fix_text(text)))
    return " ".join(text.split()).lower()
