"""The validator accepts whatever we write, and names the faults of other files."""

from __future__ import annotations

import copy
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from maskwright.domain import Mask
from maskwright.formats.coco_rules import validate
from tests.core.formats.conftest import Data, annotation, to_coco


def disc(y0: int, x0: int, radius: int, size_hw: tuple[int, int] = (30, 40)) -> np.ndarray[Any, Any]:
    y, x = np.mgrid[: size_hw[0], : size_hw[1]]
    return (x - x0) ** 2 + (y - y0) ** 2 <= radius**2


@pytest.fixture
def rich(data: Data, rng: np.random.Generator) -> Data:
    """A hole, two parts, a group, a disc, single pixels, noise and everything."""
    more = [disc(15, 20, 11), disc(0, 0, 0), np.ones((30, 40), bool), rng.random((30, 40)) > 0.5]
    masks = [annotation(10 + n, mask=Mask.from_array(one)) for n, one in enumerate(more)]
    group = annotation(20, "ring", crowd=True)
    return Data(data.records, data.kinds, (*data.masks, *masks, group))


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="rle"),
        pytest.param({"segmentation": "rle-list"}, id="rle-list"),
        pytest.param({"segmentation": "polygon"}, id="polygon"),
        pytest.param({"segmentation": "polygon", "holes": "fill"}, id="filled"),
        pytest.param({"segmentation": "polygon", "simplify": 1.5}, id="simplified"),
        pytest.param({"segmentation": "polygon", "simplify": 40, "holes": "fill"}, id="simplified-filled"),
        pytest.param({"all_categories": True, "description": 'ü "x"'}, id="all-categories"),
    ],
)
def test_validate_takes_what_we_write(rich: Data, options: dict[str, Any]) -> None:
    written = to_coco(rich, **options)
    assert validate(written) == []
    assert [row["iscrowd"] for row in written["annotations"]] == [0] * 6 + [1]
    # and what JSON makes of it, which is what a reader gets
    assert validate(json.loads(json.dumps(written))) == []


def test_area_and_box_are_those_of_what_is_written(rich: Data) -> None:
    """A filled hole is in the area, as every reader counts it."""
    exact = to_coco(rich)["annotations"]
    filled = to_coco(rich, segmentation="polygon", holes="fill", simplify=2)["annotations"]
    for row in exact + filled:
        shape = row["segmentation"]
        rle = coco_mask.merge(coco_mask.frPyObjects(shape, 30, 40)) if isinstance(shape, list) else shape
        assert (int(coco_mask.area(rle)), coco_mask.toBbox(rle).tolist()) == (row["area"], row["bbox"])
        assert {type(one) for one in (row["area"], *row["bbox"])} == {int}
    assert (exact[0]["area"], filled[0]["area"]) == (320, 360)
    assert exact[-1]["area"] == filled[-1]["area"] == 320


@given(st.integers(0, 2**32 - 1), st.floats(0.3, 60), st.sampled_from(["rle", "fill"]))
@settings(max_examples=60, deadline=None)
def test_validate_takes_any_simplified_outline(seed: int, simplify: float, holes: str) -> None:
    rng = np.random.default_rng(seed)
    mask = np.zeros((30, 40), bool)
    for _ in range(rng.integers(1, 5)):
        y0, x0 = rng.integers(0, (30, 40))
        mask ^= disc(y0, x0, int(rng.integers(0, 14)))
    if not mask.any():
        return
    data = Data((annotation_image(),), (annotation_kind(),), (annotation(1, mask=Mask.from_array(mask)),))
    assert validate(to_coco(data, segmentation="polygon", simplify=simplify, holes=holes)) == []


def annotation_image() -> Any:
    from maskwright.domain import ImageRecord

    return ImageRecord(3, "3" * 64, "images/a.png", 40, 30, 1, "")


def annotation_kind() -> Any:
    from maskwright.domain import Category

    return Category(2, "草", "#d55e00")


