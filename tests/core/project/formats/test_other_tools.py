"""Files as other tools write them, laid out after the documentation of each, with our own content."""

from __future__ import annotations

import base64
import io
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow
from PIL import ImageDraw

from maskwright.errors import BadCoco, MaskwrightError
from maskwright.formats.label_png import VOC_COLORS
from maskwright.project.coco_import import ImportResult
from tests.core.project.formats.conftest import SIZE, block, imported

COW = block(slice(2, 9), slice(3, 20))
DOG = block(slice(12, 26), slice(20, 38))
OUTLINE = [3, 2, 20, 2, 20, 9, 3, 9]


def image(file: Path, **options: Any) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    Pillow.fromarray(np.full((*SIZE, 3), len(file.name) % 250, np.uint8)).save(file, **options)
    return file


def write(file: Path, content: Any) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return file


def take(
    tmp_path: Path, file: Path, **options: Any
) -> tuple[list[tuple[str, np.ndarray[Any, Any]]], Any, ImportResult]:
    """Masks and boxes of the first image, and the result."""
    project, result = imported(tmp_path, file, **options)
    with project:
        found = [(one.category, one.mask.to_array()) for one in project.annotations(1)]
        boxes = [(box.category, tuple(box.bbox)) for box in project.store.images.boxes(1)]
    return found, boxes, result


def assert_found(found: list[tuple[str, Any]], *wanted: tuple[str, Any]) -> None:
    assert [name for name, _ in found] == [name for name, _ in wanted]
    assert all(np.array_equal(a, b) for (_, a), (_, b) in zip(found, wanted, strict=True))


def png(mask: np.ndarray[Any, Any]) -> bytes:
    data = io.BytesIO()
    Pillow.fromarray(mask).save(data, "PNG")
    return data.getvalue()


BITMAP = base64.b64encode(zlib.compress(png(np.ones((14, 18), bool)))).decode()


# YOLO


@pytest.mark.parametrize(
    "names",
    ["names: [cow, dog]", "names:\n  0: cow\n  1: dog", 'names: {"0": cow, "1": dog}'],
    ids=["list", "numbers", "text"],
)
def test_yolo_of_roboflow(tmp_path: Path, names: str) -> None:
    """Paths that leave the folder, subset folders above images/, boxes and outlines in one file, one bad line."""
    image(tmp_path / "set" / "train" / "images" / "a.png")
    lines = [
        "0 0.075 0.066667 0.5 0.066667 0.5 0.3 0.075 0.3",
        "1 0.725 0.633333 0.45 0.466667",
        "7 0.5 0.5 1 1",
        "0 x",
    ]
    write(tmp_path / "set" / "train" / "labels" / "a.txt", "\n".join(lines))
    write(tmp_path / "set" / "valid" / "labels" / "gone.txt", "0 0.5 0.5 1 1\n")
    file = write(tmp_path / "set" / "data.yaml", f"train: ../train/images\nval: ../valid/images\nnc: 2\n{names}\n")
    found, boxes, result = take(tmp_path, file)
    assert_found(found, ("cow", COW))
    ((name, box),) = boxes
    assert name == "dog"
    assert np.allclose(box, (20, 12, 18, 14), atol=0.01)
    assert [line.rpartition(": ")[2] for line in result.skipped] == [
        "data.yaml has no class 7", "it is no class number with coordinates"
    ]  # fmt: skip
    assert result.missing == ("valid/images/gone",)


def test_yolo_predictions_poses_and_a_list_of_files(tmp_path: Path) -> None:
    image(tmp_path / "set" / "images" / "a.png")
    write(tmp_path / "set" / "labels" / "a.txt", "0 0.075 0.066667 0.5 0.066667 0.5 0.3 0.075 0.3 0.75\n")
    write(tmp_path / "set" / "train.txt", "./images/a.png\n../../etc/passwd.png\n")
    file = write(tmp_path / "set" / "data.yaml", "train: train.txt\nnames: [cow]\n")
    project, result = imported(tmp_path, file)
    with project:
        (one,) = project.annotations(states=("proposed",))
        assert (one.mask.score, np.array_equal(one.mask.to_array(), COW)) == (0.75, True)
    write(tmp_path / "set" / "labels" / "a.txt", "0 0.5 0.5 0.5 0.5 0.1 0.1 2 0.2 0.2 2\n")
    write(file, "train: train.txt\nkpt_shape: [2, 3]\nnames: [cow]\n")
    found, boxes, result = take(tmp_path / "poses", file)
    assert (found, boxes) == ([], [("cow", (10, 7.5, 20, 15))])
    assert result.warnings == ("Not kept, because a project has no place for it: keypoints of 1 annotation.",)


