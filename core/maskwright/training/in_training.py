"""A model while it is trained: as a preset, and measured now and then."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

from torch import nn

from maskwright.errors import Cancelled
from maskwright.presets.loading import Preset
from maskwright.training import distributed

__all__ = ["Measurement", "PresetInTraining"]


class PresetInTraining(Preset):
    """A preset that an engine leaves in single precision, because its weights are being trained."""

    encoders: list[nn.Module] = []  # noqa: RUF012 - none


class Measurement:
    """Measures the model before the first step, and again when twenty times as long as that took has passed."""

    def __init__(self, measure: Callable[[Preset, int], None] | None, preset: Callable[[Any], Preset] | None) -> None:
        """Take the measurement and what makes a preset of the model; without either nothing is measured."""
        self._measure, self._preset, self._next = measure, preset, 0.0

    def take(self, module: nn.Module, step: int) -> None:
        """Measure, if it is time."""
        began = time.monotonic()
        if self._measure is None or self._preset is None or began < self._next or distributed.rank():
            return
        # the loop sees for itself that the run should stop
        with contextlib.suppress(Cancelled):
            self._measure(self._preset(module.eval()), step)
        now = time.monotonic()
        self._next = now + 20 * (now - began)
