"""Several processes, and processes that die."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from maskwright.store import Store

CHILD = Path(__file__).with_name("child.py")


def start(name: str, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, str(CHILD), name, str(folder)], stdout=subprocess.PIPE, text=True)


def intact(file: Path) -> bool:
    with closing(sqlite3.connect(file)) as connection:
        return connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@pytest.mark.parametrize("confirmed", [1, 40])
def test_killing_the_process_loses_nothing_confirmed(tmp_path: Path, confirmed: int) -> None:
    child = start("accept_for_ever", tmp_path)
    assert child.stdout is not None
    ids = [int(child.stdout.readline()) for _ in range(confirmed)]
    child.send_signal(signal.SIGKILL)
    ids += [int(line) for line in child.stdout.read().split("\n")[:-1]]
    child.wait()
    assert intact(tmp_path / "project.db")
    with Store.open(tmp_path / "project.db") as store:
        found = [one.id for one in store.annotations()]
    # one more may have been stored and not yet said
    assert found[: len(ids)] == ids
    assert len(found) - len(ids) <= 1


def test_two_processes_create_and_fill_one_project_at_once(tmp_path: Path) -> None:
    children = [start("accept_hundred", tmp_path) for _ in range(2)]
    uids = [line for child in children for line in child.communicate(timeout=60)[0].split()]
    assert [child.returncode for child in children] == [0, 0]
    assert len(uids) == 200
    with Store.open(tmp_path / "project.db") as store:
        assert {one.uid for one in store.annotations()} == set(uids)
        assert len(store.categories()) == 7
        assert len(store.images()) == 1
    assert intact(tmp_path / "project.db")
