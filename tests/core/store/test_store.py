"""The store: values in, the same values out, nothing reused, nothing lost."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from maskwright.domain import Image, ImageRecord, Mask
from maskwright.domain.palette import PALETTE, default_color
from maskwright.errors import BadProject, InvalidMask, MaskwrightError
from maskwright.project import Project
from maskwright.store import Correction, NewAnnotation, NewDataset, NewImage, Store
from tests.core.store.conftest import MakeAnnotation, changed, on_server, on_sqlite, rectangle, rows

MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def test_an_annotation_comes_back_as_it_went_in(store: Store, new: MakeAnnotation, image: ImageRecord) -> None:
    provenance = {"preset": "tiny", "prompt": "vache, 草", "parameters": {"threshold": 0.1, "clicks": [[1, 2]]}}
    kept = store.add_annotation(new("cow", score=0.1 + 0.2, source="text", provenance=provenance, annotator="ann"))
    (found,) = store.annotations(image.id)
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
    kept = store.add_annotations([new("cow"), new("sky")])
    categories, number = store.categories(), store.change_number()
    store.close()
    with Store.open(address) as again:
        assert again.images() == [image]
        assert again.annotations() == kept
        assert (again.categories(), again.change_number()) == (categories, number)


def test_the_same_content_is_one_image_with_two_aliases(store: Store, image: ImageRecord) -> None:
    again = store.add_image(NewImage("a" * 64, "images/other.jpg", 20, 10, alias="photos/copy.jpg"))
    assert again == image
    assert store.images() == [image]
    assert store.images_added_from("photos/cow.jpg") == store.images_added_from("photos/copy.jpg") == [image]
    store.add_image(NewImage("a" * 64, "images/other.jpg", 20, 10, alias="photos/copy.jpg"))
    assert len(rows(store, "SELECT * FROM image_aliases")) == 2


def test_images_can_be_listed_in_pages(store: Store) -> None:
    added = [store.add_image(NewImage(f"{n:064x}", f"images/{n}.png", 3, 2)) for n in range(5)]
    assert store.images(after_id=added[1].id, limit=2) == added[2:4]
    assert store.images() == added
    assert store.image(added[3].id) == store.image_by_sha256(f"{3:064x}") == added[3]
    assert store.image_by_sha256("f" * 64) is None


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param("caf\u00e9", "cafe\u0301", id="nfc"),
        pytest.param("cow", "  cow\t", id="blanks"),
        pytest.param("草原", "草原 ", id="chinese"),
    ],
)
def test_one_spelling_is_one_category(store: Store, first: str, second: str) -> None:
    assert store.category(first) == store.category(second)
    assert [one.name for one in store.categories()] == [first]


def test_categories_get_their_own_colours(store: Store) -> None:
    made = [store.category(f"class {n}") for n in range(len(PALETTE) + 1)]
    assert [one.color for one in made[:-1]] == list(PALETTE)
    assert made[-1].color == PALETTE[0]
    assert [one.id for one in made] == list(range(1, len(made) + 1))


def test_a_name_with_html_is_only_text(store: Store, new: MakeAnnotation) -> None:
    name = "<img src=x onerror=alert(1)>'; DROP TABLE images; --"
    store.add_annotation(new(name))
    assert [one.name for one in store.categories()] == [name]


@pytest.mark.parametrize("name", ["", "  \n", "\udcff"])
def test_a_category_needs_a_name(store: Store, name: str) -> None:
    with pytest.raises(MaskwrightError, match="category"):
        store.category(name)


def test_an_unknown_category_is_not_made_when_only_asked_for(store: Store) -> None:
    with pytest.raises(MaskwrightError, match="There is no category 'cow'"):
        store.category("cow", create=False)
    assert store.categories() == []


def test_ids_are_never_used_again(store: Store, new: MakeAnnotation, address: str | Path) -> None:
    kept = store.add_annotations([new("cow"), new("sky")])
    tables = ("annotations", "tallies", "prompts", "image_aliases", "images", "categories")
    changed(store, *(f"DELETE FROM {table}" for table in tables))
    store.close()
    with Store.open(address) as again:
        record = again.add_image(NewImage("b" * 64, "images/b.png", 20, 10))
        mask = Mask.from_array(np.ones((10, 20), bool))
        annotation = again.add_annotation(NewAnnotation(record.id, "tree", mask))
    assert record.id == 2
    assert annotation.id == kept[-1].id + 1
    assert annotation.category_id == 3


def test_uids_differ(store: Store, new: MakeAnnotation) -> None:
    kept = store.add_annotations(new() for _ in range(100))
    assert [one.id for one in kept] == list(range(1, 101))
    assert len({one.uid for one in kept}) == 100


def test_all_or_none_of_several(store: Store, new: MakeAnnotation, image: ImageRecord) -> None:
    wrong = new(mask=Mask.from_array(np.ones((20, 10), bool)))
    before = store.change_number()
    with pytest.raises(InvalidMask, match="The mask is 10 x 20 pixels, but its image is 20 x 10"):
        store.add_annotations([new("tree"), wrong])
    assert store.annotations() == []
    assert store.categories() == []
    assert store.change_number() == before
    assert store.add_annotations([]) == []


@pytest.mark.parametrize(
    ("others", "says"),
    [
        pytest.param({"mask": Mask.from_array(np.zeros((10, 20), bool))}, "The mask is empty", id="empty"),
        pytest.param({"score": float("nan")}, "score is not a number", id="nan"),
        pytest.param({"source": "magic"}, "cannot come from 'magic'", id="source"),
        pytest.param({"state": "open"}, "cannot be 'open'", id="state"),
        pytest.param({"provenance": {"x": float("inf")}}, "provenance cannot be kept", id="infinite"),
        pytest.param({"provenance": {"x": np.zeros(2)}}, "provenance cannot be kept", id="array"),
        pytest.param({"image_id": 77}, "There is no image 77", id="image"),
    ],
)
def test_what_cannot_be_kept_is_refused(
    store: Store, new: MakeAnnotation, others: dict[str, object], says: str
) -> None:
    with pytest.raises(MaskwrightError, match=says) as caught:
        store.add_annotation(new(**others))
    assert "\n" not in str(caught.value)
    assert store.annotations() == []


def test_provenance_is_not_changed_from_outside(store: Store, new: MakeAnnotation) -> None:
    told = {"clicks": [[1, 2]]}
    draft = new(provenance=told)
    told["clicks"].append([3, 4])
    assert store.add_annotation(draft).provenance == {"clicks": [[1, 2]]}


def test_states_change_with_a_history(store: Store, new: MakeAnnotation, image: ImageRecord) -> None:
    kept = store.add_annotation(new(annotator="ann"))
    number = store.change_number()
    rejected = store.set_state(kept.id, "rejected", "bob", revision=1)
    assert (rejected.state, rejected.revision, rejected.uid) == ("rejected", 2, kept.uid)
    assert rejected.updated_at >= kept.updated_at
    assert store.annotations(image.id) == []
    assert store.annotations(image.id, states=("accepted", "rejected")) == [rejected]
    assert store.change_number() == number + 1
    store.set_state(kept.id, "deleted", "bob")
    assert store.set_state(kept.id, "accepted", "bob").revision == 4
    assert rows(store, "SELECT kind, who FROM events ORDER BY id") == [
        ("image_added", "ann"),
        ("category_added", "ann"),
        ("annotation_added", "ann"),
        *[("state_changed", "bob")] * 3,
    ]
    history = store.history(kept.id)
    assert [(one.who, one.kind, one.annotation_id, one.image_id) for one in history] == [
        ("ann", "annotation_added", kept.id, image.id),
        *[("bob", "state_changed", kept.id, image.id)] * 3,
    ]
    assert history[0].after == {"state": "accepted", "category_id": 1, "revision": 1}
    assert history[1].before == {"state": "accepted", "revision": 1}
    assert history[1].after == {"state": "rejected", "revision": 2}
    assert all(MOMENT.fullmatch(str(at)) for (at,) in rows(store, "SELECT at FROM events"))


def test_a_stale_change_overwrites_nothing(store: Store, new: MakeAnnotation) -> None:
    kept = store.add_annotation(new())
    store.set_state(kept.id, "deleted", "ann", revision=1)
    number = store.change_number()
    with pytest.raises(MaskwrightError, match=r"revision 2, you saw 1\); nothing was overwritten"):
        store.set_state(kept.id, "rejected", "bob", revision=1)
    assert store.annotations(states=("deleted",))[0].revision == 2
    assert store.change_number() == number


def test_a_correction_is_a_revision_and_the_history_keeps_the_old_pixels(store: Store, new: MakeAnnotation) -> None:
    kept = store.add_annotation(new(score=0.5))
    mask = rectangle(0, 0, 4, 1, score=0.9)
    after = store.correct(Correction(kept.id, 1, mask, {"source": "click"}, "calf"), "bob")
    assert (after.id, after.uid, after.category, after.annotator, after.revision) == (
        kept.id,
        kept.uid,
        "calf",
        "bob",
        2,
    )
    assert (after.mask.rle, after.mask.bbox, after.mask.area) == (mask.rle, (0, 0, 4, 1), 4)
    assert after.mask.score is None, "a score is a word on the mask as it was proposed"
    assert store.annotations() == [after]
    edited = store.history(kept.id)[-1]
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
            store.correct(wrong, "ann")
    assert store.change_number() == number
    store.set_state(kept.id, "deleted", "ann")
    with pytest.raises(MaskwrightError, match="no longer accepted"):
        store.correct(Correction(kept.id, 3, kept.mask, {}), "ann")


def test_the_present_state_is_no_change(store: Store, new: MakeAnnotation) -> None:
    kept = store.add_annotation(new())
    number = store.change_number()
    assert store.set_state(kept.id, "accepted", "bob") == kept
    assert store.change_number() == number


def test_unknown_things_are_named(store: Store) -> None:
    for action in (lambda: store.image(5), lambda: store.set_state(5, "deleted", "ann")):
        with pytest.raises(MaskwrightError, match=r"There is no (image|mask) 5 in this project\."):
            action()


def test_counts(store: Store, new: MakeAnnotation) -> None:
    store.add_image(NewImage("c" * 64, "images/c.png", 5, 5))
    store.add_annotations([new("cow"), new("cow"), new("sky", state="rejected")])
    counts = store.counts()
    assert (counts.images, counts.annotated_images, counts.rejected) == (2, 1, 1)
    assert counts.accepted == {"cow": 2, "sky": 0}


def test_a_dataset_is_of_one_moment_and_one_kind(store: Store, new: MakeAnnotation, image: ImageRecord) -> None:
    with store.dataset() as first:
        assert first.number() == 0
        kept = store.add_annotations([new("cow"), new("sky", state="rejected")])
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
    store.import_dataset(NewDataset(images, [], masks))
    with store.dataset() as dataset:
        found = []
        for place, one in enumerate(dataset.images()):
            if place % 100 == 0:
                found += dataset.of_image(one.id)
        everything = list(dataset.annotations())
    assert len(everything) == number
    assert found == everything[::100]


def test_a_state_that_no_mask_can_be_in(store: Store) -> None:
    with pytest.raises(MaskwrightError, match="Use one of: proposed, accepted, rejected, deleted"):
        store.annotations(states=("acepted",))
    with pytest.raises(MaskwrightError, match="Use one of: "), store.dataset(states=("acepted",)):
        pass


@on_sqlite
def test_sqlite_is_set_up_to_lose_nothing(store: Store) -> None:
    with store._engine.connect() as connection:

        def ask(pragma: str) -> object:
            return connection.exec_driver_sql(f"PRAGMA {pragma}").scalar_one()

        assert ask("journal_mode") == "wal"
        assert ask("synchronous") == 2
        assert ask("foreign_keys") == 1
        assert ask("busy_timeout") == 5000


def test_another_window_sees_a_change_at_once(store: Store, new: MakeAnnotation, address: str | Path) -> None:
    with Store.open(address) as other:
        kept = store.add_annotation(new())
        assert other.annotations() == [kept]
        assert other.change_number() == store.change_number()
        other.set_state(kept.id, "deleted", "bob")
        assert store.annotations() == []


@on_server
def test_a_server_is_backed_up_with_its_own_tools(store: Store) -> None:
    assert not store.on_disk
    with pytest.raises(BadProject, match="such as pg_dump"):
        store.back_up()


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
        assert project.missing() == []
        exported = project.export_coco(tmp_path / "coco.json").read_bytes()
    assert sorted(one.name for one in project.folder.iterdir()) == ["checkpoints", "exports", "images"]
    with Project.open(bare) as again:
        assert again.annotations() == [kept]
        assert again.export_coco(tmp_path / "again.json").read_bytes() == exported
        assert not np.any(again.image(kept.image_id).pixels)


def test_no_store_without_a_file(tmp_path: Path) -> None:
    with pytest.raises(BadProject, match="There is no project database"):
        Store.open(tmp_path / "project.db")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("address", "says"),
    [
        pytest.param("sqlite://", "keeps nothing on disk", id="memory"),
        pytest.param("sqlite:///:memory:", "keeps nothing on disk", id="named-memory"),
        pytest.param("nonsense://user@host/x", "driver for nonsense is not installed", id="driver"),
        pytest.param("://", "not a database address", id="no-address"),
    ],
)
def test_addresses_that_cannot_be_used(address: str, says: str) -> None:
    with pytest.raises(BadProject, match=says):
        Store.open(address, create=True)


def test_any_file_name_and_the_url_of_a_file(tmp_path: Path) -> None:
    odd = tmp_path / "été #1 %41 ?x=y & 草.db"
    with Store.open(odd, create=True) as store:
        store.category("cow")
    assert odd.is_file()
    with Store.open(f"sqlite:///{tmp_path}/plain.db", create=True) as store:
        assert store.categories() == []
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
