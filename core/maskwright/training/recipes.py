"""One call from labelled folders to a preset folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from typing import TypeVar

from maskwright.errors import MaskwrightError
from maskwright.formats.labelled_folder import LabelledFolder
from maskwright.models.devices import choose_device
from maskwright.models.dinov3seg import Dinov3SegConfig
from maskwright.presets.config import TALK2DINO
from maskwright.presets.config_io import sections
from maskwright.presets.loading import dinotxt_settings, dinov3seg_settings, load, sam_settings
from maskwright.presets.saving import save_projection
from maskwright.presets.weights import CONFIG
from maskwright.progress import NO_PROGRESS, Progress
from maskwright.training import clicks, scratch, seg
from maskwright.training.captions import read_captions
from maskwright.training.config import TINY_SEG, ClickConfig, SegConfig, TrainConfig
from maskwright.training.data import Source, read_objects, read_source
from maskwright.training.loop import TrainProgress
from maskwright.training.projection import ProjectionRun, Taught, encoders, teach
from maskwright.training.vocabulary import Vocabulary

C = TypeVar("C", TrainConfig, ClickConfig, SegConfig)

__all__ = ["TrainingJob", "train_clicks", "train_dinov3seg", "train_projection", "train_text"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingJob:
    """What is to be trained on, where it goes, and for how long."""

    folders: Sequence[Path]
    """Labelled; held-out images (`groundtruth.held_out`) and the pictures of the sample gallery are left out."""
    out: Path
    """Preset folder; a run that was stopped there goes on."""
    weights: Mapping[str, float] = field(default_factory=dict)
    """Share of each batch by folder name; 1 where not given."""
    background: frozenset[str] = frozenset()
    """Names of folders whose unlabelled pixels are truly none of their classes."""
    steps: int | None = None
    """Length of the run, by default that of the bundled preset, or the paper's for imported parts."""
    minutes: float | None = None
    """Stop after so many."""
    seed: int = 0
    """Same seed, data and CPU: same weights."""
    device: str = "cpu"
    """cpu, cuda or auto."""
    log: Callable[[str], None] = lambda text: None
    """Told one line now and then."""
    progress: Progress = NO_PROGRESS
    """Told (steps done, steps in all)."""

    def labelled(self, *, stretch: bool = True) -> tuple[list[Source], Vocabulary]:
        """The folders as sources of labelled pixels, and their classes."""
        names = (name for folder in self.folders for name in LabelledFolder.read(folder).categories.values())
        vocabulary, skip = Vocabulary(names), _gallery()
        sources = [
            read_source(
                folder, index, vocabulary, weight=self.weights.get(folder.name, 1.0),
                background=folder.name in self.background, skip=skip, stretch=stretch,
            )
            for index, folder in enumerate(self.folders)
        ]  # fmt: skip
        return self._told(sources), vocabulary

    def objects(self) -> list[Source]:
        """The folders as sources of numbered objects."""
        skip = _gallery()
        return self._told(
            [read_objects(folder, weight=self.weights.get(folder.name, 1.0), skip=skip) for folder in self.folders]
        )

    def _told(self, sources: list[Source]) -> list[Source]:
        for source in sources:
            if not source.samples:
                raise MaskwrightError(f"{source.name} has no image to train on. Add images, or leave the folder out.")
            self.log(f"{source.name}: {len(source.samples)} images")
        return sources

    def on_step(self, step: TrainProgress) -> None:
        """Pass on what a step reports."""
        self.progress.report(step.step, step.steps)
        if step.step % 100 == 0:
            parts = ", ".join(f"{name} {value:.3f}" for name, value in step.parts.items())
            rate = f"{step.images_per_second:.1f} images/s"
            self.log(f"step {step.step}/{step.steps}, loss {step.loss:.3f} ({parts}), {rate}")


def train_text(job: TrainingJob) -> bool:
    """Train a text preset; True when the run reached its last step, False when `minutes` ended it.

    Raises:
        MaskwrightError: a folder without images to train on.
    """
    sources, vocabulary = job.labelled()
    config = _timed(TrainConfig(seed=job.seed), job)
    return scratch.train(
        sources, vocabulary, config, job.out, device=str(choose_device(job.device)), minutes=job.minutes,
        on_step=job.on_step,
    )  # fmt: skip


