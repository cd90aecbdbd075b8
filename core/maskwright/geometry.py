"""Sizes and windows, in whole pixels; pure arithmetic."""

from __future__ import annotations

__all__ = ["slide", "slide_size"]

_LONGEST = 8
"""A picture longer than this many short sides is stretched, so that a 1 x 5000 strip stays affordable."""


def slide_size(size_hw: tuple[int, int], short_side: int, window: int) -> tuple[int, int]:
    """(height, width) with the short side at `short_side`, ratio kept up to 1:8, no side under `window`."""
    scale = min(short_side / min(size_hw), _LONGEST * short_side / max(size_hw))
    height, width = (max(window, round(side * scale)) for side in size_hw)
    return height, width


def slide(size_hw: tuple[int, int], window: int, stride: int) -> list[tuple[int, int]]:
    """(top, left) of every window, row by row; the last of a row or column is shifted back to the border."""

    def starts(side: int) -> list[int]:
        last = side - window
        return [*range(0, last, stride), last]

    return [(top, left) for top in starts(size_hw[0]) for left in starts(size_hw[1])]
