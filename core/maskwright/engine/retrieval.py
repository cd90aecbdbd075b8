"""How well a phrase fits a whole image (Talk2DINO's Appendix B); what it takes of an image is kept on the disk."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from maskwright.engine.text import normalised
from maskwright.errors import EmptyPhrase
from maskwright.files.atomic import atomic_save
from maskwright.imaging.normalization import stretch_contrast
from maskwright.models.talk2dino import image_similarity
from maskwright.models.text_cleaning import clean_text
from maskwright.presets.loading import LoadedTalk2Dino

__all__ = ["ImageTextRetriever"]

log = logging.getLogger(__name__)

_MOST = 50_000
"""Pictures whose regions stay on the disk, the last ones used: about 1 GB for ViT-B."""
_LOOK = 1_000
"""After so many new ones they are counted."""


class ImageTextRetriever:
    """Regions of pictures and vectors of phrases under one preset."""

    def __init__(self, preset: LoadedTalk2Dino, device: torch.device, cache: Path) -> None:
        self._preset, self._device = preset, device
        key = hashlib.sha256(
            f"{preset.settings.encoders_sha256} {preset.settings.retrieval_size} {preset.settings.stretch}".encode()
        )
        self._folder = cache.expanduser() / f"regions-{key.hexdigest()[:24]}"
        self._new = 0

    @torch.inference_mode()
    def encode_phrase(self, phrase: str) -> Tensor:
        """(C,) unit vector of a phrase, under no prompt; raises EmptyPhrase."""
        if not clean_text(phrase):
            raise EmptyPhrase
        return self._preset.model.encode_class(self._preset.tokenizer([phrase]).to(self._device))

    @torch.inference_mode()
    def similarity(self, regions: Tensor, phrase: Tensor) -> float:
        """Cosine of the phrase with the region, (heads, C), that fits it best."""
        return float(image_similarity(regions[None].float(), phrase[None])[0, 0])

    def kept(self, sha256: str) -> Tensor | None:
        """Regions of a picture that was seen before, also by another process."""
        file = self._file(sha256)
        try:
            found = load_file(file)["regions"].to(self._device)
            # so that the oldest are known when there are too many
            file.touch()
        except (OSError, KeyError, SafetensorError):
            return None
        return found

    @torch.inference_mode()
    def look(self, sha256: str, pixels: NDArray[np.uint8]) -> Tensor:
        """(heads, C) half precision regions of an (H, W, 3) picture, which are kept."""
        config = self._preset.settings
        image = normalised(stretch_contrast(pixels) if config.stretch else pixels, self._device)
        regions = self._preset.model.regions(image, config.retrieval_size)[0, :-2].half()
        file = self._file(sha256)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            atomic_save(file, lambda temporary: save_file({"regions": regions.contiguous().cpu()}, temporary))
            self._new += 1
            if self._new % _LOOK == 0:
                self._forget()
        except (OSError, SafetensorError) as error:
            log.warning("cannot keep %s: %s", file, error)
        return regions

    def _file(self, sha256: str) -> Path:
        return self._folder / sha256[:2] / f"{sha256}.safetensors"

    def _forget(self) -> None:
        files = sorted(self._folder.glob("*/*.safetensors"), key=lambda file: file.stat().st_mtime)
        for file in files[: max(0, len(files) - _MOST)]:
            file.unlink(missing_ok=True)
