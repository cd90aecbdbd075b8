"""A project as used from Python."""

from __future__ import annotations

import getpass
import hashlib
import json
import os
import re
import shutil
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow
from pycocotools.coco import COCO

from maskwright.domain import Image, Mask
from maskwright.errors import (
    BadProject,
    Conflict,
    InvalidMask,
    MaskwrightError,
    OtherImage,
    ProjectUnwritable,
    UsageError,
)
from maskwright.files.atomic import replacing
from maskwright.files.names import numbered
from maskwright.formats.coco_rules import validate
from maskwright.project import Project
from maskwright.store import STATES, NewAnnotation
from maskwright.store.images import ImageStore


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    with Project.open(tmp_path / "streets", create=True) as opened:
        yield opened


def picture(file: Path, seed: int = 0, *, orientation: int = 1) -> Path:
    """A picture file of 6 x 4 pixels as stored."""
    file.parent.mkdir(parents=True, exist_ok=True)
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    pixels = np.random.default_rng(seed).integers(0, 256, (4, 6, 3), np.uint8)
    Pillow.fromarray(pixels).save(file, exif=exif)
    return file


def some_image(seed: int = 0) -> Image:
    return Image(np.random.default_rng(seed).integers(0, 256, (4, 6, 3), np.uint8))


BLOCK = np.zeros((4, 6), bool)
BLOCK[1:3, 2:5] = True


def names(project: Project) -> list[str]:
    return sorted(file.name for file in (project.folder / "images").iterdir())


# opening


def test_a_new_project_has_its_folders(project: Project) -> None:
    assert {one.name for one in project.folder.iterdir()} >= {"project.db", "images", "exports", "checkpoints"}
    assert project.status().images == 0


