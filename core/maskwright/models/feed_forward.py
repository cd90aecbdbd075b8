"""The two-layer perceptron of transformer blocks, with the names of dino.txt's text tower and CAT-Seg's Swin blocks."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["FeedForward"]


class FeedForward(nn.Module):
    """Linear, GELU, linear."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """(..., width) from (..., width)."""
        return self.fc2(F.gelu(self.fc1(tokens)))  # type: ignore[no-any-return]
