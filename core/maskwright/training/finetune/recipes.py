"""Names of the recipes of fine-tuning, without torch."""

from __future__ import annotations

from collections.abc import Mapping

from maskwright.errors import UsageError

__all__ = ["DEFAULT_RECIPE", "RECIPES", "recipe_name"]

DEFAULT_RECIPE = "decoder"
RECIPES: Mapping[str, str] = {
    "decoder": "refinement, aggregation and decoder; the encoders stand still",
    "qv": "the decoder side, and queries and values of dino.txt's image blocks",
    "qk": "the decoder side, and queries and keys of dino.txt's image blocks",
    "vision": "everything but the words",
    "full": "everything, words included, as in the paper",
}
"""What learns in each, the least first."""
_ALIASES = {"head": "decoder"}


def recipe_name(recipe: str) -> str:
    """The recipe that a user names.

    Raises:
        UsageError: There is none of this name.
    """
    name = _ALIASES.get(recipe, recipe)
    if name not in RECIPES:
        raise UsageError(f"There is no recipe {recipe}. Known: {', '.join(RECIPES)}.")
    return name