def train_clicks(job: TrainingJob) -> bool:
    """Add clicks and boxes to the text preset in `out`; result and errors as `train_text`'s."""
    if not (job.out / CONFIG).is_file():
        raise MaskwrightError(f"There is no preset in {job.out} to add clicks to. Train one with --task text first.")
    config = _timed(ClickConfig(seed=job.seed), job)
    return clicks.train_clicks(
        job.objects(), config, job.out, device=str(choose_device(job.device)), minutes=job.minutes,
        on_step=job.on_step,
    )  # fmt: skip


def train_dinov3seg(job: TrainingJob, config: SegConfig | None = None) -> bool:
    """Add dinov3.seg to the preset in `out`; result and errors as `train_text`'s.

    Args:
        job: what to train on.
        config: the settings; by default the paper's for parts that were imported, else those of the bundled preset.
    """
    parts = sections(job.out) if (job.out / CONFIG).is_file() else {}
    if not {"dinotxt", "sam"} <= parts.keys():
        raise MaskwrightError(
            f"There is no preset with words and clicks in {job.out} to build dinov3.seg on. Train one with --task "
            "text and --task click first, or import dinov3seg-l."
        )
    imported = dinov3seg_settings(job.out) if "dinov3seg" in parts else None
    if imported is not None and not imported.trained:
        config, stretch = config or SegConfig(model=imported.model), imported.stretch
    else:
        config, stretch = config or TINY_SEG, True
        config = replace(config, model=_fitted(config.model, job.out))
    share = 1.0 if job.steps is None else job.steps / config.steps
    config = _phases(config, config.model, share, job.seed)
    sources, vocabulary = job.labelled(stretch=stretch)
    return seg.train_seg(
        sources, vocabulary, config, job.out, device=str(choose_device(job.device)), minutes=job.minutes,
        on_step=job.on_step,
    )  # fmt: skip


def _phases(config: SegConfig, model: Dinov3SegConfig, share: float, seed: int) -> SegConfig:
    """A run and those that finish it, as long in proportion, on one model."""
    finish = None if config.finish is None else _phases(config.finish, model, share, seed)
    return replace(config, model=model, steps=max(1, round(share * config.steps)), seed=seed, finish=finish)


def _fitted(model: Dinov3SegConfig, folder: Path) -> Dinov3SegConfig:
    """The same model on the encoders that the preset in `folder` has."""
    vlm, spe = dinotxt_settings(folder).model, sam_settings(folder).model
    if spe.backbone is None:
        raise MaskwrightError(
            f"{folder.name} has released encoders and no dinov3.seg that waits for training. Import dinov3seg-l again."
        )
    stem = spe.backbone.stem
    taps = stem[model.taps[0] - 1][0], stem[model.taps[1] - 1][0]
    aggregator = replace(model.aggregator, text=vlm.backbone.width, appearance=spe.out, taps=taps)
    return replace(model, vlm=vlm, spe=spe, aggregator=aggregator)


def train_projection(
    folders: Sequence[Path],
    base: Path,
    out: Path,
    run: ProjectionRun,
    *,
    device: str = "cpu",
    progress: Callable[[str, int, int], None] = lambda phase, done, total: None,
) -> Taught:
    """Teach the preset `base` Talk2DINO from captioned folders, into the preset folder `out`, which may be `base`.

    Raises:
        MaskwrightError: `out` holds another preset, or there is too little to learn from.
    """
    preset = load(base)
    frozen = encoders(preset)
    there = sections(out) if (out / CONFIG).is_file() else None
    if there is not None:
        known = {part.get("sha256") for part in there.values()}
        if there.get(TALK2DINO, {}).get("model"):
            # whole, and taught before
            known.add(there[TALK2DINO].get("built_on"))
        if frozen.sha256 not in known:
            raise MaskwrightError(f"{out} holds another preset than {base.name}. Name another folder with --out.")
    pictures = [one for folder in folders for one in read_captions(folder, _gallery())]
    taught = teach(frozen, pictures, run, out / "regions", device=choose_device(device), progress=progress)
    if there is None:
        shutil.copytree(base, out, dirs_exist_ok=True)
    save_projection(out, taught.projection, taught.config, preset.dinotxt, size=run.size)
    return taught


def _timed(config: C, job: TrainingJob) -> C:
    return config if job.steps is None else replace(config, steps=job.steps)


def _gallery() -> frozenset[str]:
    rows = json.loads((files("maskwright_assets") / "samples" / "samples.json").read_text(encoding="utf-8"))
    return frozenset(Path(row["file"]).stem for row in rows)
