"""Training of dino.txt's visual model on a frozen pretrained trunk: its patches learn to resemble MiniLM's words.

The words stand still up to two linear maps, which stay near isometries so that words never trained on keep their place.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maskwright.models.devices import mixed_precision
from maskwright.models.dinotxt import DinoTxt, DinoTxtConfig, dense_similarity, global_half, local_half
from maskwright.models.dinov3 import DinoFeatures
from maskwright.models.efficientnet_lite import DenseClassifier, LiteMaps, LiteTrunk
from maskwright.training.config import TINY_DINOTXT, TrainConfig
from maskwright.training.data import Batch, Source, Steps
from maskwright.training.loop import RunOptions, Trainer
from maskwright.training.losses import TextObjective, TrainedDinoTxt
from maskwright.training.tiny.pretrained import load_lite
from maskwright.training.tiny.texts import Texts, WordEmbeddings
from maskwright.training.vocabulary import Vocabulary

__all__ = ["TrainedWords", "WordsConfig", "train_words"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WordsConfig(TrainConfig):
    """Training of the visual model; the defaults are the bundled preset's."""

    model: DinoTxtConfig = TINY_DINOTXT
    steps: int = 743
    batch: int = 32
    crop: int = 320
    short_side: tuple[int, int] = (230, 560)
    lr: float = 6e-4
    pretrained_lr_scale: float = 0.15
    """Of the maps."""
    warmup: float = 0.2
    ema: float = 0.998
    cells: float = 0.5
    """Weight of the divergence from the trunk's own classifier in every cell."""
    image: float = 0.15
    """Weight of that of CLS from the classifier's prediction for the whole crop."""
    isometry: float = 0.3
    """Weight of the change of the words' cosines by the maps."""


class TrainedWords(TrainedDinoTxt):
    """dino.txt without a text tower, and the maps of MiniLM's embeddings to both halves of its own."""

    def __init__(self, model: DinoTxt, text: int) -> None:
        """Start with the identity as both maps, or with orthogonal ones where the widths differ.

        Args:
            model: dino.txt with its pretrained trunk.
            text: Width of MiniLM's embeddings.
        """
        super().__init__(model, offset=-4.0, frozen=[trunk_of(model)])
        width = model.config.backbone.width
        with torch.no_grad():
            # near the scale where a training with a faster scale ended
            model.logit_scale.fill_(math.log(28.0))
        self.maps = nn.Linear(text, 2 * width, bias=False)
        for half in self.maps.weight.data.chunk(2):
            nn.init.eye_(half) if width == text else nn.init.orthogonal_(half)


def trunk_of(model: DinoTxt) -> LiteTrunk:
    """The pretrained trunk under the transformer."""
    trunk = model.visual_model.backbone.vit.embeddings.patch_embeddings.body
    assert isinstance(trunk, LiteTrunk)
    return trunk


def train_words(
    texts: Texts,
    names: tuple[Vocabulary, Sequence[str]],
    sources: Sequence[Source],
    lite: Path,
    out: Path,
    config: WordsConfig,
    options: RunOptions,
) -> TrainedWords | None:
    """Train the visual model, or resume the run in `out`.

    Args:
        texts: Words with MiniLM's embeddings.
        names: Classes of the sources, and ImageNet's names in its order.
        sources: Labelled images.
        lite: Published file of the trunk and of its classifier.
        out: Folder of the run.
        config: Settings.
        options: Device and callbacks.

    Returns:
        The averaged model; None when it was cancelled.
    """
    torch.manual_seed(config.seed)
    model = DinoTxt(config.model)
    trunk = trunk_of(model)
    classifier = DenseClassifier(trunk.config.widths[-1], classes=len(names[1]))
    load_lite(lite, trunk, classifier)
    trained = TrainedWords(model, texts.embeddings.shape[1])
    trainer = Trainer(trained, config, out, options.device, state="words.pt", pretrained=[trained.maps])
    classifier.to(options.device).requires_grad_(requires_grad=False)
    objective = _Objective(trainer.trained, sources, names, texts, classifier, config)
    return trainer.ema.cpu() if trainer.run(Steps(sources, config), objective, options) else None


