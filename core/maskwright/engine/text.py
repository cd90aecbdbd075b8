"""Text prompts: choice of the method, cached embeddings, and the prediction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypedDict

import torch
from torch import Tensor

from maskwright.domain import ClassName, Image, Mask, ModelRef, Prediction, PromptKind, Provenance, TextPrompt
from maskwright.domain.prompts import TEXT_METHODS
from maskwright.engine.cache import EmbeddingCache, EmbeddingKey, LruCache
from maskwright.engine.dinotxt import DinoTxtMethod
from maskwright.engine.dinov3seg import Dinov3SegMethod
from maskwright.engine.instances import ObjectDivider
from maskwright.engine.label_map import Labels, label, refine
from maskwright.engine.ovs_dino import OvsDinoMethod
from maskwright.engine.talk2dino import Talk2DinoMethod
from maskwright.engine.text_method import Scores, TextMethod
from maskwright.engine.text_tiles import label_tiles, objects_of_tiles
from maskwright.engine.tiles import is_large
from maskwright.errors import InvalidMask, MaskwrightError, UsageError
from maskwright.models.talk2dino import LAMBDA
from maskwright.models.text_cleaning import clean_text
from maskwright.presets.loading import Preset, no_method
from maskwright.progress import NO_PROGRESS, Progress

__all__ = ["TextOptions", "TextSegmenter", "default_method"]

_DISPLAY_NAMES = {"dinov3seg": "dinov3.seg", "dinotxt": "dino.txt", "talk2dino": "Talk2DINO", "ovs-dino": "OVS-DINO"}
_TRAIN_PROJECTION = "Train its projection with `maskwright train-projection`, or fetch talk2dino-b."
_TRAIN_OVS = "Train it with `maskwright train DATA --task ovs --out FOLDER`."
_UNTRAINED = "dinov3.seg of this preset is not trained yet; dino.txt stands in for it, zero-shot."
_CACHED_CLASSES = 4096
_REFINEMENT_OF_OBJECTS = "pamr"
"""Of a prompt for objects that asks for none: touching objects part where contours follow the edges."""


class TextOptions(TypedDict, total=False):
    """Keyword options of `Engine.segment_text`."""

    threshold: float | None
    cleaning: bool | None
    high_resolution: bool
    instances: bool | tuple[str, ...]
    progress: Progress


def default_method(preset: Preset) -> str | None:
    """Name of the method that answers text prompts which name none; None for a preset without words."""
    loaded = preset.dinov3seg, preset.dinotxt, preset.talk2dino, preset.ovs_dino
    there = [name for name, part in zip(_DISPLAY_NAMES, loaded, strict=True) if part is not None]
    return preset.text_method if preset.text_method in there else next(iter(there), None)


class TextSegmenter:
    """The text methods of a preset."""

    def __init__(self, preset: Preset, device: torch.device, embeddings: EmbeddingCache) -> None:
        self._preset, self._embeddings = preset, embeddings
        self._dinotxt = None if preset.dinotxt is None else DinoTxtMethod(preset.dinotxt, device)
        self.methods: dict[str, TextMethod] = {}
        """By name, the preset's default first."""
        if preset.dinov3seg is not None:
            self.methods["dinov3seg"] = Dinov3SegMethod(preset.dinov3seg, device)
        if self._dinotxt is not None:
            self.methods["dinotxt"] = self._dinotxt
        if preset.talk2dino is not None:
            self.methods["talk2dino"] = Talk2DinoMethod(preset.talk2dino, device)
        if preset.ovs_dino is not None:
            sam = preset.sam if preset.ovs_dino.settings.middle == "sam" else None
            self.methods["ovs-dino"] = OvsDinoMethod(preset.ovs_dino, device, sam.model.image_encoder if sam else None)
        first = default_method(preset)
        if first is not None:
            self.methods = {first: self.methods[first], **self.methods}
        self._classes = LruCache[tuple[str, tuple[str, ...]], Tensor](_CACHED_CLASSES)
        names = None if preset.dinotxt is None else preset.dinotxt.settings.vocabulary
        self._vocabulary = None if names is None else {clean_text(name) for name in names}

    def method_name(self, method: str | None = None, *, high_resolution: bool = False) -> str:
        """Name of the method that serves a prompt; see `Engine.text_method`."""
        if method is not None and method not in TEXT_METHODS:
            raise UsageError(f"There is no text method {method}. Choose one of: {', '.join(TEXT_METHODS)}.")
        if high_resolution and method not in (None, "dinotxt"):
            raise UsageError("High resolution is a procedure of dino.txt. Use it with the method dinotxt.")
        waits = method in (None, "ovs-dino") and self._preset.ovs_dino_waits and not high_resolution
        if waits and (method or not self.methods):
            raise MaskwrightError(f"The OVS-DINO of the preset {self._preset.ref.name} waits for training.", _TRAIN_OVS)
        if self._preset.waiting_talk2dino is not None and not self.methods:
            name = self._preset.ref.name
            raise MaskwrightError(f"The Talk2DINO of the preset {name} waits for training.", _TRAIN_PROJECTION)
        if high_resolution or not self.methods:
            return self._require_dinotxt().name
        if method is None:
            return next(iter(self.methods))
        if method == "dinov3seg" and self._preset.untrained:
            return "dinotxt"
        if method == "ovs-dino" and method not in self.methods:
            raise MaskwrightError(f"The preset {self._preset.ref.name} has no OVS-DINO.", _TRAIN_OVS)
        if method not in self.methods:
            raise MaskwrightError(no_method(self._preset.ref.name, _DISPLAY_NAMES[method]))
        return method

    def segment(self, image: Image, prompt: TextPrompt, divider: ObjectDivider, progress: Progress) -> Prediction:
        """See `Engine.segment`; `divider` makes the objects of the prompt's divided classes."""
        name = self.method_name(prompt.method, high_resolution=prompt.high_resolution)
        method = self.methods[name]
        if prompt.high_resolution:
            method = replace(self._require_dinotxt(), high_resolution=True)
        cleaning = None if prompt.minimum_probability is None else _cleaning_weight(method, requested=prompt.cleaning)
        contours = prompt.refine or (_REFINEMENT_OF_OBJECTS if prompt.divided else None)
        classes = self._class_embeddings(method, prompt.classes)
        threshold, large = prompt.minimum_probability or 0.0, is_large(image.size_hw)

        def scores(part: Image, weight: float | None, steps: Progress) -> Scores:
            found = method.scores(self._embedding(method, part, steps), classes, cleaning=weight)
            return found if contours is None else refine(found, part.pixels, contours, threshold)

        def labels(weight: float | None) -> Labels:
            if large:
                return label_tiles(
                    image, len(classes), lambda part, steps: scores(part, weight, steps), threshold, progress
                )
            return label(scores(image, weight, progress), image.size_hw, threshold)

        result = labels(cleaning)
        parameters: dict[str, Any] = {"cleaning": cleaning, "refine": contours}
        if prompt.divided:
            parameters["instances"] = {"classes": list(prompt.divided), **divider.parameters}
        requested = prompt.method == name or prompt.high_resolution
        return Prediction(
            label_map=result.label_map,
            categories=prompt.names,
            scores=result.scores,
            max_scores=result.max_scores,
            out_of_vocabulary=tuple(c.name for c in prompt.classes if not self._in_vocabulary(c)),
            provenance=_provenance(method.ref, name, image, prompt, parameters),
            overlapping_masks=_masks(image, prompt, result, divider, progress) if prompt.divided else None,
            unlabelled_by_cleaning=(labels(0.0).label_map > 0) & (result.label_map == 0)
            if cleaning and not large
            else None,
            note=_UNTRAINED if self._preset.untrained and name == "dinotxt" and not requested else "",
        )

    def suggest(self, image: Image, mask: Mask, classes: Sequence[ClassName]) -> list[tuple[str, float]]:
        """See `Engine.suggest`."""
        method = self._require_dinotxt()
        if not mask.area or tuple(mask.rle["size"]) != image.size_hw:
            raise InvalidMask("The mask is empty, or has another size than its image.")
        embedding = self._embedding(method, image, NO_PROGRESS)
        probabilities = method.mean_probabilities(embedding, self._class_embeddings(method, classes), mask.to_array())
        ranked = zip((c.name for c in classes), probabilities, strict=True)
        return sorted(ranked, key=lambda pair: -pair[1])

    def _require_dinotxt(self) -> DinoTxtMethod:
        if self._dinotxt is None:
            name = self._preset.ref.name
            raise MaskwrightError(f"The preset {name} has no text model. For words use tiny or dinov3txt-l.")
        return self._dinotxt

    def _embedding(self, method: TextMethod, image: Image, progress: Progress) -> Any:
        key = EmbeddingKey(image.sha256, method.ref, method.procedure)
        return self._embeddings.get_or_make(key, lambda: method.encode(image.pixels, progress, image.contrast))

    def _class_embeddings(self, method: TextMethod, classes: Sequence[ClassName]) -> Tensor:
        """(T, ...) embeddings of the classes, each cached on its own."""

        def encode(synonyms: tuple[str, ...]) -> Tensor:
            return self._classes.get_or_make((method.name, synonyms), lambda: method.class_embedding(synonyms))

        return torch.stack([encode(c.synonyms) for c in classes])

    def _in_vocabulary(self, name: ClassName) -> bool:
        """Whether one of the class's synonyms, in singular or plain plural, was in the training data."""
        if self._vocabulary is None:
            return True
        names = [clean_text(synonym) for synonym in name.synonyms]
        return any(n in self._vocabulary or n.removesuffix("s") in self._vocabulary for n in names)


