"""dinov3.seg: open-vocabulary semantic segmentation with dino.txt (DINOv3), in the paper's order.

There is no public code, so the paper's text decides; where it gives no number, CAT-Seg's is used (`CostAggregator`).
Parameter counts match the paper's table to the digits shown: 866.6 M for dino.txt, 311.6 M for the rest.

The modules take images of any aspect ratio. Shapes: B images, T classes, P text embeddings per class, C channels, an
h x w patch grid.
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
from maskwright.models.dinotxt import DinoTxt, DinoTxtConfig, VisualModel, global_half, local_half
from maskwright.models.sam import SPECS as SAM
from maskwright.models.sam import HybridEncoder, MobileEncoder, Sam, SamConfig, VitEncoder
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
    """Sizes of the parts; the defaults are the paper's."""

    vlm: DinoTxtConfig = field(default_factory=lambda: DINOTXT["vitl16"])
    """Vision-language model."""
    spe: SamConfig = field(default_factory=lambda: SAM["vitl"])
    """Semantic prior encoder."""
    taps: tuple[int, int] = (7, 15)
    """Zero-based blocks of the semantic prior encoder that guide the two decoder stages. With `HybridEncoder` or
    `MobileEncoder`: numbers of halvings."""
    final: Literal["neck", "last_block"] = "neck"
    """Output of the semantic prior encoder that guides the spatial blocks; the paper's parameter table fits both."""
    anyup: AnyUpConfig | None = field(default_factory=AnyUpConfig)
    """Early refinement; None leaves it out."""
    guide: int = 1
    """Factor by which the image is shrunk to guide early refinement."""
    text_ensemble: bool = True
    """Use both halves of the text embedding; otherwise the local one alone, as in dino.txt."""
    aggregator: AggregatorConfig = field(default_factory=AggregatorConfig)
    prior: Literal["sam", "vlm"] = "sam"
    """What guides refinement and decoder: SAM's encoder, or dino.txt's own blocks (Table 12, none)."""
    decoder: bool = True
    """False: scaled cosines take the place of late refinement and decoder (Table 3, FT)."""


SPECS = {"vitl16": Dinov3SegConfig()}


class ImageFeatures(NamedTuple):
    """Everything computed from an image before its classes are known; serves any number of text prompts."""

    features: Tensor
    """(B, C, h, w) patch features after early refinement"""
    guidance: Guidance


