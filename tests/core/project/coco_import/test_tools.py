"""Files of other tools, each with its peculiarities, on images of 40 x 30."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maskwright.project import Project
from maskwright.project.coco_import import ImportOptions, ImportResult
from tests.core.project.coco_import.conftest import Labels, corners, draw, region, runs

BLOCK = region(slice(2, 9), slice(3, 20))
OTHER = region(slice(12, 26), slice(20, 38))


def take(project: Project, file: Path, labels: Labels, options: ImportOptions | None = None) -> ImportResult:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(labels), encoding="utf-8")
    return project.exchange.import_coco(file, options=options)


def masks(project: Project) -> list[tuple[str, np.ndarray[Any, Any]]]:
    return [(one.category, one.mask.to_array()) for one in project.annotations()]


def assert_masks(project: Project, *wanted: tuple[str, np.ndarray[Any, Any]]) -> None:
    found = masks(project)
    assert [name for name, _ in found] == [name for name, _ in wanted]
    for (_, mask), (_, other) in zip(found, wanted, strict=True):
        assert np.array_equal(mask, other)


CVAT: Labels = {
    "licenses": [{"name": "", "id": 0, "url": ""}],
    "info": {"contributor": "", "date_created": "", "description": "", "url": "", "version": "", "year": ""},
    "categories": [{"id": 1, "name": "cow", "supercategory": ""}, {"id": 2, "name": "草", "supercategory": ""}],
    "images": [
        {
            "id": 1,
            "width": 40,
            "height": 30,
            "file_name": "herd/a 1.png",
            "license": 0,
            "flickr_url": "",
            "coco_url": "",
            "date_captured": 0,
        }
    ],
    "annotations": [
        {
            "id": 1,
            "image_id": 1,
            "category_id": 1,
            "segmentation": [corners(3.0, 2.0, 20.0, 9.0)],
            "area": 119.0,
            "bbox": [3.0, 2.0, 17.0, 7.0],
            "iscrowd": 0,
            "attributes": {"occluded": False, "rotation": 0.0, "track_id": 4, "keyframe": True},
        },
        {
            "id": 2,
            "image_id": 1,
            "category_id": 2,
            "segmentation": {"counts": runs(OTHER)["counts"], "size": [30, 40]},
            "area": 252.0,
            "bbox": [20.0, 12.0, 18.0, 14.0],
            "iscrowd": 1,
            "attributes": {"occluded": True},
        },
        {
            "id": 3,
            "image_id": 1,
            "category_id": 1,
            "segmentation": [],
            "area": 200.0,
            "bbox": [2.0, 1.0, 20.0, 10.0],
            "iscrowd": 0,
            "attributes": {"occluded": False, "rotation": 0.0},
        },
    ],
}


@pytest.mark.parametrize("as_objects", [False, True])
def test_cvat_marks_every_brushed_mask_as_a_group(
    project: Project, tmp_path: Path, rng: np.random.Generator, as_objects: bool
) -> None:
    draw(tmp_path / "cvat" / "images" / "default" / "herd" / "a 1.png", rng)
    options = ImportOptions(groups_as_objects=as_objects)
    done = take(project, tmp_path / "cvat" / "annotations" / "instances_default.json", CVAT, options)
    assert (done.masks, done.boxes, done.skipped) == (2, 1, ())
    groups, lost = done.warnings
    assert groups.startswith("1 of 2 masks are " + ("marked as groups" if as_objects else "groups (iscrowd 1)"))
    assert lost == (
        "Not kept, because a project has no place for it: attribute track_id of 1 annotation, attribute keyframe of 1 "
        "annotation, attribute occluded of 1 annotation."
    )
    assert_masks(project, ("cow", BLOCK), ("草", OTHER))
    assert [one.crowd for one in project.annotations()] == [False, not as_objects]
    assert [one.captured for one in project.images.all()] == [""]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("images\\3f1e-a.png", id="windows"),
        pytest.param("images/3f1e-a.png", id="slash"),
        pytest.param("/data/upload/1/3f1e-a.png", id="absolute"),
        pytest.param("../../label-studio/data/media/upload/1/3f1e-a.png", id="local"),
        pytest.param("C:\\Users\\ann\\3f1e-a.png", id="drive"),
    ],
)
def test_label_studio(project: Project, tmp_path: Path, rng: np.random.Generator, name: str) -> None:
    draw(tmp_path / "export" / "images" / "3f1e-a.png", rng)
    labels = {
        "images": [{"width": 40, "height": 30, "id": 0, "file_name": name}],
        "categories": [{"id": 0, "name": "cow"}, {"id": 1, "name": "grass"}],
        "annotations": [
            {
                "id": 0,
                "image_id": 0,
                "category_id": 0,
                "segmentation": [corners(3.0, 2.0, 20.0, 9.0)],
                "bbox": [3.0, 2.0, 17.0, 7.0],
                "ignore": 0,
                "iscrowd": 0,
                "area": 119.0,
            }
        ],
        "info": {
            "year": 2024,
            "version": "1.0",
            "description": "",
            "contributor": "Label Studio",
            "url": "",
            "date_created": "2024-05-06 07:08:09.123456",
        },
    }
    done = take(project, tmp_path / "export" / "result.json", labels)
    assert (done.masks, done.skipped) == (1, ())
    assert_masks(project, ("cow", BLOCK))
    assert [(one.id, one.name) for one in project.categories()] == [(1, "cow"), (2, "grass")]
    by_name = name.startswith(("/", "..", "C:"))
    assert (
        done.warnings
        == (
            "1 of 1 images were found by their file name alone ("
            + name.replace("\\", "/")
            + "): check that they are the "
            "right ones.",
        )
        * by_name
    )
    assert done.notes[:2] == (
        "The category ids 0 cannot be kept; all categories get new ones, from 1.",
        "1 annotation ids are not numbers from 1 to 1073741824; they get new ones.",
    )
    assert "info.contributor" in done.notes[2]
    assert [one.id for one in project.images.all()] == [1]
    assert project.images.all()[0].file_name == "images/3f1e-a.png"


def test_fiftyone(project: Project, tmp_path: Path, rng: np.random.Generator) -> None:
    """Predictions with their confidence, a row without a segmentation, supercategory null."""
    draw(tmp_path / "export" / "data" / "a.png", rng)
    labels = {
        "info": {
            "year": "", "version": "", "description": "Exported from FiftyOne", "contributor": "",
            "url": "https://voxel51.com/fiftyone", "date_created": "2024-05-06T07:08:09",
        },
        "licenses": [],
        "categories": [{"id": 0, "name": "cow", "supercategory": None}],
        "images": [
            {"id": 1, "file_name": "a.png", "height": 30, "width": 40, "license": None, "coco_url": None}
        ],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 0, "bbox": [3.0, 2.0, 17.0, 7.0], "area": 119.0, "iscrowd": 0,
             "segmentation": [corners(3.0, 2.0, 20.0, 9.0)], "score": 0.875, "supercategory": None},
            {"id": 2, "image_id": 1, "category_id": 0, "bbox": [20.0, 12.0, 18.0, 14.0], "area": 252.0, "iscrowd": 1,
             "segmentation": {"counts": runs(OTHER)["counts"], "size": [30, 40]}},
            {"id": 3, "image_id": 1, "category_id": 0, "bbox": [1.5, 2.5, 3.0, 4.0], "area": 12.0, "iscrowd": 0},
        ],
    }  # fmt: skip
    done = take(project, tmp_path / "export" / "labels.json", labels)
    assert (done.masks, done.proposals, done.boxes, done.skipped) == (2, 1, 1, ())
    kept = project.annotations(states=("accepted", "proposed"))
    assert [(one.state, one.mask.score, one.crowd) for one in kept] == [
        ("proposed", 0.875, False), ("accepted", None, True)
    ]  # fmt: skip
    assert np.array_equal(kept[0].mask.to_array(), BLOCK)
    assert np.array_equal(kept[1].mask.to_array(), OTHER)
    assert project.store.images.boxes(1)[0].bbox == (1.5, 2.5, 3.0, 4.0)


def test_labelme2coco(project: Project, tmp_path: Path, rng: np.random.Generator) -> None:
    """No info, no licences, ids of images from 1 and of categories from 0, whole numbers as bounding box."""
    draw(tmp_path / "labelme" / "a.png", rng)
    labels = {
        "images": [{"height": 30, "width": 40, "id": 1, "file_name": "a.png"}],
        "annotations": [
            {
                "iscrowd": 0,
                "image_id": 1,
                "bbox": [3, 2, 17, 7],
                "segmentation": [[3, 2, 20, 2, 20, 9, 3, 9]],
                "category_id": 0,
                "id": 1,
                "area": 119,
            }
        ],
        "categories": [{"id": 0, "name": "cow", "supercategory": "cow"}],
    }
    done = take(project, tmp_path / "labelme" / "dataset.json", labels)
    assert (done.masks, done.skipped) == (1, ())
    assert_masks(project, ("cow", BLOCK))
    assert project.categories()[0].supercategory == "cow"


def test_lvis(project: Project, tmp_path: Path, rng: np.random.Generator) -> None:
    """No `file_name` and no `iscrowd`; the address tells the split and the file."""
    draw(tmp_path / "coco" / "val2017" / "000000397133.png", rng)
    labels = {
        "info": {"description": "LVIS v1 validation", "year": 2020},
        "licenses": [{"id": 1, "name": "Attribution", "url": "http://example.invalid/"}],
        "categories": [
            {
                "id": 1035,
                "name": "sofa_bed",
                "synset": "studio_couch.n.01",
                "synonyms": ["sofa_bed"],
                "def": "a convertible sofa",
                "frequency": "c",
                "image_count": 1,
                "instance_count": 1,
            }
        ],
        "images": [
            {
                "id": 397133,
                "date_captured": "2013-11-14 17:02:52",
                "neg_category_ids": [7, 8],
                "not_exhaustive_category_ids": [1035],
                "license": 1,
                "height": 30,
                "width": 40,
                "flickr_url": "http://example.invalid/x.jpg",
                "coco_url": "http://example.invalid/val2017/000000397133.png",
            }
        ],
        "annotations": [
            {
                "area": 119.0,
                "id": 77,
                "segmentation": [corners(3.0, 2.0, 20.0, 9.0)],
                "image_id": 397133,
                "bbox": [3.0, 2.0, 17.0, 7.0],
                "category_id": 1035,
            }
        ],
    }
    done = take(project, tmp_path / "coco" / "annotations" / "lvis_v1_val.json", labels)
    assert (done.masks, done.skipped) == (1, ())
    assert "neg_category_ids of 1 image" in done.warnings[0]
    assert "frequency of 1 category" in done.warnings[0]
    assert_masks(project, ("sofa_bed", BLOCK))
    (image,) = project.images.all()
    assert (image.id, image.file_name) == (397133, "images/val2017/000000397133.png")
    assert (image.captured, project.annotations()[0].category_id) == ("2013-11-14 17:02:52", 1035)


def test_coco_itself(project: Project, tmp_path: Path, rng: np.random.Generator) -> None:
    """Groups have ids that are larger than a database's, areas are fractions, one object has two polygons."""
    draw(tmp_path / "coco" / "train2017" / "000000000009.png", rng)
    two = BLOCK | OTHER
    labels = {
        "info": {"description": "COCO 2017 Dataset", "year": 2017, "date_created": "2017/09/01"},
        "licenses": [{"url": "http://example.invalid/", "id": 1, "name": "Attribution"}],
        "images": [
            {
                "license": 1,
                "file_name": "000000000009.png",
                "coco_url": "http://example.invalid/train2017/000000000009.png",
                "height": 30,
                "width": 40,
                "date_captured": "2013-11-19 20:40:11",
                "flickr_url": "",
                "id": 9,
            }
        ],
        "annotations": [
            {
                "segmentation": [corners(3.01, 2.0, 19.98, 9.0), corners(20.0, 12.0, 38.0, 26.0)],
                "area": 370.79,
                "iscrowd": 0,
                "image_id": 9,
                "bbox": [3.01, 2.0, 34.99, 24.0],
                "category_id": 18,
                "id": 1768,
            },
            {
                "segmentation": {"counts": runs(OTHER)["counts"], "size": [30, 40]},
                "area": 252,
                "iscrowd": 1,
                "image_id": 9,
                "bbox": [20, 12, 18, 14],
                "category_id": 1,
                "id": 900100000009,
            },
        ],
        "categories": [
            {"supercategory": "person", "id": 1, "name": "person"},
            {"supercategory": "animal", "id": 18, "name": "dog"},
            {"supercategory": "indoor", "id": 90, "name": "toothbrush"},
        ],
    }
    done = take(project, tmp_path / "coco" / "annotations" / "instances_train2017.json", labels)
    assert (done.masks, done.skipped) == (2, ())
    assert_masks(project, ("dog", two), ("person", OTHER))
    assert [(one.id, one.crowd) for one in project.annotations()] == [(1768, False), (1769, True)]
    assert done.notes[0] == "1 annotation ids are not numbers from 1 to 1073741824; they get new ones."
    assert [(one.id, one.supercategory) for one in project.categories()] == [
        (1, "person"), (18, "animal"), (90, "indoor")
    ]  # fmt: skip


