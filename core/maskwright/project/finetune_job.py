"""The steps of a fine-tuning run: measure the base, train, measure the result, publish the checkpoint."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from maskwright.domain import Run, Scores
from maskwright.engine import Engine
from maskwright.errors import Cancelled, MaskwrightError
from maskwright.files.event_file import EventFile
from maskwright.models.devices import choose_device
from maskwright.presets.config_io import sections
from maskwright.presets.folders import CONFIG, find
from maskwright.presets.loading import Preset
from maskwright.progress import Progress
from maskwright.project import Project, jobs
from maskwright.project.finetune_card import RECORD, write_card
from maskwright.project.finetune_data import RunData, sample_images
from maskwright.project.finetune_measure import (
    ClickMeasurement,
    LiveMeasurement,
    TextMeasurement,
    agreement_with_base,
    measure_folder,
)
from maskwright.project.finetune_needs import needs
from maskwright.settings import Settings
from maskwright.training.finetune.run import TuneRequest, tune
from maskwright.training.loop import STATE, RunOptions, TrainProgress

__all__ = ["FinetuneJob", "Reporter"]

_MAX_CURVE = 200
"""Largest number of points of the stored loss curve."""
_WATCHED = 4
"""Held-out images on which the model is measured while it learns."""
_YIELD = 1.0
"""Seconds that a run waits after somebody asked a model something."""


class Reporter(Protocol):
    """Where a run reports to."""

    progress: Any
    before: Scores | None

    def update(self, **fields: Any) -> None:
        """Change fields of the progress."""
        ...

    def note(self, sentence: str) -> None:
        """Add a sentence for the user."""
        ...


class FinetuneJob:
    """One run."""

    def __init__(self, project: Project, run: Run, heartbeat: Any) -> None:
        self.project, self.run, self.heartbeat = project, run, heartbeat
        self.plan = run.plan
        self.device = str(choose_device(self.plan.device))
        self.data = RunData(project, self.plan)
        self.out = project.runs.working_folder(run.name)
        self.out.mkdir(parents=True, exist_ok=True)
        self._base = self._base_folder()
        self._answers: dict[str, dict[int, dict[str, Any]]] = {}

    def work(self) -> Scores:
        """Measure, train, measure again, publish the checkpoint; returns the scores of the result."""
        final = self.project.runs.folder_of(self.run.name)
        if final.is_dir():
            # the process was killed after the folder was renamed and before the row was changed
            return Scores.from_dict(json.loads((final / RECORD).read_text(encoding="utf-8"))["after"])
        plan, out = self.plan, self.out
        need = needs(self._base, plan, self.run.recipe, plan.device)
        if need is not None:
            self.heartbeat.note(need.sentence)
        before = self._measured([(self._base, self._judged_ids())], "measuring the base", "before")
        self.heartbeat.before = before
        parts = []
        for number, fold in enumerate(plan.folds, start=1):
            title = f"part {number} of {len(plan.folds)}: "
            rest = [key for key in plan.train if key not in fold]
            parts.append((self._train(rest, out / f"part-{number}", title, fold), fold))
        self._train(plan.train, out, "", plan.validation)
        after = self._measured(parts or [(out, plan.validation)], "measuring the result", "after")
        if plan.folds:
            # what was measured are the parts' models; the result has learned from all
            after = replace(after, weights=self._weights(out))
        after = self._with_agreement(after)
        self._publish(before, after, final)
        return after

    def _judged_ids(self) -> Sequence[int]:
        plan = self.plan
        return [key for fold in plan.folds for key in fold] if plan.folds else plan.validation

    def _base_folder(self) -> Path:
        inside = self.project.folder / self.run.base
        return inside if (inside / CONFIG).is_file() else find(self.run.base, Settings.load())

    def _weights(self, folder: Path) -> str:
        """Hash of the weights that answer."""
        text = self.plan.task == "text"
        part = Engine.load(folder, "cpu").text_method(self.plan.method) if text else "sam"
        return str(sections(folder)[part]["sha256"])

    def _train(self, ids: Sequence[int], out: Path, title: str, held_out: Sequence[int]) -> Path:
        if (out / CONFIG).is_file():
            return out
        plan = self.plan
        replayed = sample_images()[0] if plan.task == "text" else []
        request = TuneRequest(
            task=plan.task, method=plan.method, recipe=self.run.recipe, images=self.data.training(ids),
            replayed=replayed, names=plan.categories, background=plan.background, epochs=plan.epochs, seed=plan.seed,
            encodings=self.out / "encodings",
        )  # fmt: skip
        self.heartbeat.update(phase=f"{title}training", step=None, steps=None)
        watched = held_out[:: -(-len(held_out) // _WATCHED)] if held_out else ()
        live = LiveMeasurement(plan, list(self.data.held_out(watched)), self.device, self.heartbeat)
        curves = _Curves(self.heartbeat, title, self._events() if out == self.out else None, live)
        options = RunOptions(
            device=self.device, progress=_Titled(self.heartbeat, title), on_note=self.heartbeat.note,
            on_step=curves.add, measure=curves.measure if watched else None,
            before_step=lambda: self.project.runs.wait_for_prompts(self.run.name, _YIELD, self.heartbeat.cancelled),
        )  # fmt: skip
        if not tune(self._base, request, out, options):
            raise Cancelled
        return out

    def _events(self) -> EventFile | None:
        folder = self.plan.log_dir
        return None if folder is None else EventFile(Path(folder) / self.run.name)

    def _measured(self, models: Sequence[tuple[Path, Sequence[int]]], phase: str, name: str) -> Scores:
        """Scores of one model, or of each part's on the images that it did not learn from."""
        if name == "before" and self.run.before is not None and (self.out / f"{name}.json").is_file():
            stored = json.loads((self.out / f"{name}.json").read_text(encoding="utf-8"))
            self._answers[name] = {int(key): value for key, value in stored.items()}
            return self.run.before
        self.heartbeat.update(phase=phase)
        plan, total = self.plan, sum(len(ids) for _, ids in models)
        measurement = ClickMeasurement(plan) if plan.task == "click" else TextMeasurement(plan, plan.method)
        for folder, ids in models:
            engine = Engine.load(folder, self.device)
            if plan.measure_on and plan.task == "text":
                return measure_folder(engine, plan, plan.method, self._weights(folder), self.heartbeat)
            measurement.add(engine, self.data.held_out(ids), self.heartbeat, len(measurement.answers), total)
        self._answers[name] = measurement.answers
        (self.out / f"{name}.json").write_text(json.dumps(measurement.answers), encoding="utf-8")
        return measurement.scores(engine, self._weights(models[0][0]))

    def _with_agreement(self, after: Scores) -> Scores:
        if self.plan.task != "text":
            return after
        self.heartbeat.update(phase="comparing with the base")
        base, tuned = Engine.load(self._base, self.device), Engine.load(self.out, self.device)
        alike = agreement_with_base(base, tuned, sample_images()[1], self.plan.method, self.heartbeat)
        return replace(after, agreement=alike)

    def _publish(self, before: Scores, after: Scores, final: Path) -> None:
        keys = self._answers.get("before", {})
        answers = {
            str(key): {"before": keys[key], "after": self._answers["after"][key]}
            for key in keys
            if key in self._answers.get("after", {})
        }
        run = replace(self.run, progress=self.heartbeat.progress)
        write_card(self.out, run, before, after, answers)
        for leftover in (STATE, "clicks.pt", "before.json", "after.json"):
            (self.out / leftover).unlink(missing_ok=True)
        for folder in ("encodings", "embeddings", *(f"part-{n}" for n in range(1, len(self.plan.folds) + 1))):
            shutil.rmtree(self.out / folder, ignore_errors=True)
        self.out.replace(final)
        for leftover in ("log.txt", jobs.NOTE):
            (final / leftover).unlink(missing_ok=True)


