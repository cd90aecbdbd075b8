"""Training loop: seeded, resumable, cancellable after every step."""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, Self, TypeVar, runtime_checkable

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from maskwright.errors import MaskwrightError
from maskwright.files.atomic import atomic_save
from maskwright.presets.loading import Preset
from maskwright.progress import NO_PROGRESS, Progress
from maskwright.training import distributed
from maskwright.training.config import Schedule
from maskwright.training.in_training import Measurement

__all__ = ["CPU_RUN", "STATE", "Objective", "RunOptions", "TimeLimit", "TrainProgress", "Trainer"]

STATE = "training.pt"
"""File with the state that resuming needs."""
_SAVE_EVERY = 20.0
"""Seconds between two saved states, at least."""


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
    on_note: Callable[[str], None] = lambda note: None
    """Called with a sentence for the user when the run goes on in another way than planned."""
    before_step: Callable[[], None] = lambda: None
    """Called before every step; may wait."""
    measure: Callable[[Preset, int], None] | None = None
    """Called now and then with the model so far and the number of steps, for at most a twentieth of the time."""
    workers: int = 0
    """Processes that read batches ahead."""


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


@runtime_checkable
class Divisible(Protocol):
    """A batch that may be trained on in parts, because its loss is the mean over its images."""

    @property
    def images(self) -> int:
        """Number of images."""
        ...

    def part(self, start: int, stop: int) -> Self:
        """Some of its images."""
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

    The state is saved every 100 steps or 20 seconds, and when the loop ends. The same seed on the same CPU gives the
    same weights, however often the run was interrupted.
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
        lr_scale: Callable[[str], float] | None = None,
    ) -> None:
        """Prepare a run, and load its state when `out` holds one.

        Args:
            trained: Module whose parameters that require gradients are trained.
            config: Schedule and seed.
            out: Folder of the run.
            device: torch device.
            state: Name of the state file.
            pretrained: Modules that learn at `config.pretrained_lr_scale` times the learning rate.
            lr_scale: Factor on the learning rate by name of the parameter, in place of `pretrained`.

        Raises:
            MaskwrightError: `out` holds a run with other settings.
        """
        self.config, self.out, self.device = config, out, device
        # without averaging, the result is what was trained
        self.trained, self.ema = trained, copy.deepcopy(trained) if config.ema else trained
        for module in (self.trained, self.ema):
            module.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        groups = _parameter_groups(trained, config, lr_scale or _scale_of(trained, config, pretrained))
        self._lr_scales = [group.pop("lr_scale") for group in groups]
        self._optimizer = torch.optim.AdamW(groups, lr=config.lr, betas=config.betas)
        self._state = out / state
        self._save_every = _SAVE_EVERY
        self._largest = config.batch
        """Images that a pass may hold."""
        self.step = self._load_state()
        """Steps done."""

    def run(
        self,
        steps: Dataset[B],
        objective: Objective[B],
        options: RunOptions = CPU_RUN,
        preset: Callable[[T], Preset] | None = None,
    ) -> bool:
        """Train until the last step or until `options.progress` cancels; returns whether the last step was reached.

        Where several processes train, each gets its part of a batch from `steps`, and the gradients are added.

        Args:
            steps: The batch of each step.
            objective: What is minimised.
            options: Device and callbacks.
            preset: The trained module as a preset, for `options.measure`.

        Raises:
            MaskwrightError: The memory does not suffice for one image, or the loss of the first steps is not a number.
        """
        config, progress = self.config, options.progress
        loader = DataLoader(
            steps, batch_size=None, sampler=range(self.step, config.steps), num_workers=options.workers,
            # readers of images are functions, which only a fork takes along
            multiprocessing_context="fork" if options.workers else None,
        )  # fmt: skip
        since, since_step, saved = time.monotonic(), self.step, time.monotonic()
        measurement = Measurement(options.measure, preset)
        for step, batch in enumerate(loader, start=self.step):
            for group, scale in zip(self._optimizer.param_groups, self._lr_scales, strict=True):
                group["lr"] = scale * config.lr * _lr_factor(config, step)
            options.before_step()
            measurement.take(self.ema, step)
            self.trained.train()
            loss, parts = self._backward(step, batch.to(self.device), objective, options)
            if not math.isfinite(loss):
                self._return_to_saved(options)
                return True
            self._update(step, objective)
            self.step = step + 1
            if step % 10 == 9 or self.step == config.steps:
                speed = (self.step - since_step) * config.batch / (time.monotonic() - since)
                since, since_step = time.monotonic(), self.step
                options.on_step(TrainProgress(self.step, config.steps, loss, parts, speed))
                progress.report(self.step, config.steps)
            cancelled = distributed.any_of(progress.cancelled())
            now = time.monotonic()
            if step % 100 == 99 or now - saved > self._save_every or self.step == config.steps or cancelled:
                self._save_state()
                saved = time.monotonic()
                # saving takes at most a twentieth of the time
                self._save_every = max(_SAVE_EVERY, 20 * (saved - now))
            if cancelled:
                break
        return self.step >= config.steps

    def _backward(
        self, step: int, batch: Any, objective: Objective[Any], options: RunOptions
    ) -> tuple[float, dict[str, float]]:
        """Gradients of one step, of all processes; returns its loss and terms. Halves the pass when memory runs out."""
        while True:
            torch.manual_seed(self.config.seed * 1_000_003 + step)
            self._optimizer.zero_grad()
            try:
                loss, terms = self._passes(step, batch, objective)
                break
            except RuntimeError as error:
                if not _out_of_memory(error):
                    raise
                if not isinstance(batch, Divisible) or self._largest <= 1:
                    raise MaskwrightError(
                        "There is not enough memory to train on one image at a time. Close other programs, or choose "
                        "a recipe that trains less, such as decoder."
                    ) from error
            # outside of the handler: its traceback keeps the tensors of the failed pass alive
            self._largest = min(self._largest, batch.images) // 2
            torch.cuda.empty_cache()
            options.on_note(
                f"The memory did not suffice for {2 * self._largest} images at a time: the run goes on with "
                f"{self._largest}, which takes longer and gives the same result."
            )
        if distributed.world() > 1:
            distributed.add_up([p.grad for p in self.trained.parameters() if p.grad is not None])
            loss = distributed.total(loss)
        return loss, terms

    def _passes(self, step: int, batch: Any, objective: Objective[Any]) -> tuple[float, dict[str, float]]:
        if not isinstance(batch, Divisible):
            loss, terms = objective(step, batch)
            loss.backward()
            return loss.item(), {name: value.item() for name, value in terms.items()}
        total, summed = 0.0, dict[str, float]()
        for start in range(0, batch.images, self._largest):
            part = batch.part(start, min(start + self._largest, batch.images))
            loss, terms = objective(step, part)
            share = part.images / self.config.batch
            (loss * share).backward()
            total += loss.item() * share
            for name, value in terms.items():
                summed[name] = summed.get(name, 0.0) + value.item() * part.images / batch.images
        return total, summed

    def _update(self, step: int, objective: Objective[Any]) -> None:
        nn.utils.clip_grad_norm_(self.trained.parameters(), self.config.clip_norm)
        self._optimizer.step()
        objective.constrain()
        if self.ema is not self.trained:
            _update_ema(self.ema, self.trained, min(self.config.ema, (1 + step) / (10 + step)))

    def _return_to_saved(self, options: RunOptions) -> None:
        """After a loss that is not a number: the last saved weights are the result."""
        step = self.step
        if not self._state.exists():
            raise MaskwrightError(
                f"The loss was not a number after {step} steps, so nothing was learned. Check the accepted masks, or "
                "choose the recipe decoder."
            )
        self.step = self._load_state()
        options.on_note(
            f"The loss was not a number after {step} steps: the result is the model as it was after {self.step}."
        )

    def _load_state(self) -> int:
        if not self._state.exists():
            return 0
        state = torch.load(self._state, map_location="cpu", weights_only=True)
        if state["config"] != json.dumps(self.config.to_dict()):
            raise MaskwrightError(
                f"{self.out} holds a run with other settings. Name another folder with --out, or delete it."
            )
        self.trained.load_state_dict(state["trained"], strict=False)
        if self.ema is not self.trained:
            self.ema.load_state_dict(state["ema"], strict=False)
        self._optimizer.load_state_dict(state["optimizer"])
        return int(state["step"])

    def _save_state(self) -> None:
        state = {
            "config": json.dumps(self.config.to_dict()),
            "step": self.step,
            "trained": _changing_state(self.trained),
            "ema": _changing_state(self.ema) if self.ema is not self.trained else {},
            "optimizer": self._optimizer.state_dict(),
        }
        if distributed.rank():
            return
        atomic_save(self._state, lambda file: torch.save(state, file))


