"""Fine-tuning process: `python -m maskwright.project.finetune_worker`, with project and run as JSON on its input.

It measures the base, trains, measures the result on the same images, and renames the checkpoint folder to its final
name before the database says that the run is done. Killed at any moment, it leaves a row that others see as interrupted
and a hidden folder to resume from.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from maskwright import __version__
from maskwright.domain import Annotation, Image, Run, Scores, TextPrompt
from maskwright.engine import Engine
from maskwright.errors import Cancelled, MaskwrightError
from maskwright.evaluation.metrics import IGNORED
from maskwright.evaluation.text import LabelledImageData, evaluate_text, score_text
from maskwright.files.atomic import atomic_save
from maskwright.formats.labelled_folder import rasterize
from maskwright.models.devices import choose_device
from maskwright.presets.folders import CONFIG, find
from maskwright.presets.loading import load_dinotxt
from maskwright.presets.weights import save_record
from maskwright.progress import Progress
from maskwright.project import Project, jobs
from maskwright.settings import Settings
from maskwright.training.finetune import finetune, project_sample, project_source, tuning_config
from maskwright.training.loop import STATE, RunOptions, TrainProgress

__all__ = ["main", "run_finetuning", "write_card"]

log = logging.getLogger(__name__)

RECORD = "run.json"
_HEARTBEAT = 0.25
"""Seconds between reports."""
_MAX_CURVE = 200
"""Largest number of points of the stored loss curve."""


class _Heartbeat(Progress):
    """Writes the run's progress into its row at intervals, from a thread, and reads whether the run should stop."""

    def __init__(self, project: Project, run: Run) -> None:
        self._store, self._name = project.store, run.name
        self.progress, self.before = run.progress, run.before
        self._over = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> _Heartbeat:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()
        self._write()

    def report(self, done: int, total: int, stage: str = "") -> None:  # noqa: ARG002
        """Note how many images are measured."""
        self.update(done=done, total=total)

    def cancelled(self) -> bool:
        """Whether a user has asked this run to stop."""
        return self._stop.is_set()

    def update(self, **fields: Any) -> None:
        """Change fields of the progress; the next beat writes them."""
        self.progress = replace(self.progress, **fields)

    def _beat(self) -> None:
        while not self._over.wait(_HEARTBEAT):
            self._write()

    def _write(self) -> None:
        try:
            if self._store.runs.report(self._name, self.progress, self.before):
                self._stop.set()
        except MaskwrightError as error:
            # a database that is locked or full for a moment is no reason to lose hours of training
            log.warning("cannot report: %s", error)


def run_finetuning(where: str, name: str) -> None:
    """Do one run from beginning to end; its row says how it ended, whatever happens.

    Args:
        where: Folder or database URL of the project.
        name: Name of the run.
    """
    with Project.open(where) as project:
        run = project.store.runs.get(name)
        try:
            with _Heartbeat(project, run) as heartbeat:
                after = _Worker(project, run, heartbeat).work()
            project.store.runs.end(
                name, "done", after=after, checkpoint=(f"checkpoints/{name}", str(after.weights))
            )  # fmt: skip
        except Cancelled:
            project.store.runs.end(name, "cancelled")
        except MaskwrightError as error:
            project.store.runs.end(name, "failed", message=str(error))
        except Exception as error:
            logging.exception("run %s", name)
            kind = f"{type(error).__name__}: {error}".splitlines()[0]
            log_file = project.runs.working_folder(name) / "log.txt"
            text = f"The run stopped on an unexpected failure ({kind}). Its log is {log_file}."
            project.store.runs.end(name, "failed", message=text)


