"""Batch predictions as jobs: started, paused, continued and cancelled from any window, also after a restart.

A job is a JSON file in the project's `jobs/`, which its thread keeps up to date; which images are done stands in the
history, so a job that was killed goes on with the next image.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from maskwright.domain import Image, Prediction, Reference, TextPrompt
from maskwright.errors import Cancelled, MaskwrightError, UsageError
from maskwright.files.atomic import write_json
from maskwright.progress import Progress
from maskwright.project import Project
from maskwright.session.countable import divide_countable
from maskwright.session.messages import plural

if TYPE_CHECKING:
    # torch comes with the engine, and a window should open before it
    from maskwright.engine import Engine

__all__ = ["BatchJob", "BatchPrompt", "Batches"]

_MOST_NOTES = 50
_BEAT = 1.0
"""Seconds between two reports of a running job to its file."""
_SILENCE = 20.0
"""Seconds without a report after which a job of another process counts as interrupted."""
_GIVE_WAY = 0.05
"""Seconds that a batch leaves the model to clicks between two images."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchPrompt:
    """What to find on many images: words, or an example."""

    words: str = ""
    method: str | None = None
    background: bool = True
    threshold: float | None = None
    refine: str | None = None
    instances: bool = False
    """One mask for each object of the words that name countable things."""
    references: tuple[int, ...] = ()
    """Accepted masks that show the object; without them and with a category, its chosen references."""
    category: str | None = None

    def __post_init__(self) -> None:
        if bool(self.words.strip()) == bool(self.references or self.category):
            raise UsageError("A batch needs either words or an example.")
        if self.words.strip():
            self.text()

    def text(self) -> TextPrompt:
        """The words as a prompt; raises EmptyPrompt or UsageError."""
        prompt = TextPrompt.parse(
            self.words, method=self.method, background=self.background, threshold=self.threshold, refine=self.refine
        )
        return divide_countable(prompt) if self.instances else prompt


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchJob:
    """A batch with its progress."""

    id: str
    prompt: BatchPrompt
    images: tuple[int, ...]
    accept_above: float | None = None
    user: str = ""
    state: str = "running"
    """running, paused, cancelled, done, failed, or interrupted: its process is gone, and it can be resumed."""
    done: int = 0
    message: str = ""
    notes: tuple[str, ...] = ()
    """A sentence for each image that was skipped."""
    seconds_left: int | None = None
    proposed: int = 0
    accepted: int = 0
    updated: float = 0.0
    """When its thread reported last, in seconds since 1970."""
    process: int = field(default_factory=os.getpid)

    @property
    def title(self) -> str:
        """What it looks for."""
        return self.prompt.words or f"Like {self.prompt.category or 'the example'}"

    @property
    def total(self) -> int:
        """Number of images."""
        return len(self.images)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> BatchJob:
        """A job from its file; raises TypeError, KeyError or ValueError for another content."""
        prompt = BatchPrompt(**data["prompt"] | {"references": tuple(data["prompt"]["references"])})
        return cls(**data | {"prompt": prompt, "images": tuple(data["images"]), "notes": tuple(data["notes"])})


