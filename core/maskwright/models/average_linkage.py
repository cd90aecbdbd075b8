"""Exact agglomerative clustering with average linkage on the device.

For unit vectors average linkage compares the mean cosine between two clusters. It is *reducible*: a merged cluster is
never nearer to a third one than the nearer of its two parts was. Hence clusters that are each other's nearest
neighbours may merge in any order, so all such pairs merge at once (Murtagh, 1983), and a cluster that has no neighbour
within the cut never gets one and is done.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["average_linkage"]


def average_linkage(features: Tensor, tau: float) -> Tensor:
    """Labels of the partition that average linkage leaves when it stops at a mean cosine under `tau`.

    The same partition as scikit-learn's, whose distance threshold is 1 - tau, wherever no two distances tie. Ties are
    broken the same way each time: among equally near neighbours the one whose first row comes first is taken.

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
    # memory that was written before is several times faster to write than new one
    spare = torch.empty_like(similarity).view(-1)
    stale = alive
    while True:
        rows = (stale & alive).nonzero()[:, 0]
        if 2 * len(rows) > len(near):
            # a look at all rows costs less than a copy of most of them
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
            # a neighbour that was kept may have become one of several equally near ones: look at all again
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
            # a neighbour that is gone belongs to a row that is stale and looks again
            near, alive = place[near[live]].clamp(min=0), alive[live]
    labels: Tensor = torch.unique(owner, return_inverse=True)[1]
    return labels


def _similarities(features: Tensor) -> Tensor:
    """(N, N) cosines, symmetric to the last bit, with a diagonal that nobody chooses.

    With exact symmetry the lowest row that holds the greatest value and its nearest neighbour are always a mutual pair,
    so that the loop cannot stall on a tie.
    """
    if features.device.type == "cpu":
        from scipy.linalg.blas import ssyrk

        # one triangle is half the work; Fortran's rows are our columns
        products = torch.from_numpy(ssyrk(1.0, features.float().numpy().T, trans=1, lower=1).T)
        for start in range(0, len(products), _BLOCK):
            end = start + _BLOCK
            block = products[start:end, start:end]
            # its lower triangle is still zero, and its diagonal is set below
            block += block.T.clone()
            products[end:, start:end] = products[start:end, end:].T
    else:
        products = features @ features.T
        products = products.triu() + products.triu(1).T
    products.fill_diagonal_(_NEVER)
    return products


_NEVER = -2.0
"""Less than any cosine, and finite, so that the mean of two such is the same again."""
_BLOCK = 512
_SHRINK = 0.6
"""Share of rows still in use under which the matrix is copied without the others."""


def _merge(similarity: Tensor, first: Tensor, second: Tensor, sizes: Tensor) -> None:
    """Put the mean of each pair in the place of its first, and hide its second from all others."""
    share = sizes[second] / (sizes[first] + sizes[second])
    sizes[first] += sizes[second]
    rows = torch.lerp(similarity[first], similarity[second], share[:, None])
    # a merged row meets the other merged pairs at their means; halving both orders keeps the symmetry exact
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
