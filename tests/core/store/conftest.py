"""A store with one image of 20 x 10 pixels, in a file and on a server."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import text

from maskwright.domain import ImageRecord, Mask
from maskwright.store import NewAnnotation, NewImage, Store
from tests.core.store import postgres

MakeAnnotation = Callable[..., NewAnnotation]

on_sqlite = pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
"""For what only a file has: its damage, its copies, its pragmas."""
on_server = pytest.mark.parametrize("kind", ["postgresql"], indirect=True)


@pytest.fixture(scope="session")
def server() -> Iterator[postgres.Server]:
    if reason := postgres.why_not():
        assert not postgres.must_be_there(), reason
        pytest.skip(reason)
    with postgres.running() as started:
        yield started


@pytest.fixture(params=["sqlite", "postgresql"])
def kind(request: pytest.FixtureRequest) -> str:
    """Which database a test uses; by default it runs once for each."""
    return str(request.param)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "project.db"


@pytest.fixture(scope="session")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project file without a row: making the tables anew for each test would take longer than most tests."""
    made = tmp_path_factory.mktemp("tables") / "project.db"
    Store.open(made, create=True).close()
    return made


@pytest.fixture
def address(kind: str, file: Path, tables: Path, request: pytest.FixtureRequest) -> Iterator[str | Path]:
    """What `Store.open` takes: a file or the URL of a database that have the tables."""
    if kind == "sqlite":
        shutil.copy(tables, file)
        yield file
    else:
        with request.getfixturevalue("server").database("tables") as url:
            yield url


@pytest.fixture
def bare(kind: str, file: Path, request: pytest.FixtureRequest) -> Iterator[str | Path]:
    """As `address`, but there is no file yet, or the database is empty."""
    if kind == "sqlite":
        yield file
    else:
        with request.getfixturevalue("server").database() as url:
            yield url


@pytest.fixture
def store(address: str | Path) -> Iterator[Store]:
    with Store.open(address, create=True) as opened:
        yield opened


@pytest.fixture
def image(store: Store) -> ImageRecord:
    return store.images.add(NewImage("a" * 64, "images/cow.jpg", 20, 10, alias="photos/cow.jpg", user="ann"))


@pytest.fixture
def other_image(store: Store, image: ImageRecord) -> ImageRecord:
    return store.images.add(NewImage("b" * 64, "images/sheep.jpg", 20, 10, user="ann"))


@pytest.fixture
def new(image: ImageRecord) -> MakeAnnotation:
    """A new annotation of a 3 x 6 rectangle; name what should differ."""

    def make(category: str = "cow", *, score: float | None = None, **others: object) -> NewAnnotation:
        values: dict[str, object] = {"image_id": image.id, "mask": rectangle(3, 2, 6, 3, score=score)} | others
        return NewAnnotation(category=category, **values)  # type: ignore[arg-type]

    return make


def rectangle(x: int, y: int, w: int, h: int, *, score: float | None = None) -> Mask:
    """A mask of the image's size."""
    pixels = np.zeros((10, 20), bool)
    pixels[y : y + h, x : x + w] = True
    return Mask.from_array(pixels, score=score)


def rows(store: Store, sql: str, **values: Any) -> list[tuple[Any, ...]]:
    """What the database itself says."""
    with store._transactions.engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(sql), values)]


def changed(store: Store, *statements: str) -> None:
    """Alter the database behind the store's back."""
    with store._transactions.engine.begin() as connection:
        for sql in statements:
            connection.execute(text(sql))


def miscounts(store: Store) -> Sequence[tuple[Any, ...]]:
    """Numbers that are not those of the rows; there should be none."""
    tallies = rows(
        store,
        "SELECT category_id, state, sum(kept), sum(real) FROM ("
        " SELECT category_id, state, number AS kept, 0 AS real FROM tallies"
        " UNION ALL SELECT category_id, state, 0, count(*) FROM annotations GROUP BY category_id, state"
        ") AS both_sides GROUP BY category_id, state HAVING sum(kept) <> sum(real)",
    )
    images = rows(
        store,
        "SELECT id, accepted, proposed FROM images WHERE "
        "accepted <> (SELECT count(*) FROM annotations WHERE image_id = images.id AND state = 'accepted') OR "
        "proposed <> (SELECT count(*) FROM annotations WHERE image_id = images.id AND state = 'proposed')",
    )
    return [*tallies, *images]
