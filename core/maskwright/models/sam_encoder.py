"""SAM's image encoder (Kirillov et al., 2023, appendix A): a vision transformer for large images.

It is a plain ViT in which most blocks attend inside windows and a few to the whole image (Li et al., 2022, "Exploring
plain vision transformer backbones for object detection"). Beside the learned position of each cell, attention depends
on the offset of query and key, one table per axis (Li et al., 2022, "MViTv2"). A neck reduces the width.

Module names are those of the preset files. Shapes: B images, H x W pixels, h x w cells, C channels, D per head.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maskwright.errors import ShapeError
from maskwright.models.channel_norm import ChannelNorm
from maskwright.models.sam_config import SamConfig

__all__ = ["VitEncoder"]

_EPS = 1e-6
"""Of the LayerNorms in the blocks."""


class VitEncoder(nn.Module):
    """The paper's image encoder at any input size, with outputs of its blocks."""

    def __init__(self, config: SamConfig) -> None:
        super().__init__()
        self.stride = config.stride
        side = config.size // config.stride
        self.pos_embed = nn.Parameter(torch.zeros(1, side, side, config.width))
        self.patch_embed = _PatchEmbedding(config.width, config.stride)
        self.layers = nn.ModuleList(
            _Block(config, side, window=0 if index in config.global_blocks else config.window)
            for index in range(config.depth)
        )
        self.neck = _Neck(config.width, config.out)

    def forward(self, pixels: Tensor, blocks: tuple[int, ...] = ()) -> tuple[Tensor, list[Tensor]]:
        """Encode images; at another size than the model's own, position tables are resized linearly.

        Args:
            pixels: normalised (B, 3, H, W), H and W multiples of the patch.
            blocks: zero-based blocks whose outputs are returned.

        Returns:
            (B, C, h, w) embedding, and the (B, h, w, width) outputs of `blocks` in ascending order.

        Raises:
            ShapeError: a side is not a multiple of the patch.
        """
        height, width = pixels.shape[-2:]
        if height % self.stride or width % self.stride:
            raise ShapeError(f"image sides must be multiples of {self.stride}, got {height} x {width}")
        tokens = self.patch_embed(pixels)
        tokens = tokens + self._positions(tokens.shape[1:3])
        outputs = []
        for index, layer in enumerate(self.layers):
            tokens = layer(tokens)
            if index in blocks:
                outputs.append(tokens)
        return self.neck(tokens), outputs

    def _positions(self, grid: torch.Size) -> Tensor:
        """(1, h, w, width) learned positions of the cells."""
        if self.pos_embed.shape[1:3] == grid:
            return self.pos_embed
        resized = F.interpolate(self.pos_embed.permute(0, 3, 1, 2), grid, mode="bilinear")
        return resized.permute(0, 2, 3, 1)


class _PatchEmbedding(nn.Module):
    """Patches to tokens."""

    def __init__(self, width: int, patch: int) -> None:
        super().__init__()
        self.projection = nn.Conv2d(3, width, patch, patch)

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, h, w, C) from (B, 3, H, W)."""
        return self.projection(pixels).permute(0, 2, 3, 1)  # type: ignore[no-any-return]


class _Block(nn.Module):
    """Attention and a perceptron, each on normalised tokens and added to its input; `window` 0 is the whole image."""

    def __init__(self, config: SamConfig, side: int, *, window: int) -> None:
        super().__init__()
        self.window = window
        self.layer_norm1 = nn.LayerNorm(config.width, eps=_EPS)
        self.attn = _Attention(config.width, config.heads, window or side)
        self.layer_norm2 = nn.LayerNorm(config.width, eps=_EPS)
        self.mlp = _Mlp(config.width)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, h, w, C) from (B, h, w, C)."""
        normed = self.layer_norm1(tokens)
        tokens = tokens + (self._attend_in_windows(normed) if self.window else self.attn(normed))
        return tokens + self.mlp(self.layer_norm2(tokens))  # type: ignore[no-any-return]

    def _attend_in_windows(self, tokens: Tensor) -> Tensor:
        batch, height, width, channels = tokens.shape
        side = self.window
        # zeros fill the last windows; as in the authors' model they are attended to like any cell
        padded = F.pad(tokens, (0, 0, 0, -width % side, 0, -height % side))
        rows, columns = padded.shape[1] // side, padded.shape[2] // side
        windows = padded.reshape(batch, rows, side, columns, side, channels).transpose(2, 3)
        mixed = self.attn(windows.flatten(0, 2))
        whole: Tensor = mixed.reshape(windows.shape).transpose(2, 3).reshape(padded.shape)
        return whole[:, :height, :width]


class _Attention(nn.Module):
    """Multi-head attention over h x w cells with decomposed relative positions."""

    def __init__(self, width: int, heads: int, side: int) -> None:
        super().__init__()
        self.heads = heads
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * side - 1, width // heads))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * side - 1, width // heads))
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, h, w, C) from (B, h, w, C).

        The logit of a query q and a key k is q . k / sqrt(D) + q . (R_h of their rows + R_w of their columns); the
        second term is not scaled.
        """
        batch, height, width, _ = tokens.shape
        # (3, B, heads, h * w, D)
        query, key, value = self.qkv(tokens).reshape(batch, height * width, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        cells = query.unflatten(2, (height, width))
        rows = torch.einsum("bnhwd,hkd->bnhwk", cells, _by_offset(self.rel_pos_h, height))
        columns = torch.einsum("bnhwd,wkd->bnhwk", cells, _by_offset(self.rel_pos_w, width))
        bias = (rows[..., :, None] + columns[..., None, :]).reshape(batch, self.heads, height * width, height * width)
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        return self.proj(mixed.transpose(1, 2).reshape(tokens.shape))  # type: ignore[no-any-return]


def _by_offset(table: Tensor, side: int) -> Tensor:
    """(side, side, D) vectors of the offsets from each key to each query, of a table that is resized if need be."""
    length = 2 * side - 1
    if len(table) != length:
        table = F.interpolate(table.T[None], length, mode="linear")[0].T
    place = torch.arange(side, device=table.device)
    return table[place[:, None] - place[None] + side - 1]


class _Mlp(nn.Module):
    """The perceptron of a block: four times as wide inside, GELU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.lin1 = nn.Linear(width, 4 * width)
        self.lin2 = nn.Linear(4 * width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.lin2(F.gelu(self.lin1(tokens)))  # type: ignore[no-any-return]


class _Neck(nn.Module):
    """To the width of the embedding: a 1 x 1 and a 3 x 3 convolution, each with a norm."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, out, 1, bias=False)
        self.layer_norm1 = ChannelNorm(out)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1, bias=False)
        self.layer_norm2 = ChannelNorm(out)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, out, h, w) from (B, h, w, width)."""
        features = self.layer_norm1(self.conv1(tokens.permute(0, 3, 1, 2)))
        return self.layer_norm2(self.conv2(features))  # type: ignore[no-any-return]
