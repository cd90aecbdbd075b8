"""Cost aggregation of CAT-Seg (Cho et al., 2024), which dinov3.seg uses as late refinement and decoder (Eqs. 4 to 8).

Module names are those of CAT-Seg's checkpoint. Shapes: B images, T classes, P text embeddings per class, C channels of
the vision-language space, D channels of the correlation features, G channels of guidance, an h x w patch grid.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maskwright.models.devices import single_precision
from maskwright.models.feed_forward import FeedForward

__all__ = ["AggregatorConfig", "CostAggregator", "Guidance", "correlation"]


@dataclass(frozen=True, slots=True)
class AggregatorConfig:
    """Sizes; the defaults are CAT-Seg's for ViT-L, with the guidance of dinov3.seg."""

    views: int = 2
    """Text embeddings per class (P): global and local."""
    text: int = 1024
    """Width of a text embedding."""
    appearance: int = 256
    """Channels of the guidance of the spatial blocks."""
    taps: tuple[int, int] = (1024, 1024)
    """Channels of the guidance of the two decoder stages."""
    hidden: int = 128
    layers: int = 2
    heads: int = 4
    window: int = 12
    pooling: tuple[int, int] = (2, 2)
    text_guidance: int = 128
    appearance_guidance: int = 128
    decoder: tuple[int, int] = (64, 32)
    decoder_guidance: tuple[int, int] = (32, 16)
    padding: int = 256
    """Class attention is padded to this number of classes with a learned one; 0 turns padding off."""


class Guidance(NamedTuple):
    """Guidance by the image, which does not depend on the classes."""

    appearance: Tensor
    """(B, G, h, w), projected"""
    stages: tuple[Tensor, Tensor]
    """(B, G1, 2h, 2w) and (B, G2, 4h, 4w), projected"""


def correlation(features: Tensor, text: Tensor) -> Tensor:
    """(B, P, T, h, w) cosines (Eq. 4) of (B, C, h, w) features with (B, T, P, C) text embeddings."""
    return torch.einsum("bchw,btpc->bpthw", F.normalize(features, dim=1), F.normalize(text, dim=-1))


class _Projections(nn.Module):
    """Projections to queries, keys and values; guidance enters queries and keys only."""

    def __init__(self, width: int, guidance: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(width + guidance, width)
        self.k = nn.Linear(width + guidance, width)
        self.v = nn.Linear(width, width)


class _WindowAttention(_Projections):
    """Attention inside windows."""

    def __init__(self, width: int, guidance: int, heads: int) -> None:
        super().__init__(width, guidance, heads)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: Tensor, guidance: Tensor, mask: Tensor | None) -> Tensor:
        """Attend within windows.

        Args:
            tokens: (B, T, windows, tokens, D).
            guidance: (B, 1, windows, tokens, G).
            mask: (windows, tokens, tokens), added to the logits.

        Returns:
            As `tokens`.
        """
        query, key, value = (
            part.unflatten(-1, (self.heads, -1)).transpose(-2, -3).flatten(2, 3).flatten(0, 1)
            for part in (_guided(self.q, tokens, guidance), _guided(self.k, tokens, guidance), self.v(tokens))
        )
        mask = None if mask is None else mask.to(query.dtype).repeat_interleave(self.heads, dim=0)[None]
        if query.requires_grad:
            # the fused kernel is much slower backward for so few tokens
            logits = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
            mixed = (logits if mask is None else logits + mask).softmax(dim=-1).to(value.dtype) @ value
        else:
            mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        mixed = mixed.unflatten(0, tokens.shape[:2]).unflatten(2, (-1, self.heads))
        return self.proj(mixed.transpose(-2, -3).flatten(-2))  # type: ignore[no-any-return]


def _guided(linear: nn.Linear, tokens: Tensor, guidance: Tensor) -> Tensor:
    """`linear` of tokens and guidance, concatenated; the guidance is projected once for all classes."""
    own, others = linear.weight.split((tokens.shape[-1], guidance.shape[-1]), dim=1)
    return F.linear(tokens, own) + F.linear(guidance, others, linear.bias)


