"""Fine-tuning of SAM's decoder on the accepted masks of a project, with simulated clicks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from maskwright.imaging.geometry import components
from maskwright.presets.loading import load_sam
from maskwright.training.clicks import train
from maskwright.training.config import ClickConfig
from maskwright.training.data import Sample, Source
from maskwright.training.finetune.export import keep_parts
from maskwright.training.finetune.images import TrainingImage
from maskwright.training.loop import RunOptions

__all__ = ["tune_clicks"]

_SMALLEST = 0.0005
"""Share of the image below which a component is no object."""


def tune_clicks(
    base: Path,
    images: Sequence[TrainingImage],
    out: Path,
    options: RunOptions,
    *,
    epochs: int | None,
    seed: int,
) -> bool:
    """Train a copy of SAM's decoder, and write the result as a preset into `out`; the same call resumes.

    Args:
        base: Folder of the preset to start from.
        images: Training images; every accepted mask is an object to click on.
        out: Folder of the run.
        options: Device and callbacks.
        epochs: Passes over the images; None is 40, within 100 to 300 steps.
        seed: Of the run.

    Returns:
        Whether the last step was reached.

    Raises:
        MaskwrightError: The base has no SAM, or an image is missing or damaged.
        Cancelled: On request, while images are encoded.
    """
    sam = load_sam(base)
    samples = tuple(_sample(one) for one in images)
    source = Source("project", samples, np.zeros(1, np.int64), background=False, weight=1.0)
    batch = 4
    steps = max(1, round((epochs or 40) * len(samples) / batch))
    if epochs is None:
        steps = min(max(steps, 100), 300)
    config = ClickConfig(
        steps=steps, batch=batch, lr=8e-5, warmup=0.1, ema=0.98, objects=8, interpolation=1.0, seed=seed
    )
    if not train(sam, [source], config, out, options):
        return False
    keep_parts(base, out, changed=("sam",))
    return True


def _sample(one: TrainingImage) -> Sample:
    image = one.open()
    numbers = np.zeros(image.size_hw, np.int16)
    parts = [
        part
        for mask in one.accepted
        if not mask.crowd
        for part in components(mask.mask.to_array())
        if part.sum() >= max(1, _SMALLEST * part.size)
    ]
    # where objects overlap the smaller is on top
    for number, part in enumerate(sorted(parts, key=lambda part: -int(part.sum())), start=1):
        numbers[part] = number
    return Sample(image.pixels, numbers, 0)
