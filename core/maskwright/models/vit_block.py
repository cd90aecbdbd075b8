"""The transformer block that DINOv2 and DINOv3 share: pre-norm, layer scale, stochastic depth.

Shapes: B images, N tokens, C channels, D channels per head.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Block", "Rotation", "rotate"]

Rotation = tuple[Tensor, Tensor]
"""Cosines and sines, each (P, D), of the angles by which the channels of P patches are rotated."""


class Block(nn.Module):
    """x + ls1 * attention(norm1 x), then x + ls2 * mlp(norm2 x)."""

    def __init__(
        self, width: int, heads: int, mlp: nn.Module, *, eps: float, layer_scale: float = 1.0, drop_path: float = 0.0
    ) -> None:
        super().__init__()
        self.drop_path = drop_path
        self.norm1 = nn.LayerNorm(width, eps=eps)
        self.attention = _Attention(width, heads)
        self.layer_scale1 = _LayerScale(width, layer_scale)
        self.norm2 = nn.LayerNorm(width, eps=eps)
        self.mlp = mlp
        self.layer_scale2 = _LayerScale(width, layer_scale)

    def forward(self, tokens: Tensor, rotation: Rotation | None = None) -> Tensor:
        """(B, N, C) from (B, N, C); `rotation` is that of the last tokens, the patches."""
        tokens = tokens + self._dropped(self.layer_scale1(self.attention(self.norm1(tokens), rotation)))
        return tokens + self._dropped(self.layer_scale2(self.mlp(self.norm2(tokens))))

    def _dropped(self, residual: Tensor) -> Tensor:
        """Stochastic depth (Huang et al., 2016): in training, some images skip the residual and the rest have more."""
        if not self.training or self.drop_path == 0:
            return residual
        drawn = torch.rand(len(residual), 1, 1, dtype=residual.dtype, device=residual.device)
        return residual / (1 - self.drop_path) * (drawn >= self.drop_path)


class _LayerScale(nn.Module):
    """A learned factor per channel (Touvron et al., 2021, "Going deeper with image transformers")."""

    def __init__(self, width: int, initial: float) -> None:
        super().__init__()
        self.lambda1 = nn.Parameter(torch.full((width,), initial))

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens * self.lambda1


class _Attention(nn.Module):
    """Multi-head self-attention; `record_attention` reads the outputs of its projections."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        # a paused training run finds the state of its optimizer by this order
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.q_proj = nn.Linear(width, width)
        self.o_proj = nn.Linear(width, width)

    def forward(self, tokens: Tensor, rotation: Rotation | None = None) -> Tensor:
        """(B, N, C) from (B, N, C)."""
        query, key, value = (
            projected.unflatten(2, (self.heads, -1)).transpose(1, 2)
            for projected in (self.q_proj(tokens), self.k_proj(tokens), self.v_proj(tokens))
        )
        if rotation is not None:
            query, key = rotate(query, rotation), rotate(key, rotation)
        mixed = F.scaled_dot_product_attention(query, key, value)
        return self.o_proj(mixed.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


def rotate(tokens: Tensor, rotation: Rotation) -> Tensor:
    """Rotary embedding (Su et al., 2021) of (B, heads, N, D) queries or keys.

    Channels c and c + D / 2 are the two coordinates that one angle rotates. The tokens before the patches stay.
    """
    cosine, sine = rotation
    before, patches = tokens.tensor_split([tokens.shape[2] - len(cosine)], dim=2)
    first, second = patches.chunk(2, dim=-1)
    return torch.cat([before, patches * cosine + torch.cat([-second, first], dim=-1) * sine], dim=2)
