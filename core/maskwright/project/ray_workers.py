"""Workers on a Ray cluster, each with an engine of its own, that run a prompt on the images of a batch.

Ray Data hands out the images, starts workers that died again, and waits where results are not taken as fast as they
come. Nothing here writes to a project: outcomes return to the process that asked for them.
"""

from __future__ import annotations

import logging
import os
import pickle
import warnings
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from maskwright.domain import Image, ImageRecord, ModelRef, Prediction, ReferencePrompt, TextPrompt
from maskwright.errors import MaskwrightError, UsageError
from maskwright.project.image_folder import ImageFolder
from maskwright.project.outcomes import Outcome, Runner, batch_settings, outcome_of

__all__ = ["RayWorkers"]

_IMAGES = 16
"""Images that a worker gets at once, which are one transaction; what a killed worker had done of them is done again."""
_SHARES = 4
"""Of a short list, each worker gets as many parts."""
_CORES = 2
"""Cores of a worker without a GPU."""
_AHEAD = 2
"""Images that are read before their turn."""
_RETRIES = 2
_HERE = "local"


class RayWorkers:
    """Workers on a Ray cluster: one for each GPU, or for each two cores where there is none."""

    def __init__(self, address: str = "", *, preset: str, device: str = "auto", workers: int | None = None) -> None:
        """Connect to a cluster, or start one on this computer.

        Args:
            address: such as 10.0.0.1:6379 or ray://10.0.0.1:10001; "local" starts a cluster on this computer, which
                ends with this process; empty is the one that runs here or RAY_ADDRESS names, else "local".
            preset: name, or folder that every machine has.
            device: of the workers; "auto" takes GPUs where the cluster has them.
            workers: how many; None is all that there is room for.

        Raises:
            MaskwrightError: Ray is not installed, or there is no such cluster.
        """
        if find_spec("ray") is None:
            raise MaskwrightError("Ray is not installed.", "Run `pip install 'maskwright[scale]'`, or leave --ray out.")
        import ray

        folder = Path(preset).expanduser()
        self._preset = str(folder.resolve()) if folder.is_dir() else preset
        self._device = device
        options: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
        try:
            if not ray.is_initialized():
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    ray.init(address or None, **options)
        except Exception as error:  # Ray raises bare ones, too
            where = f"at {address}" if address else "here"
            first = (str(error).splitlines() or [""])[0]
            raise MaskwrightError(f"No Ray cluster answers {where}: {first}", "Check that it runs.") from error
        nodes = [node for node in ray.nodes() if node["Alive"]]
        self.machines = len({node["NodeManagerAddress"] for node in nodes})
        """How many machines the cluster has."""
        totals = ray.cluster_resources()
        gpus = 0 if device == "cpu" else int(totals.get("GPU", 0))
        cores = int(min(node["Resources"].get("CPU", 1) for node in nodes if node["Resources"].get("CPU")))
        self.count = workers or gpus or max(1, int(totals.get("CPU", 1)) // _CORES)
        """How many workers there will be."""
        if gpus and self.count > gpus:
            raise UsageError(f"The cluster has {gpus} GPUs, and a worker takes one. Ask for at most {gpus} workers.")
        each = max(1, cores // -(-self.count // len(nodes)))
        self._resources = {"num_gpus": 1} if gpus else {"num_cpus": each}

    def check(self, *, on_disk: bool) -> None:
        """Raise MaskwrightError for a project whose database is a file, when there are several machines."""
        if on_disk and self.machines > 1:
            raise MaskwrightError(
                f"This cluster has {self.machines} machines, which must all reach the project, and a network file "
                "system can damage its SQLite file.",
                "Use a project on PostgreSQL, or --ray local for this computer alone.",
            )

    def runner(self, files: ImageFolder, prompt: TextPrompt | ReferencePrompt, model: ModelRef) -> Runner:
        """A runner of a prompt; it raises MaskwrightError when the workers cannot start or the cluster is gone.

        Args:
            files: of the project; every machine must reach the folder.
            prompt: what to segment.
            model: the preset, whose weights each worker must have.
        """
        task = _Task(self._preset, self._device, model, prompt, files.folder)

        def run(records: Sequence[ImageRecord]) -> Generator[Sequence[Outcome], None, None]:
            left = {record.id: record for record in records}
            # an image that kills its worker takes those beside it along, so these are tried again by themselves
            for most in (_IMAGES, 1):
                for outcomes in self._pass(task, list(left.values()), most) if left else ():
                    for outcome in outcomes:
                        del left[outcome.image_id]
                    yield outcomes
            for record in left.values():
                problem = f"{record.file_name} was skipped: its worker died {_RETRIES + 1} times; Ray's logs say why."
                yield [Outcome(record.id, problem=problem)]

        return run

    def _pass(self, task: _Task, records: list[ImageRecord], most: int) -> Generator[list[Outcome], None, None]:
        """The outcomes of those images whose worker lived."""
        import ray
        from ray.data import ActorPoolStrategy, DataContext

        context = DataContext.get_current()
        context.enable_progress_bars = False
        context.max_errored_blocks = -1
        logging.getLogger("ray.data").setLevel(logging.CRITICAL)
        part = max(1, min(most, len(records) // (_SHARES * self.count)))
        rows = [{"record": pickle.dumps(record)} for record in records]
        blocks = -(-len(rows) // part)
        with warnings.catch_warnings():
            # how often a block is tried again has no other parameter yet
            warnings.simplefilter("ignore")
            outcomes = ray.data.from_items(rows, override_num_blocks=blocks).map_batches(
                _Worker,
                batch_size=None,
                batch_format="pyarrow",
                fn_constructor_args=(task,),
                # what waits for a worker that dies counts as tried, too
                compute=ActorPoolStrategy(size=self.count, max_tasks_in_flight_per_actor=1 if most == 1 else 2),
                max_restarts=-1,
                max_task_retries=_RETRIES,
                **self._resources,
            )
        try:
            for block in outcomes.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
                answers = [pickle.loads(answer) for answer in block["answer"].to_pylist()]
                yield [_checked(answer) for answer in answers]
        except ray.exceptions.RayError as error:
            last = (str(error).strip().splitlines() or [""])[-1]
            raise MaskwrightError(
                f"The Ray cluster failed: {last}",
                "Every machine needs this version of Maskwright; what was written stays, and the same command goes on.",
            ) from error


def _checked(answer: Outcome | str) -> Outcome:
    if isinstance(answer, str):
        raise MaskwrightError(answer)
    return answer


@dataclass(frozen=True, slots=True)
class _Task:
    """What a worker is to do."""

    preset: str
    device: str
    model: ModelRef
    prompt: TextPrompt | ReferencePrompt
    folder: Path
    """Of the project's image files."""


class _Worker:
    """Runs in a process of its own: loads an engine, then segments image after image."""

    def __init__(self, task: _Task) -> None:
        # torch comes with it
        from maskwright.engine import Engine

        self._task = task
        self._files = ImageFolder(self._task.folder)
        self._problem = ""
        try:
            self._engine = Engine.load(task.preset, task.device, settings=batch_settings())
        except MaskwrightError as error:
            self._problem = f"A worker on {os.uname().nodename} cannot start: {error}"
            return
        if self._engine.model != task.model:
            self._problem = (
                f"{os.uname().nodename} has other weights of {task.model.name} than this computer. "
                "Copy the preset to every machine."
            )

    def __call__(self, batch: Any) -> Any:
        """For each image its pickled outcome, or the sentence why this worker cannot work."""
        import pyarrow

        records = [pickle.loads(record) for record in batch["record"].to_pylist()]
        outcomes = (self._problem for _ in records) if self._problem else self._outcomes(records)
        return pyarrow.table({"answer": [pickle.dumps(outcome) for outcome in outcomes]})

    def _outcomes(self, records: list[ImageRecord]) -> Iterator[Outcome]:
        """The outcomes in order; while one image is segmented, the next ones are read and decoded."""
        with ThreadPoolExecutor(_AHEAD) as readers:
            ahead: deque[Future[Image]] = deque()
            for place, record in enumerate(records):
                for following in records[place + len(ahead) : place + 1 + _AHEAD]:
                    ahead.append(readers.submit(self._files.open, following))
                yield outcome_of(record, ahead.popleft().result, self._segment)

    def _segment(self, image: Image) -> Prediction:
        try:
            return self._engine.segment(image, self._task.prompt)
        except MaskwrightError:
            raise
        except Exception:
            # an engine in an unknown state, such as after a failure of the GPU, does not work on
            logging.getLogger(__name__).exception("%s: this worker ends", image.name)
            os._exit(1)
