"""What an import does not keep is named, what it cannot know is not guessed, and corrections come back."""

from __future__ import annotations

import copy
import json
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from maskwright.domain import rle
from maskwright.project import Project
from maskwright.project.coco_import import ImportOptions, ImportResult
from tests.core.project.coco_import.conftest import REGIONS, Labels, corners, draw, region, write


def take(project: Project, tmp_path: Path, labels: Labels, **options: Any) -> ImportResult:
    return project.exchange.import_coco(write(tmp_path, labels), options=ImportOptions(**options))


def said(result: ImportResult) -> str:
    return " ".join((*result.warnings, *result.skipped, *result.notes))


# the wrong image


def test_a_base_name_of_two_images_of_the_file_decides_nothing(
    project: Project, labels: Labels, tmp_path: Path, rng: np.random.Generator
) -> None:
    """Neither a file in a folder nor the project's own image."""
    labels["images"][0]["file_name"], labels["images"][1]["file_name"] = "c1/frame.png", "c2/frame.png"
    deep = draw(tmp_path / "labels" / "images" / "copied" / "frame.png", rng)
    done = _refused(project, tmp_path, labels)
    assert "c1/frame.png" in done
    assert "c2/frame.png" in done
    deep.unlink()
    project.add(draw(tmp_path / "frame.png", rng))
    assert "c2/frame.png" in _refused(project, tmp_path, labels)
    assert project.annotations() == []


def _refused(project: Project, tmp_path: Path, labels: Labels) -> str:
    with pytest.raises(Exception, match="several images are called") as caught:
        take(project, tmp_path, labels)
    return str(caught.value)


def test_different_files_at_one_path_decide_nothing_but_a_size_does(
    project: Project, labels: Labels, tmp_path: Path, rng: np.random.Generator
) -> None:
    draw(tmp_path / "labels" / "a.png", rng)
    done = take(project, tmp_path, labels)
    assert (done.ambiguous, done.masks) == (("a.png",), 1)
    # the same bytes in both places are one image; another size is not the one meant
    for make in (lambda file: file.write_bytes((tmp_path / "labels" / "images" / "a.png").read_bytes()),
                 lambda file: draw(file, rng, (31, 40))):  # fmt: skip
        make(tmp_path / "labels" / "a.png")
        with Project.open(tmp_path / "other", create=True) as other:
            assert take(other, tmp_path, labels).ambiguous == ()


def test_an_image_outside_the_named_folder_is_said(
    project: Project, labels: Labels, tmp_path: Path, rng: np.random.Generator
) -> None:
    draw(tmp_path / "mine" / "more" / "ü b.png", rng)
    done = take(project, tmp_path, labels, images=tmp_path / "mine")
    assert done.masks == 5
    (sentence,) = done.warnings
    assert sentence.startswith("a.png: it is not in the folder named with --images; ")


def test_names_in_another_unicode_form_are_found(project: Project, labels: Labels, tmp_path: Path) -> None:
    """On the disk, in a subfolder, and in the project."""
    place = tmp_path / "labels" / "images"
    (place / "more").rename(place / unicodedata.normalize("NFD", "mehr ü"))
    for form in ("NFC", "NFD"):
        labels["images"][1]["file_name"] = unicodedata.normalize(form, "mehr ü/ü b.png")
        assert take(project, tmp_path, labels).missing == ()
    (place / unicodedata.normalize("NFD", "mehr ü") / "ü b.png").unlink()
    assert take(project, tmp_path, labels).matched == {"content": 1, "path": 1}


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        ("https://example.org/x/more/%C3%BC%20b.png?sig=1#2", "images/x/more/ü b.png"),
        ("/data/local-files/?d=more%2F%C3%BC%20b.png", "images/more/ü b.png"),
        ("gs://bucket/ü b.png", "images/ü b.png"),
        ("shots: day 1/CON.png/ü b.png", "images/shots_ day 1/_CON.png/ü b.png"),
    ],
)
def test_addresses_and_odd_names_become_names_that_every_disk_takes(
    project: Project, labels: Labels, tmp_path: Path, name: str, stored: str
) -> None:
    labels["images"][1]["file_name"] = name
    done = take(project, tmp_path, labels)
    assert (done.masks, done.missing) == (5, ())
    assert {one.file_name for one in project.images.all()} == {"images/a.png", stored}


