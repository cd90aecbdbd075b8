"""Sliding windows of a text method: an image's windows encoded, and their score maps averaged where they overlap."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from maskwright.imaging.geometry import slide, slide_size
from maskwright.models import pamr
from maskwright.models.sliding_window import EncodedWindows, average_windows, encode_windows
from maskwright.presets.config import WindowProtocol
from maskwright.progress import Progress

__all__ = ["SlidingWindows"]

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


def _refined(maps: Tensor, crop: Tensor) -> Tensor:
    """(T, h, w) maps of a window refined by PAMR on its (3, h, w) pixels in 0..255."""
    affinity = pamr.affinity(crop)
    return torch.cat([pamr.refine(chunk, affinity) for chunk in maps.split(_CHUNK)])
