"""TinyViT-5M (Wu et al., 2022) as MobileSAM's image encoder (Zhang et al., 2023, "Faster Segment Anything").

Module names are those of the authors' `mobile_sam.pt` (`image_encoder.patch_embed.seq.0.c.weight` ...). Batch norms are
folded into the convolutions before them, as at inference; `fold_batch_norms` does so with the authors' file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maskwright.errors import BadWeights, ShapeError
from maskwright.models.channel_norm import ChannelNorm

__all__ = ["TinyVit", "TinyVitConfig", "TinyVitMaps", "fold_batch_norms"]


@dataclass(frozen=True, slots=True)
class TinyVitConfig:
    """Sizes of the encoder, one entry per stage; the defaults are MobileSAM's TinyViT-5M."""

    widths: tuple[int, ...] = (64, 128, 160, 320)
    depths: tuple[int, ...] = (2, 2, 6, 2)
    heads: tuple[int, ...] = (2, 4, 5, 10)
    """Attention heads; unused in the first stage, which is convolutional."""
    windows: tuple[int, ...] = (7, 7, 14, 7)
    """Side of an attention window in cells; unused in the first stage."""
    expansion: int = 4
    """Factor of the hidden width, in inverted bottlenecks and feed-forward layers."""
    out: int = 256
    """Channels of the embedding."""


class TinyVitMaps(NamedTuple):
    """Feature maps of a (B, 3, H, W) image."""

    embedding: Tensor
    """(B, out, H / 16, W / 16) after the neck"""
    quarter: Tensor
    """(B, 64, H / 4, W / 4) after the first stage's blocks"""
    eighth: Tensor
    """(B, 128, H / 8, W / 8) after the second stage's blocks"""
    sixteenth: Tensor
    """(B, 160, H / 16, W / 16) after the third stage's blocks"""


