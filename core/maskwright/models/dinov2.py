"""DINOv2 vision transformer (Oquab et al., 2023), with registers (Darcet et al., 2024) or without.

Learned positions are resized to the patch grid of the image; registers have none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maskwright.errors import BadWeights, ShapeError
from maskwright.models.dinov3 import DinoFeatures, LastAttention, record_attention
from maskwright.models.feed_forward import FeedForward
from maskwright.models.vit_block import Block

__all__ = ["SPECS", "DinoV2", "DinoV2Config", "convert_hub", "convert_official"]


@dataclass(frozen=True, slots=True)
class DinoV2Config:
    """Sizes of one DINOv2; the defaults are those that all published ones share."""

    width: int
    depth: int
    heads: int
    patch: int = 14
    grid: int = 37
    """Side of the learned position table, in patches."""
    registers: int = 4
    ffn_ratio: int = 4


SPECS = {
    "vits14_reg": DinoV2Config(width=384, depth=12, heads=6),
    "vitb14": DinoV2Config(width=768, depth=12, heads=12, registers=0),
    "vitb14_reg": DinoV2Config(width=768, depth=12, heads=12),
    "vitl14_reg": DinoV2Config(width=1024, depth=24, heads=16),
}

_EPS = 1e-6
"""Of the LayerNorms."""
_OFFSET = 0.1
"""Offset that the authors add to the grid when they resize positions of a model without registers."""


class _PatchEmbedding(nn.Module):
    """Patches to tokens."""

    def __init__(self, width: int, patch: int) -> None:
        super().__init__()
        self.projection = nn.Conv2d(3, width, patch, patch)

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, C, h, w) from (B, 3, H, W)."""
        return self.projection(pixels)  # type: ignore[no-any-return]


class _Embeddings(nn.Module):
    """CLS, registers, patch embedding and positions; the mask token is for pre-training."""

    def __init__(self, config: DinoV2Config) -> None:
        super().__init__()
        width = config.width
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.mask_token = nn.Parameter(torch.zeros(1, width))
        self.position_embeddings = nn.Parameter(torch.zeros(1, 1 + config.grid**2, width))
        self.register_tokens = nn.Parameter(torch.zeros(1, config.registers, width))
        self.patch_embeddings = _PatchEmbedding(width, config.patch)
        for table in (self.cls_token, self.position_embeddings):
            nn.init.trunc_normal_(table, std=0.02)

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 1 + R + h * w, C) tokens: CLS, registers, patches in row-major order."""
        patches = self.patch_embeddings(pixels.to(self.cls_token.dtype))
        position = self.positions((patches.shape[-2], patches.shape[-1]))
        batch = len(patches)
        cls = self.cls_token + position[:, :1]
        patches = patches.flatten(2).transpose(1, 2) + position[:, 1:]
        return torch.cat([cls.expand(batch, -1, -1), self.register_tokens.expand(batch, -1, -1), patches], dim=1)

    def positions(self, grid: tuple[int, int]) -> Tensor:
        """(1, 1 + h * w, C) positions of CLS and of the patches.

        With registers, the table is resized to the grid and antialiased; without, by a factor and not antialiased.
        """
        table = self.position_embeddings
        side = round((table.shape[1] - 1) ** 0.5)
        if grid == (side, side):
            return table
        square = table[:, 1:].float().reshape(1, side, side, -1).permute(0, 3, 1, 2)
        if self.register_tokens.shape[1]:
            resized = F.interpolate(square, grid, mode="bicubic", antialias=True)
        else:
            factors = tuple((length + _OFFSET) / side for length in grid)
            resized = F.interpolate(square, scale_factor=factors, mode="bicubic")
        return torch.cat([table[:, :1], resized.flatten(2).transpose(1, 2).to(table.dtype)], dim=1)


class _Encoder(nn.Module):
    def __init__(self, config: DinoV2Config) -> None:
        super().__init__()
        width, hidden = config.width, config.width * config.ffn_ratio
        self.layer = nn.ModuleList(
            Block(width, config.heads, FeedForward(width, hidden), eps=_EPS) for _ in range(config.depth)
        )


class _Vit(nn.Module):
    """The parts under the names of the preset files."""

    def __init__(self, config: DinoV2Config) -> None:
        super().__init__()
        self.embeddings = _Embeddings(config)
        self.encoder = _Encoder(config)
        self.layernorm = nn.LayerNorm(config.width, eps=_EPS)


class DinoV2(nn.Module):
    """The transformer, for normalised (B, 3, H, W) images with H and W multiples of the patch."""

    def __init__(self, config: DinoV2Config) -> None:
        super().__init__()
        self.config = config
        self.vit = _Vit(config)

    @property
    def global_tokens(self) -> int:
        """Number of tokens before the patches: CLS and registers."""
        return 1 + self.config.registers

    def forward(self, pixels: Tensor) -> DinoFeatures:
        """Tokens after the last block and the final LayerNorm; registers are `storage`."""
        return self.intermediate(pixels, [self.config.depth - 1])[0]

    def intermediate(self, pixels: Tensor, blocks: list[int], *, norm: bool = True) -> list[DinoFeatures]:
        """Tokens after the given zero-based blocks in ascending order, by default through the final LayerNorm.

        Raises:
            ShapeError: a side is not a multiple of the patch.
        """
        patch, first = self.config.patch, self.global_tokens
        height, width = pixels.shape[-2:]
        if height % patch or width % patch:
            raise ShapeError(f"image sides must be multiples of {patch}, got {height} x {width}")
        tokens = self.vit.embeddings(pixels)
        outputs = []
        for index, block in enumerate(self.vit.encoder.layer):
            tokens = block(tokens)
            if index in blocks:
                normed = self.vit.layernorm(tokens) if norm else tokens
                grid = height // patch, width // patch
                outputs.append(DinoFeatures(normed[:, 0], normed[:, 1:first], normed[:, first:], grid))
        return outputs

    def with_taps(self, pixels: Tensor, blocks: list[int]) -> tuple[list[DinoFeatures], DinoFeatures]:
        """Tokens after the given zero-based blocks, without a norm, and those of `forward`, in one pass."""
        last = self.config.depth - 1
        *taps, end = self.intermediate(pixels, [*blocks, last], norm=False)
        normed = self.vit.layernorm(torch.cat([end.cls[:, None], end.storage, end.patches], dim=1))
        first = self.global_tokens
        return taps, DinoFeatures(normed[:, 0], normed[:, 1:first], normed[:, first:], end.grid)

    @property
    def blocks(self) -> nn.ModuleList:
        """The transformer blocks."""
        return self.vit.encoder.layer

    def record_attention(self) -> AbstractContextManager[list[LastAttention]]:
        """Context in which the last block's attention is recorded, one entry per forward pass."""
        return record_attention(self.vit.encoder.layer[-1].get_submodule("attention"), self.config.heads)


