"""Errors of the disk and the database become ProjectUnwritable or BadProject, and change nothing."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from maskwright.errors import BadProject, MaskwrightError, ProjectUnwritable
from maskwright.project import Project
from maskwright.store import Store, backups
from maskwright.store import connection as store_connection
from tests.core.store.conftest import MakeAnnotation, changed, on_server, on_sqlite
from tests.core.store.test_processes import SUBPROCESS_ENTRY

as_root = pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="only root can play another user")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user can enter, unlike tmp_path."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def answers(name: str, folder: Path, *before: str) -> list[str]:
    words = [*before, sys.executable, str(SUBPROCESS_ENTRY), name, str(folder)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    if before and re.search(r"unshare|mount", done.stderr):
        pytest.skip("mounting is not permitted here")
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def files(folder: Path) -> list[str]:
    # SQLite's own two files come and go with its connections
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if ".db-" not in file.name)


@as_root
def test_a_folder_of_another_user(open_folder: Path) -> None:
    Project.open(open_folder / "mine", create=True).close()
    Project.open(open_folder / "hidden" / "project", create=True).close()
    (open_folder / "hidden").chmod(0o700)
    before = files(open_folder)
    told = answers("open_as_nobody", open_folder)
    assert len(told) == 6
    for line in told[:5]:
        assert re.match(r"ProjectUnwritable Cannot save: \S+ is read-only or belongs to another user\. ", line)
    assert told[5].startswith("MaskwrightError Cannot write ")
    assert files(open_folder) == before


@as_root
def test_a_read_only_mount(tmp_path: Path) -> None:
    for line in answers("open_read_only", tmp_path, "unshare", "-m"):
        assert re.match(r"ProjectUnwritable Cannot save: \S+ is read-only or belongs to another user\. ", line)
    assert not (tmp_path / "new").exists()


@as_root
def test_a_full_disk_loses_nothing(tmp_path: Path) -> None:
    assert answers("fill_the_disk", tmp_path, "unshare", "-m") == [
        "ProjectUnwritable The disk is full; nothing was lost. Free 200 MB, then try again.",
        "True",
        "True True",
    ]


@on_sqlite
def test_sqlite_out_of_room(store: Store, new: MakeAnnotation) -> None:
    kept = store.masks.add(new())
    with store._transactions.engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(ProjectUnwritable, match=r"The disk is full; nothing was lost\."):
        store.masks.add_many(new(provenance={"note": "x" * 500}) for _ in range(200))
    assert store.masks.find() == [kept]
    with store._transactions.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count = 100000")
    store.masks.add(new())
    assert len(store.masks.find()) == 2


@on_sqlite
def test_another_program_holds_the_lock(
    monkeypatch: pytest.MonkeyPatch, store: Store, new: MakeAnnotation, file: Path
) -> None:
    monkeypatch.setattr(store_connection, "_BUSY_SECONDS", 0.05)
    draft = new()
    with Store.open(file) as other, closing(sqlite3.connect(file, isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(ProjectUnwritable, match="locked"):
            other.masks.add(draft)
        # reading goes on meanwhile
        assert other.masks.find() == []
        holder.execute("ROLLBACK")
        other.masks.add(draft)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"this is not a database at all, but long enough to look like one " * 40, id="text"),
        pytest.param(b"SQLite format 3\0" + b"\xff" * 5000, id="header-only"),
        pytest.param(b"short", id="short"),
    ],
)
def test_a_file_that_is_no_database(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    for create in (False, True):
        with pytest.raises(BadProject, match=r"^The project file is damaged\. ") as caught:
            Store.open(file, create=create)
        assert "\n" not in str(caught.value)
    assert file.read_bytes() == content


@on_sqlite
def test_a_database_damaged_in_the_middle(
    store: Store, new: MakeAnnotation, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.masks.add_many(new(provenance={"note": str(n) * 200}) for n in range(200))
    store.close()
    content = bytearray(file.read_bytes())
    content[-4096 * 20 :] = np.random.default_rng(0).bytes(4096 * 20)
    file.write_bytes(content)
    with pytest.raises(BadProject, match=r"^The project file is damaged\. "):
        Store.open(file)
    # a project too large to be looked over in time is opened, and the damage is met where it is read
    monkeypatch.setattr(backups, "_quick_check", lambda file: None)
    with Store.open(file) as again, pytest.raises(BadProject, match=r"^The project file is damaged\. "):
        again.masks.find(states=("accepted", "rejected"))


@on_sqlite
@pytest.mark.parametrize(
    ("table", "column"), [("prompts", "provenance"), ("annotations", "annotator"), ("annotations", "counts")]
)
def test_a_row_that_is_not_what_we_wrote(store: Store, new: MakeAnnotation, table: str, column: str) -> None:
    store.masks.add(new())
    changed(store, f"UPDATE {table} SET {column} = CAST(x'7bff' AS TEXT)")
    with pytest.raises(MaskwrightError, match="damaged"):
        store.masks.find()


@on_server
def test_another_program_holds_the_servers_lock(
    monkeypatch: pytest.MonkeyPatch, store: Store, new: MakeAnnotation, address: str
) -> None:
    monkeypatch.setattr(store_connection, "_BUSY_SECONDS", 0.2)
    draft = new()
    with Store.open(address) as other, store._transactions.writing() as holder:
        holder.connection()
        with pytest.raises(ProjectUnwritable, match="Cannot save: another program is writing to the project"):
            other.masks.add(draft)
        assert other.masks.find() == []
    store.masks.add(draft)


@on_server
def test_a_server_that_does_not_let_us_write(store: Store, new: MakeAnnotation, address: str) -> None:
    kept, draft = store.masks.add(new()), new()
    name = address.rpartition("?")[0].rpartition("/")[2]
    changed(store, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    with Store.open(address) as other:
        assert other.masks.find() == [kept]
        with pytest.raises(ProjectUnwritable, match="may not write to the database"):
            other.masks.add(draft)


@on_server
def test_a_server_that_goes_away_and_comes_back(store: Store, new: MakeAnnotation, address: str) -> None:
    draft = new()
    with Store.open(address) as other:
        kept = other.masks.add(draft)
        others = "WHERE pid <> pg_backend_pid() AND datname = current_database()"
        changed(store, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity {others}")
        assert other.masks.add(draft).id > kept.id, "nobody notices a restart between two decisions"
        changed(store, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity {others}")
        assert len(other.masks.find()) == 2


@on_server
def test_more_connections_than_the_pool_has(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setattr(store_connection, "_POOL", {"pool_size": 1, "max_overflow": 0, "pool_timeout": 0.1})
    refused = pytest.raises(ProjectUnwritable, match="All connections of this program")
    with Store.open(address) as store, store.dataset() as snapshot:
        assert list(snapshot.images()) == []
        with refused:
            store.counts()


@pytest.mark.parametrize(
    ("address", "says"),
    [
        pytest.param(
            "postgresql+psycopg://nobody:secret@127.0.0.1:9/x", r"127\.0\.0\.1.*Check that the server", id="port"
        ),
        pytest.param("postgresql+psycopg://nobody@/x?host=/nowhere", "Check that the server runs", id="socket"),
    ],
)
def test_a_server_that_is_not_there(address: str, says: str) -> None:
    with pytest.raises(ProjectUnwritable, match=says) as caught:
        Store.open(address)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_our_own_mistakes_surface(store: Store) -> None:
    with pytest.raises(ZeroDivisionError), store._transactions.reading():
        _ = 1 / 0
