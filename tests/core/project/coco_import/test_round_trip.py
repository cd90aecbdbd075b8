"""Export, import into an empty project, export again: the same bytes (rule X-23)."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageOps

import maskwright as mw
from maskwright.formats.coco_rules import validate
from maskwright.formats.coco_writer import CocoOptions
from maskwright.project import Project
from maskwright.project.coco_import import ImportOptions
from maskwright.store import Correction, NewAnnotation

ORIENTED = [(kind, number) for kind in ("jpg", "png") for number in range(1, 9)]


def ring(size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    found = np.zeros(size_hw, bool)
    found[2:9, 3:10] = True
    found[4:6, 5:8] = False
    return found


def parts(size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    found = np.zeros(size_hw, bool)
    found[0:3, 0:4] = found[7:11, 6:9] = found[11, 11] = True
    return found


def pixel(size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    found = np.zeros(size_hw, bool)
    found[-1, -1] = True
    return found


def everywhere(size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    return np.ones(size_hw, bool)


def picture(file: Path, rng: np.random.Generator, orientation: int = 1) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    exif.get_ifd(0x8769)[0x9003] = "2024:05:06 07:08:09"
    Pillow.fromarray(rng.integers(0, 255, (14, 20, 3), dtype=np.uint8)).save(file, exif=exif.tobytes())
    return file


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A project with all that a file may have to carry."""
    rng = np.random.default_rng(1)
    home = tmp_path_factory.mktemp("source") / "project ü"
    with Project.open(home, create=True) as project:
        for kind, number in ORIENTED:
            project.add(picture(home.parent / f"turned {number} {kind}.{kind}", rng, number))
        # where the person put them; two share a stem
        for name in ("sub/🐄 草 #1.png", "sub/deeper/b.png", "same.jpg", "same.png", "nothing on it.png"):
            picture(home / "images" / name, rng)
        project.add(home / "images")
        by_name = {one.file_name: one.id for one in project.images.all()}
        for one in project.images.all()[: len(ORIENTED)]:
            image = project.images.open(one.id)
            project.accept(image, ring(image.size_hw), "Kuh 🐄")
            project.accept(image, parts(image.size_hw), "label")
        array = mw.Image(rng.integers(0, 255, (14, 20, 3), dtype=np.uint8))
        size = array.size_hw
        for mask in (pixel(size), everywhere(size), parts(size), parts(size), ring(size)):
            project.accept(array, mask, "草")
        cow = by_name["images/sub/🐄 草 #1.png"]
        told = {
            "preset": "tiny", "weights": "ab" * 32, "version": "0.1.0", "prompt": ["vache", "草"],
            "parameters": {"threshold": 0.1, "sides": [1, 2.5e-7], "none": None}, "note": '"\\ \u2028 ümlaut',
        }  # fmt: skip
        scored = mw.Mask.from_array(ring(size), category="Kuh 🐄", score=1 / 3)
        kept = project.accept_many(
            cow, [scored, mw.Mask.from_array(parts(size), score=1.0004)], "Kuh 🐄", source="text", provenance=told
        )
        mended = Correction(kept[1].id, kept[1].revision, mw.Mask.from_array(pixel(size)), {**told, "by": "hand"})
        project.store.masks.decide("accepted", "Ann Ü", corrections=[mended])[0]
        project.store.masks.add_many(
            [NewAnnotation(cow, "crowd", mw.Mask.from_array(everywhere(size)), annotator="ann", crowd=True)]
        )
        project.store.predictions.add(
            by_name["images/sub/deeper/b.png"],
            [
                NewAnnotation(
                    by_name["images/sub/deeper/b.png"], "Kuh 🐄", mw.Mask.from_array(parts(size), score=0.5), "text",
                    {"preset": "tiny", "prompt": "cow"}, "batch", "proposed",
                )
            ],
            "cow",
            "batch",
        )  # fmt: skip
        project.reject(project.accept(by_name["images/same.jpg"], ring(size), "草"))
        project.accept(by_name["images/same.png"], ring(size), "x" * 300)
        project.store.categories.change("label", "ann", supercategory="words")
        project.store.categories.add("never used")
        yield project


@dataclass(frozen=True)
class Trip:
    """One way out, in, and out again."""

    options: CocoOptions = CocoOptions()  # noqa: RUF009
    states: tuple[str, ...] = ("accepted",)
    images: bool = False
    pictures: str = "beside"
    """beside, chosen or none."""


def export(project: Project, file: Path, trip: Trip) -> Path:
    project.exchange.export(file, states=trip.states, options=trip.options, images=trip.images)
    return file


def travel(source: Project, tmp_path: Path, trip: Trip, side_file: bool = True) -> tuple[Path, Path, Project]:
    """Both files, and the project between them (to be closed)."""
    first = export(source, tmp_path / "first" / "coco.json", trip)
    pictures = first.parent / "images"
    options = ImportOptions()
    if trip.pictures == "none":
        shutil.rmtree(pictures, ignore_errors=True)
    elif not trip.images:
        shutil.copytree(source.folder / "images", pictures)
    if trip.pictures == "chosen":
        options = ImportOptions(images=pictures.rename(tmp_path / "chosen"))
    if not side_file:
        first.with_name("coco.provenance.jsonl").unlink()
    empty = Project.open(tmp_path / "empty", create=True)
    done = empty.exchange.import_coco(first, options=options)
    assert (done.skipped, done.ambiguous, done.known) == ((), (), 0)
    assert bool(done.missing) == (trip.pictures == "none")
    assert all("not found" in one for one in done.warnings)
    return first, export(empty, tmp_path / "second" / "coco.json", trip), empty


