"""Spectra, CKA and components on maps whose answer is known."""

from __future__ import annotations

import math

import pytest
import torch

from maskwright.models.layer_statistics import frequency_ratio, hsic, principal_maps, radial_energy


@pytest.mark.parametrize("waves", [1, 3, 8])
def test_a_wave_has_its_energy_at_its_radius(waves: int) -> None:
    across = torch.cos(2 * math.pi * waves * torch.arange(16) / 16).expand(16, 16)
    energy = radial_energy(across[None, None])
    assert len(energy) == 9
    assert int(energy.argmax()) == waves
    assert float(energy[waves]) > 1e6 * float(energy.sum() - energy[waves])


def test_the_ratio_falls_when_a_map_is_smoothed() -> None:
    noise = torch.randn(1, 8, 32, 32, generator=torch.Generator().manual_seed(0))
    smooth = torch.nn.functional.avg_pool2d(noise, 3, 1, 1)
    ratios = [frequency_ratio(radial_energy(maps)) for maps in (noise, smooth)]
    assert ratios[1] < ratios[0] - 0.3
    assert frequency_ratio(torch.tensor([1.0, 1.0, 1.0, 1.0, 10.0])) == pytest.approx(math.log10(11 / 3))


def test_cka_is_one_for_a_rotation_and_nearly_zero_for_strangers() -> None:
    chance = torch.Generator().manual_seed(0)
    tokens, others = torch.randn(60, 5, generator=chance), torch.randn(60, 7, generator=chance)
    rotation = torch.linalg.qr(torch.randn(5, 5, generator=chance))[0]

    def cka(first: torch.Tensor, second: torch.Tensor) -> float:
        return hsic(first, second) / math.sqrt(hsic(first, first) * hsic(second, second))

    assert cka(tokens, tokens @ rotation * 3 + 2) == pytest.approx(1, abs=1e-6)
    assert abs(cka(tokens, others)) < 0.2


def test_components_show_where_features_differ() -> None:
    features = torch.zeros(6, 4, 8)
    features[2, :, 4:] = 5
    features += 0.01 * torch.randn(6, 4, 8, generator=torch.Generator().manual_seed(0))
    maps = principal_maps(features)
    assert maps.shape == (3, 4, 8)
    assert (maps[0, :, 4:] > 0.9).all()
    assert (maps[0, :, :4] < 0.1).all()
