"""Rows of a COCO file as masks, boxes, crowds and proposals, and the reasons for skipped ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from maskwright.domain import rle
from maskwright.errors import BadCoco
from maskwright.project import Project
from maskwright.project.coco_import import ImportOptions
from tests.core.project.coco_import.conftest import REGIONS, Labels, corners, region, runs, write
from tests.progress import Recorded


def test_every_kind_of_mask_comes_in_exactly_and_only_once(project: Project, labels: Labels, tmp_path: Path) -> None:
    file = write(tmp_path, labels)
    progress = Recorded()
    done = project.exchange.import_coco(file, progress=progress)
    assert (done.images, done.added, done.masks, done.known, done.skipped) == (2, 2, 5, 0, ())
    assert (done.warnings, done.missing, done.proposals, done.matched) == ((), (), 0, {"file": 2})
    assert progress.reports[-1] == (2, 2)
    kept = project.annotations()
    for one, wanted in zip(kept, [*REGIONS.values(), REGIONS["compressed"]], strict=True):
        assert np.array_equal(one.mask.to_array(), wanted)
    assert [(one.id, one.category, one.image_id) for one in kept] == [
        (1, "Zelle", 7), (2, "Zelle", 7), (3, "Zelle", 7), (4, "Zelle", 7), (9, "Kern", 3)
    ]  # fmt: skip
    assert {(one.source, one.state, one.crowd) for one in kept} == {("import", "accepted", False)}
    assert kept[0].provenance == {"source": "import", "file": "annotations.json", "annotation": 1}
    again = project.exchange.import_coco(file)
    assert (again.added, again.masks, again.known) == (0, 0, 5)
    assert project.annotations() == kept


SKIPPED = [
    pytest.param({"segmentation": []}, "neither a mask nor a box", id="nothing"),
    pytest.param({"segmentation": [], "bbox": [50, 3, 5, 5]}, "covers nothing of the image", id="box-outside"),
    pytest.param({"segmentation": [], "bbox": [5, 3, 0, 5]}, "covers nothing of the image", id="flat-box"),
    pytest.param({"segmentation": [], "bbox": [5, 3, float("nan"), 5]}, "no list of four numbers", id="nan-box"),
    pytest.param({"segmentation": [[1, 2, 3, 4]]}, "fewer than three points", id="two-points"),
    pytest.param({"segmentation": [[1, 2, 3, 4, 5, 6, 7]]}, "an odd length", id="odd"),
    pytest.param({"segmentation": [["a"] * 6]}, "no numbers", id="text-polygon"),
    pytest.param({"segmentation": [[0, 0, 1e300, 0, 5, 5]]}, "no numbers", id="absurd-polygon"),
    pytest.param({"segmentation": [corners(60, 1, 70, 9)]}, "outside the image", id="polygon-outside"),
    pytest.param({"segmentation": [[3.1, 3.1, 3.2, 3.1, 3.2, 3.2]]}, "its mask is empty", id="tiny-polygon"),
    pytest.param({"segmentation": {"size": [30, 40], "counts": [1200]}}, "its mask is empty", id="no-pixels"),
    pytest.param({"segmentation": {"size": [30, 40], "counts": [5, 5]}}, "runs sum to 10", id="short-runs"),
    pytest.param({"segmentation": {"size": [30, 40], "counts": [1300, -100]}}, "damaged", id="negative-run"),
    pytest.param({"segmentation": {"size": [30, 40], "counts": [1 << 70, 3]}}, "whole numbers", id="huge-run"),
    pytest.param({"segmentation": {"size": [30, 40], "counts": [1199.0, 1.0]}}, "whole numbers", id="fractions"),
    pytest.param({"segmentation": {"size": [30, 40], "counts": [[1199, 1]]}}, "whole numbers", id="nested-runs"),
    pytest.param({"segmentation": {"size": [30, 40], "counts": "!!"}}, "damaged", id="damaged-text"),
    pytest.param({"segmentation": {"size": [30, 40]}}, "no run lengths", id="no-counts"),
    pytest.param({"segmentation": {"size": [20, 60], "counts": [1199, 1]}}, "for size [20, 60]", id="other-size"),
    pytest.param({"segmentation": {"size": "30", "counts": [1199, 1]}}, "for size 30", id="no-size"),
    pytest.param({"segmentation": "cow"}, "neither run lengths nor polygons", id="text"),
    pytest.param({"segmentation": 7}, "neither run lengths nor polygons", id="number"),
]


@pytest.mark.parametrize(("row", "reason"), SKIPPED)
def test_rows_that_cannot_be_kept_are_skipped_with_the_reason(
    project: Project, labels: Labels, tmp_path: Path, row: dict[str, Any], reason: str
) -> None:
    labels["annotations"][0] |= row
    done = project.exchange.import_coco(write(tmp_path, labels))
    assert (done.masks, done.boxes) == (4, 0)
    (sentence,) = done.skipped
    assert sentence.startswith("a.png, annotation 1: ")
    assert reason in sentence


def test_rows_of_no_image_are_counted(project: Project, labels: Labels, tmp_path: Path) -> None:
    labels["annotations"][0]["image_id"] = labels["annotations"][1]["image_id"] = 99
    del labels["annotations"][2]["image_id"]
    done = project.exchange.import_coco(write(tmp_path, labels))
    assert done.masks == 2
    assert done.skipped == (
        "Entry 2 of annotations names no image",
        "2 annotations of images that the file does not list",
    )


def test_one_good_polygon_of_two_is_kept_with_a_warning(project: Project, labels: Labels, tmp_path: Path) -> None:
    labels["annotations"][3]["segmentation"][1] = [1, 2, 3]
    labels["annotations"][3]["area"] = 24
    done = project.exchange.import_coco(write(tmp_path, labels))
    assert done.masks == 5
    assert np.array_equal(project.annotations()[3].mask.to_array(), region(slice(1, 5), slice(30, 36)))
    assert done.warnings == (
        "a.png, annotation 4: a polygon with fewer than three points, an odd length or no numbers was skipped",
    )


def test_a_group_is_kept_with_its_mark_and_exported_as_run_lengths(
    project: Project, labels: Labels, tmp_path: Path
) -> None:
    labels["annotations"][1]["iscrowd"] = 1
    labels["annotations"][2]["iscrowd"] = 1
    done = project.exchange.import_coco(write(tmp_path, labels))
    assert (done.masks, done.skipped) == (5, ())
    (sentence,) = done.warnings
    assert sentence.startswith("2 of 5 masks are groups (iscrowd 1), which training and YOLO leave out.")
    assert [one.crowd for one in project.annotations()] == [False, True, True, False, False]
    with Project.open(tmp_path / "other", create=True) as other:
        done = other.exchange.import_coco(write(tmp_path, labels), options=ImportOptions(groups_as_objects=True))
        assert done.warnings == ("2 of 5 masks are marked as groups and became objects.",)
        assert not any(one.crowd for one in other.annotations())


def test_a_box_without_a_mask_becomes_a_prompt_and_only_once(project: Project, labels: Labels, tmp_path: Path) -> None:
    labels["annotations"][0] |= {"segmentation": [], "bbox": [3, 2, 17.5, 7]}
    labels["annotations"][4] = {"id": 9, "image_id": 3, "category_id": 4, "bbox": [-5, 20, 15, 20]}
    labels["annotations"].append({"id": 10, "image_id": 3, "category_id": 4, "bbox": [-5, 20, 15, 20]})
    file = write(tmp_path, labels)
    done = project.exchange.import_coco(file)
    assert (done.masks, done.boxes, done.skipped) == (3, 2, ())
    (box,) = project.store.images.boxes(7)
    assert (box.category, box.bbox) == ("Zelle", (3, 2, 17.5, 7))
    assert box.provenance["annotation"] == 1
    # cut off at the border
    assert [one.bbox for one in project.store.images.boxes(3)] == [(0, 20, 10, 10)]
    again = project.exchange.import_coco(file)
    assert (again.masks, again.boxes) == (0, 0)
    assert len(project.store.images.boxes(7)) == len(project.store.images.boxes(3)) == 1


def test_rows_with_a_score_become_proposals(project: Project, labels: Labels, tmp_path: Path) -> None:
    for row, score in zip(labels["annotations"], [0.75, 1, 87.5, "0.5", [3]], strict=True):
        row["score"] = score
    done = project.exchange.import_coco(write(tmp_path, labels))
    assert (done.masks, done.proposals) == (5, 4)
    kept = project.annotations(states=("accepted", "proposed"))
    assert [(one.state, one.mask.score) for one in kept] == [
        ("proposed", 0.75), ("proposed", 1.0), ("proposed", None), ("proposed", 0.5), ("accepted", None)
    ]  # fmt: skip
    assert done.warnings == (
        "a.png, annotation 3: its score 87.5 is not from 0 to 1 and was ignored (and 1 more like this)",
    )
    assert done.details[1].endswith("annotation 9: its score [3] is not from 0 to 1 and was ignored")


def test_all_masks_can_become_proposals(project: Project, labels: Labels, tmp_path: Path) -> None:
    done = project.exchange.import_coco(write(tmp_path, labels), options=ImportOptions(as_proposals=True))
    assert (done.masks, done.proposals) == (5, 5)
    assert project.annotations() == []


def test_a_wrong_area_and_a_wrong_box_are_reported(project: Project, labels: Labels, tmp_path: Path) -> None:
    first, second, third, *_ = labels["annotations"]
    first |= {"area": 5000, "bbox": [3, 2, 17, 7]}
    second |= {"area": 161, "bbox": [0, 10, 40, 8]}
    # a corner between pixels and an area of two per cent more are no difference
    third |= {"area": 203, "bbox": [4.6, 15.5, 20.4, 10.2]}
    done = project.exchange.import_coco(write(tmp_path, labels))
    assert done.warnings == ()
    assert done.notes == (
        "a.png, annotation 1: its area is 5000 in the file, but the mask has 119 pixels",
        "a.png, annotation 2: the file's box is [0.0, 10.0, 40.0, 8.0], the mask's [0, 10, 40, 4]",
    )
    assert [one.mask.area for one in project.annotations()[:3]] == [119, 160, 200]


@pytest.mark.parametrize(
    ("polygon", "wanted", "said"),
    [
        pytest.param(corners(-1, -0.5, 10, 31), region(slice(0, 30), slice(0, 10)), (), id="a pixel"),
        pytest.param(
            corners(30, 20, 47, 33),
            region(slice(20, 30), slice(30, 40)),
            ("a.png, annotation 1: a polygon that left the image by 7 pixels was clipped",),
            id="more",
        ),
    ],
)
def test_what_lies_outside_is_cut_off(
    project: Project, labels: Labels, tmp_path: Path, polygon: list[float], wanted: Any, said: tuple[str, ...]
) -> None:
    labels["annotations"][0] |= {"segmentation": [polygon], "area": int(wanted.sum())}
    done = project.exchange.import_coco(write(tmp_path, labels))
    assert done.warnings == said
    assert np.array_equal(project.annotations()[0].mask.to_array(), wanted)


def test_pycocotools_agrees_on_polygons(project: Project, labels: Labels, tmp_path: Path) -> None:
    star = [20.0, 2.5, 24.2, 12.1, 36.0, 12.7, 26.5, 19.0, 30.1, 28.0, 20.0, 22.3, 9.0, 28.0, 13.1, 19.2]
    labels["annotations"][0]["segmentation"] = [star]
    labels["annotations"][1] |= {"segmentation": star, "category_id": 4}
    project.exchange.import_coco(write(tmp_path, labels))
    expected = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects([star], 30, 40))).astype(bool)
    for one in project.annotations()[:2]:
        assert np.array_equal(one.mask.to_array(), expected)


def test_annotation_ids_that_cannot_be_kept_get_new_ones(project: Project, labels: Labels, tmp_path: Path) -> None:
    for row, key in zip(labels["annotations"], [5, 5, 0, "x", 2], strict=True):
        row["id"] = key
    done = project.exchange.import_coco(write(tmp_path, labels))
    assert done.masks == 5
    assert done.notes == (
        "These annotation ids occur twice: 5; the later ones get new ids.",
        "2 annotation ids are not numbers from 1 to 1073741824; they get new ones.",
    )
    ids = {one.provenance["annotation"]: one.id for one in project.annotations() if one.mask.area != 160}
    assert (ids[5], ids[2]) == (5, 2)
    assert len({one.id for one in project.annotations()}) == 5
    assert min(one.id for one in project.annotations()) >= 1


def test_a_project_with_masks_of_its_own_keeps_its_numbers(project: Project, labels: Labels, tmp_path: Path) -> None:
    (added,) = project.add(tmp_path / "labels" / "images" / "more")
    assert added.record is not None
    kept = project.accept(added.record.id, REGIONS["polygon"], "Kern")
    done = project.exchange.import_coco(write(tmp_path, labels))
    assert (done.masks, done.added) == (5, 1)
    assert project.annotations()[0] == kept
    assert [one.id for one in project.images.all()] == [1, 2]
    assert [(one.id, one.name) for one in project.categories()] == [(1, "Kern"), (2, "Zelle")]


def test_category_0_is_mapped_and_reported(project: Project, labels: Labels, tmp_path: Path) -> None:
    labels["categories"] = [{"id": 0, "name": "Zelle"}, {"id": 4, "name": "Kern", "supercategory": "Teil"}]
    for row in labels["annotations"][:4]:
        row["category_id"] = 0
    done = project.exchange.import_coco(write(tmp_path, labels))
    assert done.notes == ("The category ids 0 cannot be kept; all categories get new ones, from 1.",)
    assert [(one.id, one.name, one.supercategory) for one in project.categories()] == [
        (1, "Zelle", ""), (2, "Kern", "Teil")
    ]  # fmt: skip
    assert [one.category_id for one in project.annotations()] == [1, 1, 1, 1, 2]


def test_categories_that_one_spelling_makes_the_same_become_one(
    project: Project, labels: Labels, tmp_path: Path
) -> None:
    labels["categories"] = [{"id": 2, "name": "Kern"}, {"id": 4, "name": " Kern "}]
    project.store.categories.add("KERN")
    done = project.exchange.import_coco(write(tmp_path, labels))
    assert {one.category for one in project.annotations()} == {"Kern"}
    assert done.warnings == (
        "Kern and KERN, which the project has, differ in capitals only.",
        "Two categories are called Kern; they become one.",
    )


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        pytest.param(lambda d: d.pop("categories"), "categories is missing", id="no-categories"),
        pytest.param(lambda d: d.update(images={}), "images is missing", id="images-no-list"),
        pytest.param(lambda d: d["annotations"][0].update(category_id=77), "has category 77", id="category"),
        pytest.param(lambda d: d["annotations"][0].update(category_id=[]), "neither a number nor text", id="list-id"),
        pytest.param(
            lambda d: d["images"][1].update(id=7), "Image id 7 occurs twice in .* a.png and more/", id="twice"
        ),
        pytest.param(lambda d: d["images"][1].pop("id"), "Entry 1 of images", id="image-without-id"),
        pytest.param(lambda d: d["images"].append("x"), "Entry 2 of images", id="image-is-text"),
        pytest.param(lambda d: d["categories"][0].pop("name"), "Entry 0 of categories", id="category-name"),
        pytest.param(lambda d: d["categories"][0].update(name=" "), "Entry 0 of categories", id="blank-name"),
        pytest.param(lambda d: d["categories"][0].update(name="a\ud800"), "no valid name", id="half-name"),
        pytest.param(lambda d: d["categories"][0].update(name="a\0"), "no valid name", id="nul-name"),
        pytest.param(lambda d: d["categories"][1].update(id=2), "Category id 2 has the names", id="category-twice"),
    ],
)
def test_a_file_that_contradicts_itself_changes_nothing(
    project: Project, labels: Labels, tmp_path: Path, change: Any, sentence: str
) -> None:
    change(labels)
    with pytest.raises(BadCoco, match=sentence):
        project.exchange.import_coco(write(tmp_path, labels))
    assert (project.status().images, project.categories()) == (0, [])


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        pytest.param(b"", "is not a JSON file", id="empty"),
        pytest.param(b'{"images": [', "is not a JSON file", id="cut-short"),
        pytest.param(b"\xff\xfe{\0}\0", "is not a JSON file", id="utf-16"),
        pytest.param(b"[1, 2]", "images is missing", id="list"),
        pytest.param(b"[" * 100_000, "nested too deep", id="nested"),
        pytest.param(b'{"images": [], "annotations": [], "categories": 3}', "categories is missing", id="number"),
    ],
)
def test_what_is_no_coco_file_is_reported(project: Project, tmp_path: Path, data: bytes, sentence: str) -> None:
    file = tmp_path / "x.json"
    file.write_bytes(data)
    with pytest.raises(BadCoco, match=sentence):
        project.exchange.import_coco(file)


def test_the_same_mask_twice_under_one_name_is_one(project: Project, labels: Labels, tmp_path: Path) -> None:
    labels["annotations"].append(labels["annotations"][0] | {"id": 33})
    labels["annotations"].append(labels["annotations"][0] | {"id": 34, "category_id": 4})
    done = project.exchange.import_coco(write(tmp_path, labels))
    assert (done.masks, done.known) == (6, 1)


def test_compressed_and_uncompressed_runs_of_one_mask_are_the_same(
    project: Project, labels: Labels, tmp_path: Path
) -> None:
    labels["annotations"] = labels["annotations"][:1]
    project.exchange.import_coco(write(tmp_path, labels))
    labels["annotations"][0]["segmentation"] = runs(rle.decode(labels["annotations"][0]["segmentation"]))
    done = project.exchange.import_coco(write(tmp_path, labels))
    assert (done.masks, done.known) == (0, 1)
