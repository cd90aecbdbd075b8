"""PAMR and INSID3 beside their authors' formulation: the same results, and faster."""

from __future__ import annotations

import time
from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as F
from sklearn.cluster import AgglomerativeClustering
from torch import Tensor

from maskwright.evaluation.speed import centre_mask, refine_input, synthetic_features
from maskwright.models import insid3
from maskwright.models.insid3 import EncodedReference, Insid3Config, PatchFeatures
from maskwright.models.pamr import DILATIONS, ITERATIONS, pamr

pytestmark = pytest.mark.slow


def authors_pamr(image: Tensor, masks: Tensor) -> Tensor:
    """PAMR with one-hot convolutions, which compute all neighbours of all masks at once."""
    places = [n for n in range(9) if n != 4]
    picks = F.one_hot(torch.tensor(places), 9).to(image).view(8, 1, 3, 3)
    centre = F.one_hot(torch.tensor(4), 9).to(image).view(1, 1, 3, 3)

    def neighbours(planes: Tensor, kernels: Tensor) -> Tensor:
        flat = planes.flatten(0, 1)[:, None]
        shifted = [
            F.conv2d(F.pad(flat, (reach,) * 4, mode="replicate"), kernels, dilation=reach) for reach in DILATIONS
        ]
        return torch.cat(shifted, dim=1).view(*planes.shape[:2], -1, *planes.shape[2:])

    spread = neighbours(image, torch.cat([picks, centre])).std(dim=2, keepdim=True)
    similarity = -neighbours(image, picks - centre).abs() / (1e-8 + 0.1 * spread)
    weights = similarity.mean(dim=1, keepdim=True).softmax(dim=2)
    for _ in range(ITERATIONS):
        masks = (neighbours(masks, picks) * weights).sum(dim=2)
    return masks


class Result(NamedTuple):
    mask: Tensor
    labels: Tensor
    seconds: float


def our_insid3(target: PatchFeatures, example: EncodedReference, config: Insid3Config) -> Result:
    began = time.perf_counter()
    prototype = insid3.prototype([example])
    forward = insid3.forward_similarity(target, prototype)
    candidates = insid3.candidates(target, [example], forward)
    clusters = insid3.cluster(target, config.tau)
    seed = insid3.select_seed(clusters, candidates, prototype)
    combined = insid3.aggregate(clusters, seed, candidates, forward).combined
    return Result((combined > config.merge)[clusters.labels], clusters.labels, time.perf_counter() - began)


def authors_insid3(target: PatchFeatures, example: EncodedReference, config: Insid3Config) -> Result:
    """INSID3 with the full similarity matrix, scikit-learn's clustering and a loop over the clusters."""
    began = time.perf_counter()
    prototype = insid3.prototype([example])
    forward = insid3.forward_similarity(target, prototype)
    similarity = target.debiased @ example.debiased.T
    candidates = example.foreground[similarity.argmax(dim=1)] & (forward > 0)
    distance = (1 - target.original @ target.original.T).clamp_min(0).fill_diagonal_(0)
    clustering = AgglomerativeClustering(
        n_clusters=None, metric="precomputed", linkage="average", distance_threshold=1 - config.tau
    )
    labels = torch.from_numpy(clustering.fit_predict(distance.numpy()))
    members = [labels == k for k in range(int(labels.max()) + 1)]
    debiased = [F.normalize(target.debiased[patches].mean(dim=0), dim=0) for patches in members]
    original = [F.normalize(target.original[patches].mean(dim=0), dim=0) for patches in members]
    seed = max(
        (k for k, patches in enumerate(members) if candidates[patches].any()),
        key=lambda k: float(debiased[k] @ prototype),
    )
    mask = torch.zeros_like(candidates)
    for k, patches in enumerate(members):
        share = 1.0 if k == seed else float(candidates[patches].float().mean())
        if float(forward[patches].mean()) * float(original[k] @ original[seed]) * share > config.merge:
            mask |= patches
    return Result(mask, labels, time.perf_counter() - began)


def same_partition(first: Tensor, second: Tensor) -> bool:
    pairs = torch.unique(torch.stack([first.long(), second.long()]), dim=1).shape[1]
    return pairs == len(torch.unique(first)) == len(torch.unique(second))


def test_pamr_is_its_authors() -> None:
    image, scores = refine_input((128, 128), 4, torch.device("cpu"))
    assert float((pamr(image, scores) - authors_pamr(image, scores)).abs().max()) < 1e-5


def test_insid3_is_its_authors_and_faster() -> None:
    config = Insid3Config(components=500)
    positional, reference, target = (synthetic_features(n) for n in range(3))
    basis = insid3.positional_basis(positional, config.components)
    complement = insid3.complement_of(basis)
    encoded, patches = insid3.encode(reference, complement), insid3.encode(target, complement)
    example = insid3.encode_reference(encoded, centre_mask())
    # the authors keep all coordinates
    their_patches = patches._replace(debiased=insid3.debias(patches.original, basis))
    their_encoded = encoded._replace(debiased=insid3.debias(encoded.original, basis))
    their_example = insid3.encode_reference(their_encoded, example.foreground)
    ours = our_insid3(patches, example, config)
    theirs = authors_insid3(their_patches, their_example, config)
    assert torch.equal(ours.mask, theirs.mask)
    assert same_partition(ours.labels, theirs.labels)
    assert ours.seconds < theirs.seconds
