"""COCO dictionaries: the rules of the file, read back by pycocotools."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from maskwright.errors import UsageError
from maskwright.files.atomic import write_json
from maskwright.formats.coco_rules import FORBIDDEN_ATTRIBUTES, validate
from maskwright.formats.coco_writer import coco_text, provenance_lines
from tests.core.formats.conftest import Data, to_coco


def test_the_layout(data: Data) -> None:
    coco = to_coco(data, description="cows")
    assert list(coco) == ["info", "licenses", "images", "annotations", "categories"]
    assert coco["info"] == {
        "description": "cows",
        "url": "",
        "version": "1.0",
        "year": 2026,
        "contributor": "",
        "date_created": "2026-03-04T05:06:07Z",
    }
    assert coco["licenses"] == [{"id": 0, "name": "", "url": ""}]
    assert coco["images"][0] == {
        "id": 3,
        "file_name": "images/vache à l'étable #1.jpg",
        "width": 40,
        "height": 30,
        "license": 0,
        "coco_url": "",
        "flickr_url": "",
        "date_captured": "2024:05:06 07:08:09",
        "sha256": "3" * 64,
        "exif_orientation": 6,
    }
    assert [row["id"] for row in coco["images"]] == [3, 7]
    assert coco["categories"] == [
        {"id": 1, "name": "<img src=x onerror=alert(1)>", "supercategory": ""},
        {"id": 2, "name": "草", "supercategory": ""},
    ]
    assert validate(coco) == []


def test_an_annotation(data: Data) -> None:
    ring, parts = to_coco(data)["annotations"]
    assert list(ring) == ["id", "image_id", "category_id", "segmentation", "area", "bbox", "iscrowd", "attributes"]
    assert ring["segmentation"] == {"size": [30, 40], "counts": data.masks[0].mask.rle["counts"]}
    assert (ring["id"], ring["image_id"], ring["category_id"], ring["iscrowd"]) == (2, 3, 2, 0)
    assert (ring["area"], ring["bbox"]) == (24 * 15 - 5 * 8, [8, 5, 24, 15])
    assert ring["attributes"] == {
        "uid": f"{2:032x}",
        "status": "accepted",
        "source": "text",
        "model": "tiny",
        "model_version": "ab" * 32 + "+0.1.0",
        "prompt": '["vache", "草"]',
        "annotator": "ann",
        "created_at": "2026-01-02T03:04:05.678Z",
        "updated_at": "2026-02-03T04:05:06.789Z",
        "revision": 1,
    }
    assert parts["score"] == 1.0
    assert parts["attributes"]["model"] == parts["attributes"]["model_version"] == parts["attributes"]["prompt"] == ""
    assert not FORBIDDEN_ATTRIBUTES & set(ring["attributes"])


def test_what_is_left_out_and_included_on_request(data: Data) -> None:
    assert [row["id"] for row in to_coco(data, only_annotated=True)["images"]] == [3]
    assert [row["id"] for row in to_coco(data, all_categories=True)["categories"]] == [1, 2, 5]


def test_the_text_is_the_one_that_json_would_write(data: Data) -> None:
    text = "".join(coco_text(data))
    assert text == json.dumps(json.loads(text), ensure_ascii=False, separators=(",", ":")) + "\n"


def test_an_empty_project_is_a_valid_file() -> None:
    coco = to_coco(Data((), (), ()))
    assert validate(coco) == []
    assert coco["images"] == coco["annotations"] == coco["categories"] == []


@pytest.mark.parametrize("segmentation", ["rle", "rle-list", "polygon"])
def test_pycocotools_reads_the_stored_masks(data: Data, tmp_path: Path, segmentation: str) -> None:
    file = tmp_path / "coco.json"
    write_json(file, to_coco(data, segmentation=segmentation))
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(file))
    for kept in data.masks:
        (row,) = coco.loadAnns([kept.id])
        assert np.array_equal(coco.annToMask(row).astype(bool), kept.mask.to_array())
        rle = coco.annToRLE(row)
        assert coco_mask.area(rle) == row["area"]
        assert coco_mask.toBbox(rle).tolist() == row["bbox"]
    assert coco.loadCats([2])[0]["name"] == "草"


def test_polygons_where_they_can_be_exact(data: Data) -> None:
    coco = to_coco(data, segmentation="polygon")
    ring, parts = coco["annotations"]
    assert ring["segmentation"] == to_coco(data)["annotations"][0]["segmentation"]
    assert parts["segmentation"] == [[8, 5, 15, 5, 15, 20, 8, 20], [18, 5, 32, 5, 32, 20, 18, 20]]
    assert parts["area"] == to_coco(data)["annotations"][1]["area"]
    assert [ring["iscrowd"], parts["iscrowd"]] == [0, 0]
    assert validate(coco) == []


def test_an_unknown_segmentation_is_refused(data: Data) -> None:
    with pytest.raises(UsageError, match="rle, rle-list, polygon"):
        to_coco(data, segmentation="png")


def test_provenance_has_a_line_for_each_mask(data: Data) -> None:
    lines = "".join(provenance_lines(data)).splitlines()
    assert [json.loads(line)["uid"] for line in lines] == [f"{2:032x}", f"{4:032x}"]
    assert json.loads(lines[0]) == {
        "uid": f"{2:032x}",
        "source": "text",
        "provenance": dict(data.masks[0].provenance),
    }
