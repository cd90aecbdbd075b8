"""PAMR in strips gives what PAMR with every neighbour laid side by side gives, in a fraction of the memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from maskwright.models import pamr as module
from maskwright.models.pamr import DILATIONS, ITERATIONS, affinity, pamr, refine

STRIPS = [
    pytest.param(1, id="a row at a time"),
    pytest.param(7_001, id="some rows at a time"),
    pytest.param(2**30, id="all rows at once"),
]


def _beside(planes: NDArray[np.float64], dilations: tuple[int, ...], *, centre: bool) -> NDArray[np.float64]:
    """(C, N, H, W) every value's neighbours at each dilation, the border repeated."""
    height, width = planes.shape[-2:]
    found = []
    for reach in dilations:
        padded = np.pad(planes, ((0, 0), (reach, reach), (reach, reach)), mode="edge")
        steps = [(top, left) for top in (0, reach, 2 * reach) for left in (0, reach, 2 * reach)]
        if not centre:
            steps.remove((reach, reach))
        found += [padded[:, top : top + height, left : left + width] for top, left in steps]
    return np.stack(found, axis=1)


def dense(image: Tensor, masks: Tensor, iterations: int, dilations: tuple[int, ...] = DILATIONS) -> Tensor:
    """The formulas of the release on one (3, H, W) picture and its (K, H, W) masks, in double precision."""
    colours, values = image.double().numpy(), masks.double().numpy()
    # the centre is a sample once per dilation
    spread = _beside(colours, dilations, centre=True).std(axis=1, ddof=1, keepdims=True)
    away = np.abs(_beside(colours, dilations, centre=False) - colours[:, None])
    weights = np.exp((-away / (1e-8 + 0.1 * spread)).mean(axis=0))
    weights /= weights.sum(axis=0)
    for _ in range(iterations):
        values = (weights * _beside(values, dilations, centre=False)).sum(axis=1)
    return torch.from_numpy(values)


