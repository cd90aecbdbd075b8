"""The loss of dense supervision through text embeddings, and the module it trains.

Two dense terms: all the classes a source labels compete for a pixel; and with a random subset of them the pixel must
fall to none of them when its own is missing, as it does when a person types a few names.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maskwright.models.dinotxt import DinoTxt, dense_similarity, global_half, local_half
from maskwright.models.dinov3 import DinoFeatures
from maskwright.models.tokenizer import Tokenizer
from maskwright.training.config import TrainConfig
from maskwright.training.data import IGNORE, NONE, Batch, Source
from maskwright.training.prompts import drawn_prompts, templates
from maskwright.training.vocabulary import UNSURE, YES, Vocabulary

__all__ = ["Losses", "TextObjective", "Trained", "Words", "absent_classes"]


class Trained(nn.Module):
    """The model with the two offsets that turn a scaled cosine into a logit against "none of these".

    The text tower is locked; modules named in `frozen` keep their weights and statistics.
    """

    def __init__(self, model: DinoTxt, *, offset: float = -2.0, frozen: Sequence[nn.Module] = ()) -> None:
        super().__init__()
        self.model = model
        self._frozen = tuple(frozen)
        # a tenth of the offset each, so that they move ten times as fast as a weight does
        self.offset = nn.Parameter(torch.tensor(offset / 10))
        self.image_offset = nn.Parameter(torch.tensor(offset / 10))
        model.requires_grad_(True)
        for module in (model.text_model, *self._frozen):
            module.requires_grad_(False)

    def train(self, mode: bool = True) -> Trained:
        """As usual, but frozen modules keep their statistics."""
        super().train(mode)
        for module in self._frozen:
            module.eval()
        return self


class Losses:
    """The loss terms; holds per-source class sets and the containment of classes."""

    def __init__(self, sources: Sequence[Source], vocabulary: Vocabulary, device: str) -> None:
        self.device = device
        self.containment = torch.from_numpy(vocabulary.containment()).to(device)
        self.classes = [torch.from_numpy(source.classes) for source in sources]
        self.background = [source.background for source in sources]
        self.absent = absent_classes(sources, len(vocabulary))
        self.class_weight = _balance(sources, len(vocabulary)).to(device)
        # with several classes, "none" covers most pixels; unweighted, it would win nearly everywhere
        self.none_weight = [1.0 if len(c) == 1 else 0.5 for c in self.classes]

    def __call__(
        self, batch: Batch, features: DinoFeatures, text: Tensor, trained: Trained, rng: np.random.Generator
    ) -> dict[str, Tensor]:
        """The terms of one batch: "classes", "subset" and "image"."""
        scale = trained.model.logit_scale.exp()
        local, wide = local_half(text.float()), global_half(text.float())
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
            cosine = F.normalize(part.cls, dim=-1) @ wide[own].T
            shown = (labels.flatten(1)[:, :, None] == own).any(dim=1).float()
            image_logits = cosine * scale + 10 * trained.image_offset
            sums["image"].append(share * F.binary_cross_entropy_with_logits(image_logits, shown) * 10)
        return {name: torch.stack(values).sum() for name, values in sums.items()}

    def _classes(self, logits: Tensor, labels: Tensor, classes: Tensor, index: int) -> Tensor:
        """All the source's classes compete; with a true background, so does "none"."""
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
        """A random subset of the classes against "none of these", which has the logit 0."""
        kept = torch.from_numpy(rng.random(len(classes)) < rng.uniform(0.1, 0.9)).to(self.device)
        if not kept.any():
            return logits.sum() * 0
        chosen = classes[kept]
        relation = self.containment[:, chosen]
        none = len(chosen)
        found = torch.where(
            (relation == YES).any(dim=1),
            (relation == YES).float().argmax(dim=1),
            torch.where((relation == UNSURE).any(dim=1), IGNORE, none),
        )
        # the class itself goes before a wider one
        found[chosen] = torch.arange(none, device=self.device)
        target = torch.where(labels >= 0, found[labels.clamp(min=0)], torch.where(labels == NONE, none, IGNORE))
        weight = F.pad(self.class_weight[chosen], (0, 1), value=self.none_weight[index])
        return _cross_entropy(F.pad(logits[:, kept], (0, 0, 0, 0, 0, 1)), target, weight)


