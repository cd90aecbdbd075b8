"""The training loop: divided steps, memory that runs out, a loss that is not a number."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from maskwright.errors import MaskwrightError
from maskwright.training import loop
from maskwright.training.config import Schedule
from maskwright.training.loop import RunOptions, Trainer

STEPS, BATCH = 24, 4


class _Batch(NamedTuple):
    values: Tensor

    @property
    def images(self) -> int:
        return len(self.values)

    def part(self, start: int, stop: int) -> _Batch:
        return _Batch(self.values[start:stop])

    def to(self, device: str) -> _Batch:
        return _Batch(self.values.to(device))


class _Steps(Dataset[_Batch]):
    def __getitem__(self, step: int) -> _Batch:
        return _Batch(torch.randn(BATCH, 3, generator=torch.Generator().manual_seed(step)))


class _Objective:
    """Mean squared distance from the sum; fails as it is told."""

    def __init__(self, model: nn.Module, *, most: int = BATCH, bad_step: int | None = None) -> None:
        self.model, self.most, self.bad_step = model, most, bad_step

    def __call__(self, step: int, batch: _Batch) -> tuple[Tensor, Mapping[str, Tensor]]:
        if batch.images > self.most:
            raise torch.OutOfMemoryError("no memory")
        loss = (self.model(batch.values)[:, 0] - batch.values.sum(dim=1)).square().mean()
        return (loss * math.nan if step == self.bad_step else loss), {"distance": loss}

    def constrain(self) -> None:
        """No range."""


def _train(out: Path, **failures: int) -> tuple[list[float], Tensor, list[str], int]:
    torch.manual_seed(0)
    out.mkdir(exist_ok=True)
    model = nn.Linear(3, 1)
    trainer = Trainer(model, Schedule(steps=STEPS, batch=BATCH, lr=0.1, warmup=0.1, ema=0.0), out, "cpu")
    losses, notes = list[float](), list[str]()
    options = RunOptions(on_step=lambda step: losses.append(step.loss), on_note=notes.append)
    assert trainer.run(_Steps(), _Objective(model, **failures), options)
    return losses, model.weight.detach().clone(), notes, trainer.step


def test_a_step_that_does_not_fit_is_halved_with_the_same_result(tmp_path: Path) -> None:
    whole, divided = _train(tmp_path / "whole"), _train(tmp_path / "divided", most=1)
    assert divided[0] == pytest.approx(whole[0], rel=1e-5)
    torch.testing.assert_close(divided[1], whole[1], rtol=1e-5, atol=1e-6)
    assert whole[2] == []
    assert [("2 images at a time" in note or "4 images at a time" in note) for note in divided[2]] == [True, True]


def test_memory_that_does_not_suffice_for_one_image_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(MaskwrightError, match="not enough memory to train on one image"):
        _train(tmp_path, most=0)


def test_a_loss_that_is_not_a_number_ends_with_the_last_good_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(MaskwrightError, match="nothing was learned"):
        _train(tmp_path / "at once", bad_step=0)
    monkeypatch.setattr(loop, "_SAVE_EVERY", -1.0)
    _, weight, notes, step = _train(tmp_path / "later", bad_step=13)
    assert 1 <= step <= 13
    assert torch.isfinite(weight).all()
    assert f"as it was after {step}" in notes[0]