def test_no_project_says_how_to_make_one(tmp_path: Path) -> None:
    for where in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(BadProject) as caught:
            Project.open(where)
        told = f"There is no project in {where}. Create one with `maskwright project new {where}`."
        assert str(caught.value) == told
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("create", [False, True])
@pytest.mark.parametrize("where", ["file", "file/streets"])
def test_a_file_in_the_way(tmp_path: Path, where: str, create: bool) -> None:
    (tmp_path / "file").write_text("mine")
    error = ProjectUnwritable if create or where == "file" else BadProject
    with pytest.raises(error, match=r"in the way|There is no project"):
        Project.open(tmp_path / where, create=create)
    assert [one.name for one in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("name", ["images", "checkpoints"])
def test_a_file_where_a_folder_belongs(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(ProjectUnwritable, match="in the way"):
        Project.open(tmp_path, create=True)
    assert [one.name for one in tmp_path.iterdir()] == [name]


def test_a_relative_folder_stays_the_same_after_changing_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with Project.open("streets", create=True) as project:
        monkeypatch.chdir("/")
        record = project.images.register(some_image())
        assert (tmp_path / "streets" / record.file_name).is_file()


def test_a_database_url(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    with Project.open(f"sqlite:///{tmp_path}/elsewhere/cows.db", create=True) as project:
        project.accept(some_image(), BLOCK, "cow")
    assert (tmp_path / "elsewhere" / "cows.db").is_file()
    assert len(list((tmp_path / "elsewhere" / "images").iterdir())) == 1


# pictures


def test_adding_a_folder(project: Project, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    for number, name in enumerate(["b.png", "a.jpg", "deep/er/c.tif"]):
        picture(photos / name, number)
    (photos / "broken.png").write_bytes(b"no picture")
    (photos / "notes.txt").write_text("no picture either")
    (photos / ".hidden.png").write_bytes(b"")
    results = project.add(photos)
    assert [one.path.name for one in results] == ["a.jpg", "b.png", "broken.png", "c.tif"]
    assert [one.new for one in results] == [True, True, False, True]
    assert results[2].record is None
    assert results[2].problem.startswith("Cannot read broken.png: the file is damaged or not an image.")
    assert [one.file_name for one in project.images.all()] == ["images/a.jpg", "images/b.png", "images/c.tif"]
    again = project.add(photos)
    assert [one.new for one in again] == [False] * 4
    assert [one.record for one in again] == [one.record for one in results]
    assert names(project) == ["a.jpg", "b.png", "c.tif"]


def test_a_missing_file_is_one_result(project: Project, tmp_path: Path) -> None:
    (result,) = project.add(tmp_path / "nowhere.png")
    assert result.problem.startswith("There is no file ")
    assert names(project) == []


def test_the_copy_is_the_file(project: Project, tmp_path: Path) -> None:
    file = picture(tmp_path / "turned.jpg", orientation=6)
    (result,) = project.add(file)
    assert result.record is not None
    record = result.record
    copy = project.folder / record.file_name
    assert copy.read_bytes() == file.read_bytes()
    assert record.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    # upright
    assert (record.width, record.height, record.orientation) == (4, 6, 6)
    image = project.images.open(record.id)
    assert image.sha256 == record.sha256
    assert np.array_equal(image.pixels, Image.open(file).pixels)


@pytest.mark.parametrize(
    "name",
    [
        "vache à l'étable.png",
        "草原 の 牛.png",
        "a #1 %41 100%.png",
        " leading and trailing .png",
        "quote'\"<img src=x onerror=alert(1)>.png".replace("/", ""),
        "n" * 200 + ".png",
        "two.dots.in.it.PNG",
        unicodedata.normalize("NFD", "é.png"),
        "-rf.png",
        "line\nbreak.png",
    ],
)
def test_any_name_is_kept_with_letters_that_every_disk_takes(project: Project, tmp_path: Path, name: str) -> None:
    (result,) = project.add(picture(tmp_path / "photos" / name))
    assert result.record is not None
    stored = re.sub('[<>"\n]', "_", name)
    assert result.record.file_name == f"images/{stored}"
    assert project.images.open(result.record.id).name == stored
    project.accept(result.record.id, BLOCK, "cow")
    assert validate(json.loads(project.export_coco(tmp_path / "coco.json").read_text(encoding="utf-8"))) == []


@pytest.mark.skipif(os.name != "posix", reason="only there a name is bytes")
def test_names_that_are_not_text(project: Project, tmp_path: Path) -> None:
    file = picture(tmp_path / "x.png")
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9 \\ x.png"))
    file.rename(odd)
    (result,) = project.add(odd)
    assert result.record is not None
    assert result.record.file_name == "images/caf\ufffd _ x.png"
    project.images.open(result.record.id)
    (tmp_path / "y.png").write_bytes(b"broken")
    (tmp_path / "y.png").rename(odd)
    (result,) = project.add(odd)
    assert result.problem.encode()


def test_names_that_are_taken(project: Project, tmp_path: Path) -> None:
    files = ["one/cow.jpg", "two/cow.jpg", "three/COW.png", "four/cow-2.jpg"]
    for number, name in enumerate(files):
        picture(tmp_path / "photos" / name, number)
    results = [project.add(tmp_path / "photos" / name)[0] for name in files]
    kept = [one.record.file_name for one in results if one.record]
    # stems differ, too: some readers know images by path without suffix
    assert kept == ["images/cow.jpg", "images/cow-2.jpg", "images/COW-3.png", "images/cow-2-2.jpg"]
    with Project.open(project.folder) as other:
        (more,) = other.add(picture(tmp_path / "photos" / "five" / "cow.webp", 9))
    assert more.record is not None
    assert more.record.file_name == "images/cow-4.webp"


def test_numbered_names_fit_on_a_disk() -> None:
    found = numbered("草" * 200 + ".png")
    first, second = next(found), next(found)
    assert len(first.encode()) <= 255
    assert first.endswith("草.png")
    assert len(second.encode()) <= 255
    assert second.endswith("草-2.png")


def test_the_same_content_under_two_names(project: Project, tmp_path: Path) -> None:
    file = picture(tmp_path / "a.png")
    shutil.copy(file, tmp_path / "b.png")
    first, second = project.add(file)[0], project.add(tmp_path / "b.png")[0]
    assert first.record == second.record
    assert names(project) == ["a.png"]
    assert project.store.images.by_alias("../b.png") == [first.record]


def test_a_changed_file_is_a_new_image_and_says_so(project: Project, tmp_path: Path) -> None:
    file = picture(tmp_path / "a.png")
    old = project.add(file)[0].record
    assert old is not None
    project.accept_many(old.id, [BLOCK, BLOCK], "cow")
    picture(file, 1)
    (result,) = project.add(file)
    assert result.record is not None
    assert result.record.id == old.id + 1
    assert result.notice == "a.png has changed since it was added; 2 masks belong to the old image."
    assert np.array_equal(project.images.open(old.id).pixels, some_image().pixels)


def test_a_link_instead_of_a_copy(project: Project, tmp_path: Path) -> None:
    file = picture(tmp_path / "a.png")
    (result,) = project.add(file, copy=False)
    assert result.record is not None
    assert result.record.file_name == "images/a.png"
    assert (project.folder / "images" / "a.png").readlink() == file
    assert project.images.open(result.record.id).sha256 == result.record.sha256


def test_images_in_the_project_folder(project: Project) -> None:
    picture(project.folder / "images" / "sub" / "a.png")
    picture(project.folder / "exports" / "overlay.png", 1)
    (result,) = project.add(project.folder)
    assert result.record is not None
    assert result.record.file_name == "images/sub/a.png"
    assert names(project) == ["sub"]


def test_a_copy_without_a_row_is_no_hindrance(project: Project, tmp_path: Path) -> None:
    # as after a power cut between the two
    picture(project.folder / "images" / "a.png")
    (result,) = project.add(picture(tmp_path / "a.png"))
    assert result.record is not None
    assert project.images.open(result.record.id).sha256 == result.record.sha256


def test_no_file_is_left_when_the_row_cannot_be_written(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def locked(*_: object) -> None:
        raise ProjectUnwritable("Cannot save: locked.")

    file = picture(tmp_path / "a.png")
    with monkeypatch.context() as patch:
        patch.setattr(ImageStore, "add", locked)
        with pytest.raises(ProjectUnwritable):
            project.add(file)
    assert names(project) == []
    assert project.add(file)[0].new


def test_a_full_disk_while_copying(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ProjectUnwritable, match=r"The disk is full; nothing was lost\."):
        project.add(picture(tmp_path / "a.png"))
    assert names(project) == []


def test_an_array_image_keeps_its_identity(project: Project) -> None:
    image = some_image()
    record = project.images.register(image)
    assert record.sha256 == image.sha256
    assert record.file_name == f"images/{image.sha256}.png"
    found = project.images.open(record.id)
    assert found.sha256 == image.sha256
    assert np.array_equal(found.pixels, image.pixels)
    assert project.images.register(found) == project.images.register(some_image()) == record


def test_an_image_from_bytes_keeps_its_identity(project: Project, tmp_path: Path) -> None:
    data = picture(tmp_path / "turned.jpg", orientation=8).read_bytes()
    image = Image.from_bytes(data, "upload.jpg")
    record = project.images.register(image)
    # the PNG is upright
    assert (record.sha256, record.orientation) == (hashlib.sha256(data).hexdigest(), 1)
    found = project.images.open(record.id)
    assert found.sha256 == image.sha256
    assert np.array_equal(found.pixels, image.pixels)


def test_an_opened_image_is_copied_as_it_is(project: Project, tmp_path: Path) -> None:
    file = picture(tmp_path / "a.jpg")
    record = project.images.register(Image.open(file))
    assert (project.folder / record.file_name).read_bytes() == file.read_bytes()
    assert project.store.images.by_alias("../a.jpg") == [record]


def test_a_missing_image_comes_back_when_added_again(project: Project, tmp_path: Path) -> None:
    file = picture(tmp_path / "a.png")
    record = project.add(file)[0].record
    assert record is not None
    (project.folder / record.file_name).unlink()
    with pytest.raises(MaskwrightError, match=r"images/a\.png is missing"):
        project.images.open(record.id)
    assert project.add(file)[0].record == record
    assert project.images.open(record.id).sha256 == record.sha256


def test_an_image_changed_outside_maskwright(project: Project, tmp_path: Path) -> None:
    record = project.add(picture(tmp_path / "a.png"))[0].record
    assert record is not None
    picture(project.folder / record.file_name, 1)
    with pytest.raises(MaskwrightError, match=r"images/a\.png was changed"):
        project.images.open(record.id)


# masks


def test_accepting_adds_the_image_and_keeps_the_mask(project: Project) -> None:
    image = some_image()
    annotation = project.accept(image, BLOCK, category=" cow ")
    assert annotation.category == "cow"
    assert (annotation.source, annotation.annotator, annotation.state) == ("manual", getpass.getuser(), "accepted")
    assert np.array_equal(annotation.mask.to_array(), BLOCK)
    with Project.open(project.folder) as other:
        assert other.annotations(image) == [annotation]
        assert [one.name for one in other.categories()] == ["cow"]
        assert other.status().accepted == {"cow": 1}


def test_a_models_mask_brings_category_score_and_source(project: Project) -> None:
    record = project.images.register(some_image())
    told = {"source": "text", "preset": "tiny", "prompt": "grass"}
    mask = Mask.from_array(BLOCK, category="grass", score=0.75)
    annotation = project.accept(record.id, mask, provenance=told, annotator="ann")
    assert (annotation.category, annotation.mask.score) == ("grass", 0.75)
    assert (annotation.source, annotation.annotator, annotation.provenance) == ("text", "ann", told)
    assert project.accept(record.id, mask, "sky", provenance=told, source="click").source == "click"


@pytest.mark.parametrize(
    ("mask", "category", "error"),
    [
        pytest.param(np.zeros((4, 6), bool), "cow", MaskwrightError, id="empty"),
        pytest.param(np.ones((6, 4), bool), "cow", InvalidMask, id="size"),
        pytest.param(np.ones((4, 6), np.uint8), "cow", InvalidMask, id="numbers"),
        pytest.param(BLOCK, None, UsageError, id="no-category"),
        pytest.param(BLOCK, "  ", UsageError, id="blank"),
    ],
)
def test_a_refused_mask_changes_nothing(
    project: Project, mask: np.ndarray, category: str | None, error: type[MaskwrightError]
) -> None:
    with pytest.raises(error) as caught:
        project.accept(some_image(), mask, category)
    assert type(caught.value) is error
    assert project.images.all() == []
    assert project.categories() == []
    assert names(project) == []


def test_several_at_once_and_reject(project: Project) -> None:
    image = some_image()
    assert project.annotations(image) == []
    kept = project.accept_many(image, [BLOCK, Mask.from_array(~BLOCK)], "cow")
    assert [one.id for one in kept] == [1, 2]
    rejected = project.reject(kept[0], annotator="ann")
    assert (rejected.state, rejected.revision) == ("rejected", 2)
    with pytest.raises(MaskwrightError, match="was changed by someone else"):
        project.reject(kept[0])
    assert project.reject(2).state == "rejected"
    assert project.annotations() == []
    assert project.annotations(states=("rejected",))[0] == rejected
    assert project.accept_many(image, [], "cow") == []


def test_deleting_restoring_and_taking_back(project: Project) -> None:
    image = some_image()
    kept = project.accept_many(image, [BLOCK, ~BLOCK], "cow", source="text")
    assert [one.state for one in project.delete(kept)] == ["deleted", "deleted"]
    with pytest.raises(Conflict, match="revision 2, you saw 1"):
        project.restore(kept[:1])
    assert [one.state for one in project.restore([kept[0].id])] == ["accepted"]
    assert project.undo(kept[0].image_id).description == "restoration of 1 mask"
    assert project.undo().description == "deletion of 2 masks"
    assert len(project.annotations()) == 2
    assert project.redo().masks == 2
    other = project.accept(some_image(1), BLOCK, "cow")
    with pytest.raises(OtherImage) as caught:
        project.undo(kept[0].image_id)
    assert caught.value.image_id == other.image_id
    removed, copy = project.purge()
    assert removed == 2
    assert copy is not None
    assert project.annotations(states=STATES) == [other]
    with Project.open(copy.rename(copy.with_name("project.db")).parent) as before:
        assert [one.id for one in before.annotations(states=("deleted",))] == [one.id for one in kept]


def test_a_user_without_a_name(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> str:
        raise KeyError("uid")

    monkeypatch.setattr(getpass, "getuser", nobody)
    assert project.accept(some_image(), BLOCK, "cow").annotator == "unknown"


# export


@pytest.fixture
def annotated(project: Project, tmp_path: Path) -> Project:
    for number, name in enumerate(["vache #1.jpg", "草.png", "empty.png"]):
        project.add(picture(tmp_path / "photos" / name, number))
    ring = np.ones((4, 6), bool)
    ring[1:3, 2:4] = False
    parts = np.zeros((4, 6), bool)
    parts[:, 0] = parts[2, 4] = True
    told = {"source": "text", "preset": "tiny", "weights": "ab", "version": "1", "prompt": "草"}
    project.accept(1, Mask.from_array(ring, category="草", score=0.5), provenance=told)
    project.accept(2, parts, "<img src=x onerror=alert(1)>")
    project.reject(project.accept(2, BLOCK, "cow"))
    return project


def test_two_exports_are_the_same_bytes(annotated: Project, tmp_path: Path) -> None:
    first = annotated.export_coco(tmp_path / "a.json").read_bytes()
    with Project.open(annotated.folder) as other:
        assert other.export_coco(tmp_path / "b.json").read_bytes() == first
    assert (tmp_path / "a.provenance.jsonl").read_bytes() == (tmp_path / "b.provenance.jsonl").read_bytes()
    assert first.endswith(b"\n")
    assert "草.png".encode() in first
    assert validate(json.loads(first)) == []
    annotated.accept(3, BLOCK, "cow")
    assert annotated.export_coco(tmp_path / "a.json").read_bytes() != first


@pytest.mark.parametrize("segmentation", ["rle", "polygon"])
def test_pycocotools_reads_the_export(
    annotated: Project, tmp_path: Path, segmentation: str, capsys: pytest.CaptureFixture[str]
) -> None:
    coco = COCO(str(annotated.export_coco(tmp_path / "coco.json", segmentation=segmentation)))
    assert len(coco.loadImgs(coco.getImgIds())) == 3
    for kept in annotated.annotations():
        (row,) = coco.loadAnns([kept.id])
        assert np.array_equal(coco.annToMask(row).astype(bool), kept.mask.to_array())
        assert coco.loadImgs([row["image_id"]])[0]["file_name"] == annotated.store.images.get(kept.image_id).file_name
        assert coco.loadCats([row["category_id"]])[0]["name"] == kept.category


def test_export_options(annotated: Project, tmp_path: Path) -> None:
    def exported(**options: object) -> dict[str, list[dict[str, object]]]:
        file = annotated.export_coco(tmp_path / "x.json", **options)  # type: ignore[arg-type]
        return json.loads(file.read_text(encoding="utf-8"))

    assert [row["id"] for row in exported(only_annotated=True)["images"]] == [1, 2]
    assert [row["name"] for row in exported(all_categories=True)["categories"]] == [
        "草",
        "<img src=x onerror=alert(1)>",
        "cow",
    ]
    assert [row["id"] for row in exported(states=("accepted", "rejected"))["annotations"]] == [1, 2, 3]
    assert exported(description="cows")["info"]["description"] == "cows"  # type: ignore[call-overload]


def test_full_provenance_lies_beside_the_export(annotated: Project, tmp_path: Path) -> None:
    annotated.export_coco(tmp_path / "coco.json")
    lines = (tmp_path / "coco.provenance.jsonl").read_text(encoding="utf-8").splitlines()
    kept = annotated.annotations()
    assert [json.loads(line)["uid"] for line in lines] == [one.uid for one in kept]
    assert json.loads(lines[0])["provenance"] == kept[0].provenance


def test_an_export_without_room_keeps_the_old_one(
    annotated: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = annotated.export_coco(tmp_path / "coco.json")
    before = file.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    annotated.accept(3, BLOCK, "cow")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(MaskwrightError, match=r"^Cannot write .*No space left on device"):
        annotated.export_coco(file)
    assert file.read_bytes() == before


# moving


def test_moving_the_folder_moves_the_project(annotated: Project, tmp_path: Path) -> None:
    images, masks = annotated.images.all(), annotated.annotations(states=STATES)
    annotated.close()
    moved = tmp_path / "élsewhere #2" / "project"
    moved.parent.mkdir()
    annotated.folder.rename(moved)
    assert str(annotated.folder).encode() not in (moved / "project.db").read_bytes()
    with Project.open(moved) as project:
        assert project.images.all() == images
        assert project.annotations(states=STATES) == masks
        for record in project.images.all():
            assert project.images.open(record.id).sha256 == record.sha256


def test_many_windows_on_one_project(project: Project) -> None:
    with Project.open(project.folder) as other:
        first = project.accept(some_image(), BLOCK, "cow")
        second = other.accept(some_image(), ~BLOCK, "cow")
        assert first.image_id == second.image_id
        assert project.annotations() == other.annotations() == [first, second]


def test_the_row_comes_after_the_file(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []
    real = ImageStore.add

    def watch(store: ImageStore, new: object) -> object:
        file = project.folder / new.file_name  # type: ignore[attr-defined]
        seen.append(file.read_bytes() == (tmp_path / "a.png").read_bytes())
        return real(store, new)  # type: ignore[arg-type]

    monkeypatch.setattr(ImageStore, "add", watch)
    project.add(picture(tmp_path / "a.png"))
    assert seen == [True]


def test_rejected_proposals_can_be_stored_too(project: Project) -> None:
    record = project.images.register(some_image())
    draft = NewAnnotation(record.id, "cow", Mask.from_array(BLOCK), "text", state="rejected")
    assert project.store.masks.add(draft).state == "rejected"
    assert project.status().rejected == 1


def test_another_process_took_the_same_image_first(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = picture(tmp_path / "a.png")
    with Project.open(project.folder) as other, monkeypatch.context() as patch:
        # both find the content unknown; the other one is done before we are
        patch.setattr(project.store.images, "by_sha256", lambda _: None)
        (first,) = other.add(file)
        (second,) = project.add(file)
    assert second.record == first.record
    assert names(project) == ["a.png"]


def test_a_half_copied_file_never_has_its_name(tmp_path: Path) -> None:
    target = tmp_path / "a.png"
    with replacing(target) as handle:
        handle.write(b"half")
        handle.flush()
        assert not target.exists()
    assert target.read_bytes() == b"half"
