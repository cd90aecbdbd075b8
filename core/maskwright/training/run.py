"""One call from labelled folders to a preset folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

from maskwright.errors import MaskwrightError
from maskwright.groundtruth import LabelledFolder
from maskwright.models.checkpoints import CONFIG
from maskwright.training.clicks import train_clicks
from maskwright.training.config import ClickConfig, TrainConfig
from maskwright.training.data import Source, read_objects, read_source
from maskwright.training.loop import Step
from maskwright.training.scratch import train
from maskwright.training.vocabulary import Vocabulary

__all__ = ["train_preset", "train_promptable"]


def train_preset(
    folders: Sequence[Path],
    out: Path,
    *,
    weights: Mapping[str, float],
    background: frozenset[str],
    steps: int | None = None,
    minutes: float | None = None,
    seed: int = 0,
    device: str = "cpu",
    say: Callable[[str], None] = lambda text: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> bool:
    """Train a text preset into `out`; True when the run reached its last step, False when `minutes` ended it.

    Held-out images (`groundtruth.held_out`) and the pictures of the sample gallery are left out.

    Args:
        folders: labelled folders.
        out: preset folder; a run that was stopped there goes on.
        weights: share of each batch by folder name; 1 where not given.
        background: names of folders whose unlabelled pixels are truly none of their classes.
        steps: length of the run, by default that of the bundled preset.
        minutes: stop after so many.
        seed: same seed, data and CPU give the same weights.
        device: "cpu", "cuda" or "auto".
        say: told one line now and then.
        progress: told (steps done, steps in all).

    Raises:
        MaskwrightError: a folder without images to train on.
    """
    from maskwright.models.devices import choose_device

    vocabulary = Vocabulary(name for folder in folders for name in LabelledFolder.read(folder).categories.values())
    skip = _gallery()
    sources = [
        read_source(
            folder, index, vocabulary, weight=weights.get(folder.name, 1.0), background=folder.name in background,
            skip=skip,
        )
        for index, folder in enumerate(folders)
    ]  # fmt: skip
    _told(sources, say)
    config = TrainConfig(seed=seed)
    config = config if steps is None else replace(config, steps=steps)
    return train(
        sources, vocabulary, config, out, device=choose_device(device).type, minutes=minutes,
        on_step=_teller(say, progress),
    )  # fmt: skip


def train_promptable(
    folders: Sequence[Path],
    out: Path,
    *,
    weights: Mapping[str, float],
    steps: int | None = None,
    minutes: float | None = None,
    seed: int = 0,
    device: str = "cpu",
    say: Callable[[str], None] = lambda text: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> bool:
    """Add clicks and boxes to the text preset in `out`; arguments, result and errors as `train_preset`'s."""
    from maskwright.models.devices import choose_device

    if not (out / CONFIG).is_file():
        raise MaskwrightError(f"There is no preset in {out} to add clicks to. Train one with --task text first.")
    sources = [read_objects(folder, weight=weights.get(folder.name, 1.0), skip=_gallery()) for folder in folders]
    _told(sources, say)
    config = ClickConfig(seed=seed)
    config = config if steps is None else replace(config, steps=steps)
    return train_clicks(
        sources, config, out, device=choose_device(device).type, minutes=minutes, on_step=_teller(say, progress)
    )


def _told(sources: Sequence[Source], say: Callable[[str], None]) -> None:
    for source in sources:
        if not source.samples:
            raise MaskwrightError(f"{source.name} has no image to train on. Add images, or leave the folder out.")
        say(f"{source.name}: {len(source.samples)} images")


def _teller(say: Callable[[str], None], progress: Callable[[int, int], None]) -> Callable[[Step], None]:
    def on_step(step: Step) -> None:
        progress(step.step, step.steps)
        if step.step % 100 == 0:
            parts = ", ".join(f"{name} {value:.3f}" for name, value in step.parts.items())
            say(f"step {step.step}/{step.steps}, loss {step.loss:.3f} ({parts}), {step.images_per_second:.1f} images/s")

    return on_step


def _gallery() -> frozenset[str]:
    rows = json.loads((files("maskwright_assets") / "samples" / "samples.json").read_text(encoding="utf-8"))
    return frozenset(Path(row["file"]).stem for row in rows)