class _MappedWords:
    """Embeddings of all classes through the maps, with a gradient."""

    def __init__(self, words: WordEmbeddings, maps: nn.Linear) -> None:
        self._words, self._maps = words, maps

    def at(self, step: int) -> Tensor:
        """(T, 2C) embeddings of a step."""
        return self._maps(self._words.at(step).to(self._maps.weight.device))  # type: ignore[no-any-return]


class _Objective(TextObjective):
    """The text loss; agreement with the trunk's classifier over ImageNet's names; and isometry of the maps."""

    _KNOWN = 3.0
    """Added to the classifier's logit of the class that the image is known to show."""
    _LABELLED = 0.15
    """Weight of cells that somebody labelled."""

    def __init__(
        self,
        trained: TrainedWords,
        sources: Sequence[Source],
        names: tuple[Vocabulary, Sequence[str]],
        texts: Texts,
        classifier: DenseClassifier,
        config: WordsConfig,
    ) -> None:
        device = str(trained.maps.weight.device)
        words = WordEmbeddings(texts, names[0].texts(), noise=0.15, seed=(config.seed, 4))
        super().__init__(trained, sources, names[0], _MappedWords(words, trained.maps), config, device)
        imagenet = WordEmbeddings(texts, [(name,) for name in names[1]], noise=0.1, seed=(config.seed, 5))
        self._imagenet = _MappedWords(imagenet, trained.maps)
        self._maps, self._classifier, self._weights = trained.maps, classifier, config
        self._all = texts.embeddings.to(device)
        self._photographs = torch.tensor([source.upright for source in sources], device=device)
        self._trunk_maps: LiteMaps | None = None
        # the frozen trunk serves its classifier in the same pass
        trunk_of(trained.model).register_forward_hook(self._record)

    def _record(self, _module: nn.Module, _inputs: object, maps: LiteMaps) -> None:
        self._trunk_maps = maps

    def further_terms(self, step: int, batch: Batch, features: DinoFeatures) -> Mapping[str, tuple[float, Tensor]]:
        """Agreement with the classifier per cell and per image, and isometry."""
        assert batch.image_classes is not None
        assert self._trunk_maps is not None
        last, config = self._trunk_maps.last, self._weights
        with torch.no_grad(), mixed_precision(last.device):
            cells, whole = self._classifier(last).float(), self._classifier.pooled(last).float()
        known = batch.image_classes
        bonus = F.one_hot(known.clamp(min=0), cells.shape[1]) * (self._KNOWN * (known >= 0))[:, None]
        cells = (F.avg_pool2d(cells, 3, 1, 1, count_include_pad=False) + bonus[:, :, None, None]).softmax(dim=1)
        whole = (whole + bonus).softmax(dim=1)
        names, scale = self._imagenet.at(step).float(), self._trained.model.logit_scale.exp()
        features = features._replace(cls=features.cls.float(), patches=features.patches.float())
        photograph = self._photographs[batch.sources].float()
        labels = F.interpolate(batch.labels[:, None].float(), cells.shape[-2:], mode="nearest")[:, 0]
        weight = cells.amax(dim=1) * torch.where(labels >= 0, self._LABELLED, 1.0) * photograph[:, None, None]
        divergence = _divergence(cells, dense_similarity(features, local_half(names)) * scale)
        cosine = F.normalize(features.cls, dim=-1) @ global_half(names).T
        return {
            "cells": (config.cells, (divergence * weight).sum() / weight.sum().clamp(min=1)),
            "whole": (config.image, (_divergence(whole, cosine * scale) * photograph).mean()),
            "isometry": (config.isometry, self._isometry(np.random.default_rng([config.seed, step, 6]))),
        }

    def _isometry(self, rng: np.random.Generator) -> Tensor:
        """Squared change of the cosines of 512 texts by the maps."""
        some = self._all[torch.from_numpy(rng.integers(len(self._all), size=512))]
        mapped, cosines = self._maps(some), some @ some.T
        change = [((half @ half.T - cosines) ** 2).mean() for half in (global_half(mapped), local_half(mapped))]
        return torch.stack(change).sum() * 100


def _divergence(target: Tensor, logits: Tensor) -> Tensor:
    """(B, ...) Kullback-Leibler divergence of (B, T, ...) distributions from the targets."""
    return (target * (target.clamp(min=1e-6).log() - logits.log_softmax(dim=1))).sum(dim=1)
