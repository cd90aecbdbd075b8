"""Talk2DINO (Barsellotti et al., 2024): CLIP's words mapped into the space of DINO's patches.

Told in the paper's order: the projection (Eq. 3), attention heads as regions of an image (Eqs. 4 to 6), the loss that
teaches the projection (Eq. 7), the similarity map (Eq. 1), background cleaning (Eqs. 8 to 10) and image-text matching
(Appendix B). Both backbones stay as they are. Where the released code departs from the formulas it is followed, and
the function says so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maskwright.models.dinov3 import LastAttention

__all__ = [
    "LAMBDA",
    "THRESHOLD",
    "InfoNce",
    "Pooling",
    "Projection",
    "ProjectionConfig",
    "best_head",
    "class_vector",
    "clean",
    "cls_attention",
    "convert_official",
    "head_embeddings",
    "head_similarity",
    "image_similarity",
    "pooled",
    "scores",
    "similarity",
]

LAMBDA = 0.2
"""Weight of the attention in background cleaning."""
THRESHOLD = 0.55
"""Score under which a pixel is background, for ViT-B; it is 0.54 for ViT-L."""
_EPS = 1e-6
_SCALE = 0.125
"""On attention logits: the released code's constant, which is right for heads 64 wide."""


@dataclass(frozen=True, slots=True)
class ProjectionConfig:
    """Sizes of the projection; the defaults are those of the released ones."""

    text: int = 512
    """Width of the text embedding."""
    width: int = 768
    """Of the patches."""
    hidden: int | None = None
    """Between the two affine maps; None: as wide as the patches."""


class Projection(nn.Module):
    """Text into patch space (Eq. 3): affine, tanh, affine; module names are those of the released files."""

    def __init__(self, config: ProjectionConfig) -> None:
        super().__init__()
        hidden = config.hidden or config.width
        self.linear_layer = nn.Linear(config.text, hidden)
        self.hidden_layers = nn.ModuleList([nn.Linear(hidden, config.width)])

    def forward(self, text: Tensor) -> Tensor:
        """(..., text) embeddings as the text tower gives them, not normalised -> (..., width), not normalised."""
        return self.hidden_layers[0](self.linear_layer(text).tanh())  # type: ignore[no-any-return]