# the wrong way up


def photo(file: Path, orientation: int, size_wh: tuple[int, int]) -> None:
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    file.parent.mkdir(parents=True, exist_ok=True)
    shade = orientation * 20 + size_wh[0]
    Pillow.new("RGB", size_wh, (shade, shade, shade)).save(file, exif=exif.tobytes())


def turned_labels(tmp_path: Path, *names: str) -> Labels:
    shapes = {"quarter": (6, (40, 30)), "half": (3, (40, 30)), "square": (6, (32, 32)), "mirror": (2, (40, 30)),
              "upright": (8, (40, 30))}  # fmt: skip
    images, rows = [], []
    for number, name in enumerate(names, start=1):
        orientation, (width, height) = shapes[name]
        photo(tmp_path / "labels" / "images" / f"{name}.jpg", orientation, (width, height))
        if name == "upright":
            width, height = height, width
        images.append({"id": number, "file_name": f"{name}.jpg", "width": width, "height": height})
        rows.append({"id": number, "image_id": number, "category_id": 1, "segmentation": [corners(3, 2, 20, 9)]})
    return {"images": images, "annotations": rows, "categories": [{"id": 1, "name": "cow"}]}


@pytest.mark.parametrize(
    ("names", "rotate", "boxes", "words"),
    [
        (("quarter", "half", "square", "mirror"), True,
         [(21, 3, 7, 17), (20, 21, 17, 7), (23, 3, 7, 17), (20, 2, 17, 7)], "half.jpg, square.jpg, mirror.jpg: turned"),
        (("upright", "half"), True, [(3, 2, 17, 7), (3, 2, 17, 7)], ""),
        (("quarter", "upright", "half"), True, [(21, 3, 7, 17), (3, 2, 17, 7), (3, 2, 17, 7)], "half.jpg: the size"),
        (("half", "square"), False, [(3, 2, 17, 7), (3, 2, 17, 7)], "half.jpg, square.jpg: the size"),
        (("half",), True, [(20, 21, 17, 7)], "half.jpg: turned by --rotate"),
    ],
    ids=["all before the turn", "all upright", "mixed", "not asked", "asked, and nothing speaks against it"],
)  # fmt: skip
def test_each_image_is_turned_by_what_its_sizes_say(
    project: Project, tmp_path: Path, names: tuple[str, ...], rotate: bool, boxes: list[Any], words: str
) -> None:
    done = take(project, tmp_path, turned_labels(tmp_path, *names), rotate=rotate)
    assert [tuple(one.mask.bbox) for one in project.annotations()] == boxes
    assert " ".join(done.warnings).startswith(words)
    assert bool(done.warnings) == bool(words)


def test_label_studio_is_scaled_back_and_its_brush_is_not_guessed(project: Project, tmp_path: Path) -> None:
    labels = turned_labels(tmp_path, "quarter") | {"info": {"contributor": "Label Studio"}}
    labels["annotations"] += [
        {"id": 2, "image_id": 1, "category_id": 1, "segmentation": [], "bbox": [3, 2, 10, 20]},
        {"id": 3, "image_id": 1, "category_id": 1, "segmentation": rle.encode(region(slice(2, 9), slice(3, 20)))},
    ]
    for rotate in (False, True):
        done = take(project, tmp_path, labels, rotate=rotate)
        assert "Label Studio scaled the outlines" in done.warnings[0]
        assert "how they lie cannot be known" in done.skipped[0]
        assert "--rotate" not in said(done)
    (mask,) = project.annotations()
    assert np.allclose(mask.mask.bbox, (3 * 0.75, 2 / 0.75, 17 * 0.75, 7 / 0.75), atol=1)
    assert [box.bbox for box in project.store.images.boxes(1)] == [(3, 2, 10, 20)]