def test_the_least_that_can_be_read(project: Project, tmp_path: Path, rng: np.random.Generator) -> None:
    """With a byte order mark, a flat list as polygon, and nothing that is not needed."""
    draw(tmp_path / "x" / "a.png", rng)
    labels = {
        "images": [{"id": "one", "file_name": "a.png"}],
        "annotations": [{"image_id": "one", "category_id": "c", "segmentation": corners(3, 2, 20, 9)}],
        "categories": [{"id": "c", "name": 7}],
    }
    file = tmp_path / "x" / "labels.json"
    file.write_bytes(b"\xef\xbb\xbf" + json.dumps(labels).encode())
    done = project.exchange.import_coco(file)
    assert (done.masks, done.skipped) == (1, ())
    assert_masks(project, ("7", BLOCK))


def test_unknown_words_do_no_harm(project: Project, tmp_path: Path, rng: np.random.Generator) -> None:
    draw(tmp_path / "x" / "a.png", rng)
    labels = json.loads(json.dumps(CVAT)) | {"videos": [{"id": 1}], "segment_info": None}
    labels["images"][0]["file_name"] = "a.png"
    for row in labels["annotations"]:
        row |= {"keypoints": [1, 2, 2], "num_keypoints": 1, "ignore": 1, "caption": "a cow", "isthing": True}
    labels["annotations"][0]["attributes"] = ["not", "a", "mapping"]
    labels["annotations"][1]["attributes"] = {"uid": ["x"], "status": {"a": 1}, "source": [], "annotator": {"b": 2}}
    labels["annotations"][2]["attributes"] = None
    done = take(project, tmp_path / "x" / "labels.json", labels)
    assert (done.masks, done.boxes, done.skipped) == (2, 1, ())
    assert {one.source for one in project.annotations()} == {"import"}