def test_yolo_on_a_photo_that_exif_turns_is_not_moved_without_a_word(tmp_path: Path) -> None:
    exif = Pillow.Exif()
    exif[0x0112] = 6
    image(tmp_path / "set" / "images" / "a.jpg", exif=exif.tobytes())
    write(tmp_path / "set" / "labels" / "a.txt", "0 0.25 0.25 0.5 0.5\n")
    file = write(tmp_path / "set" / "data.yaml", "train: images\nnames: [cow]\n")
    for rotate, box in ((False, (0, 0, 15, 20)), (True, (15, 0, 15, 20))):
        _, boxes, result = take(tmp_path / str(rotate), file, rotate=rotate)
        assert boxes == [("cow", box)]
        assert result.warnings[0].startswith("images/a.jpg: ")


# LabelMe


def test_labelme(tmp_path: Path) -> None:
    """A polygon, two parts of one group, a rectangle, a circle, a mask, a line, Windows paths, image data inside."""
    image(tmp_path / "a.png")
    points = np.reshape(OUTLINE, (-1, 2)).tolist()
    shape = {"group_id": None, "flags": {}, "description": ""}
    shapes = [
        {**shape, "label": "cow", "points": points, "shape_type": "polygon"},
        {**shape, "label": "two", "points": points, "group_id": 1},
        {**shape, "label": "two", "points": [[20, 12], [38, 12], [38, 26], [20, 26]], "group_id": 1},
        {**shape, "label": "dog", "points": [[38, 26], [20, 12]], "shape_type": "rectangle"},
        {**shape, "label": "dog", "points": [[20, 12], [37, 25]], "shape_type": "mask",
         "mask": base64.b64encode(png(np.ones((14, 18), bool))).decode()},
        {**shape, "label": "ball", "points": [[10, 20], [14, 20]], "shape_type": "circle"},
        {**shape, "label": "way", "points": [[1, 1], [5, 5]], "shape_type": "line"},
        {**shape, "label": "cow", "points": [[1, 1], "x"], "shape_type": "polygon", "description": "far"},
    ]  # fmt: skip
    data = {"version": "5.4.1", "flags": {"night": True}, "shapes": shapes, "imagePath": "..\\labels\\a.png",
            "imageData": "AAAA", "imageHeight": 30, "imageWidth": 40}  # fmt: skip
    file = write(tmp_path / "a.json", data)
    found, boxes, result = take(tmp_path, file)
    assert_found(found[:3], ("cow", COW), ("two", COW | DOG), ("dog", DOG))
    assert found[3][0] == "ball"
    assert abs(found[3][1].sum() - np.pi * 16) < 4
    assert boxes == [("dog", (20, 12, 18, 14))]
    assert result.skipped == ("a.json, shape 7: its points cannot be read",)
    (lost,) = (line for line in result.warnings if line.startswith("Not kept"))
    assert "line without an area of 1 shape" in lost
    assert "flag night of 1 image" in lost


# CVAT


def test_cvat_for_images(tmp_path: Path) -> None:
    image(tmp_path / "images" / "herd" / "a 1.png")
    file = write(
        tmp_path / "annotations.xml",
        """<?xml version="1.0" encoding="utf-8"?>
<annotations><version>1.1</version><meta><task><labels>
<label><name>cow</name></label><label><name>dog</name></label></labels></task></meta>
<image id="0" name="herd/a 1.png" subset="Train" task_id="1" width="40" height="30">
<polygon label="cow" source="manual" occluded="1" points="3.00,2.00;20.00,2.00;20.00,9.00;3.00,9.00" z_order="0">
<attribute name="color">brown</attribute></polygon>
<mask label="dog" source="manual" rle="0, 252" left="20" top="12" width="18" height="14"/>
<mask label="dog" rle="1, 2, 1" left="0" top="0" width="2" height="2"/>
<mask label="dog" rle="9, 9" left="0" top="0" width="2" height="2"/>
<box label="dog" xtl="20.00" ytl="12.00" xbr="38.00" ybr="26.00" rotation="30.5"/>
<ellipse label="cow" cx="10" cy="20" rx="4" ry="4"/>
<points label="cow" points="1,1"/><tag label="night"/>
</image></annotations>""",
    )
    found, boxes, result = take(tmp_path, file)
    small = np.zeros(SIZE, bool)
    small[0, 1] = small[1, 0] = True
    assert_found(found[:3], ("cow", COW), ("dog", DOG), ("dog", small))
    # a turned box is an outline; what leaves the image is cut off
    assert abs(found[3][1].sum() - 18 * 14) < 8
    assert abs(found[4][1].sum() - np.pi * 16) < 4
    assert boxes == []
    assert result.skipped == ("herd/a 1.png, shape 3: its run lengths do not fit its box",)
    (lost,) = (line for line in result.warnings if line.startswith("Not kept"))
    for what in (
        "occluded of 1 shape",
        "attribute color of 1 shape",
        "points without",
        "tag without",
    ):
        assert what in lost