class _SwinBlock(nn.Module):
    """Swin block on maps of any size; a grid that windows do not tile is padded and masked."""

    def __init__(self, width: int, guidance: int, heads: int, window: int, *, shifted: bool) -> None:
        super().__init__()
        self.window, self.shifted = window, shifted
        self.norm1 = nn.LayerNorm(width)
        self.attn = _WindowAttention(width, guidance, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = FeedForward(width, 4 * width)

    def forward(self, maps: Tensor, guidance: Tensor) -> Tensor:
        """(B, T, h, w, D) from maps of that shape and (B, 1, h, w, G) guidance."""
        height, width = maps.shape[2:4]
        # where the shorter side is not longer than a window, it is the window, and windows are not shifted
        side = min(self.window, height, width)
        shift = side // 2 if self.shifted and min(height, width) > self.window else 0
        down, across = -height % side, -width % side
        whole = (height + down, width + across)
        mask = _window_mask((height, width), whole, side, shift, maps.device)

        def cut(part: Tensor) -> Tensor:
            part = F.pad(part, (0, 0, 0, across, 0, down))
            return _windows(part.roll((-shift, -shift), dims=(2, 3)) if shift else part, side)

        mixed = _joined(self.attn(cut(self.norm1(maps)), cut(guidance), mask), whole, side)
        if shift:
            mixed = mixed.roll((shift, shift), dims=(2, 3))
        maps = maps + mixed[:, :, :height, :width]
        return maps + self.mlp(self.norm2(maps))  # type: ignore[no-any-return]


def _windows(maps: Tensor, side: int) -> Tensor:
    """(B, T, windows, side * side, D) from (B, T, H, W, D)."""
    height, width = maps.shape[2:4]
    cut = maps.unflatten(3, (width // side, side)).unflatten(2, (height // side, side)).transpose(3, 4)
    return cut.flatten(4, 5).flatten(2, 3)  # type: ignore[no-any-return]


def _joined(windows: Tensor, size_hw: tuple[int, int], side: int) -> Tensor:
    """The inverse of `_windows`."""
    cut = windows.unflatten(3, (side, side)).unflatten(2, (size_hw[0] // side, size_hw[1] // side))
    return cut.transpose(3, 4).flatten(4, 5).flatten(2, 3)  # type: ignore[no-any-return]


def _window_mask(
    size_hw: tuple[int, int], whole_hw: tuple[int, int], side: int, shift: int, device: torch.device
) -> Tensor | None:
    """(windows, tokens, tokens) mask: -100 between cells of different regions of the image; None where there is one.

    The shift brings cells from opposite borders into one window: these are different regions, and so is the padding.
    """
    if not shift and size_hw == whole_hw:
        return None
    regions = []
    for side_of_grid, filled in zip(size_hw, whole_hw, strict=True):
        index = torch.arange(filled, device=device)
        region = torch.bucketize(index, torch.tensor([filled - side, filled - shift], device=device), right=True)
        region = region if shift else torch.zeros_like(index)
        padding = index.add(shift).remainder(filled) >= side_of_grid
        regions.append(torch.where(padding, 3, region))
    down, across = regions
    padding = (down[:, None] == 3) | (across[None] == 3)
    region = torch.where(padding, 9, 3 * down[:, None] + across[None])
    windows = _windows(region[None, None, :, :, None], side)[0, 0, :, :, 0]
    return (windows[:, None] != windows[:, :, None]) * -100.0


class _SpatialRefinement(nn.Module):
    """Spatial refinement (Eq. 6): W-MSA, then SW-MSA, for each class on its own, guided by the image."""

    def __init__(self, config: AggregatorConfig) -> None:
        super().__init__()
        width, guidance = config.hidden, config.appearance_guidance
        self.block_1 = _SwinBlock(width, guidance, config.heads, config.window, shifted=False)
        self.block_2 = _SwinBlock(width, guidance, config.heads, config.window, shifted=True)
        self.guidance_norm = nn.LayerNorm(guidance)

    def forward(self, maps: Tensor, appearance: Tensor) -> Tensor:
        """(B, D, T, h, w) from maps of that shape and (B, G, h, w) guidance."""
        guidance = self.guidance_norm(appearance.permute(0, 2, 3, 1))[:, None]
        each = self.block_2(self.block_1(maps.permute(0, 2, 3, 4, 1), guidance), guidance)
        return each.permute(0, 4, 1, 2, 3)  # type: ignore[no-any-return]


class _ClassAttention(_Projections):
    """Projections of linear attention across classes; there is no output projection."""

    def queries(self, tokens: Tensor, guidance: Tensor) -> Tensor:
        """(..., T, heads, head width) queries, elu + 1, of (..., T, D) tokens and (..., T, G) guidance."""
        return F.elu(self._heads(_guided(self.q, tokens, guidance))) + 1

    def keys_values(self, tokens: Tensor, guidance: Tensor) -> tuple[Tensor, Tensor]:
        """Keys as `queries`, and values, which have no guidance."""
        return F.elu(self._heads(_guided(self.k, tokens, guidance))) + 1, self._heads(self.v(tokens))

    def _heads(self, mixed: Tensor) -> Tensor:
        return mixed.unflatten(-1, (self.heads, -1)).float()  # type: ignore[no-any-return]


class _ClassRefinement(nn.Module):
    """Class refinement (Eq. 7): linear attention across classes at each pooled cell, guided by the class names.

    Linear attention sums over classes, so that classes can be processed in chunks with the same result.
    """

    def __init__(self, config: AggregatorConfig) -> None:
        super().__init__()
        width = config.hidden
        self.pooling, self.padding = config.pooling, config.padding
        self.attention = _ClassAttention(width, config.text_guidance, config.heads)
        self.MLP = nn.Sequential(nn.Linear(width, 4 * width), nn.ReLU(), nn.Linear(4 * width, width))
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        if config.padding:
            self.padding_tokens = nn.Parameter(torch.zeros(1, 1, width))
            self.padding_guidance = nn.Parameter(torch.zeros(1, 1, config.text_guidance))

    def forward(
        self, chunks: list[Tensor], guidance: list[Tensor], pooling: tuple[int, int] | None = None
    ) -> list[Tensor]:
        """Refined chunks, from chunks of (B, D, t, h, w) maps and of (B, t, G) guidance."""
        pooled = [self._pooled(chunk, pooling or self.pooling) for chunk in chunks]
        sums = self._sums(pooled, guidance)
        return [
            maps + self._enlarged(self._refined(tokens, words, sums), maps)
            for maps, tokens, words in zip(chunks, pooled, guidance, strict=True)
        ]

    def _pooled(self, maps: Tensor, pooling: tuple[int, int]) -> Tensor:
        """(B, h', w', t, D) from (B, D, t, h, w)."""
        kernel = [min(pool, side) for pool, side in zip(pooling, maps.shape[-2:], strict=True)]
        small = F.avg_pool2d(maps.transpose(1, 2).flatten(0, 1), kernel)
        return small.unflatten(0, (maps.shape[0], maps.shape[2])).permute(0, 3, 4, 1, 2)  # type: ignore[no-any-return]

    def _sums(self, pooled: list[Tensor], guidance: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Sums of key times value, and of keys, over all classes, at each cell and head."""
        classes = sum(tokens.shape[3] for tokens in pooled)
        parts = [(tokens, words, 1) for tokens, words in zip(pooled, guidance, strict=True)]
        if classes < self.padding:
            # all padding is the same learned class, so that one term with a factor suffices
            parts.append((self.padding_tokens[:, None, None], self.padding_guidance, self.padding - classes))
        products, keys = [], []
        for tokens, words, times in parts:
            key, value = self.attention.keys_values(self.norm1(tokens), words[:, None, None])
            with single_precision(key.device):
                products.append(times * torch.einsum("bhwtnd,bhwtne->bhwnde", key, value))
            keys.append(times * key.sum(dim=3))
        return functools.reduce(torch.add, products), functools.reduce(torch.add, keys)

    def _refined(self, tokens: Tensor, words: Tensor, sums: tuple[Tensor, Tensor]) -> Tensor:
        query = self.attention.queries(self.norm1(tokens), words[:, None, None])
        with single_precision(query.device):
            mixed = torch.einsum("bhwtnd,bhwnde->bhwtne", query, sums[0])
            weight = torch.einsum("bhwtnd,bhwnd->bhwtn", query, sums[1]) + 1e-6
        tokens = tokens + (mixed / weight[..., None]).flatten(-2).to(tokens.dtype)
        return tokens + self.MLP(self.norm2(tokens))  # type: ignore[no-any-return]

    def _enlarged(self, tokens: Tensor, maps: Tensor) -> Tensor:
        small = tokens.permute(0, 3, 4, 1, 2)
        large = F.interpolate(small.flatten(0, 1), maps.shape[-2:], mode="bilinear", align_corners=True)
        return large.unflatten(0, small.shape[:2]).transpose(1, 2)  # type: ignore[no-any-return]


class _Layer(nn.Module):
    def __init__(self, config: AggregatorConfig) -> None:
        super().__init__()
        self.swin_block = _SpatialRefinement(config)
        self.attention = _ClassRefinement(config)


class _DoubleConv(nn.Module):
    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        groups = max(1, out // 16)
        self.double_conv = nn.Sequential(
            nn.Conv2d(channels, out, 3, padding=1, bias=False), nn.GroupNorm(groups, out), nn.ReLU(),
            nn.Conv2d(out, out, 3, padding=1, bias=False), nn.GroupNorm(groups, out), nn.ReLU(),
        )  # fmt: skip

    def forward(self, maps: Tensor) -> Tensor:
        return self.double_conv(maps)  # type: ignore[no-any-return]


class _Stage(nn.Module):
    """Decoder stage (Eq. 8): upsampling by 2, concatenation with guidance, convolutions."""

    def __init__(self, channels: int, out: int, guidance: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(channels, channels - guidance, 2, 2)
        self.conv = _DoubleConv(channels, out)

    def forward(self, maps: Tensor, guidance: Tensor) -> Tensor:
        """(B * T, D', 2h, 2w) from (B * T, D, h, w) maps and (B, G, 2h, 2w) guidance."""
        spread = guidance.repeat_interleave(len(maps) // len(guidance), dim=0)
        return self.conv(torch.cat([self.up(maps), spread], dim=1))  # type: ignore[no-any-return]


class CostAggregator(nn.Module):
    """Cosines of image and text features to logits of every class."""

    def __init__(self, config: AggregatorConfig) -> None:
        super().__init__()
        self.config = config
        first, second = config.decoder_guidance

        def projection(channels: int, out: int) -> nn.Sequential:
            return nn.Sequential(nn.Conv2d(channels, out, 3, padding=1), nn.ReLU())

        self.conv1 = nn.Conv2d(config.views, config.hidden, 7, padding=3)
        self.guidance_projection = projection(config.appearance, config.appearance_guidance)
        self.text_guidance_projection = nn.Sequential(nn.Linear(config.text, config.text_guidance), nn.ReLU())
        self.decoder_guidance_projection = nn.ModuleList(
            [projection(config.taps[0], first), projection(config.taps[1], second)]
        )
        self.layers = nn.ModuleList(_Layer(config) for _ in range(config.layers))
        self.decoder1 = _Stage(config.hidden, config.decoder[0], first)
        self.decoder2 = _Stage(config.decoder[0], config.decoder[1], second)
        self.head = nn.Conv2d(config.decoder[1], 1, 3, padding=1)

    def guidance(self, appearance: Tensor, taps: tuple[Tensor, Tensor]) -> Guidance:
        """Project the guidance of an image.

        Taps are projected before they are resized, which needs a fraction of the memory.

        Args:
            appearance: (B, A, h, w).
            taps: two maps of any size, for the two decoder stages.
        """
        height, width = appearance.shape[-2:]
        stages = []
        for times, tap, projection in zip((2, 4), taps, self.decoder_guidance_projection, strict=True):
            size = (times * height, times * width)
            stage = projection(tap)
            if stage.shape[-2:] != size:
                stage = F.interpolate(stage, size, mode="bilinear", align_corners=False)
            stages.append(stage)
        return Guidance(self.guidance_projection(appearance), (stages[0], stages[1]))

    def embed(self, cosines: Tensor) -> Tensor:
        """(B, D, T, h, w) correlation features (Eq. 5) of (B, P, T, h, w) cosines; classes share the convolution."""
        maps = self.conv1(cosines.transpose(1, 2).flatten(0, 1))
        return maps.unflatten(0, (cosines.shape[0], cosines.shape[2])).transpose(1, 2)  # type: ignore[no-any-return]

    def text_guidance(self, text: Tensor) -> Tensor:
        """(B, T, G) guidance by (B, T, P, C) text: its unit mean over P, projected."""
        return self.text_guidance_projection(F.normalize(text.mean(dim=2), dim=-1))  # type: ignore[no-any-return]

    def decode(self, maps: Tensor, guidance: Guidance) -> Tensor:
        """(B, T, 4h, 4w) logits of (B, D, T, h, w) correlation features."""
        each = maps.transpose(1, 2).flatten(0, 1)
        each = self.decoder2(self.decoder1(each, guidance.stages[0]), guidance.stages[1])
        return self.head(each)[:, 0].unflatten(0, (maps.shape[0], maps.shape[2]))  # type: ignore[no-any-return]

    def forward(
        self,
        cosines: Tensor,
        text: Tensor,
        guidance: Guidance,
        *,
        chunk: int | None = None,
        pooling: tuple[int, int] | None = None,
    ) -> Tensor:
        """Refine and decode.

        Args:
            cosines: (B, P, T, h, w), from `correlation`.
            text: (B, T, P, C) text embeddings.
            guidance: of the images.
            chunk: classes at a time, to bound the memory; None for all. The result does not depend on it.
            pooling: of the class blocks, in cells; None is that of the configuration.

        Returns:
            (B, T, 4h, 4w) logits.
        """
        step = chunk or cosines.shape[2]
        words = list(self.text_guidance(text).split(step, dim=1))
        maps = [self.embed(part) for part in cosines.split(step, dim=2)]
        for layer in self.layers:
            assert isinstance(layer, _Layer)
            maps = [layer.swin_block(part, guidance.appearance) for part in maps]
            maps = layer.attention(maps, words, pooling)
        return torch.cat([self.decode(part, guidance) for part in maps], dim=1)