POLYGON = [8, 5, 32, 5, 32, 20, 8, 20]
FAULTS = [
    pytest.param(lambda c: c["info"].update(year="2026"), "info.year", id="year"),
    pytest.param(lambda c: c["info"].update(date_created="2026"), "info.date_created", id="date"),
    pytest.param(lambda c: c["info"].update(date_created="٢٠٢٦-٠٢-٠٢T٠٣:٠٤:٠٥Z"), "info.date_created", id="digits"),
    pytest.param(lambda c: c["info"].pop("url"), "info must have the keys", id="info-key"),
    pytest.param(lambda c: c.update(info=[]), "info must be an object", id="info-list"),
    pytest.param(lambda c: c["licenses"][0].update(name=None), "licenses 0: name", id="license"),
    pytest.param(lambda c: c["images"][0].update(file_name="/abs.png"), "images 3: file_name", id="absolute"),
    pytest.param(lambda c: c["images"][0].update(file_name="../a.png"), "images 3: file_name", id="dots"),
    pytest.param(lambda c: c["images"][0].update(file_name="a\\b.png"), "images 3: file_name", id="backslash"),
    pytest.param(lambda c: c["images"][0].update(file_name="C:/b.png"), "images 3: file_name", id="drive"),
    pytest.param(lambda c: c["images"][0].update(width=0), "images 3: width", id="width"),
    pytest.param(lambda c: c["images"][0].update(width=1 << 40), "annotations 2: its image has no size", id="absurd"),
    pytest.param(lambda c: c["images"][0].update(license=4), "images 3: license", id="license-id"),
    pytest.param(lambda c: c["images"][0].update(license=[0]), "images 3: license", id="license-list"),
    pytest.param(lambda c: c["images"][0].update(coco_url=None), "images 3: coco_url", id="url"),
    pytest.param(lambda c: c["images"][0].update(exif_orientation=9), "images 3: exif_orientation", id="exif"),
    pytest.param(lambda c: c["images"].reverse(), "images: ids must be unique and in order", id="order"),
    pytest.param(lambda c: c["images"].append(c["images"][-1]), "images: ids must be unique", id="image-twice"),
    pytest.param(lambda c: c["images"].append(3), "images must be a list of objects", id="image-number"),
    pytest.param(lambda c: c["images"][0].pop("id"), "images: every id must", id="image-without-id"),
    pytest.param(lambda c: c["images"][0].update(id=[1]), "images: every id must", id="image-id-list"),
    pytest.param(lambda c: c["categories"][0].update(id=0), "categories: every id must", id="category-0"),
    pytest.param(lambda c: c["categories"][0].update(name=""), "categories 1: name", id="no-name"),
    pytest.param(lambda c: c["categories"][0].update(name="草"), "same name", id="same-name"),
    pytest.param(lambda c: c["categories"][0].update(name=["草"]), "categories 1: name", id="name-list"),
    pytest.param(lambda c: c["categories"][0].update(supercategory=None), "categories 1: supercategory", id="super"),
    pytest.param(lambda c: c["annotations"][0].update(image_id=99), "annotations 2: image_id", id="image-id"),
    pytest.param(lambda c: c["annotations"][0].update(image_id="3"), "image_id is text, but", id="image-id-text"),
    pytest.param(lambda c: c["annotations"][0].update(category_id="2"), "category_id is text, but", id="cat-id-text"),
    pytest.param(lambda c: c["annotations"][0].update(bbox={"x": 1}), "must be a list of four numbers", id="bbox-dict"),
    pytest.param(lambda c: c["annotations"][0].update(image_id={}), "annotations 2: image_id", id="image-id-object"),
    pytest.param(lambda c: c["annotations"][0].update(category_id=99), "annotations 2: category_id", id="cat-id"),
    pytest.param(lambda c: c["annotations"][0].update(category_id=[2]), "annotations 2: category_id", id="cat-list"),
    pytest.param(lambda c: c["annotations"][0].pop("iscrowd"), "annotations 2: iscrowd", id="no-crowd"),
    pytest.param(lambda c: c["annotations"][0].update(iscrowd=False), "annotations 2: iscrowd", id="crowd-bool"),
    pytest.param(lambda c: c["annotations"][0].update(area=320.5), "annotations 2: area", id="area-type"),
    pytest.param(lambda c: c["annotations"][0].update(area=360), "annotations 2: area must be 320", id="box-area"),
    pytest.param(lambda c: c["annotations"][0].update(bbox=[8, 5, 23, 15]), "annotations 2: bbox", id="bbox"),
    pytest.param(lambda c: c["annotations"][0].update(bbox=[8.0, 5, 24, 15]), "annotations 2: bbox", id="bbox-type"),
    pytest.param(lambda c: c["annotations"][0]["segmentation"].update(size=[40, 30]), "size must be", id="swapped"),
    pytest.param(lambda c: c["annotations"][0]["segmentation"].update(counts="oo"), "cannot be read", id="counts"),
    pytest.param(lambda c: c["annotations"][0]["segmentation"].update(counts=[1, 2]), "cannot be read", id="list"),
    pytest.param(lambda c: c["annotations"][0]["segmentation"].update(counts=[1.5]), "cannot be read", id="fraction"),
    pytest.param(lambda c: c["annotations"][0]["segmentation"].pop("counts"), "cannot be read", id="no-counts"),
    pytest.param(
        lambda c: c["annotations"][0]["segmentation"].update(counts=[200, 1, 999]), "area must be 1", id="list-area"
    ),
    pytest.param(lambda c: c["annotations"][0].update(segmentation=[]), "segmentation must be RLE", id="nothing"),
    pytest.param(lambda c: c["annotations"][0].update(segmentation="x"), "segmentation must be RLE", id="text"),
    pytest.param(lambda c: c["annotations"][0].update(segmentation=[[1, 2, 3, 4]]), "three points", id="two-points"),
    pytest.param(lambda c: c["annotations"][0].update(segmentation=[["a"] * 6]), "hold numbers", id="text-polygon"),
    pytest.param(lambda c: c["annotations"][0].update(segmentation=[[True] * 6]), "hold numbers", id="true-polygon"),
    pytest.param(lambda c: c["annotations"][0].update(segmentation=[[float("nan")] * 6]), "hold numbers", id="nan"),
    pytest.param(lambda c: c["annotations"][0].update(segmentation=[[0, 0, 41, 0, 1, 1]]), "leaves", id="outside"),
    pytest.param(lambda c: c["annotations"][0].update(segmentation=[[0, 0, 1.234, 0, 1, 1]]), "decimals", id="fine"),
    pytest.param(lambda c: c["annotations"][0].update(segmentation=[POLYGON]), "area must be 360", id="polygon-area"),
    pytest.param(
        lambda c: c["annotations"][0].update(segmentation=[POLYGON], area=360, bbox=[8, 5, 24, 14]),
        "bbox must be [8, 5, 24, 15]",
        id="polygon-box",
    ),
    pytest.param(
        lambda c: c["annotations"][0].update(segmentation=[[1, 1, 1.1, 1, 1.1, 1.1]]), "mask is empty", id="thin"
    ),
    pytest.param(
        lambda c: c["annotations"][0].update(segmentation=[[0, 0, 1, 0, 1, 1]], iscrowd=1), "a crowd", id="crowd"
    ),
    pytest.param(lambda c: c["annotations"][1].update(score=1.5), "annotations 4: score", id="score"),
    pytest.param(lambda c: c["annotations"][1].pop("attributes"), "annotations 4: attributes", id="no-attributes"),
    pytest.param(lambda c: c["annotations"][1]["attributes"].update(label=1), "called label", id="forbidden"),
    pytest.param(lambda c: c["annotations"][1]["attributes"].update(x=[1]), "attributes must be text", id="nested"),
    pytest.param(lambda c: c.pop("licenses"), "The keys must be", id="section"),
]


