"""Average linkage: scikit-learn's partition where nothing ties, and a valid one where much does."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.cluster import AgglomerativeClustering
from torch import Tensor

import maskwright as mw
from maskwright.models.average_linkage import average_linkage
from maskwright_app.samples import samples


def partition(labels: Tensor | np.ndarray) -> list[list[int]]:
    values = np.asarray(labels)
    return sorted(np.flatnonzero(values == k).tolist() for k in np.unique(values))


def scikit(features: Tensor, tau: float) -> list[list[int]]:
    distance = (1 - features.double() @ features.double().T).clamp_min(0).fill_diagonal_(0)
    model = AgglomerativeClustering(
        n_clusters=None, metric="precomputed", linkage="average", distance_threshold=1 - tau
    )
    return partition(model.fit_predict(distance.numpy()))


def drawn(count: int, channels: int, groups: int, noise: float, seed: int) -> Tensor:
    chance = torch.Generator().manual_seed(seed)
    centres = torch.randn(groups, channels, generator=chance)
    rows = centres[torch.randint(groups, (count,), generator=chance)]
    return F.normalize(rows + noise * torch.randn(count, channels, generator=chance), dim=1)


@pytest.mark.parametrize("tau", [0.2, 0.6, 0.85])
@pytest.mark.parametrize("noise", [0.2, 0.7, 2.0])
@pytest.mark.parametrize(("count", "channels", "groups"), [(2, 4, 1), (37, 3, 5), (300, 24, 12), (1100, 64, 30)])
def test_as_scikit_learn_on_random_features(count: int, channels: int, groups: int, noise: float, tau: float) -> None:
    for seed in range(3):
        features = drawn(count, channels, groups, noise, seed)
        assert partition(average_linkage(features, tau)) == scikit(features, tau)


@pytest.fixture(scope="module")
def photographs() -> list[Tensor]:
    """Every third patch of two photographs, encoded once for all thresholds."""
    segmenter = mw.Engine.load("tiny", "cpu")._references
    assert segmenter is not None
    images = [mw.Image.open(sample.path) for sample in samples()[:2]]
    return [segmenter._features(image).original[::3].contiguous() for image in images]


@pytest.mark.parametrize("tau", [0.7, 0.85])
def test_as_scikit_learn_on_the_features_of_photographs(photographs: list[Tensor], tau: float) -> None:
    for features in photographs:
        assert partition(average_linkage(features, tau)) == scikit(features, tau)


def test_one_row_and_no_neighbour() -> None:
    assert average_linkage(torch.eye(1), 0.5).tolist() == [0]
    assert average_linkage(torch.eye(4), 0.5).tolist() == [0, 1, 2, 3]


def _is_a_cut(features: Tensor, labels: Tensor, tau: float) -> None:
    """No two clusters could still merge, and every cluster is an average-linkage tree that stays above the cut."""
    clusters = partition(labels)
    means = torch.stack([features[rows].double().mean(dim=0) for rows in clusters])
    between = (means @ means.T).fill_diagonal_(-2)
    assert between.max() < tau + 1e-6
    for rows in clusters:
        # built from within by merging the nearest, a cluster closes without a step under the cut
        parts = [[row] for row in rows]
        while len(parts) > 1:
            centres = torch.stack([features[part].double().mean(dim=0) for part in parts])
            near = (centres @ centres.T).fill_diagonal_(-2)
            value, place = near.flatten().max(dim=0)
            assert value >= tau - 1e-6
            i, j = sorted(divmod(int(place), len(parts)))
            parts[i] += parts.pop(j)


@pytest.mark.parametrize("tau", [0.3, 0.6])
def test_ties_give_the_same_valid_cut_each_time_in_any_order(tau: float) -> None:
    # few different rows, each many times, and whole grids of equal distances
    corners = F.normalize(torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 4)[1:], dim=1)
    features = corners.repeat(5, 1)
    for seed in range(10):
        order = torch.randperm(len(features), generator=torch.Generator().manual_seed(seed))
        labels = average_linkage(features[order], tau)
        assert torch.equal(labels, average_linkage(features[order], tau))
        _is_a_cut(features[order], labels, tau)


def test_labels_follow_the_first_rows() -> None:
    labels = average_linkage(drawn(200, 16, 6, 0.3, 1), 0.6).tolist()
    assert list(dict.fromkeys(labels)) == list(range(max(labels) + 1))
