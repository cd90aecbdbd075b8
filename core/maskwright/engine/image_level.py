"""Whole images compared with texts: dino.txt's descriptor (its Sec. 3.2), or Talk2DINO's regions (its Appendix B)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image as Pillow
from torch import Tensor

from maskwright.engine.text_method import half_precision, preprocess
from maskwright.errors import MaskwrightError
from maskwright.models.dinotxt import class_descriptor, image_descriptor
from maskwright.models.talk2dino import class_vector, image_similarity
from maskwright.presets.loading import LoadedDinoTxt, LoadedTalk2Dino, Preset, no_method

__all__ = ["ImageTextEncoder", "Pooling", "image_text_encoder"]

_RESIZED, _CROP = 256, 224
"""Short side in pixels that an image is resized to, bicubic, and side of the middle square that is seen."""
Pooling = Literal["best-head", "mean"]
"""Talk2DINO: the similarity of the best head, or of the region of the mean attention (Table 8)."""


class ImageTextEncoder(Protocol):
    """Vectors of images and texts, and how alike they are."""

    name: str

    def image(self, pixels: NDArray[np.uint8]) -> Tensor:
        """(..., C) vectors of an (H, W, 3) image."""
        ...

    def class_name(self, synonyms: Sequence[str]) -> Tensor:
        """(C,) vector of a class under the preset's prompts."""
        ...

    def captions(self, texts: Sequence[str]) -> Tensor:
        """(T, C) vectors of sentences, as they are."""
        ...

    def similarity(self, images: Tensor, texts: Tensor) -> Tensor:
        """(I, T) of (I, ..., C) images with (T, C) texts."""
        ...


@dataclass(frozen=True, slots=True)
class _DinoTxtEncoder:
    """Cosines of [CLS ; mean patch] with whole text embeddings."""

    preset: LoadedDinoTxt
    device: torch.device
    name = "dinotxt"

    @torch.inference_mode()
    def image(self, pixels: NDArray[np.uint8]) -> Tensor:
        image = preprocess(_middle(pixels), self.device, stretch=self.preset.settings.stretch)
        with half_precision(self.device, self.preset.model):
            return image_descriptor(self.preset.model.encode_image(image))[0].float()

    @torch.inference_mode()
    def class_name(self, synonyms: Sequence[str]) -> Tensor:
        return class_descriptor(
            self._encode([p.format(name) for name in synonyms for p in self.preset.settings.prompts])
        )

    @torch.inference_mode()
    def captions(self, texts: Sequence[str]) -> Tensor:
        return F.normalize(self._encode(texts), dim=-1)

    def similarity(self, images: Tensor, texts: Tensor) -> Tensor:
        return images @ texts.T

    def _encode(self, texts: Sequence[str]) -> Tensor:
        return self.preset.model.encode_text(self.preset.tokenizer(list(texts)).to(self.device)).float()


@dataclass(frozen=True, slots=True)
class _Talk2DinoEncoder:
    """Cosines of the regions of attention heads with projected texts."""

    preset: LoadedTalk2Dino
    device: torch.device
    pooling: Pooling
    name = "talk2dino"

    @torch.inference_mode()
    def image(self, pixels: NDArray[np.uint8]) -> Tensor:
        settings = self.preset.settings
        image = preprocess(pixels, self.device, stretch=settings.stretch)
        regions = self.preset.model.regions(image, settings.retrieval_size)[0]
        return regions[:-2] if self.pooling == "best-head" else regions[-2:-1]

    @torch.inference_mode()
    def class_name(self, synonyms: Sequence[str]) -> Tensor:
        prompts = [prompt.format(name) for name in synonyms for prompt in self.preset.settings.prompts]
        return self.preset.model.encode_class(self.preset.tokenizer(prompts).to(self.device))

    @torch.inference_mode()
    def captions(self, texts: Sequence[str]) -> Tensor:
        model = self.preset.model
        return class_vector(
            model.projection, model.text(self.preset.tokenizer(list(texts)).to(self.device)).float()[None]
        )

    def similarity(self, images: Tensor, texts: Tensor) -> Tensor:
        return image_similarity(images, texts)


def image_text_encoder(
    preset: Preset, device: torch.device, method: str | None, *, pooling: Pooling = "best-head"
) -> ImageTextEncoder:
    """The encoder of a preset, on a device.

    Args:
        preset: loaded.
        device: that its models are moved to.
        method: dinotxt or talk2dino; None is the first that the preset has.
        pooling: of Talk2DINO.

    Raises:
        MaskwrightError: the preset has no such method.
    """
    chosen = method or ("dinotxt" if preset.dinotxt is not None else "talk2dino")
    if chosen == "dinotxt" and preset.dinotxt is not None:
        preset.dinotxt.model.to(device)
        return _DinoTxtEncoder(preset.dinotxt, device)
    if chosen == "talk2dino" and preset.talk2dino is not None:
        preset.talk2dino.model.to(device)
        return _Talk2DinoEncoder(preset.talk2dino, device, pooling)
    if chosen not in ("dinotxt", "talk2dino"):
        raise MaskwrightError(f"{chosen} does not compare whole images with texts.", "Use dinotxt or talk2dino.")
    raise MaskwrightError(no_method(preset.ref.name, {"dinotxt": "dino.txt", "talk2dino": "Talk2DINO"}[chosen]))


def _middle(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The (224, 224, 3) middle of an (H, W, 3) image whose short side was resized to 256."""
    height, width = (_RESIZED * side // min(pixels.shape[:2]) for side in pixels.shape[:2])
    left, top = round((width - _CROP) / 2), round((height - _CROP) / 2)
    resized = Pillow.fromarray(pixels).resize((width, height), Pillow.Resampling.BICUBIC)
    return np.asarray(resized.crop((left, top, left + _CROP, top + _CROP)))
