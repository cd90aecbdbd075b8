"""How images of a COCO file are matched, and how masks lie on rotated images."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow
from PIL import ImageOps

import maskwright as mw
from maskwright.domain import rle
from maskwright.imaging.geometry import upright
from maskwright.project import Project
from maskwright.project.coco_import import ImportOptions, ImportResult
from tests.core.project.coco_import.conftest import REGIONS, Labels, corners, draw, region, runs, write


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def test_the_ways_in_their_order(project: Project, tmp_path: Path, rng: np.random.Generator) -> None:
    """Each row could also be found in the ways below its own, which lead to another picture."""
    home = tmp_path / "mine"
    names = ("by-sha.png", "content.png", "sub/by-path.png", "other/by-name.png", "decoy.png")
    files = {name: draw(home / name, rng) for name in names}
    records = {name: project.add(file)[0].record for name, file in files.items()}
    paths = {name: record.file_name for name, record in records.items() if record}
    labels = tmp_path / "labels"
    (labels / "images").mkdir(parents=True)
    (labels / "images" / "decoy.png").write_bytes(files["content.png"].read_bytes())
    new = draw(labels / "images" / "new.png", rng)
    rows = [
        {"file_name": "decoy.png", "sha256": sha256(files["by-sha.png"])},
        {"file_name": "decoy.png"},
        {"file_name": paths["sub/by-path.png"]},
        {"file_name": "somewhere/by-name.png"},
        {"file_name": "new.png"},
        {"file_name": "nowhere.png"},
    ]
    images = [{"id": n, "width": 40, "height": 30} | row for n, row in enumerate(rows, start=1)]
    done = project.exchange.import_coco(write(tmp_path, {"images": images, "annotations": [], "categories": []}))
    assert done.matched == {"SHA-256": 1, "content": 1, "path": 1, "name": 1, "file": 1}
    assert (done.images, done.added, done.missing) == (5, 1, ("nowhere.png",))
    assert "1 of 6 images were not found (nowhere.png)" in done.warnings[0]
    assert project.images.all()[-1].sha256 == sha256(new)


def test_known_masks_tell_the_image(project: Project, labels: Labels, tmp_path: Path) -> None:
    """As after an export with pictures, whose upright copies have other bytes and other names."""
    project.exchange.import_coco(write(tmp_path, labels))
    data = json.loads(project.export_coco(tmp_path / "out.json").read_text(encoding="utf-8"))
    for row in data["images"]:
        row |= {"sha256": "0" * 64, "file_name": "elsewhere/" + row["file_name"]}
    done = project.exchange.import_coco(write(tmp_path, data, "moved.json"))
    assert (done.matched, done.known, done.masks, done.added) == ({"known masks": 2}, 5, 0, 0)


def test_a_name_that_several_have_is_ambiguous(project: Project, labels: Labels, tmp_path: Path, rng: Any) -> None:
    for folder in ("one", "two"):
        project.add(draw(tmp_path / folder / "same.png", rng, (30, 40)))
        draw(tmp_path / "pictures" / folder / "again.png", rng)
    # the project keeps names apart, so that only a chosen folder has two of one name
    labels["images"][0]["file_name"] = "elsewhere/again.png"
    labels["images"][1]["file_name"] = "elsewhere/same.png"
    options = ImportOptions(images=tmp_path / "pictures")
    done = project.exchange.import_coco(write(tmp_path, labels, "labels.json"), options=options)
    assert done.ambiguous == ("elsewhere/again.png",)
    assert done.warnings == (
        "elsewhere/again.png: several images have this name; it was skipped.",
        "1 of 2 images were found by their file name alone (elsewhere/same.png): check that they are the right ones.",
        "elsewhere/same.png: it is not in the folder named with --images; the project's image was taken",
    )
    assert done.matched == {"name": 1}
    # with its SHA-256 there is no doubt
    labels["images"][0]["sha256"] = sha256(tmp_path / "pictures" / "two" / "again.png")
    done = project.exchange.import_coco(write(tmp_path, labels, "labels.json"), options=options)
    assert (done.ambiguous, done.masks, done.matched) == ((), 4, {"file": 1, "name": 1})
    del labels["images"][0]["sha256"]
    del labels["images"][1:]
    with (
        Project.open(tmp_path / "empty", create=True) as empty,
        pytest.raises(mw.MaskwrightError, match="1 of 1 images were not found: several images are called elsewhere/"),
    ):
        empty.exchange.import_coco(write(tmp_path, labels, "labels.json"), options=options)


@pytest.mark.parametrize(
    ("name", "place"),
    [
        pytest.param("labels/annotations.json", "labels/images/a.png", id="images"),
        pytest.param("labels/annotations.json", "labels/a.png", id="beside"),
        pytest.param("labels/annotations.json", "labels/images/deep/er/a.png", id="unique-name"),
        pytest.param("labels/labels.json", "labels/data/a.png", id="fiftyone"),
        pytest.param("annotations/instances_train2017.json", "train2017/a.png", id="coco"),
        pytest.param("annotations/instances_default.json", "images/default/a.png", id="cvat"),
        pytest.param("annotations/instances_default.json", "images/a.png", id="datumaro"),
        pytest.param("labels/annotations.json", "chosen/a.png", id="chosen"),
        pytest.param("labels/annotations.json", "chosen/images/a.png", id="chosen-images"),
        pytest.param("labels/annotations.json", "chosen/deep/a.png", id="chosen-unique-name"),
    ],
)
def test_folders_that_are_searched(
    project: Project, tmp_path: Path, rng: np.random.Generator, name: str, place: str
) -> None:
    picture = draw(tmp_path / place, rng)
    images = [{"id": 1, "file_name": "a.png", "width": 40, "height": 30}]
    file = write(tmp_path, {"images": images, "annotations": [], "categories": []}, name)
    chosen = tmp_path / "chosen" if "chosen" in place else None
    assert project.exchange.import_coco(file, options=ImportOptions(images=chosen)).matched == {"file": 1}
    assert [one.sha256 for one in project.images.all()] == [sha256(picture)]
    assert (project.folder / "images" / "a.png").read_bytes() == picture.read_bytes()


def test_missing_images_are_counted_and_none_at_all_is_an_error(
    project: Project, labels: Labels, tmp_path: Path
) -> None:
    labels["images"][1]["file_name"] = "nowhere.png"
    done = project.exchange.import_coco(write(tmp_path, labels))
    assert (done.masks, done.missing) == (4, ("nowhere.png",))
    assert "1 of 2 images were not found (nowhere.png)" in done.warnings[0]
    # a picture outside the file's own folder is never opened
    secret = tmp_path / "secret.png"
    secret.write_bytes((tmp_path / "labels" / "images" / "more" / "ü b.png").read_bytes())
    before = project.status()
    for name in ("../secret.png", str(secret), "..\\secret.png", "c.png", "", "n" * 300, "/".join("n" * 900), "a\0b"):
        labels["images"][0]["file_name"] = name
        with pytest.raises(mw.MaskwrightError, match="2 of 2 images were not found"):
            project.exchange.import_coco(write(tmp_path, labels))
    assert project.status() == before


def test_a_broken_image_is_reported_and_the_others_come_in(project: Project, labels: Labels, tmp_path: Path) -> None:
    broken = tmp_path / "labels" / "images" / "a.png"
    broken.write_bytes(b"no picture")
    done = project.exchange.import_coco(write(tmp_path, labels))
    assert (done.masks, done.images, done.missing) == (1, 1, ())
    (sentence,) = done.skipped
    assert sentence.startswith("a.png: Cannot read a.png: the file is damaged or not an image.")
    # what the file knows for sure is kept, and the person still hears of the picture
    labels["images"][0]["sha256"] = "ab" * 32
    done = project.exchange.import_coco(write(tmp_path, labels))
    assert (done.masks, done.skipped, done.missing) == (4, (), ("a.png",))
    assert done.warnings[1].startswith("a.png: Cannot read a.png")
    assert not (project.folder / "images" / "a.png").exists()


def test_when_no_image_can_be_read_nothing_is_done(project: Project, labels: Labels, tmp_path: Path) -> None:
    for file in (tmp_path / "labels" / "images").rglob("*.png"):
        file.write_bytes(b"no picture")
    with pytest.raises(mw.MaskwrightError, match=r"None of the 2 images can be read\. a\.png: Cannot read a\.png"):
        project.exchange.import_coco(write(tmp_path, labels))
    assert project.images.all() == []


def test_other_bytes_at_the_path_are_taken_with_a_warning(project: Project, labels: Labels, tmp_path: Path) -> None:
    labels["images"][0]["sha256"] = "ab" * 32
    done = project.exchange.import_coco(write(tmp_path, labels))
    assert (done.masks, done.matched) == (5, {"file": 2})
    (sentence,) = done.warnings
    assert sentence.startswith(
        "a.png: the image file there is not the one that the masks were made on (SHA-256 differs)"
    )
    assert project.images.all()[-1].sha256 == sha256(tmp_path / "labels" / "images" / "a.png")
    # so it is where the project has the picture
    for file in (tmp_path / "labels" / "images").rglob("*.png"):
        file.unlink()
    done = project.exchange.import_coco(write(tmp_path, labels))
    assert done.matched == {"path": 2}
    assert any("SHA-256 differs" in one for one in done.warnings)


def test_the_name_alone_does_not_make_other_bytes_the_image(project: Project, labels: Labels, tmp_path: Path) -> None:
    images = tmp_path / "labels" / "images"
    (images / "sub").mkdir()
    (images / "a.png").rename(images / "sub" / "a.png")
    labels["images"][0]["sha256"] = "ab" * 32
    done = project.exchange.import_coco(write(tmp_path, labels))
    assert done.matched == {"without a picture": 1, "file": 1}
    assert done.missing == ("a.png",)


def test_nor_does_a_name_in_the_project(project: Project, tmp_path: Path, rng: np.random.Generator) -> None:
    project.add(draw(tmp_path / "IMG_0001.png", rng))
    images: list[dict[str, Any]] = [{"id": 1, "file_name": "trip/IMG_0001.png", "width": 40, "height": 30}]
    labels = {"images": images, "annotations": [], "categories": []}
    assert project.exchange.import_coco(write(tmp_path, labels)).matched == {"name": 1}
    images[0]["sha256"] = "ab" * 32
    assert project.exchange.import_coco(write(tmp_path, labels)).matched == {"without a picture": 1}


def test_an_image_listed_twice_is_found_once(project: Project, labels: Labels, tmp_path: Path) -> None:
    """First under a path where nothing is."""
    there = sha256(tmp_path / "labels" / "images" / "a.png")
    labels["images"].insert(0, labels["images"][0] | {"id": 1, "file_name": "gone/x.png", "sha256": there})
    labels["images"][1]["sha256"] = there
    labels["annotations"][0]["image_id"] = 1
    done = project.exchange.import_coco(write(tmp_path, labels))
    assert (done.masks, done.images, done.matched) == (5, 2, {"without a picture": 1, "file": 2})
    assert project.images.missing() == []


def test_an_image_without_its_file_is_kept_and_found_later(project: Project, labels: Labels, tmp_path: Path) -> None:
    images = tmp_path / "labels" / "images"
    away = tmp_path / "away.png"
    (images / "a.png").rename(away)
    labels["images"][0] |= {"sha256": sha256(away), "exif_orientation": 6, "date_captured": "2024:01:02 03:04:05"}
    done = project.exchange.import_coco(write(tmp_path, labels))
    assert (done.masks, done.missing, done.added) == (5, ("a.png",), 2)
    assert "The masks of 1 are kept; `maskwright project relink` finds their images later." in done.warnings[0]
    record = project.store.images.get(7)
    assert (record.file_name, record.width, record.height) == ("images/a.png", 40, 30)
    assert (record.orientation, record.captured) == (6, "2024:01:02 03:04:05")
    with pytest.raises(mw.MaskwrightError, match="is missing"):
        project.images.open(7)
    (tmp_path / "found").mkdir()
    away.rename(tmp_path / "found" / "b.png")
    assert project.images.relink(tmp_path / "found").by_content == ("images/a.png",)
    assert project.images.open(7).size_hw == (30, 40)


def test_two_missing_images_of_one_name_stay_two(project: Project, labels: Labels, tmp_path: Path) -> None:
    for number, row in enumerate(labels["images"]):
        row |= {"file_name": "gone/a.png", "sha256": f"{number:064x}"}
    done = project.exchange.import_coco(write(tmp_path, labels))
    assert done.masks == 5
    assert sorted(one.file_name for one in project.images.all()) == ["images/gone/a-2.png", "images/gone/a.png"]


def test_an_image_listed_twice_is_one_image(project: Project, labels: Labels, tmp_path: Path) -> None:
    images = tmp_path / "labels" / "images"
    (images / "more" / "ü b.png").write_bytes((images / "a.png").read_bytes())
    done = project.exchange.import_coco(write(tmp_path, labels))
    assert (done.images, done.added, done.masks) == (1, 1, 5)
    assert [one.file_name for one in project.images.all()] == ["images/a.png"]


def test_sizes_may_be_missing(project: Project, labels: Labels, tmp_path: Path) -> None:
    for row, size in zip(labels["images"], ({"width": 0, "height": None}, {}), strict=True):
        del row["width"], row["height"]
        row |= size
    assert project.exchange.import_coco(write(tmp_path, labels)).masks == 5


@pytest.mark.parametrize(
    ("size", "said"),
    [
        pytest.param((41, 30), "a.png: the size in the file is 41 x 30, that of the upright image 40 x 30", id="other"),
        pytest.param(
            (30, 40),
            "a.png: the size in the file is 30 x 40, that of the upright image 40 x 30: its width and height are "
            "swapped; --rotate turns them",
            id="swapped",
        ),
    ],
)
def test_another_size_is_reported_and_that_image_skipped(
    project: Project, labels: Labels, tmp_path: Path, size: tuple[int, int], said: str
) -> None:
    labels["images"][0] |= {"width": size[0], "height": size[1]}
    done = project.exchange.import_coco(write(tmp_path, labels))
    assert (done.masks, done.images, done.skipped) == (1, 1, (said,))
    assert len(project.images.all()) == 1


def test_swapped_run_lengths_are_reported_and_rotate_reads_them(
    project: Project, labels: Labels, tmp_path: Path
) -> None:
    first, second, *_ = labels["annotations"]
    first["segmentation"] = rle.encode(REGIONS["compressed"].T)
    second["segmentation"] = runs(REGIONS["uncompressed"].T)
    file = write(tmp_path, labels)
    done = project.exchange.import_coco(file)
    assert done.masks == 3
    assert done.skipped[0] == (
        "a.png, annotation 1: its run lengths are for size [40, 30], the image has [30, 40] (width and height "
        "swapped); --rotate turns it"
    )
    assert done.skipped[1].startswith("a.png, annotation 2: its run lengths are for size [40, 30]")
    done = project.exchange.import_coco(file, options=ImportOptions(rotate=True))
    assert (done.masks, done.known, done.skipped) == (2, 3, ())
    found = {one.provenance["annotation"]: one.mask.to_array() for one in project.annotations()}
    assert np.array_equal(found[1], REGIONS["compressed"])
    assert np.array_equal(found[2], REGIONS["uncompressed"])
    # where the image's own numbers are swapped, too
    labels["images"][0] |= {"width": 30, "height": 40}
    with Project.open(tmp_path / "other", create=True) as other:
        done = other.exchange.import_coco(write(tmp_path, labels), options=ImportOptions(rotate=True))
        assert (done.masks, done.skipped) == (5, ())
        assert [one.mask.area for one in other.annotations(7)] == [one.sum() for one in REGIONS.values()]


def photo(file: Path, orientation: int, rng: np.random.Generator) -> np.ndarray[Any, Any]:
    """A picture whose bright block tells how it lies, 30 x 40 in the file; gives that block there."""
    block = region(slice(2, 9), slice(3, 20))
    pixels = rng.integers(0, 60, (30, 40, 3), dtype=np.uint8)
    pixels[block] = 255
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    file.parent.mkdir(parents=True, exist_ok=True)
    Pillow.fromarray(pixels).save(file, exif=exif.tobytes())
    return block


def turned_labels(block: np.ndarray[Any, Any]) -> Labels:
    """A file that speaks of the picture before its turn, in every way there is."""
    box = [3, 2, 17, 7]
    shapes = [rle.encode(block), runs(block), [corners(3, 2, 20, 9)]]
    rows: list[dict[str, Any]] = [
        {"id": n, "image_id": 1, "category_id": n, "segmentation": shape, "bbox": box, "area": 119}
        for n, shape in enumerate(shapes, start=1)
    ]
    rows.append({"id": 4, "image_id": 1, "category_id": 1, "bbox": box})
    return {
        "images": [{"id": 1, "file_name": "p.png", "width": 40, "height": 30}],
        "annotations": rows,
        "categories": [{"id": n, "name": f"c{n}"} for n in (1, 2, 3)],
    }


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_masks_made_before_the_exif_turn_are_reported_and_rotate_turns_them(
    project: Project, tmp_path: Path, rng: np.random.Generator, orientation: int
) -> None:
    block = photo(tmp_path / "labels" / "images" / "p.png", orientation, rng)
    file = write(tmp_path, turned_labels(block))
    done = project.exchange.import_coco(file)
    assert (done.masks, done.images) == (0, 0)
    assert done.skipped == (
        "p.png: the size in the file is 40 x 30, that of the upright image 30 x 40 "
        f"(turned by EXIF orientation {orientation}); the masks were made before turning, --rotate turns them",
    )
    done = project.exchange.import_coco(file, options=ImportOptions(rotate=True))
    assert (done.masks, done.boxes, done.skipped, done.warnings) == (3, 1, (), ())
    shown = project.images.open(1).pixels
    kept = project.annotations()
    for one in kept:
        assert np.array_equal(one.mask.to_array(), shown.min(axis=2) == 255)
    assert project.store.images.boxes(1)[0].bbox == kept[0].mask.bbox


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_run_lengths_made_before_the_exif_turn_in_an_upright_file(
    project: Project, tmp_path: Path, rng: np.random.Generator, orientation: int
) -> None:
    block = photo(tmp_path / "labels" / "images" / "p.png", orientation, rng)
    data = turned_labels(block)
    data["images"][0] |= {"width": 30, "height": 40}
    data["annotations"] = [row | {"bbox": None} for row in data["annotations"][:2]]
    file = write(tmp_path, data)
    done = project.exchange.import_coco(file)
    assert f"made before EXIF orientation {orientation} turned it); --rotate turns it" in done.skipped[0]
    done = project.exchange.import_coco(file, options=ImportOptions(rotate=True))
    assert (done.masks, done.skipped) == (2, ())
    bright = project.images.open(1).pixels.min(axis=2) == 255
    assert all(np.array_equal(one.mask.to_array(), bright) for one in project.annotations())


@pytest.mark.parametrize("orientation", range(1, 9))
def test_upright_turns_as_pillow_does(orientation: int, rng: np.random.Generator) -> None:
    pixels = rng.integers(0, 255, (5, 7), dtype=np.uint8)
    image = Pillow.fromarray(pixels)
    image.getexif()[0x0112] = orientation
    assert np.array_equal(upright(pixels, orientation), np.asarray(ImageOps.exif_transpose(image)))


def dry(project: Project, file: Path, options: ImportOptions) -> ImportResult:
    from dataclasses import replace

    return project.exchange.import_coco(file, options=replace(options, dry_run=True))


@pytest.mark.parametrize("options", [ImportOptions(), ImportOptions(as_proposals=True, rotate=True)])
def test_a_rehearsal_tells_what_the_import_does_and_changes_nothing(
    project: Project, labels: Labels, tmp_path: Path, options: ImportOptions
) -> None:
    from dataclasses import asdict

    from tests.core.project.coco_import.conftest import everything

    labels["images"] += [
        {"id": 8, "file_name": "nowhere.png", "width": 40, "height": 30},
        {"id": 9, "file_name": "gone.png", "width": 40, "height": 30, "sha256": "ab" * 32},
    ]
    labels["annotations"] += [
        labels["annotations"][0] | {"id": 20},
        labels["annotations"][0] | {"id": 20, "image_id": 9, "score": 0.5},
        labels["annotations"][0] | {"id": 21, "segmentation": rle.encode(REGIONS["polygon"].T)},
        {"id": 22, "image_id": 3, "category_id": 2, "bbox": [1, 2, 3, 4]},
        {"id": 23, "image_id": 3, "category_id": 2, "bbox": [1, 2, 3, 4]},
        {"id": 24, "image_id": 3, "category_id": 2, "segmentation": [[1, 2]]},
    ]
    file = write(tmp_path, labels)
    # new to the project, then half known, then known
    for _ in range(3):
        before, number = everything(project), project.store.change_number()
        foretold = dry(project, file, options)
        assert (everything(project), project.store.change_number()) == (before, number)
        done = project.exchange.import_coco(file, options=options)
        assert asdict(foretold) | {"dry_run": False} == asdict(done)
        labels["annotations"].append(labels["annotations"][3] | {"id": 40, "category_id": 4})
        file = write(tmp_path, labels)
    assert (done.boxes, done.masks, done.added) == (0, 0, 0)
