"""Opening upgrades old tables after a backup, and changes nothing else."""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, inspect, text

from maskwright import store as store_package
from maskwright.domain import Mask
from maskwright.domain.rle import Rle
from maskwright.errors import BadProject, NothingToUndo, ProjectUnwritable
from maskwright.project.history import describe
from maskwright.store import STATES, NewAnnotation, NewImage, Store
from maskwright.store import connection as store_connection
from maskwright.store.connection import connect, database_url
from maskwright.store.db_errors import plain_errors
from maskwright.store.migrations import bring_up_to_date
from maskwright.store.orm import Base
from tests.core.store.conftest import miscounts, on_server, on_sqlite, rectangle, rows

VERSIONS = Path(store_package.__file__).parent / "versions"
NEXT = """
import sqlalchemy as sa

revision = "0.99_next"
down_revision = "0.9_remote_images"


def upgrade(op):
    op.add_column("images", sa.Column("frame", sa.String, nullable=True))
    {more}
"""
MOMENT = "2026-01-02T03:04:05.678Z"
LEFT, RIGHT = rectangle(0, 0, 4, 10), rectangle(10, 0, 10, 10)
# what 0.3 wrote: two images, three categories, a mask in each state, references, a run
OLD_ROWS = (
    *(
        f"INSERT INTO images VALUES ({n}, '{n:064x}', 'images/{n}.png', 20, 10, 1, '', '{MOMENT}')"
        for n in (1, 2, 5)
    ),
    "INSERT INTO image_aliases VALUES (1, 'photos/café.png')",
    *(
        f"INSERT INTO categories VALUES ({n}, '{name}', '#0072b2', 'animal', '{MOMENT}')"
        for n, name in ((1, "cow"), (2, "草"), (4, "unused"))
    ),
    *(
        f"INSERT INTO annotations VALUES ({key}, '{key:032x}', {image}, {category}, '{state}', '{source}', '{counts}', "
        f"{area}, {x}, 0, {w}, 10, {score}, {revision}, 'ann', '{told}', '{MOMENT}', '{MOMENT}')"
        for key, image, category, state, source, (counts, area, x, w), score, revision, told in (
            (1, 1, 1, "accepted", "text", (LEFT.rle["counts"], 40, 0, 4), 0.5, 1, '{"prompt": "cow, 草"}'),
            (2, 1, 1, "accepted", "manual", (RIGHT.rle["counts"], 100, 10, 10), "NULL", 3, "{}"),
            (3, 1, 2, "rejected", "click", (LEFT.rle["counts"], 40, 0, 4), 0.25, 2, '{"points": [[1.5, 2.5]]}'),
            (6, 2, 2, "proposed", "text", (LEFT.rle["counts"], 40, 0, 4), 0.75, 1, '{"prompt": "cow, 草"}'),
            (9, 2, 1, "deleted", "import", (RIGHT.rle["counts"], 100, 10, 10), "NULL", 2, "{}"),
        )
    ),
    *(
        "INSERT INTO events (id, at, who, kind, annotation_id, image_id, before, after) VALUES "
        f"({n}, '{MOMENT}', 'ann', '{kind}', {annotation}, {image}, {before}, {after})"
        for n, kind, annotation, image, before, after in (
            (1, "image_added", "NULL", 1, "NULL", "NULL"),
            (2, "annotation_added", 3, 1, "NULL", """'{"state": "accepted", "category_id": 2, "revision": 1}'"""),
            (3, "state_changed", 3, 1, """'{"state": "accepted"}'""", """'{"state": "rejected", "revision": 2}'"""),
            (7, "predicted", "NULL", 2, "NULL", """'{"prompt": "p"}'"""),
            (8, "model_activated", "NULL", "NULL", "NULL", """'{"run": "first"}'"""),
        )
    ),
    "INSERT INTO reference_marks VALUES (1, 1, true)",
    "INSERT INTO runs VALUES (1, 'first', 'done', 'head', 'tiny', '{}', '{}', NULL, NULL, '', false, "
    f"'{MOMENT}', '{MOMENT}')",
)  # fmt: skip
SEQUENCES = ("images", "categories", "annotations", "events", "runs")


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def scripts_with_next(folder: Path, more: str = "") -> Path:
    """A copy of our revisions with one more."""
    versions = folder / "scripts" / "versions"
    shutil.copytree(VERSIONS, versions)
    (versions / "v0_99_next.py").write_text(NEXT.format(more=more))
    return versions.parent


def scripts_until(folder: Path, newest: str) -> Path:
    """A copy of our revisions up to one of them."""
    versions = folder / "old" / "versions"
    versions.mkdir(parents=True)
    for module in VERSIONS.glob("v*.py"):
        if module.stem <= newest:
            shutil.copy(module, versions)
    return versions.parent


@pytest.fixture
def engine(bare: str | Path) -> Iterator[Engine]:
    made = connect(database_url(bare))
    yield made
    made.dispose()


