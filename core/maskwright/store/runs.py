"""Fine-tuning runs, the weights they made, and which of them the project uses."""

from __future__ import annotations

from sqlalchemy import select

from maskwright.domain import Run, RunProgress, Scores
from maskwright.errors import MaskwrightError
from maskwright.store import queries
from maskwright.store.orm import CheckpointRow, EventRow, RunRow, now
from maskwright.store.transactions import Transactions
from maskwright.store.values import Checkpoint, NewRun

__all__ = ["RunStore"]


class RunStore(Transactions):
    """What a store knows of fine-tuning."""

    def add_run(self, new: NewRun) -> Run:
        """A run as started; its process reports with `report_run` and `end_run`."""
        with self._writing() as db:
            row = RunRow.from_domain(new, now())
            db.add(row)
            db.add(EventRow(at=row.created_at, who=new.who, kind="run_started", after={"run": new.name}))
            db.flush()
            return row.to_domain()

    def runs(self) -> list[Run]:
        """All runs, the oldest first."""
        with self._reading() as db:
            return [row.to_domain() for row in db.scalars(select(RunRow).order_by(RunRow.id))]

    def last_run(self) -> Run | None:
        """The run that was started last, or None."""
        with self._reading() as db:
            row = db.scalar(select(RunRow).order_by(RunRow.id.desc()).limit(1))
            return row.to_domain() if row else None

    def run(self, name: str) -> Run:
        """One run; raises MaskwrightError when there is none of this name."""
        with self._reading() as db:
            return queries.run_row(db, name).to_domain()

    def resume_run(self, name: str, who: str) -> Run:
        """The run as running again, its outcome and any wish to stop forgotten."""
        with self._writing() as db:
            row = queries.run_row(db, name)
            row.state, row.message, row.stop, row.updated_at = "running", "", False, now()
            db.add(EventRow(at=row.updated_at, who=who, kind="run_resumed", after={"run": name}))
            return row.to_domain()

    def report_run(self, name: str, progress: RunProgress, before: Scores | None = None) -> bool:
        """Note what a run has reached, and that its process is alive; True when it should stop."""
        with self._writing() as db:
            row = queries.run_row(db, name)
            row.progress, row.updated_at = progress.to_dict(), now()
            row.before = row.before if before is None else before.to_dict()
            return row.stop

    def end_run(
        self,
        name: str,
        state: str,
        *,
        after: Scores | None = None,
        message: str = "",
        who: str = "",
        checkpoint: tuple[str, str] | None = None,
    ) -> Run:
        """The run as ended: done, cancelled or failed; done with the folder and the SHA-256 of its weights."""
        with self._writing() as db:
            row = queries.run_row(db, name)
            row.state, row.message, row.updated_at = state, message, now()
            row.after = None if after is None else after.to_dict()
            db.add(EventRow(at=row.updated_at, who=who, kind=f"run_{state}", after={"run": name}))
            if checkpoint:
                folder, sha256 = checkpoint
                db.add(CheckpointRow(run_id=row.id, folder=folder, sha256=sha256, created_at=row.updated_at))
            return row.to_domain()

    def checkpoints(self) -> list[Checkpoint]:
        """Weights that runs have made, the oldest first; runs of before version 0.7 are not among them."""
        chosen = select(CheckpointRow, RunRow.name).join(RunRow).order_by(CheckpointRow.id)
        with self._reading() as db:
            return [row.to_domain(name) for row, name in db.execute(chosen)]

    def stop_run(self, name: str) -> None:
        """Ask a run's process to stop; it looks at least once a second."""
        with self._writing() as db:
            queries.run_row(db, name).stop = True

    def activate(self, name: str | None, who: str) -> None:
        """Make a run's result the model of the project, or with None the one it was opened with.

        Raises:
            MaskwrightError: no such run, or it is not done.
        """
        with self._writing() as db:
            if name is not None and (state := queries.run_row(db, name).state) != "done":
                raise MaskwrightError(f"The run {name} is {state}, so it has no model to use. Let it finish first.")
            db.add(EventRow(at=now(), who=who, kind="model_activated", after={"run": name}))

    def active(self) -> str | None:
        """The run whose result is the model of the project, or None."""
        chosen = (
            select(EventRow.after)
            .where(EventRow.kind == "model_activated", EventRow.annotation_id.is_(None))
            .order_by(EventRow.id.desc())
            .limit(1)
        )
        with self._reading() as db:
            return (db.scalar(chosen) or {}).get("run")
