"""Counts equal the rows, and undo works, after any sequence of operations."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from maskwright.errors import MaskwrightError
from maskwright.store import STATES, Correction, NewAnnotation, NewDataset, NewImage, Store
from tests.core.store.conftest import miscounts, rectangle, rows

WHO = st.sampled_from(["ann", "bob"])
NAMES = st.sampled_from(["cow", "sky", "grass"])
STATE = st.sampled_from(STATES)
SOURCE = st.sampled_from(["manual", "text"])
PLACES = st.lists(st.integers(0, 30), min_size=1, max_size=4, unique=True)
IMAGES = 3


class People(RuleBasedStateMachine):
    """Two of them, in one project."""

    address: str | Path

    def __init__(self) -> None:
        super().__init__()
        self.closing = ExitStack()
        self.seen: dict[int, tuple[str, str]] = {}

    @initialize()
    def begin(self) -> None:
        self.store = self.closing.enter_context(Store.open(self.address, create=True))
        tables = ("reference_marks", "annotations", "prompts", "tallies", "image_aliases", "images", "categories")
        with self.store._transactions.engine.begin() as connection:
            for table in (*tables, "events", "steps"):
                connection.exec_driver_sql(f"DELETE FROM {table}")
        self.images = [
            self.store.images.add(NewImage(f"{n:064x}", f"images/{n}.png", 20, 10)).id for n in range(IMAGES)
        ]

    def teardown(self) -> None:
        self.closing.close()

    def chosen(self, places: list[int]) -> dict[int, int | None]:
        """Some of the masks that are there."""
        ids = sorted(self.seen)
        return {ids[place % len(ids)]: None for place in places}

    @rule(who=WHO, name=NAMES, state=STATE, source=SOURCE, places=PLACES)
    def add(self, who: str, name: str, state: str, source: str, places: list[int]) -> None:
        self.store.masks.add_many(
            NewAnnotation(self.images[n % IMAGES], name, rectangle(n % 10, 0, 2, 2), source, {}, who, state)
            for n in places
        )

    @rule(who=WHO, name=NAMES, places=PLACES)
    def predict(self, who: str, name: str, places: list[int]) -> None:
        image = self.images[places[0] % IMAGES]
        new = [NewAnnotation(image, name, rectangle(n % 10, 0, 2, 2), "text", {}, who, "proposed") for n in places]
        self.store.predictions.add(image, new, "p", who)

    @rule(name=NAMES, places=PLACES)
    def bring_in(self, name: str, places: list[int]) -> None:
        masks = [NewAnnotation(n % IMAGES, name, rectangle(n % 10, 0, 2, 2), "import") for n in places]
        self.store.imports.add(NewDataset(self.images, [], masks))

    @precondition(lambda self: self.seen)
    @rule(who=WHO, state=STATE, places=PLACES)
    def turn(self, who: str, state: str, places: list[int]) -> None:
        self.store.masks.set_states(self.chosen(places), state, who)

    @precondition(lambda self: self.seen)
    @rule(who=WHO, name=NAMES, places=PLACES)
    def reclassify(self, who: str, name: str, places: list[int]) -> None:
        self.store.masks.reclassify(self.chosen(places), name, who)

    @precondition(lambda self: any(state == "proposed" for state, _ in self.seen.values()))
    @rule(who=WHO, state=st.sampled_from(["accepted", "rejected"]), name=st.none() | NAMES, places=PLACES)
    def decide(self, who: str, state: str, name: str | None, places: list[int]) -> None:
        stored = [key for key in self.chosen(places) if self.seen[key][0] == "proposed"]
        new = [NewAnnotation(self.images[0], name or "cow", rectangle(0, 0, 3, 3), "click", {}, who, state)]
        self.store.masks.decide(state, who, new=new, stored=stored, category=name)

    @precondition(lambda self: any(state == "accepted" for state, _ in self.seen.values()))
    @rule(who=WHO, name=st.none() | NAMES, place=st.integers(0, 30), width=st.integers(1, 20))
    def correct(self, who: str, name: str | None, place: int, width: int) -> None:
        kept = [key for key in sorted(self.seen) if self.seen[key][0] == "accepted"]
        one = self.store.masks.get(kept[place % len(kept)])
        after = self.store.masks.decide(
            "accepted", who, corrections=[Correction(one.id, one.revision, rectangle(0, 0, width, 1), {}, name)]
        )[0]
        assert after.mask.area == width

    @rule(who=WHO, image=st.none() | st.integers(0, IMAGES - 1), again=st.booleans())
    def take_back(self, who: str, image: int | None, again: bool) -> None:
        number = self.store.change_number()
        word = self.store.masks.redo if again else self.store.masks.undo
        try:
            word(who, None if image is None else self.images[image])
        except MaskwrightError:
            assert self.store.change_number() == number

    @rule(who=WHO)
    def there_and_back(self, who: str) -> None:
        before = self.masks()
        try:
            self.store.masks.undo(who)
        except MaskwrightError:
            return
        self.store.masks.redo(who)
        assert self.masks() == before

    @rule(who=WHO, source=NAMES, into=NAMES)
    def merge(self, who: str, source: str, into: str) -> None:
        with suppress(MaskwrightError):
            self.store.categories.merge(source, into, who)

    @rule(who=WHO, name=NAMES, masks=st.sampled_from(["refuse", "delete"]))
    def remove(self, who: str, name: str, masks: str) -> None:
        with suppress(MaskwrightError):
            self.store.categories.delete(name, who, masks=masks)

    @rule(who=WHO)
    def purge(self, who: str) -> None:
        gone = sum(state in ("rejected", "deleted") for state, _ in self.seen.values())
        assert self.store.masks.purge(who) == gone

    def masks(self) -> list[tuple[object, ...]]:
        return [(one.id, one.state, one.category, one.mask) for one in self.store.masks.find(states=STATES)]

    @invariant()
    def the_numbers_are_those_of_the_rows(self) -> None:
        assert miscounts(self.store) == []
        self.seen = {one.id: (one.state, one.category) for one in self.store.masks.find(states=STATES)}
        in_use = {name for state, name in self.seen.values() if state in ("accepted", "proposed")}
        counts, names = self.store.counts(), {one.name for one in self.store.categories.all()}
        # what is seen has a category that is seen
        assert in_use <= names
        assert sum(counts.accepted.values()) == sum(state == "accepted" for state, _ in self.seen.values())
        assert set(counts.accepted) == names
        assert rows(self.store, "SELECT count(*) FROM annotations WHERE prompt_id NOT IN (SELECT id FROM prompts)") == [
            (0,)
        ]


@pytest.fixture
def people(address: str | Path) -> type[People]:
    return type("People", (People,), {"address": address})


def test_the_numbers_are_right_after_any_sequence(people: type[People], kind: str) -> None:
    # the rules are the same for both databases; one of them shows only that it does the same
    examples = 10 if kind == "sqlite" else 4
    told = settings(
        max_examples=examples, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
    )
    run_state_machine_as_test(people, settings=told)
