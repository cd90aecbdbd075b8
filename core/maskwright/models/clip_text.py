"""CLIP's text tower (Radford et al., 2021, Sec. 2.4): a causal transformer, read at the end token.

The authors' and the Hugging Face files load. Shapes: N texts, L tokens, C channels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maskwright.errors import BadWeights

__all__ = ["ClipText", "ClipTextConfig", "convert_hub", "convert_official"]


@dataclass(frozen=True, slots=True)
class ClipTextConfig:
    """Sizes of the text tower; the defaults are those of CLIP ViT-B/16."""

    vocabulary: int = 49408
    context: int = 77
    width: int = 512
    depth: int = 12
    heads: int = 8
    out: int = 512
    """Width of the embedding."""


class _Embeddings(nn.Module):
    """A learned vector per token and per place."""

    def __init__(self, config: ClipTextConfig) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(config.vocabulary, config.width)
        self.position_embedding = nn.Embedding(config.context, config.width)

    def forward(self, ids: Tensor) -> Tensor:
        """(N, L, C) from (N, L) token ids."""
        return self.token_embedding(ids) + self.position_embedding.weight[: ids.shape[1]]  # type: ignore[no-any-return]


class _Attention(nn.Module):
    """Multi-head self-attention of each token to itself and those before it."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        query, key, value = (
            projection(tokens).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.out_proj(mixed.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class _Mlp(nn.Module):
    """Linear, quick GELU, linear."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        hidden = self.fc1(tokens)
        return self.fc2(hidden * torch.sigmoid(1.702 * hidden))  # type: ignore[no-any-return]


class _Block(nn.Module):
    """Attention and a perceptron, each on normalised tokens and added to its input."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.self_attn = _Attention(width, heads)
        self.layer_norm1 = nn.LayerNorm(width)
        self.mlp = _Mlp(width)
        self.layer_norm2 = nn.LayerNorm(width)

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.self_attn(self.layer_norm1(tokens))
        return tokens + self.mlp(self.layer_norm2(tokens))  # type: ignore[no-any-return]


class _Encoder(nn.Module):
    def __init__(self, config: ClipTextConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_Block(config.width, config.heads) for _ in range(config.depth))


class _TextModel(nn.Module):
    def __init__(self, config: ClipTextConfig) -> None:
        super().__init__()
        self.embeddings = _Embeddings(config)
        self.encoder = _Encoder(config)
        self.final_layer_norm = nn.LayerNorm(config.width)

    def forward(self, ids: Tensor) -> Tensor:
        """(N, L, C) from (N, L) token ids."""
        tokens = self.embeddings(ids)
        for block in self.encoder.layers:
            tokens = block(tokens)
        return self.final_layer_norm(tokens)  # type: ignore[no-any-return]


class _Clip(nn.Module):
    """The parts under the names of the preset files."""

    def __init__(self, config: ClipTextConfig) -> None:
        super().__init__()
        self.text_model = _TextModel(config)
        self.text_projection = nn.Linear(config.width, config.out, bias=False)


class ClipText(nn.Module):
    """The text tower: token ids to embeddings."""

    def __init__(self, config: ClipTextConfig) -> None:
        super().__init__()
        self.config = config
        self.clip = _Clip(config)

    def forward(self, ids: Tensor) -> Tensor:
        """(N, out) embeddings of (N, context) token ids, not normalised."""
        # the end token has the highest id
        ends = ids.argmax(dim=1)
        # the tower is causal and read at the end token, so that padding behind the longest text can be cut off
        tokens = self.clip.text_model(ids[:, : int(ends.max()) + 1])
        return self.clip.text_projection(tokens[torch.arange(len(ids), device=ids.device), ends])  # type: ignore[no-any-return]


_TOWER = "clip.text_model."
_RENAMED = {
    "token_embedding.weight": "embeddings.token_embedding.weight",
    "positional_embedding": "embeddings.position_embedding.weight",
    "ln_final.weight": "final_layer_norm.weight",
    "ln_final.bias": "final_layer_norm.bias",
}
_IN_BLOCK = {
    "attn.out_proj.": "self_attn.out_proj.",
    "ln_1.": "layer_norm1.",
    "ln_2.": "layer_norm2.",
    "mlp.c_fc.": "mlp.fc1.",
    "mlp.c_proj.": "mlp.fc2.",
}
_BLOCKS = "transformer.resblocks."
IGNORABLE = ("visual.", "logit_scale", "input_resolution", "context_length", "vocab_size")
"""Prefixes of keys in the authors' file that the text tower does not use."""
_HUB_IGNORABLE = ("vision_model.", "visual_projection.", "logit_scale", "text_model.embeddings.position_ids")


def convert_official(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the keys of the authors' file to those of `ClipText`, in single precision, without the image tower.

    Raises:
        BadWeights: an unknown key.
    """
    out: dict[str, Tensor] = {}
    for name, value in state.items():
        if name.startswith(IGNORABLE):
            continue
        value = value.float()
        if name in _RENAMED:
            out[_TOWER + _RENAMED[name]] = value
        elif name == "text_projection":
            out["clip.text_projection.weight"] = value.T
        elif name.startswith(_BLOCKS):
            out |= _block(name, value)
        else:
            raise BadWeights(f"The CLIP file holds a key that its layout does not know: {name}.")
    return out


def _block(name: str, value: Tensor) -> dict[str, Tensor]:
    block, _, rest = name.removeprefix(_BLOCKS).partition(".")
    into = f"{_TOWER}encoder.layers.{block}."
    if rest in ("attn.in_proj_weight", "attn.in_proj_bias"):
        kind = rest.rsplit("_", 1)[1]
        return {f"{into}self_attn.{n}_proj.{kind}": part for n, part in zip("qkv", value.chunk(3), strict=True)}
    for theirs, ours in _IN_BLOCK.items():
        if rest.startswith(theirs):
            return {into + ours + rest.removeprefix(theirs): value}
    raise BadWeights(f"The CLIP file holds a key that its layout does not know: {name}.")


def convert_hub(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the keys of the Hugging Face file to those of `ClipText`, in single precision, without the image tower."""
    return {f"clip.{name}": value.float() for name, value in state.items() if not name.startswith(_HUB_IGNORABLE)}
