"""CLIP's text tower (Radford et al., 2021) on transformers' modules; the authors' and the Hugging Face files load."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModelWithProjection

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


class ClipText(nn.Module):
    """A causal transformer with quick GELU, read at the end token and projected."""

    def __init__(self, config: ClipTextConfig) -> None:
        super().__init__()
        self.config = config
        end = config.vocabulary - 1
        self.clip = CLIPTextModelWithProjection(
            CLIPTextConfig(
                vocab_size=config.vocabulary,
                max_position_embeddings=config.context,
                hidden_size=config.width,
                intermediate_size=4 * config.width,
                num_hidden_layers=config.depth,
                num_attention_heads=config.heads,
                projection_dim=config.out,
                hidden_act="quick_gelu",
                bos_token_id=end - 1,
                eos_token_id=end,
            )
        )

    def forward(self, ids: Tensor) -> Tensor:
        """(N, out) embeddings of (N, context) token ids, not normalised."""
        # the tower is causal and read at the end token, so that padding behind the longest text can be cut off
        longest = int(ids.argmax(dim=1).max()) + 1
        return self.clip(input_ids=ids[:, :longest]).text_embeds  # type: ignore[no-any-return]


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
