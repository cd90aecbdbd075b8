"""Categories are renamed, merged and deleted without losing a mask."""

from __future__ import annotations

import pytest

from maskwright.errors import MaskwrightError, UsageError
from maskwright.store import STATES, Store
from tests.core.store.conftest import MakeAnnotation, miscounts


def test_a_new_name_keeps_id_and_masks(store: Store, new: MakeAnnotation) -> None:
    kept = store.masks.add(new("cow", annotator="ann"))
    number = store.change_number()
    renamed = store.categories.change("cow", "ann", name=" cafe\u0301 ")
    assert (renamed.id, renamed.name) == (kept.category_id, "caf\u00e9")
    assert [one.name for one in store.categories.all()] == ["café"]
    (after,) = store.masks.find()
    assert (after.category, after.category_id, after.revision) == ("café", kept.category_id, kept.revision)
    assert store.change_number() == number + 1
    store.masks.undo("ann")
    assert [one.name for one in store.categories.all()] == ["cow"]
    store.masks.redo("ann")
    assert [one.name for one in store.categories.all()] == ["café"]


@pytest.mark.parametrize(
    ("values", "error", "fact"),
    [
        pytest.param({"name": "sky"}, MaskwrightError, "'sky' already", id="taken"),
        pytest.param({"name": " sky\n"}, MaskwrightError, "'sky' already", id="taken-with-blanks"),
        pytest.param({"name": "gone"}, MaskwrightError, "'gone' was deleted", id="of-a-deleted-one"),
        pytest.param({"name": "  "}, UsageError, "", id="blank"),
        pytest.param({"name": "a\0b"}, UsageError, "", id="nul"),
        pytest.param({"synonyms": ["ox", ""]}, UsageError, "", id="blank-synonym"),
        pytest.param({"shortcut": 0}, UsageError, "1 to 9", id="key-0"),
        pytest.param({"shortcut": 10}, UsageError, "1 to 9", id="key-10"),
        pytest.param({"shortcut": "3"}, UsageError, "1 to 9", id="key-text"),
        pytest.param({"color": "red"}, UsageError, "#", id="color"),
        pytest.param({"color": "#12345g"}, UsageError, "#", id="color-letters"),
    ],
)
def test_invalid_values_change_nothing(
    store: Store, values: dict[str, object], error: type[MaskwrightError], fact: str
) -> None:
    for name in ("cow", "sky", "gone"):
        store.categories.add(name)
    store.categories.delete("gone", "ann")
    before, number = store.categories.all(), store.change_number()
    with pytest.raises(error, match=fact):
        store.categories.change("cow", "ann", **values)
    assert (store.categories.all(), store.change_number()) == (before, number)


def test_keys_synonyms_and_colours(store: Store) -> None:
    store.categories.add("cow")
    changed = store.categories.change(
        "cow", "ann", shortcut=9, synonyms=[" ox", "cafe\u0301", "ox"], color="#AB12CD", supercategory="animal"
    )
    assert (changed.shortcut, changed.synonyms) == (9, ("ox", "café"))
    assert (changed.color, changed.supercategory) == ("#ab12cd", "animal")
    assert store.categories.all() == [changed]
    store.masks.undo("ann")
    (before,) = store.categories.all()
    assert (before.shortcut, before.synonyms, before.supercategory) == (1, (), "")
    store.categories.add("sky")
    store.categories.change("sky", "bob", shortcut=9)
    with pytest.raises(MaskwrightError, match="The key 9 belongs to sky"):
        store.masks.redo("ann")
    assert store.categories.all()[0] == before


def keys(store: Store) -> dict[str, int | None]:
    return {one.name: one.shortcut for one in store.categories.all()}


def test_each_new_category_gets_the_first_free_key(store: Store) -> None:
    names = [f"class {number}" for number in range(1, 11)]
    for name in names:
        store.categories.add(name)
    assert keys(store) == {name: number if number < 10 else None for number, name in enumerate(names, start=1)}
    store.categories.delete("class 3", "ann")
    assert store.categories.add("sky").shortcut == 3
    assert store.categories.add("class 3").shortcut is None, "it comes back without its key"


def test_a_key_changes_hands_in_one_step(store: Store) -> None:
    for name in ("cow", "sky"):
        store.categories.add(name)
    store.categories.change("sky", "ann", shortcut=1)
    assert keys(store) == {"cow": None, "sky": 1}
    store.masks.undo("ann")
    assert keys(store) == {"cow": 1, "sky": 2}
    store.masks.redo("ann")
    assert keys(store) == {"cow": None, "sky": 1}


def test_a_word_without_masks_leaves_the_list(store: Store, new: MakeAnnotation) -> None:
    def names() -> list[str]:
        return [one.name for one in store.categories.all()]

    store.categories.add("mine")
    grass, mine, cow = store.masks.add_many([new(name, state="proposed") for name in ("grass", "mine", "cow")])
    store.masks.decide("accepted", "ann", stored=[cow.id])
    store.masks.decide("rejected", "ann", stored=[grass.id, mine.id])
    assert names() == ["mine", "cow"], "a class that somebody added stays"
    store.masks.undo("ann", grass.image_id)
    assert names() == ["mine", "grass", "cow"]
    store.masks.redo("ann", grass.image_id)
    assert names() == ["mine", "cow"]
    store.masks.decide("rejected", "ann", stored=[store.masks.add(new("cow", state="proposed")).id])
    store.masks.set_states({cow.id: None}, "deleted", "ann")
    assert names() == ["mine"], "its last mask is gone"
    store.categories.add("grass")
    store.masks.reclassify({store.masks.add(new("grass", state="proposed")).id: None}, "mine", "ann")
    assert names() == ["mine", "grass"], "somebody added it"


