"""DINOv3 vision transformer (Simeoni et al., 2025) on transformers' modules.

`convert_official` renames the keys of the authors' files, which then load exactly. A small model may have
a convolutional stem in place of the patch convolution: trained from scratch, or a pretrained EfficientNet-Lite trunk.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import DINOv3ViTConfig, DINOv3ViTModel
from transformers.models.dinov3_vit.modeling_dinov3_vit import apply_rotary_pos_emb

from maskwright.errors import BadWeights, ShapeError
from maskwright.models.efficientnet_lite import LiteConfig, LiteTrunk

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

    @property
    def weight(self) -> Tensor:
        """Weight of the last convolution, of which transformers reads the dtype."""
        return self.proj.weight

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

    @property
    def weight(self) -> Tensor:
        """Weight of the last convolution; transformers reads its dtype."""
        return self.proj.weight

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


class DinoV3(nn.Module):
    """The transformer, for normalised (B, 3, H, W) images with H and W multiples of the patch."""

    def __init__(self, config: DinoV3Config) -> None:
        super().__init__()
        self.config = config
        self.vit = DINOv3ViTModel(
            DINOv3ViTConfig(
                hidden_size=config.width,
                num_hidden_layers=config.depth,
                num_attention_heads=config.heads,
                intermediate_size=int(config.width * config.ffn_ratio),
                patch_size=config.patch,
                num_register_tokens=config.storage_tokens,
                layerscale_value=config.layer_scale,
                drop_path_rate=config.drop_path,
                layer_norm_eps=1e-5,
                key_bias=True,  # masked to zero in the authors' file, where it counts as a parameter
                rope_theta=100.0,
            )
        )
        if config.trunk is not None:
            self.vit.embeddings.patch_embeddings = TrunkStem(config.trunk, config.width)
        elif config.stem:
            if 2 ** len(config.stem) != config.patch:
                raise ValueError(f"a stem of {len(config.stem)} halvings does not make patches of {config.patch}")
            self.vit.embeddings.patch_embeddings = ConvStem(config.stem, config.width)

    @property
    def global_tokens(self) -> int:
        """Number of tokens before the patches: CLS and storage tokens."""
        return 1 + self.config.storage_tokens

    def _embedded(self, pixels: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        height, width = pixels.shape[-2:]
        if height % self.config.patch or width % self.config.patch:
            raise ShapeError(f"image sides must be multiples of {self.config.patch}, got {height} x {width}")
        return self.vit.embeddings(pixels), self.vit.rope_embeddings(pixels)

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
        tokens, rope = self._embedded(pixels)
        outputs = []
        for index, block in enumerate(self.vit.model.layer):
            tokens = block(tokens, position_embeddings=rope)
            if index in blocks:
                outputs.append(self.split(self.vit.norm(tokens) if norm else tokens, self.grid(pixels)))
        return outputs

    def with_stem(self, pixels: Tensor) -> tuple[Tensor, DinoFeatures]:
        """(B, C, h, w) output of the patch embedding, and the tokens of `forward`, in one pass."""
        recorded: list[Tensor] = []
        embedding = self.vit.embeddings.patch_embeddings
        hook = embedding.register_forward_hook(lambda module, inputs, output: recorded.append(output))
        try:
            features = self(pixels)
        finally:
            hook.remove()
        return recorded[0], features

    def record_attention(self) -> AbstractContextManager[list[LastAttention]]:
        """Context in which the last block's attention is recorded, one entry per forward pass."""
        return record_attention(self.vit.model.layer[-1].attention, self.config.heads)

    def rotate(self, pixels: Tensor, attention: LastAttention) -> LastAttention:
        """`attention` with the rotary embedding applied to queries and keys of the patches."""
        query, key = apply_rotary_pos_emb(attention.query, attention.key, *self.vit.rope_embeddings(pixels))
        return LastAttention(query, key, attention.value)


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
IGNORABLE = ("local_cls_norm.",)
"""Keys of the satellite release that inference does not use."""


def convert_official(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the keys of the authors' `.pth` files to those of `DinoV3`.

    Biases of the keys are multiplied by the mask in the file, as in the authors' layer.

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
        elif name != "rope_embed.periods" and not name.startswith(IGNORABLE):
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
