"""Exact agglomerative clustering with average linkage on the device.

For unit vectors, average linkage compares the mean cosine between two clusters. It is *reducible*: a merged cluster is
never closer to a third one than the closer of its two parts was. Hence mutual nearest neighbours can merge in any
order, so all such pairs merge at once (Murtagh, 1983), and a cluster without a neighbour within the cut is final.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["average_linkage"]


def average_linkage(features: Tensor, tau: float) -> Tensor:
    """Partition by average linkage, which stops when no two clusters have a mean cosine of `tau` or more.

    Without ties it is the partition of scikit-learn's `AgglomerativeClustering` with a distance threshold of 1 - tau.
    Ties are broken deterministically: of equally close neighbours, the one with the lowest first row is merged.

    Args:
        features: (N, C) unit rows.
        tau: lowest mean cosine at which two clusters still merge.

    Returns:
        (N,) int64 from 0 to K - 1, clusters numbered in the order of their first rows.
    """
    device = features.device
    owner = torch.arange(len(features), device=device)
    ids, sizes = owner.clone(), torch.ones(len(features), device=device)
    alive = torch.ones_like(owner, dtype=torch.bool)
    near, value = torch.empty_like(owner), torch.empty_like(sizes)
    similarity = _similarities(features)
    # writing to memory that is mapped already is several times faster
    spare = torch.empty_like(similarity).view(-1)
    stale = alive
    while True:
        rows = (stale & alive).nonzero()[:, 0]
        if 2 * len(rows) > len(near):
            # all rows cost less than a copy of most of them
            near[rows] = similarity.argmax(dim=1)[rows]
        else:
            near[rows] = _rows(similarity, rows, spare).argmax(dim=1)
        value[rows] = similarity[rows, near[rows]]
        alive &= value >= tau
        here = torch.arange(len(near), device=device)
        first = ((near[near] == here) & alive & (here < near)).nonzero()[:, 0]
        if not len(first):
            if stale is alive:
                break
            # a cached neighbour may have become one of several equally close ones: compute all again
            stale = alive
            continue
        second = near[first]
        _merge(similarity, first, second, sizes)
        alive[second] = False
        owner = _renamed(owner, ids[second], ids[first])
        changed = torch.zeros_like(alive)
        changed[first] = changed[second] = True
        stale = changed | changed[near]
        live = alive.nonzero()[:, 0]
        if len(live) < _SHRINK * len(alive):
            old = similarity.view(-1)[: len(live) ** 2].view(len(live), len(live))
            similarity = torch.index_select(_rows(similarity, live, spare), 1, live, out=old)
            place = torch.cumsum(alive, 0) - 1
            ids, sizes, value, stale = ids[live], sizes[live], value[live], stale[live]
            # a neighbour that is gone belongs to a stale row, which is computed again
            near, alive = place[near[live]].clamp(min=0), alive[live]
    labels: Tensor = torch.unique(owner, return_inverse=True)[1]
    return labels


def _similarities(features: Tensor) -> Tensor:
    """(N, N) cosines, exactly symmetric, with a diagonal below every cosine.

    With exact symmetry, the lowest row that holds the largest value is in a mutual pair with its nearest neighbour, so
    that the loop cannot stall on a tie.
    """
    if features.device.type == "cpu":
        from scipy.linalg.blas import ssyrk

        # computes one triangle, half the work; BLAS is column-major
        products = torch.from_numpy(ssyrk(1.0, features.float().numpy().T, trans=1, lower=1).T)
        for start in range(0, len(products), _BLOCK):
            end = start + _BLOCK
            block = products[start:end, start:end]
            # its lower triangle is still zero; the diagonal is set below
            block += block.T.clone()
            products[end:, start:end] = products[start:end, end:].T
    else:
        products = features @ features.T
        products = products.triu() + products.triu(1).T
    products.fill_diagonal_(_NEVER)
    return products


_NEVER = -2.0
"""Less than any cosine, and finite, so that the mean of two of it is the same value."""
_BLOCK = 512
_SHRINK = 0.6
"""Share of active rows below which the matrix is compacted to them."""


def _merge(similarity: Tensor, first: Tensor, second: Tensor, sizes: Tensor) -> None:
    """Write the weighted mean of each pair to the row of its first, and mask out its second."""
    share = sizes[second] / (sizes[first] + sizes[second])
    sizes[first] += sizes[second]
    rows = torch.lerp(similarity[first], similarity[second], share[:, None])
    # between two merged pairs both orders of averaging are averaged, which keeps the symmetry exact
    block = torch.lerp(rows[:, first], rows[:, second], share)
    block = (block + block.T) / 2
    rows[:, first] = block.fill_diagonal_(_NEVER)
    rows[:, second] = _NEVER
    similarity.index_copy_(0, first, rows)
    similarity.index_copy_(1, first, rows.T.contiguous())
    similarity.index_fill_(1, second, _NEVER)


def _renamed(owner: Tensor, old: Tensor, new: Tensor) -> Tensor:
    names = torch.arange(len(owner), device=owner.device)
    names[old] = new
    return names[owner]


def _rows(similarity: Tensor, rows: Tensor, into: Tensor) -> Tensor:
    return torch.index_select(
        similarity, 0, rows, out=into[: len(rows) * len(similarity)].view(len(rows), len(similarity))
    )
