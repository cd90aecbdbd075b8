"""OVS-DINO: edges brought back to DINO's features by aligning its early layers with SAM's.

In the paper's order: structure-aware encoder (Eqs. 7 to 9), structural alignment (Eqs. 10 to 12), structure-modulated
decoder with the preservation gate (Eqs. 13 and 14), segmentation loss and their sum (Eqs. 15 and 16), inference. SAM
teaches in training and is not part of the model. What the paper leaves open is a field of `HeadsConfig`.
Shapes: B images, C channels of DINO, D of the text embedding, E of SAM's, (h, w) patches, T classes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maskwright.models.clip_text import ClipText, ClipTextConfig
from maskwright.models.dinotxt import VisualModel, local_half
from maskwright.models.dinov2 import SPECS as DINOV2
from maskwright.models.dinov2 import DinoV2, DinoV2Config
from maskwright.models.dinov3seg import dice_loss
from maskwright.models.talk2dino import cls_attention

__all__ = [
    "SPECS",
    "Alignment",
    "DinoTaps",
    "EncodersConfig",
    "Fusion",
    "Heads",
    "HeadsConfig",
    "OvsDino",
    "StructureDecoder",
    "StructureEncoder",
    "alignment",
    "middle_grid",
    "sam_middle",
    "segmentation_losses",
    "similarity",
]

_EPS = 1e-6


@dataclass(frozen=True, slots=True)
class HeadsConfig:
    """Sizes of the trained modules; the defaults are the paper's, or the choice made where it is silent."""

    width: int = 768
    """C: channels of DINO."""
    text: int = 512
    """D: width of the text embedding."""
    middle: int = 256
    """E: channels of SAM's embedding, which the structure-aware encoder is aligned with."""
    taps: tuple[int, ...] = (2, 4, 6, 8, 10)
    """Blocks of DINO, counted from 1, that are fused with the last (Eq. 7)."""
    shared_fusion: bool = False
    """One G for all blocks; otherwise each has its own, which normalises its own statistics."""
    groups: int = 32
    """Groups of every GroupNorm."""
    dilations: tuple[int, int] = (1, 2)
    """Dilations of L_1 and L_2 (Eq. 8)."""
    pointwise: bool = False
    """Eq. 13 as a depthwise convolution and a pointwise one; otherwise one depthwise convolution that multiplies the
    channels, for which `width` is a multiple of `middle`."""
    gate: bool = True
    """Preservation gate (Eq. 14); False: the output is M (Table 2, "w/o PG")."""
    text_part: Literal["whole", "local"] = "whole"
    """Part of the text embedding; "local": the half that dino.txt aligns with patches."""
    scale: float = 10.0
    """Start of the learned factor a on cosines."""
    bias: float = 0.0
    """Start of the learned bias b of logits."""
    identity: bool = False
    """The projector starts as the identity, for a DINO whose features share a space with the text already."""


@dataclass(frozen=True, slots=True)
class EncodersConfig:
    """Sizes of the pretrained encoders."""

    dinov2: DinoV2Config = field(default_factory=lambda: DINOV2["vitb14"])
    text: ClipTextConfig = field(default_factory=ClipTextConfig)


SPECS = {"b": EncodersConfig()}
"""DINOv2 ViT-B/14 without registers, and CLIP ViT-B/16's text tower."""


class DinoTaps(NamedTuple):
    """Feature maps of DINO, from one pass."""

    taps: tuple[Tensor, ...]
    """(B, C, h, w) after each tapped block, without a norm"""
    last: Tensor
    """(B, C, h, w) after the last block and the final norm: F12"""

    def detach(self) -> DinoTaps:
        """The same maps without gradients."""
        return DinoTaps(tuple(tap.detach() for tap in self.taps), self.last.detach())


# Sec. 4.1: structure-aware encoder


class Fusion(nn.Module):
    """F = F12 + sum_i alpha_i G_i(F_i) (Eq. 7); alpha starts at 0, so that F starts as F12."""

    def __init__(self, config: HeadsConfig) -> None:
        super().__init__()
        width = config.width
        self.transforms = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width, width, 1), nn.GroupNorm(config.groups, width))
            for _ in range(1 if config.shared_fusion else len(config.taps))
        )
        self.alpha = nn.Parameter(torch.zeros(len(config.taps)))

    def forward(self, features: DinoTaps) -> Tensor:
        """(B, C, h, w)."""
        fused = features.last
        for index, (alpha, tap) in enumerate(zip(self.alpha, features.taps, strict=True)):
            fused = fused + alpha * self.transforms[index % len(self.transforms)](tap)
        return fused