@pytest.mark.parametrize(("spoil", "says"), FAULTS)
def test_validate_names_what_is_wrong(data: Data, spoil: Any, says: str) -> None:
    coco = copy.deepcopy(to_coco(data))
    spoil(coco)
    assert any(says in fault for fault in validate(coco)), validate(coco)


def test_what_lacks_iscrowd_is_no_crowd(data: Data) -> None:
    coco = to_coco(data, segmentation="polygon", holes="fill")
    del coco["annotations"][0]["iscrowd"]
    assert not any("crowd must be RLE" in fault for fault in validate(coco))


def test_validate_refuses_an_empty_mask(data: Data) -> None:
    coco = to_coco(Data(data.records, data.kinds, (annotation(4),)))
    coco["annotations"][0]["segmentation"]["counts"] = annotation(4, "empty").mask.rle["counts"]
    assert "annotations 4: the mask is empty." in validate(coco)


def test_a_good_polygon_with_fractions_is_taken(data: Data) -> None:
    coco = to_coco(data)
    coco["annotations"][0] |= {"segmentation": [[8.25, 5, 32, 5, 32, 20, 8, 20]], "area": 357, "bbox": [8, 5, 24, 15]}
    drawn = coco_mask.merge(coco_mask.frPyObjects(coco["annotations"][0]["segmentation"], 30, 40))
    coco["annotations"][0]["area"] = int(coco_mask.area(drawn))
    assert validate(coco) == []
