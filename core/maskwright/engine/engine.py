"""The engine: the loaded models of a preset on a device, their caches, and the lock that guards them."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Unpack

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn.modules.module import register_module_forward_pre_hook

from maskwright.domain import (
    EverythingPrompt,
    Image,
    Mask,
    ModelRef,
    Prediction,
    Provenance,
    Reference,
    ReferencePrompt,
    TextPrompt,
)
from maskwright.domain.prompts import parse_class_names
from maskwright.engine.cache import EmbeddingCache
from maskwright.engine.clicks import ClickSegmenter, parse_clicks
from maskwright.engine.instances import ObjectDivider
from maskwright.engine.references import ReferenceSegmenter
from maskwright.engine.retrieval import ImageTextRetriever
from maskwright.engine.text import TextOptions, TextSegmenter
from maskwright.errors import MaskwrightError
from maskwright.models.devices import choose_device
from maskwright.presets.folders import find
from maskwright.presets.loading import Preset, load
from maskwright.progress import NO_PROGRESS, Progress, cancellable, check_cancelled
from maskwright.settings import Settings

__all__ = ["Engine"]

# a pass of a large network takes seconds on a CPU: a prompt that nobody waits for ends at its next layer
register_module_forward_pre_hook(lambda *_: check_cancelled())


class Engine:
    """The models of one preset, for prompts of every kind; safe to share between threads.

    Image embeddings are cached by image content, weights and encoding procedure, so that a further prompt on an image
    runs no encoder (`encoder_calls` counts encoder runs).
    """

    def __init__(self, preset: Preset, device: torch.device, settings: Settings) -> None:
        """Move a loaded preset to a device; use `load` for a preset by name.

        Args:
            preset: with at least one model.
            device: of all models.
            settings: size of the embedding cache in memory, folder of the cache on disk.
        """
        self.device = device
        # half the memory and twice the speed where the hardware has it; single precision elsewhere
        dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
        for model in preset.models:
            model.to(device)
        for encoder in preset.encoders:
            encoder.to(dtype)
        self._preset = preset
        self._lock = threading.RLock()
        self._embeddings = EmbeddingCache(settings.cache_mb * 2**20)
        self._text = TextSegmenter(preset, device, self._embeddings)
        self._clicks = ClickSegmenter(preset.sam, device, self._embeddings) if preset.sam else None
        self._divider = ObjectDivider(self._clicks, self._lock)
        self._references = (
            ReferenceSegmenter(preset.insid3, device, self._embeddings, settings.cache) if preset.insid3 else None
        )
        self._retriever = ImageTextRetriever(preset.talk2dino, device) if preset.talk2dino else None

    @classmethod
    def load(cls, preset: str | Path = "tiny", device: str = "auto", *, settings: Settings | None = None) -> Engine:
        """Load a preset by name or a checkpoint by folder.

        Args:
            preset: name, or folder with a `config.json`.
            device: "auto", "cpu", "cuda", "cuda:N" or "mps".
            settings: limits and folders; None reads them from file and environment.

        Raises:
            PresetMissing: there is no such preset on this computer.
            BadWeights: its files are damaged or do not fit together.
            DeviceMissing: this machine has no such device.
        """
        settings = settings or Settings.load()
        chosen = choose_device(device)
        return cls(load(find(str(preset), settings)), chosen, settings)

    @property
    def model(self) -> ModelRef:
        """Name of the preset and hash of its weights."""
        return self._preset.ref

    @property
    def text_methods(self) -> tuple[str, ...]:
        """Those of TEXT_METHODS that the preset has, its default first."""
        return tuple(self._text.methods)

    @property
    def text_model(self) -> ModelRef:
        """Name of the preset and hash of the weights of its default text method."""
        return self._text.methods[self.text_method()].ref

    @property
    def encoder_calls(self) -> int:
        """How often an image was encoded, that is how often no cache had its embedding."""
        return self._embeddings.misses + (self._retriever.encoder_calls if self._retriever else 0)

    def text_method(self, method: str | None = None, *, high_resolution: bool = False) -> str:
        """Name of the text method that serves a prompt.

        Args:
            method: one of TEXT_METHODS; None is the preset's default.
            high_resolution: as in `TextPrompt`.

        Returns:
            `method`, except that dino.txt stands in for a dinov3.seg that is not trained yet.

        Raises:
            UsageError: there is no such method, or it has no high-resolution procedure.
            MaskwrightError: the preset does not have it.
        """
        return self._text.method_name(method, high_resolution=high_resolution)

    def segment(
        self,
        image: Image,
        prompt: TextPrompt | ReferencePrompt | EverythingPrompt,
        *,
        clicks: Engine | None = None,
        progress: Progress = NO_PROGRESS,
    ) -> Prediction:
        """Segment an image by a text, reference or everything prompt.

        Args:
            image: to segment.
            prompt: what to segment, with the method's options.
            clicks: the engine whose SAM finds the objects of a text prompt with `instances`; None is this one.
            progress: reports encoder passes (or points of the grid), and cancels between them.

        Raises:
            UsageError: options that do not fit the method.
            Cancelled: on request.
            MaskwrightError: the preset has no model for this kind of prompt.
        """
        progress.check()
        with self._lock, cancellable(progress):
            if isinstance(prompt, TextPrompt):
                return self._text.segment(image, prompt, (clicks or self)._divider, progress)
            if isinstance(prompt, ReferencePrompt):
                return self._reference_segmenter().segment(image, prompt, progress)
            return self._click_segmenter().segment_everything(image, prompt, progress)

    def segment_text(
        self,
        image: Image,
        categories: str | Sequence[str],
        method: str | None = None,
        background: bool | None = None,  # noqa: FBT001 - the public signature
        refine: str | None = None,
        **options: Unpack[TextOptions],
    ) -> Prediction:
        """Assign each pixel the most probable of the named classes.

        Args:
            image: to segment.
            categories: names, or one string of names separated by commas; synonyms of one class separated by "|".
            method: one of TEXT_METHODS; None is the preset's default.
            background: leave pixels unlabelled (0) that are none of the classes; None is False.
            refine: "pamr" or "crf" makes contours follow the edges of the image; None leaves them as predicted.
            **options: `threshold`, least probability of a class, 0 to 1 (default 0.5; implies `background`);
                `cleaning`, background cleaning before the threshold (default: the preset's choice);
                `high_resolution`, dino.txt's slow procedure for fine structures; `instances`, one mask per object
                (True, or the names of the classes to divide), refined by PAMR unless `refine` says otherwise;
                `progress`, which reports encoder passes and cancels between them.

        Returns:
            A label map (H, W); per category the mean and the highest probability. With `instances`, `masks()` are the
            objects, disjoint within a class.

        Raises:
            EmptyPrompt: no category.
            UsageError: an unknown method or refinement, or options that exclude each other.
            Cancelled: on request.
            MaskwrightError: the preset does not have the method.
        """
        progress = options.pop("progress", NO_PROGRESS)
        prompt = TextPrompt.parse(categories, method=method, background=bool(background), refine=refine, **options)
        return self.segment(image, prompt, progress=progress)

    def segment_like(
        self,
        image: Image,
        references: Sequence[Reference],
        category: str | None = None,
        refine: str | None = "crf",
        *,
        negative_references: Sequence[Reference] = (),
        progress: Progress = NO_PROGRESS,
    ) -> Prediction:
        """Segment the object that reference masks show in other images (INSID3).

        Reference images are encoded once, so a further image costs one encoder pass and the matching.

        Args:
            image: to segment; it may be a reference image, too.
            references: 1 to k images with masks of the object; a patch needs the vote of half of them.
            category: name of the object; None is the first reference's category, else "object".
            refine: one of REFINEMENTS (the paper's main results use "crf"); None is bilinear upsampling alone.
            negative_references: images with masks of what the object is not.
            progress: reports encoded images, and cancels between them.

        Returns:
            One category, empty when nothing was found; its score, 0 to 1, is the confidence, to sort images by.

        Raises:
            BadReference: no reference, or one whose mask is empty or covers the whole image.
            UsageError: an unknown refinement.
            Cancelled: on request.
            MaskwrightError: the preset does not have INSID3.
        """
        positive, negative = tuple(references), tuple(negative_references)
        prompt = ReferencePrompt(references=positive, negative_references=negative, category=category, refine=refine)
        return self.segment(image, prompt, progress=progress)

    def segment_click(
        self,
        image: Image,
        points: ArrayLike | Sequence[Sequence[float]] = (),
        labels: ArrayLike | None = None,
        box: Sequence[float] | None = None,
        *,
        start: Mask | None = None,
        category: str | None = None,
    ) -> Prediction:
        """Segment the object at points or in a box (SAM).

        The image is encoded once, so a further click runs the mask decoder only.

        Args:
            image: to segment.
            points: (N, 2) x and y in pixels, origin at the top-left corner of the image.
            labels: (N,) 1 for a positive, 0 for a negative point; None makes all points positive.
            box: left, top, right, bottom in pixels.
            start: a mask to correct, such as an earlier candidate or an accepted mask.
            category: name of the object; None is that of `start`, else "object".

        Returns:
            `masks()` are the candidates, best first: up to three for a single point, else one; none when nothing was
            found. Their scores are predicted IoUs, 0 to 1. The label map shows the first.

        Raises:
            BadPrompt: neither a point nor a box, a point outside the image, or a box without area.
            InvalidMask: `start` has another size than the image.
            MaskwrightError: the preset does not have SAM.
        """
        clicks = parse_clicks(points, labels, box, image.size_hw)
        with self._lock:
            return self._click_segmenter().segment(image, clicks, start, category)

    def prepare_clicks(self, image: Image, *, progress: Progress = NO_PROGRESS) -> None:
        """Encode an image ahead of its first click; raises Cancelled between two layers of the encoder on request."""
        progress.check()
        with self._lock, cancellable(progress):
            self._click_segmenter().prepare(image)

    def segment_everything(
        self,
        image: Image,
        *,
        points_per_side: int | None = None,
        pred_iou_thresh: float | None = None,
        stability_score_thresh: float | None = None,
        category: str = "object",
        progress: Progress = NO_PROGRESS,
    ) -> Prediction:
        """Segment every object (SAM on a grid of points, without duplicates).

        Args:
            image: to segment.
            points_per_side: points along the longer side of the image; None, here and below, is the preset's value.
            pred_iou_thresh: least predicted IoU of a mask, 0 to 1.
            stability_score_thresh: least IoU, 0 to 1, between the masks at a raised and a lowered logit threshold.
            category: name of the objects.
            progress: reports points, and cancels between batches of them.

        Returns:
            `masks()`, which may overlap, most stable first; their scores are the stability scores.

        Raises:
            Cancelled: on request.
            MaskwrightError: the preset does not have SAM.
        """
        prompt = EverythingPrompt(
            points_per_side=points_per_side,
            pred_iou_thresh=pred_iou_thresh,
            stability_score_thresh=stability_score_thresh,
            category=category,
        )
        return self.segment(image, prompt, progress=progress)

    def provenance(self, image: Image, prompt: ReferencePrompt) -> Provenance:
        """The provenance that `segment` gives this prompt on this image; no model runs.

        Raises:
            MaskwrightError: the preset does not have INSID3.
        """
        return self._reference_segmenter().provenance(image, prompt)

    def suggest(self, image: Image, mask: Mask, categories: Sequence[str]) -> list[tuple[str, float]]:
        """Rank names for a mask (dino.txt).

        Args:
            image: of the mask.
            mask: not empty.
            categories: names to rank, with synonyms separated by "|".

        Returns:
            Each name with its mean probability inside the mask, 0 to 1, highest first.

        Raises:
            EmptyPrompt: no category.
            InvalidMask: the mask is empty or has another size than the image.
            MaskwrightError: the preset does not have dino.txt.
        """
        classes = parse_class_names(categories)
        with self._lock:
            return self._text.suggest(image, mask, classes)

    def match_points(self, source: Image, points_xy: ArrayLike, target: Image) -> NDArray[np.float64]:
        """Find the points of one image that correspond to points of another (INSID3's features).

        Args:
            source: image of the points.
            points_xy: (K, 2) x and y in pixels of `source`.
            target: image to find them in.

        Returns:
            (K, 2) x and y in pixels of `target`.

        Raises:
            BadPrompt: a point outside the source image.
            MaskwrightError: the preset does not have INSID3.
        """
        with self._lock:
            return self._reference_segmenter().match_points(source, points_xy, target)

    def encode_phrase(self, phrase: str) -> Tensor:
        """(C,) unit vector of a phrase, to compare with the regions of images (Talk2DINO, Appendix B).

        Args:
            phrase: a description such as "a zebra in the grass".

        Raises:
            EmptyPhrase: no words.
            MaskwrightError: the preset does not have Talk2DINO.
        """
        with self._lock:
            return self.retriever.encode_phrase(phrase)

    def encode_regions(self, image: Image) -> Tensor:
        """(heads, C) regions of an image, not normalised; see `encode_phrase`, also for errors."""
        with self._lock:
            return self.retriever.encode_image(image.pixels)

    @property
    def retriever(self) -> ImageTextRetriever:
        """The image-text retriever; raises MaskwrightError when the preset does not have Talk2DINO."""
        if self._retriever is None:
            raise MaskwrightError(
                f"The preset {self.model.name} does not compare words with whole images. Use tiny or talk2dino-b."
            )
        return self._retriever

    def _reference_segmenter(self) -> ReferenceSegmenter:
        if self._references is None:
            raise MaskwrightError(f"The preset {self.model.name} does not segment by example. Use tiny or insid3-l.")
        return self._references

    def _click_segmenter(self) -> ClickSegmenter:
        if self._clicks is None:
            raise MaskwrightError(f"The preset {self.model.name} does not take clicks. For clicks use tiny or sam-b.")
        return self._clicks