@pytest.fixture
def old(engine: Engine, bare: str | Path, tmp_path: Path) -> str | Path:
    """A project as version 0.3 left it, with its address."""
    bring_up_to_date(engine, "x", scripts=scripts_until(tmp_path, "v0_3_references"))
    with engine.begin() as connection:
        for sql in OLD_ROWS:
            connection.exec_driver_sql(sql)
        if engine.dialect.name == "postgresql":
            for table in SEQUENCES:
                connection.exec_driver_sql(f"SELECT setval('{table}_id_seq', (SELECT max(id) FROM {table}))")
    return bare


def test_the_migrated_tables_are_those_of_the_orm(bare: str | Path) -> None:
    with Store.open(bare, create=True) as store, store._transactions.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []


@on_sqlite
def test_ids_are_autoincremented_by_the_tables_too(store: Store) -> None:
    made = dict(rows(store, "SELECT name, sql FROM sqlite_master WHERE type = 'table'"))
    for table in ("images", "categories", "annotations", "prompts", "events", "steps", "runs", "checkpoints"):
        assert "AUTOINCREMENT" in made[table]


def test_a_project_of_version_0_3_keeps_everything(old: str | Path) -> None:
    with Store.open(old) as store:
        found = {one.id: one for one in store.masks.find(states=STATES)}
        assert {key: (one.state, one.category, one.revision) for key, one in found.items()} == {
            1: ("accepted", "cow", 1),
            2: ("accepted", "cow", 3),
            3: ("rejected", "草", 2),
            6: ("proposed", "草", 1),
            9: ("deleted", "cow", 2),
        }
        assert {key: one.provenance for key, one in found.items()} == {
            1: {"prompt": "cow, 草"},
            2: {},
            3: {"points": [[1.5, 2.5]]},
            6: {"prompt": "cow, 草"},
            9: {},
        }
        assert found[1].mask == Mask("cow", Rle(size=[10, 20], counts=LEFT.rle["counts"]), 0.5)
        assert (found[2].mask.area, found[2].mask.bbox, found[2].mask.score) == (100, (10, 0, 10, 10), None)
        assert all((one.crowd, one.created_at, one.annotator) == (False, MOMENT, "ann") for one in found.values())
        assert miscounts(store) == []
        counts = store.counts()
        assert counts.accepted == {"cow": 2, "草": 0, "unused": 0}
        assert (counts.images, counts.annotated_images) == (3, 1)
        assert (counts.rejected, counts.proposed, counts.deleted) == (1, 1, 1)
        assert [(one.record.id, one.accepted, one.proposed) for one in store.images.page()] == [
            (1, 2, 0),
            (2, 0, 1),
            (5, 0, 0),
        ]
        assert [(one.name, one.supercategory, one.shortcut, one.synonyms) for one in store.categories.all()] == [
            (name, "animal", None, ()) for name in ("cow", "草", "unused")
        ]
        assert store.images.by_alias("photos/café.png") == [store.images.get(1)]
        assert [(mark.annotation_id, mark.category, mark.shows) for mark in store.references.all()] == [
            (1, "cow", True)
        ]
        assert [run.name for run in store.runs.all()] == ["first"]
        assert (store.runs.active(), store.predictions.images_done("p"), store.runs.checkpoints()) == ("first", {2}, [])
        assert store.change_number() == 8
        assert [describe(one, {2: "草"})[20:] for one in store.masks.history(3)] == [
            "ann: accepted as 草",
            "ann: rejected",
        ]


def test_work_goes_on_in_a_project_of_version_0_3(old: str | Path) -> None:
    with Store.open(old) as store:
        made = store.masks.add(NewAnnotation(5, "cow", LEFT, "text", {"prompt": "new"}, "ann"))
        assert (made.id, made.provenance) == (10, {"prompt": "new"})
        assert store.categories.add("new").id == 5
        assert store.images.add(NewImage("f" * 64, "images/f.png", 20, 10)).id == 6
        store.masks.decide("accepted", "ann", stored=[6])
        store.masks.undo("ann")
        assert store.masks.get(6).state == "proposed"
        store.masks.set_states({9: None}, "accepted", "ann")
        assert store.masks.get(1).provenance == {"prompt": "cow, 草"}
        assert miscounts(store) == []


def test_what_was_done_before_there_were_steps_cannot_be_undone(old: str | Path) -> None:
    with Store.open(old) as store, pytest.raises(NothingToUndo):
        store.masks.undo("ann")


@on_sqlite
def test_a_project_of_version_0_3_is_copied_first(old: Path) -> None:
    Store.open(old).close()
    (copy,) = (one for one in (old.parent / "backups").iterdir() if "T" in one.name)
    with closing(sqlite3.connect(copy)) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == ("0.3_references",)
        assert connection.execute("SELECT id, provenance FROM annotations WHERE id < 3 ORDER BY id").fetchall() == [
            (1, '{"prompt": "cow, 草"}'),
            (2, "{}"),
        ]


