"""Images that are alike, or as different as possible, by one unit vector each."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from maskwright.progress import Progress

__all__ = ["farthest_first", "similar_groups"]

_BLOCK = 1024
_FEW = 10_000
"""Images up to which comparing all with all takes no longer than making an index."""
_PROBES = 8
"""Cells of the index that are searched; two images that are alike are rarely further apart."""
_MOST_LABELLED = 4096
"""Labelled images that unlabelled ones are compared with; of more, evenly spaced ones."""


def farthest_first(vectors: Tensor, labelled: Tensor, limit: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Choose rows, each the farthest from all labelled and chosen ones.

    Args:
        vectors: (N, C) unit rows to choose from.
        labelled: (M, C) unit rows; with none of them the first choice is the row nearest to the mean of all.
        limit: number of choices.

    Returns:
        The chosen rows in order, and the cosine distance of each from the nearest labelled or earlier one.
    """
    count = min(limit, len(vectors))
    rows, distances = np.empty(count, np.int64), np.empty(count, np.float32)
    if len(labelled):
        few = labelled[torch.linspace(0, len(labelled) - 1, min(len(labelled), _MOST_LABELLED)).long()]
        nearest = torch.cat([(part @ few.T).amax(dim=1) for part in vectors.split(_BLOCK)])
    elif count:
        # the most typical one comes first, so that the others are different from something
        typical = vectors @ F.normalize(vectors.mean(dim=0), dim=0)
        rows[0] = row = int(typical.argmax())
        distances[0], nearest = 1 - float(typical[row]), vectors @ vectors[row]
        nearest[row] = torch.inf
    for number in range(0 if len(labelled) else 1, count):
        rows[number] = row = int(nearest.argmin())
        distances[number] = 1 - float(nearest[row])
        nearest = torch.maximum(nearest, vectors @ vectors[row])
        nearest[row] = torch.inf
    return rows, distances


def similar_groups(
    vectors: NDArray[np.float32], least: float, progress: Progress
) -> list[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """Groups of rows that are joined by pairs with a cosine of at least `least`, the largest group first.

    Args:
        vectors: (N, C) unit rows.
        least: cosine.
        progress: reports rows, and cancels between blocks of them.

    Returns:
        The rows of each group in order, and for each its cosine with the most similar other row.
    """
    parts = [np.empty((0, 3), np.float64)]
    pairs = _pairs_of_index if len(vectors) > _FEW and importlib.util.find_spec("faiss") else _pairs_of_all
    for done, (first, second, cosines) in pairs(vectors, least):
        progress.report(done, len(vectors))
        progress.check()
        apart = first != second
        parts.append(np.stack([first[apart], second[apart], cosines[apart]], axis=1).astype(np.float64))
    found = np.concatenate(parts)
    first, second = found[:, 0].astype(np.int64), found[:, 1].astype(np.int64)
    best = np.zeros(len(vectors), np.float32)
    for ends in (first, second):
        np.maximum.at(best, ends, found[:, 2].astype(np.float32))
    joined = coo_array((np.ones(len(first)), (first, second)), (len(vectors), len(vectors)))
    labels = connected_components(joined, directed=False)[1]
    alike = np.flatnonzero(best)
    groups = [alike[labels[alike] == label] for label in np.unique(labels[alike])]
    return [(rows, best[rows]) for rows in sorted(groups, key=lambda rows: (-len(rows), rows[0]))]


_Pairs = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]


def _pairs_of_all(vectors: NDArray[np.float32], least: float) -> Iterator[tuple[int, _Pairs]]:
    """Number of rows done, and pairs of rows with their cosine, by a product of all rows with all later ones."""
    for start in range(0, len(vectors), _BLOCK):
        cosines = vectors[start : start + _BLOCK] @ vectors[start:].T
        first, second = np.nonzero(np.triu(cosines >= least))
        yield start, (first + start, second + start, cosines[first, second])


def _pairs_of_index(vectors: NDArray[np.float32], least: float) -> Iterator[tuple[int, _Pairs]]:
    """The same by an index of cells around centers, of which the nearest few are searched."""
    import faiss

    cells = int(4 * np.sqrt(len(vectors)))
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(vectors.shape[1]), vectors.shape[1], cells, faiss.METRIC_INNER_PRODUCT)
    index.cp.max_points_per_centroid = 39
    index.train(vectors)
    index.add(vectors)
    index.nprobe = _PROBES
    for start in range(0, len(vectors), _BLOCK):
        ends, cosines, second = index.range_search(vectors[start : start + _BLOCK], least)
        first = start + np.repeat(np.arange(len(ends) - 1), np.diff(ends).astype(np.int64))
        yield start, (first, second, cosines)
