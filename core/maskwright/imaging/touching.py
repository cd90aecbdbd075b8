"""Touching objects of one region, told apart by its shape and by how sure the model is (watershed)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from maskwright.imaging.geometry import label_components

__all__ = ["centers", "split_touching"]

_LEVELS = (0.0, 0.2, 0.4, 0.6, 0.8)
"""Quantiles of the probability inside the region: the region is looked at as it shrinks to its surest fifth."""
_SMOOTHING = 1.0
"""Standard deviation, in pixels, of the blur that removes summits of single pixels."""
_PROMINENCE = 0.1
"""Share by which a summit must rise above the pass to a higher one; of the logarithm, so that size does not count."""


def split_touching(
    region: NDArray[np.bool_], probability: NDArray[np.float32], *, smallest: int = 12
) -> NDArray[np.int32]:
    """Split a region where it narrows or where the model is less sure.

    The distance to the border, averaged over the regions of rising probability, has a summit in each roundish object;
    a watershed from the summits (Meyer 1994, as in scikit-image) cuts between them.

    Args:
        region: (H, W) pixels of one class.
        probability: (H, W) of that class, 0 to 1; only its order inside the region counts.
        smallest: pixels below which a piece is dropped.

    Returns:
        (H, W) numbers of the pieces from 1 on; 0 outside of them.
    """
    from scipy.ndimage import distance_transform_edt, gaussian_filter
    from skimage.morphology import h_maxima
    from skimage.segmentation import watershed

    if not region.any():
        return np.zeros(region.shape, np.int32)
    height = np.zeros(region.shape)
    for level in np.quantile(probability[region], _LEVELS):
        # the border of the image counts as outside
        inside = np.pad(region & (probability >= level), 1)
        height += distance_transform_edt(inside)[1:-1, 1:-1] / len(_LEVELS)
    height = gaussian_filter(height, _SMOOTHING)
    summits = label_components(h_maxima(np.log1p(height), _PROMINENCE).astype(np.bool_) & region)
    pieces = watershed(-height, summits, mask=region)
    # a component without a summit of its own is a piece as well
    rest = label_components(region & (pieces == 0))
    pieces = np.where(rest > 0, rest + pieces.max(), pieces)
    counts = np.bincount(pieces.ravel())
    large = counts >= smallest
    large[0] = False
    numbers = np.where(large, np.cumsum(large), 0).astype(np.int32)
    result: NDArray[np.int32] = numbers[pieces]
    return result


def centers(pieces: NDArray[np.int32]) -> NDArray[np.float64]:
    """(N, 2) x and y, in pixels, of the point deepest inside each of N numbered pieces."""
    from scipy.ndimage import distance_transform_edt, find_objects

    points = []
    for number, (rows, columns) in enumerate(find_objects(pieces), start=1):
        depth = distance_transform_edt(np.pad(pieces[rows, columns] == number, 1))[1:-1, 1:-1]
        row, column = np.unravel_index(int(depth.argmax()), depth.shape)
        points.append((columns.start + column + 0.5, rows.start + row + 0.5))
    return np.array(points, np.float64).reshape(-1, 2)
