"""dino.txt (Jose et al., 2024): text aligned with DINOv2 or DINOv3 features, of the image and of its patches.

In the paper's order: vision head (Sec. 3.2), text tower, the two halves of the text embedding, similarity of the image
and of its patches. Module names are those of the authors' checkpoint on DINOv3, so the keys of head and text tower load
as they are; `convert_dinov2_part` renames those on DINOv2, and each backbone has its own `convert_official`.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maskwright.models.dinov2 import SPECS as DINOV2
from maskwright.models.dinov2 import DinoV2, DinoV2Config
from maskwright.models.dinov3 import DinoFeatures, DinoV3, DinoV3Config, LastAttention
from maskwright.models.feed_forward import FeedForward

__all__ = [
    "SPECS",
    "DinoTxt",
    "DinoTxtConfig",
    "HeadConfig",
    "TextConfig",
    "VisualModel",
    "average_prompts",
    "class_descriptor",
    "convert_dinov2_part",
    "dense_similarity",
    "global_half",
    "image_descriptor",
    "local_half",
]

_TEXT_BATCH = 64


@dataclass(frozen=True, slots=True)
class HeadConfig:
    """Sizes of the vision head: transformer blocks without position encoding on all tokens of the backbone."""

    blocks: int = 2
    heads: int = 16
    ffn_ratio: float = 4.0
    layer_scale: float = 1e-5
    drop_path: float = 0.0


@dataclass(frozen=True, slots=True)
class TextConfig:
    """Sizes of the text tower: a causal transformer, read at the end token, which has the largest id."""

    vocabulary: int = 49408
    context: int = 77
    width: int = 1280
    depth: int = 24
    heads: int = 20
    ffn_ratio: float = 4.0


@dataclass(frozen=True, slots=True)
class DinoTxtConfig:
    """Sizes of the whole model; the text embedding is twice as wide as the backbone."""

    backbone: DinoV3Config | DinoV2Config
    """The paper's is DINOv2; the DINOv3 release has a dino.txt of its own."""
    head: HeadConfig = field(default_factory=HeadConfig)
    text: TextConfig = field(default_factory=TextConfig)


SPECS = {
    "vitl14": DinoTxtConfig(backbone=DINOV2["vitl14_reg"]),
    "vitl16": DinoTxtConfig(backbone=DinoV3Config(width=1024, depth=24, heads=16)),
}
"""Released sizes: on DINOv2 with registers, and on DINOv3."""