def same(one: Path, other: Path) -> bool:
    return one.read_bytes() == other.read_bytes()


TRIPS = [
    *(
        pytest.param(
            Trip(CocoOptions(segmentation=kind), images=images, pictures=where),
            id=f"{kind}-{images}-{where}",
            marks=[] if kind == "rle" or where == "beside" else pytest.mark.slow,
        )
        for kind in ("rle", "rle-list", "polygon")
        for images in (False, True)
        for where in ("beside", "chosen", "none")
    ),
    pytest.param(Trip(CocoOptions(only_annotated=True)), id="only-annotated"),
    pytest.param(Trip(CocoOptions(all_categories=True, description='Kühe "草"')), id="all-categories"),
    pytest.param(
        Trip(CocoOptions(all_categories=True, only_annotated=True), ("accepted", "rejected"), True), id="rejected"
    ),
    pytest.param(Trip(states=("proposed", "accepted", "rejected")), id="all-states"),
]


@pytest.mark.parametrize("trip", TRIPS)
def test_the_second_export_is_the_first(source: Project, tmp_path: Path, trip: Trip) -> None:
    first, second, between = travel(source, tmp_path, trip)
    with between:
        assert same(first, second)
        assert same(first.with_name("coco.provenance.jsonl"), second.with_name("coco.provenance.jsonl"))
        data = json.loads(first.read_text(encoding="utf-8"))
        assert len(data["annotations"]) >= 40
        assert validate(data) == []
        # and once more adds nothing
        again = between.exchange.import_coco(first)
        assert (again.masks, again.added, again.boxes) == (0, 0, 0)
        third = export(between, tmp_path / "third" / "coco.json", trip)
        assert same(first, third)


@pytest.mark.parametrize(
    "trip", [Trip(), Trip(CocoOptions(segmentation="polygon"), images=True)], ids=["rle", "copies"]
)
def test_without_the_side_file_the_json_is_still_the_same(source: Project, tmp_path: Path, trip: Trip) -> None:
    first, second, between = travel(source, tmp_path, trip, side_file=False)
    between.close()
    assert same(first, second)


def test_importing_into_its_own_project_adds_nothing(source: Project, tmp_path: Path) -> None:
    before = source.store.change_number()
    for images in (False, True):
        file = export(
            source, tmp_path / str(images) / "coco.json", Trip(images=images, states=("accepted", "rejected"))
        )
        done = source.exchange.import_coco(file)
        assert (done.masks, done.added, done.skipped, done.warnings) == (0, 0, (), ())
    assert source.store.change_number() == before


def stored(project: Project) -> list[tuple[Any, ...]]:
    kept = project.annotations(states=("accepted", "rejected", "proposed"))
    return [
        (one.id, one.uid, one.category, one.mask.rle, one.mask.score, one.state, one.source, one.revision,
         one.annotator, one.created_at, one.updated_at, one.crowd, dict(one.provenance))
        for one in kept
    ]  # fmt: skip


def test_every_word_of_every_mask_comes_back(source: Project, tmp_path: Path) -> None:
    trip = Trip(states=("accepted", "rejected", "proposed"))
    *_, between = travel(source, tmp_path, trip)
    with between:
        ours, theirs = stored(source), stored(between)
        # a predicted IoU a little above 1 is written as 1
        assert [tuple(one[:4] + one[5:]) for one in ours] == [tuple(one[:4] + one[5:]) for one in theirs]
        assert {one[4] for one in theirs} == {None, 1 / 3, 0.5}
        assert {one.state for one in between.annotations(states=trip.states)} == {"accepted", "rejected", "proposed"}
        assert between.images.all() == source.images.all()
        names = [(one.id, one.name, one.supercategory) for one in source.categories() if one.name != "never used"]
        assert [(one.id, one.name, one.supercategory) for one in between.categories()] == names
        for one in source.images.all():
            assert np.array_equal(source.images.open(one.id).pixels, between.images.open(one.id).pixels)


def test_the_copies_are_upright_and_the_masks_fit_them(source: Project, tmp_path: Path) -> None:
    """A reader that applies EXIF and one that ignores it see the same."""
    file = export(source, tmp_path / "coco.json", Trip(images=True))
    data: Mapping[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    assert len(data["images"]) == len(ORIENTED) + 6
    for row in data["images"]:
        ours = source.images.open(row["id"]).pixels
        with Pillow.open(tmp_path / row["file_name"]) as opened:
            plain = np.asarray(opened.convert("RGB"))
            turned = np.asarray(ImageOps.exif_transpose(opened).convert("RGB"))
        assert np.array_equal(plain, turned)
        assert plain.shape == (row["height"], row["width"], 3) == ours.shape
        assert row["exif_orientation"] == 1
        # a JPEG of noise loses something when it is turned; two of them differ by 85
        difference = np.abs(plain.astype(int) - ours)
        assert difference.max() == 0 if not row["file_name"].endswith("jpg") else difference.mean() < 12
    stems = [row["file_name"].rpartition(".")[0] for row in data["images"]]
    assert len(set(stems)) == len(stems)


def test_what_is_reported_of_turned_images_and_of_like_names(source: Project, tmp_path: Path) -> None:
    plain = source.exchange.export(tmp_path / "a.json").notes
    turned = next(one for one in plain if "turned by EXIF" in one)
    assert turned.startswith("images/turned 2 jpg.jpg, images/turned 3 jpg.jpg")
    assert "and 9 more: turned by EXIF" in turned
    assert [one for one in plain if "Datumaro" in one] == [
        "images/same.jpg and images/same.png: Datumaro refuses names that differ in their ending only; use --images."
    ]
    assert source.exchange.export(tmp_path / "b.json", images=True).notes == ()
