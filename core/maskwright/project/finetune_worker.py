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
from dataclasses import replace
from typing import Any

from maskwright.domain import Run
from maskwright.errors import Cancelled, MaskwrightError
from maskwright.progress import Progress
from maskwright.project import Project
from maskwright.project.finetune_job import FinetuneJob
from maskwright.store import Store
from maskwright.store.db_errors import cannot_write

__all__ = ["Heartbeat", "main", "run_finetuning"]

log = logging.getLogger(__name__)

_HEARTBEAT = 0.25
"""Seconds between reports."""
_PATIENCE = 0.5
"""Seconds that a run which was asked to stop gets to save its state; a step of a large model takes longer."""


class Heartbeat(Progress):
    """Writes the run's progress into its row at intervals, from a thread, and reads whether the run should stop.

    With `may_exit`, a run that does not stop in half a second is ended where it is: it resumes from its last saved
    state, and gives the same result.
    """

    def __init__(self, project: Project, run: Run, *, may_exit: bool = False) -> None:
        self._store, self._name, self._may_exit = project.store, run.name, may_exit
        self.progress, self.before = run.progress, run.before
        self._over = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> Heartbeat:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()
        self._write()

    def report(self, done: int, total: int, stage: str = "") -> None:
        """Note how many images are measured or encoded."""
        self.update(done=done, total=total, **({"phase": stage} if stage else {}))

    def cancelled(self) -> bool:
        """Whether a user has asked this run to stop."""
        return self._stop.is_set()

    def update(self, **fields: Any) -> None:
        """Change fields of the progress; the next beat writes them."""
        self.progress = replace(self.progress, **fields)

    def note(self, sentence: str) -> None:
        """Add a sentence for the user."""
        notes = self.progress.notes or ()
        if sentence not in notes:
            self.update(notes=(*notes, sentence))

    def _beat(self) -> None:
        while not self._over.wait(_HEARTBEAT):
            self._write()
            if not self._stop.is_set() or not self._may_exit:
                continue
            # a pause saves the state after the step; a person who waits for it may still cancel
            if not self._over.wait(_PATIENCE) and ended_as(self._store, self._name) == "cancelled":
                self._store.runs.end(self._name, "cancelled")
                os._exit(0)

    def _write(self) -> None:
        try:
            if self._store.runs.report(self._name, self.progress, self.before):
                self._stop.set()
        except MaskwrightError as error:
            # a database that is locked or full for a moment is no reason to lose hours of training
            log.warning("cannot report: %s", error)


def ended_as(store: Store, name: str) -> str:
    """What a run becomes that was asked to stop: "paused" or "cancelled"."""
    return "paused" if store.runs.get(name).state == "pausing" else "cancelled"


def run_finetuning(where: str, name: str, *, may_exit: bool = False) -> None:
    """Do one run from beginning to end; its row says how it ended, whatever happens.

    Args:
        where: Folder or database URL of the project.
        name: Name of the run.
        may_exit: End the process when the run is asked to stop and does not in half a second.
    """
    with Project.open(where) as project:
        run = project.store.runs.get(name)
        try:
            with Heartbeat(project, run, may_exit=may_exit) as heartbeat:
                after = FinetuneJob(project, run, heartbeat).work()
            project.store.runs.end(
                name, "done", after=after, checkpoint=(f"checkpoints/{name}", str(after.weights))
            )  # fmt: skip
        except Cancelled:
            project.store.runs.end(name, ended_as(project.store, name))
        except MaskwrightError as error:
            project.store.runs.end(name, "failed", message=str(error))
        except OSError as error:
            project.store.runs.end(name, "failed", message=str(cannot_write(project.runs.working_folder(name), error)))
        except Exception as error:
            logging.exception("run %s", name)
            kind = f"{type(error).__name__}: {error}".splitlines()[0]
            log_file = project.runs.working_folder(name) / "log.txt"
            text = f"The run stopped on an unexpected failure ({kind}). Its log is {log_file}."
            project.store.runs.end(name, "failed", message=text)


def main() -> None:
    """Read project and run from standard input and do the run at low priority."""
    if hasattr(os, "nice"):
        # annotating goes first
        os.nice(5)
    job = json.loads(sys.stdin.readline())
    run_finetuning(job["project"], job["run"], may_exit=True)


if __name__ == "__main__":
    main()
