"""What other tools write differently: read where it says one thing, otherwise named truthfully."""

from __future__ import annotations

import json
import unicodedata
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from maskwright.domain import Image
from maskwright.errors import MaskwrightError, UnsupportedImage
from maskwright.formats.labelled_folder import LabelledFolder
from maskwright.imaging.reading import read_image
from maskwright.project import Project
from maskwright.project.coco_import import ImportOptions, ImportResult
from tests.core.project.coco_import.conftest import Labels, corners, draw, write

SQUARE = [[3, 2], [20, 2], [20, 9], [3, 9]]


def take(project: Project, file: Path, **options: Any) -> ImportResult:
    return project.exchange.import_coco(file, options=ImportOptions(**options))


def said(result: ImportResult) -> str:
    return " ".join((*result.warnings, *result.skipped, *result.notes))


def held(project: Project) -> list[tuple[str, tuple[int, ...]]]:
    return [(one.category, one.mask.bbox) for one in project.annotations()]


@pytest.mark.parametrize("segmentation", [SQUARE, [SQUARE], [float(v) for pair in SQUARE for v in pair]])
def test_points_as_pairs(project: Project, labels: Labels, tmp_path: Path, segmentation: Any) -> None:
    labels["annotations"] = [{"id": 1, "image_id": 7, "category_id": 2, "segmentation": segmentation}]
    take(project, write(tmp_path, labels))
    assert held(project) == [("Zelle", (3, 2, 17, 7))]


@pytest.mark.parametrize(
    ("box", "why"),
    [
        ({"x": 3, "y": 2}, "is no list of four numbers"),
        ([3, 2, 8], "is no list of four numbers"),
        ([50, 2, 8, 8], "covers nothing of the image"),
        (None, "neither a mask nor a box"),
    ],
)
def test_why_there_is_no_box(project: Project, labels: Labels, tmp_path: Path, box: Any, why: str) -> None:
    labels["annotations"] = [{"id": 1, "image_id": 7, "category_id": 2, "bbox": box}]
    assert why in said(take(project, write(tmp_path, labels)))


def test_run_lengths_in_a_list_and_scores_as_text(project: Project, labels: Labels, tmp_path: Path) -> None:
    labels["annotations"] = labels["annotations"][:1]
    labels["annotations"][0] |= {"segmentation": [labels["annotations"][0]["segmentation"]], "score": "0.7"}
    done = take(project, write(tmp_path, labels))
    assert (done.masks, done.proposals, done.warnings, done.skipped) == (1, 1, (), ())


def test_an_archive_is_told_as_one(project: Project, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "export.zip", "w") as archive:
        archive.writestr("annotations.xml", "<annotations/>")
    with pytest.raises(MaskwrightError, match="is a zip archive"):
        take(project, tmp_path / "export.zip")


def test_sizes_as_text_are_compared(project: Project, labels: Labels, tmp_path: Path) -> None:
    labels["images"][0] |= {"width": "80", "height": "60"}
    assert "80 x 60" in said(take(project, write(tmp_path, labels)))


def test_evaluation_takes_ids_as_text(labels: Labels, tmp_path: Path) -> None:
    for row in labels["annotations"]:
        row |= {"image_id": str(row["image_id"]), "category_id": str(row["category_id"])}
    write(tmp_path, labels)
    folder = LabelledFolder.read(tmp_path / "labels")
    assert [len(image.annotations) for image in folder] == [4, 1]
    assert {row["category_id"] for image in folder for row in image.annotations} == {2, 4} == set(folder.categories)


def test_names_that_differ_in_their_unicode_form_alone_decide_nothing(
    project: Project, labels: Labels, tmp_path: Path, rng: np.random.Generator
) -> None:
    for form in ("NFC", "NFD"):
        draw(tmp_path / "labels" / "images" / unicodedata.normalize(form, "é.png"), rng)
    labels["images"][0]["file_name"] = "é.png"
    assert take(project, write(tmp_path, labels)).ambiguous == ("é.png",)


def test_a_file_of_several_pages_is_said(project: Project, labels: Labels, tmp_path: Path) -> None:
    pages = [Pillow.fromarray(np.full((30, 40), value, np.uint8)) for value in (10, 90)]
    pages[0].save(tmp_path / "stack.tif", save_all=True, append_images=pages[1:])
    labels["images"][0]["file_name"] = "stack.tif"
    write(tmp_path, labels)
    (tmp_path / "stack.tif").rename(tmp_path / "labels" / "images" / "stack.tif")
    assert "stack.tif: its file has 2 pages" in said(take(project, write(tmp_path, labels)))


