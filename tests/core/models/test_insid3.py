"""INSID3's stages where the golden case does not look."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from maskwright.errors import ShapeError
from maskwright.models import insid3
from maskwright.models.insid3 import Insid3Config, PatchFeatures

GRID = (12, 12)
CONFIG = Insid3Config(size=96, components=4, tau=0.6, merge=0.2)


@pytest.fixture
def basis() -> Tensor:
    torch.manual_seed(3)
    return insid3.positional_basis(torch.randn(32, *GRID), 4)


def scene(seed: int, places: dict[str, tuple[slice, slice]], basis: Tensor) -> PatchFeatures:
    """A picture with things at places: each kind of thing has its own direction, the same in every picture."""
    chance = torch.Generator().manual_seed(seed)
    kinds = {
        name: torch.randn(32, generator=torch.Generator().manual_seed(n))
        for n, name in enumerate(["ground", "cat", "dog"])
    }
    features = kinds["ground"][:, None, None].expand(-1, *GRID).clone()
    for name, place in places.items():
        features[(slice(None), *place)] = kinds[name][:, None, None]
    noisy = features + 0.3 * torch.randn(features.shape, generator=chance)
    return insid3.encode(noisy, insid3.complement_of(basis))


def at(*place: slice) -> Tensor:
    mask = torch.zeros(GRID, dtype=torch.bool)
    mask[place] = True
    return mask.flatten()


LEFT, RIGHT, LOW = ((slice(2, 6), slice(1, 5)), (slice(3, 8), slice(7, 11)), (slice(8, 11), slice(1, 5)))


def test_basis_is_orthonormal_and_debiased_rows_are_orthogonal_to_it(basis: Tensor) -> None:
    assert torch.allclose(basis.T @ basis, torch.eye(4), atol=1e-5)
    rows = insid3.debias(torch.randn(20, 32), basis)
    assert torch.allclose(rows @ basis, torch.zeros(20, 4), atol=1e-5)
    assert torch.allclose(rows.norm(dim=1), torch.ones(20), atol=1e-5)
    assert insid3.positional_basis(torch.randn(8, 3, 3), 500).shape == (8, 8)


def test_the_complement_keeps_every_cosine_of_debiased_rows(basis: Tensor) -> None:
    features = F.normalize(torch.randn(50, 32), dim=1)
    complement = insid3.complement_of(basis)
    assert complement.shape == (32, 28)
    assert torch.allclose(complement.T @ basis, torch.zeros(28, 4), atol=1e-5)
    ours, theirs = F.normalize(features @ complement, dim=1), insid3.debias(features, basis)
    assert torch.allclose(ours @ ours.T, theirs @ theirs.T, atol=1e-5)


def test_the_thing_is_found_elsewhere_and_in_its_own_picture(basis: Tensor) -> None:
    reference = scene(1, {"cat": LEFT, "dog": RIGHT}, basis)
    one = insid3.encode_reference(reference, at(*LEFT))
    target = scene(2, {"cat": RIGHT, "dog": LOW}, basis)
    found = insid3.segment(target, [one], CONFIG)
    assert torch.equal(found.mask, at(*RIGHT))
    assert 0.2 < found.confidence <= 1
    wrong = insid3.confidence(target, [one], found.candidate_mask, at(*LOW))
    half = insid3.confidence(target, [one], found.candidate_mask, at(*RIGHT) & at(slice(0, 5), slice(0, 12)))
    assert wrong < half < found.confidence, "a wrong mask has less confidence than half the right one"
    assert torch.equal(insid3.segment(reference, [one], CONFIG).mask, at(*LEFT))


def test_nothing_alike_and_nothing_shown(basis: Tensor) -> None:
    reference = scene(1, {"cat": LEFT}, basis)
    target = scene(2, {"dog": RIGHT}, basis)
    found = insid3.segment(target, [insid3.encode_reference(reference, at(*LEFT))], CONFIG)
    assert not (found.mask & at(*RIGHT)).any()
    empty = insid3.encode_reference(reference, torch.zeros(144, dtype=torch.bool))
    nothing = insid3.segment(target, [empty], CONFIG)
    assert (int(nothing.mask.sum()), nothing.confidence) == (0, 0.0)


def test_half_of_the_references_must_agree(basis: Tensor) -> None:
    pictures = [scene(n, {"cat": LEFT, "dog": RIGHT}, basis) for n in range(3)]
    cat = [insid3.encode_reference(picture, at(*LEFT)) for picture in pictures]
    dog = insid3.encode_reference(pictures[2], at(*RIGHT))
    target = scene(9, {"cat": LOW, "dog": RIGHT}, basis)
    forward = torch.ones(144)
    both = insid3.candidates(target, [cat[0], cat[1], dog], forward)
    assert torch.equal(both, at(*LOW)), "two of three show the cat"
    assert torch.equal(insid3.candidates(target, [cat[0], dog], forward), at(*LOW) | at(*RIGHT)), "one of two is half"


def test_what_it_is_not_wins_cells_away(basis: Tensor) -> None:
    reference = scene(1, {"cat": LEFT, "dog": RIGHT}, basis)
    animals = insid3.encode_reference(reference, at(*LEFT) | at(*RIGHT))
    target = scene(2, {"cat": LOW, "dog": RIGHT}, basis)
    loose = CONFIG.__class__(size=96, components=4, tau=0.6, merge=-1.0)
    assert (insid3.segment(target, [animals], loose).mask & at(*RIGHT)).any()
    without = insid3.segment(
        target, [animals], loose, negative_references=[insid3.encode_reference(reference, at(*RIGHT))]
    )
    assert not (without.mask & at(*RIGHT)).any()
    assert (without.mask & at(*LOW)).any()


def test_matching_in_parts_is_matching_at_once() -> None:
    torch.manual_seed(0)
    cells, reference = (F.normalize(torch.randn(n, 16), dim=1) for n in (2500, 700))
    assert torch.equal(insid3.backward_matches(cells, reference), (cells @ reference.T).argmax(dim=1))


def test_a_mask_smaller_than_a_cell_keeps_one() -> None:
    mask = torch.zeros(1000, 1000, dtype=torch.bool)
    mask[700:702, 300:302] = True
    (place,) = insid3.grid_mask(mask, 96, GRID).nonzero()[:, 0].tolist()
    assert divmod(place, 12) == (8, 3)
    assert not insid3.grid_mask(torch.zeros(20, 30, dtype=torch.bool), 96, GRID).any()
    assert insid3.grid_mask(torch.ones(3, 8000, dtype=torch.bool), 96, GRID).all()


def test_a_mask_of_another_grid_is_refused(basis: Tensor) -> None:
    with pytest.raises(ShapeError, match="144 patches"):
        insid3.encode_reference(scene(1, {}, basis), torch.ones(10, dtype=torch.bool))


def test_points_of_a_moved_picture_move_along() -> None:
    torch.manual_seed(0)
    features = torch.randn(32, 16, 16)
    moved = torch.roll(features, (2, 3), dims=(1, 2))
    source, target = (F.normalize(one.flatten(1).T, dim=1) for one in (features, moved))
    points = torch.tensor([[4.0, 5.0], [9.0, 2.0]])
    found = insid3.match_points(source, target, (16, 16), points, ((16, 16), (16, 16)))
    assert torch.allclose(found, points + torch.tensor([3.0, 2.0]), atol=0.3)


def test_components_keep_their_share() -> None:
    assert [insid3.components_for(width) for width in (384, 768, 1024)] == [188, 500, 500]
