"""Backups: daily in a thread, on request, and restored after damage."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pytest

from maskwright.errors import BadProject, ProjectUnwritable
from maskwright.store import Store, backups
from maskwright.store.backups import restore
from tests.core.store.conftest import MakeAnnotation
from tests.core.store.test_processes import SUBPROCESS_ENTRY, intact

DAY = datetime.now(UTC).date()
TODAY = f"project-{DAY:%Y%m%d}.db"


def clock(day: date) -> type[datetime]:
    """A clock that runs, but stays on this day."""

    class Clock(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
            return datetime.combine(day, datetime.now(UTC).time(), UTC)

    return Clock


@pytest.fixture(autouse=True)
def same_day(monkeypatch: pytest.MonkeyPatch) -> None:
    """Midnight may pass between the collection of the tests and their end."""
    monkeypatch.setattr(backups, "datetime", clock(DAY))


@pytest.fixture
def kind() -> str:
    """Only a file is copied here."""
    return "sqlite"


def copies(file: Path) -> list[str]:
    folder = file.parent / "backups"
    return sorted(one.name for one in folder.iterdir()) if folder.exists() else []


def masks(file: Path) -> int:
    with closing(sqlite3.connect(file)) as connection:
        return int(connection.execute("SELECT count(*) FROM annotations WHERE state = 'accepted'").fetchone()[0])


def damage(file: Path) -> bytes:
    content = bytearray(file.read_bytes())
    content[2000:] = np.random.default_rng(0).bytes(len(content) - 2000)
    file.write_bytes(content)
    return bytes(content)


def open_a_day_later(file: Path, days: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(backups, "datetime", clock(date(2027, 1, 1 + days)))
        Store.open(file).close()


@pytest.fixture
def closed(store: Store, new: MakeAnnotation, file: Path) -> Path:
    """A project with two accepted masks, closed, whose copy of today has both."""
    store.masks.add_many([new(), new(), new(state="proposed")])
    store.close()
    (file.parent / "backups" / TODAY).unlink()
    Store.open(file).close()
    return file


# the daily one


def test_the_first_opening_of_a_day_makes_a_copy_beside_the_work(
    store: Store, new: MakeAnnotation, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.masks.add(new())
    store.close()
    (file.parent / "backups" / TODAY).unlink()
    go_on = threading.Event()
    real = backups._copy_to

    def slow(source: Path, whole: Path) -> Path:
        assert go_on.wait(20)
        return real(source, whole)

    monkeypatch.setattr(backups, "_copy_to", slow)
    again = Store.open(file)
    # the work goes on meanwhile
    again.masks.add(new())
    assert copies(file) == []
    go_on.set()
    again.close()
    assert copies(file) == [TODAY]
    assert masks(file.parent / "backups" / TODAY) == 2


def test_a_second_opening_on_the_same_day_makes_none(closed: Path, new: MakeAnnotation) -> None:
    first = (closed.parent / "backups" / TODAY).stat()
    with Store.open(closed) as store:
        store.masks.add(new())
    assert copies(closed) == [TODAY]
    second = (closed.parent / "backups" / TODAY).stat()
    assert (second.st_ino, second.st_mtime_ns) == (first.st_ino, first.st_mtime_ns)


def test_five_days_are_kept(closed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    others = ["mine.db", "project-20260101T000000000000Z.db", "project-big-20260101.db", "notes.txt"]
    for name in others:
        shutil.copy(closed, closed.parent / "backups" / name)
    for day in range(7):
        open_a_day_later(closed, day, monkeypatch)
    assert copies(closed) == sorted([*others, *(f"project-2027010{day}.db" for day in range(3, 8))])


def test_two_openings_at_once_leave_a_whole_copy(closed: Path) -> None:
    for _ in range(5):
        (closed.parent / "backups" / TODAY).unlink()
        stores = [Store.open(closed) for _ in range(4)]
        for one in stores:
            one.close()
        assert copies(closed) == [TODAY]
        assert intact(closed.parent / "backups" / TODAY)
        assert masks(closed.parent / "backups" / TODAY) == 2


def test_another_process_that_makes_the_same_copy_does_no_harm(closed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = closed.parent / "backups" / TODAY
    real, others = backups._full_check, list[Path]()

    def meanwhile(file: Path) -> None:
        if not others:
            others.append(whole)
            backups._copy_to(closed, whole)
        real(file)

    monkeypatch.setattr(backups, "_full_check", meanwhile)
    backups._copy_to(closed, whole)
    assert others == [whole]
    assert masks(whole) == 2


def test_what_a_killed_copying_left_is_no_hindrance_and_goes(closed: Path) -> None:
    folder = closed.parent / "backups"
    (folder / TODAY).unlink()
    left = [folder / f"project-{DAY:%Y%m%d}-0a1b2c3d.partial{end}" for end in ("", "-journal")]
    young = folder / "project-20270101-0a1b2c3d.partial"
    for one in (*left, young):
        one.write_bytes(b"half")
    for one in left:
        os.utime(one, (time.time() - 3600,) * 2)
    Store.open(closed).close()
    assert copies(closed) == sorted([TODAY, young.name])
    assert masks(folder / TODAY) == 2


def test_no_room_for_the_copy_does_not_stop_the_work(store: Store, new: MakeAnnotation, file: Path) -> None:
    store.close()
    shutil.rmtree(file.parent / "backups")
    (file.parent / "backups").write_text("in the way")
    with Store.open(file) as again:
        again.masks.add(new())
        with pytest.raises(ProjectUnwritable, match=re.escape(str(file.parent / "backups"))):
            again.back_up()
    assert masks(file) == 1


# on request


def test_a_copy_has_what_is_in_the_log_of_an_open_project(store: Store, new: MakeAnnotation, file: Path) -> None:
    kept = store.masks.add(new())
    copy = store.back_up()
    store.masks.add(new())
    assert intact(copy)
    assert masks(copy) == 1
    moved = Path(shutil.move(copy, file.parent / "moved.db"))
    with Store.open(moved) as other:
        assert other.masks.find() == [kept]


def test_copies_are_listed_with_their_masks_the_newest_first(store: Store, new: MakeAnnotation, file: Path) -> None:
    made = []
    for number in range(3):
        made.append(store.back_up())
        os.utime(made[-1], (1_800_000_000 + number,) * 2)
        store.masks.add(new())
    (file.parent / "backups" / "project-20260102.db").write_bytes(b"not a copy")
    (file.parent / "backups" / "project-20251231T010203000000Z-0.3_references.db").write_bytes(made[0].read_bytes())
    store.close()
    found = backups.backups(file)
    assert [(one.file, one.masks) for one in found[:3]] == [(made[2], 2), (made[1], 1), (made[0], 0)]
    assert found[0].made == datetime.fromtimestamp(1_800_000_002, UTC)
    assert "0.3_references" in str([one.file for one in found])
    assert "project-20260102.db" not in str([one.file for one in found])


@pytest.mark.parametrize("name", ["a[1] #%.db", "project.v2.db"])
def test_databases_in_one_folder_do_not_take_each_others_copies(file: Path, name: str) -> None:
    odd, longer = file.with_name(name), file.with_name(f"{Path(name).stem}-big.db")
    for one, category in ((odd, "odd"), (longer, "longer")):
        with Store.open(one, create=True) as store:
            store.categories.add(category)
            store.back_up()
    assert len(backups.backups(odd)) == 2
    restore(odd)
    with Store.open(odd) as store:
        assert [one.name for one in store.categories.all()] == ["odd"]


# damage


def emptied(file: Path) -> bytes:
    file.write_bytes(b"")
    return b""


def cut_off(file: Path) -> bytes:
    content = file.read_bytes()[:-5000]
    file.write_bytes(content)
    return content


@pytest.mark.parametrize("harm", [damage, emptied, cut_off])
def test_a_damaged_project_is_refused_with_its_newest_copy_and_restored(
    closed: Path, harm: Callable[[Path], bytes]
) -> None:
    with Store.open(closed) as store:
        before = store.masks.find()
    content = harm(closed)
    with pytest.raises(BadProject) as caught:
        Store.open(closed)
    assert str(caught.value) == (
        f"The project file is damaged. Restore the backup of {DAY:%Y-%m-%d} (2 masks) with "
        f"`maskwright project restore {closed.parent}`; the damaged file is kept."
    )
    assert closed.read_bytes() == content
    chosen, aside = restore(closed)
    assert (chosen.file.name, chosen.masks) == (TODAY, 2)
    assert aside is not None
    assert aside.read_bytes() == content
    with Store.open(closed) as store:
        assert store.masks.find() == before
    assert TODAY in copies(closed), "the copy itself stays"


def test_damage_without_a_copy_names_the_file(store: Store, file: Path) -> None:
    store.close()
    shutil.rmtree(file.parent / "backups")
    damage(file)
    with pytest.raises(BadProject, match=re.escape(str(file))):
        Store.open(file)
    with pytest.raises(BadProject, match="There is no backup"):
        restore(file)


def test_a_damaged_project_is_not_copied_over_a_good_copy(closed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    damage(closed)
    with monkeypatch.context() as patch:
        # as when it is so large that looking it over takes too long
        patch.setattr(backups.DailyBackup, "__init__", lambda self, file: None)
        daily = backups.DailyBackup(closed)
        daily._file = closed
        daily._copy()
    assert masks(closed.parent / "backups" / TODAY) == 2


# restoring


def test_an_older_copy_can_be_chosen(closed: Path, new: MakeAnnotation) -> None:
    with Store.open(closed) as store:
        older = store.back_up()
        store.masks.add(new())
        store.back_up()
    chosen, aside = restore(closed, older)
    assert (chosen.file, masks(closed)) == (older, 2)
    assert aside is not None
    assert masks(aside) == 3
    with pytest.raises(BadProject, match=r"There is no backup nowhere\.db of "):
        restore(closed, Path("nowhere.db"))
    # what was replaced is no copy that a later restoring would take by default
    assert aside not in [one.file for one in backups.backups(closed)]


def test_a_project_without_its_file_is_restored(closed: Path) -> None:
    closed.unlink()
    assert restore(closed)[1] is None
    assert masks(closed) == 2


def test_no_restoring_while_another_process_has_it_open(closed: Path) -> None:
    words = [sys.executable, str(SUBPROCESS_ENTRY), "hold_open", str(closed)]
    child = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "open\n"
    before = copies(closed)
    with pytest.raises(ProjectUnwritable, match="Another program"):
        restore(closed)
    assert copies(closed) == before
    # it goes on as if nothing had been asked
    assert child.communicate("go on\n", timeout=30)[0] == "3 accepted\n"
    assert masks(closed) == 3
    restore(closed)
    assert masks(closed) == 2


@pytest.fixture
def killed(closed: Path) -> Path:
    """The project after a process died that had accepted a third mask, which stands in the log only."""
    words = [sys.executable, str(SUBPROCESS_ENTRY), "hold_open", str(closed)]
    child = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write("stay\n")
    child.stdin.flush()
    assert [child.stdout.readline() for _ in range(2)] == ["open\n", "3 accepted\n"]
    child.kill()
    child.wait()
    assert closed.with_name("project.db-wal").exists()
    return closed


def test_what_a_killed_process_had_accepted_is_in_the_file_that_is_put_aside(killed: Path) -> None:
    _, aside = restore(killed)
    assert masks(killed) == 2
    assert aside is not None
    assert masks(aside) == 3


def test_the_log_of_a_damaged_file_is_not_read_as_that_of_the_restored_one(killed: Path) -> None:
    killed.write_bytes(b"no database" * 1000)
    _, aside = restore(killed)
    assert aside is not None
    assert aside.read_bytes() == b"no database" * 1000
    assert masks(killed) == 2
    assert sorted(one.name for one in killed.parent.iterdir()) == ["backups", "project.db"]


def test_a_damaged_copy_is_refused(closed: Path) -> None:
    copy = closed.parent / "backups" / TODAY
    content = bytearray(copy.read_bytes())
    content[-4096:] = np.random.default_rng(0).bytes(4096)
    copy.write_bytes(content)
    before = closed.read_bytes()
    with pytest.raises(BadProject, match=r"is damaged, too|There is no backup"):
        restore(closed)
    assert closed.read_bytes() == before


def test_no_room_for_restoring_replaces_nothing(
    closed: Path, new: MakeAnnotation, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with Store.open(closed) as store:
        store.masks.add(new())
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ProjectUnwritable, match="No space left on device"):
        restore(closed)
    assert masks(closed) == 3
    assert copies(closed) == [TODAY]
    assert sorted(one.name for one in closed.parent.iterdir()) == ["backups", "project.db"]


def test_damage_that_opening_did_not_see_stops_writing(
    store: Store, new: MakeAnnotation, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.masks.add_many(new() for _ in range(2000))
    store.close()
    for copy in (file.parent / "backups").glob("*"):
        copy.unlink()
    # as of a file so large that opening looks at its small tables only
    monkeypatch.setattr(backups, "_SMALL", 0)
    with file.open("rb+") as handle:
        handle.seek(file.stat().st_size // 8192 * 4096)
        handle.write(b"\7" * 65536)
    with Store.open(file) as opened:
        assert opened._transactions.backup is not None
        opened._transactions.backup.wait()
        with pytest.raises(BadProject, match="The project file is damaged"):
            opened.categories.add("late")
    assert copies(file) == []
