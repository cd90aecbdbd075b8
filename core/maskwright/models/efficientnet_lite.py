"""EfficientNet-Lite (Tan & Le, 2019; the Lite variants of its authors' TPU repository): trunk and dense classifier.

No squeeze-and-excitation, ReLU6 throughout, TensorFlow's "same" padding. Batch norms (eps 1e-3) are folded into the
convolutions before them; `convert_published` does so with the published PyTorch files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maskwright.errors import BadWeights
from maskwright.models.normalization import IMAGENET_MEAN, IMAGENET_STD

__all__ = ["DenseClassifier", "LiteConfig", "LiteMaps", "LiteTrunk", "convert_published"]

_EPS = 1e-3
_LAST_STRIDE = 5
"""Stage that goes from a sixteenth to a thirty-second."""


@dataclass(frozen=True, slots=True)
class LiteConfig:
    """Sizes of the trunk, one entry per stage; the defaults are EfficientNet-Lite2's."""

    stem: int = 32
    widths: tuple[int, ...] = (16, 24, 48, 88, 120, 208, 352)
    depths: tuple[int, ...] = (1, 3, 3, 4, 4, 5, 1)
    kernels: tuple[int, ...] = (3, 3, 5, 3, 5, 5, 3)
    strides: tuple[int, ...] = (1, 2, 2, 2, 1, 2, 1)
    expansion: int = 6
    """Factor of the hidden width in every stage but the first, which has none."""
    dense: bool = True
    """Keep stride 16 in the last stages by dilating their kernels (2), with the same weights."""


class LiteMaps(NamedTuple):
    """Feature maps of a (B, 3, H, W) image."""

    eighth: Tensor
    """(B, 48, H / 8, W / 8)"""
    sixteenth: Tensor
    """(B, 120, H / 16, W / 16)"""
    last: Tensor
    """(B, 352, H / 16, W / 16); at stride 32 where the trunk is not dense"""


