"""Training loop: seeded, resumable, cancellable after every step."""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, Self, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from maskwright.errors import MaskwrightError
from maskwright.files.atomic import atomic_save
from maskwright.progress import NO_PROGRESS, Progress
from maskwright.training.config import Schedule

__all__ = ["CPU_RUN", "STATE", "Objective", "RunOptions", "TimeLimit", "TrainProgress", "Trainer"]

STATE = "training.pt"
"""File with the state that resuming needs."""


@dataclass(frozen=True, slots=True)
class TrainProgress:
    """Report of one training step."""

    step: int
    """Steps done."""
    steps: int
    """Steps in all."""
    loss: float
    parts: dict[str, float]
    """Terms of the loss."""
    images_per_second: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """Device and callbacks of a run; nothing here changes its result."""

    device: str = "cpu"
    progress: Progress = NO_PROGRESS
    """Reports steps; when it cancels, the run stops after the current step with its state saved."""
    on_step: Callable[[TrainProgress], None] = lambda step: None
    """Called every tenth step and after the last."""


CPU_RUN = RunOptions()


class TimeLimit(Progress):
    """Passes reports on, and cancels after some minutes or when the other progress does."""

    def __init__(self, progress: Progress, minutes: float | None) -> None:
        """Start the clock; `minutes` None sets no limit."""
        self._progress = progress
        self._end = math.inf if minutes is None else time.monotonic() + 60 * minutes

    def report(self, done: int, total: int, stage: str = "") -> None:
        """Pass on."""
        self._progress.report(done, total, stage)

    def cancelled(self) -> bool:
        """Whether the time is over or the other progress cancels."""
        return time.monotonic() >= self._end or self._progress.cancelled()


class Movable(Protocol):
    """The batch of a step."""

    def to(self, device: str) -> Self:
        """The same batch on another device."""
        ...


B = TypeVar("B", bound=Movable)
B_contra = TypeVar("B_contra", bound=Movable, contravariant=True)


class Objective(Protocol[B_contra]):
    """What a run minimises."""

    def __call__(self, step: int, batch: B_contra) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Loss of one batch, and its terms; all randomness is drawn from the step."""
        ...

    def constrain(self) -> None:
        """Put parameters back into their valid range after an update."""
        ...


T = TypeVar("T", bound=nn.Module)


class Trainer(Generic[T]):
    """AdamW on one module, with a moving average of its weights and a state file to resume from.

    The state is saved every 100 steps and when the loop ends. The same seed on the same CPU gives the same weights,
    however often the run was interrupted.
    """

    def __init__(
        self,
        trained: T,
        config: Schedule,
        out: Path,
        device: str,
        *,
        state: str = STATE,
        pretrained: Sequence[nn.Module] = (),
    ) -> None:
        """Prepare a run, and load its state when `out` holds one.

        Args:
            trained: Module whose parameters that require gradients are trained.
            config: Schedule and seed.
            out: Folder of the run.
            device: torch device.
            state: Name of the state file.
            pretrained: Modules that learn at `config.pretrained_lr_scale` times the learning rate.

        Raises:
            MaskwrightError: `out` holds a run with other settings.
        """
        self.config, self.out, self.device = config, out, device
        self.trained, self.ema = trained, copy.deepcopy(trained)
        for module in (self.trained, self.ema):
            module.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        groups = _parameter_groups(trained, config, pretrained)
        self._lr_scales = [group.pop("lr_scale") for group in groups]
        self._optimizer = torch.optim.AdamW(groups, lr=config.lr, betas=(0.9, 0.98))
        self._state = out / state
        self.step = self._load_state()
        """Steps done."""

    def run(self, steps: Dataset[B], objective: Objective[B], options: RunOptions = CPU_RUN) -> bool:
        """Train until the last step or until `options.progress` cancels; returns whether the last step was reached."""
        config, progress = self.config, options.progress
        loader = DataLoader(steps, batch_size=None, sampler=range(self.step, config.steps))
        since, since_step = time.monotonic(), self.step
        for step, batch in enumerate(loader, start=self.step):
            torch.manual_seed(config.seed * 1_000_003 + step)
            for group, scale in zip(self._optimizer.param_groups, self._lr_scales, strict=True):
                group["lr"] = scale * config.lr * _lr_factor(config, step)
            self.trained.train()
            loss, parts = objective(step, batch.to(self.device))
            self._update(step, loss, objective)
            self.step = step + 1
            if step % 10 == 9 or self.step == config.steps:
                speed = (self.step - since_step) * config.batch / (time.monotonic() - since)
                since, since_step = time.monotonic(), self.step
                terms = {name: value.item() for name, value in parts.items()}
                options.on_step(TrainProgress(self.step, config.steps, loss.item(), terms, speed))
                progress.report(self.step, config.steps)
            cancelled = progress.cancelled()
            if step % 100 == 99 or self.step == config.steps or cancelled:
                self._save_state()
            if cancelled:
                break
        return self.step >= config.steps

    def _update(self, step: int, loss: Tensor, objective: Objective[Any]) -> None:
        self._optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.trained.parameters(), self.config.clip_norm)
        self._optimizer.step()
        objective.constrain()
        _update_ema(self.ema, self.trained, min(self.config.ema, (1 + step) / (10 + step)))

    def _load_state(self) -> int:
        if not self._state.exists():
            return 0
        state = torch.load(self._state, map_location="cpu", weights_only=True)
        if state["config"] != json.dumps(self.config.to_dict()):
            raise MaskwrightError(
                f"{self.out} holds a run with other settings. Name another folder with --out, or delete it."
            )
        self.trained.load_state_dict(state["trained"])
        self.ema.load_state_dict(state["ema"])
        self._optimizer.load_state_dict(state["optimizer"])
        return int(state["step"])

    def _save_state(self) -> None:
        state = {
            "config": json.dumps(self.config.to_dict()),
            "step": self.step,
            "trained": self.trained.state_dict(),
            "ema": self.ema.state_dict(),
            "optimizer": self._optimizer.state_dict(),
        }
        atomic_save(self._state, lambda file: torch.save(state, file))


def _lr_factor(config: Schedule, step: int) -> float:
    """Learning rate as a share of its peak: linear warm-up, then a cosine to 0."""
    warmup = max(1, round(config.warmup * config.steps))
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, config.steps - warmup)))


def _parameter_groups(trained: nn.Module, config: Schedule, pretrained: Sequence[nn.Module]) -> list[dict[str, Any]]:
    """Trainable parameters by learning-rate factor; weight decay for matrices and kernels, not for embeddings."""
    slow = {id(parameter) for module in pretrained for parameter in module.parameters()}
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in trained.named_parameters():
        if parameter.requires_grad:
            undecayed = parameter.ndim < 2 or any(part in name for part in _EMBEDDINGS)
            lr_scale = config.pretrained_lr_scale if id(parameter) in slow else 1.0
            groups.setdefault((lr_scale, 0.0 if undecayed else config.weight_decay), []).append(parameter)
    return [
        {"params": parameters, "weight_decay": decay, "lr_scale": lr_scale}
        for (lr_scale, decay), parameters in groups.items()
    ]


_EMBEDDINGS = ("token_embedding", "positional_embedding", "pos_embed", "rel_pos", "_token", "padding_", "freqs")
"""Parts of the names of parameters that are looked up or added, not multiplied."""


@torch.no_grad()
def _update_ema(ema: nn.Module, model: nn.Module, decay: float) -> None:
    current = model.state_dict()
    for name, value in ema.state_dict().items():
        if value.is_floating_point():
            value.lerp_(current[name], 1 - decay)
        else:
            value.copy_(current[name])