def _depthwise(width: int, dilation: int, groups: int) -> nn.Sequential:
    """L = GELU of GroupNorm of a depthwise 3 x 3 convolution (Eq. 9)."""
    conv = nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation, groups=width)
    return nn.Sequential(conv, nn.GroupNorm(groups, width), nn.GELU())


class StructureEncoder(nn.Module):
    """Fusion, two depthwise layers, up-sampling, and a 3 x 3 convolution into SAM's space (Eq. 8)."""

    def __init__(self, config: HeadsConfig) -> None:
        super().__init__()
        self.fusion = Fusion(config)
        self.layers = nn.Sequential(*(_depthwise(config.width, d, config.groups) for d in config.dilations))
        self.conv = nn.Conv2d(config.width, config.middle, 3, padding=1)

    def forward(self, features: DinoTaps) -> Tensor:
        """(B, E, 2h, 2w) F_middle."""
        refined = self.layers(self.fusion(features))
        size = middle_grid((refined.shape[-2], refined.shape[-1]))
        return self.conv(F.interpolate(refined, size, mode="bilinear", align_corners=False))  # type: ignore[no-any-return]


def middle_grid(grid: tuple[int, int]) -> tuple[int, int]:
    """Grid of F_middle: twice the patches, which is SAM's 64 for 32 patches; stride 2 returns to them."""
    return 2 * grid[0], 2 * grid[1]


# Sec. 4.1: structural alignment


class Alignment(NamedTuple):
    """Terms of the alignment loss, whose sum is Eq. 12."""

    cosine: Tensor
    """Mean over images and places of 1 - cos (Eq. 10)"""
    mse: Tensor
    """Mean over images and places of the squared distance over the number of channels (Eq. 11)"""


def alignment(middle: Tensor, target: Tensor) -> Alignment:
    """Alignment of (B, E, m, n) F_middle with SAM's embedding on the same grid."""
    middle, target = middle.float(), target.float()
    cosine = 1 - F.cosine_similarity(middle, target, dim=1, eps=_EPS)
    return Alignment(cosine.mean(), F.mse_loss(middle, target))


def sam_middle(encoder: nn.Module, pixels: Tensor, size: int, grid: tuple[int, int]) -> Tensor:
    """SAM's embedding (after its neck) of the same images, on the grid of F_middle.

    Args:
        encoder: SAM's image encoder, whose first output is the embedding.
        pixels: normalised (B, 3, H, W); SAM's statistics are those of ImageNet, too.
        size: side of its square input in pixels; images are stretched to it, so that cells correspond.
        grid: of the result.

    Returns:
        (B, E, *grid) without gradient.
    """
    with torch.no_grad():
        square = F.interpolate(pixels.float(), (size, size), mode="bilinear", antialias=True)
        embedding: Tensor = encoder(square.to(next(encoder.parameters()).dtype))[0].float()
        if embedding.shape[-2:] != grid:
            embedding = F.interpolate(embedding, grid, mode="bilinear", align_corners=False)
        return embedding


# Sec. 4.2: structure-modulated decoder


class StructureDecoder(nn.Module):
    """The modulation M (Eq. 13), and the preservation gate F12' + gamma (F12' * tanh M) (Eq. 14).

    Gamma starts at 0, so that the output starts as F12.
    """

    def __init__(self, config: HeadsConfig) -> None:
        super().__init__()
        width, middle = config.width, config.middle
        if config.pointwise:
            down = [nn.Conv2d(middle, middle, 3, stride=2, padding=1, groups=middle), nn.Conv2d(middle, width, 1)]
        else:
            down = [nn.Conv2d(middle, width, 3, stride=2, padding=1, groups=middle)]
        self.modulation = nn.Sequential(*down, nn.GroupNorm(config.groups, width), nn.GELU())
        self.gamma = nn.Parameter(torch.zeros(()))
        self.gate = config.gate

    def forward(self, last: Tensor, middle: Tensor) -> Tensor:
        """(B, C, h, w) F_out of (B, C, h, w) F12 and (B, E, 2h, 2w) F_middle."""
        modulation = self.modulation(middle)
        if not self.gate:
            return modulation  # type: ignore[no-any-return]
        if last.shape[-2:] != modulation.shape[-2:]:
            last = F.interpolate(last, modulation.shape[-2:], mode="bilinear", align_corners=False)
        return last + self.gamma * (last * modulation.tanh())  # type: ignore[no-any-return]


