"""A batch on a Ray cluster, to be killed: `python ray_driver.py ADDRESS FOLDER`. Its workers need no model."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from maskwright.domain import ImageRecord, Mask, ModelRef, TextPrompt
from maskwright.project import Project, ray_workers
from maskwright.project.outcomes import Outcome
from maskwright.project.prelabel import ImagePrediction, predict
from maskwright.project.ray_workers import RayWorkers

PROMPT = TextPrompt.parse("grass, meadow", background=True)


class Worker(ray_workers._Worker):
    """Finds the same in every image, slowly."""

    deadly = 0
    """Id of an image that it dies of."""

    def __init__(self, task: Any) -> None:
        self._problem = ""

    def _outcomes(self, records: list[ImageRecord]) -> Iterator[Outcome]:
        for record in records:
            if record.id == self.deadly:
                os._exit(1)
            time.sleep(0.05)
            pixels = np.ones((record.height, record.width), bool)
            masks = tuple(Mask.from_array(pixels, category=name) for name in PROMPT.names)
            yield Outcome(record.id, masks, "text", {"source": "text"})


class DeadlyWorker(Worker):
    deadly = 3


def batch(project: Project, address: str, worker: type[Worker] = Worker) -> Iterator[ImagePrediction]:
    with mock.patch.object(ray_workers, "_Worker", worker):
        workers = RayWorkers(address, preset="tiny", workers=2)
        run = workers.runner(project.images.files, PROMPT, ModelRef("tiny", ""))
        yield from predict(project, run, PROMPT.names, "key")


if __name__ == "__main__":
    with Project.open(Path(sys.argv[2])) as opened:
        for _ in batch(opened, sys.argv[1]):
            pass