def test_xml_that_is_not_taken(tmp_path: Path) -> None:
    video = write(tmp_path / "video.xml", "<annotations><track id='0' label='cow'/></annotations>")
    other = write(tmp_path / "other.xml", "<svg/>")
    bomb = write(tmp_path / "bomb.xml", '<!DOCTYPE a [<!ENTITY b "cc">]><annotations>&b;</annotations>')
    for file, sentence in ((video, "CVAT for images"), (other, "begins with <svg>"), (bomb, "document type")):
        with pytest.raises(BadCoco, match=sentence):
            imported(tmp_path / file.stem, file)


# Pascal VOC


VOC_XML = """<annotation><folder>VOC2012</folder><filename>a.jpg</filename>
<size><width>40</width><height>30</height><depth>3</depth></size><segmented>1</segmented>
<object><name>cow</name><truncated>1</truncated><difficult>0</difficult>
<bndbox><xmin>4</xmin><ymin>3</ymin><xmax>20</xmax><ymax>9</ymax></bndbox></object>
<object><name>dog</name><bndbox><xmin>21</xmin><ymin>13</ymin><xmax>38</xmax><ymax>26</ymax></bndbox></object>
</annotation>"""


def voc(folder: Path, *, palette: bool) -> None:
    image(folder / "JPEGImages" / "a.jpg")
    write(folder / "Annotations" / "a.xml", VOC_XML)
    objects, classes = np.zeros(SIZE, np.uint8), np.zeros(SIZE, np.uint8)
    objects[COW], classes[COW] = 1, 10
    objects[:2, :2] = classes[:2, :2] = 255
    for name, numbers in (("SegmentationObject", objects), ("SegmentationClass", classes)):
        (folder / name).mkdir()
        colors = np.array(VOC_COLORS, np.uint8)
        picture = Pillow.fromarray(numbers if palette else colors[numbers])
        if palette:
            picture.putpalette(colors.tobytes())
        picture.save(folder / name / "a.png")


@pytest.mark.parametrize("palette", [True, False], ids=["palette", "colors"])
def test_pascal_voc(tmp_path: Path, palette: bool) -> None:
    """The first object has a mask, the second a box alone; the border belongs to neither; class 10 is cow."""
    voc(tmp_path / "VOC2012", palette=palette)
    found, boxes, result = take(tmp_path, tmp_path / "VOC2012")
    assert_found(found, ("cow", COW))
    assert boxes == [("dog", (20, 12, 18, 14))]
    assert "truncated of 1 object" in result.warnings[0]
    assert result.skipped == ()
    # one XML file alone has boxes
    found, boxes, _ = take(tmp_path / "one", tmp_path / "VOC2012" / "Annotations" / "a.xml")
    assert (found, boxes) == ([], [("cow", (3, 2, 17, 7)), ("dog", (20, 12, 18, 14))])


def test_pascal_voc_of_cvat(tmp_path: Path) -> None:
    """Classes alone, in the colors of labelmap.txt, without XML."""
    folder = tmp_path / "set"
    image(folder / "JPEGImages" / "a.png")
    write(folder / "labelmap.txt", "# label:color_rgb:parts:actions\nbackground:0,0,0::\nZelle:51,221,255::\n")
    pixels = np.zeros((*SIZE, 3), np.uint8)
    pixels[COW] = 51, 221, 255
    (folder / "SegmentationClass").mkdir()
    Pillow.fromarray(pixels).save(folder / "SegmentationClass" / "a.png")
    found, _, _ = take(tmp_path, folder)
    assert_found(found, ("Zelle", COW))
    pixels[0, 0] = 1, 2, 3
    Pillow.fromarray(pixels).save(folder / "SegmentationClass" / "a.png")
    _, _, result = take(tmp_path / "odd", folder)
    assert result.skipped == ("a: its label image has the color 1,2,3, which labelmap.txt does not name",)


