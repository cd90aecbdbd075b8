"""DINOv3 vision transformer (Simeoni et al., 2025): rotary positions, storage tokens, layer scale.

`convert_official` renames the keys of the authors' files, which then load exactly. A small model may have
a convolutional stem in place of the patch convolution: trained from scratch, or a pretrained EfficientNet-Lite trunk.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maskwright.errors import BadWeights, ShapeError
from maskwright.models.efficientnet_lite import LiteConfig, LiteTrunk
from maskwright.models.vit_block import Block, Rotation, rotate

__all__ = [
    "SPECS",
    "ConvStem",
    "DinoFeatures",
    "DinoV3",
    "DinoV3Config",
    "LastAttention",
    "TrunkStem",
    "convert_hub",
    "convert_official",
    "record_attention",
]


@dataclass(frozen=True, slots=True)
class DinoV3Config:
    """Sizes of one DINOv3; the defaults are those that all published ones share."""

    width: int
    depth: int
    heads: int
    patch: int = 16
    storage_tokens: int = 4
    ffn_ratio: float = 4.0
    layer_scale: float = 1e-5
    drop_path: float = 0.0
    stem: tuple[tuple[int, int], ...] = ()
    """(width, residual convolutions) per halving of the resolution; empty for the published patch convolution."""
    trunk: LiteConfig | None = None
    """A pretrained trunk in place of the patch convolution; `stem` is then unused."""


SPECS = {
    "vits16": DinoV3Config(width=384, depth=12, heads=6),
    "vitb16": DinoV3Config(width=768, depth=12, heads=12),
    "vitl16": DinoV3Config(width=1024, depth=24, heads=16),
}


class DinoFeatures(NamedTuple):
    """Tokens of B images."""

    cls: Tensor
    """(B, C)"""
    storage: Tensor
    """(B, S, C)"""
    patches: Tensor
    """(B, h * w, C), in row-major order"""
    grid: tuple[int, int]
    """(h, w)"""

    def patch_map(self) -> Tensor:
        """(B, C, h, w) map of the patches."""
        return self.patches.transpose(1, 2).reshape(len(self.patches), -1, *self.grid)


class LastAttention(NamedTuple):
    """Queries, keys and values of the last block before the rotary embedding, each (B, heads, tokens, head width)."""

    query: Tensor
    key: Tensor
    value: Tensor


def _conv(channels: int, width: int, *, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.GELU())


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = _conv(width, width)

    def forward(self, features: Tensor) -> Tensor:
        return features + self.conv(features)  # type: ignore[no-any-return]


class ConvStem(nn.Module):
    """A strided 3 x 3 convolution and residual ones per entry of `widths`, then a 1 x 1 convolution to `out`."""

    def __init__(self, widths: tuple[tuple[int, int], ...], out: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for width, extra in widths:
            layers += [_conv(channels, width, stride=2), *(_Residual(width) for _ in range(extra))]
            channels = width
        self.body = nn.Sequential(*layers)
        self.proj = nn.Conv2d(channels, out, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, out, H / 2^n, W / 2^n) from (B, 3, H, W), with n entries in `widths`."""
        return self.proj(self.body(pixels))  # type: ignore[no-any-return]


