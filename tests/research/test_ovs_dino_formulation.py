"""A second, independent reading of OVS-DINO's equations in numpy: the same numbers as the model's."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import erf

from maskwright.models.ovs_dino import DinoTaps, Heads, HeadsConfig, alignment

Array = NDArray[np.float64]


def convolve(x: Array, weight: Array, bias: Array, *, stride: int = 1, dilation: int = 1, groups: int = 1) -> Array:
    """Each output from the definition, tap by tap; zero padding that keeps the size at stride 1."""
    out, _, kernel, _ = weight.shape
    reach = dilation * (kernel // 2)
    padded = np.pad(x, ((0, 0), (reach, reach), (reach, reach)))
    rows, columns = ((n + stride - 1) // stride for n in x.shape[1:])
    result = np.tile(bias[:, None, None], (1, rows, columns)).astype(float)
    per_group, out_per_group = x.shape[0] // groups, out // groups
    for o in range(out):
        group = o // out_per_group
        for c in range(per_group):
            for i in range(kernel):
                for j in range(kernel):
                    source = padded[group * per_group + c, i * dilation :: stride, j * dilation :: stride]
                    result[o] += weight[o, c, i, j] * source[:rows, :columns]
    return result


def group_norm(x: Array, weight: Array, bias: Array, groups: int) -> Array:
    parts = x.reshape(groups, -1)
    normal = (parts - parts.mean(axis=1, keepdims=True)) / np.sqrt(parts.var(axis=1, keepdims=True) + 1e-5)
    return normal.reshape(x.shape) * weight[:, None, None] + bias[:, None, None]


def gelu(x: Array) -> Array:
    return np.asarray(x * 0.5 * (1 + erf(x / math.sqrt(2))))


def doubled(x: Array) -> Array:
    """Bilinear, twice the size: cell centres at quarters between the old ones."""
    for axis in (1, 2):
        before, after = np.roll(x, 1, axis), np.roll(x, -1, axis)
        first, last = [slice(None)] * 3, [slice(None)] * 3
        first[axis], last[axis] = slice(0, 1), slice(-1, None)
        before[tuple(first)], after[tuple(last)] = x[tuple(first)], x[tuple(last)]
        pairs = np.stack([0.25 * before + 0.75 * x, 0.75 * x + 0.25 * after], axis=axis + 1)
        shape = list(x.shape)
        shape[axis] *= 2
        x = pairs.reshape(shape)
    return x


def test_a_second_reading_of_the_equations_agrees() -> None:
    config = HeadsConfig(width=8, text=5, middle=4, taps=(1, 2), groups=2)
    torch.manual_seed(0)
    heads = Heads(config).double()
    with torch.no_grad():
        for parameter in heads.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.5)
    maps = [torch.randn(1, 8, 3, 4, dtype=torch.float64) for _ in range(3)]
    features = DinoTaps((maps[0], maps[1]), maps[2])
    p = {name: value.detach().numpy() for name, value in heads.state_dict().items()}
    tap1, tap2, last = (part[0].numpy() for part in maps)
    fused = last.copy()  # (7)
    for n, tap in enumerate((tap1, tap2)):
        key = f"encoder.fusion.transforms.{n}"
        moved = convolve(tap, p[f"{key}.0.weight"], p[f"{key}.0.bias"])
        fused += p["encoder.fusion.alpha"][n] * group_norm(moved, p[f"{key}.1.weight"], p[f"{key}.1.bias"], 2)
    for n, dilation in enumerate((1, 2)):  # (9)
        key = f"encoder.layers.{n}"
        fused = convolve(fused, p[f"{key}.0.weight"], p[f"{key}.0.bias"], dilation=dilation, groups=8)
        fused = gelu(group_norm(fused, p[f"{key}.1.weight"], p[f"{key}.1.bias"], 2))
    middle = convolve(doubled(fused), p["encoder.conv.weight"], p["encoder.conv.bias"])  # (8)
    key = "decoder.modulation"
    down = convolve(middle, p[f"{key}.0.weight"], p[f"{key}.0.bias"], stride=2, groups=4)
    modulation = gelu(group_norm(down, p[f"{key}.1.weight"], p[f"{key}.1.bias"], 2))  # (13)
    out = last + p["decoder.gamma"] * (last * np.tanh(modulation))  # (14)
    projected = np.einsum("dc,chw->dhw", p["projector.weight"][:, :, 0, 0], out) + p["projector.bias"][:, None, None]
    with torch.no_grad():
        np.testing.assert_allclose(heads.encoder(features)[0].numpy(), middle, atol=1e-5)
        np.testing.assert_allclose(heads(features)[0].numpy(), projected, atol=1e-5)
    target = np.random.default_rng(0).normal(size=middle.shape)
    lengths = np.linalg.norm(middle, axis=0) * np.linalg.norm(target, axis=0)
    cosine = (1 - (middle * target).sum(axis=0) / lengths).mean()  # (10)
    mse = ((middle - target) ** 2).sum(axis=0).mean() / len(middle)  # (11)
    loss = alignment(torch.from_numpy(middle)[None], torch.from_numpy(target)[None])
    np.testing.assert_allclose([float(part) for part in loss], [cosine, mse], atol=1e-5)
