"""Fine-tuning worker process: `python -m maskwright.project.finetune_worker`; its input names the project and the run.

It measures the base, trains, measures the result on the same images, and lets the checkpoint appear whole under its
name before the project's database says that the run is done. Killed at any instant, it leaves a row that others see
as interrupted and a hidden folder to resume from.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright import __version__
from maskwright.domain import Annotation, Image, Run
from maskwright.engine import Engine
from maskwright.errors import Cancelled, MaskwrightError
from maskwright.evaluation.metrics import IGNORED
from maskwright.evaluation.text import evaluate_text, score_text
from maskwright.files.atomic import atomic_save
from maskwright.formats.labelled_folder import truth
from maskwright.models.devices import choose_device
from maskwright.presets.loading import find, load_dinotxt
from maskwright.presets.weights import CONFIG, save_record
from maskwright.progress import Progress
from maskwright.project import Project
from maskwright.settings import Settings
from maskwright.training.finetune import finetune, sample, tuning_config
from maskwright.training.loop import STATE, TrainProgress

__all__ = ["carry_out", "write_card"]

log = logging.getLogger(__name__)

RECORD = "run.json"
_BEAT = 0.25
_CURVE = 200
"""Points of the loss curve that are kept."""


class _Pulse:
    """Tells the store once in a while that this process lives and what it has reached; hears the wish to stop."""

    def __init__(self, project: Project, run: Run) -> None:
        self._store, self._name = project.store, run.name
        self.progress: dict[str, Any] = dict(run.progress)
        self._before = run.before
        self._over = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> _Pulse:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()
        self._report()

    def stopped(self) -> bool:
        """Whether somebody wants this run to stop."""
        return self._stop.is_set()

    def tell(self, before: dict[str, Any] | None = None, **progress: Any) -> None:
        """Values for the next beat."""
        self.progress = self.progress | progress
        self._before = before or self._before

    def _beat(self) -> None:
        while not self._over.wait(_BEAT):
            self._report()

    def _report(self) -> None:
        try:
            if self._store.report_run(self._name, self.progress, self._before):
                self._stop.set()
        except MaskwrightError as error:
            # a database that is locked or full for a moment is no reason to lose hours of training
            log.warning("cannot report: %s", error)


def carry_out(where: str, name: str) -> None:
    """Do one run from beginning to end; whatever happens, the row says how it ended."""
    with Project.open(where) as project:
        run = project.store.run(name)
        try:
            with _Pulse(project, run) as pulse:
                after = _Work(project, run, pulse).do()
            made = f"checkpoints/{name}", str(after["weights"])
            project.store.end_run(name, "done", after=after, checkpoint=made)
        except Cancelled:
            project.store.end_run(name, "cancelled")
        except MaskwrightError as error:
            project.store.end_run(name, "failed", message=str(error))
        except Exception as error:
            logging.exception("run %s", name)
            kind = f"{type(error).__name__}: {error}".splitlines()[0]
            text = f"The run stopped on an unexpected failure ({kind}). Its log is {_log_of(project, name)}."
            project.store.end_run(name, "failed", message=text)


def _log_of(project: Project, name: str) -> Path:
    return project.runs.working_folder(name) / "log.txt"


class _Work:
    """The steps of a run, in order."""

    def __init__(self, project: Project, run: Run, pulse: _Pulse) -> None:
        self.project, self.run, self.pulse = project, run, pulse
        self.plan = run.plan
        self.device = str(choose_device(self.plan["device"]))
        masks = dict(self.plan["masks"])
        # a mask that was edited or deleted since the start is left out
        self.masks = [one for one in project.annotations() if masks.get(one.uid) == one.revision]

    def do(self) -> dict[str, Any]:
        """Scores of the result."""
        out, final = self.project.runs.working_folder(self.run.name), self.project.runs.folder_of(self.run.name)
        if final.is_dir():
            # killed between the folder's appearance and the row's last change
            return dict(json.loads((final / RECORD).read_text(encoding="utf-8"))["after"])
        base = self._base()
        before = self.run.before or self._measure(base, "measuring the base")
        self.pulse.tell(before=dict(before))
        self._train(base, out)
        after = self._measure(out, "measuring the result")
        write_card(out, self.project.runs.get(self.run.name), before, after)
        out.replace(final)
        for leftover in (STATE, "log.txt"):
            (final / leftover).unlink(missing_ok=True)
        return after

    def _base(self) -> Path:
        inside = self.project.folder / self.run.base
        return inside if (inside / CONFIG).is_file() else find(self.run.base, Settings.load())

    def _train(self, base: Path, out: Path) -> None:
        self.pulse.tell(phase="reading")
        preset = load_dinotxt(base)
        names, background = [str(name) for name in self.plan["categories"]], bool(self.plan["background"])
        samples = [
            sample(image, masks, names, background=background, preset=preset.settings)
            for image, masks in self._images(self.plan["train"])
        ]
        config = tuning_config(preset.settings, len(samples), epochs=self.plan["epochs"], seed=self.plan["seed"])
        self.pulse.tell(phase="training", step=0, steps=config.steps)
        done = finetune(
            preset, samples, names, config, out, recipe=self.run.recipe, background=background, device=self.device,
            on_step=_Curve(self.pulse).add, stopped=self.pulse.stopped,
        )  # fmt: skip
        if not done:
            raise Cancelled

    def _measure(self, preset: Path, phase: str) -> dict[str, Any]:
        """Scores on the held-out images, or on the folder that was named."""
        self.pulse.tell(phase=phase)
        engine = Engine.load(preset, self.device)
        told: dict[str, Any] = {
            "background": self.plan["background"],
            "progress": _Measuring(self.pulse),
        }
        if self.plan["measure_on"]:
            (scores,) = evaluate_text(engine, Path(self.plan["measure_on"]), **told)
        else:
            images = self.plan["validation"]
            (scores,) = score_text(engine, self.plan["categories"], self._truths(images), total=len(images), **told)
        return asdict(scores) | {"weights": engine.text_model.sha256}

    def _truths(self, ids: Sequence[int]) -> Iterator[tuple[Image, NDArray[np.int16]]]:
        names = {name: index for index, name in enumerate(self.plan["categories"], start=1)}
        for image, masks in self._images(ids):
            yield image, truth(masks, names, image.size_hw, empty=0 if self.plan["background"] else IGNORED)

    def _images(self, ids: Sequence[int]) -> Iterator[tuple[Image, list[Annotation]]]:
        by_image: dict[int, list[Annotation]] = {}
        for one in self.masks:
            by_image.setdefault(one.image_id, []).append(one)
        for image_id in ids:
            if self.pulse.stopped():
                raise Cancelled
            yield self.project.image(image_id), by_image.get(image_id, [])


class _Measuring(Progress):
    """Writes how many images are measured into the run's row."""

    def __init__(self, pulse: _Pulse) -> None:
        self._pulse = pulse

    def report(self, done: int, total: int, stage: str = "") -> None:
        self._pulse.tell(done=done, total=total, stage=stage)

    def cancelled(self) -> bool:
        return self._pulse.stopped()