class _Attention(nn.Module):
    """Multi-head self-attention; queries, keys and values come from one projection without bias."""

    def __init__(self, width: int, heads: int, *, causal: bool) -> None:
        super().__init__()
        self.heads = heads
        self.causal = causal
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        query, key, value = self.qkv(tokens).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=self.causal)
        return self.proj(mixed.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class _SwiGlu(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        hidden = -(-int(hidden * 2 / 3) // 64) * 64
        self.w1 = nn.Linear(width, hidden)
        self.w2 = nn.Linear(width, hidden)
        self.w3 = nn.Linear(hidden, width)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.w3(F.silu(self.w1(tokens)) * self.w2(tokens))  # type: ignore[no-any-return]


class _LayerScale(nn.Module):
    def __init__(self, width: int, initial: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((width,), initial))

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens * self.gamma


class _HeadBlock(nn.Module):
    def __init__(self, width: int, config: HeadConfig) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = _Attention(width, config.heads, causal=False)
        self.ls1 = _LayerScale(width, config.layer_scale)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = _SwiGlu(width, int(width * config.ffn_ratio))
        self.ls2 = _LayerScale(width, config.layer_scale)
        self.drop_path = config.drop_path

    def _dropped(self, branch: Tensor) -> Tensor:
        """Stochastic depth: drop a sample's branch with probability `drop_path`, in training only."""
        if not self.training or not self.drop_path:
            return branch
        keep = torch.rand(branch.shape[0], 1, 1, device=branch.device) >= self.drop_path
        return branch * keep / (1 - self.drop_path)

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self._dropped(self.ls1(self.attn(self.norm1(tokens))))
        return tokens + self._dropped(self.ls2(self.mlp(self.norm2(tokens))))


class _VisionHead(nn.Module):
    def __init__(self, width: int, config: HeadConfig) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(_HeadBlock(width, config) for _ in range(config.blocks))
        self.ln_final = nn.LayerNorm(width)

    def forward(self, tokens: Tensor) -> Tensor:
        for block in self.blocks:
            tokens = block(tokens)
        return self.ln_final(tokens)  # type: ignore[no-any-return]


class VisualModel(nn.Module):
    """Backbone and vision head (Sec. 3.2), with the interface of a backbone."""

    def __init__(self, config: DinoTxtConfig) -> None:
        super().__init__()
        self.config = config.backbone
        self.backbone: DinoV2 | DinoV3 = (
            DinoV2(config.backbone) if isinstance(config.backbone, DinoV2Config) else DinoV3(config.backbone)
        )
        self.head = _VisionHead(config.backbone.width, config.head)

    @property
    def global_tokens(self) -> int:
        """Number of tokens before the patches: CLS and storage tokens."""
        return self.backbone.global_tokens

    def record_attention(self) -> AbstractContextManager[list[LastAttention]]:
        """Context in which the backbone's last attention is recorded; see `DinoV3.record_attention`."""
        return self.backbone.record_attention()

    @property
    def blocks(self) -> nn.ModuleList:
        """The backbone's transformer blocks."""
        return self.backbone.blocks

    def forward(self, pixels: Tensor) -> DinoFeatures:
        """Tokens of normalised (B, 3, H, W) images after the head."""
        return self._after_head(self.backbone(pixels))

    def with_taps(self, pixels: Tensor, blocks: list[int]) -> tuple[list[DinoFeatures], DinoFeatures]:
        """Tokens after the backbone's given zero-based blocks, without a norm, and those of `forward`, in one pass."""
        taps, end = self.backbone.with_taps(pixels, blocks)
        return taps, self._after_head(end)

    def _after_head(self, raw: DinoFeatures) -> DinoFeatures:
        # the paper drops the storage tokens before the head; the released code does so after it
        tokens = self.head(torch.cat([raw.cls[:, None], raw.storage, raw.patches], dim=1))
        return DinoFeatures(tokens[:, 0], tokens[:, 1 : self.global_tokens], tokens[:, self.global_tokens :], raw.grid)


class _TextBlock(nn.Module):
    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.width)
        self.attention = _Attention(config.width, config.heads, causal=True)
        self.ffn_norm = nn.LayerNorm(config.width)
        self.feed_forward = FeedForward(config.width, int(config.width * config.ffn_ratio))

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.attention(self.attention_norm(tokens))
        return tokens + self.feed_forward(self.ffn_norm(tokens))  # type: ignore[no-any-return]


class _TextBackbone(nn.Module):
    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(config.vocabulary, config.width)
        self.positional_embedding = nn.Parameter(torch.empty(config.context, config.width))
        self.blocks = nn.ModuleList(_TextBlock(config) for _ in range(config.depth))
        self.ln_final = nn.LayerNorm(config.width)

    def forward(self, ids: Tensor) -> Tensor:
        tokens = self.token_embedding(ids) + self.positional_embedding[: ids.shape[1]]
        for block in self.blocks:
            tokens = block(tokens)
        return self.ln_final(tokens)  # type: ignore[no-any-return]


class _TextHead(nn.Module):
    def __init__(self, width: int, embedding: int) -> None:
        super().__init__()
        self.linear_projection = nn.Linear(width, embedding, bias=False)


class _TextModel(nn.Module):
    def __init__(self, config: TextConfig, embedding: int) -> None:
        super().__init__()
        self.backbone = _TextBackbone(config)
        self.head = _TextHead(config.width, embedding)

    def forward(self, ids: Tensor) -> Tensor:
        # the tower is causal and read at the end token, so that the padding behind it can be cut off: texts of similar
        # length form a batch
        end = ids.argmax(dim=1)
        order = end.argsort(stable=True)
        parts = [
            self.backbone(ids[rows, : int(end[rows].max()) + 1])[torch.arange(len(rows)), end[rows]]
            for rows in order.split(_TEXT_BATCH)
        ]
        return self.head.linear_projection(torch.cat(parts)[order.argsort()])  # type: ignore[no-any-return]


class DinoTxt(nn.Module):
    """The whole model; `logit_scale` is the logarithm of the factor on cosines."""

    def __init__(self, config: DinoTxtConfig) -> None:
        super().__init__()
        self.config = config
        self.visual_model = VisualModel(config)
        self.text_model = _TextModel(config.text, 2 * config.backbone.width)
        self.logit_scale = nn.Parameter(torch.tensor([1 / 0.07]).log())
        self._initialise()

    def _initialise(self) -> None:
        for module in [*self.visual_model.head.modules(), *self.text_model.modules()]:
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if isinstance(module, nn.Linear) and module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.normal_(self.text_model.backbone.positional_embedding, std=0.01)

    def encode_image(self, pixels: Tensor) -> DinoFeatures:
        """Tokens of normalised (B, 3, H, W) images after the vision head."""
        return self.visual_model(pixels)  # type: ignore[no-any-return]

    def encode_text(self, ids: Tensor) -> Tensor:
        """(T, 2C) embeddings of (T, context) token ids, not normalised; the first half is global, the second local."""
        return self.text_model(ids)  # type: ignore[no-any-return]


def convert_dinov2_part(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Keys of the authors' files for DINOv2, one of the vision head and one of the text tower, renamed to ours."""
    if "ln_final.weight" in state:
        return {f"visual_model.head.{name.replace('block_list.', 'blocks.')}": value for name, value in state.items()}
    return {f"text_model.{name}": value for name, value in state.items()}


def image_descriptor(features: DinoFeatures) -> Tensor:
    """(B, 2C) unit descriptors of whole images: CLS beside the mean of the patches (Sec. 3.2)."""
    return F.normalize(torch.cat([features.cls, features.patches.mean(dim=1)], dim=-1), dim=-1)


def class_descriptor(text: Tensor) -> Tensor:
    """(2C,) unit vector of a class for whole images: the mean of its (P, 2C) prompts' unit embeddings."""
    return F.normalize(F.normalize(text, dim=-1).mean(dim=0), dim=0)


def global_half(text: Tensor) -> Tensor:
    """(..., C) half of (..., 2C) embeddings that is aligned with CLS, unit length."""
    return F.normalize(text.chunk(2, dim=-1)[0], dim=-1)


def local_half(text: Tensor) -> Tensor:
    """(..., C) half of (..., 2C) embeddings that is aligned with the patches, unit length."""
    return F.normalize(text.chunk(2, dim=-1)[1], dim=-1)


def average_prompts(text: Tensor) -> Tensor:
    """(C,) class vector of (P, 2C) prompt embeddings: the mean of their unit local halves, unit length."""
    return F.normalize(local_half(text).mean(dim=0), dim=0)


def dense_similarity(features: DinoFeatures, text: Tensor) -> Tensor:
    """(B, T, h, w) cosines of the patches with (T, C) unit class vectors."""
    cosine = F.normalize(features.patches, dim=-1) @ text.T
    return cosine.transpose(1, 2).reshape(len(cosine), -1, *features.grid)
