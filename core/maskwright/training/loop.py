"""The loop that all runs share: seeded, resumable, stoppable at every step."""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from maskwright.errors import MaskwrightError
from maskwright.files.atomic import atomic_save
from maskwright.training.data import Batch, Steps

__all__ = ["STATE", "Objective", "Schedule", "TrainProgress", "Trainer", "until"]

STATE = "training.pt"
"""File of a run's folder that holds what resuming needs."""


@dataclass(frozen=True, slots=True)
class TrainProgress:
    """What one step reports."""

    step: int
    steps: int
    loss: float
    parts: dict[str, float]
    images_per_second: float


class Objective(Protocol):
    """What a run minimises."""

    def __call__(self, step: int, batch: Batch) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The loss of one batch, and its terms for the record; everything random is drawn from the step."""
        ...

    def settle(self) -> None:
        """Put parameters back into their range after an update."""
        ...


class Schedule(Protocol):
    """What the loop must know of a run's settings."""

    @property
    def steps(self) -> int: ...  # noqa: D102
    @property
    def batch(self) -> int: ...  # noqa: D102
    @property
    def rate(self) -> float: ...  # noqa: D102
    @property
    def weight_decay(self) -> float: ...  # noqa: D102
    @property
    def warmup(self) -> float: ...  # noqa: D102
    @property
    def average(self) -> float: ...  # noqa: D102
    @property
    def seed(self) -> int: ...  # noqa: D102
    def to_dict(self) -> dict[str, Any]: ...  # noqa: D102


T = TypeVar("T", bound=nn.Module)


class Trainer(Generic[T]):
    """One run: the trained module, the running mean of its weights (which is what is saved), and where it stands.

    State is kept in a file of the folder every 100 steps and whenever the loop ends; a later `Trainer` with the same
    arguments goes on from there. The same seed on the same CPU gives the same weights.
    """

    def __init__(
        self,
        trained: T,
        config: Schedule,
        out: Path,
        device: str,
        *,
        state: str = STATE,
        gentle: Sequence[nn.Module] = (),
        share: float = 0.3,
        clip: float = 1.0,
    ) -> None:
        """Take a module to train, and resume when `out` holds a run.

        Args:
            trained: its parameters that require gradients learn.
            config: schedule and seed.
            out: folder of the run.
            device: "cpu", "cuda".
            state: name of the file that holds what resuming needs.
            gentle: parts that were trained before.
            share: of the rate, that those learn at.
            clip: largest norm of the gradient.

        Raises:
            MaskwrightError: `out` holds a run with other settings.
        """
        self.config, self.out, self.device = config, out, device
        self.trained, self.mean = trained, copy.deepcopy(trained)
        for module in (self.trained, self.mean):
            module.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._clip = clip
        groups = _groups(trained, config.weight_decay, gentle, share)
        self._shares = [group.pop("share") for group in groups]
        self._optimiser = torch.optim.AdamW(groups, lr=config.rate, betas=(0.9, 0.98))
        self._state = out / state
        self.step = self._resume()
        """Steps done."""

    def run(
        self,
        steps: Steps,
        objective: Objective,
        *,
        workers: int = 0,
        on_step: Callable[[TrainProgress], None] = lambda step: None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> bool:
        """Train to the last step, or until `stopped`; True when the last step was reached."""
        config = self.config
        loader = DataLoader(steps, batch_size=None, sampler=range(self.step, config.steps), num_workers=workers)
        since, told_at = time.monotonic(), self.step
        for step, batch in enumerate(loader, start=self.step):
            torch.manual_seed(config.seed * 1_000_003 + step)
            for group, share in zip(self._optimiser.param_groups, self._shares, strict=True):
                group["lr"] = share * config.rate * _rate(config, step)
            self.trained.train()
            loss, parts = objective(step, batch.to(self.device))
            self._update(step, loss, objective)
            self.step = step + 1
            if step % 10 == 9 or step + 1 == config.steps:
                rate = (step + 1 - told_at) * config.batch / (time.monotonic() - since)
                since, told_at = time.monotonic(), step + 1
                told = {name: value.item() for name, value in parts.items()}
                on_step(TrainProgress(step + 1, config.steps, loss.item(), told, rate))
            ends = stopped()
            if step % 100 == 99 or step + 1 == config.steps or ends:
                self._keep()
            if ends:
                break
        return self.step >= config.steps

    def _update(self, step: int, loss: Tensor, objective: Objective) -> None:
        self._optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.trained.parameters(), self._clip)
        self._optimiser.step()
        objective.settle()
        _average(self.mean, self.trained, min(self.config.average, (1 + step) / (10 + step)))

    def _resume(self) -> int:
        if not self._state.exists():
            return 0
        state = torch.load(self._state, map_location="cpu", weights_only=True)
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
        atomic_save(self._state, lambda file: torch.save(state, file))


def until(minutes: float | None, stopped: Callable[[], bool]) -> Callable[[], bool]:
    """Whether to stop: when `stopped` says so, or so many minutes from now."""
    began = time.monotonic()
    return lambda: stopped() or (minutes is not None and time.monotonic() - began > 60 * minutes)


def _rate(config: Schedule, step: int) -> float:
    """Learning rate as a share of the highest: linear warm-up, then a cosine to 0."""
    rising = max(1, round(config.warmup * config.steps))
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, config.steps - rising)))


def _groups(trained: nn.Module, decay: float, gentle: Sequence[nn.Module], share: float) -> list[dict[str, Any]]:
    """All that learns, with its share of the rate; weight decay for matrices and kernels only, not for embeddings."""
    slow = {id(parameter) for module in gentle for parameter in module.parameters()}
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in trained.named_parameters():
        if parameter.requires_grad:
            plain = parameter.ndim < 2 or any(word in name for word in _EMBEDDINGS)
            key = (share if id(parameter) in slow else 1.0, 0.0 if plain else decay)
            groups.setdefault(key, []).append(parameter)
    return [{"params": part, "weight_decay": decay, "share": rate} for (rate, decay), part in groups.items()]


_EMBEDDINGS = ("token_embedding", "positional_embedding", "pos_embed", "rel_pos", "_token", "padding_", "freqs")
"""In the names of parameters that are looked up or added, not multiplied."""


@torch.no_grad()
def _average(mean: nn.Module, model: nn.Module, decay: float) -> None:
    current = model.state_dict()
    for name, value in mean.state_dict().items():
        if value.is_floating_point():
            value.lerp_(current[name], 1 - decay)
        else:
            value.copy_(current[name])