def test_names_that_differ_in_capitals_only(store: Store) -> None:
    for name in ("Cow", "COW", "straße", "sky"):
        store.categories.add(name)
    assert store.categories.similar(["cow", "Cow", "STRASSE", "tree"]) == {
        "cow": ["COW", "Cow"], "Cow": ["COW"], "STRASSE": ["straße"], "tree": []
    }  # fmt: skip
    store.categories.delete("COW", "ann")
    assert store.categories.similar(["Cow"]) == {"Cow": []}


# deletion


def test_a_category_with_masks_is_not_deleted_by_default(store: Store, new: MakeAnnotation) -> None:
    store.masks.add_many([new("cow"), new("cow", state="proposed"), new("cow", state="rejected")])
    with pytest.raises(MaskwrightError, match="cow has 2 masks"):
        store.categories.delete("cow", "ann")
    assert [one.name for one in store.categories.all()] == ["cow"]
    with pytest.raises(MaskwrightError, match="There is no category 'sky'"):
        store.categories.delete("sky", "ann")


def test_a_category_is_deleted_with_its_masks_and_comes_back_with_them(store: Store, new: MakeAnnotation) -> None:
    kept = store.masks.add_many([new("cow"), new("cow", state="proposed"), new("cow", state="rejected"), new("sky")])
    store.categories.change("cow", "ann", shortcut=4)
    store.categories.delete("cow", "ann", masks="delete")
    assert [one.name for one in store.categories.all()] == ["sky"]
    assert [one.id for one in store.masks.find()] == [kept[3].id]
    assert store.counts().accepted == {"sky": 1}
    assert [one.name for one in store.categories.all(deleted=True)] == ["cow", "sky"]
    with store.dataset(states=STATES) as dataset:
        assert [one.name for one in dataset.categories()] == ["cow", "sky"]
    with store.dataset() as dataset:
        assert [one.name for one in dataset.categories()] == ["sky"]
    assert store.masks.undo("ann").masks == 2
    assert [(one.name, one.shortcut) for one in store.categories.all()] == [("cow", 4), ("sky", 2)]
    assert [one.state for one in store.masks.find(states=STATES)] == ["accepted", "proposed", "rejected", "accepted"]
    store.masks.redo("ann")
    assert [one.name for one in store.categories.all()] == ["sky"]
    assert miscounts(store) == []


def test_a_deleted_name_comes_back_with_its_id(store: Store, new: MakeAnnotation) -> None:
    cow = store.categories.add("cow")
    store.categories.add("sky")
    store.categories.delete("cow", "ann")
    with pytest.raises(MaskwrightError, match="There is no category 'cow'"):
        store.categories.get("cow")
    assert store.masks.add(new("cow")).category_id == cow.id
    assert store.categories.add("cow") == cow
    assert [one.name for one in store.categories.all()] == ["cow", "sky"]


@pytest.mark.parametrize("state", ["accepted", "proposed"])
def test_a_mask_that_is_restored_brings_its_category_back(store: Store, new: MakeAnnotation, state: str) -> None:
    kept = store.masks.add(new("cow", annotator="ann"))
    store.masks.set_states({kept.id: None}, "deleted", "ann")
    store.categories.delete("cow", "bob")
    store.masks.set_states({kept.id: None}, state, "ann")
    assert [one.name for one in store.categories.all()] == ["cow"]
    assert store.counts().accepted == {"cow": int(state == "accepted")}


def test_undo_brings_a_category_back_that_another_user_deleted(store: Store, new: MakeAnnotation) -> None:
    kept = store.masks.add(new("cow", annotator="ann"))
    store.masks.reclassify({kept.id: None}, "calf", "ann")
    store.categories.delete("cow", "bob")
    store.masks.undo("ann")
    assert store.masks.get(kept.id).category == "cow"
    assert [one.name for one in store.categories.all()] == ["cow", "calf"]


# merging


def test_a_merge_is_one_step_there_and_back(store: Store, new: MakeAnnotation) -> None:
    kept = store.masks.add_many(
        [new("cow"), new("cow", state="proposed"), new("cow", state="deleted"), new("ox"), new("cow")]
    )
    store.categories.change("cow", "ann", shortcut=2, synonyms=["vache", "bull"])
    store.categories.change("ox", "ann", shortcut=3, synonyms=["bull"])
    before = store.categories.all()
    merged = store.categories.merge("cow", " ox ", "ann")
    assert (merged.name, merged.shortcut, merged.synonyms) == ("ox", 3, ("bull", "cow", "vache"))
    assert store.categories.all() == [merged]
    assert {one.category for one in store.masks.find(states=STATES)} == {"ox"}
    assert store.counts().accepted == {"ox": 3}
    step = store.masks.undo("ann")
    assert (step.kind, step.masks) == ("merge", 4)
    assert store.categories.all() == before
    assert [one.category for one in store.masks.find(states=STATES)] == ["cow", "cow", "cow", "ox", "cow"]
    store.masks.redo("ann")
    assert store.categories.all() == [merged]
    assert [one.id for one in store.masks.find(states=STATES)] == [one.id for one in kept]
    assert miscounts(store) == []


def test_a_merge_needs_two_categories(store: Store) -> None:
    store.categories.add("cow")
    for source, into, says in (
        ("cow", " cow", "cannot be merged with itself"),
        ("cow", "ox", "There is no category 'ox'"),
        ("ox", "cow", "There is no category 'ox'"),
    ):
        with pytest.raises(MaskwrightError, match=says):
            store.categories.merge(source, into, "ann")
    assert [one.name for one in store.categories.all()] == ["cow"]
