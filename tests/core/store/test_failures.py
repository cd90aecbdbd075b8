"""What the disk refuses becomes one sentence with the way out, and changes nothing."""

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

from maskwright.domain import ImageRecord
from maskwright.errors import BadProject, MaskwrightError, ProjectUnwritable
from maskwright.project import Project
from maskwright.store import Store
from maskwright.store import connection as store_connection
from tests.core.store.conftest import MakeAnnotation
from tests.core.store.test_processes import CHILD

as_root = pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="only root can play another user")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user can enter, unlike tmp_path."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def answers(name: str, folder: Path, *before: str) -> list[str]:
    words = [*before, sys.executable, str(CHILD), name, str(folder)]
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


def test_sqlite_out_of_room(store: Store, new: MakeAnnotation) -> None:
    kept = store.add_annotation(new())
    with store._engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(ProjectUnwritable, match=r"The disk is full; nothing was lost\."):
        store.add_annotations(new(provenance={"note": "x" * 500}) for _ in range(200))
    assert store.annotations() == [kept]
    with store._engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count = 100000")
    store.add_annotation(new())
    assert len(store.annotations()) == 2


def test_another_program_holds_the_lock(
    monkeypatch: pytest.MonkeyPatch, store: Store, new: MakeAnnotation, file: Path
) -> None:
    monkeypatch.setattr(store_connection, "_BUSY_SECONDS", 0.05)
    draft = new()
    with Store.open(file) as other, closing(sqlite3.connect(file, isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(ProjectUnwritable, match="locked"):
            other.add_annotation(draft)
        # reading goes on meanwhile
        assert other.annotations() == []
        holder.execute("ROLLBACK")
        other.add_annotation(draft)


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


def test_a_database_damaged_in_the_middle(store: Store, new: MakeAnnotation, file: Path) -> None:
    store.add_annotations(new(provenance={"note": str(n) * 200}) for n in range(200))
    store.close()
    (file.parent / "backups").mkdir()
    shutil.copy(file, file.parent / "backups" / "project-20260101-0.1_first.db")
    content = bytearray(file.read_bytes())
    content[-4096 * 20 :] = np.random.default_rng(0).bytes(4096 * 20)
    file.write_bytes(content)
    # the first pages are whole, so it is found where the masks are read
    with Store.open(file) as again, pytest.raises(BadProject, match=r"^The project file is damaged\. .*0\.1_first\.db"):
        again.snapshot(states=("accepted", "rejected"))


@pytest.mark.parametrize("column", ["provenance", "annotator", "counts"])
def test_a_row_that_is_not_what_we_wrote(store: Store, new: MakeAnnotation, file: Path, column: str) -> None:
    store.add_annotation(new())
    with closing(sqlite3.connect(file)) as connection:
        connection.execute(f"UPDATE annotations SET {column} = CAST(x'7bff' AS TEXT)")
        connection.commit()
    with pytest.raises(MaskwrightError, match="damaged"):
        store.annotations()


def test_our_own_mistakes_surface(store: Store, image: ImageRecord) -> None:
    with pytest.raises(ZeroDivisionError), store._reading():
        _ = 1 / 0
