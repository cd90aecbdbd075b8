"""The loop that a run from scratch and a fine-tuning run share: seeded, resumable, stoppable at every step.

Each group of steps encodes every class under a random synonym and prompt, so that a pixel learns to resemble the words
for it and no others.
"""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from maskwright.errors import MaskwrightError
from maskwright.models.checkpoints import atomic_save
from maskwright.models.tokens import Tokenizer
from maskwright.training.config import TrainConfig
from maskwright.training.data import Source, Steps
from maskwright.training.losses import Losses, Trained
from maskwright.training.prompts import drawn_prompts, templates
from maskwright.training.vocabulary import Vocabulary

__all__ = ["STATE", "Fit", "Step"]

STATE = "training.pt"
"""File of a run's folder that holds what resuming needs."""


@dataclass(frozen=True, slots=True)
class Step:
    """What one step reports."""

    step: int
    steps: int
    loss: float
    parts: dict[str, float]
    images_per_second: float


class Fit:
    """One run: the trained module, the running mean of its weights (which is what is saved), and where it stands.

    State is kept in the folder's `training.pt` every 100 steps and whenever the loop ends; a later `Fit` with the same
    arguments goes on from there. The same seed on the same CPU gives the same weights.
    """

    def __init__(self, trained: Trained, config: TrainConfig, out: Path, device: str) -> None:
        """Take a module to train, and resume when `out` holds a run.

        Raises:
            MaskwrightError: `out` holds a run with other settings.
        """
        self.config, self.out, self.device = config, out, device
        self.trained, self.mean = trained, copy.deepcopy(trained)
        for module in (self.trained, self.mean):
            module.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._optimiser = torch.optim.AdamW(_groups(trained, config.weight_decay), lr=config.rate, betas=(0.9, 0.98))
        self.step = self._resume()
        """Steps done."""

    def run(
        self,
        sources: Sequence[Source],
        vocabulary: Vocabulary,
        tokenizer: Tokenizer,
        *,
        workers: int = 0,
        on_step: Callable[[Step], None] = lambda step: None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> bool:
        """Train to the last step, or until `stopped`; True when the last step was reached."""
        config = self.config
        losses = Losses(sources, vocabulary, self.device)
        words = _Words(self.trained, vocabulary, tokenizer, config, self.device)
        steps = Steps(
            sources, batch=config.batch, crop=config.crop, short_side=config.short_side, seed=config.seed,
            steps=config.steps,
        )  # fmt: skip
        loader = DataLoader(steps, batch_size=None, sampler=range(self.step, config.steps), num_workers=workers)
        since, told_at = time.monotonic(), self.step
        for step, batch in enumerate(loader, start=self.step):
            rng = np.random.default_rng([config.seed, step, 1])
            torch.manual_seed(config.seed * 1_000_003 + step)
            for group in self._optimiser.param_groups:
                group["lr"] = config.rate * _rate(config, step)
            self.trained.train()
            with torch.autocast(self.device, dtype=torch.bfloat16):
                text = words.at(step)
                pixels = batch.pixels.to(self.device, memory_format=torch.channels_last)
                features = self.trained.model.encode_image(pixels)
            parts = losses(batch.to(self.device), features, text, self.trained, rng)
            loss = self._update(step, parts)
            self.step = step + 1
            if step % 10 == 9 or step + 1 == config.steps:
                rate = (step + 1 - told_at) * config.batch / (time.monotonic() - since)
                since, told_at = time.monotonic(), step + 1
                told = {name: value.item() for name, value in parts.items()}
                on_step(Step(step + 1, config.steps, loss, told, rate))
            ends = stopped()
            if step % 100 == 99 or step + 1 == config.steps or ends:
                self._keep()
            if ends:
                break
        return self.step >= config.steps

    def _update(self, step: int, parts: dict[str, Tensor]) -> float:
        config = self.config
        loss = parts["classes"] + config.subset_loss * parts["subset"] + config.image_loss * parts["image"]
        self._optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.trained.parameters(), 1.0)
        self._optimiser.step()
        with torch.no_grad():
            self.trained.model.logit_scale.clamp_(max=math.log(50))
        _average(self.mean, self.trained, min(config.average, (1 + step) / (10 + step)))
        return loss.item()

    def _resume(self) -> int:
        file = self.out / STATE
        if not file.exists():
            return 0
        state = torch.load(file, map_location="cpu", weights_only=True)
        if state["config"] != json.dumps(self.config.to_dict()):
            raise MaskwrightError(
                f"{self.out} holds a run with other settings. Name another folder with --out, or delete it."
            )
        self.trained.load_state_dict(state["trained"])
        self.mean.load_state_dict(state["mean"])
        self._optimiser.load_state_dict(state["optimiser"])
        return int(state["step"])

    def _keep(self) -> None:
        state = {
            "config": json.dumps(self.config.to_dict()),
            "step": self.step,
            "trained": self.trained.state_dict(),
            "mean": self.mean.state_dict(),
            "optimiser": self._optimiser.state_dict(),
        }
        atomic_save(self.out / STATE, lambda file: torch.save(state, file))


class _Words:
    """The class embeddings of a step: all classes under freshly drawn prompts, every `text_every` steps."""

    def __init__(
        self, trained: Trained, vocabulary: Vocabulary, tokenizer: Tokenizer, config: TrainConfig, device: str
    ) -> None:
        self._encode, self._tokenizer, self._device = trained.model.encode_text, tokenizer, device
        self._texts, self._templates, self._config = vocabulary.texts(), templates(), config
        self._text: Tensor | None = None

    @torch.no_grad()
    def at(self, step: int) -> Tensor:
        """(T, 2C) embeddings."""
        every = self._config.text_every
        if self._text is None or step % every == 0:
            # drawn by the step that started the group, so that a resumed run goes on with the same words
            rng = np.random.default_rng([self._config.seed, step - step % every, 3])
            prompts = list(drawn_prompts(self._texts, self._templates, rng))
            self._text = self._encode(self._tokenizer(prompts).to(self._device))
        return self._text


def _rate(config: TrainConfig, step: int) -> float:
    """Learning rate as a share of the highest: linear warm-up, then a cosine to 0."""
    rising = max(1, round(config.warmup * config.steps))
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, config.steps - rising)))


def _groups(trained: Trained, decay: float) -> list[dict[str, Any]]:
    """All that learns; weight decay for matrices and kernels only."""
    learning = [parameter for parameter in trained.parameters() if parameter.requires_grad]
    return [
        {"params": [p for p in learning if p.ndim >= 2], "weight_decay": decay},
        {"params": [p for p in learning if p.ndim < 2], "weight_decay": 0.0},
    ]


@torch.no_grad()
def _average(mean: nn.Module, model: nn.Module, decay: float) -> None:
    current = model.state_dict()
    for name, value in mean.state_dict().items():
        if value.is_floating_point():
            value.lerp_(current[name], 1 - decay)
        else:
            value.copy_(current[name])
