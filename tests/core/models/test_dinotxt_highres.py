"""The high-resolution procedure: where crops lie, what comes back, what k-means finds."""

from __future__ import annotations

import pytest
import torch

from maskwright.models.dinotxt_highres import HighResolution, cluster, dense_features, homographies, quadrilaterals
from tests.progress import Recorded


def test_the_papers_settings_make_its_number_of_crops_and_visits() -> None:
    config = HighResolution()
    quads = quadrilaterals(config, torch.Generator().manual_seed(0))
    assert 750 <= len(quads) <= 850
    x, y = quads[..., 0], quads[..., 1]
    area = 0.5 * (x * y.roll(-1, 1) - y * x.roll(-1, 1)).sum(dim=1).abs()
    assert 32 <= float(area.sum()) <= 48, "about 40 visits of each point"
    assert quads.min() >= 0
    assert quads.max() <= 1


def test_homographies_take_the_square_to_the_corners() -> None:
    quads = quadrilaterals(HighResolution(visits=(1, 1, 2)), torch.Generator().manual_seed(3))
    square = torch.tensor([[0.0, 0, 1], [1, 0, 1], [1, 1, 1], [0, 1, 1]], dtype=torch.float64)
    for quad, matrix in zip(quads, homographies(quads), strict=True):
        moved = square @ matrix.T
        torch.testing.assert_close(moved[:, :2] / moved[:, 2:], quad.double(), rtol=1e-6, atol=1e-9)


def test_features_come_back_to_where_they_were_seen() -> None:
    """An encoder that reports the colour: the grid must show the picture's own colours."""
    picture = torch.zeros(3, 60, 90)
    picture[0, :, :45], picture[1, :, 45:] = 1, 1
    config = HighResolution(visits=(1, 3, 4), grid_short_side=20)
    progress = Recorded()
    features = dense_features(
        picture[:, :, :],
        lambda crop: torch.nn.functional.avg_pool2d(crop, 4),
        config,
        window=32,
        progress=progress,
    )
    assert features.shape == (3, 20, 30)
    total = len(progress.reports) - 1
    assert progress.reports == [(done, total) for done in range(total + 1)]
    assert (features[0, :, :12] > 0.9).all()
    assert (features[1, :, 18:] > 0.9).all()


def test_clusters_of_two_directions_are_those_two() -> None:
    features = torch.zeros(4, 6, 8)
    features[0, :, :3], features[1, :, 3:] = 1, 1
    found = cluster(features, HighResolution(clusters=2))
    assert found.assignment.shape == (6, 8)
    assert len(found.assignment[:, :3].unique()) == len(found.assignment[:, 3:].unique()) == 1
    assert found.assignment[0, 0] != found.assignment[0, -1]
    torch.testing.assert_close(found.centroids.norm(dim=1), torch.ones(2))


@pytest.mark.parametrize("cells", [1, 5])
def test_fewer_cells_than_clusters(cells: int) -> None:
    found = cluster(torch.rand(4, 1, cells), HighResolution())
    assert len(found.centroids) == cells
