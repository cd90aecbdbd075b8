"""One engine per process: loaded models, the device, the caches and the lock that guards them."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from maskwright.domain import (
    ClassName,
    Image,
    Mask,
    ModelRef,
    Prediction,
    PromptKind,
    Provenance,
    Reference,
    ReferencePrompt,
    TextPrompt,
)
from maskwright.domain.prompts import REFINEMENTS, parse_class_names
from maskwright.domain.prompts import TEXT_METHODS as METHODS
from maskwright.engine import clicks as click
from maskwright.engine import dinotxt, text
from maskwright.engine import references as reference
from maskwright.engine.cache import EmbeddingCache, EmbeddingKey
from maskwright.engine.dinotxt import DinoTxtMethod
from maskwright.engine.dinov3seg import SegMethod
from maskwright.engine.retrieval import ImageTextRetriever
from maskwright.engine.talk2dino import Talk2DinoMethod
from maskwright.errors import BadPrompt, InvalidMask, MaskwrightError
from maskwright.models.devices import choose_device
from maskwright.models.insid3 import PatchFeatures
from maskwright.models.talk2dino import LAMBDA
from maskwright.models.text_cleaning import clean_text
from maskwright.presets.loading import LoadedInsid3, LoadedSam, Preset, find, load, no_method
from maskwright.progress import NO_PROGRESS, Progress
from maskwright.settings import Settings

__all__ = ["METHODS", "REFINEMENTS", "Engine"]

_SPOKEN = {"dinov3seg": "dinov3.seg", "dinotxt": "dino.txt", "talk2dino": "Talk2DINO"}
_UNTRAINED = "dinov3.seg of this preset is not trained yet; dino.txt answered without training (zero-shot)."
_TEXTS_KEPT = 4096
_ANSWERS_KEPT = 96


class Engine:
    """Answers prompts; safe to share between threads.

    Embeddings are kept by image content and weights, so a second prompt on an image costs no encoder pass
    (`encoder_calls` counts them).
    """

    def __init__(self, preset: Preset, device: torch.device, settings: Settings) -> None:
        self.device = device
        # half the memory and twice the speed where the hardware has it; single precision elsewhere
        dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
        for model in preset.models:
            model.to(device)
        for encoder in preset.encoders:
            encoder.to(dtype)
        self._preset = preset
        self._methods: dict[str, text.TextMethod] = {}
        if preset.dinov3seg is not None:
            self._methods["dinov3seg"] = SegMethod(preset.dinov3seg, device)
        if preset.dinotxt is not None:
            self._methods["dinotxt"] = DinoTxtMethod(preset.dinotxt, device)
        if preset.talk2dino is not None:
            self._methods["talk2dino"] = Talk2DinoMethod(preset.talk2dino, device)
        self._matcher = (
            None if preset.talk2dino is None else ImageTextRetriever(preset.talk2dino, device, settings.cache)
        )
        self._settings = settings
        self._complement: Tensor | None = None
        self._cache = EmbeddingCache(settings.cache_mb * 2**20)
        self._texts: OrderedDict[tuple[str, tuple[str, ...]], Tensor] = OrderedDict()
        self._answers: OrderedDict[tuple[str, str], Tensor] = OrderedDict()
        self._lock = threading.RLock()
        known = preset.dinotxt.settings.vocabulary if preset.dinotxt else None
        self._familiar = None if known is None else {clean_text(word) for word in known}
        self.encoder_calls = 0

    @classmethod
    def load(cls, preset: str | Path = "tiny", device: str = "auto", *, settings: Settings | None = None) -> Engine:
        """Load a preset by name or a checkpoint by folder.

        Raises:
            PresetMissing, BadWeights, DeviceMissing: with what to do.
        """
        settings = settings or Settings.load()
        chosen = choose_device(device)
        return cls(load(find(str(preset), settings)), chosen, settings)

    @property
    def model(self) -> ModelRef:
        """Name and weights hash of the model."""
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
        cleaning: bool | None = None,
        high_resolution: bool = False,
        progress: Progress = NO_PROGRESS,
    ) -> Prediction:
        """Give each pixel the class whose words fit it best.

        Args:
            image: to label.
            categories: names, or one string of names separated by commas; synonyms of one class by "|".
            method: one of METHODS; None is the first that the preset has.
            background: leave pixels that fit none of the names unlabelled (0); None is False, a closed vocabulary.
            refine: "pamr" makes contours follow the picture's colours; None leaves them as the model drew them.
            threshold: probability that a class needs, 0.5 by default; implies `background`.
            cleaning: background cleaning (Talk2DINO's) before the threshold, with `background` only; None is what the
                preset says.
            high_resolution: dino.txt's slow procedure for fine structures; goes with that method only.
            progress: hears how much of the encoding is done, and cancels between encoder passes.

        Raises:
            EmptyPrompt, UsageError, Cancelled, MaskwrightError: one sentence each.
        """
        prompt = TextPrompt.parse(
            categories, method=method, background=bool(background), refine=refine, threshold=threshold,
            cleaning=cleaning, high_resolution=high_resolution,
        )  # fmt: skip
        return self.segment(image, prompt, progress=progress)

    def segment(self, image: Image, prompt: TextPrompt, *, progress: Progress = NO_PROGRESS) -> Prediction:
        """Give each pixel the class whose words fit it best; errors as `segment_text`."""
        chosen = self.text_method(prompt.method, high_resolution=prompt.high_resolution)

        def check(share: float) -> None:
            progress.check()
            progress.report(round(100 * share), 100, "Encoding")

        check(0.0)
        stands_in = (
            self._preset.untrained and chosen == "dinotxt" and prompt.method != chosen and not prompt.high_resolution
        )
        if prompt.high_resolution:
            way: text.TextMethod = replace(self._dinotxt(), high_resolution=True)
        else:
            way = self._methods[chosen]
        cleaning = None if prompt.minimum_probability is None else _cleaning(way, prompt.cleaning)
        with self._lock:
            classes = torch.stack([self._vector(way, name.synonyms) for name in prompt.classes])
            embedding = self._embedding(way, image, check)
            found, removed = text.answer(way, embedding, classes, image.pixels, prompt, cleaning)
        progress.report(100, 100, "Encoding")
        return Prediction(
            label_map=found.label_map,
            categories=prompt.names,
            scores=found.scores,
            max_scores=found.best,
            out_of_vocabulary=tuple(n.name for n in prompt.classes if not self._knows(n)),
            unlabelled_by_cleaning=removed,
            note=_UNTRAINED if stands_in else "",
            provenance=Provenance(
                PromptKind.TEXT, way.ref, chosen, image.sha256, prompt.text, {
                    "threshold": prompt.minimum_probability, "cleaning": cleaning, "refine": prompt.refine,
                    "high_resolution": prompt.high_resolution,
                },
            ),
        )  # fmt: skip

    @property
    def text_methods(self) -> tuple[str, ...]:
        """Those of METHODS that the preset has, its default first."""
        return tuple(self._methods)

    @property
    def text_model(self) -> ModelRef:
        """Name and weights hash of what answers words by default."""
        return self._methods[self.text_method()].ref

    def text_method(self, method: str | None = None, *, high_resolution: bool = False) -> str:
        """The method that answers words when `method` is asked for; raises MaskwrightError when none does."""
        if method is not None and method not in METHODS:
            raise MaskwrightError(f"There is no text method {method} in this version. Known: {', '.join(METHODS)}.")
        if not self._methods or high_resolution:
            self._dinotxt()
        if high_resolution:
            if method not in (None, "dinotxt"):
                raise MaskwrightError("High resolution is a procedure of dino.txt. Use it with the method dinotxt.")
            return "dinotxt"
        if method is None or method in self._methods:
            return method or self.text_methods[0]
        if self._preset.untrained and method == "dinov3seg":
            return "dinotxt"
        raise MaskwrightError(no_method(self.model.name, _SPOKEN[method]))

    def similarity(self, phrase: str, image_sha256: str, picture: Callable[[], Image]) -> float:
        """How well a phrase fits an image as a whole: -1 to 1 (Talk2DINO's Appendix B).

        Args:
            phrase: what the image may show, in words.
            image_sha256: of the image's content.
            picture: gives the image; asked only when it was not looked at before, by this engine or another.

        Raises:
            EmptyPhrase, MaskwrightError: no words, no Talk2DINO in the preset, or what `picture` raises.
        """
        matcher = self.retriever
        words = clean_text(phrase)
        with self._lock:
            vector = self._text(("matched phrase", (words,)), lambda: matcher.encode_phrase(words))
            regions = matcher.kept(image_sha256)
        if regions is None:
            # read and decoded outside the lock, which clicks are waiting for
            pixels = picture().pixels
            with self._lock:
                self.encoder_calls += 1
                regions = matcher.look(image_sha256, pixels)
        return matcher.similarity(regions, vector)

    @property
    def retriever(self) -> ImageTextRetriever:
        """What compares phrases with whole images; raises MaskwrightError when the preset has none."""
        if self._matcher is None:
            raise MaskwrightError(
                f"The preset {self.model.name} does not compare words with whole images. Use tiny or talk2dino-b."
            )
        return self._matcher

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
        """Find what the references show (INSID3).

        A reference is encoded once and kept, so the next image costs one encoder pass and the matching.

        Args:
            image: to search; it may be a reference, too.
            references: 1 to k images with the mask of the thing; a place needs the vote of half of them.
            category: its name; None takes the first reference's, else "object".
            refine: one of REFINEMENTS for the contour, by default the CRF of the paper's main results; None: bilinear.
            negative_references: of what it is not.
            progress: hears how many images are encoded, and cancels between them.

        Returns:
            One category; its score, 0 to 1, sorts images by how certain the find is.

        Raises:
            BadReference: no reference, or one whose mask is empty or covers the whole image.
            Cancelled, MaskwrightError: one sentence each.
        """
        ReferencePrompt(references=tuple(references), refine=refine)
        reference.check(references)
        every = [*references, *negative_references]
        config = self._dense().settings
        with self._lock:
            examples = []
            for done, one in enumerate(every):
                progress.check()
                progress.report(done, len(every) + 1, "Encoding")
                examples.append(reference.example(self._cells(one.image), one, config))
            progress.check()
            cells = self._cells(image)
            split = len(references)
            found = reference.find(cells, examples[:split], examples[split:], config, image, refine, self.device)
        progress.report(len(every) + 1, len(every) + 1, "Encoding")
        name = category or references[0].mask.category or "object"
        return Prediction(
            label_map=found.mask.astype("int32"),
            categories=(name,),
            scores=(found.score,),
            max_scores=(found.score,),
            out_of_vocabulary=(),
            provenance=self.provenance_like(image, references, refine=refine, negative_references=negative_references),
        )

    def provenance_like(
        self,
        image: Image,
        references: Sequence[Reference],
        *,
        refine: str | None = "crf",
        negative_references: Sequence[Reference] = (),
    ) -> Provenance:
        """What `segment_like` with these arguments says of how its answer was made; nothing is computed."""
        method = asdict(self._dense().settings.method)
        parameters = {
            **method,
            "refine": refine,
            "not_this": [reference.to_provenance(one) for one in negative_references],
        }
        prompt = [reference.to_provenance(one) for one in references]
        return Provenance(PromptKind.REFERENCE, self.model, "insid3", image.sha256, prompt, parameters)

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
        """Find the thing that is clicked on (SAM).

        The image is encoded once and kept, so a further click costs the decoder only.

        Args:
            image: to search.
            points: (N, 2) x and y in pixels.
            labels: (N,) 1 on the thing, 0 beside it; None is all on it.
            box: left, top, right, bottom in pixels, around the thing.
            start: a mask to correct, such as an earlier answer or an accepted mask.
            category: name of the thing; None is "object", or that of `start`.

        Returns:
            `masks()` are those the prompt may mean, the best first: three for a single click, else one; none when
            nothing was found. A score is the IoU that the model expects.

        Raises:
            BadPrompt: neither a point nor a box, a point outside the image, or a box without area.
            MaskwrightError: one sentence.
        """
        clicks = click.checked(points, labels, box, image.size_hw)
        if not len(clicks.points) and clicks.box is None:
            raise BadPrompt("Click on the thing first, or draw a box around it.")
        if start is not None and tuple(start.rle["size"]) != image.size_hw:
            raise InvalidMask("The mask to correct has another size than its image.")
        with self._lock:
            embedding = self._sam_embedding(image)
            known = None if start is None else self._known(image, start)
            answers = click.decode(self._click(), embedding, clicks, known, image.size_hw)
        name = category or (start.category if start else None) or "object"
        masks = self._kept(image, [one for one in answers if one.mask.any()], name)
        return self._answered(
            image, name, masks[:1], masks, kind=PromptKind.CLICK if len(clicks.points) else PromptKind.BOX,
            prompt={
                "points": [[*map(float, point), int(sign)] for point, sign in zip(*clicks[:2], strict=True)],
                "box": clicks.box,
                "start": None if start is None else hashlib.sha256(start.rle["counts"].encode()).hexdigest(),
            },
            parameters={},
        )  # fmt: skip

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
        """Find all things: SAM's answers to a grid of clicks, without those that are nearly another one.

        Args:
            image: to search.
            points_per_side: clicks along the longer side; None, here and below, is what the preset says.
            pred_iou_thresh: IoU that the model must expect of a mask.
            stability_score_thresh: IoU of the mask at a higher and a lower threshold that it needs.
            category: name of the things.
            progress: hears how many clicks are answered, and cancels between batches of them.

        Returns:
            `masks()`, which may overlap, the most stable first; a score is the stability.
        """

        def check(share: float) -> None:
            progress.check()
            progress.report(round(100 * share), 100, "Segmenting")

        config = self._click().settings
        asked = {
            "points_per_side": config.points_per_side if points_per_side is None else points_per_side,
            "pred_iou_thresh": config.pred_iou_thresh if pred_iou_thresh is None else pred_iou_thresh,
            "stability_score_thresh": (
                config.stability_score_thresh if stability_score_thresh is None else stability_score_thresh
            ),
        }
        # the names under which provenance has always had them
        parameters = dict(zip(("side", "least_score", "least_stability"), asked.values(), strict=True))
        with self._lock:
            embedding = self._sam_embedding(image)
            answers = click.everything(self._click(), embedding, image.size_hw, check=check, **asked)
        masks = self._kept(image, answers, category)
        return self._answered(
            image, category, masks, masks, kind=PromptKind.EVERYTHING, prompt="everything", parameters=parameters
        )

    def suggest(self, image: Image, mask: Mask, categories: Sequence[str]) -> list[tuple[str, float]]:
        """What a mask may show: each name with its mean probability inside the mask, the best first."""
        names = parse_class_names(categories)
        way = self._dinotxt()
        if not mask.area or tuple(mask.rle["size"]) != image.size_hw:
            raise InvalidMask("The mask is empty, or has another size than its image.")
        with self._lock:
            classes = torch.stack([self._vector(way, name.synonyms) for name in names])
            embedding = self._embedding(way, image, lambda share: None)
            probabilities = dinotxt.inside(embedding, classes, way.preset.settings, mask.to_array())
        found = [(name.name, probability) for name, probability in zip(names, probabilities, strict=True)]
        return sorted(found, key=lambda pair: -pair[1])

    def _sam_embedding(self, image: Image) -> click.SamEmbedding:
        preset = self._click()
        return self._encoded(  # type: ignore[no-any-return]
            image, preset.ref, preset.settings, lambda: click.encode(preset, image.pixels, self.device)
        )

    def _kept(self, image: Image, answers: Sequence[click.MaskCandidate], category: str) -> list[Mask]:
        """Answers as masks; what it takes to go on from them is kept for the last few."""
        masks: dict[str, Mask] = {}
        for one in answers:
            mask = Mask.from_array(one.mask, category=category, score=round(one.score, 4))
            if mask.rle["counts"] in masks:
                # the same pixels again
                continue
            masks[mask.rle["counts"]] = mask
            with self._lock:
                self._answers[image.sha256, mask.rle["counts"]] = one.logits
                while len(self._answers) > _ANSWERS_KEPT:
                    self._answers.popitem(last=False)
        return list(masks.values())

    def _known(self, image: Image, start: Mask) -> Tensor | NDArray[np.bool_]:
        """The logits behind an answer that was given here, else the mask itself."""
        logits = self._answers.get((image.sha256, start.rle["counts"]))
        return start.to_array() if logits is None else logits

    def _answered(
        self,
        image: Image,
        category: str,
        shown: Sequence[Mask],
        masks: Sequence[Mask],
        *,
        kind: PromptKind,
        prompt: Any,
        parameters: dict[str, Any],
    ) -> Prediction:
        label_map = np.zeros(image.size_hw, np.int32)
        for mask in shown:
            label_map[mask.to_array()] = 1
        best = max((float(mask.score or 0) for mask in masks), default=0.0)
        ref = self._click().ref
        return Prediction(
            label_map=label_map,
            categories=(category,),
            scores=(best,),
            max_scores=(best,),
            out_of_vocabulary=(),
            overlapping_masks=tuple(masks),
            provenance=Provenance(kind, ref, "sam", image.sha256, prompt, parameters),
        )

    def match_points(self, source: Image, points_xy: ArrayLike, target: Image) -> NDArray[np.float64]:
        """(K, 2) points of `target` that correspond to (K, 2) points of `source`, in pixels (x, y).

        Raises:
            MaskwrightError: a point outside the source image.
        """
        points = reference.checked_points(points_xy, source.size_hw)
        with self._lock:
            return reference.match_points(self._cells(source), self._cells(target), points, source, target)

    def _cells(self, image: Image) -> PatchFeatures:
        """The image's cells; computed once per image, weights and settings."""
        dense = self._dense()
        if self._complement is None:
            self._complement = reference.complement(dense, self.device, self._settings.cache)
        complement = self._complement
        return self._encoded(  # type: ignore[no-any-return]
            image, dense.ref, dense.settings,
            lambda: reference.encode(dense, image.pixels, complement, self.device),
        )  # fmt: skip

    def _dense(self) -> LoadedInsid3:
        if self._preset.insid3 is None:
            raise MaskwrightError(
                f"The preset {self.model.name} does not segment by example. For that use tiny or insid3-l."
            )
        return self._preset.insid3

    def _click(self) -> LoadedSam:
        if self._preset.sam is None:
            raise MaskwrightError(f"The preset {self.model.name} does not take clicks. For clicks use tiny or sam-b.")
        return self._preset.sam

    def _dinotxt(self) -> DinoTxtMethod:
        if self._preset.dinotxt is None:
            raise MaskwrightError(f"The preset {self.model.name} has no text model. For words use tiny or dinov3txt-l.")
        return DinoTxtMethod(self._preset.dinotxt, self.device)

    def _knows(self, name: ClassName) -> bool:
        """Whether the model was taught one of the class's words (in singular or plain plural)."""
        if self._familiar is None:
            return True
        words = [clean_text(word) for word in name.synonyms]
        return any(w in self._familiar or w.removesuffix("s") in self._familiar for w in words)

    def _vector(self, method: text.TextMethod, synonyms: tuple[str, ...]) -> Tensor:
        return self._text((method.name, synonyms), lambda: method.vectors(synonyms))

    def _text(self, key: tuple[str, tuple[str, ...]], make: Callable[[], Tensor]) -> Tensor:
        """What a model made of words, made once; the last few thousand are kept."""
        if key not in self._texts:
            self._texts[key] = make()
            if len(self._texts) > _TEXTS_KEPT:
                self._texts.popitem(last=False)
        self._texts.move_to_end(key)
        return self._texts[key]

    def _embedding(self, method: text.TextMethod, image: Image, check: Callable[[float], None]) -> Any:
        return self._encoded(image, method.ref, method.procedure, lambda: method.encode(image.pixels, check))

    def _encoded(self, image: Image, ref: ModelRef, procedure: Any, encode: Callable[[], Any]) -> Any:
        """An embedding, made once per image, weights and settings."""

        def make() -> Any:
            self.encoder_calls += 1
            return encode()

        return self._cache.get_or_make(EmbeddingKey(image.sha256, ref, procedure), make)


def _cleaning(method: text.TextMethod, wanted: bool | None) -> float:
    """Weight of background cleaning with a method; asked for, it is not 0 where it can be done."""
    usual = method.cleaning
    if usual is None or wanted is False:
        return 0.0
    return (usual or LAMBDA) if wanted else usual