def _picture(height: int, width: int, seed: int = 0) -> Tensor:
    """Blocks of colour with some noise, in 0..255."""
    chance = torch.Generator().manual_seed(seed)
    blocks = torch.rand(3, -(-height // 5), -(-width // 5), generator=chance) * 200
    large = blocks.repeat_interleave(5, dim=1).repeat_interleave(5, dim=2)[:, :height, :width]
    return (large + 20 * torch.rand(3, height, width, generator=chance)).round()


def _masks(count: int, height: int, width: int, seed: int = 1) -> Tensor:
    return torch.randn(count, height, width, generator=torch.Generator().manual_seed(seed))


def test_the_reference_has_54_samples_and_48_neighbours() -> None:
    picture = _picture(9, 9).double().numpy()
    assert _beside(picture, DILATIONS, centre=True).shape[1] == 54
    assert _beside(picture, DILATIONS, centre=False).shape[1] == 48
    assert ITERATIONS == 10


@pytest.mark.parametrize("strip", STRIPS)
@pytest.mark.parametrize(
    ("height", "width"),
    [
        pytest.param(31, 45, id="odd sides"),
        pytest.param(53, 20, id="tall"),
        pytest.param(1, 40, id="one row"),
        pytest.param(40, 1, id="one column"),
        pytest.param(1, 1, id="one pixel"),
        pytest.param(2, 3, id="smaller than every reach"),
    ],
)
def test_strips_give_what_all_at_once_gives(
    height: int, width: int, strip: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_STRIP", strip)
    image, masks = _picture(height, width), _masks(3, height, width)
    for iterations in (1, ITERATIONS):
        found = pamr(image[None], masks[None], iterations=iterations)[0]
        assert found.dtype == torch.float32
        assert torch.allclose(found.double(), dense(image, masks, iterations), atol=2e-5), iterations


def test_no_rounds_leave_the_masks() -> None:
    masks = _masks(2, 9, 9)
    assert torch.equal(pamr(_picture(9, 9)[None], masks[None], iterations=0)[0], masks)


@pytest.mark.parametrize("dilations", [(1,), (3,), (1, 2), (2, 5, 9)])
def test_other_dilations(dilations: tuple[int, ...]) -> None:
    image, masks = _picture(17, 23), _masks(2, 17, 23)
    found = pamr(image[None], masks[None], iterations=2, dilations=dilations)[0]
    assert torch.allclose(found.double(), dense(image, masks, 2, dilations), atol=2e-5)


def test_every_picture_of_a_batch_is_refined_by_its_own_colours() -> None:
    images = torch.stack([_picture(21, 33, seed) for seed in (0, 7)])
    masks = torch.stack([_masks(4, 21, 33)] * 2)
    found = pamr(images, masks, iterations=3)
    assert found.shape == masks.shape
    for one, image in zip(found, images, strict=True):
        assert torch.allclose(one.double(), dense(image, masks[0], 3), atol=2e-5)
    assert not torch.allclose(found[0], found[1], atol=1e-2)


@pytest.mark.parametrize("strip", STRIPS)
def test_many_classes_are_refined_as_each_is_alone(strip: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_STRIP", strip)
    image, masks = _picture(25, 19), _masks(150, 25, 19)
    likeness = affinity(image)
    together = refine(masks, likeness, iterations=2)
    assert torch.allclose(together.double(), dense(image, masks, 2), atol=2e-5)
    assert torch.allclose(refine(masks[77:78], likeness, iterations=2)[0], together[77], atol=1e-6)


def test_weights_of_a_pixels_neighbours_sum_to_one() -> None:
    for image in (_picture(20, 31), torch.full((3, 20, 31), 255.0), torch.zeros(3, 1, 1)):
        likeness = affinity(image)
        assert likeness.shape == (48, *image.shape[1:])
        assert torch.allclose(likeness.sum(dim=0), torch.ones(image.shape[1:]), atol=1e-5)
        assert (likeness >= 0).all()


def test_a_flat_picture_makes_plain_means() -> None:
    """Where nothing differs, all neighbours weigh the same."""
    assert torch.allclose(affinity(torch.full((3, 9, 9), 100.0)), torch.full((48, 9, 9), 1 / 48))


def test_a_picture_of_another_size_is_resized_to_the_masks() -> None:
    image, masks = _picture(40, 60), _masks(2, 20, 31)
    resized = F.interpolate(image[None], (20, 31), mode="bilinear", align_corners=True)[0]
    assert torch.allclose(pamr(image[None], masks[None])[0].double(), dense(resized, masks, ITERATIONS), atol=1e-4)


def test_the_masks_that_were_given_stay_as_they_were() -> None:
    image, masks = _picture(12, 12), _masks(2, 12, 12)
    given = image.clone(), masks.clone()
    pamr(image[None], masks[None])
    assert torch.equal(image, given[0])
    assert torch.equal(masks, given[1])


MEASURE = """
import torch
from maskwright.models.pamr import pamr

def peak_mb():
    # of this program alone: getrusage would count the program that started it as well
    (line,) = [line for line in open("/proc/self/status") if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024

torch.set_grad_enabled(False)
image, masks = torch.rand(1, 3, 1024, 1024) * 255, torch.rand(1, 20, 1024, 1024)
before = peak_mb()
found = pamr(image, masks, iterations=1)
assert found.shape == masks.shape
print(peak_mb() - before, peak_mb())
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="needs Linux to tell a program's peak memory")
def test_twenty_classes_of_a_large_picture_take_little_memory() -> None:
    """Neighbours of all classes side by side would be 48 x 20 x 4 MiB: 3.8 GB."""
    done = subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, text=True, timeout=280, check=True)
    grown, peak = map(float, done.stdout.split())
    # weights of 48 neighbours 200 MB, padded masks 90, refined ones 80 and once more
    assert grown < 700, done.stdout
    assert peak < 1500, done.stdout
