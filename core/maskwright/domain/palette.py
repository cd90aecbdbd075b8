"""Colours of categories, told apart by colour-blind people too."""

from __future__ import annotations

__all__ = ["PALETTE", "default_color"]


# The four Okabe-Ito hues whose contrast is at least 3:1 to black and to white (its orange, sky blue and yellow fail
# on white), then hues within that band picked one by one as far as possible, in OKLab, from all earlier ones under
# normal, protan, deutan and tritan vision (Machado et al. 2009).
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
)


def default_color(existing: int) -> str:
    """The #rrggbb of the next category after `existing` ones."""
    return PALETTE[existing % len(PALETTE)]
