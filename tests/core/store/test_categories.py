"""Categories: renamed, merged and deleted without losing a mask or mixing two up."""

from __future__ import annotations

import pytest

from maskwright.errors import MaskwrightError
from maskwright.store import STATES, Store
from tests.core.store.conftest import MakeAnnotation, miscounts


def test_a_new_name_keeps_id_and_masks(store: Store, new: MakeAnnotation) -> None:
    kept = store.add_annotation(new("cow", annotator="ann"))
    number = store.change_number()
    renamed = store.change_category("cow", "ann", name=" cafe\u0301 ")
    assert (renamed.id, renamed.name) == (kept.category_id, "caf\u00e9")
    assert [one.name for one in store.categories()] == ["café"]
    (after,) = store.annotations()
    assert (after.category, after.category_id, after.revision) == ("café", kept.category_id, kept.revision)
    assert store.change_number() == number + 1
    store.undo("ann")
    assert [one.name for one in store.categories()] == ["cow"]
    store.redo("ann")
    assert [one.name for one in store.categories()] == ["café"]


@pytest.mark.parametrize(
    ("values", "says"),
    [
        pytest.param({"name": "sky"}, r"There is a category 'sky' already\. Merge the two", id="taken"),
        pytest.param({"name": " sky\n"}, "There is a category 'sky' already", id="taken-with-blanks"),
        pytest.param({"name": "gone"}, r"'gone' was deleted, and its name is kept for undo\.", id="of-a-deleted-one"),
        pytest.param({"name": "  "}, "A category needs a name", id="blank"),
        pytest.param({"name": "a\0b"}, "bytes that are not text", id="nul"),
        pytest.param({"synonyms": ["ox", ""]}, "A category needs a name", id="blank-synonym"),
        pytest.param({"shortcut": 3}, r"The key 3 belongs to sky\. Choose another number\.", id="key-taken"),
        pytest.param({"shortcut": 0}, "a number from 1 to 9", id="key-0"),
        pytest.param({"shortcut": 10}, "a number from 1 to 9", id="key-10"),
        pytest.param({"shortcut": "3"}, "a number from 1 to 9", id="key-text"),
        pytest.param({"color": "red"}, "A colour is written as #", id="colour"),
        pytest.param({"color": "#12345g"}, "A colour is written as #", id="colour-letters"),
    ],
)
def test_what_a_category_cannot_become(store: Store, values: dict[str, object], says: str) -> None:
    for name in ("cow", "sky", "gone"):
        store.category(name)
    store.change_category("sky", "ann", shortcut=3)
    store.delete_category("gone", "ann")
    before, number = store.categories(), store.change_number()
    with pytest.raises(MaskwrightError, match=says):
        store.change_category("cow", "ann", **values)
    assert (store.categories(), store.change_number()) == (before, number)


def test_keys_synonyms_and_colours(store: Store) -> None:
    store.category("cow")
    changed = store.change_category(
        "cow", "ann", shortcut=9, synonyms=[" ox", "cafe\u0301", "ox"], color="#AB12CD", supercategory="animal"
    )
    assert (changed.shortcut, changed.synonyms) == (9, ("ox", "café"))
    assert (changed.color, changed.supercategory) == ("#ab12cd", "animal")
    assert store.categories() == [changed]
    store.undo("ann")
    (before,) = store.categories()
    assert (before.shortcut, before.synonyms, before.supercategory) == (None, (), "")
    store.category("sky")
    store.change_category("sky", "bob", shortcut=9)
    with pytest.raises(MaskwrightError, match="The key 9 belongs to sky"):
        store.redo("ann")
    assert store.categories()[0] == before


def test_a_deleted_category_gives_its_key_free(store: Store) -> None:
    for name in ("cow", "sky"):
        store.category(name)
    store.change_category("cow", "ann", shortcut=1)
    store.delete_category("cow", "ann")
    assert store.change_category("sky", "ann", shortcut=1).shortcut == 1


def test_names_that_differ_in_capitals_only(store: Store) -> None:
    for name in ("Cow", "COW", "straße", "sky"):
        store.category(name)
    assert store.alike("cow") == ["COW", "Cow"]
    assert store.alike("Cow") == ["COW"]
    assert store.alike("STRASSE") == ["straße"]
    assert store.alike("tree") == []
    store.delete_category("COW", "ann")
    assert store.alike("Cow") == []


# deletion


def test_a_category_with_masks_is_not_deleted_unasked(store: Store, new: MakeAnnotation) -> None:
    store.add_annotations([new("cow"), new("cow", state="proposed"), new("cow", state="rejected")])
    with pytest.raises(MaskwrightError, match=r"^cow has 2 masks\. Merge it into another category, or delete"):
        store.delete_category("cow", "ann")
    assert [one.name for one in store.categories()] == ["cow"]
    with pytest.raises(MaskwrightError, match="There is no category 'sky'"):
        store.delete_category("sky", "ann")


