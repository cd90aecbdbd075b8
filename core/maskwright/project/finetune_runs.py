"""Fine-tuning runs of a project: start, watch, cancel, resume, and choose the active checkpoint.

A run is a row of the store, which its process keeps up to date, and a folder `checkpoints/NAME`. The process works in
`checkpoints/.NAME` and renames that folder when it is complete, before the row says that the run is done.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TypedDict

from maskwright.domain import AnnotationKey, FinetunePlan, ImageRecord, Run
from maskwright.errors import Cancelled, MaskwrightError, UsageError
from maskwright.formats.labelled_folder import LabelledFolder
from maskwright.project import jobs
from maskwright.project.image_folder import ImageFolder
from maskwright.project.similar_images import by_sequence, similar_images, split_notes
from maskwright.store import NewRun, Store
from maskwright.store.db_errors import cannot_write
from maskwright.training.finetune.recipes import DEFAULT_RECIPE, recipe_name
from maskwright.training.split import make_plan

__all__ = ["ANSWERS", "DEFAULT_OPTIONS", "FinetuneOptions", "FinetuneRun", "Runs", "TuneOptions"]

ANSWERS = "answers.json"
"""File of a checkpoint with the answers of base and result on the held-out images."""
_SILENCE = 20.0
"""Seconds without a report after which a run's process counts as dead, where nothing else says whether it lives."""
_START = 3.0
"""Seconds that a process gets to appear."""
_PROMPTED = "prompted"
"""File of a working folder whose age says when somebody last asked a model something."""
_POLL = 0.2
"""Seconds between two looks at a run that is waited for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetuneOptions:
    """Settings of a run; see `Project.finetune`."""

    recipe: str = DEFAULT_RECIPE
    task: str = "text"
    method: str | None = None
    base: str | None = None
    epochs: int | None = None
    measure_on: Path | None = None
    log_dir: Path | None = None
    device: str = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.task not in ("text", "click"):
            raise UsageError(f"Fine-tuning has no task {self.task}. Use text or click.")
        if self.task == "click" and (self.method or self.measure_on):
            raise UsageError("A method and a folder to measure on go with the task text. Leave them out.")


DEFAULT_OPTIONS = FinetuneOptions()


class TuneOptions(TypedDict, total=False):
    """Keyword options of `Project.finetune`."""

    recipe: str
    task: str
    method: str | None
    epochs: int | None
    log_dir: Path | None
    device: str
    seed: int


class FinetuneRun:
    """Handle of a started run."""

    def __init__(self, runs: Runs, name: str) -> None:
        self._runs, self.name = runs, name

    @property
    def checkpoint(self) -> Path:
        """Folder of the result, usable as a preset; it exists once the run is done."""
        return self._runs.folder_of(self.name)

    def status(self) -> Run:
        """Current state of the run."""
        return self._runs.get(self.name)

    def cancel(self) -> None:
        """Ask the run to stop; `Runs.resume` continues it."""
        self._runs.cancel(self.name)

    def wait(self, on_update: Callable[[Run], None] = lambda run: None) -> Run:
        """Block until the run has ended.

        Args:
            on_update: Called with the run several times a second.

        Returns:
            The run in its final state: done or paused.

        Raises:
            Cancelled: A user cancelled it.
            MaskwrightError: It failed, or its process is gone.
        """
        while (run := self.status()).going:
            on_update(run)
            time.sleep(_POLL)
        on_update(run)
        if run.state == "cancelled":
            raise Cancelled
        if run.state not in ("done", "paused"):
            raise MaskwrightError(run.message or f"The run {self.name} is {run.state}. Resume it.")
        return run


class Runs:
    """Fine-tuning runs of one project."""

    def __init__(self, where: str, folder: Path, store: Store) -> None:
        """Manage the runs of a project.

        Args:
            where: Folder or database URL by which another process opens the project.
            folder: Folder of the project.
            store: Its database.
        """
        self._where, self._store = where, store
        self._home = folder / "checkpoints"
        self._jobs: dict[str, jobs.Job] = {}

    def start(self, *, user: str, options: FinetuneOptions = DEFAULT_OPTIONS) -> FinetuneRun:
        """Fix the training data and start a process; see `Project.finetune` for errors."""
        return self._launch(self.prepare(user=user, options=options))

    def prepare(self, *, user: str, options: FinetuneOptions = DEFAULT_OPTIONS) -> str:
        """Fix the training data of a run that the caller carries out; returns its name."""
        recipe = recipe_name(options.recipe)
        earlier = self.all()
        running = [run.name for run in earlier if run.going]
        if running:
            raise MaskwrightError(f"The run {running[0]} is still going on. Wait for it, or pause or cancel it first.")
        plan = self._frozen_plan(options)
        name = self._new_name(self._store.runs.names())
        active = self.active()
        base = options.base or (f"checkpoints/{active}" if active else "tiny")
        if (Path(base).expanduser() / "config.json").is_file():
            # the process may have another working directory, now or when it is resumed
            base = str(Path(base).expanduser().absolute())
        self._store.runs.add(NewRun(name, recipe, base, plan, user))
        return name

    def plan(
        self, *, hold_out: bool = True, seed: int = 0, groups: Sequence[Collection[int]] | None = None
    ) -> FinetunePlan:
        """Classes, masks and split of a run that is started now.

        Args:
            hold_out: Keep images out of training; False when a labelled folder is measured instead.
            seed: Of the split.
            groups: Images that stay on one side; None goes by file names alone, which is quick.

        Raises:
            MaskwrightError: Too few masks or images; see `make_plan`.
        """
        former = {image for run in self._store.runs.all() for image in run.plan.validation}
        drawn = self._store.masks.made_by_people()
        keys = self._store.masks.accepted_keys()
        if groups is None:
            groups = by_sequence(self._annotated(keys))
        plan = make_plan(keys, hold_out=hold_out, former=former, drawn=drawn, groups=groups, seed=seed)
        images = {*plan.train, *plan.validation}
        complete = [row.record.id for row in self._store.images.page(limit=None) if row.review == "complete"]
        return replace(
            plan,
            complete=tuple(key for key in complete if key in images),
            rejected=tuple(self._store.masks.rejected_keys(images)),
            notes=split_notes(plan, groups),
        )

    def _annotated(self, keys: Sequence[AnnotationKey]) -> list[ImageRecord]:
        ids = {key.image_id for key in keys}
        return [record for record in self._store.images.all() if record.id in ids]

    def _frozen_plan(self, options: FinetuneOptions) -> FinetunePlan:
        """The plan of a run that starts, with its settings."""
        records = self._annotated(self._store.masks.accepted_keys())
        groups = similar_images(records, ImageFolder(self._home.parent / "images").path_of)
        plan = self.plan(hold_out=options.measure_on is None, seed=options.seed, groups=groups)
        folder = None
        if options.measure_on is not None:
            # fails now instead of after hours of training
            folder = str(LabelledFolder.read(options.measure_on.expanduser().absolute()).folder)
        return replace(
            plan, epochs=options.epochs, device=options.device, measure_on=folder, task=options.task,
            method=options.method, log_dir=None if options.log_dir is None else str(options.log_dir.absolute()),
        )  # fmt: skip

    def delete(self, name: str, *, user: str) -> None:
        """Remove a run with its checkpoint from the disk; its row stays in the history.

        Args:
            name: A run that is not running.
            user: Recorded in the history.

        Raises:
            MaskwrightError: There is no such run; or it is running or in use, or a run in use started from it.
        """
        run, active = self.get(name), self.active()
        if run.going:
            raise MaskwrightError(f"The run {name} is running. Cancel it first.")
        if name == active:
            raise MaskwrightError(f"The model of {name} is in use. Use another model first.")
        if active is not None and self.get(active).base == f"checkpoints/{name}":
            raise MaskwrightError(f"The model in use, {active}, started from {name}. Use another model first.")
        self._store.runs.delete(name, user)
        for folder in (self.folder_of(name), self.working_folder(name)):
            shutil.rmtree(folder, ignore_errors=True)

    def resume(self, name: str, *, user: str) -> FinetuneRun:
        """Continue a run that was paused, cancelled, failed or interrupted, with the same masks, split and settings.

        Raises:
            MaskwrightError: It is running or done, or there is no such run.
        """
        run = self.get(name)
        if run.going or run.state == "done":
            raise MaskwrightError(f"The run {name} is {run.state}; there is nothing to resume.")
        self._store.runs.resume(name, user)
        return self._launch(name)

    def all(self) -> list[Run]:
        """All runs, the oldest first."""
        return [self._checked(run) for run in self._store.runs.all()]

    def last(self) -> Run | None:
        """Latest run, or None."""
        run = self._store.runs.last()
        return None if run is None else self._checked(run)

    def get(self, name: str) -> Run:
        """One run by name.

        Raises:
            MaskwrightError: There is no such run.
        """
        return self._checked(self._store.runs.get(name))

    def cancel(self, name: str) -> None:
        """Ask a running run to stop; has no effect on one that is not running."""
        if self.get(name).going:
            self._store.runs.request_stop(name)

    def pause(self, name: str) -> None:
        """Ask a running run to save its state after the step that it does, and to stop; `resume` continues it.

        Raises:
            MaskwrightError: It is not running, or there is no such run.
        """
        run = self.get(name)
        if not run.going:
            raise MaskwrightError(f"The run {name} is {run.state}; there is nothing to pause.")
        self._store.runs.request_stop(name, pause=True)

    def handle(self, name: str) -> FinetuneRun:
        """A run that another program started; raises MaskwrightError when there is none."""
        return FinetuneRun(self, self.get(name).name)

    def note_prompt(self) -> None:
        """Let a run that trains on this computer wait a moment, because somebody asks a model something."""
        for note in self._home.glob(f".*/{jobs.NOTE}"):
            with contextlib.suppress(OSError):
                (note.parent / _PROMPTED).touch()

    def wait_for_prompts(self, name: str, seconds: float, stop: Callable[[], bool]) -> None:
        """Return when nobody has asked a model anything for some seconds, or when `stop` says so."""
        file = self.working_folder(name) / _PROMPTED
        while not stop():
            try:
                age = time.time() - file.stat().st_mtime
            except OSError:
                return
            # a clock that was set back must not hold a run up
            if not 0 <= age < seconds:
                return
            time.sleep(_POLL)

    def folder_of(self, name: str) -> Path:
        """Checkpoint folder of a run, which exists once it is done."""
        return self._home / name

    def working_folder(self, name: str) -> Path:
        """Folder in which a run works until it is done; kept for resuming."""
        return self._home / f".{name}"

    def activate(self, name: str | None, *, user: str) -> None:
        """Choose the model that the project uses.

        Args:
            name: A run that is done; None goes back to the preset that the front end was started with.
            user: Recorded in the history.

        Raises:
            MaskwrightError: There is no such run, it is not done, or its folder is missing.
        """
        if name is not None and self.get(name).state == "done" and not self.folder_of(name).is_dir():
            raise MaskwrightError(f"The folder {self.folder_of(name)} is missing. Put it back, or choose another run.")
        self._store.runs.activate(name, user)

    def active(self) -> str | None:
        """Name of the run whose checkpoint the project uses, or None."""
        return self._store.runs.active()

    def model(self) -> str | None:
        """Folder of the active checkpoint; None is the preset that the front end was started with."""
        name = self.active()
        return None if name is None else str(self.folder_of(name))

    def use_preset(self, preset: str, tasks: Collection[str], *, user: str) -> None:
        """Use a preset for some tasks, in every window on this project; see `RunStore.use_preset`."""
        self._store.runs.use_preset(preset, tasks, user)

    def presets(self) -> dict[str, str]:
        """Presets that were chosen for this project, by task: text, example, click."""
        return self._store.runs.presets()

    def _launch(self, name: str) -> FinetuneRun:
        try:
            self.working_folder(name).mkdir(parents=True, exist_ok=True)
            log = self.working_folder(name) / "log.txt"
            self._jobs[name] = jobs.start(
                "maskwright.project.finetune_worker", {"project": self._where, "run": name}, log
            )
        except OSError as error:
            failure = cannot_write(self._home, error)
            self._store.runs.end(name, "failed", message=str(failure))
            raise failure from error
        return FinetuneRun(self, name)

    def _checked(self, run: Run) -> Run:
        """The run, as interrupted when its row says running but its process is gone."""
        if not run.going:
            return run
        job = self._jobs.get(run.name)
        # our own child tells whether it lives; on a busy machine it may be silent for long before its first report
        silent = job is None and (datetime.now(UTC) - datetime.fromisoformat(run.updated_at)).total_seconds() > _SILENCE
        # our own child may have ended a moment after its row was read
        gone = job is not None and not job.alive and self._store.runs.get(run.name).going
        alive = job.alive if job is not None else jobs.is_alive(self.working_folder(run.name))
        if alive:
            # a busy machine may leave it no time to report
            return run
        # right after the start, the note beside the log may still name the process before
        limit = _SILENCE if alive is None else _START
        silent = (datetime.now(UTC) - datetime.fromisoformat(run.updated_at)).total_seconds() > limit
        if silent or gone:
            return replace(run, state="interrupted", message="Its process has ended. Resume it to go on.")
        return run if job is None else self._store.runs.get(run.name)

    def _new_name(self, taken: set[str]) -> str:
        number = len(taken) + 1
        while f"run-{number}" in taken or self.folder_of(f"run-{number}").exists():
            number += 1
        return f"run-{number}"
