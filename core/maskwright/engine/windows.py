"""What Talk2DINO and OVS-DINO share: windows of an image encoded, and their score maps averaged where they overlap."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from maskwright.domain import ModelRef
from maskwright.engine.text_method import preprocess
from maskwright.imaging.geometry import slide, slide_size
from maskwright.models import pamr
from maskwright.models.sliding_window import EncodedWindows, average_windows, encode_windows
from maskwright.presets.config import WindowProtocol
from maskwright.presets.loading import LoadedOvsDino, LoadedTalk2Dino
from maskwright.progress import Progress

__all__ = ["SlidingWindows", "WindowedMethod"]

_Preset = TypeVar("_Preset", LoadedOvsDino, LoadedTalk2Dino)

_CHUNK = 30
"""Classes that PAMR refines at a time, to bound the memory."""


@dataclass(frozen=True, slots=True)
class SlidingWindows:
    """The windows of a protocol."""

    protocol: WindowProtocol
    dtype: torch.dtype
    """Of the encoder's input."""

    def encode(
        self, image: Tensor, encode: Callable[[Tensor], tuple[Tensor, Tensor]], progress: Progress
    ) -> EncodedWindows:
        """Encode the windows of a normalised (1, 3, H, W) image; `encode` and errors as for `encode_windows`."""
        protocol = self.protocol
        height, width = image.shape[-2:]
        size = slide_size((height, width), protocol.short_side, protocol.window, protocol.longest)
        # Talk2DINO's release does not antialias, which benchmark images forgive and large photographs do not
        resized = F.interpolate(image, size, mode="bilinear", antialias=True).to(self.dtype)
        positions = slide(size, protocol.window, protocol.stride)
        return encode_windows(resized, protocol.window, positions, encode, progress)

    def scores(
        self,
        embedding: EncodedWindows,
        predict: Callable[[Tensor, Tensor], Tensor],
        *,
        align_corners: bool,
        refine_on: NDArray[np.uint8] | None = None,
    ) -> Tensor:
        """(T, H, W) mean of the windows' maps, at the size that the image was resized to.

        Args:
            embedding: of the image.
            predict: (T, h, w) maps of a window's (C, h, w) features and (heads, h * w) attention.
            align_corners: as torch's `interpolate` takes it, for the up-sampling of a window's maps.
            refine_on: (H, W, 3) RGB by which PAMR refines the maps of each window; None leaves them as they are.
        """
        side, image = self.protocol.window, None
        if refine_on is not None:
            image = torch.from_numpy(refine_on.copy()).to(embedding.features.device).permute(2, 0, 1)[None].float()
            image = F.interpolate(image, embedding.resized_hw, mode="bilinear", antialias=True)[0]

        def maps(features: Tensor, attention: Tensor, y: int, x: int) -> Tensor:
            plane = predict(features, attention)[None]
            plane = F.interpolate(plane, (side, side), mode="bilinear", align_corners=align_corners)[0]
            return plane if image is None else _refined(plane, image[:, y : y + side, x : x + side])

        parts = zip(embedding.features, embedding.attention, embedding.positions, strict=True)
        windows = (maps(features, attention, *position) for features, attention, position in parts)
        return average_windows(windows, embedding.positions, embedding.resized_hw)


@dataclass(frozen=True, slots=True)
class WindowedMethod(ABC, Generic[_Preset]):
    """A `TextMethod` that compares the features of windows with class embeddings."""

    preset: _Preset
    device: torch.device

    @property
    def ref(self) -> ModelRef:
        """Name and weights hash of the model."""
        return self.preset.ref

    @property
    def procedure(self) -> WindowProtocol:
        """The settings that an embedding depends on."""
        return self.preset.settings.protocol

    @property
    def cleaning(self) -> float:
        """Weight of background cleaning."""
        return self.preset.settings.cleaning

    @property
    def windows(self) -> SlidingWindows:
        """The windows of an image."""
        return SlidingWindows(self.procedure, next(self.preset.model.visual.parameters()).dtype)

    @torch.inference_mode()
    def encode(
        self, pixels: NDArray[np.uint8], progress: Progress, limits: tuple[float, float] | None = None
    ) -> EncodedWindows:
        """Encode the windows of an (H, W, 3) image."""
        image = preprocess(pixels, self.device, stretch=self.preset.settings.stretch, limits=limits)
        return self.windows.encode(image, self.encode_batch, progress)

    @abstractmethod
    def encode_batch(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, h, w) features of windows, not normalised, and (B, heads, h * w) attention logits of CLS to them."""

    @torch.inference_mode()
    def class_embedding(self, synonyms: Sequence[str]) -> Tensor:
        """(C,) unit vector of one class: the mean of its synonyms under every prompt template."""
        prompts = [prompt.format(name) for name in synonyms for prompt in self.preset.settings.prompts]
        return self.preset.model.encode_class(self.preset.tokenizer(prompts).to(self.device))


def _refined(maps: Tensor, crop: Tensor) -> Tensor:
    """(T, h, w) maps of a window refined by PAMR on its (3, h, w) pixels in 0..255."""
    affinity = pamr.affinity(crop)
    return torch.cat([pamr.refine(chunk, affinity) for chunk in maps.split(_CHUNK)])