class _Worker:
    """The steps of a run, in order."""

    def __init__(self, project: Project, run: Run, heartbeat: _Heartbeat) -> None:
        self.project, self.run, self.heartbeat = project, run, heartbeat
        self.plan = run.plan
        self.device = str(choose_device(self.plan.device))
        revisions = dict(self.plan.masks)
        # masks that were edited or deleted since the run was started are left out
        self.masks = [mask for mask in project.annotations() if revisions.get(mask.uid) == mask.revision]

    def work(self) -> Scores:
        """Measure, train, measure again, publish the checkpoint; returns the scores of the result."""
        out, final = self.project.runs.working_folder(self.run.name), self.project.runs.folder_of(self.run.name)
        if final.is_dir():
            # the process was killed after the folder was renamed and before the row was changed
            return Scores.from_dict(json.loads((final / RECORD).read_text(encoding="utf-8"))["after"])
        base = self._base()
        before = self.run.before or self._measure(base, "measuring the base")
        self.heartbeat.before = before
        self._train(base, out)
        after = self._measure(out, "measuring the result")
        write_card(out, self.run, before, after)
        out.replace(final)
        for leftover in (STATE, "log.txt", jobs.NOTE):
            (final / leftover).unlink(missing_ok=True)
        return after

    def _base(self) -> Path:
        inside = self.project.folder / self.run.base
        return inside if (inside / CONFIG).is_file() else find(self.run.base, Settings.load())

    def _train(self, base: Path, out: Path) -> None:
        self.heartbeat.update(phase="reading")
        preset, plan = load_dinotxt(base), self.plan
        samples = [
            project_sample(image, masks, plan.categories, background=plan.background, settings=preset.settings)
            for image, masks in self._images(plan.train)
        ]
        source = project_source(samples, len(plan.categories), background=plan.background)
        config = tuning_config(preset.settings, len(samples), epochs=plan.epochs, seed=plan.seed)
        self.heartbeat.update(phase="training", step=0, steps=config.steps)
        cancel_only, curve = self.heartbeat.quiet(), _LossCurve(self.heartbeat)
        options = RunOptions(device=self.device, progress=cancel_only, on_step=curve.add)
        if not finetune(preset, source, plan.categories, config, out, recipe=self.run.recipe, options=options):
            raise Cancelled

    def _measure(self, preset: Path, phase: str) -> Scores:
        """Scores on the validation images, or on the labelled folder that the plan names."""
        self.heartbeat.update(phase=phase)
        engine, plan = Engine.load(preset, self.device), self.plan
        if plan.measure_on:
            (scores,) = evaluate_text(
                engine, Path(plan.measure_on), background=plan.background, progress=self.heartbeat
            )
        else:
            prompt = TextPrompt.parse(plan.categories, background=plan.background)
            labelled, total = self._ground_truth(plan.validation), len(plan.validation)
            (scores,) = score_text(
                engine, plan.categories, [prompt], labelled, total=total, progress=self.heartbeat
            )  # fmt: skip
        return replace(scores, weights=engine.text_model.sha256)

    def _ground_truth(self, ids: Sequence[int]) -> Iterator[LabelledImageData]:
        labels = {name: index for index, name in enumerate(self.plan.categories, start=1)}
        judges = set(self.plan.judged_by or ())
        for image, masks in self._images(ids):
            if judges:
                # what a model proposed says nothing about a model: its pixels do not count
                masks = [mask if mask.uid in judges else replace(mask, crowd=True) for mask in masks]
            empty = 0 if self.plan.background else IGNORED
            yield LabelledImageData(image, rasterize(masks, labels, image.size_hw, empty=empty))

    def _images(self, ids: Sequence[int]) -> Iterator[tuple[Image, list[Annotation]]]:
        by_image: dict[int, list[Annotation]] = {}
        for mask in self.masks:
            by_image.setdefault(mask.image_id, []).append(mask)
        for image_id in ids:
            self.heartbeat.check()
            yield self.project.images.open(image_id), by_image.get(image_id, [])


class _LossCurve:
    """Turns training steps into progress: loss curve of at most `_MAX_CURVE` points, and estimated time left."""

    def __init__(self, heartbeat: _Heartbeat) -> None:
        self._heartbeat, self._points = heartbeat, list(heartbeat.progress.curve or ())
        self._began, self._first = time.monotonic(), 0

    def add(self, step: TrainProgress) -> None:
        """Add one step."""
        self._first = self._first or step.step - 10
        self._points = [*self._points, (step.step, round(step.loss, 4))]
        if len(self._points) > _MAX_CURVE:
            self._points = self._points[::2]
        seconds_per_step = (time.monotonic() - self._began) / max(1, step.step - self._first)
        self._heartbeat.update(
            step=step.step, steps=step.steps, loss=round(step.loss, 4), curve=tuple(self._points),
            seconds_left=round(seconds_per_step * (step.steps - step.step)),
        )  # fmt: skip


def write_card(folder: Path, run: Run, before: Scores, after: Scores) -> None:
    """Write the model card and `run.json`: training data, settings and scores of the checkpoint."""
    plan = run.plan
    record = {
        "run": run.name, "recipe": run.recipe, "base": run.base, "version": __version__, "created_at": run.created_at,
        "plan": plan.to_dict(), "before": before.to_dict(), "after": after.to_dict(),
    }  # fmt: skip
    save_record(folder / RECORD, record)
    rows = [
        f"| {name} | {_cell(before.per_class.get(name))} | {_cell(value)} |" for name, value in after.per_class.items()
    ]
    where = f"images of `{Path(plan.measure_on).name}`" if plan.measure_on else "images of the project held out"
    card = f"""# {run.name}

Fine-tuned by Maskwright {__version__} on {run.created_at[:10]} from `{run.base}` (weights {before.weights}), recipe
`{run.recipe}`, seed {plan.seed}, on {len(plan.train)} images with {len(plan.masks)} accepted masks of
{len(plan.categories)} classes. It is trained for these classes; it may have forgotten others that the base knew. The
licence is that of the base, and of the training images.

Measured on {after.images} {where}: mIoU {before.miou:.3f} before, {after.miou:.3f} after.

| class | IoU before | IoU after |
| --- | --- | --- |
""" + "\n".join([*rows, ""])
    atomic_save(folder / "README.md", lambda file: file.write_text(card, encoding="utf-8"))


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def main() -> None:
    """Read project and run from standard input and do the run at low priority."""
    if hasattr(os, "nice"):
        # annotating goes first
        os.nice(5)
    job = json.loads(sys.stdin.readline())
    run_finetuning(job["project"], job["run"])


if __name__ == "__main__":
    main()
