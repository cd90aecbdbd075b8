"""Several processes on one database, and processes that die."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from maskwright.errors import Conflict
from maskwright.store import Correction, Store
from tests.core.store.conftest import MakeAnnotation, miscounts, rectangle

SUBPROCESS_ENTRY = Path(__file__).with_name("subprocess_entry.py")


def start(name: str, place: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(SUBPROCESS_ENTRY), name, str(place)], stdout=subprocess.PIPE, text=True
    )


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
        found = [one.id for one in store.masks.find()]
    # one more may have been stored and not yet said
    assert found[: len(ids)] == ids
    assert len(found) - len(ids) <= 1


def test_three_processes_create_and_fill_one_project_at_once(bare: str | Path, kind: str) -> None:
    children = [start("accept_forty", bare) for _ in range(3)]
    uids = [line for child in children for line in child.communicate(timeout=60)[0].split()]
    assert [child.returncode for child in children] == [0, 0, 0]
    assert len(uids) == 120
    with Store.open(bare) as store:
        assert {one.uid for one in store.masks.find()} == set(uids)
        assert len(store.categories.all()) == 7
        assert len(store.images.all()) == 1
        assert miscounts(store) == []
    assert kind != "sqlite" or intact(Path(bare))


def test_two_windows_of_one_user_undo_at_once(store: Store, new: MakeAnnotation, address: str | Path) -> None:
    for number in range(20):
        store.masks.add(new(f"class {number % 3}", annotator="ann", source="text"))

    def undo_ten(_: int) -> int:
        with Store.open(address) as window:
            return sum(window.masks.undo("ann").masks for _ in range(10))

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(undo_ten, range(2))) == [10, 10]
    assert store.masks.find() == []
    assert len(store.masks.find(states=("proposed",))) == 20
    assert miscounts(store) == []


def test_two_people_change_one_mask_at_once(store: Store, new: MakeAnnotation, address: str | Path) -> None:
    kept = store.masks.add(new())
    ready = threading.Barrier(2)

    def correct(width: int) -> str:
        with Store.open(address) as window:
            ready.wait()
            try:
                window.masks.decide(
                    "accepted", f"person {width}", corrections=[Correction(kept.id, 1, rectangle(0, 0, width, 1), {})]
                )[0]
            except Conflict:
                return "conflict"
            return f"person {width}"

    with ThreadPoolExecutor(2) as pool:
        said = list(pool.map(correct, (1, 2)))
    assert sorted(said)[0] == "conflict"
    after = store.masks.get(kept.id)
    assert (after.annotator, after.revision) == (sorted(said)[1], 2)


def test_two_processes_make_one_category_at_once(store: Store, address: str | Path) -> None:
    ready = threading.Barrier(4)

    def make(_: int) -> int:
        with Store.open(address) as window:
            ready.wait()
            return window.categories.add("cow").id

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(make, range(4))) == {1}
    assert len(store.categories.all()) == 1