def absent_classes(sources: Sequence[Source], classes: int) -> list[Tensor]:
    """For each source the classes of the others that it surely does not show.

    A source of one class with a true background (microscopy) shares nothing with the others.
    """
    alone = [source.background and len(source.classes) == 1 for source in sources]
    every = torch.arange(classes)
    own = [set(source.classes.tolist()) for source in sources]
    foreign = set().union(*(own[i] for i, single in enumerate(alone) if single))
    return [
        every[[k not in own[i] for k in every.tolist()]]
        if single
        else torch.tensor(sorted(foreign - own[i]), dtype=torch.int64)
        for i, single in enumerate(alone)
    ]


class TextObjective:
    """What a run on words minimises: the weighted terms of `Losses` under the words of the step."""

    def __init__(
        self,
        trained: Trained,
        sources: Sequence[Source],
        vocabulary: Vocabulary,
        tokenizer: Tokenizer,
        config: TrainConfig,
        device: str,
    ) -> None:
        self._trained, self._config, self._device = trained, config, device
        self._losses = Losses(sources, vocabulary, device)
        self._words = Words(
            trained.model, vocabulary, tokenizer, every=config.text_every, seed=config.seed, device=device
        )

    def __call__(self, step: int, batch: Batch) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The loss of one batch, and its terms."""
        config = self._config
        rng = np.random.default_rng([config.seed, step, 1])
        with torch.autocast(torch.device(self._device).type, dtype=torch.bfloat16):
            text = self._words.at(step)
            pixels = batch.pixels.to(memory_format=torch.channels_last)
            features = self._trained.model.encode_image(pixels)
        parts = self._losses(batch, features, text, self._trained, rng)
        loss = parts["classes"] + config.subset_loss * parts["subset"] + config.image_loss * parts["image"]
        return loss, parts

    @torch.no_grad()
    def settle(self) -> None:
        """Keep the scale where the cosine still has a gradient."""
        self._trained.model.logit_scale.clamp_(max=math.log(50))


class Words:
    """The class embeddings of a step: all classes under freshly drawn prompts, every `text_every` steps.

    Each group of steps encodes every class under a random synonym and prompt, so that a pixel learns to resemble the
    words for it and no others.
    """

    def __init__(
        self,
        model: DinoTxt,
        vocabulary: Vocabulary,
        tokenizer: Tokenizer,
        *,
        every: int,
        seed: int,
        device: str,
        learning: bool = False,
        prompt: str | None = None,
    ) -> None:
        self._encode, self._tokenizer, self._device = model.encode_text, tokenizer, device
        self._texts, self._templates = vocabulary.texts(), templates()
        # a tower that learns must be asked at every step
        self._every, self._seed, self._learning = 1 if learning else every, seed, learning
        self._prompt = prompt
        self._text: Tensor | None = None

    def at(self, step: int) -> Tensor:
        """(T, 2C) embeddings."""
        if self._text is None or step % self._every == 0:
            # drawn by the step that started the group, so that a resumed run goes on with the same words
            rng = np.random.default_rng([self._seed, step - step % self._every, 3])
            prompts = list(drawn_prompts(self._texts, self._templates, rng))
            if self._prompt is not None:
                prompts = [self._prompt.format(names[0]) for names in self._texts]
            with torch.set_grad_enabled(self._learning):
                self._text = self._encode(self._tokenizer(prompts).to(self._device))
        return self._text


def _cross_entropy(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean over the pixels that count; 0 when none does."""
    if not (target >= 0).any():
        return logits.sum() * 0
    return F.cross_entropy(logits, target, weight=weight, ignore_index=IGNORE, label_smoothing=0.02)


def _balance(sources: Sequence[Source], classes: int) -> Tensor:
    """Weight of each class: its inverse pixel frequency to the power 0.3, between 0.5 and 2.5."""
    pixels = np.ones(classes)
    for source in sources:
        for sample in source.samples:
            shown = sample.labels[sample.labels >= 0]
            pixels += np.bincount(shown, minlength=classes) / sample.labels.size
    weight = (np.median(pixels[pixels > 1]) / pixels) ** 0.3 if (pixels > 1).any() else np.ones(classes)
    weight = weight.clip(0.5, 2.5)
    # a class that is alone in its source has "none of these", which weighs 1, to stand against
    weight[[int(s.classes[0]) for s in sources if len(s.classes) == 1]] = 1.0
    return torch.from_numpy(weight).float()
