"""The store returns the values that it was given; ids are never reused, nothing is lost."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from maskwright.domain import Image, ImageRecord, Mask
from maskwright.domain.palette import PALETTE, default_color
from maskwright.errors import BadProject, InvalidMask, MaskwrightError, UsageError
from maskwright.project import Project
from maskwright.store import Correction, NewAnnotation, NewDataset, NewImage, Store
from tests.core.store import postgres
from tests.core.store.conftest import MakeAnnotation, changed, on_server, on_sqlite, rectangle, rows

MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def test_an_annotation_comes_back_as_it_went_in(store: Store, new: MakeAnnotation, image: ImageRecord) -> None:
    provenance = {"preset": "tiny", "prompt": "vache, 草", "parameters": {"threshold": 0.1, "clicks": [[1, 2]]}}
    kept = store.masks.add(new("cow", score=0.1 + 0.2, source="text", provenance=provenance, annotator="ann"))
    (found,) = store.masks.find(image.id)
    assert found == kept
    assert found.mask.area == 18
    assert found.mask.bbox == (3, 2, 6, 3)
    assert found.mask.score == 0.1 + 0.2
    assert found.mask.category == found.category == "cow"
    assert found.provenance == provenance
    assert (found.state, found.source, found.revision, found.annotator) == ("accepted", "text", 1, "ann")
    assert found.created_at == found.updated_at
    assert MOMENT.fullmatch(found.created_at)
    assert re.fullmatch("[0-9a-f]{32}", found.uid)
    assert found.mask.to_array()[2:5, 3:9].all()


def test_everything_is_there_after_closing_and_opening(
    store: Store, new: MakeAnnotation, image: ImageRecord, address: str | Path
) -> None:
    kept = store.masks.add_many([new("cow"), new("sky")])
    categories, number = store.categories.all(), store.change_number()
    store.close()
    with Store.open(address) as again:
        assert again.images.all() == [image]
        assert again.masks.find() == kept
        assert (again.categories.all(), again.change_number()) == (categories, number)


def test_the_same_content_is_one_image_with_two_aliases(store: Store, image: ImageRecord) -> None:
    again = store.images.add(NewImage("a" * 64, "images/other.jpg", 20, 10, alias="photos/copy.jpg"))
    assert again == image
    assert store.images.all() == [image]
    assert store.images.by_alias("photos/cow.jpg") == store.images.by_alias("photos/copy.jpg") == [image]
    store.images.add(NewImage("a" * 64, "images/other.jpg", 20, 10, alias="photos/copy.jpg"))
    assert len(rows(store, "SELECT * FROM image_aliases")) == 2


def test_images_can_be_listed_in_pages(store: Store) -> None:
    added = [store.images.add(NewImage(f"{n:064x}", f"images/{n}.png", 3, 2)) for n in range(5)]
    assert [one.record for one in store.images.page(after_id=added[1].id, limit=2)] == added[2:4]
    assert store.images.all() == added
    assert store.images.get(added[3].id) == store.images.by_sha256(f"{3:064x}") == added[3]
    assert store.images.by_sha256("f" * 64) is None


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param("caf\u00e9", "cafe\u0301", id="nfc"),
        pytest.param("cow", "  cow\t", id="blanks"),
        pytest.param("草原", "草原 ", id="chinese"),
    ],
)
def test_one_spelling_is_one_category(store: Store, first: str, second: str) -> None:
    assert store.categories.add(first) == store.categories.add(second)
    assert [one.name for one in store.categories.all()] == [first]


def test_categories_get_their_own_colours(store: Store) -> None:
    made = [store.categories.add(f"class {n}") for n in range(len(PALETTE) + 1)]
    assert [one.color for one in made[:-1]] == list(PALETTE)
    assert made[-1].color == PALETTE[0]
    assert [one.id for one in made] == list(range(1, len(made) + 1))


def test_a_name_with_html_is_only_text(store: Store, new: MakeAnnotation) -> None:
    name = "<img src=x onerror=alert(1)>'; DROP TABLE images; --"
    store.masks.add(new(name))
    assert [one.name for one in store.categories.all()] == [name]


@pytest.mark.parametrize("name", ["", "  \n", "\udcff"])
def test_a_category_needs_a_name(store: Store, name: str) -> None:
    with pytest.raises(MaskwrightError, match="category"):
        store.categories.add(name)


def test_an_unknown_category_is_not_created_by_a_query(store: Store) -> None:
    with pytest.raises(MaskwrightError, match="There is no category 'cow'"):
        store.categories.get("cow")
    assert store.categories.all() == []


def test_ids_are_never_used_again(store: Store, new: MakeAnnotation, address: str | Path) -> None:
    kept = store.masks.add_many([new("cow"), new("sky")])
    tables = ("annotations", "tallies", "prompts", "image_aliases", "images", "categories")
    changed(store, *(f"DELETE FROM {table}" for table in tables))
    store.close()
    with Store.open(address) as again:
        record = again.images.add(NewImage("b" * 64, "images/b.png", 20, 10))
        mask = Mask.from_array(np.ones((10, 20), bool))
        annotation = again.masks.add(NewAnnotation(record.id, "tree", mask))
    assert record.id == 2
    assert annotation.id == kept[-1].id + 1
    assert annotation.category_id == 3


def test_uids_differ(store: Store, new: MakeAnnotation) -> None:
    kept = store.masks.add_many(new() for _ in range(100))
    assert [one.id for one in kept] == list(range(1, 101))
    assert len({one.uid for one in kept}) == 100


def test_all_or_none_of_several(store: Store, new: MakeAnnotation, image: ImageRecord) -> None:
    wrong = new(mask=Mask.from_array(np.ones((20, 10), bool)))
    before = store.change_number()
    with pytest.raises(InvalidMask, match="10 x 20 pixels, but its image is 20 x 10"):
        store.masks.add_many([new("tree"), wrong])
    assert store.masks.find() == []
    assert store.categories.all() == []
    assert store.change_number() == before
    assert store.masks.add_many([]) == []


@pytest.mark.parametrize(
    ("others", "error", "fact"),
    [
        pytest.param({"mask": Mask.from_array(np.zeros((10, 20), bool))}, MaskwrightError, "empty", id="empty"),
        pytest.param({"score": float("nan")}, UsageError, "score", id="nan"),
        pytest.param({"source": "magic"}, UsageError, "'magic'", id="source"),
        pytest.param({"state": "open"}, UsageError, "'open'", id="state"),
        pytest.param({"provenance": {"x": float("inf")}}, UsageError, "provenance", id="infinite"),
        pytest.param({"provenance": {"x": np.zeros(2)}}, UsageError, "provenance", id="array"),
        pytest.param({"image_id": 77}, MaskwrightError, "image 77", id="image"),
    ],
)
def test_invalid_masks_are_refused(
    store: Store, new: MakeAnnotation, others: dict[str, object], error: type[MaskwrightError], fact: str
) -> None:
    with pytest.raises(error, match=fact) as caught:
        store.masks.add(new(**others))
    assert "\n" not in str(caught.value)
    assert store.masks.find() == []


def test_provenance_is_not_changed_from_outside(store: Store, new: MakeAnnotation) -> None:
    told = {"clicks": [[1, 2]]}
    draft = new(provenance=told)
    told["clicks"].append([3, 4])
    assert store.masks.add(draft).provenance == {"clicks": [[1, 2]]}


def test_states_change_with_a_history(store: Store, new: MakeAnnotation, image: ImageRecord) -> None:
    kept = store.masks.add(new(annotator="ann"))
    number = store.change_number()
    rejected = store.masks.set_states({kept.id: 1}, "rejected", "bob")[0]
    assert (rejected.state, rejected.revision, rejected.uid) == ("rejected", 2, kept.uid)
    assert rejected.updated_at >= kept.updated_at
    assert store.masks.find(image.id) == []
    assert store.masks.find(image.id, states=("accepted", "rejected")) == [rejected]
    assert store.change_number() == number + 1
    store.masks.set_states({kept.id: None}, "deleted", "bob")[0]
    assert store.masks.set_states({kept.id: None}, "accepted", "bob")[0].revision == 4
    assert rows(store, "SELECT kind, who FROM events ORDER BY id") == [
        ("image_added", "ann"),
        ("category_added", "ann"),
        ("annotation_added", "ann"),
        *[("state_changed", "bob")] * 3,
    ]
    history = store.masks.history(kept.id)
    assert [(one.user, one.kind, one.annotation_id, one.image_id) for one in history] == [
        ("ann", "annotation_added", kept.id, image.id),
        *[("bob", "state_changed", kept.id, image.id)] * 3,
    ]
    assert history[0].after == {"state": "accepted", "category_id": 1, "revision": 1}
    assert history[1].before == {"state": "accepted", "revision": 1}
    assert history[1].after == {"state": "rejected", "revision": 2}
    assert all(MOMENT.fullmatch(str(at)) for (at,) in rows(store, "SELECT at FROM events"))


def test_a_stale_change_overwrites_nothing(store: Store, new: MakeAnnotation) -> None:
    kept = store.masks.add(new())
    store.masks.set_states({kept.id: 1}, "deleted", "ann")[0]
    number = store.change_number()
    with pytest.raises(MaskwrightError, match=r"revision 2, you saw 1\); nothing was overwritten"):
        store.masks.set_states({kept.id: 1}, "rejected", "bob")[0]
    assert store.masks.find(states=("deleted",))[0].revision == 2
    assert store.change_number() == number


def test_a_correction_is_a_revision_and_the_history_keeps_the_old_pixels(store: Store, new: MakeAnnotation) -> None:
    kept = store.masks.add(new(score=0.5))
    mask = rectangle(0, 0, 4, 1, score=0.9)
    after = store.masks.decide(
        "accepted", "bob", corrections=[Correction(kept.id, 1, mask, {"source": "click"}, "calf")]
    )[0]
    assert (after.id, after.uid, after.category, after.annotator, after.revision) == (
        kept.id,
        kept.uid,
        "calf",
        "bob",
        2,
    )
    assert (after.mask.rle, after.mask.bbox, after.mask.area) == (mask.rle, (0, 0, 4, 1), 4)
    assert after.mask.score is None, "a score is a word on the mask as it was proposed"
    assert store.masks.find() == [after]
    edited = store.masks.history(kept.id)[-1]
    assert (edited.kind, edited.before["counts"], edited.after["counts"]) == (
        "edited",
        kept.mask.rle["counts"],
        mask.rle["counts"],
    )
    number = store.change_number()
    for wrong, says in (
        (Correction(kept.id, 1, kept.mask, {}), "revision 2, you saw 1"),
        (Correction(kept.id, 2, Mask.from_array(np.ones((3, 3), bool)), {}), "3 x 3 pixels"),
        (Correction(kept.id, 2, rectangle(0, 0, 0, 0), {}), "mask is empty"),
        (Correction(77, 1, kept.mask, {}), "There is no mask 77"),
    ):
        with pytest.raises(MaskwrightError, match=says):
            store.masks.decide("accepted", "ann", corrections=[wrong])[0]
    assert store.change_number() == number
    store.masks.set_states({kept.id: None}, "deleted", "ann")[0]
    with pytest.raises(MaskwrightError, match="is deleted now"):
        store.masks.decide("accepted", "ann", corrections=[Correction(kept.id, 3, kept.mask, {})])[0]


def test_the_present_state_is_no_change(store: Store, new: MakeAnnotation) -> None:
    kept = store.masks.add(new())
    number = store.change_number()
    assert store.masks.set_states({kept.id: None}, "accepted", "bob")[0] == kept
    assert store.change_number() == number


def test_unknown_things_are_named(store: Store) -> None:
    for action in (lambda: store.images.get(5), lambda: store.masks.set_states({5: None}, "deleted", "ann")[0]):
        with pytest.raises(MaskwrightError, match=r"There is no (image|mask) 5 in this project\."):
            action()


def test_counts(store: Store, new: MakeAnnotation) -> None:
    store.images.add(NewImage("c" * 64, "images/c.png", 5, 5))
    store.masks.add_many([new("cow"), new("cow"), new("sky", state="rejected")])
    counts = store.counts()
    assert (counts.images, counts.annotated_images, counts.rejected) == (2, 1, 1)
    assert counts.accepted == {"cow": 2, "sky": 0}


def test_a_dataset_is_of_one_moment_and_one_kind(store: Store, new: MakeAnnotation, image: ImageRecord) -> None:
    with store.dataset() as first:
        assert first.number() == 0
        kept = store.masks.add_many([new("cow"), new("sky", state="rejected")])
        assert (first.number(), list(first.annotations()), first.categories()) == (0, [], [])
    with store.dataset() as second:
        assert list(second.annotations()) == second.of_image(image.id) == [kept[0]]
        assert [one.name for one in second.categories()] == ["cow", "sky"]
        assert (second.used(), second.annotated()) == ({kept[0].category_id}, {image.id})
        assert second.newest() == kept[0].updated_at
    with store.dataset(states=("rejected",)) as third:
        assert list(third.annotations()) == [kept[1]]


def test_a_dataset_can_be_read_image_by_image(store: Store) -> None:
    number = 1001  # more than are in memory at once
    images = [NewImage(f"{n:064x}", f"images/{n}.png", 20, 10) for n in range(number)]
    masks = [NewAnnotation(n, "cow", rectangle(0, 0, 1 + n % 20, 1)) for n in range(number)]
    store.imports.add(NewDataset(images, [], masks))
    with store.dataset() as dataset:
        found = []
        for place, one in enumerate(dataset.images()):
            if place % 100 == 0:
                found += dataset.of_image(one.id)
        everything = list(dataset.annotations())
    assert len(everything) == number
    assert found == everything[::100]


def test_a_state_that_no_mask_can_be_in(store: Store) -> None:
    with pytest.raises(MaskwrightError, match="proposed, accepted, rejected, deleted"):
        store.masks.find(states=("acepted",))
    with pytest.raises(MaskwrightError, match="Use one of: "), store.dataset(states=("acepted",)):
        pass


@on_sqlite
def test_sqlite_is_set_up_to_lose_nothing(store: Store) -> None:
    with store._transactions.engine.connect() as connection:

        def ask(pragma: str) -> object:
            return connection.exec_driver_sql(f"PRAGMA {pragma}").scalar_one()

        assert ask("journal_mode") == "wal"
        assert ask("synchronous") == 2
        assert ask("foreign_keys") == 1
        assert ask("busy_timeout") == 5000


def test_another_window_sees_a_change_at_once(store: Store, new: MakeAnnotation, address: str | Path) -> None:
    with Store.open(address) as other:
        kept = store.masks.add(new())
        assert other.masks.find() == [kept]
        assert other.change_number() == store.change_number()
        other.masks.set_states({kept.id: None}, "deleted", "bob")[0]
        assert store.masks.find() == []


@on_server
def test_a_server_is_backed_up_with_its_own_tools(store: Store) -> None:
    assert not store.on_disk
    with pytest.raises(BadProject, match="such as pg_dump"):
        store.back_up()


@on_server
def test_the_backup_of_the_guide_is_the_whole_project(
    store: Store, new: MakeAnnotation, address: str, tmp_path: Path, server: postgres.Server
) -> None:
    for number in range(3):
        store.masks.add(new(f"class {number}", annotator="ann"))
    programs, dump = postgres.programs(), tmp_path / "streets.dump"
    assert programs is not None
    libpq = address.replace("+psycopg", "")
    subprocess.run([programs / "pg_dump", "--format", "custom", "--file", dump, libpq], check=True, timeout=60)
    store.masks.add(new("later"))
    with server.database() as restored:
        to = restored.replace("+psycopg", "")
        subprocess.run([programs / "pg_restore", "--no-owner", "--dbname", to, dump], check=True, timeout=60)
        with Store.open(restored) as again:
            assert again.masks.find() == store.masks.find()[:3]
            assert again.counts().accepted == {f"class {number}": 1 for number in range(3)}
            assert again.masks.undo("ann").masks == 1, "its history, too"
            assert again.masks.add(new("class 9")).id == 4


@on_server
def test_a_project_on_a_server_keeps_its_files_in_a_folder(
    bare: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MASKWRIGHT_PROJECT", str(tmp_path / "mine"))
    picture = Image(np.zeros((10, 20, 3), np.uint8))
    with Project.open(bare, create=True) as project:
        assert project.folder.parent == tmp_path
        assert project.folder.name.startswith("mine-test_")
        kept = project.accept(picture, rectangle(0, 0, 3, 3), "cow")
        project.delete([kept])
        assert project.purge() == (1, None)
        kept = project.accept(picture, rectangle(0, 0, 3, 3), "cow")
        assert project.images.missing() == []
        exported = project.export_coco(tmp_path / "coco.json").read_bytes()
    assert sorted(one.name for one in project.folder.iterdir()) == ["checkpoints", "exports", "images"]
    with Project.open(bare) as again:
        assert again.annotations() == [kept]
        assert again.export_coco(tmp_path / "again.json").read_bytes() == exported
        assert not np.any(again.images.open(kept.image_id).pixels)


def test_no_store_without_a_file(tmp_path: Path) -> None:
    with pytest.raises(BadProject, match="There is no project database"):
        Store.open(tmp_path / "project.db")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("address", "says"),
    [
        pytest.param("sqlite://", "on disk", id="memory"),
        pytest.param("sqlite:///:memory:", "on disk", id="named-memory"),
        pytest.param("nonsense://user@host/x", "driver for nonsense is not installed", id="driver"),
        pytest.param("://", "database URL", id="no-address"),
    ],
)
def test_addresses_that_cannot_be_used(address: str, says: str) -> None:
    with pytest.raises(BadProject, match=says):
        Store.open(address, create=True)


def test_any_file_name_and_the_url_of_a_file(tmp_path: Path) -> None:
    odd = tmp_path / "été #1 %41 ?x=y & 草.db"
    with Store.open(odd, create=True) as store:
        store.categories.add("cow")
    assert odd.is_file()
    with Store.open(f"sqlite:///{tmp_path}/plain.db", create=True) as store:
        assert store.categories.all() == []
    assert {file.name for file in tmp_path.iterdir()} == {"plain.db", odd.name, "backups"}


def test_the_store_needs_no_torch() -> None:
    code = "import sys, maskwright.store, maskwright.formats, maskwright.project; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def _luminance(color: str) -> float:
    channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("color", PALETTE)
def test_colours_show_on_black_and_on_white(color: str) -> None:
    assert re.fullmatch("#[0-9a-f]{6}", color)
    assert (_luminance(color) + 0.05) / 0.05 >= 3
    assert 1.05 / (_luminance(color) + 0.05) >= 3
    assert PALETTE.count(color) == 1
    assert default_color(PALETTE.index(color)) == color
