"""Colours of categories, told apart by colour-blind people too."""

from __future__ import annotations

from collections.abc import Collection

__all__ = ["PALETTE", "default_color", "free_color"]


# The four Okabe-Ito hues whose contrast is at least 3:1 to black and to white (its orange, sky blue and yellow fail
# on white), then hues within that band picked one by one as far as possible, in OKLab, from all earlier ones under
# normal, protan, deutan and tritan vision (Machado et al. 2009). From the eleventh on half of the distance is that
# under normal vision: so many hues cannot all differ for everybody, and people who see all hues tell them apart.
PALETTE = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#785050",
    "#a048f8",
    "#b02808",
    "#9888e0",
    "#7030d8",
    "#a84888",
    "#007800",
    "#e800c0",
    "#80a000",
    "#f80068",
    "#987060",
    "#0080f8",
    "#0040f8",
    "#206078",
    "#e850f8",
    "#688898",
    "#9810b0",
    "#a89060",
    "#7868d0",
    "#808000",
    "#00a0c8",
    "#f06870",
    "#c80060",
    "#685098",
    "#288068",
    "#a868b0",
    "#706830",
    "#c85878",
)


def default_color(existing: int) -> str:
    """The #rrggbb of the next category after `existing` ones."""
    return PALETTE[existing % len(PALETTE)]


def free_color(used: Collection[str]) -> str:
    """The first #rrggbb of the palette that none of the `used` ones is; beyond its end it begins again."""
    return next((color for color in PALETTE if color not in used), default_color(len(used)))
