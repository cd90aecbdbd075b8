"""Similarity of whole images and phrases with Talk2DINO (Appendix B); what it takes of an image is cached on disk."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from maskwright.engine.cache import LruCache, load_tensor, save_tensor
from maskwright.engine.text_method import preprocess
from maskwright.errors import EmptyPhrase
from maskwright.models.talk2dino import image_similarity
from maskwright.models.text_cleaning import clean_text
from maskwright.presets.loading import LoadedTalk2Dino

__all__ = ["ImageTextRetriever"]

_MAX_FILES = 50_000
"""Images whose regions stay on disk, the most recently used ones: about 1 GB for ViT-B."""
_PRUNE_EVERY = 1_000
"""New files after which the folder is checked against that limit."""
_CACHED_PHRASES = 256


class ImageTextRetriever:
    """Regions of images and embeddings of phrases under one preset."""

    def __init__(self, preset: LoadedTalk2Dino, device: torch.device, cache_folder: Path) -> None:
        self.encoder_calls = 0
        """How many images were encoded."""
        self._preset, self._device = preset, device
        self._phrases = LruCache[str, Tensor](_CACHED_PHRASES)
        settings = preset.settings
        key = hashlib.sha256(f"{settings.encoders_sha256} {settings.retrieval_size} {settings.stretch}".encode())
        self._folder = cache_folder.expanduser() / f"regions-{key.hexdigest()[:24]}"

    @torch.inference_mode()
    def encode_phrase(self, phrase: str) -> Tensor:
        """(C,) unit vector of a phrase, without a prompt template; raises EmptyPhrase."""
        text = clean_text(phrase)
        if not text:
            raise EmptyPhrase
        return self._phrases.get_or_make(
            text, lambda: self._preset.model.encode_class(self._preset.tokenizer([text]).to(self._device))
        )

    def cached_regions(self, image_sha256: str) -> Tensor | None:
        """(heads, C) regions of an image that was encoded before, also by another process; else None."""
        file = self._file(image_sha256)
        regions = load_tensor(file, "regions", self._device)
        if regions is not None:
            # the least recently used are pruned first
            with suppress(OSError):
                file.touch()
        return regions

    @torch.inference_mode()
    def encode_image(self, image_sha256: str, pixels: NDArray[np.uint8]) -> Tensor:
        """(heads, C) half-precision regions of an (H, W, 3) image, which are then cached."""
        self.encoder_calls += 1
        settings = self._preset.settings
        image = preprocess(pixels, self._device, stretch=settings.stretch)
        regions = self._preset.model.regions(image, settings.retrieval_size)[0, :-2].half()
        save_tensor(self._file(image_sha256), "regions", regions)
        if self.encoder_calls % _PRUNE_EVERY == 0:
            self._prune()
        return regions

    @torch.inference_mode()
    def similarity(self, regions: Tensor, phrase: Tensor) -> float:
        """Cosine, -1 to 1, of a (C,) phrase embedding with the most similar of (heads, C) regions."""
        return float(image_similarity(regions[None].float(), phrase[None])[0, 0])

    def _file(self, image_sha256: str) -> Path:
        return self._folder / image_sha256[:2] / f"{image_sha256}.safetensors"

    def _prune(self) -> None:
        # another process may prune at the same time
        with suppress(OSError):
            files = sorted(self._folder.glob("*/*.safetensors"), key=lambda file: file.stat().st_mtime)
            for file in files[: max(0, len(files) - _MAX_FILES)]:
                file.unlink(missing_ok=True)