_RENAMED = {
    "cls_token": "embeddings.cls_token",
    "pos_embed": "embeddings.position_embeddings",
    "register_tokens": "embeddings.register_tokens",
    "mask_token": "embeddings.mask_token",
    "patch_embed.proj.weight": "embeddings.patch_embeddings.projection.weight",
    "patch_embed.proj.bias": "embeddings.patch_embeddings.projection.bias",
    "norm.weight": "layernorm.weight",
    "norm.bias": "layernorm.bias",
}
_IN_BLOCK = {
    "attn.proj.": "attention.o_proj.",
    "ls1.gamma": "layer_scale1.lambda1",
    "ls2.gamma": "layer_scale2.lambda1",
    "mlp.": "mlp.",
    "norm1.": "norm1.",
    "norm2.": "norm2.",
}
_HUB = {
    "attention.attention.query.": "attention.q_proj.",
    "attention.attention.key.": "attention.k_proj.",
    "attention.attention.value.": "attention.v_proj.",
    "attention.output.dense.": "attention.o_proj.",
}
"""Keys in the blocks of the Hugging Face files, and ours."""


def convert_official(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the keys of the authors' `.pth` files to those of `DinoV2`.

    Raises:
        BadWeights: an unknown key.
    """
    return _with_registers({f"vit.{new}": part for name, value in state.items() for new, part in _renamed(name, value)})


def _renamed(name: str, value: Tensor) -> Iterator[tuple[str, Tensor]]:
    if name in _RENAMED:
        yield _RENAMED[name], value
        return
    block, _, rest = name.removeprefix("blocks.").partition(".")
    into = f"encoder.layer.{block}"
    if rest in ("attn.qkv.weight", "attn.qkv.bias"):
        kind = rest.rsplit(".", 1)[1]
        for projection, part in zip("qkv", value.chunk(3), strict=True):
            yield f"{into}.attention.{projection}_proj.{kind}", part
        return
    known = [(theirs, ours) for theirs, ours in _IN_BLOCK.items() if rest.startswith(theirs)]
    if not name.startswith("blocks.") or not known:
        raise BadWeights(f"The DINOv2 file holds a key that its layout does not know: {name}.")
    theirs, ours = known[0]
    yield f"{into}.{ours}{rest.removeprefix(theirs)}", value


def convert_hub(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the keys of the Hugging Face file to those of `DinoV2`."""
    out = {}
    for name, value in state.items():
        for theirs, ours in _HUB.items():
            name = name.replace(theirs, ours)
        out[f"vit.{name}"] = value
    return _with_registers(out)


def _with_registers(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Add an empty table of registers where the file has none."""
    if "vit.embeddings.cls_token" in state and "vit.embeddings.register_tokens" not in state:
        state["vit.embeddings.register_tokens"] = state["vit.embeddings.cls_token"][:, :0]
    return state
