"""One engine per process: loaded models, the device, the caches and the lock that guards them."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from maskwright import __version__
from maskwright.domain import Image, ModelRef, Prediction
from maskwright.engine import text
from maskwright.engine.embeddings import EmbeddingCache, EmbeddingKey
from maskwright.errors import Cancelled, MaskwrightError
from maskwright.models.devices import choose_device
from maskwright.models.presets import DinoTxtPreset, find, load_text
from maskwright.models.tokens import clean
from maskwright.settings import Settings

__all__ = ["METHODS", "Engine"]

METHODS = ("dinotxt",)
"""Text methods of this version, the default first."""
_TEXTS_KEPT = 4096


class Engine:
    """Answers prompts; safe to share between threads.

    Embeddings are kept by image content and weights, so a second prompt on an image costs no encoder pass
    (`encoder_calls` counts them).
    """

    def __init__(self, preset: DinoTxtPreset, device: torch.device, settings: Settings) -> None:
        self.device = device
        # half the memory and twice the speed where the hardware has it; single precision elsewhere
        dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
        preset.model.to(device, dtype)
        self._preset = preset
        self._cache = EmbeddingCache(settings.cache_mb * 2**20)
        self._texts: OrderedDict[tuple[str, ...], Tensor] = OrderedDict()
        self._lock = threading.RLock()
        self._familiar = None if preset.config.familiar is None else {clean(word) for word in preset.config.familiar}
        self.encoder_calls = 0

    @classmethod
    def load(cls, preset: str | Path = "tiny", device: str = "auto", *, settings: Settings | None = None) -> Engine:
        """Load a preset by name or a checkpoint by folder.

        Raises:
            PresetMissing, BadWeights, DeviceMissing: with what to do.
        """
        settings = settings or Settings.load()
        chosen = choose_device(device)
        return cls(load_text(find(str(preset), settings)), chosen, settings)

    @property
    def model(self) -> ModelRef:
        """Name and weights hash of the text model."""
        return self._preset.ref

    def segment_text(
        self,
        image: Image,
        categories: str | Sequence[str],
        method: str | None = None,
        background: bool | None = None,
        refine: str | None = None,
        *,
        threshold: float | None = None,
        high_resolution: bool = False,
        progress: Callable[[float], None] = lambda share: None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> Prediction:
        """Give each pixel the class whose words fit it best.

        Args:
            image: to label.
            categories: names, or one string of names separated by commas; synonyms of one class by "|".
            method: one of METHODS; None is the first.
            background: leave pixels that fit none of the names unlabelled (0); None is False, a closed vocabulary.
            refine: not offered by this version.
            threshold: probability against "none of these" that a class needs, 0.5 by default; implies `background`.
            high_resolution: dino.txt's slow procedure for fine structures.
            progress: told the share of the encoding that is done.
            cancelled: asked between encoder passes.

        Raises:
            EmptyPrompt, Cancelled, MaskwrightError: one sentence each.
        """
        _check_options(method, refine, threshold)
        names = text.class_names(categories)
        if threshold is None and background:
            threshold = 0.5

        def check(share: float) -> None:
            if cancelled():
                raise Cancelled
            progress(share)

        check(0.0)
        with self._lock:
            classes = torch.stack([self._vector(name.synonyms) for name in names])
            embedding = self._embedding(image, high_resolution, check)
            found = text.label(embedding, classes, self._preset.config, image.size_hw, threshold=threshold)
        progress(1.0)
        return Prediction(
            label_map=found.label_map,
            categories=tuple(name.name for name in names),
            scores=found.scores,
            best=found.best,
            unfamiliar=tuple(n.name for n in names if not self._knows(n)),
            provenance={
                "source": "text",
                "preset": self.model.name,
                "weights": self.model.sha256,
                "method": method or METHODS[0],
                "prompt": ", ".join("|".join(name.synonyms) for name in names),
                "parameters": {"threshold": threshold, "high_resolution": high_resolution},
                "version": __version__,
                "image": image.sha256,
            },
        )

    def _knows(self, name: text.ClassName) -> bool:
        """Whether the model was taught one of the class's words (in singular or plain plural)."""
        if self._familiar is None:
            return True
        words = [clean(word) for word in name.synonyms]
        return any(w in self._familiar or w.removesuffix("s") in self._familiar for w in words)

    def _vector(self, synonyms: tuple[str, ...]) -> Tensor:
        if synonyms not in self._texts:
            self._texts[synonyms] = text.vectors(self._preset, synonyms, self.device)
            if len(self._texts) > _TEXTS_KEPT:
                self._texts.popitem(last=False)
        self._texts.move_to_end(synonyms)
        return self._texts[synonyms]

    def _embedding(self, image: Image, high_resolution: bool, check: Callable[[float], None]) -> Any:
        config = self._preset.config
        procedure = (config.protocol, config.high_resolution if high_resolution else None)
        encode = text.encode_clusters if high_resolution else text.encode_windows

        def make() -> Any:
            self.encoder_calls += 1
            return encode(self._preset, image.pixels, self.device, check)

        return self._cache.get_or_make(EmbeddingKey(image.sha256, self.model, procedure), make)


def _check_options(method: str | None, refine: str | None, threshold: float | None) -> None:
    if method is not None and method not in METHODS:
        raise MaskwrightError(f"There is no text method {method} in this version. Known: {', '.join(METHODS)}.")
    if refine is not None:
        raise MaskwrightError("Refinement of masks is not in this version. Leave the option out.")
    if threshold is not None and not 0 <= threshold <= 1:
        raise MaskwrightError(f"The threshold must lie between 0 and 1, got {threshold}.")
