"""Fine-tuning runs of a project: start, watch, cancel, resume, and choose the active checkpoint.

A run is a row of the store, which its process keeps up to date, and a folder `checkpoints/NAME`. The process works in
`checkpoints/.NAME` and renames that folder when it is complete, before the row says that the run is done.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from maskwright.domain import FinetunePlan, Run
from maskwright.errors import Cancelled, MaskwrightError
from maskwright.formats.labelled_folder import LabelledFolder
from maskwright.project import jobs
from maskwright.store import NewRun, Store
from maskwright.store.db_errors import cannot_write
from maskwright.training.split import make_plan

__all__ = ["FinetuneRun", "Runs"]

RECIPES = ("full", "head")
_SILENCE = 20.0
"""Seconds without a report after which a run's process counts as dead, where nothing else says whether it lives."""
_START = 3.0
"""Seconds that a process gets to appear."""
_POLL = 0.2
"""Seconds between two looks at a run that is waited for."""


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
            The run in its final state.

        Raises:
            Cancelled: A user cancelled it.
            MaskwrightError: It failed, or its process is gone.
        """
        while (run := self.status()).state == "running":
            on_update(run)
            time.sleep(_POLL)
        on_update(run)
        if run.state == "cancelled":
            raise Cancelled
        if run.state != "done":
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

    def start(
        self,
        *,
        user: str,
        recipe: str = "full",
        base: str | None = None,
        epochs: int | None = None,
        measure_on: Path | None = None,
        device: str = "auto",
        seed: int = 0,
    ) -> FinetuneRun:
        """Fix the training data and start a process; see `Project.finetune` for arguments and errors."""
        if recipe not in RECIPES:
            raise MaskwrightError(f"There is no recipe {recipe}. Known: {', '.join(RECIPES)}.")
        earlier = self.all()
        running = [run.name for run in earlier if run.state == "running"]
        if running:
            raise MaskwrightError(f"The run {running[0]} is still going on. Wait for it, or cancel it first.")
        plan = replace(self.plan(hold_out=measure_on is None, seed=seed), epochs=epochs, device=device)
        if measure_on is not None:
            # fails now instead of after hours of training
            folder = LabelledFolder.read(measure_on.expanduser().absolute()).folder
            plan = replace(plan, measure_on=str(folder))
        name = self._new_name({run.name for run in earlier})
        active = self.active()
        base = base or (f"checkpoints/{active}" if active else "tiny")
        if (Path(base).expanduser() / "config.json").is_file():
            # the process may have another working directory, now or when it is resumed
            base = str(Path(base).expanduser().absolute())
        self._store.runs.add(NewRun(name, recipe, base, plan, user))
        return self._launch(name)

    def plan(self, *, hold_out: bool = True, seed: int = 0) -> FinetunePlan:
        """Classes, masks and split of a run that is started now.

        Raises:
            MaskwrightError: Too few masks or images; see `make_plan`.
        """
        former = {image for run in self._store.runs.all() for image in run.plan.validation}
        drawn = self._store.masks.made_by_people()
        return make_plan(self._store.masks.accepted_keys(), hold_out=hold_out, former=former, drawn=drawn, seed=seed)

    def resume(self, name: str, *, user: str) -> FinetuneRun:
        """Continue a run that was cancelled, failed or interrupted, with the same masks, split and settings.

        Raises:
            MaskwrightError: It is running or done, or there is no such run.
        """
        state = self.get(name).state
        if state in ("running", "done"):
            raise MaskwrightError(f"The run {name} is {state}; there is nothing to resume.")
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
        if self.get(name).state == "running":
            self._store.runs.request_stop(name)

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
        if run.state != "running":
            return run
        job = self._jobs.get(run.name)
        # our own child tells whether it lives; on a busy machine it may be silent for long before its first report
        silent = job is None and (datetime.now(UTC) - datetime.fromisoformat(run.updated_at)).total_seconds() > _SILENCE
        # our own child may have ended a moment after its row was read
        gone = job is not None and not job.alive and self._store.runs.get(run.name).state == "running"
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
