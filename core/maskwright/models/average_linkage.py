"""Exact agglomerative clustering with average linkage on the device.

For unit vectors, average linkage compares the mean cosine between two clusters. It is *reducible*: a merged cluster is
never closer to a third one than the closer of its two parts was. Hence mutual nearest neighbours can merge in any
order, so all such pairs merge at once (Murtagh, 1983), and a cluster without a neighbour within the cut is final.
"""

from __future__ import annotations

import torch
from torch import Tensor

from maskwright.models.row_maximum import row_maximum

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
    # added to a row before its largest value is taken: columns of clusters that are gone hold anything
    gone = torch.zeros_like(sizes)
    similarity = _similarities(features)
    # writing to memory that is mapped already is several times faster
    spare = torch.empty_like(similarity).view(-1)
    near = row_maximum(similarity)
    value = similarity.gather(1, near[:, None])[:, 0]
    all_new = True
    while True:
        alive &= value >= tau
        here = torch.arange(len(near), device=device)
        first = ((near[near] == here) & alive & (here < near)).nonzero()[:, 0]
        if len(first):
            second, all_new = near[first], False
            _merge(similarity, first, second, sizes, spare)
            alive[second], gone[second] = False, 2 * _NEVER
            owner = _renamed(owner, ids[second], ids[first])
            changed = torch.zeros_like(alive)
            changed[first] = changed[second] = True
            stale = changed | changed[near]
        elif all_new:
            break
        else:
            # a cached neighbour may have become one of several equally close ones: compute all again
            stale, all_new = alive, True
        live = alive.nonzero()[:, 0]
        if not len(live):
            break
        if len(live) < _SHRINK * len(alive):
            old = similarity.view(-1)[: len(live) ** 2].view(len(live), len(live))
            similarity = torch.index_select(_rows(similarity, live, spare), 1, live, out=old)
            place = torch.cumsum(alive, 0) - 1
            ids, sizes, value, stale, gone = ids[live], sizes[live], value[live], stale[live], gone[live]
            # a neighbour that is gone belongs to a stale row, which is computed again
            near, alive = place[near[live]].clamp(min=0), alive[live]
        rows = (stale & alive).nonzero()[:, 0]
        candidates = _rows(similarity, rows, spare).add_(gone)
        near[rows] = row_maximum(candidates)
        value[rows] = candidates.gather(1, near[rows][:, None])[:, 0]
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


def _merge(similarity: Tensor, first: Tensor, second: Tensor, sizes: Tensor, spare: Tensor) -> None:
    """Write the weighted mean of each pair to the row and the column of its first; its second is no longer valid."""
    share = sizes[second] / (sizes[first] + sizes[second])
    sizes[first] += sizes[second]
    rows = _rows(similarity, first, spare)
    # memory that was in use before: pairs are at most half the rows, so that there is room for two
    room = spare[rows.numel() : 2 * rows.numel()]
    rows.lerp_(_rows(similarity, second, room), share[:, None])
    # between two merged pairs both orders of averaging are averaged, which keeps the symmetry exact
    block = torch.lerp(rows.index_select(1, first), rows.index_select(1, second), share)
    block = (block + block.T) / 2
    rows.index_copy_(1, first, block.fill_diagonal_(_NEVER))
    similarity.index_copy_(0, first, rows)
    similarity.index_copy_(1, first, room.view(rows.shape[::-1]).copy_(rows.T))


def _renamed(owner: Tensor, old: Tensor, new: Tensor) -> Tensor:
    names = torch.arange(len(owner), device=owner.device)
    names[old] = new
    return names[owner]


def _rows(similarity: Tensor, rows: Tensor, into: Tensor) -> Tensor:
    return torch.index_select(
        similarity, 0, rows, out=into[: len(rows) * len(similarity)].view(len(rows), len(similarity))
    )