class SemanticPrior(nn.Module):
    """Semantic prior encoder (Eq. 3): SAM's image encoder with two intermediate maps."""

    def __init__(self, config: Dinov3SegConfig) -> None:
        super().__init__()
        self.taps, self.final = config.taps, config.final
        self.encoder: VitEncoder | HybridEncoder | MobileEncoder = Sam(config.spe).image_encoder
        if self.final == "last_block":
            self.encoder.neck = nn.Identity()

    def forward(self, pixels: Tensor, grid_hw: tuple[int, int]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Encode images.

        Args:
            pixels: (B, 3, H, W), normalised as for dino.txt.
            grid_hw: patch grid of dino.txt.

        Returns:
            (B, A, *grid_hw) final features, and the (B, A', h', w') maps of both taps.
        """
        if isinstance(self.encoder, HybridEncoder | MobileEncoder):
            final, first, second = self.encoder.pyramid(pixels, self.taps)
            return F.adaptive_avg_pool2d(final, grid_hw), (first, second)
        final, outputs = self.encoder(pixels, self.taps)
        # the encoder returns them in ascending order
        blocks = dict(zip(sorted(set(self.taps)), outputs, strict=True))
        first, second = (blocks[tap].permute(0, 3, 1, 2) for tap in self.taps)
        return final.permute(0, 3, 1, 2) if self.final == "last_block" else final, (first, second)


class OwnPrior(nn.Module):
    """dino.txt's own features in place of a semantic prior encoder; it has no parameters."""

    def __init__(self, visual: VisualModel, taps: tuple[int, int]) -> None:
        super().__init__()
        # in a tuple, so that the parameters stay dino.txt's alone
        self._visual, self._taps = (visual,), taps

    def forward(self, pixels: Tensor, grid_hw: tuple[int, int]) -> tuple[Tensor, tuple[Tensor, Tensor]]:  # noqa: ARG002
        """As `SemanticPrior.forward`."""
        visual, taps = self._visual[0], sorted(set(self._taps))
        if taps[-1] < visual.config.depth - 1:
            outputs, end = visual.with_taps(pixels, taps)
        else:
            # a tiny backbone, whose last block is a tap
            outputs, end = visual.backbone.intermediate(pixels, taps, norm=False), visual(pixels)
        blocks = {tap: output.patch_map() for tap, output in zip(taps, outputs, strict=True)}
        return end.patch_map(), (blocks[self._taps[0]], blocks[self._taps[1]])


class ScaledCosines(nn.Module):
    """Cosines times a learned scale plus a learned offset: logits without refinement and decoder."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1 / 0.07).log())
        self.offset = nn.Parameter(torch.tensor(0.0))

    def guidance(self, appearance: Tensor, taps: tuple[Tensor, Tensor]) -> Guidance:
        """Unused."""
        return Guidance(appearance, taps)

    def forward(
        self,
        cosines: Tensor,
        text: Tensor,  # noqa: ARG002
        guidance: Guidance,  # noqa: ARG002
        *,
        chunk: int | None = None,  # noqa: ARG002
        pooling: tuple[int, int] | None = None,  # noqa: ARG002
    ) -> Tensor:
        """(B, T, h, w) logits of (B, P, T, h, w) cosines."""
        return cosines.mean(dim=1) * self.scale.exp() + self.offset


class Dinov3Seg(nn.Module):
    """The whole model: `vlm` (dino.txt), `spe`, `anyup`, `aggregator`."""

    def __init__(self, config: Dinov3SegConfig) -> None:
        super().__init__()
        self.config = config
        self.vlm = DinoTxt(config.vlm)
        self.spe = SemanticPrior(config) if config.prior == "sam" else OwnPrior(self.vlm.visual_model, config.taps)
        self.anyup = None if config.anyup is None else AnyUp(config.anyup)
        self.aggregator = CostAggregator(config.aggregator) if config.decoder else ScaledCosines()

    # Eqs. 1 and 2: visual and textual features

    def patch_features(self, pixels: Tensor) -> Tensor:
        """(B, C, h, w) patch features of normalised (B, 3, H, W) images after the vision head, not normalised."""
        return self.vlm.encode_image(pixels).patch_map()

    def text_views(self, text: Tensor) -> Tensor:
        """(..., P, C) unit views of (..., 2C) text embeddings: global (aligned with CLS), local (with the patches)."""
        parts = [global_half(text), local_half(text)] if self.config.text_ensemble else [local_half(text)]
        return torch.stack(parts, dim=-2)

    # Early refinement, and the semantic prior (Eq. 3)

    def refine(self, pixels: Tensor, features: Tensor) -> Tensor:
        """Early refinement: (B, C, h, w) features, re-mixed in their neighbourhood under the guidance of the image."""
        if self.anyup is None:
            return features
        guide = F.avg_pool2d(pixels, self.config.guide) if self.config.guide > 1 else pixels
        return self.anyup(guide, features, (features.shape[-2], features.shape[-1]))  # type: ignore[no-any-return]

    def encode(
        self, pixels: Tensor, features: Tensor, prior: tuple[Tensor, tuple[Tensor, Tensor]] | None = None
    ) -> ImageFeatures:
        """Everything that does not depend on the classes.

        Args:
            pixels: normalised (B, 3, H, W).
            features: (B, C, h, w), from `patch_features`.
            prior: from `spe`; None computes it.
        """
        final, taps = prior or self.spe(pixels, (features.shape[-2], features.shape[-1]))
        return ImageFeatures(self.refine(pixels, features), self.aggregator.guidance(final, taps))

    # Eqs. 4 to 8: correlation, late refinement, decoder

    def predict(
        self,
        image: ImageFeatures,
        views: Tensor,
        *,
        chunk: int | None = None,
        pooling: tuple[int, int] | None = None,
    ) -> Tensor:
        """Logits of every class at four times the patch grid.

        Args:
            image: from `encode`.
            views: (B, T, P, C), from `text_views`.
            chunk: classes at a time, to bound the memory; the result does not depend on it.
            pooling: of the class blocks, in cells; None is that of the training.

        Returns:
            (B, T, 4h, 4w).
        """
        cosines = correlation(image.features, views.to(image.features.dtype))
        logits: Tensor = self.aggregator(cosines, views, image.guidance, chunk=chunk, pooling=pooling)
        return logits

    def forward(self, pixels: Tensor, text: Tensor, *, chunk: int | None = None) -> Tensor:
        """Logits at the size of the images, as in training.

        Args:
            pixels: normalised (B, 3, H, W), H and W multiples of the patch.
            text: (T, 2C) embeddings for all images, or (B, T, 2C).
            chunk: as for `predict`.

        Returns:
            (B, T, H, W).
        """
        text = text.expand(len(pixels), -1, -1) if text.ndim == 2 else text
        logits = self.predict(self.encode(pixels, self.patch_features(pixels)), self.text_views(text), chunk=chunk)
        return F.interpolate(logits, pixels.shape[-2:], mode="bilinear", align_corners=False)

    # Eqs. 9 to 11: inference by local-global aggregation

    def aggregate_windows(
        self,
        pixels: Tensor,
        positions: Sequence[tuple[int, int]],
        window: int,
        *,
        prior_positions: Sequence[tuple[int, int]] = (),
        progress: Progress = NO_PROGRESS,
    ) -> ImageFeatures:
        """Features of the windows and of the whole image, averaged; the semantic prior sees the whole image (Eq. 11).

        Args:
            pixels: normalised (1, 3, H, W).
            positions: (top, left) of the windows in pixels, multiples of the patch; empty: the whole image alone.
            window: side of the windows, in pixels.
            prior_positions: the same for the semantic prior (Table 5, SAM).
            progress: reports encoder passes, and cancels between them.
        """
        passes = len(positions) + len(prior_positions) + 2

        def begin(done: int) -> None:
            progress.check()
            progress.report(done, passes, "Encoding")

        def encode_window(number: int, top: int, left: int) -> Tensor:
            begin(number)
            return self.patch_features(pixels[:, :, top : top + window, left : left + window])[0]

        begin(0)
        features = self.patch_features(pixels)
        if positions:
            patch = self.config.vlm.backbone.patch
            cells = [(top // patch, left // patch) for top, left in positions]
            windows = (encode_window(number, *position) for number, position in enumerate(positions, start=1))
            grid_hw = features.shape[-2], features.shape[-1]
            # Eq. 9 averages the windows where they overlap
            features = fuse(average_windows(windows, cells, grid_hw)[None], features)
        begin(len(positions) + 1)
        prior = self.spe(pixels, (features.shape[-2], features.shape[-1]))
        if prior_positions:
            prior = self._with_windows(prior, pixels, prior_positions, window)
        image = self.encode(pixels, features, prior)
        progress.report(passes, passes, "Encoding")
        return image

    def _with_windows(
        self,
        prior: tuple[Tensor, tuple[Tensor, Tensor]],
        pixels: Tensor,
        positions: Sequence[tuple[int, int]],
        window: int,
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """The semantic prior of an image averaged with that of its windows, map by map, as Eqs. 9 and 10."""
        side = window // self.config.vlm.backbone.patch
        crops = (pixels[:, :, top : top + window, left : left + window] for top, left in positions)
        parts = [(final, *taps) for final, taps in (self.spe(crop, (side, side)) for crop in crops)]

        def merged(whole: Tensor, of_windows: list[Tensor]) -> Tensor:
            cell = window // of_windows[0].shape[-1]
            cells = [(top // cell, left // cell) for top, left in positions]
            size_hw = whole.shape[-2], whole.shape[-1]
            return fuse(average_windows((part[0] for part in of_windows), cells, size_hw)[None], whole)

        final, first, second = (
            merged(whole, [part[n] for part in parts]) for n, whole in enumerate((prior[0], *prior[1]))
        )
        return final, (first, second)


def fuse(local_features: Tensor, global_features: Tensor) -> Tensor:
    """Mean of local and global features (Eq. 10)."""
    return (local_features + global_features) / 2


# Sec. 3.3: losses (Eqs. 12 and 13) of (B, T, H, W) logits and 0/1 targets; `valid` is 1 where pixels count


def focal_loss(logits: Tensor, targets: Tensor, valid: Tensor, *, gamma: float = 2.0) -> Tensor:
    """Focal loss (Eq. 12): mean of -(1 - p_t)^gamma log p_t over valid pixels and classes; gamma 0: cross-entropy."""
    entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    wrong = torch.where(targets > 0.5, -logits, logits).sigmoid()
    loss = entropy * wrong**gamma if gamma else entropy
    return (loss * valid).sum() / valid.sum().clamp(min=1)


def dice_loss(logits: Tensor, targets: Tensor, valid: Tensor) -> Tensor:
    """Dice loss (Eq. 13): mean of 1 - (2 |p y| + 1) / (|p| + |y| + 1) over images and classes, also absent ones."""
    probability = logits.sigmoid() * valid
    targets = targets * valid
    overlap = (probability * targets).sum(dim=(-2, -1))
    return (1 - (2 * overlap + 1) / (probability.sum(dim=(-2, -1)) + targets.sum(dim=(-2, -1)) + 1)).mean()
