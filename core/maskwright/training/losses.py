"""Loss of dense supervision through text embeddings, and the module that it trains.

Two dense terms: a softmax over all classes that a source labels; and a softmax over a random subset of them and "none",
which is the target where the pixel's own class is missing from the subset, as it may be from a user's prompt.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maskwright.models.devices import mixed_precision
from maskwright.models.dinotxt import DinoTxt, dense_similarity, global_half, local_half
from maskwright.models.dinov3 import DinoFeatures
from maskwright.models.tokenizer import Tokenizer
from maskwright.training.config import SegConfig, TrainConfig
from maskwright.training.data import IGNORE, NONE, Batch, Source
from maskwright.training.prompts import drawn_prompts, templates
from maskwright.training.vocabulary import NO, UNSURE, YES, Vocabulary

__all__ = ["ClassEmbeddings", "Embeddings", "TextLosses", "TextObjective", "TrainedDinoTxt", "absent_classes"]


class TrainedDinoTxt(nn.Module):
    """dino.txt with the two offsets that turn a scaled cosine into a logit against "none".

    The text tower is frozen; modules named in `frozen` keep their weights and statistics.
    """

    def __init__(self, model: DinoTxt, *, offset: float = -2.0, frozen: Sequence[nn.Module] = ()) -> None:
        super().__init__()
        self.model = model
        self._frozen = tuple(frozen)
        # a tenth of the offset each, so that they move ten times as fast as a weight does
        self.offset = nn.Parameter(torch.tensor(offset / 10))
        self.image_offset = nn.Parameter(torch.tensor(offset / 10))
        model.requires_grad_(requires_grad=True)
        for module in (model.text_model, *self._frozen):
            module.requires_grad_(requires_grad=False)

    def train(self, mode: bool = True) -> TrainedDinoTxt:  # noqa: FBT001, FBT002 - as nn.Module has it
        """Set the mode, except that frozen modules keep their statistics."""
        super().train(mode)
        for module in self._frozen:
            module.eval()
        return self


class TextLosses:
    """Terms of the loss; holds the classes of each source and the containment of classes."""

    def __init__(self, sources: Sequence[Source], vocabulary: Vocabulary, device: str) -> None:
        self.device = device
        self.containment = torch.from_numpy(vocabulary.containment()).to(device)
        self.classes = [torch.from_numpy(source.classes) for source in sources]
        self.background = [source.background for source in sources]
        self.absent = absent_classes(sources, len(vocabulary))
        self.class_weight = _balance(sources, len(vocabulary)).to(device)
        # with several classes, "none" covers most pixels and would win nearly everywhere if it were not weighted down
        self.none_weight = [1.0 if len(c) == 1 else 0.5 for c in self.classes]

    def __call__(
        self, batch: Batch, features: DinoFeatures, text: Tensor, trained: TrainedDinoTxt, rng: np.random.Generator
    ) -> dict[str, Tensor]:
        """Terms of one batch: "classes", "subset" and "image"."""
        scale = trained.model.logit_scale.exp()
        local, global_text = local_half(text.float()), global_half(text.float())
        sums: dict[str, list[Tensor]] = {"classes": [], "subset": [], "image": []}
        for index in batch.sources.unique().tolist():
            rows = batch.sources == index
            part = features._replace(cls=features.cls[rows].float(), patches=features.patches[rows].float())
            labels = batch.labels[rows]
            absent = self.absent[index]
            drawn = absent[torch.from_numpy(rng.permutation(len(absent))[:24])]
            classes = torch.cat([self.classes[index], drawn]).to(self.device)
            share = rows.float().mean()
            logits = dense_similarity(part, local[classes]) * scale + 10 * trained.offset
            logits = F.interpolate(logits, size=labels.shape[-2:], mode="bilinear", align_corners=False)
            sums["classes"].append(share * self._classes(logits, labels, classes, index))
            sums["subset"].append(share * self._subset(logits, labels, classes, index, rng))
            own = self.classes[index].to(self.device)
            cosine = F.normalize(part.cls, dim=-1) @ global_text[own].T
            present = (labels.flatten(1)[:, :, None] == own).any(dim=1).float()
            image_logits = cosine * scale + 10 * trained.image_offset
            sums["image"].append(share * F.binary_cross_entropy_with_logits(image_logits, present) * 10)
        return {name: torch.stack(values).sum() for name, values in sums.items()}

    def _classes(self, logits: Tensor, labels: Tensor, classes: Tensor, index: int) -> Tensor:
        """Softmax over all classes of the source, and over "none" where its background is labelled.

        An absent class does not compete where it may overlap with the pixel's own: trousers on a labelled person.
        """
        foreign = classes[len(self.classes[index]) :]
        overlapping = (self.containment[:, foreign] != NO)[labels.clamp(min=0)] & (labels >= 0)[..., None]
        overlapping = F.pad(overlapping, (len(classes) - len(foreign), 0)).permute(0, 3, 1, 2)
        logits = logits.masked_fill(overlapping, _EXCLUDED)
        place = torch.full((len(self.containment),), IGNORE, device=self.device)
        place[classes] = torch.arange(len(classes), device=self.device)
        target = torch.where(labels >= 0, place[labels.clamp(min=0)], labels)
        weight = self.class_weight[classes]
        if self.background[index]:
            logits = F.pad(logits, (0, 0, 0, 0, 0, 1))
            target = torch.where(target == NONE, len(classes), target)
            weight = F.pad(weight, (0, 1), value=self.none_weight[index])
        return _cross_entropy(logits, target, weight)

    def _subset(self, logits: Tensor, labels: Tensor, classes: Tensor, index: int, rng: np.random.Generator) -> Tensor:
        """Softmax over a random subset of the classes and "none", whose logit is 0."""
        selected = torch.from_numpy(rng.random(len(classes)) < rng.uniform(0.1, 0.9)).to(self.device)
        if not selected.any():
            return logits.sum() * 0
        chosen = classes[selected]
        relation = self.containment[:, chosen]
        none = len(chosen)
        target_of = torch.where(
            (relation == YES).any(dim=1),
            (relation == YES).float().argmax(dim=1),
            torch.where((relation == UNSURE).any(dim=1), IGNORE, none),
        )
        # a class itself takes precedence over one that contains it
        target_of[chosen] = torch.arange(none, device=self.device)
        target = torch.where(labels >= 0, target_of[labels.clamp(min=0)], torch.where(labels == NONE, none, IGNORE))
        weight = F.pad(self.class_weight[chosen], (0, 1), value=self.none_weight[index])
        return _cross_entropy(F.pad(logits[:, selected], (0, 0, 0, 0, 0, 1)), target, weight)


_EXCLUDED = -30.0
"""Logit of a class that does not compete."""


def absent_classes(sources: Sequence[Source], classes: int) -> list[Tensor]:
    """For each source, classes that none of its labelled pixels belongs to, unless they overlap with its own.

    These are the classes that people labelled in the other sources. Where unlabelled pixels count as none, only those
    of microscopy (one class and a labelled background) are surely absent from them, and everything from microscopy.
    What teachers do not find may be there.
    """
    single = [source.background and len(source.classes) == 1 for source in sources]
    own = [set(source.classes.tolist()) for source in sources]
    labelled = set().union(*(own[i] for i, source in enumerate(sources) if not source.from_teachers))
    microscopy = set().union(*(own[i] for i, alone in enumerate(single) if alone))
    absent: list[set[int]] = []
    for i, source in enumerate(sources):
        if source.from_teachers:
            absent.append(set())
        else:
            absent.append(
                (set(range(classes)) if single[i] else microscopy if source.background else labelled) - own[i]
            )
    return [torch.tensor(sorted(part), dtype=torch.int64) for part in absent]


class Embeddings(Protocol):
    """Text embeddings of all classes."""

    def at(self, step: int) -> Tensor:
        """(T, 2C) embeddings of a step."""
        ...


class TextObjective:
    """Objective of dino.txt: weighted sum of `TextLosses` under the class embeddings of the step."""

    def __init__(
        self,
        trained: TrainedDinoTxt,
        sources: Sequence[Source],
        vocabulary: Vocabulary,
        embeddings: Embeddings,
        config: TrainConfig,
        device: str,
    ) -> None:
        self._trained, self._config, self._device = trained, config, torch.device(device)
        self._losses = TextLosses(sources, vocabulary, device)
        self._embeddings = embeddings

    def __call__(self, step: int, batch: Batch) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Loss of one batch, and its terms."""
        config = self._config
        with mixed_precision(self._device):
            text = self._embeddings.at(step)
            pixels = batch.pixels.to(memory_format=torch.channels_last)
            features = self._trained.model.encode_image(pixels)
        parts = self._losses(batch, features, text, self._trained, np.random.default_rng([config.seed, step, 1]))
        loss = parts["classes"] + config.subset_loss * parts["subset"] + config.image_loss * parts["image"]
        further = self.further_terms(step, batch, features)
        for name, (weight, term) in further.items():
            loss = loss + weight * term
            parts[name] = term
        return loss, parts

    def further_terms(self, step: int, batch: Batch, features: DinoFeatures) -> Mapping[str, tuple[float, Tensor]]:  # noqa: ARG002
        """Weight and value of further terms; none here."""
        return {}

    @torch.no_grad()
    def constrain(self) -> None:
        """Keep the logit scale in the range where the softmax still has a gradient."""
        self._trained.model.logit_scale.clamp_(max=math.log(50))