def test_a_swapped_size_whose_outlines_leave_the_image_is_not_turned(
    project: Project, labels: Labels, tmp_path: Path
) -> None:
    labels["images"][0] |= {"width": 30, "height": 40}
    labels["annotations"][2]["segmentation"] = [corners(1, 1, 9, 38)]
    done = take(project, tmp_path, labels, rotate=True)
    assert "which way cannot be known" in done.skipped[0]


# nothing is lost without a word


OPTIONAL: Labels = {
    "info": {"year": 2017, "version": "2", "description": "a", "contributor": "me", "url": "u", "date_created": "d"},
    "licenses": [{"id": 1, "name": "CC", "url": "u"}],
    "images": [{"id": 7, "file_name": "a.png", "width": 40, "height": 30, "license": 1, "flickr_url": "f",
                "coco_url": "c", "date_captured": "2013-11-14 17:02:52"}],
    "annotations": [
        {"id": 1, "image_id": 7, "category_id": 2, "segmentation": [corners(5, 16, 25, 26)], "area": 200.0,
         "iscrowd": 1, "bbox": [5, 16, 20, 10], "keypoints": [6, 17, 2], "num_keypoints": 1, "caption": "a cow",
         "score": 0.5, "dp_x": [1.0], "ignore": 1, "attributes": {"occluded": True, "rotation": 30.0}},
    ],
    "categories": [{"id": 2, "name": "cow", "supercategory": "animal", "keypoints": ["nose"], "skeleton": [[1, 1]],
                    "isthing": 1, "color": [1, 2, 3]}],
    "videos": [{"id": 1}],
}  # fmt: skip
KEPT = {"id", "file_name", "width", "height", "image_id", "category_id", "segmentation", "name", "supercategory",
        "score", "date_captured", "images", "annotations", "categories", "attributes", "iscrowd", "area",
        "bbox"}  # fmt: skip


def test_every_optional_field_of_coco_is_kept_or_named(project: Project, labels: Labels, tmp_path: Path) -> None:
    """What is kept is in the project, or computed from its masks; all else is found in the summary by its name."""
    done = take(project, tmp_path, OPTIONAL)
    (mask,) = project.annotations(states=("proposed",))
    (image,) = project.images.all()
    assert (mask.id, mask.crowd, mask.mask.score, mask.mask.area) == (1, True, 0.5, 200)
    assert (image.id, image.captured) == (7, "2013-11-14 17:02:52")
    assert [(one.id, one.name, one.supercategory) for one in project.categories()] == [(2, "cow", "animal")]
    text = said(done)
    keys = {key for section in ("images", "annotations", "categories") for row in OPTIONAL[section] for key in row}
    for key in (keys | set(OPTIONAL)) - KEPT - {"info"}:
        assert f"{key} of 1" in text or f"{key}," in text or f"{key}." in text, key
    for key in OPTIONAL["info"]:
        assert f"info.{key}" in text
    for key in OPTIONAL["annotations"][0]["attributes"]:
        assert f"attribute {key} of 1 annotation" in text
    assert "1 of 1 masks are groups" in text
    # what says something of masks comes first
    assert "keypoints of 1 annotation" in " ".join(done.warnings)
    assert "info.year" in done.notes[-1]


@pytest.mark.parametrize(
    "outline",
    [[[]], [[3, 2, 20, 9]], [[3, 2], [20, 9]], [[3, 2, 20, 2, 20]], {"size": [30, 40], "counts": [1200]}],
    ids=["empty", "two corners", "two points", "odd", "no pixels"],
)
def test_a_box_beside_an_outline_that_encloses_nothing_is_kept(
    project: Project, labels: Labels, tmp_path: Path, outline: Any
) -> None:
    labels["annotations"][0] |= {"segmentation": outline, "bbox": [3, 2, 17, 7]}
    done = take(project, tmp_path, labels)
    assert (done.masks, done.boxes, done.skipped) == (4, 1, ())
    assert project.store.images.boxes(7)[0].bbox == (3, 2, 17, 7)
    assert ("its box became a prompt" in said(done)) == (outline != [[]])