@on_sqlite
def test_an_older_project_that_is_open_elsewhere_is_copied_then_upgraded(
    store: Store, file: Path, tmp_path: Path
) -> None:
    # what stands in the other window's log must be in the copy
    record = store.images.add(NewImage("a" * 64, "images/a.png", 5, 4))
    engine = connect(database_url(file))
    bring_up_to_date(engine, "x", scripts=scripts_with_next(tmp_path))
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT version_num FROM alembic_version")) == "0.99_next"
        assert connection.scalar(text("SELECT frame FROM images")) is None
    engine.dispose()
    (copy,) = (one for one in (tmp_path / "backups").iterdir() if "T" in one.name)
    moved = shutil.move(copy, tmp_path / "old.db")
    with Store.open(moved) as old:
        assert old.images.all() == [record]


def test_a_failed_upgrade_changes_nothing(store: Store, address: str | Path, tmp_path: Path) -> None:
    store.categories.add("cow")
    store.close()
    engine = connect(database_url(address))
    with pytest.raises(ZeroDivisionError):
        bring_up_to_date(engine, "x", scripts=scripts_with_next(tmp_path, "1 / 0"))
    engine.dispose()
    with Store.open(address) as again:
        assert [one.name for one in again.categories.all()] == ["cow"]


def test_an_upgrade_waits_no_longer_than_any_writer(
    store: Store, address: str | Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_connection, "_BUSY_SECONDS", 1)
    engine = connect(database_url(address))
    refused = pytest.raises(ProjectUnwritable, match="another program is writing")
    with store._transactions.writing() as holder:
        holder.connection()
        with refused, plain_errors("x", store._transactions.file):
            bring_up_to_date(engine, "x", scripts=scripts_with_next(tmp_path))
    engine.dispose()


NEWER = [
    pytest.param("3.1_planes", "This project was made by version 3.1; you have ", id="newer"),
    pytest.param("1a2b3c", "made by another version .tables '1a2b3c'.; you have ", id="unknown"),
]


@pytest.mark.parametrize(("revision", "says"), NEWER)
def test_a_newer_project_is_refused_untouched(file: Path, revision: str, says: str) -> None:
    # by hand: what opening it once would make is not to be there
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
        connection.execute("INSERT INTO alembic_version VALUES (?)", [revision])
        connection.commit()
    before = digest(file)
    for create in (False, True):
        with pytest.raises(BadProject, match=says) as caught:
            Store.open(file, create=create)
        assert "The file was not changed." in str(caught.value)
    assert digest(file) == before
    assert [one.name for one in file.parent.iterdir()] == ["project.db"]


@pytest.mark.parametrize(("revision", "says"), NEWER)
def test_the_tables_of_a_newer_project_are_refused(store: Store, address: str | Path, revision: str, says: str) -> None:
    store.categories.add("cow")
    with store._transactions.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :one"), {"one": revision})
    with pytest.raises(BadProject, match=says):
        Store.open(address)
    assert [one.name for one in store.categories.all()] == ["cow"]


def test_another_programs_database_is_refused_untouched(engine: Engine, bare: str | Path) -> None:
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE recipes (name TEXT)"))
    engine.dispose()
    for create in (False, True):
        with pytest.raises(BadProject, match="is a database, but not a Maskwright project"):
            Store.open(bare, create=create)
    assert inspect(engine).get_table_names() == ["recipes"]


@on_server
def test_an_empty_database_becomes_a_project_only_on_request(bare: str) -> None:
    with pytest.raises(BadProject, match=r"There is no project in .*Create one with `maskwright project new`\."):
        Store.open(bare)
    engine = connect(database_url(bare))
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")) == 0
    engine.dispose()
    Store.open(bare, create=True).close()
    Store.open(bare).close()


def test_an_interrupted_creation_can_go_on(file: Path) -> None:
    file.touch()
    with pytest.raises(BadProject, match="The project file is damaged"):
        Store.open(file)
    with Store.open(file, create=True) as store:
        assert store.change_number() == 0


@on_sqlite
def test_opening_again_writes_nothing(store: Store, file: Path) -> None:
    store.close()
    there = {one.name for one in file.parent.iterdir()}
    before = digest(file)
    Store.open(file).close()
    assert digest(file) == before
    assert {one.name for one in file.parent.iterdir()} == there == {"project.db", "backups"}


@on_server
def test_an_upgrade_lets_others_read_meanwhile(store: Store, address: str, tmp_path: Path) -> None:
    store.images.add(NewImage("a" * 64, "images/a.png", 20, 10))
    scripts = scripts_with_next(tmp_path)
    engine, failures, reads = connect(database_url(address)), list[BaseException](), list[float]()

    def upgrade() -> None:
        try:
            bring_up_to_date(engine, "x", scripts=scripts)
        except BaseException as error:
            failures.append(error)

    upgrading = threading.Thread(target=upgrade)
    with Store.open(address) as exporting, exporting.dataset() as snapshot:
        assert len(list(snapshot.images())) == 1
        upgrading.start()
        for _ in range(15):
            began = time.monotonic()
            assert len(store.images.all()) == 1
            reads.append(time.monotonic() - began)
            time.sleep(0.1)
        assert upgrading.is_alive(), "the table is being read"
    upgrading.join()
    assert failures == []
    assert max(reads) < 3, "one who reads stands in line behind the upgrade only for a moment"
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT frame FROM images")) is None
    engine.dispose()