class Batches:
    """The batch jobs of a project; safe to share between threads."""

    def __init__(self, project: Project, engine: Callable[[str], Engine]) -> None:
        """Take the project, and a function that returns the engine for "text" or "example"."""
        self._project, self._engine = project, engine
        self._folder = project.folder / "jobs"
        self._lock = threading.Lock()
        self._threads: dict[str, _Thread] = {}

    def all(self) -> list[BatchJob]:
        """All jobs, the latest first."""
        files = sorted(self._folder.glob("predict-*.json"), key=lambda file: int(file.stem.rpartition("-")[2]))
        jobs = []
        for file in reversed(files):
            with suppress(OSError, ValueError, TypeError, KeyError, MaskwrightError):
                jobs.append(self._checked(BatchJob.from_dict(json.loads(file.read_text(encoding="utf-8")))))
        return jobs

    def get(self, job: str) -> BatchJob:
        """One job; raises MaskwrightError when there is none."""
        found = next((known for known in self.all() if known.id == job), None)
        if found is None:
            raise MaskwrightError(f"There is no job {job[:100]} in this project.", "List the jobs to see their names.")
        return found

    def start(
        self, prompt: BatchPrompt, images: Sequence[int], *, accept_above: float | None = None, user: str = ""
    ) -> BatchJob:
        """Start a batch; returns at once.

        Args:
            prompt: what to find.
            images: ids of the images.
            accept_above: accept masks with at least this score; None accepts none.
            user: the annotator; by default the user of this computer.

        Raises:
            MaskwrightError: no image, or another batch is running.
        """
        if not images:
            raise MaskwrightError("There is no image to predict on.", "Choose other filters.")
        running = next((job for job in self.all() if job.state == "running"), None)
        if running is not None:
            raise MaskwrightError("Another batch is running.", "Wait for it, or pause or cancel it first.")
        for key in prompt.references:
            self._project.reference(key)
        numbers = [int(job.id.rpartition("-")[2]) for job in self.all()]
        job = BatchJob(
            id=f"predict-{max(numbers, default=0) + 1}", prompt=prompt, images=tuple(images), user=user,
            accept_above=accept_above, updated=time.time(),
        )  # fmt: skip
        return self._launch(job)

    def pause(self, job: str) -> BatchJob:
        """Stop after the image in work; `resume` goes on with the next one."""
        return self._stop(job, "paused")

    def cancel(self, job: str) -> BatchJob:
        """Stop for good; the images that are done keep their proposals."""
        return self._stop(job, "cancelled")

    def resume(self, job: str) -> BatchJob:
        """Go on with a job that was paused, interrupted or failed; raises MaskwrightError for another."""
        known = self.get(job)
        if known.state not in ("paused", "interrupted", "failed"):
            raise MaskwrightError(f"That batch is {known.state}; there is nothing to resume.")
        return self._launch(replace(known, state="running", message="", process=os.getpid(), updated=time.time()))

    def close(self) -> None:
        """Pause what runs, so that it can be resumed."""
        with self._lock:
            threads = list(self._threads.values())
        for thread in threads:
            thread.request("paused")
        for thread in threads:
            thread.join(5)

    def _launch(self, job: BatchJob) -> BatchJob:
        with self._lock:
            self._write(job)
            thread = self._threads[job.id] = _Thread(job, self._run, self._write)
        thread.start()
        return job

    def _stop(self, job: str, state: str) -> BatchJob:
        known = self.get(job)
        with self._lock:
            thread = self._threads.get(job)
        if thread is not None and thread.is_alive():
            thread.request(state)
            thread.join(1)
            return self.get(job)
        if known.state in ("paused", "interrupted", "failed") and state == "cancelled":
            self._write(replace(known, state=state))
        return self.get(job)

    def _run(self, thread: _Thread) -> None:
        """Predict image by image."""
        # torch comes with it
        from maskwright.project.outcomes import one_by_one
        from maskwright.project.prelabel import BatchOptions, key_of, predict

        job = thread.job
        prompt = job.prompt
        engine = self._engine("text" if prompt.words else "example")
        segment: Callable[[Image], Prediction]
        if prompt.words:
            text = prompt.text()
            names, key = text.names, key_of(engine.text_model.sha256, job.id, asdict(prompt))
            clicks = self._engine("click") if text.divided else None

            def segment(image: Image) -> Prediction:
                return engine.segment(image, text, clicks=clicks, progress=thread.progress.quiet())
        else:
            positive = [self._project.reference(key) for key in prompt.references]
            negative: list[Reference] = []
            if not positive:
                positive, negative = self._project.references(str(prompt.category))
            category = prompt.category or positive[0].mask.category or "object"
            examples = [[reference.image.sha256, reference.mask.rle["counts"]] for reference in (*positive, *negative)]
            names, key = (category,), key_of(engine.model.sha256, job.id, asdict(prompt), examples)

            def segment(image: Image) -> Prediction:
                return engine.segment_like(
                    image, positive, category, negative_references=negative, progress=thread.progress.quiet()
                )

        options = BatchOptions(job.accept_above, images=frozenset(job.images), user=job.user)
        run = one_by_one(self._project.images.files, segment, thread.progress)
        for result in predict(self._project, run, names, key, options, progress=thread.progress):
            thread.count(result.problem, result.proposed, result.accepted)
            # the lock of a model is not fair: without a moment off, a click would wait for many images
            time.sleep(_GIVE_WAY)

    def _write(self, job: BatchJob) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        write_json(self._folder / f"{job.id}.json", asdict(job))

    def _checked(self, job: BatchJob) -> BatchJob:
        """The job, as interrupted when its file says running but nobody works on it."""
        if job.state != "running":
            return job
        with self._lock:
            thread = self._threads.get(job.id)
        if thread is not None and thread.is_alive():
            return thread.job
        gone = thread is not None or job.process == os.getpid() or time.time() - job.updated > _SILENCE
        return replace(job, state="interrupted", message="It was interrupted.") if gone else job


