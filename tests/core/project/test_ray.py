"""Batch prediction on a Ray cluster: as in one process, whatever dies meanwhile."""

from __future__ import annotations

import logging
import os
import pickle
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow
import pytest
from sqlalchemy import select
from typer.testing import CliRunner

import maskwright as mw
from maskwright import cli
from maskwright.domain import ImageRecord, ModelRef
from maskwright.engine import Engine
from maskwright.errors import MaskwrightError
from maskwright.progress import NO_PROGRESS
from maskwright.project import Project, ray_workers
from maskwright.project.outcomes import one_by_one
from maskwright.project.ray_workers import RayWorkers, _Task, _Worker
from maskwright.store.orm import EventRow
from tests.core.project import ray_driver
from tests.core.project.ray_driver import PROMPT, DeadlyWorker, batch

IMAGES = 40


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A cluster of two workers on this computer."""
    import ray

    # its workers give way to everything else by default, so that on a busy machine nothing would happen
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 - Ray spells it so
    for tries_left in (2, 1, 0):
        try:
            ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
            break
        except Exception:  # a busy machine takes longer than the 30 s that Ray waits
            ray.shutdown()
            if not tries_left:
                raise
    # workers are sent the classes of this module, which they cannot import
    ray.cloudpickle.register_pickle_by_value(ray_driver)
    yield ray.get_runtime_context().gcs_address
    ray.shutdown()


@pytest.fixture
def project(tmp_path: Path, rng: np.random.Generator) -> Iterator[Project]:
    with Project.open(tmp_path / "project", create=True) as project:
        for _ in range(IMAGES):
            project.images.register(mw.Image(rng.integers(0, 255, (48, 64, 3), dtype=np.uint8)))
        yield project


def _times_done(project: Project) -> Counter[int | None]:
    """How often each image was marked as done."""
    with project.store._transactions.reading() as db:
        return Counter(db.scalars(select(EventRow.image_id).where(EventRow.kind == "predicted")))


def _kill_a_worker() -> None:
    for process in psutil.process_iter(["cmdline"]):
        if "MapWorker" in "".join(process.info["cmdline"] or ()):
            process.send_signal(signal.SIGKILL)
            return
    raise AssertionError("there is no worker")


def _answers(worker: _Worker, records: list[ImageRecord]) -> list[Any]:
    """What a worker gives, without a cluster."""
    batch = pyarrow.table({"record": [pickle.dumps(record) for record in records]})
    return [pickle.loads(answer) for answer in worker(batch)["answer"].to_pylist()]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_killed_worker_and_a_killed_driver_lose_nothing_and_do_nothing_twice(address: str, project: Project) -> None:
    driver = subprocess.Popen([sys.executable, ray_driver.__file__, address, str(project.folder)])
    while not _times_done(project):
        assert driver.poll() is None
        time.sleep(0.02)
    driver.kill()
    driver.wait()
    before = _times_done(project)
    assert 0 < len(before) < IMAGES

    rest = []
    for result in batch(project, address):
        if not rest:
            _kill_a_worker()
        rest.append(result.record.id)
    assert sorted([*before, *rest]) == list(range(1, IMAGES + 1))
    assert set(_times_done(project).values()) == {1}
    assert Counter(one.image_id for one in project.annotations(states=("proposed", "deleted"))) == Counter(
        dict.fromkeys(range(1, IMAGES + 1), 2)
    )
    assert not list(batch(project, address))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_an_image_that_kills_its_workers_is_reported_and_the_others_are_done(
    address: str, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_workers, "_RETRIES", 0)
    results = list(batch(project, address, DeadlyWorker))
    assert {one.record.id: one.problem for one in results if one.problem}.keys() == {3}
    assert _times_done(project) == Counter(set(range(1, IMAGES + 1)) - {3})


def test_a_worker_finds_what_this_process_finds(project: Project, small_preset: Path) -> None:
    engine = Engine.load(small_preset, "cpu")
    files, records = project.images.files, project.images.all()[:6]
    here = one_by_one(files, lambda image: engine.segment(image, PROMPT), NO_PROGRESS)
    worker = _Worker(_Task(str(small_preset), "cpu", engine.model, PROMPT, files.folder))
    expected = [outcome for (outcome,) in here(records)]
    assert _answers(worker, records) == expected
    assert all(outcome.masks for outcome in expected)
    (files.folder.parent / records[1].file_name).unlink()
    assert ["missing" in outcome.problem for outcome in _answers(worker, records)] == [False, True, *[False] * 4]


@pytest.mark.parametrize("preset", ["small", "nosuch"])
def test_a_worker_without_the_same_weights_says_so(project: Project, small_preset: Path, preset: str) -> None:
    folder = str(small_preset) if preset == "small" else preset
    worker = _Worker(_Task(folder, "cpu", ModelRef("small", "0"), PROMPT, project.images.files.folder))
    (answer,) = _answers(worker, project.images.all()[:1])
    assert isinstance(answer, str)
    with pytest.raises(MaskwrightError, match="preset"):
        ray_workers._checked(answer)


def test_a_cluster_that_cannot_be_used(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    several = object.__new__(RayWorkers)
    several.machines = 3
    several.check(on_disk=False)
    with pytest.raises(MaskwrightError, match="PostgreSQL"):
        several.check(on_disk=True)
    monkeypatch.setattr(ray_workers, "find_spec", lambda name: None)
    for words in (["--ray"], ["--ray", "10.0.0.1:6379", "--workers", "2"], ["--ray=local"]):
        result = CliRunner().invoke(cli.app, ["predict", str(project.folder), "--text", "cow", *words])
        assert isinstance(result.exception, MaskwrightError)
        assert "maskwright[scale]" in str(result.exception)
    result = CliRunner().invoke(cli.app, ["predict", str(project.folder), "--text", "cow", "--workers", "2"])
    assert "--ray" in str(result.exception)
