"""Benchmarks of corresponding points: SPair-71k."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from maskwright.domain import Image
from maskwright.formats.benchmarks.files import place, read_json, read_lines

__all__ = ["POINTS", "PointPair", "read_pairs"]

POINTS = ("spair",)
"""Names of the benchmarks."""


class PointPair(NamedTuple):
    """Two images of one category with points that correspond; images are read when they are asked for."""

    category: str
    source: Callable[[], Image]
    target: Callable[[], Image]
    source_xy: NDArray[np.float64]
    """(K, 2) x and y in pixels"""
    target_xy: NDArray[np.float64]
    box_side: float
    """Larger side of the box of the target's object, in pixels"""


def read_pairs(folder: Path) -> list[PointPair]:
    """The pairs of SPair-71k's large test list, in its order.

    Raises:
        MaskwrightError: the folder does not hold it.
    """
    layout = place(folder, "SPair-71k/Layout/large/test.txt", "Layout/large/test.txt", what="SPair-71k")
    root = layout.parents[2]

    def pair(name: str) -> PointPair:
        # 000001-2008_000585-2008_004704:aeroplane
        row = read_json(root / "PairAnnotation" / "test" / f"{name}.json")
        _, source, target = name.split(":")[0].split("-")
        images = root / "JPEGImages" / row["category"]
        left, top, right, bottom = row["trg_bndbox"]
        return PointPair(
            row["category"],
            partial(Image.open, images / f"{source}.jpg"),
            partial(Image.open, images / f"{target}.jpg"),
            np.array(row["src_kps"], np.float64),
            np.array(row["trg_kps"], np.float64),
            max(right - left, bottom - top),
        )

    return [pair(name) for name in read_lines(layout)]
