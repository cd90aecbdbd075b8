"""Talk2DINO (Barsellotti et al., 2024): CLIP text embeddings projected into the space of DINO's patches.

In the paper's order: the projection (Eq. 3), attention heads as image regions (Eqs. 4 to 6), the loss of its training
(Eq. 7), the similarity map (Eq. 1), background cleaning (Eqs. 8 to 10) and image-text matching (Appendix B). Both
encoders are frozen. Where the released code differs from the formulas it is followed, and the function says so.
Shapes: B images, T classes, C channels, N = h * w patches.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maskwright.models.clip_text import ClipText, ClipTextConfig
from maskwright.models.dinotxt import VisualModel
from maskwright.models.dinov2 import SPECS as DINOV2
from maskwright.models.dinov2 import DinoV2, DinoV2Config
from maskwright.models.dinov3 import SPECS as DINOV3
from maskwright.models.dinov3 import DinoFeatures, DinoV3, DinoV3Config, LastAttention

__all__ = [
    "LAMBDA",
    "SPECS",
    "THRESHOLD",
    "THRESHOLD_L",
    "Formula",
    "InfoNce",
    "Pooling",
    "Projection",
    "ProjectionConfig",
    "Talk2Dino",
    "Talk2DinoConfig",
    "best_head",
    "class_attention",
    "class_vector",
    "clean",
    "cls_attention",
    "convert_official",
    "find_projection",
    "head_embeddings",
    "head_similarity",
    "image_similarity",
    "pool_regions",
    "scores",
    "similarity",
]

LAMBDA = 0.2
"""Weight lambda of background cleaning."""
THRESHOLD = 0.55
"""Score below which a pixel is background, for ViT-B."""
THRESHOLD_L = 0.54
"""The same for ViT-L."""
_EPS = 1e-6
_SCALE = 0.125
"""Factor on attention logits: a constant in the released code, correct for heads of 64 channels."""


@dataclass(frozen=True, slots=True)
class ProjectionConfig:
    """Sizes of the projection; the defaults are the released ones'."""

    text: int = 512
    """Width of the text embedding."""
    width: int = 768
    """Width of the patch features."""
    hidden: int | None = None
    """Width between the two affine maps; None: that of the patch features."""


class Projection(nn.Module):
    """Text embeddings into patch space (Eq. 3): affine, tanh, affine. Module names are those of the released files."""

    def __init__(self, config: ProjectionConfig) -> None:
        super().__init__()
        hidden = config.hidden or config.width
        self.linear_layer = nn.Linear(config.text, hidden)
        self.hidden_layers = nn.ModuleList([nn.Linear(hidden, config.width)])

    def forward(self, text: Tensor) -> Tensor:
        """(..., text) embeddings, as the text tower returns them, to (..., width); neither is normalised."""
        return self.hidden_layers[0](self.linear_layer(text).tanh())  # type: ignore[no-any-return]


