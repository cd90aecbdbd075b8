"""YOLO, `datasets`, label maps and lists of results, read back as their readers do."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as Pillow
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from maskwright.domain import Category, ImageRecord, Mask
from maskwright.errors import MaskwrightError
from maskwright.formats.coco_writer import prediction_text
from maskwright.formats.index_png import write_index_masks
from maskwright.project import Project
from maskwright.store import NewAnnotation
from tests.core.formats.conftest import Data, annotation

SIZE = (29, 43)


def blob(rng: np.random.Generator) -> NDArray[np.bool_]:
    """A mask without holes, in one part: rows that overlap."""
    mask = np.zeros(SIZE, bool)
    top, left, right = int(rng.integers(0, 20)), 10, 30
    for row in range(top, min(top + int(rng.integers(1, 9)), SIZE[0])):
        left, right = max(0, left + int(rng.integers(-4, 5))), min(SIZE[1], right + int(rng.integers(-4, 5)))
        left, right = min(left, 19), max(right, 21)
        mask[row, left:right] = True
    return mask


@pytest.fixture
def project(tmp_path: Path, rng: np.random.Generator) -> Iterator[Project]:
    """Two pictures of one stem, one of them turned, a third in a folder without masks, a fourth whose file is gone."""
    with Project.open(tmp_path / "project", create=True) as project:
        exif = Pillow.Exif()
        exif[0x0112] = 8
        files: tuple[tuple[str, tuple[int, ...], dict[str, Any]], ...] = (
            ("cow.jpg", SIZE[::-1], {"exif": exif.tobytes()}),
            ("cow.png", SIZE, {}),
            ("sub/空 1.png", SIZE, {}),
            ("gone.png", SIZE, {}),
        )
        for name, size, options in files:
            file = project.folder / "images" / name
            file.parent.mkdir(exist_ok=True)
            Pillow.fromarray(rng.integers(0, 255, (*size, 3), dtype=np.uint8)).save(file, **options)
        project.add(project.folder / "images")
        project.store.categories.add("never used")
        ids = {one.file_name: one.id for one in project.images.all()}
        for name in ("images/cow.jpg", "images/cow.png"):
            for kind in ("label", "草: 'x'\n", "label"):
                project.accept(ids[name], blob(rng), kind)
        two = np.zeros(SIZE, bool)
        two[0:4, 0:4] = two[20:25, 30:40] = True
        ring = np.zeros(SIZE, bool)
        ring[10:20, 10:20] = True
        ring[13:16, 13:16] = False
        for mask in (two, ring):
            project.accept(ids["images/gone.png"], mask, "label")
        group = Mask.from_array(np.ones(SIZE, bool))
        project.store.masks.add_many([NewAnnotation(ids["images/cow.png"], "crowd", group, crowd=True)])
        (project.folder / "images" / "gone.png").unlink()
        yield project


def test_yolo_lines_give_back_the_masks(project: Project, tmp_path: Path) -> None:
    done = project.exchange.export(tmp_path / "yolo", "yolo")
    assert (done.images, done.masks) == (4, 8)
    assert set(done.notes) == {
        "1 masks of several parts became several outlines.",
        "1 masks mark groups and were left out.",
        "1 images are missing and were not copied: images/gone.png.",
        "All images are listed for training and for validation; --split 0.2 sets some apart.",
    }
    head, names = (tmp_path / "yolo" / "data.yaml").read_text(encoding="utf-8").split("names: ")
    assert head == "train: images/train\nval: images/train\nnc: 3\n"
    by_number = dict(enumerate(json.loads(names)))
    assert list(by_number.values()) == ["label", "草: 'x'", "crowd"]
    # two pictures of one stem would share one file of labels
    labels = sorted(str(file.relative_to(tmp_path / "yolo")) for file in (tmp_path / "yolo" / "labels").rglob("*.txt"))
    assert labels == [f"labels/train/{name}.txt" for name in ("cow-2", "cow", "gone", "sub_空 1")]
    pictures = sorted(str(file.relative_to(tmp_path / "yolo")) for file in (tmp_path / "yolo" / "images").rglob("*.*"))
    assert pictures == [f"images/train/{name}" for name in ("cow-2.png", "cow.jpg", "sub_空 1.png")]
    assert (tmp_path / "yolo" / "labels" / "train" / "sub_空 1.txt").read_text() == ""
    ids = {one.file_name: one.id for one in project.images.all()}
    for stem, name in (("cow", "images/cow.jpg"), ("cow-2", "images/cow.png")):
        with Pillow.open(next((tmp_path / "yolo" / "images" / "train").glob(f"{stem}.*"))) as picture:
            assert picture.size == SIZE[::-1]
        ours = [one for one in project.annotations(ids[name]) if not one.crowd]
        lines = (tmp_path / "yolo" / "labels" / "train" / f"{stem}.txt").read_text().splitlines()
        assert len(lines) == len(ours) == 3
        for line, one in zip(lines, ours, strict=True):
            number, *values = line.split()
            assert by_number[int(number)] == one.category
            points = np.array(values, float).reshape(-1, 2) * SIZE[::-1]
            assert ((points >= 0) & (points <= SIZE[::-1])).all()
            drawn = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects([points.ravel().tolist()], *SIZE)))
            assert np.array_equal(drawn.astype(bool), one.mask.to_array())


def test_an_object_of_two_parts_is_two_lines_and_a_hole_is_kept(project: Project, tmp_path: Path) -> None:
    project.exchange.export(tmp_path / "yolo", "yolo")
    lines = (tmp_path / "yolo" / "labels" / "train" / "gone.txt").read_text().splitlines()
    areas = []
    for line in lines:
        points = np.array(line.split()[1:], float).reshape(-1, 2) * SIZE[::-1]
        areas.append(int(coco_mask.area(coco_mask.frPyObjects([points.ravel().tolist()], *SIZE))[0]))
    assert areas == [16, 50, 91]


def test_the_folder_that_datasets_reads(project: Project, tmp_path: Path) -> None:
    done = project.exchange.export(tmp_path / "set", "datasets")
    assert (done.images, done.masks) == (4, 9)
    text = (tmp_path / "set" / "metadata.jsonl").read_text(encoding="utf-8")
    rows = [json.loads(line) for line in text.splitlines()]
    assert [row["file_name"] for row in rows] == [
        "images/cow.jpg", "images/cow-2.png", "images/gone.png", "images/sub/空 1.png"
    ]  # fmt: skip
    for row, record in zip(rows, project.images.all(), strict=True):
        kept = project.annotations(record.id)
        assert (row["image_id"], row["width"], row["height"]) == (record.id, record.width, record.height)
        objects: dict[str, list[Any]] = row["objects"]
        assert {len(values) for values in objects.values()} == {len(kept)}
        for number, one in enumerate(kept):
            told = {key: values[number] for key, values in objects.items()}
            assert np.array_equal(coco_mask.decode(told["segmentation"]).astype(bool), one.mask.to_array())
            assert (told["id"], told["category"], told["iscrowd"]) == (one.id, one.category, one.crowd)
            assert (told["area"], told["bbox"]) == (one.mask.area, list(one.mask.bbox))
        if "gone" not in row["file_name"]:
            with Pillow.open(tmp_path / "set" / row["file_name"]) as picture:
                assert picture.size == (record.width, record.height)


def test_images_of_class_numbers(project: Project, tmp_path: Path) -> None:
    project.exchange.export(tmp_path / "index", "masks")
    classes = json.loads((tmp_path / "index" / "classes.json").read_text(encoding="utf-8"))
    numbers = {one["name"]: int(number) for number, one in classes.items()}
    assert list(numbers) == ["label", "草: 'x'", "crowd"]
    files = sorted(str(file.relative_to(tmp_path / "index")) for file in (tmp_path / "index").rglob("*.png"))
    # neither of two pictures of one stem is lost
    assert files == ["masks/cow-2.png", "masks/cow.png", "masks/gone.png", "masks/sub/空 1.png"]
    for name, record in zip(("cow", "cow-2", "gone", "sub/空 1"), project.images.all(), strict=True):
        expected = np.zeros(SIZE, int)
        for one in sorted(project.annotations(record.id), key=lambda one: -one.mask.area):
            if not one.crowd:
                expected[one.mask.to_array()] = numbers[one.category]
        with Pillow.open(tmp_path / "index" / "masks" / f"{name}.png") as picture:
            assert picture.mode == "P"
            assert np.array_equal(np.asarray(picture), expected)
            colours = np.asarray(picture.convert("RGB")).reshape(-1, 3)
        hexes = {number: f"#{red:02x}{green:02x}{blue:02x}" for number, (red, green, blue)
                 in zip(expected.ravel().tolist(), colours.tolist(), strict=True)}  # fmt: skip
        assert hexes == {n: classes[str(n)]["color"] if n else "#000000" for n in np.unique(expected).tolist()}


def test_more_classes_than_a_byte_holds(tmp_path: Path) -> None:
    kinds = tuple(Category(n, f"c{n}", "#0072b2") for n in range(1, 301))
    masks = []
    for n in range(1, 301):
        pixels = np.zeros((20, 20), bool)
        pixels[divmod(n, 20)] = True
        masks.append(annotation(n, mask=Mask.from_array(pixels), category_id=n, category=f"c{n}"))
    record = ImageRecord(3, "3" * 64, "images/a.b.jpg", 20, 20, 1, "")
    write_index_masks(Data((record,), kinds, tuple(masks)), tmp_path)
    with Pillow.open(tmp_path / "masks" / "a.b.png") as picture:
        found = np.asarray(picture)
    assert found.dtype == np.uint16
    assert found.ravel()[1:301].tolist() == list(range(1, 301))


def test_results_load_beside_the_truth(project: Project, tmp_path: Path) -> None:
    record = project.images.all()[1]
    mask = blob(np.random.default_rng(5))
    drafts = [
        NewAnnotation(record.id, "label", Mask.from_array(mask, score=score), "text", {}, "b", "proposed")
        for score in (0.25, 1.0004, None)
    ]
    kept = project.store.predictions.add(record.id, drafts, "label", "b")
    truth = project.export_coco(tmp_path / "truth.json")
    results = project.exchange.export(tmp_path / "results.json", "predictions", states=("proposed",))
    assert results.masks == 3
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(truth))
        loaded = coco.loadRes(str(results.file))
    rows = loaded.loadAnns(loaded.getAnnIds())
    assert [row["score"] for row in rows] == [0.25, 1.0, 1.0]
    for row, one in zip(rows, kept, strict=True):
        assert np.array_equal(loaded.annToMask(row).astype(bool), mask)
        assert (row["image_id"], row["category_id"], row["area"]) == (one.image_id, one.category_id, mask.sum())
        assert list(row["bbox"]) == list(one.mask.bbox)


def test_an_empty_list_of_results() -> None:
    assert "".join(prediction_text(Data((), (), ()))) == "[]\n"


def test_the_projects_own_images_are_never_overwritten(project: Project) -> None:
    for form in ("yolo", "datasets"):
        with pytest.raises(MaskwrightError, match="own images"):
            project.exchange.export(project.folder, form)
    with pytest.raises(MaskwrightError, match="own images"):
        project.exchange.export(project.folder / "coco.json", images=True)