class _Curve:
    """Turns steps into progress: the loss so far, thinned to a few hundred points, and the time left."""

    def __init__(self, pulse: _Pulse) -> None:
        self._pulse, self._points = pulse, list(pulse.progress.get("curve", ()))
        self._began, self._first = time.monotonic(), 0

    def add(self, step: TrainProgress) -> None:
        """Take one more step."""
        self._first = self._first or step.step - 10
        self._points = [*self._points, [step.step, round(step.loss, 4)]]
        if len(self._points) > _CURVE:
            self._points = self._points[::2]
        each = (time.monotonic() - self._began) / max(1, step.step - self._first)
        self._pulse.tell(
            step=step.step, steps=step.steps, loss=round(step.loss, 4), curve=self._points,
            seconds_left=round(each * (step.steps - step.step)),
        )  # fmt: skip


def write_card(folder: Path, run: Run, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    """The model card and `run.json`: what it was made of and what it scored, for people and for programs."""
    record = {
        "run": run.name, "recipe": run.recipe, "base": run.base, "version": __version__, "created_at": run.created_at,
        "plan": dict(run.plan), "before": dict(before), "after": dict(after),
    }  # fmt: skip
    save_record(folder / RECORD, record)
    plan = run.plan
    rows = [
        f"| {name} | {_shown(before['per_class'].get(name))} | {_shown(value)} |"
        for name, value in after["per_class"].items()
    ]
    where = f"`{Path(plan['measure_on']).name}`" if plan["measure_on"] else "images of the project kept out of training"
    card = f"""# {run.name}

Fine-tuned by Maskwright {__version__} on {run.created_at[:10]} from `{run.base}` (weights {before["weights"]}), recipe
`{run.recipe}`, seed {plan["seed"]}, on {len(plan["train"])} images with {len(plan["masks"])} accepted masks of
{len(plan["categories"])} classes. It finds these classes; what else the base knew may be forgotten. The licence is
that of the base, and of the pictures it learnt from.

Measured on {after["images"]} {where}: mIoU {before["miou"]:.3f} before, {after["miou"]:.3f} after.

| class | IoU before | IoU after |
| --- | --- | --- |
""" + "\n".join([*rows, ""])
    atomic_save(folder / "README.md", lambda file: file.write_text(card, encoding="utf-8"))


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


if __name__ == "__main__":
    if hasattr(os, "nice"):
        # whoever annotates meanwhile goes first
        os.nice(5)
    told = json.loads(sys.stdin.readline())
    carry_out(told["project"], told["run"])
