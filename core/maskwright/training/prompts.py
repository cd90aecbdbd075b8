"""Prompt templates for training and inference."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from importlib.resources import files

import numpy as np

__all__ = ["PROMPTS", "drawn_prompts", "named_templates", "templates"]

PROMPTS = ("{}", "a photo of a {}.", "A photo of a {} in the scene")
"""Templates that inference averages; training draws from these and from all published templates."""


def templates() -> list[str]:
    """All published prompt templates."""
    table = json.loads((files("maskwright_assets") / "prompt_templates.json").read_text(encoding="utf-8"))
    return [text for texts in table.values() for text in texts]


def named_templates(name: str) -> list[str]:
    """One of the published lists of prompt templates, such as "imagenet_80"."""
    table = json.loads((files("maskwright_assets") / "prompt_templates.json").read_text(encoding="utf-8"))
    return list(table[name])


def drawn_prompts(texts: Sequence[Sequence[str]], published: Sequence[str], rng: np.random.Generator) -> Iterator[str]:
    """Draw one prompt per class: its first name half of the time, a template of PROMPTS two times out of three."""
    for names in texts:
        name = names[0] if len(names) == 1 or rng.random() < 0.5 else names[int(rng.integers(1, len(names)))]
        pool = PROMPTS if rng.random() < 0.67 else published
        yield pool[int(rng.integers(len(pool)))].format(name)
