"""dinov3.seg: open-vocabulary semantic segmentation with dino.txt (DINOv3), in the paper's order.

The paper has no public code. Its text decides; where a number is lost, CAT-Seg's stands in (`CostAggregator`), and the
table of parameters is met to the last digit shown: 866.6 M for dino.txt, 311.6 M for the rest.

No module depends on the shape of an image; what is made of one that is no square, `engine/seg.py` says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maskwright.models.anyup import AnyUp, AnyUpConfig
from maskwright.models.cost_aggregation import AggregatorConfig, CostAggregator, Guidance, correlation
from maskwright.models.dinotxt import SPECS as DINOTXT
from maskwright.models.dinotxt import DinoTxt, DinoTxtConfig, global_half, local_half
from maskwright.models.sam import SPECS as SAM
from maskwright.models.sam import HybridEncoder, Sam, SamConfig, VitEncoder
from maskwright.models.sliding_window import average_windows
from maskwright.progress import NO_PROGRESS, Progress

__all__ = [
    "SPECS",
    "Dinov3Seg",
    "Dinov3SegConfig",
    "ImageFeatures",
    "dice_loss",
    "focal_loss",
    "fuse",
]


@dataclass(frozen=True, slots=True)
class Dinov3SegConfig:
    """Parts and their sizes; the defaults are the paper's."""

    vlm: DinoTxtConfig = field(default_factory=lambda: DINOTXT["vitl16"])
    spe: SamConfig = field(default_factory=lambda: SAM["vitl"])
    taps: tuple[int, int] = (7, 15)
    """Zero-based blocks of the semantic prior encoder that guide the decoder: the first at twice the grid, the second
    at four times. With the bundled encoder: halvings of its stem."""
    final: Literal["neck", "last_block"] = "neck"
    """What guides the spatial blocks; the paper's table of parameters fits both."""
    anyup: AnyUpConfig | None = field(default_factory=AnyUpConfig)
    """None leaves early refinement out."""
    guide: int = 1
    """The picture that guides early refinement is so many times smaller."""
    text_ensemble: bool = True
    """Both halves of the text embedding; without it the local one, as in dino.txt."""
    aggregator: AggregatorConfig = field(default_factory=AggregatorConfig)


SPECS = {"vitl16": Dinov3SegConfig()}


class ImageFeatures(NamedTuple):
    """What an image says before any word is known; kept for the next prompt."""

    features: Tensor
    """(B, C, h, w) refined patch features"""
    guidance: Guidance


