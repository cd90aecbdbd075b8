"""Training of the text tower to reproduce MiniLM's embeddings (distillation)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Dataset

from maskwright.models.devices import mixed_precision
from maskwright.models.dinotxt import DinoTxt, DinoTxtConfig
from maskwright.models.tokenizer import Tokenizer
from maskwright.training.config import Schedule
from maskwright.training.loop import RunOptions, Trainer
from maskwright.training.prompts import PROMPTS, templates
from maskwright.training.tiny.texts import Texts

__all__ = ["TowerConfig", "train_tower", "with_maps"]

_HEAD = "head.linear_projection.weight"
_TEMPLATES = 3
"""Published templates per text, beside the plain prompts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TowerConfig(Schedule):
    """Training of the text tower; the defaults are the bundled preset's."""

    steps: int = 3025
    batch: int = 4096
    """Texts per step."""
    lr: float = 2e-3
    weight_decay: float = 0.02
    warmup: float = 0.066
    ema: float = 0.999
    temperature: float = 0.05
    contrast: float = 0.15
    """Weight of the contrastive loss."""


def train_tower(
    model: DinoTxtConfig, texts: Texts, out: Path, config: TowerConfig, options: RunOptions
) -> nn.Module | None:
    """Train a text tower whose head predicts MiniLM's embeddings, or resume the run in `out`.

    Args:
        model: Sizes of the tower.
        texts: What it learns.
        out: Folder with `tokenizer.json`, and of the run.
        config: Settings.
        options: Device and callbacks.

    Returns:
        The averaged tower; None when it was cancelled.
    """
    torch.manual_seed(config.seed)
    tower = DinoTxt(model).text_model
    tower.head.linear_projection = nn.Linear(model.text.width, texts.embeddings.shape[1], bias=False)
    nn.init.trunc_normal_(tower.head.linear_projection.weight, std=0.02)
    trainer: Trainer[nn.Module] = Trainer(tower, config, out, options.device, state="tower.pt")
    steps = _Steps(texts, Tokenizer.load(out / "tokenizer.json", context=model.text.context), config)
    return trainer.ema.cpu() if trainer.run(steps, _Objective(trainer.trained, config), options) else None


def with_maps(tower: Mapping[str, Tensor], maps: Tensor) -> dict[str, Tensor]:
    """Weights of a tower with the (2C, 384) maps to both halves of dino.txt's embedding after its own head."""
    return {**tower, _HEAD: maps @ tower[_HEAD]}


@dataclass(frozen=True, slots=True, eq=False)
class _Batch:
    ids: Tensor
    """(B, context) tokens"""
    targets: Tensor
    """(B, 384)"""
    rows: Tensor
    """(B,) number of each text"""

    def to(self, device: str) -> _Batch:
        return _Batch(self.ids.to(device), self.targets.to(device), self.rows.to(device))


class _Steps(Dataset[_Batch]):
    """Batches of texts under random prompts; under a template a word keeps its own embedding, so that it is ignored."""

    def __init__(self, texts: Texts, tokenizer: Tokenizer, config: TowerConfig) -> None:
        self._texts, self._config = texts, config
        rng, published = np.random.default_rng(config.seed), templates()
        prompts = [[prompt.format(text) for text in texts.texts] for prompt in PROMPTS]
        for _ in range(_TEMPLATES):
            drawn = rng.integers(len(published), size=len(texts.texts))
            prompts.append([published[n].format(text) for n, text in zip(drawn, texts.texts, strict=True)])
        self._ids = torch.stack([tokenizer(column) for column in prompts], dim=1)

    def __len__(self) -> int:
        return self._config.steps

    def __getitem__(self, step: int) -> _Batch:
        generator = torch.Generator().manual_seed(self._config.seed * 1_000_003 + step)
        count, batch = self._ids.shape[1], self._config.batch
        rows = torch.multinomial(self._texts.weight, batch, replacement=True, generator=generator)
        # the plain text twice as often as any prompt
        prompts = torch.randint(count + 1, (batch,), generator=generator) % count
        return _Batch(self._ids[rows, prompts], self._texts.embeddings[rows], rows)


class _Objective:
    """Cosine distance, and a contrastive loss that tells each text from the others of its batch."""

    def __init__(self, tower: nn.Module, config: TowerConfig) -> None:
        self._tower, self._config = tower, config

    def __call__(self, step: int, batch: _Batch) -> tuple[Tensor, Mapping[str, Tensor]]:  # noqa: ARG002
        with mixed_precision(batch.ids.device):
            predicted = self._tower(batch.ids)
        predicted = F.normalize(predicted.float(), dim=1)
        distance = 1 - (predicted * batch.targets).sum(dim=1).mean()
        own = torch.arange(len(predicted), device=predicted.device)
        repeated = (batch.rows[:, None] == batch.rows) & (own[:, None] != own)
        logits = (predicted @ batch.targets.T / self._config.temperature).masked_fill(repeated, -math.inf)
        contrast = F.cross_entropy(logits, own)
        return 4 * distance + self._config.contrast * contrast, {"distance": distance, "contrast": contrast}

    def constrain(self) -> None:
        """No parameter has a limited range."""