def _cleaning_weight(method: TextMethod, *, requested: bool | None) -> float:
    """Weight of background cleaning; when it is requested and the preset's weight is 0, the published one."""
    default = method.cleaning
    if default is None or requested is False:
        return 0.0
    return (default or LAMBDA) if requested else default


def _masks(
    image: Image, prompt: TextPrompt, labels: Labels, divider: ObjectDivider, progress: Progress
) -> tuple[Mask, ...]:
    """The objects of each divided class, and the regions of the others, in prompt order."""
    masks: list[Mask] = []
    for number, (name, score) in enumerate(zip(prompt.names, labels.scores, strict=True), start=1):
        if name in prompt.divided and is_large(image.size_hw):
            masks += objects_of_tiles(image, number, name, labels, divider, progress)
            continue
        region = labels.label_map == number
        if name in prompt.divided:
            masks += divider.objects(image, region, labels.probability, name, progress)
        elif region.any():
            masks.append(Mask.from_array(region, category=name, score=round(score, 4)))
    return tuple(masks)


def _provenance(ref: ModelRef, method: str, image: Image, prompt: TextPrompt, parameters: dict[str, Any]) -> Provenance:
    return Provenance(
        PromptKind.TEXT,
        ref,
        method,
        image.sha256,
        prompt=prompt.text,
        parameters={
            "threshold": prompt.minimum_probability,
            "high_resolution": prompt.high_resolution,
            **parameters,
        },
    )