def _lr_factor(config: Schedule, step: int) -> float:
    """Learning rate as a share of its peak: linear warm-up, then a cosine to 0."""
    warmup = max(1, round(config.warmup * config.steps))
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, config.steps - warmup)))


def _scale_of(trained: nn.Module, config: Schedule, pretrained: Sequence[nn.Module]) -> Callable[[str], float]:
    """Factor on the learning rate by name: that of pretrained modules is lower."""
    slow = {id(parameter) for module in pretrained for parameter in module.parameters()}
    names = {name for name, parameter in trained.named_parameters() if id(parameter) in slow}
    return lambda name: config.pretrained_lr_scale if name in names else 1.0


def _changing_state(module: nn.Module) -> dict[str, Tensor]:
    """What training changes: parameters that learn, and all buffers."""
    still = {name for name, parameter in module.named_parameters() if not parameter.requires_grad}
    return {name: value for name, value in module.state_dict().items() if name not in still}


def _out_of_memory(error: RuntimeError) -> bool:
    """Whether an allocation failed, on a GPU or on a CPU."""
    return isinstance(error, torch.OutOfMemoryError) or "not enough memory" in str(error) or "allocate" in str(error)


def _parameter_groups(
    trained: nn.Module, config: Schedule, lr_scale_of: Callable[[str], float]
) -> list[dict[str, Any]]:
    """Trainable parameters by learning-rate factor and weight decay."""
    undecayed = _without_decay(trained, config)
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in trained.named_parameters():
        if parameter.requires_grad:
            decay = 0.0 if name in undecayed else config.weight_decay
            groups.setdefault((lr_scale_of(name), decay), []).append(parameter)
    return [
        {"params": parameters, "weight_decay": decay, "lr_scale": lr_scale}
        for (lr_scale, decay), parameters in groups.items()
    ]