def test_pascal_voc_of_supervision(tmp_path: Path) -> None:
    """A polygon beside the box, whose corners are pixels counted from 1."""
    corners = ((4, 3), (4, 9), (20, 9), (20, 3))
    values = "".join(f"<x{n}>{x}</x{n}><y{n}>{y}</y{n}>" for n, (x, y) in enumerate(corners, start=1))
    polygon = f"</bndbox><polygon>{values}</polygon></object>"
    image(tmp_path / "set" / "JPEGImages" / "a.jpg")
    write(tmp_path / "set" / "Annotations" / "a.xml", VOC_XML.replace("</bndbox></object>", polygon, 1))
    found, boxes, _ = take(tmp_path, tmp_path / "set")
    assert_found(found, ("cow", COW))
    assert boxes == [("dog", (20, 12, 18, 14))]


# Cityscapes, Supervisely, VIA, panoptic, imagefolder


def test_cityscapes(tmp_path: Path) -> None:
    home = tmp_path / "cityscapes"
    image(home / "leftImg8bit" / "val" / "bonn" / "bonn_000001_000019_leftImg8bit.png")
    numbers = np.full(SIZE, 7, np.uint16)
    numbers[COW], numbers[DOG], numbers[0] = 26001, 24, 3
    file = home / "gtFine" / "val" / "bonn" / "bonn_000001_000019_gtFine_instanceIds.png"
    file.parent.mkdir(parents=True)
    Pillow.fromarray(numbers).save(file)
    road = np.ones(SIZE, bool) & ~COW & ~DOG
    road[0] = False
    for number, folder in enumerate((home, home / "gtFine")):
        found, _, result = take(tmp_path / str(number), folder)
        assert_found(found, ("road", road), ("person", DOG), ("car", COW))
        # people that were not told apart
        assert result.warnings[0].startswith("1 of 3 masks are groups")
    file.rename(file.with_name("bonn_000001_000019_gtFine_labelIds.png"))
    numbers[COW] = 26
    Pillow.fromarray(numbers.astype(np.uint8)).save(file.with_name("bonn_000001_000019_gtFine_labelIds.png"))
    found, _, result = take(tmp_path / "classes", home)
    assert_found(found, ("road", road), ("person", DOG), ("car", COW))
    assert result.warnings == ()


def test_supervisely(tmp_path: Path) -> None:
    home = tmp_path / "project"
    image(home / "ds0" / "img" / "a.png")
    write(home / "meta.json", {"classes": [{"title": "cow", "shape": "any", "color": "#F65464"}], "tags": []})
    hole = Pillow.new("1", SIZE[::-1])
    ImageDraw.Draw(hole).polygon([(8, 4), (12, 4), (12, 6), (8, 6)], fill=1, outline=1)
    objects = [
        {"classTitle": "cow", "geometryType": "polygon", "tags": [],
         "points": {"exterior": [[3, 2], [19, 2], [19, 8], [3, 8]], "interior": [[[8, 4], [12, 4], [12, 6], [8, 6]]]}},
        {"classTitle": "dog", "geometryType": "bitmap", "tags": [{"name": "wet"}],
         "bitmap": {"origin": [20, 12], "data": BITMAP}},
        {"classTitle": "dog", "geometryType": "rectangle", "points": {"exterior": [[20, 12], [37, 25]]}},
        {"classTitle": "dog", "geometryType": "point", "points": {"exterior": [[1, 1]]}},
        {"classTitle": "dog", "geometryType": "bitmap", "bitmap": {"origin": [0, 0], "data": "!!"}},
    ]  # fmt: skip
    write(home / "ds0" / "ann" / "a.png.json", {"size": {"height": 30, "width": 40}, "tags": [], "objects": objects})
    found, boxes, result = take(tmp_path, home)
    assert_found(found, ("cow", COW & ~np.array(hole)), ("dog", DOG))
    assert boxes == [("dog", (20, 12, 18, 14))]
    assert result.skipped == ("ds0/img/a.png, object 4: its mask is no PNG that can be read",)
    assert "tags of 1 object" in result.warnings[0]
    assert "point without an area" in result.warnings[0]