def convert_official(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The keys of a released projection; older files call the second map `linear_layer2`."""
    return {name.replace("linear_layer2.", "hidden_layers.0."): value for name, value in state.items()}


def class_vector(projection: Projection, text: Tensor) -> Tensor:
    """(..., C) unit vectors of (P, ..., text) prompts: the mean of raw embeddings, projected, then normalised."""
    return F.normalize(projection(text.mean(dim=0)), dim=-1, eps=_EPS)


# Sec. 3.2: attention heads as regions


def cls_attention(attention: LastAttention, global_tokens: int) -> Tensor:
    """(B, heads, N) logits with which CLS looks at the patches in the last block.

    Queries and keys are taken before rotation, as the released code does for DINOv3.
    """
    return (attention.query[:, :, :1] @ attention.key[:, :, global_tokens:].transpose(2, 3))[:, :, 0] * _SCALE


def head_embeddings(features: Tensor, attention: Tensor) -> Tensor:
    """What each head looks at (Eq. 4): (B, heads, C), the mean of (B, C, N) patches weighted by softmaxed attention.

    The released code divides by N once more, which the cosine takes out again.
    """
    return attention.softmax(dim=-1) @ features.transpose(1, 2) / features.shape[-1]


def head_similarity(heads: Tensor, text: Tensor) -> Tensor:
    """Cosines (Eq. 5) of (B, heads, C) regions with (T, C) projected texts: (B, T, heads)."""
    return F.normalize(text, dim=-1, eps=_EPS) @ F.normalize(heads, dim=-1, eps=_EPS).transpose(1, 2)


def best_head(heads: Tensor, text: Tensor) -> Tensor:
    """(B, T) the head that fits each text best; no gradient goes through the choice."""
    return head_similarity(heads.detach(), text.detach()).argmax(dim=-1)


Pooling = Literal["max_head", "average", "cls"]
"""What stands for an image in training (Table 4): the head that fits its caption best, what all heads look at on
average, or the CLS token."""


def pooled(regions: Tensor, text: Tensor, pooling: Pooling) -> Tensor:
    """(B, C): what stands for each image when its own caption, (B, C) projected, is compared with the batch.

    `regions` is (B, heads, C) for "max_head" (Eq. 6), else (B, 1, C).
    """
    if pooling != "max_head":
        return regions[:, 0]
    rows = torch.arange(len(regions), device=regions.device)
    return regions[rows, best_head(regions, text)[rows, rows]]


class InfoNce(nn.Module):
    """Symmetric cross-entropy over a batch of image-text pairs (Eq. 7), with a scale that learns."""

    def __init__(self) -> None:
        super().__init__()
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def forward(self, cosines: Tensor, same: Tensor | None = None) -> Tensor:
        """Loss of (B, B) cosines of images with texts; pair i is right with text i.

        `same` (B, B) marks pairs that are right as well (two pictures of a cow, captioned "cow"): they count neither
        for nor against. The released loss is this one divided by B squared.
        """
        logits = cosines * self.logit_scale.exp()
        if same is not None:
            own = torch.eye(len(logits), dtype=torch.bool, device=logits.device)
            logits = logits.masked_fill(same & ~own, -torch.inf)
        right = torch.arange(len(logits), device=logits.device)
        return (F.cross_entropy(logits, right) + F.cross_entropy(logits.T, right)) / 2


# Sec. 3.1 and 3.3: maps


def similarity(features: Tensor, text: Tensor) -> Tensor:
    """Cosines (Eq. 1) of (B, C, h, w) patches with (T, C) unit class vectors: (B, T, h, w)."""
    return torch.einsum("bchw,tc->bthw", F.normalize(features, dim=1, eps=_EPS), text)


def scores(features: Tensor, text: Tensor) -> Tensor:
    """Sigmoid of the cosines, as released: between 0.27 and 0.73, and 0.55 is a cosine of 0.2."""
    return similarity(features, text).sigmoid()


def clean(maps: Tensor, features: Tensor, attention: Tensor, text: Tensor, *, weight: float = LAMBDA) -> Tensor:
    """Background cleaning: each class's map, raised where the heads look that speak of the class (Eqs. 8 to 10).

    Follows the released code: attention enters as logits, both as weights of the patches and in the classes' maps, and
    one minimum and maximum over all classes and patches sets the range. Any text method can use it whose patches and
    class vectors share a space and whose backbone has a CLS token.

    Args:
        maps: (T, h, w) scores of the classes, of any range.
        features: (C, N) patches, N = h * w, not normalised.
        attention: (heads, N) logits of CLS on the patches.
        text: (T, C) unit class vectors.
        weight: lambda of Eq. 10; 0 changes nothing.

    Returns:
        (T, h, w) in the range of `maps`.
    """
    heads = F.normalize(attention @ features.T / features.shape[1], dim=-1, eps=_EPS)
    related = (text @ heads.T).softmax(dim=-1)  # Eq. 8
    looked_at = (related @ attention).softmax(dim=-1).view_as(maps)  # Eq. 9
    low, high = looked_at.min(), looked_at.max()
    # the denominator is the maximum, not the span
    shaped = (looked_at - low) / torch.maximum(high, high - low)
    shaped = maps.min() + shaped * (maps.max() - maps.min())
    return (maps + weight * shaped) / (1 + weight)  # Eq. 10


# Appendix B: image-text matching


def image_similarity(heads: Tensor, text: Tensor) -> Tensor:
    """(B, T) how well each image, given by its (B, heads, C) regions, fits each text: the best head's cosine."""
    return head_similarity(heads, text).amax(dim=-1)
