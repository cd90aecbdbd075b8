"""Whole images and phrases as vectors that can be compared, with Talk2DINO (Appendix B)."""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from maskwright.engine.cache import LruCache
from maskwright.engine.text_method import preprocess
from maskwright.errors import EmptyPhrase
from maskwright.models.text_cleaning import clean_text
from maskwright.presets.loading import LoadedTalk2Dino

__all__ = ["ImageTextRetriever"]

_CACHED_PHRASES = 256


class ImageTextRetriever:
    """Regions of images and embeddings of phrases under one preset."""

    def __init__(self, preset: LoadedTalk2Dino, device: torch.device) -> None:
        self.encoder_calls = 0
        """How many images were encoded."""
        self._preset, self._device = preset, device
        self._phrases = LruCache[str, Tensor](_CACHED_PHRASES)
        settings = preset.settings
        key = hashlib.sha256(f"{settings.encoders_sha256} {settings.retrieval_size} {settings.stretch}".encode())
        self.key = key.hexdigest()[:24]
        """Names what the regions of an image depend on, beside the image: the encoders, not the projection."""

    @torch.inference_mode()
    def encode_phrase(self, phrase: str) -> Tensor:
        """(C,) unit vector of a phrase, without a prompt template; raises EmptyPhrase."""
        text = clean_text(phrase)
        if not text:
            raise EmptyPhrase
        return self._phrases.get_or_make(
            text, lambda: self._preset.model.encode_class(self._preset.tokenizer([text]).to(self._device))
        )

    @torch.inference_mode()
    def encode_image(self, pixels: NDArray[np.uint8]) -> Tensor:
        """(heads, C) regions of an (H, W, 3) image, which is as similar to a phrase as the most similar of them."""
        self.encoder_calls += 1
        settings = self._preset.settings
        image = preprocess(pixels, self._device, stretch=settings.stretch)
        regions: Tensor = self._preset.model.regions(image, settings.retrieval_size)[0, :-2]
        return regions