def test_a_category_is_deleted_with_its_masks_and_comes_back_with_them(store: Store, new: MakeAnnotation) -> None:
    kept = store.add_annotations([new("cow"), new("cow", state="proposed"), new("cow", state="rejected"), new("sky")])
    store.change_category("cow", "ann", shortcut=4)
    store.delete_category("cow", "ann", masks="delete")
    assert [one.name for one in store.categories()] == ["sky"]
    assert [one.id for one in store.annotations()] == [kept[3].id]
    assert store.counts().accepted == {"sky": 1}
    assert [one.name for one in store.categories(deleted=True)] == ["cow", "sky"]
    with store.dataset(states=STATES) as dataset:
        assert [one.name for one in dataset.categories()] == ["cow", "sky"]
    with store.dataset() as dataset:
        assert [one.name for one in dataset.categories()] == ["sky"]
    assert store.undo("ann").masks == 2
    assert [(one.name, one.shortcut) for one in store.categories()] == [("cow", 4), ("sky", None)]
    assert [one.state for one in store.annotations(states=STATES)] == ["accepted", "proposed", "rejected", "accepted"]
    store.redo("ann")
    assert [one.name for one in store.categories()] == ["sky"]
    assert miscounts(store) == []


def test_a_deleted_name_comes_back_with_its_id(store: Store, new: MakeAnnotation) -> None:
    cow = store.category("cow")
    store.category("sky")
    store.delete_category("cow", "ann")
    with pytest.raises(MaskwrightError, match="There is no category 'cow'"):
        store.category("cow", create=False)
    assert store.add_annotation(new("cow")).category_id == cow.id
    assert store.category("cow") == cow
    assert [one.name for one in store.categories()] == ["cow", "sky"]


@pytest.mark.parametrize("state", ["accepted", "proposed"])
def test_a_mask_that_is_restored_brings_its_category_back(store: Store, new: MakeAnnotation, state: str) -> None:
    kept = store.add_annotation(new("cow", annotator="ann"))
    store.set_states({kept.id: None}, "deleted", "ann")
    store.delete_category("cow", "bob")
    store.set_states({kept.id: None}, state, "ann")
    assert [one.name for one in store.categories()] == ["cow"]
    assert store.counts().accepted == {"cow": int(state == "accepted")}


def test_undo_brings_a_category_back_that_somebody_else_deleted(store: Store, new: MakeAnnotation) -> None:
    kept = store.add_annotation(new("cow", annotator="ann"))
    store.reclassify({kept.id: None}, "calf", "ann")
    store.delete_category("cow", "bob")
    store.undo("ann")
    assert store.annotation(kept.id).category == "cow"
    assert [one.name for one in store.categories()] == ["cow", "calf"]


# merging


def test_a_merge_is_one_step_there_and_back(store: Store, new: MakeAnnotation) -> None:
    kept = store.add_annotations(
        [new("cow"), new("cow", state="proposed"), new("cow", state="deleted"), new("ox"), new("cow")]
    )
    store.change_category("cow", "ann", shortcut=2, synonyms=["vache", "bull"])
    store.change_category("ox", "ann", shortcut=3, synonyms=["bull"])
    before = store.categories()
    merged = store.merge_categories("cow", " ox ", "ann")
    assert (merged.name, merged.shortcut, merged.synonyms) == ("ox", 3, ("bull", "cow", "vache"))
    assert store.categories() == [merged]
    assert {one.category for one in store.annotations(states=STATES)} == {"ox"}
    assert store.counts().accepted == {"ox": 3}
    step = store.undo("ann")
    assert (step.kind, step.masks) == ("merge", 4)
    assert store.categories() == before
    assert [one.category for one in store.annotations(states=STATES)] == ["cow", "cow", "cow", "ox", "cow"]
    store.redo("ann")
    assert store.categories() == [merged]
    assert [one.id for one in store.annotations(states=STATES)] == [one.id for one in kept]
    assert miscounts(store) == []


def test_a_merge_needs_two_categories(store: Store) -> None:
    store.category("cow")
    for source, into, says in (
        ("cow", " cow", "cannot be merged with itself"),
        ("cow", "ox", "There is no category 'ox'"),
        ("ox", "cow", "There is no category 'ox'"),
    ):
        with pytest.raises(MaskwrightError, match=says):
            store.merge_categories(source, into, "ann")
    assert [one.name for one in store.categories()] == ["cow"]
