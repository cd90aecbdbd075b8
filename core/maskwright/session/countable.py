"""Which class names name countable things, so that a front end proposes one mask per object for them."""

from __future__ import annotations

from dataclasses import replace

from maskwright.domain import TextPrompt
from maskwright.models.text_cleaning import clean_text

__all__ = ["countable_names", "divide_countable"]

_STUFF_WORDS = """
    asphalt background banner beach blanket brick brush bush cabinet cardboard carpet ceiling cement cliff cloth
    cloud concrete corn counter countertop crop curtain cytoplasm debris desert dirt dust earth fabric facade fence
    field fire floor flooring foam fog foliage food footpath forest frost fur garden glass grass gravel ground hair
    hay highway hill hillside ice ivy jungle lake land landscape lava lawn leather light liquid marble matrix meadow
    membrane metal mist moss mountain mucus mud net ocean oil paper pasture path pavement paving pebbles plain
    plasma plastic platform pond powder rail railing railroad railway rain reef rice river road roadway rock roof
    rubble rug rust salt sand scenery scrub sea shade shadow shelf shore shrub sidewalk skin sky smoke snow soil
    stairs steam stone straw stream street stroma structure sunlight swamp tarmac terrain text texture tile tissue
    towel track trail tree turf vegetation wall water wave weed wheat wood woods wool
"""
_STUFF = frozenset(_STUFF_WORDS.split())
"""Nouns for which a mask of the whole region is the answer; the last noun of a name decides ("brick wall")."""


def countable_names(prompt: TextPrompt) -> tuple[str, ...]:
    """Names of a prompt's classes that name countable things; a synonym that is stuff makes the class stuff.

    Args:
        prompt: any; its own `instances` does not count.

    Returns:
        Names in prompt order, for `TextPrompt.instances`.
    """
    return tuple(name.name for name in prompt.classes if not any(map(_is_stuff, name.synonyms)))


def divide_countable(prompt: TextPrompt) -> TextPrompt:
    """The prompt with one mask per object for its countable classes."""
    return replace(prompt, instances=countable_names(prompt))


def _is_stuff(name: str) -> bool:
    words = clean_text(name).split()
    if not words:
        return False
    return words[-1] in _STUFF or words[-1].removesuffix("s") in _STUFF or words[-1].removesuffix("es") in _STUFF