@pytest.mark.parametrize("project", [True, False], ids=["project", "annotations"])
def test_via(tmp_path: Path, project: bool) -> None:
    image(tmp_path / "images" / "a.png")
    regions = [
        {"shape_attributes": {"name": "polygon", "all_points_x": OUTLINE[::2], "all_points_y": OUTLINE[1::2]},
         "region_attributes": {"kind": "x", "Class": "cow"}},
        {"shape_attributes": {"name": "rect", "x": 20, "y": 12, "width": 18, "height": 14},
         "region_attributes": {"Class": {"dog": True, "cat": False}}},
        {"shape_attributes": {"name": "point", "cx": 1, "cy": 1}, "region_attributes": {"Class": "dog"}},
        {"shape_attributes": {"name": "circle", "cx": 10, "cy": 20, "r": 4}, "region_attributes": {"Class": ""}},
    ]  # fmt: skip
    entries = {"a.png123": {"filename": "a.png", "size": 123, "regions": regions, "file_attributes": {"night": "yes"}}}
    if not project:
        # version 1
        entries["a.png123"]["regions"] = {str(number): one for number, one in enumerate(regions)}
    file = write(tmp_path / "via.json", {"_via_img_metadata": entries, "_via_settings": {}} if project else entries)
    found, boxes, result = take(tmp_path, file)
    assert_found(found, ("cow", COW))
    assert boxes == [("dog", (20, 12, 18, 14))]
    assert result.skipped == ("a.png, region 3: its attribute Class, which holds the class, is empty",)
    assert "attribute kind of 1 region" in result.warnings[0]
    for region in regions:
        region["region_attributes"] = {"kind": "x", "sort": "y"}
    with pytest.raises(BadCoco, match="attributes kind, sort, and none is called class"):
        imported(tmp_path / "two", write(file, entries if project else {"a": entries["a.png123"]}))


def test_coco_panoptic(tmp_path: Path) -> None:
    """Segments in a folder beside the file; one is not in the PNG, one PNG is missing."""
    image(tmp_path / "val2017" / "a.jpg")
    image(tmp_path / "val2017" / "b.jpg")
    colors = np.zeros((*SIZE, 3), np.uint8)
    colors[COW], colors[DOG] = (12, 61, 49), (1, 0, 0)
    folder = tmp_path / "annotations" / "panoptic_val2017"
    folder.mkdir(parents=True)
    Pillow.fromarray(colors).save(folder / "a.png")
    segments = [
        {"id": 12 + 61 * 256 + 49 * 65536, "category_id": 1, "iscrowd": 0, "bbox": [3, 2, 17, 7], "area": 119},
        {"id": "1", "category_id": "2", "iscrowd": 1, "bbox": [20, 12, 18, 14], "area": 252},
        {"id": 9, "category_id": 2, "iscrowd": 0, "bbox": [0, 0, 1, 1], "area": 1},
    ]
    data = {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 40, "height": 30},
                   {"id": 2, "file_name": "b.jpg", "width": 40, "height": 30}],
        "annotations": [{"image_id": "1", "file_name": "a.png", "segments_info": segments},
                        {"image_id": 2, "file_name": "b.png", "segments_info": []}],
        "categories": [{"id": 1, "name": "cow", "isthing": 1}, {"id": 2, "name": "dog"}],
    }  # fmt: skip
    file = write(tmp_path / "annotations" / "panoptic_val2017.json", data)
    found, _, result = take(tmp_path, file)
    assert_found(found, ("cow", COW), ("dog", DOG))
    assert result.skipped == (
        "a.png, segment 9: the PNG does not show it",
        "b.png: its PNG of segments was not found",
    )
    (folder / "a.png").unlink()
    with pytest.raises(BadCoco, match=r"panoptic file, whose masks are in PNGs such as a\.png"):
        imported(tmp_path / "none", file)


def test_an_image_folder_of_detections(tmp_path: Path) -> None:
    image(tmp_path / "set" / "train" / "a.png")
    row = {"file_name": "a.png", "objects": {"bbox": [[20, 12, 18, 14]], "categories": [3]}, "caption": "a dog"}
    write(tmp_path / "set" / "train" / "metadata.jsonl", json.dumps(row) + "\n[1]\n")
    found, boxes, result = take(tmp_path, tmp_path / "set")
    assert (found, boxes) == ([], [("3", (20, 12, 18, 14))])
    assert result.skipped == ("metadata.jsonl, line 2: it names no file",)
    assert "caption of 1 image" in result.notes[-1]


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({}, "holds no annotations in a format that is read"),
        ({"a.json": {"images": []}, "b.json": {}}, "has several files of annotations"),
        ({"data.yaml": "names: [a]\ntrain: images\n"}, "holds no images and no labels of YOLO"),
        ({"x.json": [{"image_id": 1, "category_id": 1, "score": 0.5}]}, "is a COCO list of results"),
        ({"x.json": {"images": [], "annotations": [{"image_id": 1, "caption": "a"}]}}, "is a COCO captions file"),
    ],
    ids=["nothing", "several", "yolo", "results", "captions"],
)
def test_what_cannot_be_imported_is_said_in_a_sentence(tmp_path: Path, files: dict[str, Any], sentence: str) -> None:
    (tmp_path / "set").mkdir()
    for name, content in files.items():
        write(tmp_path / "set" / name, content)
    with pytest.raises(MaskwrightError, match=sentence):
        imported(tmp_path, tmp_path / "set")
