"""Few-shot benchmarks: episodes are those of a plain reading of the released rules, with numpy's own global draws."""

# ruff: noqa: NPY002 - the released code draws with the legacy generator

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as Pillow

from maskwright.domain import Image, rle
from maskwright.errors import MaskwrightError
from maskwright.formats.benchmarks.episodes import EPISODES, Draw, Episode, MaskedImage
from maskwright.formats.benchmarks.points import read_pairs
from tests.core.formats.benchmarks.fakes import SIZE, photograph

Masks = dict[str, NDArray[np.bool_]]


def _pictures(folder: Path, names: list[str]) -> Masks:
    """Pictures with a box each."""
    masks = {}
    for number, name in enumerate(names):
        photograph(folder / name, number)
        mask = np.zeros(SIZE, bool)
        mask[5 + number : 15 + number, 4 : 20 + 2 * number] = True
        masks[name] = mask
    return masks


def _png(file: Path, values: NDArray[Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Pillow.fromarray(values).save(file)


def _choose(pool: Any) -> Any:
    return np.random.choice(pool, 1, replace=False)[0]


def _others(pool: Any, target: Any, shots: int) -> list[Any]:
    drawn: list[Any] = []
    while len(drawn) < shots:
        other = _choose(pool)
        if other != target:
            drawn.append(other)
    return drawn


def _check(shown: MaskedImage, file: Path, mask: NDArray[np.bool_]) -> None:
    assert shown.image.sha256 == Image.open(file).sha256
    assert np.array_equal(shown.mask, mask)


def _first(name: str, folder: Path, draw: Draw, count: int) -> tuple[list[str], int, list[Episode]]:
    names, total, episodes = EPISODES[name].episodes(folder, draw)
    return names, total, [next(episodes) for _ in range(count)]


def test_coco(tmp_path: Path) -> None:
    root = tmp_path / "COCO2014"
    names = [f"val2014/COCO_val2014_00000000000{n}.jpg" for n in range(3)]
    masks = _pictures(root, names)
    for number, (name, mask) in enumerate(masks.items()):
        # every class of fold 1 in a strip of its own
        values = np.zeros(SIZE, np.uint8)
        for k in range(20):
            values[:, k] = 1 + 4 * k + 1
        values[mask & (np.indices(SIZE)[1] == number)] = 0
        _png(root / "annotations" / name.replace(".jpg", ".png"), values)
    by_class = {k: names if k % 4 == 1 else [] for k in range(80)}
    (root / "splits" / "val").mkdir(parents=True)
    (root / "splits" / "val" / "fold1.pkl").write_bytes(pickle.dumps(by_class))
    listed, total, episodes = _first("coco-20i", tmp_path, Draw(1, 2, seed=3), 12)
    assert (len(listed), total, listed[0], listed[19]) == (20, 1000, "bicycle", "teddy bear")
    np.random.seed(3)
    for episode in episodes:
        label = _choose([1 + 4 * v for v in range(20)])
        target = _choose(names)
        references = _others(names, target, 2)
        assert episode.label == (label - 1) // 4
        for shown, name in zip((episode.target, *episode.references), (target, *references), strict=True):
            values = np.asarray(Pillow.open(root / "annotations" / name.replace(".jpg", ".png")))
            _check(shown, root / name, values == label + 1)


def test_lvis(tmp_path: Path) -> None:
    root = tmp_path / "LVIS"
    names = [f"val2017/00000000000{n}.jpg" for n in range(3)]
    masks = _pictures(root / "coco", names)
    polygon = [[2.0, 3.0, 12.0, 3.0, 12.0, 9.0, 2.0, 9.0]]
    box = np.zeros(SIZE, bool)
    box[3:9, 2:12] = True
    entry = {
        name: {"annotations": [{"segmentation": polygon}, {"segmentation": dict(rle.encode(mask))}]}
        for name, mask in masks.items()
    }
    # 21 classes with enough pictures, and one with a single one
    data = {100 + k: entry if k != 4 else {names[0]: entry[names[0]]} for k in range(22)}
    (root / "lvis_val.pkl").write_bytes(pickle.dumps(data))
    listed, total, episodes = _first("lvis-92i", tmp_path, Draw(fold=4), 5)
    usable = [100 + k for k in range(22) if k != 4]
    assert (listed, total) == ([str(usable[4]), str(usable[14])], 2300)
    np.random.seed(0)
    for number, episode in enumerate(episodes):
        assert episode.label == number % 2
        target = _choose(names)
        (reference,) = _others(names, target, 1)
        _check(episode.target, root / "coco" / target, masks[target] | box)
        _check(episode.references[0], root / "coco" / reference, masks[reference] | box)


def test_parts_are_cropped_to_one_object(tmp_path: Path) -> None:
    root = tmp_path / "Pascal-Part" / "VOCdevkit" / "VOC2010"
    names = [f"2008_00000{n}" for n in range(3)]
    masks = _pictures(root / "JPEGImages", [f"{name}.jpg" for name in names])
    head = {"part": {"head": {"train": ["x"], "val": names}, "TAIL": {"train": [], "val": names}}}
    listed = {fold: {"object": {}} for fold in ("animals", "indoor", "person")}
    listed["vehicles"] = {"object": {"car": head, "aeroplane": {"part": {"TAIL": {"train": ["x"], "val": names}}}}}
    (root / "all_obj_part_to_image.json").write_text(json.dumps(listed))
    place = root / "Annotations_Part_json_merged_part_classes"
    place.mkdir()
    for name in names:
        part = {"name": "head", "mask": [dict(rle.encode(masks[f"{name}.jpg"]))]}
        box = {"xmin": "3", "ymin": "4", "xmax": "28", "ymax": "22"}
        objects = [
            {"name": "car", "bndbox": {**box, "xmin": "0"}, "parts": []},
            {"name": "car", "bndbox": box, "parts": [part]},
            {"name": "cow", "bndbox": box, "parts": [part]},
        ]
        (place / f"{name}.json").write_text(json.dumps({"object": objects}))
    classes, total, episodes = _first("pascal-part", tmp_path, Draw(fold=3, shots=2), 4)
    assert (classes, total) == (["car head"], 9)
    np.random.seed(0)

    def draw(used: list[str]) -> str:
        """A picture whose drawn car, of two, shows a head."""
        while True:
            name = str(_choose(names))
            if name in used:
                continue
            if np.random.choice([0, 1], 1, replace=False)[0] == 1:
                return name

    for episode in episodes:
        used: list[str] = []
        for shown in (episode.target, *episode.references):
            used.append(draw(used))
            pixels = np.asarray(Pillow.open(root / "JPEGImages" / f"{used[-1]}.jpg"))
            assert np.array_equal(shown.image.pixels, pixels[4:22, 3:28])
            assert np.array_equal(shown.mask, masks[f"{used[-1]}.jpg"][4:22, 3:28])


def test_paco_parts(tmp_path: Path) -> None:
    root = tmp_path / "PACO-Part"
    names = [f"val2017/00000000000{n}.jpg" for n in range(3)]
    masks = _pictures(root / "coco", names)
    rows = [{n: f"some/where/{name}"} for n, name in enumerate(names)]
    annotations = {
        n: [{"category_id": 7, "obj_ann_id": 70 + n, "obj_bbox": [3.9, 4.2, 20.0, 17.0],
             "segmentation": dict(rle.encode(masks[name]))}]
        for n, name in enumerate(names)
    }  # fmt: skip
    (root / "paco").mkdir()
    # a picture listed twice counts once; classes are those of the training file
    data = {"cid2img": {7: [rows[0], rows[1], rows[0], rows[2]], 8: rows[:1]}, "img2anno": annotations}
    (root / "paco" / "paco_part_val.pkl").write_bytes(pickle.dumps(data))
    (root / "paco" / "paco_part_train.pkl").write_bytes(pickle.dumps({"cid2img": {5: [], 6: [], 7: [], 8: []}}))
    classes, total, episodes = _first("paco-part", tmp_path, Draw(fold=2), 4)
    assert (classes, total) == (["7"], 2500)
    np.random.seed(0)
    for episode in episodes:
        _choose([7])
        target = int(np.random.choice(3, 1, replace=False)[0])
        _choose([0])
        while True:
            reference = int(np.random.choice(3, 1, replace=False)[0])
            if reference != target:
                break
        _choose([0])
        for shown, number in ((episode.target, target), (episode.references[0], reference)):
            assert np.array_equal(shown.mask, masks[names[number]][4:21, 3:23])


def _in_turn(
    episodes: list[Episode], pools: list[list[str]], image: Callable[[str], Path], mask: Callable[[str], Any]
) -> None:
    np.random.seed(0)
    for number, episode in enumerate(episodes):
        pool = pools[number % len(pools)]
        target = _choose(pool)
        (reference,) = _others(pool, target, 1)
        assert episode.label == number % len(pools)
        _check(episode.target, image(target), mask(target))
        _check(episode.references[0], image(reference), mask(reference))


def test_isic(tmp_path: Path) -> None:
    root = tmp_path / "ISIC"
    names = [f"ISIC_000000{n}" for n in range(9)]
    inputs = root / "ISIC2018_Task1-2_Training_Input"
    files = {name: inputs / str(n // 3 + 1) / f"{name}.jpg" for n, name in enumerate(names)}
    masks = {}
    for name, file in files.items():
        masks[name] = _pictures(file.parent, [file.name])[file.name]
        values = np.where(masks[name], 200, 90).astype(np.uint8)
        _png(root / "ISIC2018_Task1_Training_GroundTruth" / f"{name}_segmentation.png", values)
    classes, total, episodes = _first("isic", tmp_path, Draw(), 6)
    assert (classes, total) == (["1", "2", "3"], 600)
    _in_turn(episodes, [names[:3], names[3:6], names[6:]], files.__getitem__, masks.__getitem__)


def test_lung(tmp_path: Path) -> None:
    root = tmp_path / "LungSegmentation"
    pictures = ["CHNCXR_0001_0.png", "CHNCXR_0002_1.png", "MCUCXR_0001_0.png"]
    masks = _pictures(root / "CXR_png", pictures)
    by_mask = {name if "MCU" in name else name.replace(".png", "_mask.png"): name for name in pictures}
    for mask, name in by_mask.items():
        _png(root / "masks" / mask, np.where(masks[name], 255, 0).astype(np.uint8))
    _, total, episodes = _first("lung", tmp_path, Draw(), 5)
    assert total == 600
    _in_turn(
        episodes, [sorted(by_mask)], lambda name: root / "CXR_png" / by_mask[name], lambda name: masks[by_mask[name]]
    )


def test_suim(tmp_path: Path) -> None:
    root = tmp_path / "SUIM"
    names = ["d_r_1_", "d_r_2_", "f_r_3_"]
    masks = _pictures(root / "images", [f"{name}.jpg" for name in names])
    for kind in ("FV", "HD", "PF", "RI", "RO", "SR", "WR"):
        for name in names:
            _png(root / "masks" / kind / f"{name}.bmp", np.where(masks[f"{name}.jpg"], 255, 0).astype(np.uint8))
        # an empty mask is no episode
        _png(root / "masks" / kind / "e_r_9_.bmp", np.zeros(SIZE, np.uint8))
    classes, total, episodes = _first("suim", tmp_path, Draw(), 8)
    assert (len(classes), total) == (7, 21)
    _in_turn(episodes, [names] * 7, lambda name: root / "images" / f"{name}.jpg", lambda name: masks[f"{name}.jpg"])


def test_isaid(tmp_path: Path) -> None:
    root = tmp_path / "iSAID"
    names = ["P0001_0_0", "P0002_0_0", "P0003_0_0"]
    masks = _pictures(root / "val" / "images", [f"{name}.png" for name in names])
    for name in names:
        values = np.where(masks[f"{name}.png"], 7, 0).astype(np.uint8)
        values[0] = 255
        _png(root / "val" / "semantic_png" / f"{name}_instance_color_RGB.png", values)
    (root / "splits" / "val").mkdir(parents=True)
    (root / "splits" / "val" / "fold1.txt").write_text("".join(f"{name}__7\n" for name in names))
    classes, total, episodes = _first("isaid-5i", tmp_path, Draw(fold=1), 3)
    assert (classes[1], total) == ("class 7", 3)
    np.random.seed(0)
    for name, episode in zip(names, episodes, strict=True):
        (reference,) = _others(names, name, 1)
        assert episode.label == 1
        _check(episode.target, root / "val" / "images" / f"{name}.png", masks[f"{name}.png"])
        _check(episode.references[0], root / "val" / "images" / f"{reference}.png", masks[f"{reference}.png"])
        assert episode.target.ignored is not None
        assert np.array_equal(np.flatnonzero(episode.target.ignored), np.arange(SIZE[1]))


def test_permis(tmp_path: Path) -> None:
    root = tmp_path / "PerMIRS"
    for video in ("a", "b"):
        masks = _pictures(root / video, ["0.jpg", "1.jpg", "2.jpg"])
        frames = np.array([{"thing": mask.astype(np.uint8)} for mask in masks.values()], dtype=object)
        with (root / video / "masks.npz.npy").open("wb") as stream:
            np.save(stream, frames, allow_pickle=True)
    _, total, episodes = _first("permis", tmp_path, Draw(), 4)
    assert total == 4
    for number, episode in enumerate(episodes):
        video, frame = "ab"[number // 2], 1 + number % 2
        _check(episode.target, root / video / f"{frame}.jpg", masks[f"{frame}.jpg"])
        _check(episode.references[0], root / video / "0.jpg", masks["0.jpg"])


def test_spair(tmp_path: Path) -> None:
    root = tmp_path / "SPair-71k"
    name = "000001-2008_000001-2008_000002:cat"
    for number in (1, 2):
        photograph(root / "JPEGImages" / "cat" / f"2008_00000{number}.jpg", number)
    (root / "Layout" / "large").mkdir(parents=True)
    (root / "Layout" / "large" / "test.txt").write_text(f"{name}\n")
    (root / "PairAnnotation" / "test").mkdir(parents=True)
    row = {"category": "cat", "src_kps": [[1, 2], [3, 4]], "trg_kps": [[5, 6], [7, 8]], "trg_bndbox": [2, 3, 30, 21]}
    (root / "PairAnnotation" / "test" / f"{name}.json").write_text(json.dumps(row))
    (pair,) = read_pairs(tmp_path)
    assert (pair.category, pair.box_side) == ("cat", 28)
    assert pair.source().sha256 == Image.open(root / "JPEGImages" / "cat" / "2008_000001.jpg").sha256
    assert pair.target_xy.tolist() == [[5, 6], [7, 8]]


@pytest.mark.parametrize("name", EPISODES)
def test_another_folder_is_one_sentence(name: str, tmp_path: Path) -> None:
    with pytest.raises(MaskwrightError, match="does not hold"):
        EPISODES[name].episodes(tmp_path, Draw())


def test_a_class_with_one_picture_does_not_draw_for_ever(tmp_path: Path) -> None:
    (tmp_path / "masks" / "FV").mkdir(parents=True)
    _png(tmp_path / "masks" / "FV" / "a.bmp", np.full(SIZE, 255, np.uint8))
    with pytest.raises(MaskwrightError):
        next(EPISODES["suim"].episodes(tmp_path, Draw())[2])