class ClassEmbeddings:
    """Text embeddings of all classes, redrawn every `config.text_every` steps.

    Each draw encodes every class under a random synonym and prompt template, so that pixels are matched to the class
    and not to one wording of it.
    """

    def __init__(
        self,
        model: DinoTxt,
        vocabulary: Vocabulary,
        tokenizer: Tokenizer,
        config: TrainConfig | SegConfig,
        device: str,
        *,
        text_trained: bool = False,
        prompt: str | None = None,
    ) -> None:
        """Prepare the draws.

        Args:
            model: dino.txt, of which the text tower is used.
            vocabulary: Classes with their synonyms.
            tokenizer: Of the text tower.
            config: Seed and `text_every`.
            device: torch device of the embeddings.
            text_trained: The text tower is trained, so that every step needs embeddings with a gradient.
            prompt: Template for each class's first name; None draws names and templates.
        """
        self._encode, self._tokenizer, self._device = model.encode_text, tokenizer, device
        self._texts, self._templates = vocabulary.texts(), templates()
        self._every, self._seed = 1 if text_trained else config.text_every, config.seed
        self._text_trained, self._prompt = text_trained, prompt
        self._embeddings: Tensor | None = None

    def at(self, step: int) -> Tensor:
        """(T, 2C) embeddings."""
        if self._embeddings is None or step % self._every == 0:
            # seeded by the first step of the group, so that a resumed run draws the same texts
            rng = np.random.default_rng([self._seed, step - step % self._every, 3])
            prompts = list(drawn_prompts(self._texts, self._templates, rng))
            if self._prompt is not None:
                prompts = [self._prompt.format(names[0]) for names in self._texts]
            with torch.set_grad_enabled(self._text_trained):
                self._embeddings = self._encode(self._tokenizer(prompts).to(self._device))
        return self._embeddings


def _cross_entropy(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean over labelled pixels; 0 when there is none."""
    if not (target >= 0).any():
        return logits.sum() * 0
    return F.cross_entropy(logits, target, weight=weight, ignore_index=IGNORE, label_smoothing=0.02)


def _balance(sources: Sequence[Source], classes: int) -> Tensor:
    """Weight of each class: its inverse pixel frequency to the power 0.3, between 0.5 and 2.5."""
    pixels = np.ones(classes)
    for source in sources:
        for sample in source.samples:
            labelled = sample.labels[sample.labels >= 0]
            pixels += np.bincount(labelled, minlength=classes) / sample.labels.size
    weight = (np.median(pixels[pixels > 1]) / pixels) ** 0.3 if (pixels > 1).any() else np.ones(classes)
    weight = weight.clip(0.5, 2.5)
    # the only class of a source competes with "none" alone, which weighs 1
    weight[[int(s.classes[0]) for s in sources if len(s.classes) == 1]] = 1.0
    return torch.from_numpy(weight).float()
