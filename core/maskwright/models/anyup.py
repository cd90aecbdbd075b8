"""AnyUp (Wimmer et al., 2025): upsampling of any features under the guidance of the image.

Every output is a convex combination of input features, so that features aligned with text stay aligned. dinov3.seg
uses it at the resolution of the features. Module names are those of the authors' checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maskwright.models.devices import single_precision

__all__ = ["AnyUp", "AnyUpConfig", "allowed"]

_ROWS = 8
"""Rows of features, and rows of queries, that are processed at a time without gradients; bounds the memory."""


@dataclass(frozen=True, slots=True)
class AnyUpConfig:
    """Sizes; the defaults are the published ones."""

    width: int = 128
    heads: int = 4
    window: float = 0.1
    """Reach of the attention to each side, as a share of the image's side."""
    kernel: int = 5
    """Side of the kernels of the feature unification."""


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.GroupNorm(8, width), nn.SiLU(), nn.Conv2d(width, width, 1, bias=False),
            nn.GroupNorm(8, width), nn.SiLU(), nn.Conv2d(width, width, 1, bias=False),
        )  # fmt: skip

    def forward(self, maps: Tensor) -> Tensor:
        return maps + self.block(maps)  # type: ignore[no-any-return]


def _encoder(first: nn.Module, width: int) -> nn.Sequential:
    return nn.Sequential(first, _Residual(width), _Residual(width))


