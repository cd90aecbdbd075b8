"""Changes of other processes are reported by image, at a cost that depends on the changes only."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from maskwright.domain import FinetunePlan, ImageRecord
from maskwright.store import STATES, Changes, Correction, NewDataset, NewImage, NewRun, Store, queries
from tests.core.store.conftest import MakeAnnotation, on_sqlite, rectangle
from tests.core.store.test_processes import SUBPROCESS_ENTRY


@contextmanager
def statements(store: Store) -> Iterator[list[tuple[str, object]]]:
    """The SQL that runs inside the block, without what begins and ends transactions."""
    seen: list[tuple[str, object]] = []

    def note(connection: object, cursor: object, sql: str, values: object, *others: object) -> None:
        if not sql.startswith(("BEGIN", "SELECT set_config")):
            seen.append((sql, values))

    event.listen(store._transactions.engine, "before_cursor_execute", note)
    yield seen
    event.remove(store._transactions.engine, "before_cursor_execute", note)


def plan(store: Store, sql: str, values: Any) -> str:
    with store._transactions.engine.connect() as connection:
        return "\n".join(str(row[3]) for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", values))


# the feed


def test_only_the_images_that_were_touched_are_reported(
    store: Store, new: MakeAnnotation, image: ImageRecord, other_image: ImageRecord, address: str | Path
) -> None:
    first = store.masks.add(new(annotator="ann"))
    store.masks.add(new(image_id=other_image.id))
    number = store.change_number()
    assert store.changes(number) == Changes(number, frozenset(), others=False)
    with Store.open(address) as window:
        window.masks.decide("accepted", "bob", corrections=[Correction(first.id, 1, rectangle(0, 0, 1, 1), {})])[0]
        assert store.changes(number) == Changes(number + 1, frozenset({image.id}), others=False)
        window.masks.undo("bob")
        window.masks.set_states({first.id: None}, "deleted", "bob")
    assert store.changes(number) == Changes(number + 3, frozenset({image.id}), others=False)
    assert store.changes(number + 3) == Changes(number + 3, frozenset(), others=False)


@pytest.mark.parametrize(
    ("act", "images", "others"),
    [
        pytest.param(lambda store, new: store.images.add(NewImage("c" * 64, "c.png", 2, 2)), {3}, False, id="image"),
        pytest.param(lambda store, new: store.masks.add(new("cow")), {1}, False, id="mask"),
        pytest.param(lambda store, new: store.masks.add(new("new")), {1}, True, id="new-category"),
        pytest.param(lambda store, new: store.categories.change("cow", "ann", shortcut=5), set(), True, id="key"),
        pytest.param(lambda store, new: store.categories.merge("cow", "sky", "ann"), {1, 2}, True, id="merge"),
        pytest.param(lambda store, new: store.predictions.add(2, [], "p", "ann"), {2}, False, id="prediction"),
        pytest.param(lambda store, new: store.runs.activate(None, "ann"), set(), True, id="model"),
        pytest.param(
            lambda store, new: store.runs.add(
                NewRun("r", "head", "tiny", FinetunePlan(categories=(), train=(), masks=()))
            ),
            set(),
            True,
            id="run",
        ),
        pytest.param(lambda store, new: store.references.mark(1, "cow", "ann", shows=True), set(), True, id="example"),
        pytest.param(lambda store, new: store.masks.purge("ann"), set(), True, id="purge"),
        pytest.param(
            lambda store, new: store.images.relocate(2, "ann", file_name="x.png"),
            {2},
            False,
            id="relinked",
        ),
        pytest.param(lambda store, new: store.masks.find(), set(), False, id="reading"),
    ],
)
def test_every_change_is_reported(
    store: Store,
    new: MakeAnnotation,
    other_image: ImageRecord,
    act: Callable[[Store, MakeAnnotation], object],
    images: set[int],
    others: bool,
) -> None:
    store.masks.add_many([new("cow"), new("cow", image_id=other_image.id), new("sky", state="rejected")])
    number = store.change_number()
    act(store, new)
    told = store.changes(number)
    assert (told.images, told.others, told.complete) == (images, others, True)


def test_another_process_is_seen(store: Store, new: MakeAnnotation, address: str | Path) -> None:
    kept = store.masks.add(new())
    number = store.change_number()
    words = [sys.executable, str(SUBPROCESS_ENTRY), "delete_one", str(address)]
    subprocess.run(words, check=True, env=os.environ | {"MASK": str(kept.id)}, timeout=60)
    assert store.changes(number) == Changes(number + 1, frozenset({kept.image_id}), others=False)
    assert store.masks.find() == []


def test_after_very_much_everything_is_read_again(
    store: Store, new: MakeAnnotation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "_MOST_CHANGES", 10)
    number = store.change_number()
    store.masks.add_many(new() for _ in range(9))
    assert store.changes(number).complete
    store.masks.add(new())
    assert store.changes(number) == Changes(store.change_number(), frozenset(), others=True, complete=False)


# what it costs


@pytest.fixture
def large(store: Store) -> Store:
    """Enough rows for a planner to care."""
    images = [NewImage(f"{n:064x}", f"images/{n}.png", 20, 10) for n in range(300)]
    store.imports.add(NewDataset(images, [], [], user="ann"))
    return store


@on_sqlite
@pytest.mark.parametrize(
    "ask",
    [
        pytest.param(lambda store: store.changes(290), id="changes"),
        pytest.param(lambda store: store.change_number(), id="number"),
        pytest.param(lambda store: store.images.page(after_id=100, limit=10), id="page"),
        pytest.param(lambda store: store.counts(), id="counts"),
        pytest.param(lambda store: store.masks.find(5), id="masks-of-an-image"),
        pytest.param(lambda store: store.masks.find(5, STATES), id="masks-of-an-image-in-any-state"),
        pytest.param(lambda store: store.runs.active(), id="active"),
        pytest.param(lambda store: store.predictions.images_done("p"), id="predicted"),
        pytest.param(lambda store: store.masks.history(5), id="history"),
        pytest.param(lambda store: store.images.boxes(5), id="boxes"),
        pytest.param(lambda store: store.imports.image_of_masks(["a" * 32]), id="image-of-masks"),
        pytest.param(lambda store: store.references.all(), id="reference-marks"),
        pytest.param(lambda store: store.images.by_alias("x"), id="alias"),
    ],
)
def test_no_question_reads_all_masks_or_the_whole_history(large: Store, ask: Callable[[Store], object]) -> None:
    with statements(large) as seen:
        ask(large)
    assert seen
    for sql, values in seen:
        steps = plan(large, sql, values)
        for table in ("annotations", "events", "prompts", "steps"):
            assert f"SCAN {table}" not in steps, f"{sql}\n{steps}"


@on_sqlite
def test_the_plan_of_a_slow_question_would_be_noticed(large: Store) -> None:
    with statements(large) as seen:
        large.masks.find()
    assert any("SCAN annotations" in plan(large, sql, values) for sql, values in seen)


@on_sqlite
@pytest.mark.parametrize(
    "act",
    [
        pytest.param(lambda store, new: store.masks.add(new(annotator="ann")), id="accept"),
        pytest.param(lambda store, new: store.masks.set_states({1: None}, "deleted", "ann")[0], id="delete"),
        pytest.param(lambda store, new: store.masks.undo("ann"), id="undo"),
        pytest.param(
            lambda store, new: store.masks.decide(
                "accepted", "ann", corrections=[Correction(1, 1, rectangle(0, 0, 2, 2), {})]
            )[0],
            id="correct",
        ),
        pytest.param(
            lambda store, new: store.predictions.add(1, [new(state="proposed", source="text")], "p", "ann"),
            id="predict",
        ),
    ],
)
def test_no_action_gets_slower_with_the_number_of_masks(
    store: Store, new: MakeAnnotation, act: Callable[[Store, MakeAnnotation], object]
) -> None:
    store.masks.add(new(annotator="ann"))
    with statements(store) as seen:
        act(store, new)
    for sql, values in seen:
        steps = plan(store, sql, values)
        assert "SCAN annotations" not in steps, f"{sql}\n{steps}"
        assert "SCAN events" not in steps, f"{sql}\n{steps}"


def test_looking_for_changes_is_two_short_questions(store: Store, new: MakeAnnotation) -> None:
    store.masks.add_many(new() for _ in range(50))
    number = store.change_number()
    store.masks.add(new())
    with statements(store) as seen:
        store.changes(number)
    assert len(seen) == 2


@pytest.mark.parametrize("number", [5, 50])
def test_reading_an_image_takes_as_many_questions_for_any_number_of_masks(
    store: Store, new: MakeAnnotation, number: int
) -> None:
    store.masks.add_many(new(f"class {n}", provenance={"n": n}) for n in range(number))
    with statements(store) as seen:
        assert len(store.masks.find(new().image_id)) == number
    assert len(seen) == 3


@pytest.mark.parametrize("number", [1, 200])
def test_accepting_many_asks_no_more_than_accepting_one(store: Store, new: MakeAnnotation, number: int) -> None:
    store.categories.add("cow")
    drafts = [new() for _ in range(number)]
    with statements(store) as seen:
        store.masks.add_many(drafts)
    asked = [sql for sql, _ in seen if not sql.startswith("INSERT")]
    assert 0 < len(asked) <= 12
