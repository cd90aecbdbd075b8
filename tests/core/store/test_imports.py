"""Imports of datasets: own ids where they are free, all or nothing, no duplicates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from maskwright.errors import InvalidMask, MaskwrightError
from maskwright.store import BoxPrompt, ImportCounts, NewAnnotation, NewCategory, NewDataset, NewImage, Store
from tests.core.store.conftest import MakeAnnotation, miscounts, rectangle

LARGEST = (1 << 31) - 1


def picture(number: int, wish: int | None = None) -> NewImage:
    return NewImage(f"{number:064x}", f"images/{number}.png", 20, 10, id=wish)


def drawn(place: int, category: str, wish: int | None = None, x: int = 0, **others: object) -> NewAnnotation:
    return NewAnnotation(place, category, rectangle(x, 0, 2, 2), "import", id=wish, **others)  # type: ignore[arg-type]


def ids(rows: Sequence[object]) -> list[int]:
    return [one.id for one in rows]  # type: ignore[attr-defined]


def test_a_files_own_ids_are_taken_into_a_new_project(store: Store) -> None:
    store.imports.add(
        NewDataset(
            [picture(1, 7), picture(2, 3)],
            [NewCategory("sky", "", 90), NewCategory("cow", "animal", 5)],
            [drawn(0, "cow", 200), drawn(1, "sky", 100)],
        )
    )
    assert {one.sha256: one.id for one in store.images.all()} == {picture(1).sha256: 7, picture(2).sha256: 3}
    assert [(one.id, one.name, one.supercategory) for one in store.categories.all()] == [
        (5, "cow", "animal"),
        (90, "sky", ""),
    ]
    assert [(one.id, one.image_id, one.category) for one in store.masks.find()] == [(100, 3, "sky"), (200, 7, "cow")]
    # and the project counts on from there
    assert store.images.add(picture(3)).id == 8
    assert store.categories.add("new").id == 91
    assert store.masks.add(drawn(8, "new")).id == 201
    assert miscounts(store) == []


def test_rows_with_and_without_a_wish_do_not_meet(store: Store) -> None:
    # without a wish first: what they would get next is what the others want
    store.imports.add(
        NewDataset(
            [picture(1), picture(2, 1), picture(3), picture(4, 2)],
            [NewCategory("a"), NewCategory("b", "", 1), NewCategory("c"), NewCategory("d", "", 2)],
            [drawn(0, "a"), drawn(1, "b", 1), drawn(2, "c"), drawn(3, "d", 2)],
        )
    )
    assert {one.file_name: one.id for one in store.images.all()} == {
        "images/1.png": 3, "images/2.png": 1, "images/3.png": 4, "images/4.png": 2,
    }  # fmt: skip
    assert {one.name: one.id for one in store.categories.all()} == {"a": 3, "b": 1, "c": 4, "d": 2}
    found = {one.category: (one.id, store.images.get(one.image_id).file_name) for one in store.masks.find()}
    assert {name: key for name, (key, _) in found.items()} == {"a": 3, "b": 1, "c": 4, "d": 2}
    assert {name: image for name, (_, image) in found.items()} == {
        "a": "images/1.png", "b": "images/2.png", "c": "images/3.png", "d": "images/4.png",
    }  # fmt: skip


def test_a_project_in_use_gives_its_own_ids(store: Store, new: MakeAnnotation) -> None:
    store.masks.add(new("cow"))
    store.imports.add(
        NewDataset([picture(1, 50)], [NewCategory("sky", "", 50)], [drawn(0, "sky", 50), drawn(0, "cow", 51)])
    )
    assert ids(store.images.all()) == [1, 2]
    assert [(one.id, one.name) for one in store.categories.all()] == [(1, "cow"), (2, "sky")]
    assert ids(store.masks.find()) == [1, 2, 3]


def test_ids_of_purged_masks_are_not_given_again(store: Store) -> None:
    store.imports.add(NewDataset([picture(1)], [], [drawn(0, "cow", 1), drawn(0, "cow", 2, 5)]))
    store.masks.set_states({1: None, 2: None}, "deleted", "ann")
    store.masks.purge("ann")
    store.imports.add(NewDataset([1], [], [drawn(0, "cow", 1)]))
    assert ids(store.masks.find()) == [3]


def test_the_largest_ids_leave_room_for_what_comes_after(store: Store) -> None:
    store.imports.add(NewDataset([picture(1, LARGEST)], [NewCategory("cow", "", LARGEST)], [drawn(0, "cow", LARGEST)]))
    assert ids([*store.images.all(), *store.categories.all(), *store.masks.find()]) == [1, 1, 1]
    assert store.images.add(picture(2)).id == 2


def test_all_or_nothing(store: Store) -> None:
    wrong = NewAnnotation(1, "cow", rectangle(0, 0, 1, 1), "import")
    dataset = NewDataset([picture(1), NewImage("f" * 64, "f.png", 9, 9)], [NewCategory("cow")], [drawn(0, "a"), wrong])
    with pytest.raises(InvalidMask):
        store.imports.add(dataset)
    with pytest.raises(MaskwrightError, match="There is no image 77"):
        store.imports.add(NewDataset([77], [], [drawn(0, "a")]))
    assert (store.images.all(), store.categories.all(), store.change_number()) == ([], [], 0)


def test_nothing_is_taken_in_twice(store: Store, address: str | Path) -> None:
    dataset = NewDataset(
        [picture(1), picture(2)],
        [],
        [drawn(0, "cow"), drawn(0, "cow"), drawn(0, "sky"), drawn(1, "cow"), drawn(1, "cow", uid="e" * 32)],
        [BoxPrompt(0, "cow", (1, 2, 3, 4)), BoxPrompt(0, "cow", (1, 2, 3, 4)), BoxPrompt(0, "sky", (1, 2, 3, 4.5))],
    )
    assert store.imports.add(dataset) == ImportCounts(masks=4, known=1, boxes=2)
    number = store.change_number()
    with Store.open(address) as other:
        assert other.imports.add(dataset) == ImportCounts(masks=0, known=5, boxes=0)
        # told beforehand it is the same
        assert other.imports.count_new(replace(dataset, images=[1, 2])) == ImportCounts(masks=0, known=5, boxes=0)
        assert other.imports.count_new(replace(dataset, images=[picture(3), 2])) == ImportCounts(
            masks=2, known=3, boxes=2
        )
    assert store.change_number() == number
    assert [(one.category, one.bbox) for one in store.images.boxes(1)] == [
        ("cow", (1, 2, 3, 4)),
        ("sky", (1, 2, 3, 4.5)),
    ]
    assert store.imports.image_of_masks(["f" * 32, "e" * 32]) == store.images.get(2)


def test_the_history_of_an_imported_mask_is_kept(store: Store) -> None:
    moments = {"created_at": "2025-01-01T00:00:00.000Z", "updated_at": "2025-02-01T00:00:00.000Z"}
    life: dict[str, Any] = {"uid": "d" * 32, "revision": 4, "annotator": "eve", "crowd": True, **moments}
    store.imports.add(NewDataset([picture(1)], [], [drawn(0, "cow", state="rejected", **life)]))
    (kept,) = store.masks.find(states=("rejected",))
    assert {name: getattr(kept, name) for name in life} == life


def test_what_no_database_can_hold_in_a_text(store: Store) -> None:
    padded = NewImage("e" * 64, "images/e.jpg", 20, 10, captured="2020:01:02 03:04:05\0\0")
    assert store.images.add(padded).captured == "2020:01:02 03:04:05"
    with pytest.raises(MaskwrightError, match="bytes that are not text"):
        store.categories.add("a\0b")
    told = {"prompt": "nul \0, tab \t, 草, 🐄", "large": 10**30, "small": 5e-324, "deep": [[[{"a": None}]]]}
    image = store.images.all()[0]
    kept = store.masks.add(NewAnnotation(image.id, "cow 🐄 草", rectangle(0, 0, 1, 1), "text", told, "änn"))
    assert store.masks.get(kept.id).provenance == told
    assert store.masks.find() == [kept]
