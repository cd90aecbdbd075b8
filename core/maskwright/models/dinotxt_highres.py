"""dino.txt's high-resolution inference (Jose et al., 2024, Sec. 4.2).

Crops of 1, 10 and 100 percent of the image area, each a distorted quadrilateral, are warped to squares and encoded;
their features are warped back and averaged on a grid; k-means clusters the grid, and the centroids are classified.
The defaults of `HighResolution` give the paper's numbers: each pixel in 40 of about 800 crops, 32 clusters.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from maskwright.progress import NO_PROGRESS, Progress

__all__ = ["Clusters", "HighResolution", "cluster", "dense_features", "homographies", "quadrilaterals"]


@dataclass(frozen=True, slots=True)
class HighResolution:
    """Settings; the defaults are the paper's."""

    areas: tuple[float, ...] = (0.01, 0.1, 1.0)
    """Scales of the crops: their share of the image area."""
    visits: tuple[int, ...] = (7, 7, 26)
    """Crops of each scale that cover a pixel: with 700 + 70 + 26 crops, 40."""
    noise: float = 0.1
    """Largest displacement of a corner, as a share of the crop's side."""
    clusters: int = 32
    grid_short_side: int = 128
    """Short side of the grid that features are averaged on, in cells."""
    seed: int = 0


class Clusters(NamedTuple):
    """k-means clusters of an image's features."""

    centroids: Tensor
    """(k, C), unit length"""
    assignment: Tensor
    """(h, w) int64"""


def quadrilaterals(config: HighResolution, generator: torch.Generator) -> Tensor:
    """(N, 4, 2) corners of all crops, x and y in 0..1: top-left, top-right, bottom-right, bottom-left."""
    corners = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    out = []
    for area, visits in zip(config.areas, config.visits, strict=True):
        side = math.sqrt(area)
        across = max(1, round(math.sqrt(visits / area)))
        # equally spaced along both sides, from border to border
        place = torch.linspace(0, 1 - side, across)
        origin = torch.cartesian_prod(place, place)[:, None]
        shift = (torch.rand(len(origin), 4, 2, generator=generator) * 2 - 1) * config.noise * side
        out.append((origin + corners * side + shift).clamp(0, 1))
    return torch.cat(out)


def homographies(quads: Tensor) -> Tensor:
    """(N, 3, 3) homographies of the unit square to (N, 4, 2) quadrilaterals (direct linear transform, h33 = 1)."""
    u = torch.tensor([0.0, 1.0, 1.0, 0.0], dtype=torch.float64).expand(len(quads), 4)
    v = torch.tensor([0.0, 0.0, 1.0, 1.0], dtype=torch.float64).expand(len(quads), 4)
    x, y = quads.double().unbind(-1)
    zero, one = torch.zeros_like(u), torch.ones_like(u)
    rows_x = torch.stack([u, v, one, zero, zero, zero, -u * x, -v * x], dim=-1)
    rows_y = torch.stack([zero, zero, zero, u, v, one, -u * y, -v * y], dim=-1)
    solved = torch.linalg.solve(torch.cat([rows_x, rows_y], dim=1), torch.cat([x, y], dim=1))
    return F.pad(solved, (0, 1), value=1.0).reshape(-1, 3, 3)


def _project(matrix: Tensor, points: Tensor) -> Tensor:
    """Apply a (3, 3) homography to (..., 2) points."""
    moved = F.pad(points, (0, 1), value=1.0) @ matrix.T.to(points.dtype)
    return moved[..., :2] / moved[..., 2:]


def _centres(height: int, width: int) -> Tensor:
    """(h, w, 2) centres of cells, x and y in 0..1."""
    y, x = ((torch.arange(n, dtype=torch.float64) + 0.5) / n for n in (height, width))
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)


def dense_features(
    pixels: Tensor,
    encode: Callable[[Tensor], Tensor],
    config: HighResolution,
    *,
    window: int,
    progress: Progress = NO_PROGRESS,
) -> Tensor:
    """Mean unit patch features over all crops.

    Args:
        pixels: (3, H, W) normalised image.
        encode: (B, 3, window, window) images to (B, C, h', w') patch features.
        config: scales, visits and grid.
        window: side of the square that crops are warped to, in pixels.
        progress: reports crops, and cancels between them.

    Returns:
        (C, h, w) on the grid.
    """
    short = config.grid_short_side / min(pixels.shape[1:])
    grid = tuple(max(1, round(side * short)) for side in pixels.shape[1:])
    quads = quadrilaterals(config, torch.Generator().manual_seed(config.seed))
    forward = homographies(quads)
    square, cells = _centres(window, window), _centres(*grid)
    total = count = torch.zeros(())
    for done, (quad, matrix) in enumerate(zip(quads, forward, strict=True)):
        progress.check()
        progress.report(done, len(quads), "Encoding")
        sample = (_project(matrix, square) * 2 - 1).to(pixels.dtype).to(pixels.device)
        crop = F.grid_sample(pixels[None], sample[None], mode="bilinear", padding_mode="border", align_corners=False)
        features = F.normalize(encode(crop), dim=1)
        if not total.ndim:
            total = torch.zeros(features.shape[1], *grid, device=features.device)
            count = torch.zeros(grid, device=features.device)
        rows, columns = _span(quad, grid)
        back = _project(torch.linalg.inv(matrix), cells[rows, columns])
        inside = ((back >= 0) & (back <= 1)).all(dim=-1).to(features.device)
        sample = (back * 2 - 1).to(features)
        warped = F.grid_sample(features, sample[None], mode="bilinear", padding_mode="border", align_corners=False)[0]
        total[:, rows, columns] += warped * inside
        count[rows, columns] += inside
    progress.report(len(quads), len(quads), "Encoding")
    return total / count.clamp(min=1)


def _span(quad: Tensor, grid: tuple[int, ...]) -> tuple[slice, slice]:
    """Rows and columns of the grid that a quadrilateral's bounding box overlaps."""
    (left, top), (right, bottom) = quad.amin(dim=0).tolist(), quad.amax(dim=0).tolist()
    height, width = grid
    return (
        slice(math.floor(top * height), math.ceil(bottom * height)),
        slice(math.floor(left * width), math.ceil(right * width)),
    )


def cluster(features: Tensor, config: HighResolution, *, rounds: int = 25) -> Clusters:
    """k-means of (C, h, w) unit features by cosine, with a seeded k-means++ start."""
    generator = torch.Generator().manual_seed(config.seed)
    flat = F.normalize(features.flatten(1).T, dim=1)
    count = min(config.clusters, len(flat))
    starts = [int(torch.randint(len(flat), (1,), generator=generator))]
    distance = (1 - flat @ flat[starts[0]]).clamp(min=0)
    for _ in range(count - 1):
        weight = (distance**2).double().cpu() + 1e-12
        starts.append(int(torch.multinomial(weight, 1, generator=generator)))
        distance = torch.minimum(distance, (1 - flat @ flat[starts[-1]]).clamp(min=0))
    centroids = flat[starts]
    assignment = (flat @ centroids.T).argmax(dim=1)
    for _ in range(rounds):
        sums = torch.zeros_like(centroids).index_add_(0, assignment, flat)
        # an empty cluster keeps its centroid
        alive = torch.bincount(assignment, minlength=count) > 0
        centroids = torch.where(alive[:, None], F.normalize(sums, dim=1), centroids)
        updated = (flat @ centroids.T).argmax(dim=1)
        if torch.equal(updated, assignment):
            break
        assignment = updated
    return Clusters(centroids, assignment.reshape(features.shape[1:]))
