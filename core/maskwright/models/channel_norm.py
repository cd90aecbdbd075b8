"""LayerNorm over the channels of a map, as SAM's neck, prompt encoder and mask decoder have it."""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["ChannelNorm"]


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of each cell, eps 1e-6."""

    def __init__(self, width: int) -> None:
        super().__init__(width, eps=1e-6)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, h, w) from (B, C, h, w)."""
        return super().forward(features.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