# a corrected file of our own


@pytest.fixture
def ours(project: Project, labels: Labels, tmp_path: Path) -> dict[str, Any]:
    take(project, write(tmp_path, labels))
    project.export_coco(tmp_path / "ours.json")
    found: dict[str, Any] = json.loads((tmp_path / "ours.json").read_text(encoding="utf-8"))
    return found


def again(project: Project, tmp_path: Path, data: Labels, **options: Any) -> ImportResult:
    return take(project, write(tmp_path, data, "corrected.json"), **options)


def test_what_a_corrected_file_lacks_or_moved_is_said(project: Project, ours: Any, tmp_path: Path) -> None:
    gone = ours["annotations"].pop(0)
    ours["annotations"][0]["image_id"] = 3
    done = said(again(project, tmp_path, ours, update=True))
    assert "1 masks of the project are not in the file any more, and stay" in done
    assert f"if that is meant (Zelle {gone['id']})" in done
    assert "1 masks of the project are on another image in the file" in done
    assert len(project.annotations()) == 5


def test_a_corrected_mask_without_attributes_is_known_by_its_number(
    project: Project, ours: Any, tmp_path: Path
) -> None:
    for row in ours["annotations"]:
        del row["attributes"]
    ours["annotations"][2]["segmentation"] = [corners(5, 16, 25, 28)]
    # of the same number, but elsewhere: another mask
    ours["annotations"][4]["segmentation"] = [corners(30, 20, 38, 28)]
    assert again(project, tmp_path, ours).changed == 1
    done = again(project, tmp_path, ours, update=True)
    assert (done.changed, done.masks, done.known) == (1, 0, 5)
    assert ("Zelle", (5, 16, 20, 12)) in held(project)
    assert len(project.annotations()) == 6


# other formats


def file_of(folder: Path, name: str, content: Any) -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return file


def test_shapes_of_x_anylabeling(project: Project, tmp_path: Path, rng: np.random.Generator) -> None:
    draw(tmp_path / "a.png", rng)
    shapes = [
        {"label": "cow", "points": SQUARE, "shape_type": "rectangle", "difficult": True, "flags": {"x": False}},
        {
            "label": "cow",
            "points": [[3, 2], [20, 2], [22, 9], [3, 9]],
            "shape_type": "rotation",
            "attributes": {"a": 1},
        },
    ]
    data = {"shapes": shapes, "imagePath": "a.png", "imageHeight": 30, "imageWidth": 40, "note": "seen"}
    done = take(project, file_of(tmp_path, "a.json", data))
    assert (done.masks, done.boxes) == (1, 1)
    assert "difficult of 1 shape, attributes of 1 shape" in said(done)
    assert "note of 1 image" in said(done)
    assert "flags" not in said(done)
    assert "category ids" not in said(done)


def test_turned_shapes_of_cvat_are_turned(project: Project, tmp_path: Path, rng: np.random.Generator) -> None:
    draw(tmp_path / "images" / "a.png", rng)
    box = '<box label="cow" xtl="5" ytl="5" xbr="15" ybr="10" rotation="90.0"/>'
    round_ = '<ellipse label="cow" cx="20" cy="15" rx="8" ry="3" rotation="90.0"/>'
    image = f'<image id="0" name="a.png" width="40" height="30">{box}{round_}</image>'
    done = take(project, file_of(tmp_path, "annotations.xml", f"<annotations>{image}</annotations>"))
    assert "rotation" not in said(done)
    (_, turned), (_, ellipse) = held(project)
    assert np.allclose(turned, (7.5, 2.5, 5, 10), atol=1)
    assert np.allclose(ellipse, (17, 7, 6, 16), atol=1)


def test_subsets_of_cvat_are_named(project: Project, tmp_path: Path, rng: np.random.Generator) -> None:
    """Datumaro writes a file for each subset into one folder."""
    for name in ("train", "val"):
        draw(tmp_path / "images" / name / "a.png", rng)
        box = '<polygon label="cow" points="3,2;20,2;20,9;3,9"/>'
        image = f'<image id="0" name="a.png" width="40" height="30">{box}</image>'
        file_of(tmp_path, f"{name}.xml", f"<annotations>{image}</annotations>")
    with pytest.raises(MaskwrightError, match=r"several files of annotations \(train.xml, val.xml\)"):
        take(project, tmp_path)
    # its own picture, although the other one has the same name
    assert (take(project, tmp_path / "val.xml").masks, project.images.all()[0].file_name) == (1, "images/a.png")
    assert project.images.open(1).sha256 == Image.open(tmp_path / "images" / "val" / "a.png").sha256


