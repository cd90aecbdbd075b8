"""A process that is killed at any time loses nothing that was confirmed, and leaves no partial change."""

from __future__ import annotations

import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from maskwright.domain import Image
from maskwright.project import Project
from maskwright.store import STATES
from maskwright.store.backups import backups
from maskwright.store.connection import connect, database_url
from maskwright.store.migrations import bring_up_to_date
from tests.core.store.conftest import miscounts, rows
from tests.core.store.crash_worker import fingerprint
from tests.core.store.test_migrations import OLD_ROWS, scripts_until
from tests.core.store.test_processes import intact

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900), pytest.mark.skipif(os.name != "posix", reason="needs fork")]

ROUNDS = 200
Confirmed = dict[int, tuple[object, ...]]


class CrashWorker:
    """Starts worker processes and kills them."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("crash_worker.py"))],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            # a library's threads would not survive the fork
            env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
        )  # fmt: skip
        creating, opening = (float(self._line()) for _ in range(2))
        self.longest = max(0.15, 2 * creating)
        """Seconds that a worker may live: long enough to create or upgrade a project and do something."""
        self.longest_known = max(0.15, 4 * opening)
        """The same for a project that is there, which opens sooner."""

    def run_and_kill(self, seconds: float, seed: int, folder: Path) -> list[dict[str, object]]:
        """What a worker was told is kept, until it was killed after so many seconds."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{seconds} {seed} {folder}\n")
        self._process.stdin.flush()
        said = []
        while (line := self._line()).startswith("{"):
            said.append(json.loads(line))
        assert line == "dead", line if not line.startswith("failed") else json.loads(line[7:])
        return said

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().rstrip("\n")


@dataclass
class CrashedProject:
    """A project in which workers are killed, and the changes that they confirmed."""

    folder: Path
    confirmed: Confirmed = field(default_factory=dict)
    number: int = 0
    images: int = 0

    @property
    def file(self) -> Path:
        return self.folder / "project.db"

    def check(self, said: list[dict[str, object]]) -> None:
        for line in said:
            self.number = int(str(line["number"]))
            self.confirmed |= {one[0]: tuple(one) for one in line["masks"]}  # type: ignore[attr-defined]
        if self.file.exists():
            assert intact(self.file)
        with Project.open(self.folder, create=not self.confirmed) as project:
            self._check_masks(project)
            assert miscounts(project.store) == []
            self._check_pictures(project)
        for copy in (self.folder / "backups").glob("*.db"):
            assert intact(copy)
            assert copy in [one.file for one in backups(self.file)]

    def _check_masks(self, project: Project) -> None:
        found = {one.id: tuple(fingerprint(one)) for one in project.annotations(states=STATES)}
        assert project.store.change_number() >= self.number
        changed = {key: found.get(key) for key, values in self.confirmed.items() if found.get(key) != values}
        if changed:
            # the action in flight may have been stored and not yet said; it is one action, and its lines are there
            unsaid = rows(
                project.store, "SELECT annotation_id, step_id FROM events WHERE id > :number", number=self.number
            )
            assert set(changed) <= {mask for mask, _ in unsaid}
            assert len({step for mask, step in unsaid if mask is not None}) == 1
            for key, values in changed.items():
                assert values is not None
                assert values[1] == self.confirmed[key][1] + 1  # type: ignore[operator]
        self.confirmed = found
        self.number = project.store.change_number()

    def _check_pictures(self, project: Project) -> None:
        assert project.images.missing() == []
        for record in (one for one in project.images.all() if one.id > self.images):
            if record.sha256 in record.file_name:
                assert Image(Image.open(self.folder / record.file_name).pixels).sha256 == record.sha256
            self.images = record.id


@pytest.fixture
def crash_worker() -> Iterator[CrashWorker]:
    made = CrashWorker()
    yield made
    made.close()


@pytest.fixture
def older(tmp_path: Path) -> Path:
    """A project as version 0.3 left it."""
    folder = tmp_path / "older"
    (folder / "images").mkdir(parents=True)
    engine = connect(database_url(folder / "project.db"))
    bring_up_to_date(engine, "x", scripts=scripts_until(tmp_path, "v0_3_references"))
    with engine.begin() as connection:
        for sql in OLD_ROWS:
            connection.exec_driver_sql(sql)
        for (name,) in connection.exec_driver_sql("SELECT file_name FROM images").fetchall():
            (folder / name).write_bytes(b"a picture of version 0.3")
    engine.dispose()
    return folder


def test_two_hundred_kills_lose_nothing(tmp_path: Path, crash_worker: CrashWorker, older: Path) -> None:
    rng = random.Random(20261122)
    going_on = CrashedProject(tmp_path / "going on")
    confirmed = upgraded = 0
    for number in range(ROUNDS):
        kind = ("new", "older", *["going on"] * 6)[number % 8]
        project = going_on if kind == "going on" else CrashedProject(tmp_path / f"{kind} {number}")
        if kind == "older":
            shutil.copytree(older, project.folder)
            project.confirmed, project.number = old_masks(project.file)
        for copy in (project.folder / "backups").glob("project-????????.db"):
            # so that the worker makes it again
            copy.unlink()
        longest = crash_worker.longest_known if kind == "going on" else crash_worker.longest
        said = crash_worker.run_and_kill(rng.uniform(0, longest), number, project.folder)
        confirmed += len(said)
        upgraded += kind == "older" and revision(project.file) == "0.9_remote_images"
        project.check(said)
        if project is not going_on:
            shutil.rmtree(project.folder)
    # else it would not have tested anything
    assert confirmed > ROUNDS // 2
    assert 0 < upgraded < ROUNDS // 8
    assert len(going_on.confirmed) > ROUNDS // 2


def old_masks(file: Path) -> tuple[Confirmed, int]:
    """The masks of a project of version 0.3, and its change number."""
    with closing(sqlite3.connect(file)) as connection:
        found = connection.execute(
            "SELECT a.id, revision, state, name, counts FROM annotations a JOIN categories c ON c.id = category_id"
        ).fetchall()
        number = connection.execute("SELECT max(id) FROM events").fetchone()[0]
    assert len(found) == 5
    return {one[0]: one for one in found}, number


def revision(file: Path) -> str:
    with closing(sqlite3.connect(file)) as connection:
        return str(connection.execute("SELECT version_num FROM alembic_version").fetchone()[0])


def test_four_processes_accept_a_thousand_masks_each(tmp_path: Path) -> None:
    child = Path(__file__).with_name("subprocess_entry.py")
    words = [sys.executable, str(child), "accept_thousand", str(tmp_path)]
    children = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    said = [line.split() for one in children for line in one.communicate(timeout=600)[0].splitlines()]
    assert [one.returncode for one in children] == [0] * 4
    ids, uids = ({line[place] for line in said} for place in (0, 1))
    assert len(said) == len(ids) == len(uids) == 4000
    with Project.open(tmp_path) as project:
        assert {(str(one.id), one.uid) for one in project.annotations()} == {(line[0], line[1]) for line in said}
        assert miscounts(project.store) == []
        counts = project.status()
        assert sum(counts.accepted.values()) == 4000
        assert (counts.images, counts.annotated_images) == (41, 41)
        assert project.images.missing() == []
    assert intact(tmp_path / "project.db")
