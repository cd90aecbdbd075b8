"""COCO run-length encoding (RLE) of masks, in pure numpy.

Runs go down the columns, starting with background; the compressed form packs each run (from the third on as the
difference to the run before the last) into base-48 characters of five bits. Source: the COCO API's mask format.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from maskwright.errors import InvalidMask

__all__ = [
    "Rle",
    "area",
    "bbox",
    "compressed",
    "decode",
    "decode_box",
    "encode",
    "encode_box",
    "runs_from_text",
    "runs_to_text",
    "sample",
]


_BLOCK = 1 << 24
"""Pixels of a mask that are encoded at once."""


class Rle(TypedDict):
    """Compressed RLE of COCO files; size is [height, width]."""

    size: list[int]
    counts: str


def runs_of(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Column-major run lengths of a (H, W) mask, background first."""
    rows, columns = mask.shape
    block = max(1, _BLOCK // max(1, rows))
    edges, last = list[NDArray[np.int64]](), False
    # in blocks of columns, so that the memory does not grow with the mask
    for first in range(0, columns, block):
        flat = mask[:, first : first + block].ravel(order="F")
        edges.append(np.flatnonzero(np.diff(flat, prepend=last)) + first * rows)
        last = bool(flat[-1]) if flat.size else last
    # a mask that begins with its own pixels has an edge at 0, and so an empty first run
    return np.diff(np.concatenate([[0], *edges, [mask.size]]))


def encode(mask: NDArray[np.bool_]) -> Rle:
    """Compressed RLE of a boolean (H, W) mask; raises InvalidMask for anything else."""
    if mask.ndim != 2 or mask.dtype != np.bool_ or not mask.size:
        raise InvalidMask(f"A mask must be boolean (H, W), got {mask.dtype} {mask.shape}.")
    return {"size": [int(mask.shape[0]), int(mask.shape[1])], "counts": runs_to_text(runs_of(mask))}


def decode(rle: Rle) -> NDArray[np.bool_]:
    """Boolean (H, W) mask of a compressed RLE; raises InvalidMask when its runs do not fill its size."""
    height, width = rle["size"]
    runs = _checked_runs(rle)
    flat = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return flat.reshape((height, width), order="F")


def decode_box(rle: Rle, box: tuple[int, int, int, int]) -> NDArray[np.bool_]:
    """The part of a mask inside a box (x, y, width, height); time and memory grow with the box's columns only.

    Args:
        rle: the mask.
        box: inside the mask, in pixels.

    Returns:
        Boolean (height, width) array.
    """
    rows = rle["size"][0]
    x, y, width, height = box
    start, stop = x * rows, (x + width) * rows
    ends = np.cumsum(runs_from_text(rle["counts"]))
    first, last = np.searchsorted(ends, start, "right"), np.searchsorted(ends, stop, "left")
    bounds = np.clip(ends[first : last + 1], start, stop)
    lengths = bounds - np.concatenate([[start], bounds[:-1]])
    columns = np.repeat(np.arange(first, first + len(lengths)) % 2 == 1, lengths).reshape(width, rows)
    return np.ascontiguousarray(columns[:, y : y + height].T)


def sample(rle: Rle, rows: NDArray[np.integer[Any]], columns: NDArray[np.integer[Any]]) -> NDArray[np.bool_]:
    """Values of a mask on a grid, without decoding the rest of it.

    Args:
        rle: the mask.
        rows: (h,) indices, ascending.
        columns: (w,) indices, ascending.

    Returns:
        Boolean (h, w) array.
    """
    ends = np.cumsum(runs_from_text(rle["counts"]))
    places = columns[:, None].astype(np.int64) * rle["size"][0] + rows
    inside: NDArray[np.bool_] = np.searchsorted(ends, places.ravel(), "right") % 2 == 1
    return inside.reshape(places.shape).T


def encode_box(part: NDArray[np.bool_], x: int, y: int, size_hw: tuple[int, int]) -> Rle:
    """Compressed RLE of a mask that has pixels only inside a box, of which `part` is the content.

    Args:
        part: boolean (height, width) array.
        x: left column of the box.
        y: top row of the box.
        size_hw: (H, W) of the mask; the box lies inside.
    """
    rows, width = size_hw
    columns = np.zeros((part.shape[1], rows), np.bool_)
    columns[:, y : y + part.shape[0]] = part.T
    flat, start = columns.ravel(), x * rows
    edges = np.flatnonzero(np.diff(flat, prepend=False)) + start
    stop, end = start + flat.size, rows * width
    # a mask that reaches the end of the box ends there, unless the image ends, too
    closing = [stop] if flat.size and flat[-1] and stop < end else []
    bounds = np.concatenate([edges, closing, [end]]).astype(np.int64)
    runs = bounds - np.concatenate([[0], bounds[:-1]])
    return {"size": [rows, width], "counts": runs_to_text(runs)}


def compressed(segmentation: Mapping[str, Any]) -> Rle:
    """Compress the RLE of a COCO file, whose `counts` may also be a list of runs.

    Raises:
        InvalidMask: not a size and run lengths, or they do not fill the size.
    """
    size, counts = segmentation.get("size"), segmentation.get("counts")
    if not isinstance(size, list) or len(size) != 2 or any(type(side) is not int or side < 0 for side in size):
        raise InvalidMask("The mask's size is not [height, width].")
    if isinstance(counts, list):
        try:
            runs = np.array(counts if all(type(run) is int for run in counts) else [None], np.int64)
        except (TypeError, OverflowError) as error:
            raise InvalidMask("The mask's runs are not whole numbers.") from error
        counts = runs_to_text(runs)
    if not isinstance(counts, str):
        raise InvalidMask("The mask has no run lengths.")
    rle = Rle(size=[size[0], size[1]], counts=counts)
    _checked_runs(rle)
    return rle


def _checked_runs(rle: Rle) -> NDArray[np.int64]:
    """The runs; raises InvalidMask when they do not fill the size."""
    height, width = rle["size"]
    runs = runs_from_text(rle["counts"])
    # as no single run is longer than the mask, their sum cannot wrap around
    damaged = runs.size and (runs.min() < 0 or int(runs.max()) > height * width)
    if damaged or int(runs.sum()) != height * width:
        raise InvalidMask(f"The mask's runs sum to {sum(runs.tolist())}, not to {height} x {width}.")
    return runs


def runs_to_text(runs: NDArray[np.int64]) -> str:
    """Pack run lengths into the compressed text."""
    steps = runs.astype(np.int64)
    steps[3:] = runs[3:] - runs[1:-2]
    columns, continues = list[NDArray[np.uint8]](), [np.ones(len(steps), np.bool_)]
    # a column for each further character; a number takes them until what is left of it is nothing but its sign
    while not columns or continues[-1].any():
        continues.append(steps + 16 >> 5 != 0)
        columns.append(((steps & 31) + 48 + 32 * continues[-1]).astype(np.uint8))
        steps = steps >> 5
    return np.stack(columns, 1)[np.stack(continues[:-1], 1)].tobytes().decode("ascii")


def runs_from_text(text: str) -> NDArray[np.int64]:
    """Unpack the compressed text; raises InvalidMask when it is truncated or has other characters."""
    digits = np.frombuffer(text.encode("ascii", "replace"), np.uint8).astype(np.int64) - 48
    if digits.size and (digits.min() < 0 or digits.max() > 63 or digits[-1] & 32):
        raise InvalidMask("The mask's run-length text is damaged.")
    ends = np.flatnonzero(digits & 32 == 0)
    starts = np.concatenate([[0], ends[:-1] + 1]).astype(np.int64)[: ends.size]
    place = np.arange(digits.size) - np.repeat(starts, ends - starts + 1)
    if place.size and place.max() > 11:
        raise InvalidMask("The mask's run-length text is damaged.")
    runs = np.add.reduceat((digits & 31) << (5 * place), starts) if ends.size else np.zeros(0, np.int64)
    negative = digits[ends] & 16 != 0
    runs = runs - np.where(negative, np.int64(1) << (5 * (ends - starts + 1)), 0)
    # from the third on (index 3) each value is the difference to the one two before: two interleaved sums
    for first in (1, 2):
        runs[first::2] = np.cumsum(runs[first::2])
    return runs


def area(rle: Rle) -> int:
    """Number of mask pixels."""
    return int(runs_from_text(rle["counts"])[1::2].sum())


def bbox(rle: Rle) -> tuple[int, int, int, int]:
    """Tight (x, y, width, height) in pixels, from the runs alone; all zero for an empty mask."""
    height = rle["size"][0]
    ends = np.cumsum(runs_from_text(rle["counts"]))
    first, last = ends[:-1:2], ends[1::2] - 1
    first, last = first[: len(last)][last >= first[: len(last)]], last[last >= first[: len(last)]]
    if not first.size:
        return 0, 0, 0, 0
    left, right = int(first[0] // height), int(last[-1] // height)
    # a run that goes on into the next column covers the border rows of both
    crossing = bool((first // height != last // height).any())
    top = 0 if crossing else int((first % height).min())
    bottom = height - 1 if crossing else int((last % height).max())
    return left, top, right - left + 1, bottom - top + 1