class _Titled(Progress):
    """Passes reports on with the part of the cross-validation before the stage."""

    def __init__(self, heartbeat: Any, title: str) -> None:
        self._heartbeat, self._title = heartbeat, title

    def report(self, done: int, total: int, stage: str = "") -> None:
        # steps are reported with their loss
        if stage:
            self._heartbeat.report(done, total, f"{self._title}{stage.lower()}")

    def cancelled(self) -> bool:
        return bool(self._heartbeat.cancelled())


class _Curves:
    """Turns training steps into progress: loss of at most `_MAX_CURVE` points, metric, and estimated time left."""

    def __init__(self, heartbeat: Any, title: str, events: EventFile | None, live: LiveMeasurement) -> None:
        self._heartbeat, self._title, self._events, self._live = heartbeat, title, events, live
        # a resumed run has the beginning
        same = heartbeat.progress.part == title
        self._points = list(heartbeat.progress.curve or ()) if same else []
        self._metrics = list(heartbeat.progress.metrics or ()) if same else []
        heartbeat.update(part=title, curve=tuple(self._points), metrics=tuple(self._metrics))
        self._began, self._first = time.monotonic(), 0

    def measure(self, preset: Preset, step: int) -> None:
        """Add a measurement; raises Cancelled."""
        value = round(self._live(preset), 4)
        if self._events is not None:
            self._events.add(step, {"held out": value})
        self._metrics = [*(point for point in self._metrics if point[0] < step), (step, value)]
        self._heartbeat.update(metrics=tuple(self._metrics))

    def add(self, step: TrainProgress) -> None:
        """Add one step."""
        if self._events is not None:
            self._events.add(step.step, {"loss": step.loss, **step.parts})
        self._first = self._first or step.step - 10
        self._points = [*(point for point in self._points if point[0] < step.step), (step.step, round(step.loss, 4))]
        if len(self._points) > _MAX_CURVE:
            self._points = self._points[::2]
        seconds_per_step = (time.monotonic() - self._began) / max(1, step.step - self._first)
        self._heartbeat.update(
            phase=f"{self._title}training", step=step.step, steps=step.steps, loss=round(step.loss, 4),
            curve=tuple(self._points), seconds_left=round(seconds_per_step * (step.steps - step.step)),
        )  # fmt: skip


def check_base(folder: Path, task: str) -> None:
    """Raise MaskwrightError when a base cannot learn a task."""
    if task == "click" and "sam" not in sections(folder):
        raise MaskwrightError(f"{folder.name} does not take clicks, so nothing can learn from them. Use tiny or sam-b.")