def convert_official(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the keys of a released projection; older files call the second map `linear_layer2`."""
    return {name.replace("linear_layer2.", "hidden_layers.0."): value for name, value in state.items()}


def find_projection(shapes: Mapping[str, Sequence[int]], config: ProjectionConfig) -> dict[str, str]:
    """Tensors of a projection inside a larger model, found by the ends of their names and by their shapes.

    Args:
        shapes: of all tensors by name.
        config: sizes of the projection.

    Returns:
        Our name of each of its four tensors by its name there; empty when the model has none.
    """
    with torch.device("meta"):
        wanted = {name: tuple(value.shape) for name, value in Projection(config).state_dict().items()}
    for first in (name for name in shapes if name.endswith("linear_layer.weight")):
        prefix = first.removesuffix("linear_layer.weight")
        named = {name: prefix + name for name in wanted}
        if prefix + "linear_layer2.weight" in shapes:
            named = {name: prefix + name.replace("hidden_layers.0.", "linear_layer2.") for name in wanted}
        if all(tuple(shapes.get(theirs, ())) == wanted[name] for name, theirs in named.items()):
            return {theirs: name for name, theirs in named.items()}
    return {}


def class_vector(projection: Projection, text: Tensor) -> Tensor:
    """(..., C) unit class vectors of (P, ..., text) prompt embeddings: their mean, projected, then normalised."""
    return F.normalize(projection(text.mean(dim=0)), dim=-1, eps=_EPS)


@dataclass(frozen=True, slots=True)
class Talk2DinoConfig:
    """Sizes of the parts: one of the two backbones, CLIP's text tower, the projection between them."""

    dinov2: DinoV2Config | None = None
    dinov3: DinoV3Config | None = None
    text: ClipTextConfig = field(default_factory=ClipTextConfig)
    projection: ProjectionConfig = field(default_factory=ProjectionConfig)


SPECS = {
    "s": Talk2DinoConfig(dinov2=DINOV2["vits14_reg"], projection=ProjectionConfig(width=384)),
    "b": Talk2DinoConfig(dinov2=DINOV2["vitb14_reg"]),
    "l": Talk2DinoConfig(dinov2=DINOV2["vitl14_reg"], projection=ProjectionConfig(width=1024)),
    "dinov3-b": Talk2DinoConfig(dinov3=DINOV3["vitb16"]),
    "dinov3-l": Talk2DinoConfig(dinov3=DINOV3["vitl16"], projection=ProjectionConfig(width=1024)),
}
"""Sizes of the paper, on DINOv2 with registers, and those that were released on DINOv3."""


class Talk2Dino(nn.Module):
    """Two frozen encoders and the projection.

    The text tower may be any module from token ids to embeddings; the image encoder is DINOv2, DINOv3, or DINOv3 with
    dino.txt's vision head.
    """

    def __init__(self, visual: DinoV2 | DinoV3 | VisualModel, text: nn.Module, projection: Projection) -> None:
        super().__init__()
        self.visual, self.text, self.projection = visual, text, projection

    @classmethod
    def build(cls, config: Talk2DinoConfig) -> Talk2Dino:
        """A model with random weights; raises ValueError unless `config` has exactly one backbone."""
        if (config.dinov2 is None) == (config.dinov3 is None):
            raise ValueError("Talk2DINO needs one backbone, DINOv2 or DINOv3")
        visual = DinoV2(config.dinov2) if config.dinov2 else DinoV3(config.dinov3)  # type: ignore[arg-type]
        return cls(visual, ClipText(config.text), Projection(config.projection))

    def encode_image(self, pixels: Tensor) -> tuple[DinoFeatures, Tensor]:
        """Tokens of normalised (B, 3, H, W) images, and (B, heads, N) attention logits of CLS on the patches."""
        with self.visual.record_attention() as recorded:
            features = self.visual(pixels)
        return features, cls_attention(recorded[0], self.visual.global_tokens)

    def regions(self, pixels: Tensor, size: int) -> Tensor:
        """Region embeddings of whole images.

        Args:
            pixels: normalised (B, 3, H, W), resized here to a square.
            size: side of that square in pixels, rounded up to whole patches.

        Returns:
            (B, heads + 2, C): one per attention head, one for the mean attention, and CLS.
        """
        side = -(-size // self.visual.config.patch) * self.visual.config.patch
        square = F.interpolate(pixels, (side, side), mode="bilinear", antialias=True)
        tokens, attention = self.encode_image(square.to(next(self.visual.parameters()).dtype))
        attention = torch.cat([attention, attention.mean(dim=1, keepdim=True)], dim=1).float()
        heads = head_embeddings(tokens.patches.float().transpose(1, 2), attention)
        return torch.cat([heads, tokens.cls.float()[:, None]], dim=1)

    def encode_class(self, ids: Tensor) -> Tensor:
        """(C,) unit class vector of the (P, context) token ids of its prompts."""
        return class_vector(self.projection, self.text(ids).float())


# Sec. 3.2: attention heads as regions


def cls_attention(attention: LastAttention, global_tokens: int) -> Tensor:
    """(B, heads, N) attention logits of CLS on the patches in the last block.

    Queries and keys are those before the rotary embedding, as in the released code for DINOv3.

    Args:
        attention: of the last block.
        global_tokens: number of tokens before the patches.
    """
    return (attention.query[:, :, :1] @ attention.key[:, :, global_tokens:].transpose(2, 3))[:, :, 0] * _SCALE


def head_embeddings(features: Tensor, attention: Tensor) -> Tensor:
    """(B, heads, C) region embeddings (Eq. 4): means of (B, C, N) patches, weighted by the softmax of the attention.

    The released code also divides by N, to which cosines are invariant.
    """
    return attention.softmax(dim=-1) @ features.transpose(1, 2) / features.shape[-1]


def head_similarity(heads: Tensor, text: Tensor) -> Tensor:
    """(B, T, heads) cosines (Eq. 5) of (B, heads, C) regions with (T, C) projected texts."""
    return F.normalize(text, dim=-1, eps=_EPS) @ F.normalize(heads, dim=-1, eps=_EPS).transpose(1, 2)


def best_head(heads: Tensor, text: Tensor) -> Tensor:
    """(B, T) index of the head most similar to each text; no gradient passes through the choice."""
    return head_similarity(heads.detach(), text.detach()).argmax(dim=-1)


Pooling = Literal["max_head", "average", "cls"]
"""Image embedding in training (Table 4): the head most similar to the caption, the mean of the heads, or CLS."""


def pool_regions(regions: Tensor, text: Tensor, pooling: Pooling) -> Tensor:
    """(B, C) image embeddings.

    Args:
        regions: (B, heads, C) for "max_head" (Eq. 6), else (B, 1, C).
        text: (B, C) projected captions, one per image.
        pooling: which embedding.
    """
    if pooling != "max_head":
        return regions[:, 0]
    rows = torch.arange(len(regions), device=regions.device)
    return regions[rows, best_head(regions, text)[rows, rows]]


class InfoNce(nn.Module):
    """Symmetric cross-entropy over a batch of image-text pairs (Eq. 7), with a learnable scale."""

    def __init__(self) -> None:
        super().__init__()
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def forward(self, cosines: Tensor, same: Tensor | None = None) -> Tensor:
        """Loss of a batch; the released one is this divided by B squared.

        Args:
            cosines: (B, B) of images with texts; image i belongs to text i.
            same: (B, B) bool, further pairs that belong together, such as two images of a cow captioned "cow": they
                are neither positives nor negatives.
        """
        logits = cosines * self.logit_scale.exp()
        if same is not None:
            own = torch.eye(len(logits), dtype=torch.bool, device=logits.device)
            logits = logits.masked_fill(same & ~own, -torch.inf)
        target = torch.arange(len(logits), device=logits.device)
        return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


# Sec. 3.1 and 3.3: maps


def similarity(features: Tensor, text: Tensor) -> Tensor:
    """(B, T, h, w) cosines (Eq. 1) of (B, C, h, w) patches with (T, C) unit class vectors."""
    return torch.einsum("bchw,tc->bthw", F.normalize(features, dim=1, eps=_EPS), text)


def scores(features: Tensor, text: Tensor) -> Tensor:
    """Sigmoid of the cosines, as in the released code: 0.27 to 0.73; the threshold 0.55 is a cosine of 0.2."""
    return similarity(features, text).sigmoid()


Formula = Literal["released", "paper"]
"""Background cleaning as in the released code, with which the published numbers were measured, or as in the paper."""


def class_attention(features: Tensor, attention: Tensor, text: Tensor, *, formula: Formula = "released") -> Tensor:
    """Attention maps of the classes: heads weighted by their similarity to the class (Eqs. 8 and 9).

    Args:
        features: (C, h, w) patches.
        attention: (heads, h * w) attention logits of CLS on the patches.
        text: (T, C) unit class vectors in the space of the patches.
        formula: released: attention logits weigh the patches and are mixed; paper: their softmax over the patches.

    Returns:
        (T, h, w), which sums to one for each class.
    """
    patches = features.flatten(1)
    if formula == "paper":
        attention = attention.softmax(dim=-1)
    heads = F.normalize(attention @ patches.T / patches.shape[1], dim=-1, eps=_EPS)
    weights = (text @ heads.T).softmax(dim=-1)  # Eq. 8
    maps: Tensor = (weights @ attention).softmax(dim=-1)  # Eq. 9
    return maps.reshape(-1, *features.shape[1:])


def clean(maps: Tensor, attention_maps: Tensor, *, weight: float = LAMBDA, formula: Formula = "released") -> Tensor:
    """Background cleaning: score maps mixed with the classes' attention maps (Eq. 10).

    It suits any method whose patches and class vectors share a space and whose backbone has a CLS token.

    Args:
        maps: (T, h, w) scores of the classes, of any range.
        attention_maps: (T, h, w), from `class_attention`.
        weight: lambda; 0 changes nothing.
        formula: released: attention maps are rescaled by one minimum and maximum over all classes and patches, and
            divided by the maximum instead of the range; paper: each by its own minimum and range.

    Returns:
        (T, h, w) in the range of `maps`.
    """
    over = (0, 1, 2) if formula == "released" else (1, 2)
    low, high = attention_maps.amin(over, keepdim=True), attention_maps.amax(over, keepdim=True)
    bottom, top = maps.amin(over, keepdim=True), maps.amax(over, keepdim=True)
    span = high if formula == "released" else (high - low).clamp(min=torch.finfo(maps.dtype).tiny)
    rescaled = bottom + (attention_maps - low) / span * (top - bottom)
    return (maps + weight * rescaled) / (1 + weight)  # Eq. 10


# Appendix B: image-text matching


def image_similarity(heads: Tensor, text: Tensor) -> Tensor:
    """(B, T) similarity of images, as (B, heads, C) regions, to (T, C) texts: the cosine of the most similar head."""
    return head_similarity(heads, text).amax(dim=-1)
