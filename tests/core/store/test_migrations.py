"""Opening brings old tables up to date after a copy, and leaves everything else alone."""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, text

from maskwright import store as store_package
from maskwright.errors import BadProject
from maskwright.store import NewImage, Store
from maskwright.store.connection import connect, database_url
from maskwright.store.migrations import bring_up_to_date
from maskwright.store.orm import Base

NEXT = """
import sqlalchemy as sa

revision = "0.4_next"
down_revision = "0.3_references"


def upgrade(op):
    op.add_column("images", sa.Column("frame", sa.String, nullable=True))
    {more}
"""


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def engine_of(file: Path) -> Engine:
    return connect(database_url(file))


def scripts_with_next(folder: Path, more: str = "") -> Path:
    """A copy of our revisions with one more."""
    versions = folder / "scripts" / "versions"
    shutil.copytree(Path(store_package.__file__).parent / "versions", versions)
    (versions / "v0_3_next.py").write_text(NEXT.format(more=more))
    return versions.parent


def test_the_migrated_tables_are_those_of_the_orm(store: Store) -> None:
    with store._engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []


def test_ids_are_autoincremented_by_the_tables_too(store: Store, file: Path) -> None:
    with closing(sqlite3.connect(file)) as connection:
        made = dict(connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'").fetchall())
    for table in ("images", "categories", "annotations", "events", "runs"):
        assert "AUTOINCREMENT" in made[table]


def test_an_older_project_is_copied_then_upgraded(store: Store, file: Path, tmp_path: Path) -> None:
    record = store.add_image(NewImage("a" * 64, "images/a.png", 5, 4))
    # another window has it open while it is copied: what stands in its log must be in the copy
    engine = engine_of(file)
    bring_up_to_date(engine, "x", scripts=scripts_with_next(tmp_path))
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT version_num FROM alembic_version")) == "0.4_next"
        assert connection.scalar(text("SELECT frame FROM images")) is None
    engine.dispose()
    (copy,) = (tmp_path / "backups").iterdir()
    assert copy.name.startswith("project-")
    assert copy.name.endswith("Z-0.3_references.db")
    with Store.open(copy) as old:
        assert old.images() == [record]


def test_a_failed_upgrade_changes_nothing(store: Store, file: Path, tmp_path: Path) -> None:
    store.category("cow")
    store.close()
    engine = engine_of(file)
    with pytest.raises(ZeroDivisionError):
        bring_up_to_date(engine, "x", scripts=scripts_with_next(tmp_path, "1 / 0"))
    engine.dispose()
    with Store.open(file) as again:
        assert [one.name for one in again.categories()] == ["cow"]


@pytest.mark.parametrize(
    ("revision", "says"),
    [
        pytest.param("3.1_planes", "This project was made by version 3.1; you have ", id="newer"),
        pytest.param("1a2b3c", "made by another version .tables '1a2b3c'.; you have ", id="unknown"),
    ],
)
def test_a_newer_project_is_refused_untouched(store: Store, file: Path, revision: str, says: str) -> None:
    store.category("cow")
    store.close()
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", [revision])
        connection.commit()
    before = digest(file)
    for create in (False, True):
        with pytest.raises(BadProject, match=says) as caught:
            Store.open(file, create=create)
        assert "The file was not changed." in str(caught.value)
    assert digest(file) == before
    assert [one.name for one in file.parent.iterdir()] == ["project.db"]


def test_another_programs_database_is_refused_untouched(file: Path) -> None:
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE recipes (name TEXT)")
        connection.commit()
    before = digest(file)
    with pytest.raises(BadProject, match="is a database, but not a Maskwright project"):
        Store.open(file, create=True)
    assert digest(file) == before


def test_an_interrupted_creation_can_go_on(file: Path) -> None:
    file.touch()
    with pytest.raises(BadProject, match="The project file is damaged"):
        Store.open(file)
    with Store.open(file, create=True) as store:
        assert store.change_number() == 0


def test_opening_again_writes_nothing(store: Store, file: Path) -> None:
    store.close()
    before = digest(file)
    Store.open(file).close()
    assert digest(file) == before
    assert [one.name for one in file.parent.iterdir()] == ["project.db"]
