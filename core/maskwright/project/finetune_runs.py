"""Fine-tuning runs of a project: start, watch, stop and resume them, and choose whose result is used.

A run is a row of the store, which its process keeps up to date, and a folder `checkpoints/NAME` that appears whole,
under its name, before the row says that the run is done. Until then it works in `checkpoints/.NAME`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from maskwright.domain import Run
from maskwright.errors import Cancelled, MaskwrightError
from maskwright.formats.labelled_folder import LabelledFolder
from maskwright.project import jobs
from maskwright.store import NewRun, Store
from maskwright.store.db_errors import cannot_write
from maskwright.training.split import Plan, make_plan

__all__ = ["FinetuneRun", "Runs"]

RECIPES = ("full", "head")
_SILENCE = 20.0
"""Seconds without a sign of life after which a run's process is taken for dead."""
_LOOK = 0.2


class FinetuneRun:
    """A run as the one who started it sees it."""

    def __init__(self, runs: Runs, name: str) -> None:
        self._runs, self.name = runs, name

    @property
    def checkpoint(self) -> Path:
        """Folder of the result, a preset anywhere; it is there once the run is done."""
        return self._runs.folder_of(self.name)

    def status(self) -> Run:
        """Where it stands."""
        return self._runs.get(self.name)

    def cancel(self) -> None:
        """Ask it to stop; `Project.resume` goes on from there."""
        self._runs.cancel(self.name)

    def wait(self, progress: Callable[[Run], None] = lambda run: None) -> Run:
        """The run when it is done.

        Raises:
            Cancelled: somebody stopped it.
            MaskwrightError: it failed, or its process is gone.
        """
        while (run := self.status()).state == "running":
            progress(run)
            time.sleep(_LOOK)
        progress(run)
        if run.state == "cancelled":
            raise Cancelled
        if run.state != "done":
            raise MaskwrightError(run.message or f"The run {self.name} is {run.state}. Resume it.")
        return run


class Runs:
    """The runs of one project."""

    def __init__(self, where: str, folder: Path, store: Store) -> None:
        """Take what names the project for another process, its folder and its store."""
        self._where, self._store = where, store
        self._home = folder / "checkpoints"
        self._jobs: dict[str, jobs.Job] = {}

    def start(
        self,
        *,
        who: str,
        recipe: str = "full",
        base: str | None = None,
        epochs: int | None = None,
        measure_on: Path | None = None,
        device: str = "auto",
        seed: int = 0,
    ) -> FinetuneRun:
        """Freeze the accepted masks and start a process that learns from them; arguments as `Project.finetune`."""
        if recipe not in RECIPES:
            raise MaskwrightError(f"There is no recipe {recipe}. Known: {', '.join(RECIPES)}.")
        earlier = self.all()
        running = [run.name for run in earlier if run.state == "running"]
        if running:
            raise MaskwrightError(f"The run {running[0]} is still going on. Wait for it, or cancel it first.")
        plan = self.plan(hold_out=measure_on is None, seed=seed)
        measured = None
        if measure_on is not None:
            # hours later would be late to say that it is not one
            measured = str(LabelledFolder.read(measure_on.expanduser().absolute()).folder)
        settings = {"epochs": epochs, "measure_on": measured, "device": device}
        name = self._new_name({run.name for run in earlier})
        active = self.active()
        base = base or (f"checkpoints/{active}" if active else "tiny")
        if (Path(base).expanduser() / "config.json").is_file():
            # the process, and whoever resumes it, may work in another folder
            base = str(Path(base).expanduser().absolute())
        self._store.add_run(NewRun(name, recipe, base, plan.to_dict() | settings, who))
        return self._go(name)

    def plan(self, *, hold_out: bool = True, seed: int = 0) -> Plan:
        """What a run that is started now would learn from; raises MaskwrightError when that is too little."""
        former = {image for run in self._store.runs() for image in run.plan.get("validation", ())}
        return make_plan(self._store.accepted_keys(), hold_out=hold_out, former=former, seed=seed)

    def resume(self, name: str, *, who: str) -> FinetuneRun:
        """Go on with a run that was cancelled, failed or interrupted, with the same masks, split and settings."""
        state = self.get(name).state
        if state in ("running", "done"):
            raise MaskwrightError(f"The run {name} is {state}; there is nothing to resume.")
        self._store.resume_run(name, who)
        return self._go(name)

    def all(self) -> list[Run]:
        """All runs, the oldest first."""
        return [self._seen(run) for run in self._store.runs()]

    def last(self) -> Run | None:
        """The run that was started last, or None."""
        run = self._store.last_run()
        return None if run is None else self._seen(run)

    def get(self, name: str) -> Run:
        """One run; raises MaskwrightError when there is none of this name."""
        return self._seen(self._store.run(name))

    def cancel(self, name: str) -> None:
        """Ask a running run to stop; one that is not running stays as it is."""
        if self.get(name).state == "running":
            self._store.stop_run(name)

    def folder_of(self, name: str) -> Path:
        """Where the result of a run is, or will be."""
        return self._home / name

    def working_folder(self, name: str) -> Path:
        """Where a run works until it is done; it stays for resuming."""
        return self._home / f".{name}"

    def activate(self, name: str | None, *, who: str) -> None:
        """Use a run's result from now on, or with None what the project started with; raises as the store does."""
        if name is not None and self.get(name).state == "done" and not self.folder_of(name).is_dir():
            raise MaskwrightError(f"The folder {self.folder_of(name)} is missing. Put it back, or choose another run.")
        self._store.activate(name, who)

    def active(self) -> str | None:
        """The run whose result is used, or None."""
        return self._store.active()

    def model(self) -> str | None:
        """Folder of the checkpoint that is used, or None for the model the front end was started with."""
        name = self.active()
        return None if name is None else str(self.folder_of(name))

    def _go(self, name: str) -> FinetuneRun:
        try:
            self.working_folder(name).mkdir(parents=True, exist_ok=True)
            log = self.working_folder(name) / "log.txt"
            self._jobs[name] = jobs.start(
                "maskwright.project.finetune_worker", {"project": self._where, "run": name}, log
            )
        except OSError as error:
            failure = cannot_write(self._home, error)
            self._store.end_run(name, "failed", message=str(failure))
            raise failure from error
        return FinetuneRun(self, name)

    def _seen(self, run: Run) -> Run:
        """A run whose process is gone without a word is interrupted, whatever its row says."""
        if run.state != "running":
            return run
        silent = (datetime.now(UTC) - datetime.fromisoformat(run.updated_at)).total_seconds() > _SILENCE
        job = self._jobs.get(run.name)
        # our own child may have ended a moment after its row was read
        gone = job is not None and not job.alive and self._store.run(run.name).state == "running"
        if silent or gone:
            return replace(run, state="interrupted", message="Its process has ended. Resume it to go on.")
        return run if job is None or job.alive else self._store.run(run.name)

    def _new_name(self, taken: set[str]) -> str:
        number = len(taken) + 1
        while f"run-{number}" in taken or self.folder_of(f"run-{number}").exists():
            number += 1
        return f"run-{number}"