class _Rotary(nn.Module):
    """Rotary position embedding: rows rotate the first half of the channels, columns the second."""

    def __init__(self, width: int) -> None:
        super().__init__()
        angles = 2 * torch.pi * 100 ** torch.linspace(0, -1, width // 4)
        freqs = torch.zeros(2, width)
        freqs[0, : width // 2] = freqs[1, width // 2 :] = angles.repeat(2)
        self.freqs = nn.Parameter(freqs)

    def forward(self, maps: Tensor) -> Tensor:
        """Rotate (B, C, H, W); coordinates run from 0 to 1, both included."""
        height, width = maps.shape[-2:]
        down = torch.linspace(0, 1, height, device=maps.device)
        across = torch.linspace(0, 1, width, device=maps.device)
        rows, columns = self.freqs.float()
        angle = (down[:, None, None] * rows + across[None, :, None] * columns).permute(2, 0, 1)
        first, second = maps.chunk(2, dim=1)
        # angles have single precision, and so has the result
        return maps * angle.cos() + torch.cat([-second, first], dim=1) * angle.sin()  # type: ignore[no-any-return]


class _Unification(nn.Module):
    """Feature unification: any number of channels to `width`, by responses of every channel to learned kernels."""

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        self.basis = nn.Parameter(torch.randn(width, 1, kernel, kernel) / kernel)

    def forward(self, features: Tensor) -> Tensor:
        """(B, width, h, w) from (B, C, h, w)."""
        height = features.shape[2]
        margin = self.basis.shape[-1] // 2
        padded = F.pad(features, (margin,) * 4)
        inside = F.pad(features.new_ones(1, 1, *features.shape[2:]), (margin,) * 4)
        rows = height if torch.is_grad_enabled() else _ROWS
        strips = [
            self._strip(padded[:, :, top : top + rows + 2 * margin], inside[:, :, top : top + rows + 2 * margin])
            for top in range(0, height, rows)
        ]
        return torch.cat(strips, dim=2)

    def _strip(self, padded: Tensor, inside: Tensor) -> Tensor:
        batch, channels = padded.shape[:2]
        width = len(self.basis)
        taps = F.conv2d(inside, torch.ones_like(self.basis[:1]))
        response = F.conv2d(padded.flatten(0, 1)[:, None], self.basis) / taps
        # the released code reshapes the responses, which are channel-major, to `width` rows; the trained weights expect
        # this, although the softmax then does not run over the kernels of one channel
        table = response.reshape(batch, width, channels, *response.shape[-2:])
        return table.softmax(dim=1).mean(dim=2)


class _CrossAttention(nn.Module):
    """Projections of queries and keys by torch's attention module; its value and output projections are unused."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm_q = nn.RMSNorm(width)
        self.norm_k = nn.RMSNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)

    def projected(self, queries: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
        """(B, heads, N, head width) queries, scaled, and keys from (B, N, C) each."""
        width, heads = self.attention.embed_dim, self.attention.num_heads
        weight, bias = self.attention.in_proj_weight, self.attention.in_proj_bias
        query = F.linear(self.norm_q(queries.float()), weight[:width], bias[:width])
        key = F.linear(self.norm_k(keys.float()), weight[width : 2 * width], bias[width : 2 * width])
        query, key = (t.unflatten(2, (heads, -1)).transpose(1, 2) for t in (query, key))
        return query * (width // heads) ** -0.5, key


class _CrossDecode(nn.Module):
    def __init__(self, config: AnyUpConfig) -> None:
        super().__init__()
        self.window = config.window
        self.cross_attn = _CrossAttention(config.width, config.heads)
        self.conv2d = nn.Conv2d(config.width, config.width, 3, padding=1, bias=False)

    def forward(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """(B, V, H, W) mixtures of (B, V, h, w) values, from (B, C, H, W) queries and (B, C, h, w) keys."""
        height, width = queries.shape[-2:]
        query, key = self.cross_attn.projected(
            self.conv2d(queries).flatten(2).transpose(1, 2), keys.flatten(2).transpose(1, 2)
        )
        value = values.flatten(2).transpose(1, 2)
        mask = allowed((height, width), (values.shape[-2], values.shape[-1]), self.window, values.device)
        step = height * width if torch.is_grad_enabled() else _ROWS * width
        mixed = []
        for part, visible in zip(query.split(step, dim=2), mask.split(step), strict=True):
            with single_precision(part.device):
                logits = (part.float() @ key.float().transpose(2, 3)).masked_fill(~visible, -torch.inf)
                mixed.append(logits.softmax(dim=-1).mean(dim=1) @ value.float())
        return torch.cat(mixed, dim=1).transpose(1, 2).unflatten(2, (height, width))  # type: ignore[no-any-return]


def allowed(size_hw: tuple[int, int], grid_hw: tuple[int, int], window: float, device: torch.device) -> Tensor:
    """Attention mask: an output attends to the features within `window` of its centre on both axes.

    Args:
        size_hw: (H, W) of the output.
        grid_hw: (h, w) of the features.
        window: reach to each side, as a share of the side.
        device: of the mask.

    Returns:
        (H * W, h * w) bool.
    """
    axes = []
    for many, few in zip(size_hw, grid_hw, strict=True):
        centre = (torch.arange(many, device=device) + 0.5) / many
        first = ((centre - window).clamp(0, 1) * few).floor()
        last = ((centre + window).clamp(0, 1) * few).ceil()
        cell = torch.arange(few, device=device)
        axes.append((cell >= first[:, None]) & (cell < last[:, None]))
    return (axes[0][:, None, :, None] & axes[1][None, :, None, :]).flatten(2).flatten(0, 1)


class AnyUp(nn.Module):
    """The upsampler, in the order of the authors' figure."""

    def __init__(self, config: AnyUpConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.image_encoder = _encoder(nn.Conv2d(3, width, 1, bias=False), width)
        self.key_encoder = _encoder(nn.Conv2d(width, width, 1, bias=False), width)
        self.query_encoder = _encoder(nn.Conv2d(width, width, 1, bias=False), width)
        self.key_features_encoder = _encoder(_Unification(width, config.kernel), width)
        self.cross_decode = _CrossDecode(config)
        self.aggregation = _encoder(
            nn.Conv2d(2 * width, width, 3, padding=1, padding_mode="reflect", bias=False), width
        )
        self.rope = _Rotary(width)

    def forward(self, image: Tensor, features: Tensor, size_hw: tuple[int, int] | None = None) -> Tensor:
        """Upsample features.

        Args:
            image: (B, 3, H, W), normalised by ImageNet's statistics.
            features: (B, C, h, w) with any C; h and w at least 2.
            size_hw: (height, width) of the output, by default the image's.

        Returns:
            (B, C, *size_hw), each a weighted mean of the features in its window.
        """
        grid = (features.shape[-2], features.shape[-1])
        encoded = self.rope(self.image_encoder(image))
        queries = F.adaptive_avg_pool2d(self.query_encoder(encoded), size_hw or (image.shape[-2], image.shape[-1]))
        keys = F.adaptive_avg_pool2d(self.key_encoder(encoded), grid)
        unified = self.key_features_encoder(F.normalize(features, dim=1))
        keys = self.aggregation(torch.cat([keys, unified], dim=1))
        return self.cross_decode(queries, keys, features)  # type: ignore[no-any-return]


def convert_official(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Strip a wrapper's `module.` and `model.` from the authors' keys, which are otherwise the same."""
    return {name.removeprefix("module.").removeprefix("model."): value for name, value in state.items()}