def _same(features: Tensor, kernel: int, stride: int, dilation: int) -> Tensor:
    """TensorFlow's "same" padding: an odd pixel goes to the right and to the bottom."""
    reach = (kernel - 1) * dilation + 1
    pads: list[int] = []
    for size in (features.shape[-1], features.shape[-2]):
        total = max((-(-size // stride) - 1) * stride + reach - size, 0)
        pads += [total // 2, total - total // 2]
    return F.pad(features, pads) if any(pads) else features


class _Conv(nn.Conv2d):
    """A convolution with its batch norm folded in and TensorFlow's padding."""

    def __init__(
        self, channels: int, out: int, kernel: int = 1, *, stride: int = 1, groups: int = 1, dilation: int = 1
    ) -> None:
        super().__init__(channels, out, kernel, stride, groups=groups, dilation=dilation)

    def forward(self, features: Tensor) -> Tensor:
        return super().forward(_same(features, self.kernel_size[0], self.stride[0], self.dilation[0]))


@dataclass(frozen=True, slots=True)
class _Step:
    """Sizes of one block: channels in and out, and its depthwise convolution."""

    channels: int
    out: int
    expansion: int
    kernel: int
    stride: int
    dilation: int


class _Block(nn.Module):
    """Expand, depthwise convolution, project; added to the input where the shapes agree."""

    def __init__(self, step: _Step) -> None:
        super().__init__()
        hidden = step.channels * step.expansion
        self.expand = _Conv(step.channels, hidden) if step.expansion > 1 else None
        self.depthwise = _Conv(hidden, hidden, step.kernel, stride=step.stride, groups=hidden, dilation=step.dilation)
        self.project = _Conv(hidden, step.out)
        self.residual = step.stride == 1 and step.channels == step.out

    def forward(self, features: Tensor) -> Tensor:
        inner = features if self.expand is None else F.relu6(self.expand(features))
        projected: Tensor = self.project(F.relu6(self.depthwise(inner)))
        return features + projected if self.residual else projected


def _steps(config: LiteConfig) -> list[list[_Step]]:
    """The blocks, stage by stage."""
    stages = []
    channels, dilation = config.stem, 1
    for index, (out, depth, kernel, stride) in enumerate(
        zip(config.widths, config.depths, config.kernels, config.strides, strict=True)
    ):
        stage = []
        for place in range(depth):
            step = stride if place == 0 else 1
            spread = dilation
            if config.dense and index == _LAST_STRIDE and step == 2:
                # this kernel keeps its neighbors; later kernels skip every second cell
                step, dilation = 1, 2
            stage.append(_Step(channels, out, config.expansion if index else 1, kernel, step, spread))
            channels = out
        stages.append(stage)
    return stages


class LiteTrunk(nn.Module):
    """All stages; takes pixels normalised with ImageNet's statistics and converts them to the trunk's own scale."""

    def __init__(self, config: LiteConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or LiteConfig()
        self.stem = _Conv(3, config.stem, 3, stride=2)
        self.stages = nn.ModuleList(nn.Sequential(*map(_Block, stage)) for stage in _steps(config))
        # (x - 127) / 128 of 0..255
        self.register_buffer("_factor", torch.tensor(IMAGENET_STD)[:, None, None] * 255 / 128, persistent=False)
        self.register_buffer("_shift", (torch.tensor(IMAGENET_MEAN)[:, None, None] * 255 - 127) / 128, persistent=False)
        self._factor: Tensor
        self._shift: Tensor

    def forward(self, pixels: Tensor) -> LiteMaps:
        """Feature maps of a normalised (B, 3, H, W), H and W multiples of 16."""
        features = F.relu6(self.stem(pixels * self._factor + self._shift))
        outputs = []
        for stage in self.stages:
            features = stage(features)
            outputs.append(features)
        return LiteMaps(outputs[2], outputs[4], outputs[6])


class DenseClassifier(nn.Module):
    """ImageNet's 1,000 classes in every cell: the published head without pooling."""

    def __init__(self, channels: int = 352, hidden: int = 1280, classes: int = 1000) -> None:
        super().__init__()
        self.conv = _Conv(channels, hidden)
        self.fc = nn.Linear(hidden, classes)

    def forward(self, last: Tensor) -> Tensor:
        """(B, 352, h, w) of the trunk -> (B, 1000, h, w) logits."""
        hidden = F.relu6(self.conv(last))
        return self.fc(hidden.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)  # type: ignore[no-any-return]

    def pooled(self, last: Tensor) -> Tensor:
        """(B, 1000) logits of whole images, as published."""
        return self.fc(F.relu6(self.conv(last)).mean(dim=(2, 3)))  # type: ignore[no-any-return]


def convert_published(
    state: Mapping[str, Tensor], config: LiteConfig | None = None
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Weights of `LiteTrunk` and of `DenseClassifier` from a published `efficientnet-lite*.pth`.

    Raises:
        BadWeights: a key is missing.
    """
    config = config or LiteConfig()

    def folded(conv: str, norm: str) -> dict[str, Tensor]:
        try:
            kernel = state[f"{conv}.weight"]
            weight, bias, mean, variance = (
                state[f"{norm}.{part}"] for part in ("weight", "bias", "running_mean", "running_var")
            )
        except KeyError as error:
            raise BadWeights(f"The EfficientNet-Lite file lacks the key {error.args[0]}.") from error
        factor = weight / (variance + _EPS).sqrt()
        return {"weight": kernel * factor[:, None, None, None], "bias": bias - mean * factor}

    trunk = {f"stem.{part}": value for part, value in folded("_conv_stem", "_bn0").items()}
    number = 0
    for index, depth in enumerate(config.depths):
        for place in range(depth):
            theirs, ours = f"_blocks.{number}", f"stages.{index}.{place}"
            parts = {"depthwise": ("_depthwise_conv", "_bn1"), "project": ("_project_conv", "_bn2")}
            if index:
                parts["expand"] = ("_expand_conv", "_bn0")
            for name, (conv, norm) in parts.items():
                found = folded(f"{theirs}.{conv}", f"{theirs}.{norm}")
                trunk |= {f"{ours}.{name}.{part}": value for part, value in found.items()}
            number += 1
    head = {f"conv.{part}": value for part, value in folded("_conv_head", "_bn1").items()}
    return trunk, head | {"fc.weight": state["_fc.weight"], "fc.bias": state["_fc.bias"]}