# Sec. 4.3: projection and losses


class Heads(nn.Module):
    """All that is trained from nothing: encoder, decoder, projector, and scale and bias of the logits."""

    def __init__(self, config: HeadsConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder, self.decoder = StructureEncoder(config), StructureDecoder(config)
        self.projector = nn.Conv2d(config.width, config.text, 1)
        self.scale, self.bias = nn.Parameter(torch.tensor(config.scale)), nn.Parameter(torch.tensor(config.bias))
        if config.identity:
            assert self.projector.bias is not None
            nn.init.dirac_(self.projector.weight)
            nn.init.zeros_(self.projector.bias)

    def forward(self, features: DinoTaps, middle: Tensor | None = None) -> Tensor:
        """(B, D, h, w) features in the space of the text.

        Args:
            features: of DINO.
            middle: replaces F_middle: SAM's own embedding, in Table 4 and in the row "w/o Encoder" of Table 2.
        """
        middle = self.encoder(features) if middle is None else middle
        return self.projector(self.decoder(features.last, middle))  # type: ignore[no-any-return]

    def logits(self, cosines: Tensor) -> Tensor:
        """The logits a s + b of cosines s."""
        return cosines * self.scale + self.bias


def similarity(features: Tensor, text: Tensor) -> Tensor:
    """(B, T, h, w) cosines of (B, D, h, w) features with (T, D) unit class vectors."""
    return torch.einsum("bdhw,td->bthw", F.normalize(features.float(), dim=1, eps=_EPS), text)


def segmentation_losses(logits: Tensor, targets: Tensor, valid: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Dice and binary cross-entropy (Eq. 15) of (K, H, W) logits against pseudo-masks.

    Args:
        logits: up-sampled to the size of the masks.
        targets: (K, H, W) 0 or 1.
        valid: (K, H, W) 1 where a pixel is scored; None scores all. The paper's pseudo-masks leave none out.

    Returns:
        Dice, the mean over masks; and cross-entropy, the mean over pixels and masks.
    """
    valid = torch.ones_like(targets) if valid is None else valid
    entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    return dice_loss(logits, targets, valid), (entropy * valid).sum() / valid.sum().clamp(min=1)


# Sec. 4.3: inference


class OvsDino(nn.Module):
    """Both encoders with the trained heads between them; the last blocks of DINO may have been trained as well.

    The image encoder is DINOv2, or DINOv3 with dino.txt's vision head; the text tower may be any module from token ids
    to embeddings.
    """

    def __init__(self, visual: DinoV2 | VisualModel, text: nn.Module, heads: Heads) -> None:
        super().__init__()
        self.visual, self.text, self.heads = visual, text, heads

    @classmethod
    def build(cls, encoders: EncodersConfig, heads: HeadsConfig) -> OvsDino:
        """A model with random weights."""
        return cls(DinoV2(encoders.dinov2), ClipText(encoders.text), Heads(heads))

    def taps(self, pixels: Tensor) -> DinoTaps:
        """DINO's maps of normalised (B, 3, H, W) images, sides multiples of its patch."""
        taps, last = self.visual.with_taps(pixels, [block - 1 for block in self.heads.config.taps])
        return DinoTaps(tuple(tap.patch_map() for tap in taps), last.patch_map())

    def encode_image(self, pixels: Tensor, middle: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(B, D, h, w) features in the space of the text, and (B, heads, h * w) attention logits of CLS on the patches.

        `middle` is as in `Heads.forward`.
        """
        with self.visual.record_attention() as recorded:
            features = self.taps(pixels)
        dtype = self.heads.projector.weight.dtype
        features = DinoTaps(tuple(tap.to(dtype) for tap in features.taps), features.last.to(dtype))
        return self.heads(features, middle), cls_attention(recorded[0], self.visual.global_tokens)

    def encode_class(self, ids: Tensor) -> Tensor:
        """(D,) class vector of the (P, context) token ids of its prompts: unit vectors, their mean, unit length."""
        text = self.text(ids).float()
        text = local_half(text) if self.heads.config.text_part == "local" else F.normalize(text, dim=-1)
        return F.normalize(text.mean(dim=0), dim=-1)

    def trained_parts(self, blocks: int) -> nn.ModuleDict:
        """`heads`, and as `blocks` the last blocks of DINO, which the segmentation loss trains (three in the paper)."""
        last = list(self.visual.blocks)[len(self.visual.blocks) - blocks :]
        return nn.ModuleDict({"heads": self.heads, "blocks": nn.ModuleList(last)})