class _ConvNorm(nn.Sequential):
    """A convolution with its batch norm folded in; `c` as the authors call it."""

    def __init__(self, channels: int, out: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.c = nn.Conv2d(channels, out, kernel, stride, kernel // 2, groups=groups)


class _PatchEmbed(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.seq = nn.Sequential(_ConvNorm(3, width // 2, 3, 2), nn.GELU(), _ConvNorm(width // 2, width, 3, 2))

    def forward(self, pixels: Tensor) -> Tensor:
        return self.seq(pixels)  # type: ignore[no-any-return]


class _InvertedBottleneck(nn.Module):
    def __init__(self, width: int, expansion: int) -> None:
        super().__init__()
        hidden = width * expansion
        self.conv1 = _ConvNorm(width, hidden)
        self.conv2 = _ConvNorm(hidden, hidden, 3, groups=hidden)
        self.conv3 = _ConvNorm(hidden, width)

    def forward(self, features: Tensor) -> Tensor:
        inner = F.gelu(self.conv2(F.gelu(self.conv1(features))))
        return F.gelu(features + self.conv3(inner))


class _PatchMerging(nn.Module):
    """Projects to the next stage's width; halves the resolution where `stride` is 2."""

    def __init__(self, width: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = _ConvNorm(width, out)
        self.conv2 = _ConvNorm(out, out, 3, stride, groups=out)
        self.conv3 = _ConvNorm(out, out)

    def forward(self, features: Tensor) -> Tensor:
        return self.conv3(F.gelu(self.conv2(F.gelu(self.conv1(features)))))  # type: ignore[no-any-return]


class _Attention(nn.Module):
    """Attention inside a window, with a learned bias per offset."""

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.attention_biases = nn.Parameter(torch.zeros(heads, window * window))
        place = torch.arange(window)
        down, across = (axis.flatten() for axis in torch.meshgrid(place, place, indexing="ij"))
        apart = [(axis[:, None] - axis[None]).abs() for axis in (down, across)]
        self.register_buffer("_distance", apart[0] * window + apart[1], persistent=False)
        self._distance: Tensor

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, n, width) -> the same, of windows of n cells."""
        # head by head: query, key, value
        parts = self.qkv(self.norm(tokens)).unflatten(2, (self.heads, 3, -1)).permute(3, 0, 2, 1, 4)
        bias = self.attention_biases[:, self._distance].to(parts.dtype)
        mixed = F.scaled_dot_product_attention(parts[0], parts[1], parts[2], attn_mask=bias[None])
        return self.proj(mixed.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class _FeedForward(nn.Module):
    def __init__(self, width: int, expansion: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, width * expansion)
        self.fc2 = nn.Linear(width * expansion, width)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(self.norm(tokens))))  # type: ignore[no-any-return]


class _Block(nn.Module):
    """Window attention, a depthwise convolution, a feed-forward layer; on (B, C, h, w) maps."""

    def __init__(self, width: int, heads: int, window: int, expansion: int) -> None:
        super().__init__()
        self.window = window
        self.attn = _Attention(width, heads, window)
        self.local_conv = _ConvNorm(width, width, 3, groups=width)
        self.mlp = _FeedForward(width, expansion)

    def forward(self, features: Tensor) -> Tensor:
        features = self.local_conv(features + self._window_attention(features))
        tokens = features.permute(0, 2, 3, 1)
        return (tokens + self.mlp(tokens)).permute(0, 3, 1, 2)  # type: ignore[no-any-return]

    def _window_attention(self, features: Tensor) -> Tensor:
        batch, width, height, across = features.shape
        side = self.window
        # the authors pad with zeros, which take part in the attention
        padded = F.pad(features, (0, -across % side, 0, -height % side))
        rows, columns = padded.shape[2] // side, padded.shape[3] // side
        cells = padded.reshape(batch, width, rows, side, columns, side)
        tokens = self.attn(cells.permute(0, 2, 4, 3, 5, 1).reshape(-1, side * side, width))
        cells = tokens.reshape(batch, rows, columns, side, side, width).permute(0, 5, 1, 3, 2, 4)
        whole: Tensor = cells.reshape(batch, width, rows * side, columns * side)
        return whole[:, :, :height, :across]


class _Stage(nn.Module):
    """Blocks at one resolution; the last stage has no `downsample`."""

    def __init__(self, blocks: list[nn.Module], downsample: _PatchMerging | None) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*blocks)
        self.downsample = downsample


class TinyVit(nn.Module):
    """The image encoder: a convolutional stage at a quarter of the size, then windows at an eighth and a sixteenth."""

    def __init__(self, config: TinyVitConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or TinyVitConfig()
        widths = config.widths
        self.patch_embed = _PatchEmbed(widths[0])
        stages = []
        for index, width in enumerate(widths):
            blocks: list[nn.Module] = [
                _InvertedBottleneck(width, config.expansion)
                if index == 0
                else _Block(width, config.heads[index], config.windows[index], config.expansion)
                for _ in range(config.depths[index])
            ]
            # the last step keeps the resolution, so that the embedding has a stride of 16
            stride = 1 if index + 2 == len(widths) else 2
            merging = None if index + 1 == len(widths) else _PatchMerging(width, widths[index + 1], stride)
            stages.append(_Stage(blocks, merging))
        self.layers = nn.ModuleList(stages)
        self.neck = nn.Sequential(
            nn.Conv2d(widths[-1], config.out, 1, bias=False),
            ChannelNorm(config.out),
            nn.Conv2d(config.out, config.out, 3, padding=1, bias=False),
            ChannelNorm(config.out),
        )

    @property
    def stages(self) -> list[_Stage]:
        """The stages, typed."""
        return [stage for stage in self.layers if isinstance(stage, _Stage)]

    def maps(self, pixels: Tensor) -> TinyVitMaps:
        """Feature maps of a normalised (B, 3, H, W), H and W multiples of 16; raises ShapeError."""
        if pixels.shape[-2] % 16 or pixels.shape[-1] % 16:
            raise ShapeError(f"image sides must be multiples of 16, got {pixels.shape[-2]} x {pixels.shape[-1]}")
        features = self.patch_embed(pixels)
        outputs = []
        for stage in self.stages:
            features = stage.blocks(features)
            outputs.append(features)
            features = features if stage.downsample is None else stage.downsample(features)
        return TinyVitMaps(self.neck(features), outputs[0], outputs[1], outputs[2])

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) normalised -> (B, out, H / 16, W / 16)."""
        return self.maps(pixels).embedding


_UNUSED = ("norm_head.", "head.")
"""Keys of TinyViT's classifier, which the authors' file still holds."""


def fold_batch_norms(state: Mapping[str, Tensor], *, eps: float = 1e-5) -> dict[str, Tensor]:
    """Fold every batch norm `bn` of the authors' image encoder into its convolution `c`.

    A state dict that is folded already is returned as it is. The unused classifier and the index tables, which follow
    from the sizes, are left out.

    Args:
        state: the authors' keys without `image_encoder.`.
        eps: of the batch norms.

    Raises:
        BadWeights: a batch norm without its convolution or with parts missing.
    """
    out = {
        name: value
        for name, value in state.items()
        if not name.startswith(_UNUSED) and ".bn." not in name and not name.endswith(".attention_bias_idxs")
    }
    for name in [n for n in state if n.endswith(".bn.weight")]:
        stem = name[: -len("bn.weight")]
        try:
            kernel = state[f"{stem}c.weight"]
            bias, mean, variance = (state[f"{stem}bn.{part}"] for part in ("bias", "running_mean", "running_var"))
        except KeyError as error:
            raise BadWeights(f"The MobileSAM file lacks the key {error.args[0]}.") from error
        factor = state[name] / (variance + eps).sqrt()
        out[f"{stem}c.weight"] = kernel * factor[:, None, None, None]
        out[f"{stem}c.bias"] = bias - mean * factor
    return out