class _Thread(threading.Thread):
    """One running job."""

    def __init__(self, job: BatchJob, run: Callable[[_Thread], None], write: Callable[[BatchJob], None]) -> None:
        super().__init__(name=f"maskwright-{job.id}", daemon=True)
        self.job, self._work, self._write = job, run, write
        self.progress = _JobProgress(self)
        self._requested = ""
        self._began, self._first, self._last = time.monotonic(), 0, 0.0

    def request(self, state: str) -> None:
        """Ask it to stop; the job is in this state then."""
        self._requested = state

    @property
    def requested(self) -> str:
        """The state that it was asked to stop in, or empty."""
        return self._requested

    def begin(self, left: int) -> None:
        """Note how many images are left; the others of the job are done already."""
        done = self.job.total - left
        if not self._last:
            self._first, self._began = done, time.monotonic()
        since = done - self._first
        rate = (time.monotonic() - self._began) / since if since > 0 else None
        self.update(done=done, seconds_left=None if rate is None else round(rate * left))

    def count(self, problem: str, proposed: int, accepted: int) -> None:
        """Note the result of one image."""
        notes = (*self.job.notes, problem)[-_MOST_NOTES:] if problem else self.job.notes
        self.update(notes=notes, proposed=self.job.proposed + proposed, accepted=self.job.accepted + accepted)

    def update(self, **fields: Any) -> None:
        """Change the job, and write it at most once a second."""
        self.job = replace(self.job, updated=time.time(), **fields)
        if time.monotonic() - self._last > _BEAT:
            self._last = time.monotonic()
            # a full disk is no reason to lose a batch
            with suppress(MaskwrightError):
                self._write(self.job)

    def run(self) -> None:
        """Do the job; its file says how it ended."""
        try:
            self._work(self)
            ended = {"state": "done", "done": self.job.total, "seconds_left": None}
        except Cancelled:
            ended = {"state": self._requested or "paused", "seconds_left": None}
        except MaskwrightError as error:
            ended = {"state": "failed", "message": str(error)}
        except Exception as error:  # the thread ends with it, and nobody else would see it
            ended = {"state": "failed", "message": f"Unexpected failure: {error!r}. Please report it."}
        job = self.job
        if not ended.get("message"):
            facts = [plural(job.proposed, "mask") + " proposed", f"{job.accepted} accepted" if job.accepted else ""]
            facts.append(f"{plural(len(job.notes), 'image')} skipped" if job.notes else "")
            ended["message"] = ", ".join(fact for fact in facts if fact) + "."
        self.job = replace(job, updated=time.time(), **ended)  # type: ignore[arg-type]
        with suppress(MaskwrightError):
            self._write(self.job)


class _JobProgress(Progress):
    def __init__(self, thread: _Thread) -> None:
        self._thread = thread

    def report(self, done: int, total: int, stage: str = "") -> None:  # noqa: ARG002
        self._thread.begin(total - done)

    def cancelled(self) -> bool:
        return bool(self._thread.requested)