class TrunkStem(nn.Module):
    """A pretrained trunk: its maps at strides 8 and 16, normalised per cell, projected together to the width."""

    def __init__(self, config: LiteConfig, out: int) -> None:
        super().__init__()
        self.body = LiteTrunk(config)
        eighth, sixteenth, last = (config.widths[stage] for stage in (2, 4, 6))
        self.proj = nn.Conv2d(4 * eighth + sixteenth + last, out, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        """Map (B, 3, H, W) to (B, out, H / 16, W / 16)."""
        eighth, sixteenth, last = self.body(pixels)
        if last.shape[-2:] != sixteenth.shape[-2:]:
            last = F.interpolate(last, sixteenth.shape[-2:], mode="bilinear")
        maps = [F.pixel_unshuffle(eighth, 2), sixteenth, last]
        return self.proj(torch.cat([_normalize_channels(part) for part in maps], dim=1))  # type: ignore[no-any-return]


def _normalize_channels(features: Tensor) -> Tensor:
    """(B, C, h, w) with mean 0 and variance 1 over the channels of each cell."""
    return F.layer_norm(features.permute(0, 2, 3, 1), features.shape[1:2]).permute(0, 3, 1, 2)


_EPS = 1e-5
"""Of the LayerNorms."""
_STD = 0.02
"""Standard deviation of initial weights."""
_BASE = 100.0
"""Base of the periods of the rotary embedding, which are in halves of the image."""
_RESCALE = 2.0
"""In training, coordinates are multiplied by a random factor up to this, or divided by it."""


class _Embeddings(nn.Module):
    """CLS, storage tokens and the patch embedding; the mask token is for pre-training."""

    def __init__(self, config: DinoV3Config) -> None:
        super().__init__()
        width = config.width
        self.cls_token = nn.Parameter(torch.empty(1, 1, width))
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        self.register_tokens = nn.Parameter(torch.empty(1, config.storage_tokens, width))
        for tokens in (self.cls_token, self.register_tokens):
            nn.init.trunc_normal_(tokens, std=_STD)
        self.patch_embeddings: nn.Module = nn.Conv2d(3, width, config.patch, config.patch)
        if config.trunk is not None:
            self.patch_embeddings = TrunkStem(config.trunk, width)
        elif config.stem:
            if 2 ** len(config.stem) != config.patch:
                raise ValueError(f"a stem of {len(config.stem)} halvings does not make patches of {config.patch}")
            self.patch_embeddings = ConvStem(config.stem, width)

    def forward(self, patches: Tensor) -> Tensor:
        """(B, 1 + S + h * w, C) tokens of (B, C, h, w) embedded patches."""
        first = (part.expand(len(patches), -1, -1) for part in (self.cls_token, self.register_tokens))
        return torch.cat([*first, patches.flatten(2).transpose(1, 2)], dim=1)


class _RotaryEmbedding(nn.Module):
    """Angles of the patches: an axis at a time, from the patch's centre, -1 to 1 across the image."""

    def __init__(self, head_width: int) -> None:
        super().__init__()
        powers = torch.arange(head_width // 4, dtype=torch.float32) * (4 / head_width)
        self.register_buffer("inv_freq", _BASE**-powers, persistent=False)
        self.inv_freq: Tensor

    def forward(self, grid: tuple[int, int], dtype: torch.dtype) -> Rotation:
        """Cosines and sines, each (h * w, D), in row-major order."""
        down, across = ((torch.arange(n, device=self.inv_freq.device) + 0.5) / n * 2 - 1 for n in grid)
        places = torch.stack(torch.meshgrid(down, across, indexing="ij"), dim=-1).flatten(0, 1)
        if self.training:
            # the paper's box jittering, which makes features robust to resolution and aspect ratio
            exponent = places.new_empty(1).uniform_(-math.log(_RESCALE), math.log(_RESCALE))
            places = places * exponent.exp()
        # rows first, then columns, both again for the second coordinate of each rotation
        angles = (2 * math.pi * places[:, :, None] * self.inv_freq).flatten(1).tile(2)
        return angles.cos().to(dtype), angles.sin().to(dtype)


class _Mlp(nn.Module):
    """Linear, GELU, linear."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.up_proj = nn.Linear(width, hidden)
        self.down_proj = nn.Linear(hidden, width)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.down_proj(F.gelu(self.up_proj(tokens)))  # type: ignore[no-any-return]


class _Encoder(nn.Module):
    def __init__(self, config: DinoV3Config) -> None:
        super().__init__()
        self.layer = nn.ModuleList(
            Block(
                config.width, config.heads, _Mlp(config.width, int(config.width * config.ffn_ratio)),
                eps=_EPS, layer_scale=config.layer_scale, drop_path=config.drop_path,
            )
            for _ in range(config.depth)
        )  # fmt: skip


class _Vit(nn.Module):
    """The parts under the names of the preset files."""

    def __init__(self, config: DinoV3Config) -> None:
        super().__init__()
        self.embeddings = _Embeddings(config)
        self.rope_embeddings = _RotaryEmbedding(config.width // config.heads)
        self.model = _Encoder(config)
        self.norm = nn.LayerNorm(config.width, eps=_EPS)


class DinoV3(nn.Module):
    """The transformer, for normalised (B, 3, H, W) images with H and W multiples of the patch."""

    def __init__(self, config: DinoV3Config) -> None:
        super().__init__()
        self.config = config
        self.vit = _Vit(config)
        for module in self.vit.model.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=_STD)
                nn.init.zeros_(module.bias)

    @property
    def global_tokens(self) -> int:
        """Number of tokens before the patches: CLS and storage tokens."""
        return 1 + self.config.storage_tokens

    def split(self, tokens: Tensor, grid: tuple[int, int]) -> DinoFeatures:
        """Split (B, 1 + S + h * w, C) tokens into CLS, storage tokens and patches."""
        first = self.global_tokens
        return DinoFeatures(tokens[:, 0], tokens[:, 1:first], tokens[:, first:], grid)

    def grid(self, pixels: Tensor) -> tuple[int, int]:
        """Patch grid (h, w) of (B, 3, H, W) images."""
        return pixels.shape[-2] // self.config.patch, pixels.shape[-1] // self.config.patch

    def forward(self, pixels: Tensor) -> DinoFeatures:
        """Tokens after the last block and the final LayerNorm."""
        return self.intermediate(pixels, [self.config.depth - 1])[0]

    def intermediate(self, pixels: Tensor, blocks: list[int], *, norm: bool = True) -> list[DinoFeatures]:
        """Tokens after the given zero-based blocks in ascending order, by default through the final LayerNorm.

        Raises:
            ShapeError: a side is not a multiple of the patch.
        """
        return self._transform(self._embed_patches(pixels), blocks, norm=norm)

    def with_taps(self, pixels: Tensor, blocks: list[int]) -> tuple[list[DinoFeatures], DinoFeatures]:
        """Tokens after the given zero-based blocks, without a norm, and those of `forward`, in one pass."""
        *taps, end = self.intermediate(pixels, [*blocks, self.config.depth - 1], norm=False)
        return taps, self.split(self.vit.norm(torch.cat([end.cls[:, None], end.storage, end.patches], dim=1)), end.grid)

    @property
    def blocks(self) -> nn.ModuleList:
        """The transformer blocks."""
        return self.vit.model.layer

    def with_stem(self, pixels: Tensor) -> tuple[Tensor, DinoFeatures]:
        """(B, C, h, w) output of the patch embedding, and the tokens of `forward`, in one pass."""
        patches = self._embed_patches(pixels)
        return patches, self._transform(patches, [self.config.depth - 1], norm=True)[0]

    def _embed_patches(self, pixels: Tensor) -> Tensor:
        height, width = pixels.shape[-2:]
        if height % self.config.patch or width % self.config.patch:
            raise ShapeError(f"image sides must be multiples of {self.config.patch}, got {height} x {width}")
        embeddings = self.vit.embeddings
        return embeddings.patch_embeddings(pixels.to(embeddings.cls_token.dtype))  # type: ignore[no-any-return]

    def _transform(self, patches: Tensor, blocks: list[int], *, norm: bool) -> list[DinoFeatures]:
        grid = patches.shape[-2], patches.shape[-1]
        tokens = self.vit.embeddings(patches)
        rotation = self.vit.rope_embeddings(grid, tokens.dtype)
        outputs = []
        for index, block in enumerate(self.vit.model.layer):
            tokens = block(tokens, rotation)
            if index in blocks:
                outputs.append(self.split(self.vit.norm(tokens) if norm else tokens, grid))
        return outputs

    def record_attention(self) -> AbstractContextManager[list[LastAttention]]:
        """Context in which the last block's attention is recorded, one entry per forward pass."""
        return record_attention(self.vit.model.layer[-1].get_submodule("attention"), self.config.heads)

    def rotate(self, pixels: Tensor, attention: LastAttention) -> LastAttention:
        """`attention` with the rotary embedding applied to queries and keys of the patches."""
        rotation = self.vit.rope_embeddings(self.grid(pixels), pixels.dtype)
        return LastAttention(rotate(attention.query, rotation), rotate(attention.key, rotation), attention.value)


@contextmanager
def record_attention(attention: nn.Module, heads: int) -> Iterator[list[LastAttention]]:
    """Record the outputs of a block's `q_proj`, `k_proj` and `v_proj`, one entry per forward pass."""
    recorded: list[LastAttention] = []
    parts: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: object, output: Tensor) -> None:
        parts.append(output.unflatten(2, (heads, -1)).transpose(1, 2))
        if len(parts) == len(LastAttention._fields):
            recorded.append(LastAttention(*parts))
            parts.clear()

    # in the order in which the block computes them
    hooks = [getattr(attention, f"{name}_proj").register_forward_hook(keep) for name in "qkv"]
    try:
        yield recorded
    finally:
        for hook in hooks:
            hook.remove()


_RENAMED = {
    "cls_token": "embeddings.cls_token",
    "storage_tokens": "embeddings.register_tokens",
    "patch_embed.proj.weight": "embeddings.patch_embeddings.weight",
    "patch_embed.proj.bias": "embeddings.patch_embeddings.bias",
    "norm.weight": "norm.weight",
    "norm.bias": "norm.bias",
}
_IN_BLOCK = {
    "attn.proj": "attention.o_proj",
    "mlp.fc1": "mlp.up_proj",
    "mlp.fc2": "mlp.down_proj",
    "ls1.gamma": "layer_scale1.lambda1",
    "ls2.gamma": "layer_scale2.lambda1",
    "norm1": "norm1",
    "norm2": "norm2",
}


def convert_official(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the keys of the authors' `.pth` files to those of `DinoV3`.

    Key biases are multiplied by the mask in the file, as in the authors' layer; `local_cls_norm` is unused.

    Raises:
        BadWeights: an unknown key, or a qkv bias without its mask.
    """
    out: dict[str, Tensor] = {}
    for name, value in state.items():
        if name in _RENAMED:
            out[f"vit.{_RENAMED[name]}"] = value
        elif name == "mask_token":
            out["vit.embeddings.mask_token"] = value.reshape(1, 1, -1)
        elif name.startswith("blocks."):
            out.update(_convert_block(state, name, value))
        elif name != "rope_embed.periods" and not name.startswith("local_cls_norm."):
            raise BadWeights(f"The DINOv3 file holds a key that its layout does not know: {name}.")
    return out


def convert_hub(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the keys of the Hugging Face file, which has no key biases, to those of `DinoV3`."""
    return {
        f"vit.{name.replace('layer.', 'model.layer.', 1) if name.startswith('layer.') else name}": value
        for name, value in state.items()
    }


def _convert_block(state: Mapping[str, Tensor], name: str, value: Tensor) -> dict[str, Tensor]:
    _, index, rest = name.split(".", 2)
    into = f"vit.model.layer.{index}"
    if rest == "attn.qkv.bias_mask":
        return {}
    if rest in ("attn.qkv.weight", "attn.qkv.bias"):
        if rest.endswith("bias"):
            mask = state.get(f"{name}_mask")
            if mask is None:
                raise BadWeights(f"The DINOv3 file lacks the key {name}_mask.")
            # some releases store NaN where the mask is 0, and 0 * NaN is NaN
            value = torch.where(mask.bool(), value * mask, torch.zeros_like(value))
        kind = rest.rsplit(".", 1)[1]
        return {f"{into}.attention.{n}_proj.{kind}": v for n, v in zip("qkv", value.chunk(3), strict=True)}
    for theirs, ours in _IN_BLOCK.items():
        if rest == theirs or rest.startswith(f"{theirs}."):
            return {f"{into}.{ours}{rest[len(theirs) :]}": value}
    raise BadWeights(f"The DINOv3 file holds a key that its layout does not know: {name}.")