def test_turned_boxes_and_attributes_of_voc(project: Project, tmp_path: Path, rng: np.random.Generator) -> None:
    draw(tmp_path / "a.png", rng)
    attributes = "<attributes><attribute><name>rotation</name><value>30.0</value></attribute></attributes>"
    plain = f"<object><name>cow</name><bndbox><xmin>4</xmin><ymin>3</ymin><xmax>20</xmax><ymax>9</ymax></bndbox>{attributes}<actions>1</actions></object>"  # noqa: E501 - a row of a file
    turned = "<object><name>cow</name><robndbox><cx>10</cx><cy>10</cy><w>8</w><h>6</h><angle>1.5707963</angle></robndbox></object>"  # noqa: E501 - a row of a file
    size = "<size><width>40</width><height>30</height></size>"
    file = file_of(tmp_path, "a.xml", f"<annotation><filename>a.png</filename>{size}{plain}{turned}</annotation>")
    done = take(project, file)
    assert "attribute rotation of 1 object, actions of 1 object" in said(done)
    assert held(project) == [("cow", (7, 6, 6, 8))]


def test_yolo_labels_of_two_images_and_coordinates_that_are_no_fractions(
    project: Project, tmp_path: Path, rng: np.random.Generator
) -> None:
    for name in ("a.png", "a.bmp", "b.png"):
        draw(tmp_path / "images" / name, rng)
    file_of(tmp_path, "classes.txt", "cow\n")
    file_of(tmp_path, "labels/a.txt", "0 .5 .5 .2 .2\n")
    file_of(tmp_path, "labels/b.txt", "0 .5 .5 .2 .2\n0 .5 .5 .2 .2 .4 .4 2 .6 .6 2\n")
    done = take(project, tmp_path)
    assert (done.boxes, len(done.skipped)) == (1, 3)
    assert "images/a.bmp: another image has the same labels a.txt" in said(done)
    assert "labels/b.txt, line 2: its coordinates are no fractions" in said(done)


def test_yolo_images_outside_its_folder(project: Project, tmp_path: Path, rng: np.random.Generator) -> None:
    draw(tmp_path / "set" / "images" / "a.png", rng)
    file = file_of(tmp_path, "settings/data.yaml", "path: ../set\ntrain: images\nval: images\nnames: [cow]\n")
    with pytest.raises(MaskwrightError, match=r"outside its folder. Put it into .*set"):
        take(project, file)


def test_data_sets_in_data_sets_of_supervisely(project: Project, tmp_path: Path, rng: np.random.Generator) -> None:
    figure = {"classTitle": "cow", "geometryType": "polygon", "points": {"exterior": SQUARE, "interior": []}}
    for home in ("one", "one/datasets/two"):
        draw(tmp_path / home / "img" / "a.png", rng)
        objects = [figure | {"description": "calf"}]
        file_of(tmp_path, f"{home}/ann/a.png.json", {"size": {"height": 30, "width": 40}, "objects": objects})
    file_of(tmp_path, "meta.json", {"classes": [{"title": "cow"}]})
    done = take(project, tmp_path)
    assert (done.images, done.masks) == (2, 2)
    assert "description of 2 objects" in said(done)


def test_an_image_folder_with_a_mapping_for_each_object(
    project: Project, tmp_path: Path, rng: np.random.Generator
) -> None:
    draw(tmp_path / "a.png", rng)
    row = {"file_name": "a.png", "objects": [{"bbox": [3, 2, 17, 7], "category": "cow"}]}
    file_of(tmp_path, "metadata.jsonl", json.dumps(row))
    assert take(project, tmp_path).boxes == 1


@pytest.mark.parametrize(
    ("start", "words"),
    [(b"\0\0\0\x18ftypheic", "adds HEIC"), (b"GIF89a", "not supported"), (b"%PDF-1.4", "not supported")],
)
def test_a_file_under_another_ending_is_told_by_its_content(start: bytes, words: str) -> None:
    with pytest.raises(UnsupportedImage, match=words):
        read_image(start + bytes(40), "photo.jpg")