def _without_decay(trained: nn.Module, config: Schedule) -> set[str]:
    """Names of the parameters without weight decay."""
    names = {name: parameter.ndim for name, parameter in trained.named_parameters()}
    if config.decayed == "kernels":
        return {name for name, ndim in names.items() if ndim < 2 or any(part in name for part in _EMBEDDINGS)}
    modules = {name: module for name, module in trained.named_modules() if isinstance(module, _UNDECAYED)}
    own = {f"{name}.{parameter}" for name, module in modules.items() for parameter, _ in module.named_parameters()}
    return own | {name for name in names if any(part in name for part in _POSITIONS)}


_EMBEDDINGS = ("token_embedding", "positional_embedding", "pos_embed", "rel_pos", "_token", "padding_", "freqs")
"""Parts of the names of parameters that are looked up or added, not multiplied."""
_POSITIONS = ("pos_embed", "rel_pos")
"""The same for tables of positions of image encoders."""
_UNDECAYED = (nn.Embedding, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.modules.batchnorm._BatchNorm)


@torch.no_grad()
def _update_ema(ema: nn.Module, model: nn.Module, decay: float) -> None:
    current = model.state_dict()
    for name, value in ema.state_dict().items():
        if value.is_floating_point():
            value.lerp_(current[name], 1 - decay)
        else:
            value.copy_(current[name])
