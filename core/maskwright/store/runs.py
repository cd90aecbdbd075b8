"""Fine-tuning runs: start, report, end; their checkpoints, and the active one."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from maskwright.domain import Run, RunProgress, Scores
from maskwright.errors import MaskwrightError
from maskwright.store import queries
from maskwright.store.orm import CheckpointRow, EventRow, RunRow, now
from maskwright.store.transactions import Transactions
from maskwright.store.values import Checkpoint, NewRun

__all__ = ["RunStore"]


class RunStore:
    """The fine-tuning runs of a project."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    def add(self, new: NewRun) -> Run:
        """Add a run as running; its process then calls `report` and `end`."""
        with self._transactions.writing() as db:
            row = RunRow.from_domain(new, now())
            db.add(row)
            db.add(EventRow(at=row.created_at, user=new.user, kind="run_started", after={"run": new.name}))
            db.flush()
            return row.to_domain()

    def get(self, name: str) -> Run:
        """One run; raises MaskwrightError when there is none of this name."""
        with self._transactions.reading() as db:
            return queries.run_row(db, name).to_domain()

    def all(self) -> list[Run]:
        """All runs, the oldest first."""
        with self._transactions.reading() as db:
            query = select(RunRow).where(RunRow.state != "deleted").order_by(RunRow.id)
            return [row.to_domain() for row in db.scalars(query)]

    def names(self) -> set[str]:
        """Names that were given, those of deleted runs included."""
        with self._transactions.reading() as db:
            return set(db.scalars(select(RunRow.name)))

    def last(self) -> Run | None:
        """The run that was started last, or None."""
        with self._transactions.reading() as db:
            query = select(RunRow).where(RunRow.state != "deleted").order_by(RunRow.id.desc()).limit(1)
            row = db.scalar(query)
            return row.to_domain() if row else None

    def resume(self, name: str, user: str) -> Run:
        """Mark a run as running again; its outcome and a request to stop are cleared."""
        with self._transactions.writing() as db:
            row = queries.run_row(db, name)
            row.state, row.message, row.stop, row.updated_at = "running", "", False, now()
            db.add(EventRow(at=row.updated_at, user=user, kind="run_resumed", after={"run": name}))
            return row.to_domain()

    def report(self, name: str, progress: RunProgress, before: Scores | None = None) -> bool:
        """Record a run's progress, and that its process is alive; returns whether it was requested to stop."""
        with self._transactions.writing() as db:
            row = queries.run_row(db, name)
            row.progress, row.updated_at = progress.to_dict(), now()
            row.before = row.before if before is None else before.to_dict()
            return row.stop

    def end(
        self,
        name: str,
        state: str,
        *,
        after: Scores | None = None,
        message: str = "",
        user: str = "",
        checkpoint: tuple[str, str] | None = None,
    ) -> Run:
        """End a run.

        Args:
            name: of the run.
            state: "done", "cancelled", "paused" or "failed".
            after: scores of the result on the held-out images.
            message: why it failed.
            user: who ended it.
            checkpoint: folder, relative to the project, and SHA-256 of the weights.
        """
        with self._transactions.writing() as db:
            row = queries.run_row(db, name)
            row.state, row.message, row.updated_at = state, message, now()
            row.after = None if after is None else after.to_dict()
            db.add(EventRow(at=row.updated_at, user=user, kind=f"run_{state}", after={"run": name}))
            if checkpoint:
                folder, sha256 = checkpoint
                db.add(CheckpointRow(run_id=row.id, folder=folder, sha256=sha256, created_at=row.updated_at))
            return row.to_domain()

    def delete(self, name: str, user: str) -> None:
        """Mark a run as deleted: it is listed no more, and its number is not given again."""
        with self._transactions.writing() as db:
            row = queries.run_row(db, name)
            row.state, row.updated_at = "deleted", now()
            db.add(EventRow(at=row.updated_at, user=user, kind="run_deleted", after={"run": name}))

    def request_stop(self, name: str, *, pause: bool = False) -> None:
        """Request a run's process to stop; it checks at least once a second.

        Args:
            name: of the run.
            pause: it finishes its step and saves its state, however long that takes.
        """
        with self._transactions.writing() as db:
            row = queries.run_row(db, name)
            row.state, row.stop = "pausing" if pause else "running", True

    def checkpoints(self) -> list[Checkpoint]:
        """Checkpoints, the oldest first; those made before version 0.7 are not recorded."""
        query = select(CheckpointRow, RunRow.name).join(RunRow).order_by(CheckpointRow.id)
        with self._transactions.reading() as db:
            return [row.to_domain(name) for row, name in db.execute(query)]

    def activate(self, name: str | None, user: str) -> None:
        """Make a run's checkpoint the model of the project; None returns to the presets.

        Raises:
            MaskwrightError: no such run, or it is not done.
        """
        with self._transactions.writing() as db:
            if name is not None and (state := queries.run_row(db, name).state) != "done":
                raise MaskwrightError(f"The run {name} is {state}, so it has no model to use.", "Let it finish first.")
            self._add(db, user, {"run": name, "presets": _model(db).get("presets", {})})

    def use_preset(self, preset: str, tasks: Collection[str], user: str) -> None:
        """Use a preset for some tasks; for text or examples it takes the place of the active run.

        Args:
            preset: name, or folder of a checkpoint.
            tasks: of text, example, click.
            user: recorded in the history.
        """
        with self._transactions.writing() as db:
            before = _model(db)
            run = before.get("run") if set(tasks) <= {"click"} else None
            self._add(db, user, {"run": run, "presets": before.get("presets", {}) | dict.fromkeys(tasks, preset)})

    def active(self) -> str | None:
        """The run whose checkpoint is the model of the project, or None."""
        with self._transactions.reading() as db:
            return _model(db).get("run")

    def presets(self) -> dict[str, str]:
        """Presets that were chosen for this project, by task."""
        with self._transactions.reading() as db:
            return dict(_model(db).get("presets", {}))

    @staticmethod
    def _add(db: Session, user: str, after: dict[str, Any]) -> None:
        db.add(EventRow(at=now(), user=user, kind="model_activated", after=after))


def _model(db: Session) -> dict[str, Any]:
    """Active run, and presets by task, as they were chosen last; versions before 0.8 record the run only."""
    query = (
        select(EventRow.after)
        .where(EventRow.kind == "model_activated", EventRow.annotation_id.is_(None))
        .order_by(EventRow.id.desc())
        .limit(1)
    )
    return db.scalar(query) or {}