class SemanticPrior(nn.Module):
    """Semantic prior encoder (Eq. 3): SAM's image encoder, with two maps from on the way."""

    def __init__(self, config: Dinov3SegConfig) -> None:
        super().__init__()
        self.taps, self.final = config.taps, config.final
        self.encoder: VitEncoder | HybridEncoder = Sam(config.spe).image_encoder
        if self.final == "last_block":
            self.encoder.neck = nn.Identity()

    def forward(self, pixels: Tensor, grid_hw: tuple[int, int]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """(B, A, *grid_hw) final features and both taps, of a (B, 3, H, W) normalised as for dino.txt."""
        if isinstance(self.encoder, HybridEncoder):
            final, first, second = self.encoder.pyramid(pixels, self.taps)
            return F.adaptive_avg_pool2d(final, grid_hw), (first, second)
        final, taken = self.encoder(pixels, self.taps)
        # the encoder gives them in ascending order
        blocks = dict(zip(sorted(set(self.taps)), taken, strict=True))
        first, second = (blocks[tap].permute(0, 3, 1, 2) for tap in self.taps)
        return final.permute(0, 3, 1, 2) if self.final == "last_block" else final, (first, second)


class Dinov3Seg(nn.Module):
    """The whole model: `vlm` (dino.txt), `spe`, `anyup`, `aggregator`."""

    def __init__(self, config: Dinov3SegConfig) -> None:
        super().__init__()
        self.config = config
        self.vlm = DinoTxt(config.vlm)
        self.spe = SemanticPrior(config)
        self.anyup = None if config.anyup is None else AnyUp(config.anyup)
        self.aggregator = CostAggregator(config.aggregator)

    # Eq. 1 and 2: visual and textual features

    def dense(self, pixels: Tensor) -> Tensor:
        """Patch features of a normalised (B, 3, H, W) after dino.txt's vision head: (B, C, h, w), not normalised."""
        return self.vlm.encode_image(pixels).patch_map()

    def views(self, text: Tensor) -> Tensor:
        """Text embeddings (..., 2C) -> (..., P, C), unit: global (aligned with CLS), local (aligned with patches)."""
        parts = [global_half(text), local_half(text)] if self.config.text_ensemble else [local_half(text)]
        return torch.stack(parts, dim=-2)

    # early refinement, and the semantic prior (Eq. 3)

    def refine(self, pixels: Tensor, features: Tensor) -> Tensor:
        """Early refinement: recombine (B, C, h, w) features within their neighbourhood, guided by the image."""
        if self.anyup is None:
            return features
        guide = F.avg_pool2d(pixels, self.config.guide) if self.config.guide > 1 else pixels
        return self.anyup(guide, features, (features.shape[-2], features.shape[-1]))  # type: ignore[no-any-return]

    def look(self, pixels: Tensor, features: Tensor) -> ImageFeatures:
        """All that does not depend on words, from the image and its dense features."""
        prior, taps = self.spe(pixels, (features.shape[-2], features.shape[-1]))
        return ImageFeatures(self.refine(pixels, features), self.aggregator.guidance(prior, taps))

    # Eq. 4 to 8: correlation, late refinement, decoder

    def compare(self, evidence: ImageFeatures, views: Tensor, *, chunk: int | None = None) -> Tensor:
        """(B, T, 4h, 4w) logits for (B, T, P, C) text views; `chunk` classes at a time give the same."""
        cosines = correlation(evidence.features, views.to(evidence.features.dtype))
        return self.aggregator(cosines, views, evidence.guidance, chunk=chunk)  # type: ignore[no-any-return]

    def forward(self, pixels: Tensor, text: Tensor, *, chunk: int | None = None) -> Tensor:
        """Logits at full size, as in training.

        Args:
            pixels: normalised (B, 3, H, W), H and W multiples of the patch.
            text: (T, 2C) embeddings shared by the images, or (B, T, 2C).
            chunk: classes at a time.

        Returns:
            (B, T, H, W).
        """
        text = text.expand(len(pixels), -1, -1) if text.ndim == 2 else text
        logits = self.compare(self.look(pixels, self.dense(pixels)), self.views(text), chunk=chunk)
        return F.interpolate(logits, pixels.shape[-2:], mode="bilinear", align_corners=False)

    # Eq. 9 to 11: inference by local-global aggregation

    def aggregate(
        self,
        pixels: Tensor,
        positions: Sequence[tuple[int, int]],
        window: int,
        *,
        progress: Progress = NO_PROGRESS,
    ) -> ImageFeatures:
        """Features of windows and of the whole image; the semantic prior sees the whole image only (Eq. 11).

        Args:
            pixels: normalised (1, 3, H, W).
            positions: (top, left) of the windows, multiples of the patch; none: the whole image alone (LGA off).
            window: side of the windows, in pixels.
            progress: reports encoder passes, and cancels between them.
        """
        passes = len(positions) + 2

        def begin(done: int) -> None:
            progress.check()
            progress.report(done, passes, "Encoding")

        def encode(number: int, top: int, left: int) -> Tensor:
            begin(number)
            return self.dense(pixels[:, :, top : top + window, left : left + window])[0]

        begin(0)
        features = self.dense(pixels)
        if positions:
            patch = self.config.vlm.backbone.patch
            cells = [(top // patch, left // patch) for top, left in positions]
            windows = (encode(number, *position) for number, position in enumerate(positions, start=1))
            grid_hw = features.shape[-2], features.shape[-1]
            features = fuse(average_windows(windows, cells, grid_hw)[None], features)
        begin(passes - 1)
        found = self.look(pixels, features)
        progress.report(passes, passes, "Encoding")
        return found


def fuse(local: Tensor, whole: Tensor) -> Tensor:
    """Local and global features, averaged (Eq. 10)."""
    return (local + whole) / 2


# Sec. 3.3: losses (Eqs. 12 and 13); all take (B, T, H, W) logits, targets and a mask of what counts


def focal_loss(logits: Tensor, targets: Tensor, valid: Tensor, *, gamma: float = 2.0) -> Tensor:
    """Mean over all valid pixels and classes of -(1 - p_t)^gamma log p_t; gamma 0 is binary cross-entropy."""
    plain = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    wrong = torch.where(targets > 0.5, -logits, logits).sigmoid()
    loss = plain * wrong**gamma if gamma else plain
    return (loss * valid).sum() / valid.sum().clamp(min=1)


def dice_loss(logits: Tensor, targets: Tensor, valid: Tensor) -> Tensor:
    """1 - (2 |p y| + 1) / (|p| + |y| + 1) per image and class, averaged; classes that are not there count as well."""
    probability = logits.sigmoid() * valid
    truth = targets * valid
    overlap = (probability * truth).sum(dim=(-2, -1))
    return (1 - (2 * overlap + 1) / (probability.sum(dim=(-2, -1)) + truth.sum(dim=(-2, -1)) + 1)).mean()
