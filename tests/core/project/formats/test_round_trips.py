"""Every format goes out and comes back, bit by bit where it can say so; what it cannot say is in the notes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image as Pillow
from pycocotools import mask as coco_mask
from skimage.draw import polygon2mask

from maskwright.domain import Mask
from maskwright.formats.coco_writer import CocoOptions
from maskwright.formats.contours import bridged_rings
from maskwright.project import Project
from maskwright.project.export_formats import FORMATS, ExportOptions
from maskwright.project.splitting import SplitOptions
from tests.core.project.formats.conftest import SIZE, add_group, imported, masks, ring

EXACT = ("coco", "labelme", "cvat", "voc", "panoptic", "datasets")
FOLDERS = [name for name, form in FORMATS.items() if form.is_folder]


def target(tmp_path: Path, name: str) -> Path:
    return tmp_path / name if FORMATS[name].is_folder else tmp_path / name / "file.json"


@pytest.mark.parametrize("split", [None, SplitOptions(0.5)], ids=["whole", "split"])
@pytest.mark.parametrize("name", EXACT)
def test_what_goes_out_exactly_comes_back_exactly(
    project: Project, tmp_path: Path, name: str, split: SplitOptions | None
) -> None:
    out = target(tmp_path, name)
    done = project.exchange.export(out, name, options=ExportOptions(split=split), images=True)
    assert (done.images, done.masks) == (2, 4)
    if name == "cvat":
        out = out / "annotations.xml"
    files = sorted((out / "annotations").glob("*.json")) if name == "panoptic" else [out]
    assert len(files) == (2 if name == "panoptic" and split else 1)
    other, result = imported(tmp_path, files[0])
    with other:
        # a file for each subset
        results = [result, *(other.exchange.import_coco(file) for file in files[1:])]
        assert all((one.skipped, one.missing, one.ambiguous) == ((), (), ()) for one in results)
        ours, theirs = masks(project), masks(other)
        if name == "datasets":
            # a name with "train" in it would be taken for a split
            assert "image-2.png" in theirs
            ours["image-2.png"] = ours.pop("b.png")
        assert theirs == ours


@pytest.mark.parametrize("name", ["labelme", "cvat"])
def test_polygons_and_masks_where_a_polygon_cannot_say_it(project: Project, tmp_path: Path, name: str) -> None:
    options = ExportOptions(CocoOptions(segmentation="polygon"))
    project.exchange.export(tmp_path / name, name, options=options)
    text = "".join(file.read_text(encoding="utf-8") for file in (tmp_path / name).rglob("*.*ml")) + "".join(
        file.read_text(encoding="utf-8") for file in (tmp_path / name).rglob("*.json")
    )
    # two blocks are polygons; a hole and two parts are masks
    assert (text.count("<polygon ") or text.count('"shape_type":"polygon"')) == 2
    other, _ = imported(tmp_path, tmp_path / name)
    with other:
        assert masks(other) == masks(project)


@pytest.mark.parametrize("split", [None, SplitOptions(0.5)], ids=["whole", "split"])
def test_yolo_is_found_where_readers_look_and_keeps_holes(
    project: Project, tmp_path: Path, split: SplitOptions | None
) -> None:
    add_group(project)
    done = project.exchange.export(tmp_path / "out", "yolo", options=ExportOptions(split=split))
    assert done.masks == 4
    assert "1 masks mark groups and were left out." in done.notes
    assert "1 masks of several parts became several outlines." in done.notes
    data = yaml.safe_load((tmp_path / "out" / "data.yaml").read_text(encoding="utf-8"))
    assert data["names"] == ["Kuh 🐄", '<grass> & "sky"', "crowd"]
    assert "path" not in data
    images = sorted(file for file in (tmp_path / "out").rglob("*.png"))
    assert {f"images/{file.parent.name}" for file in images} <= {data["train"], data["val"]}
    assert all((tmp_path / "out" / data[key]).is_dir() for key in ("train", "val"))
    for image in images:
        before, after = str(image).rsplit("/images/", 1)
        assert Path(f"{before}/labels/{after}").with_suffix(".txt").read_text()
    other, result = imported(tmp_path, tmp_path / "out")
    with other:
        assert (result.masks, result.skipped) == (5, ())
        ours = {bits for rows in masks(project).values() for _, bits in rows}
        theirs = {bits for rows in masks(other).values() for _, bits in rows}
        # all but the mask of two parts, which are two, and the group
        assert len(theirs & ours) == 3
        assert ring().tobytes() in theirs


@pytest.mark.parametrize("seed", range(20))
def test_a_bridge_keeps_every_hole(seed: int) -> None:
    rng = np.random.default_rng(seed)
    small = rng.random((7, 9)) > 0.35
    mask = np.kron(small, np.ones((3, 3), bool))
    if not mask.any():
        return
    rings = bridged_rings(Mask.from_array(mask))
    area = sum(
        (x0 * y1 - x1 * y0) / 2
        for ring_ in rings
        for (x0, y0), (x1, y1) in zip(
            np.reshape(ring_, (-1, 2)), np.roll(np.reshape(ring_, (-1, 2)), -1, axis=0), strict=True
        )
    )
    assert area == mask.sum()
    packed = coco_mask.frPyObjects([list(ring_) for ring_ in rings], *mask.shape)
    assert np.array_equal(coco_mask.decode(coco_mask.merge(packed)).astype(bool), mask)
    # another reader, by crossings at pixel centres
    drawn = np.zeros(mask.shape, bool)
    for ring_ in rings:
        drawn |= polygon2mask(mask.shape, np.reshape(ring_, (-1, 2))[:, ::-1] - 0.5)
    assert (drawn ^ mask).sum() <= 0.01 * mask.sum()


def test_label_images_come_back_by_class(project: Project, tmp_path: Path) -> None:
    project.exchange.export(tmp_path / "out", "masks")
    project.exchange.copy_images(tmp_path / "out")
    other, result = imported(tmp_path, tmp_path / "out")
    with other:
        assert (result.masks, result.skipped) == (3, ())
        both = np.zeros(SIZE, bool)
        for one in project.annotations(1):
            both |= one.mask.to_array() & (one.category == "Kuh 🐄")
        assert both.tobytes() in {bits for _, bits in masks(other)["a 草.png"]}


def test_what_overlaps_is_said(project: Project, tmp_path: Path) -> None:
    image = project.images.all()[1].id
    whole = np.ones(SIZE, bool)
    project.accept(image, whole, "sky")
    project.accept(image, whole, "cloud")
    for name, sentence in (("voc", "1 masks are covered by smaller ones and have a box alone."),
                           ("panoptic", "1 masks are covered by smaller ones and were left out."),
                           ("masks", "2 masks are covered in part by smaller ones and lose that part.")):  # fmt: skip
        done = project.exchange.export(tmp_path / name, name)
        assert sentence in done.notes
        assert done.masks == (6 if name == "masks" else 5)


def test_names_that_a_line_cannot_hold_stay_apart_and_are_said(project: Project, tmp_path: Path) -> None:
    image = project.images.all()[1].id
    names = ("a:b", "a;b", "background", "# hash")
    for place, name in enumerate(names):
        mask = np.zeros(SIZE, bool)
        mask[place, place : place + 3] = True
        project.accept(image, mask, name)
    done = project.exchange.export(tmp_path / "voc", "voc")
    assert "3 masks have a class whose name the format cannot hold and was changed." in done.notes
    with Project.open(tmp_path / "back", create=True) as back:
        back.exchange.import_coco(tmp_path / "voc")
        assert len({one.category for one in back.annotations()} & {"a;b", "hash"}) == 2
        assert len(back.annotations()) == len(project.annotations())


def test_a_split_is_written_into_every_export_and_leaks_nothing(project: Project, tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    for number in range(4):
        pixels = rng.integers(0, 255, (8, 10, 3), dtype=np.uint8).repeat(8, axis=0).repeat(8, axis=1)
        # a second copy that differs in a few values is a near-duplicate; clips have frames
        for copy in range(2):
            pixels[0, 0, 0] = copy
            file = tmp_path / "more" / f"{number}-{copy}.png"
            file.parent.mkdir(exist_ok=True)
            Pillow.fromarray(pixels).save(file)
        clip = project.folder / "images" / f"clip{number}"
        clip.mkdir()
        for frame in range(3):
            noise = rng.integers(0, 255, (8, 10, 3), dtype=np.uint8).repeat(8, axis=0).repeat(8, axis=1)
            Pillow.fromarray(noise).save(clip / f"frame_{frame:04}.png")
    project.add(tmp_path / "more")
    project.add(project.folder / "images")
    options = ExportOptions(split=SplitOptions(0.3, 0.2, subject=r"images/(\d)-"))
    splits = []
    for name, form in FORMATS.items():
        if name == "predictions":
            continue
        out = target(tmp_path / "out", name)
        done = project.exchange.export(out, name, options=options)
        assert done.notes[0].startswith("Split: ")
        beside = out / "split.json" if form.is_folder else out.with_name("file.split.json")
        splits.append(json.loads(beside.read_text(encoding="utf-8")))
    assert all(split == splits[0] for split in splits)
    subset = {name: subset for subset, names in splits[0].items() for name in names}
    assert set(subset.values()) == {"train", "val", "test"}
    assert len(subset) == 22
    for number in range(4):
        assert subset[f"images/{number}-0.png"] == subset[f"images/{number}-1.png"]
        assert len({subset[f"images/clip{number}/frame_{frame:04}.png"] for frame in range(3)}) == 1
    rows = json.loads((tmp_path / "out" / "coco" / "file.json").read_text(encoding="utf-8"))["images"]
    assert {row["file_name"]: row["split"] for row in rows} == subset
    lines = (tmp_path / "out" / "voc" / "ImageSets" / "Segmentation" / "val.txt").read_text().split()
    assert len(lines) == len(splits[0]["val"])
    assert 'subset="val"' in (tmp_path / "out" / "cvat" / "annotations.xml").read_text(encoding="utf-8")