def test_many_differences_are_one_line_and_come_last(project: Project, labels: Labels, tmp_path: Path) -> None:
    labels["annotations"] = [labels["annotations"][2] | {"id": number, "area": 999} for number in range(1, 31)]
    for number, row in enumerate(labels["annotations"]):
        row["segmentation"] = [corners(1, 1, 5 + number % 6, 6 + number // 6)]
    labels["images"].append({"id": 8, "file_name": "gone.png", "width": 40, "height": 30})
    done = take(project, tmp_path, labels)
    assert done.warnings == (done.warnings[0],)
    assert "1 of 3 images were not found (gone.png)" in done.warnings[0]
    assert len(done.notes) == 1
    assert done.notes[0].endswith("(and 29 more like this)")
    assert len(done.details) == 30


@pytest.mark.parametrize("kind", [str, float], ids=["text", "float"])
def test_ids_are_the_same_as_text_and_as_numbers(project: Project, labels: Labels, tmp_path: Path, kind: Any) -> None:
    wanted = copy.deepcopy(labels)
    for row in labels["annotations"]:
        row["image_id"] = kind(row["image_id"])
    for section in ("annotations", "categories"):
        for row in labels[section]:
            row["id"] = kind(row["id"])
    assert take(project, tmp_path, labels).masks == 5
    with Project.open(tmp_path / "other", create=True) as other:
        take(other, tmp_path, wanted)
        assert [(one.id, one.image_id, one.category_id) for one in other.annotations()] == [
            (one.id, one.image_id, one.category_id) for one in project.annotations()
        ]


# corrections


@pytest.fixture
def corrected(project: Project, labels: Labels, tmp_path: Path) -> Labels:
    """Our own export in which somebody gave a mask other pixels, one another class, and rejected one."""
    take(project, tmp_path, labels)
    file = project.export_coco(tmp_path / "out" / "coco.json")
    data: Labels = json.loads(file.read_text(encoding="utf-8"))
    first, second, third, *_ = data["annotations"]
    first |= {"segmentation": [corners(3, 2, 33, 27)], "area": 750, "bbox": [3, 2, 30, 25]}
    second["category_id"] = 4
    third["attributes"]["status"] = "rejected"
    return data


def test_corrections_are_offered_and_taken_as_one_step(project: Project, corrected: Labels, tmp_path: Path) -> None:
    before = project.annotations()
    for dry in (True, False):
        done = take(project, tmp_path, corrected, dry_run=dry)
        assert (done.masks, done.known, done.changed) == (0, 5, 3)
        assert done.warnings[0].startswith(
            "3 masks of the project differ in the file and were left as they are; --update"
        )
        assert project.annotations() == before
    done = take(project, tmp_path, corrected, update=True)
    assert done.warnings[0].startswith("3 masks of the project were corrected as in the file; undo takes that back (")
    kept = {one.id: one for one in project.annotations()}
    assert kept[1].mask.bbox == (3, 2, 30, 25)
    assert (kept[1].revision, kept[1].provenance["file"]) == (2, "annotations.json")
    assert kept[2].category == "Kern"
    assert 3 not in kept
    # the same file again finds nothing to correct
    again = take(project, tmp_path, corrected, update=True)
    assert (again.changed, again.warnings) == (0, ())
    project.undo()
    assert [(one.id, one.mask.rle, one.category) for one in project.annotations()] == [
        (one.id, one.mask.rle, one.category) for one in before
    ]


def test_what_the_project_changed_since_is_not_overwritten(project: Project, corrected: Labels, tmp_path: Path) -> None:
    first = project.annotations()[0]
    project.delete([first])
    done = take(project, tmp_path, corrected, update=True)
    assert done.changed == 2
    assert any(
        line.startswith("1 masks were changed in the project after the file was written") for line in done.warnings
    )
    assert first.id not in {one.id for one in project.annotations()}


def test_an_unchanged_file_says_nothing(project: Project, labels: Labels, tmp_path: Path) -> None:
    take(project, tmp_path, labels)
    file = project.export_coco(tmp_path / "out" / "coco.json", images=True)
    done = project.exchange.import_coco(file)
    assert (done.known, done.changed, done.warnings, done.notes) == (5, 0, (), ())
    assert len(REGIONS) == 4
