"""Benchmarks of in-context segmentation: episodes of references and a target, drawn as in INSID3's released code.

Draws follow numpy's legacy generator, one call at a time and in the released order, so that a seed gives the published
episodes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from maskwright.domain import Image
from maskwright.errors import MaskwrightError
from maskwright.formats.benchmarks.files import (
    class_names,
    place,
    read_json,
    read_labels,
    read_lines,
    read_pickle,
    unpickle,
)
from maskwright.formats.segmentation import mask_of

__all__ = ["EPISODES", "FIRST_FOLD", "Benchmark", "Draw", "Episode", "MaskedImage"]

Rng = np.random.RandomState


class MaskedImage(NamedTuple):
    """An image with the mask of one concept."""

    image: Image
    mask: NDArray[np.bool_]
    ignored: NDArray[np.bool_] | None = None
    """(H, W) pixels that do not count, or None"""


@dataclass(frozen=True, slots=True)
class Episode:
    """One task: find in `target` what the references show."""

    label: int
    """Index of the class among the benchmark's."""
    target: MaskedImage
    references: tuple[MaskedImage, ...]


class Draw(NamedTuple):
    """Which episodes are drawn."""

    fold: int = 0
    shots: int = 1
    seed: int = 0


FIRST_FOLD = Draw()


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A benchmark of episodes."""

    episodes: Callable[[Path, Draw], tuple[list[str], int, Iterator[Episode]]]
    """The names of the fold's classes, the number of episodes, and the episodes of a folder."""
    folds: int = 1


def _others(pool: Sequence[Any], target: Any, draw: Draw, rng: Rng, *, distinct: bool = False) -> list[Any]:
    """References from the pool of a class, any but the target; released: the same one may come twice."""
    drawn: list[Any] = []
    if all(entry == target for entry in pool):
        raise MaskwrightError("A class of the data set has one image only, so no other can be its reference.")
    while len(drawn) < draw.shots:
        other = pool[rng.choice(len(pool), 1, replace=False)[0]]
        if other != target and not (distinct and other in drawn):
            drawn.append(other)
    return drawn


def _pick(pool: Sequence[Any], rng: Rng) -> Any:
    return pool[rng.choice(len(pool), 1, replace=False)[0]]


# COCO-20i: four folds of 20 classes, 1,000 episodes, a class drawn each time; label maps hold class + 1


def _coco(folder: Path, draw: Draw) -> tuple[list[str], int, Iterator[Episode]]:
    root = place(folder, "COCO2014/splits/val", "splits/val", what="COCO-20i (COCO2014)").parents[1]
    by_class = read_pickle(root / "splits" / "val" / f"fold{draw.fold}.pkl")
    classes = [draw.fold + 4 * number for number in range(20)]

    def masked(name: str, label: int) -> MaskedImage:
        values = read_labels(root / "annotations" / Path(name).with_suffix(".png"))
        return MaskedImage(Image.open(root / name), values == label + 1)

    def episodes() -> Iterator[Episode]:
        rng = Rng(draw.seed)
        for _ in range(1000):
            label = int(_pick(classes, rng))
            target = _pick(by_class[label], rng)
            references = _others(by_class[label], target, draw, rng)
            shown = tuple(masked(name, label) for name in references)
            yield Episode(classes.index(label), masked(target, label), shown)

    names = class_names("coco-stuff")
    return [names[label] for label in classes], 1000, episodes()


# LVIS-92i: ten folds, 2,300 episodes that go round the classes with more images than shots


def _lvis(folder: Path, draw: Draw) -> tuple[list[str], int, Iterator[Episode]]:
    file = place(folder, "LVIS/lvis_val.pkl", "lvis_val.pkl", what="LVIS-92i (LVIS)")
    data: Mapping[Any, Mapping[str, Any]] = read_pickle(file)
    usable = [key for key, images in data.items() if len(images) > draw.shots]
    classes = [usable[draw.fold + 10 * number] for number in range(len(usable) // 10)]

    def masked(name: str, label: Any) -> MaskedImage:
        image = Image.open(file.parent / "coco" / name)
        return MaskedImage(image, _union(data[label][name]["annotations"], image.size_hw))

    def episodes() -> Iterator[Episode]:
        rng = Rng(draw.seed)
        for number in range(2300):
            index = number % len(classes)
            label = classes[index]
            pool = list(data[label])
            target = _pick(pool, rng)
            references = _others(pool, target, draw, rng)
            yield Episode(index, masked(target, label), tuple(masked(name, label) for name in references))

    return [str(label) for label in classes], 2300, episodes()


def _union(rows: Sequence[Mapping[str, Any]], size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    union = np.zeros(size_hw, np.bool_)
    for row in rows:
        union |= mask_of(row, size_hw)
    return union


# Parts of objects: both images are cropped to the box of one object


def _cropped(image: Image, mask: NDArray[np.bool_], box: Sequence[float]) -> MaskedImage:
    """Both cut to a box of left, top, right and bottom in whole pixels."""
    left, top, right, bottom = (int(value) for value in box)
    return MaskedImage(Image(image.pixels[top:bottom, left:right].copy()), mask[top:bottom, left:right])


_PASCAL_FOLDS = ("animals", "indoor", "person", "vehicles")


def _pascal_part(folder: Path, draw: Draw) -> tuple[list[str], int, Iterator[Episode]]:
    listed = "VOCdevkit/VOC2010/all_obj_part_to_image.json"
    file = place(folder, f"Pascal-Part/{listed}", listed, "all_obj_part_to_image.json", what="PASCAL-Part")
    objects = read_json(file)[_PASCAL_FOLDS[draw.fold]]["object"]
    pools = {
        (name, part): images["val"]
        for name, row in objects.items()
        for part, images in row["part"].items()
        if images["train"] and images["val"] and (name, part) != ("aeroplane", "TAIL")
    }
    count = sum(len(images["val"]) for row in objects.values() for images in row["part"].values())
    classes = list(pools)

    def drawn(name: str, key: tuple[str, str], rng: Rng) -> MaskedImage | None:
        """One object of the image with this part, or None where the drawn object does not show it."""
        row = read_json(file.parent / "Annotations_Part_json_merged_part_classes" / f"{name}.json")
        candidates = [entry for entry in row["object"] if entry["name"] == key[0]]
        if not candidates:
            return None
        chosen = _pick(candidates, rng)
        parts = [part for part in chosen["parts"] if part["name"] == key[1]]
        if not parts:
            return None
        image = Image.open(file.parent / "JPEGImages" / f"{name}.jpg")
        mask = _union([{"segmentation": rle} for part in parts for rle in part["mask"]], image.size_hw)
        return _cropped(image, mask, list(chosen["bndbox"].values()))

    def episodes() -> Iterator[Episode]:
        rng = Rng(draw.seed)
        for number in range(min(count, 2500)):
            index = number % len(classes)
            key = classes[index]
            target = None
            while target is None:
                name = _pick(pools[key], rng)
                target = drawn(name, key, rng)
            shown: dict[str, MaskedImage] = {}
            while len(shown) < draw.shots:
                other = _pick(pools[key], rng)
                if other == name or other in shown:
                    continue
                reference = drawn(other, key, rng)
                if reference is not None:
                    shown[other] = reference
            yield Episode(index, target, tuple(shown.values()))

    return [" ".join(key) for key in classes], min(count, 2500), episodes()


def _paco_part(folder: Path, draw: Draw) -> tuple[list[str], int, Iterator[Episode]]:
    file = place(folder, "PACO-Part/paco/paco_part_val.pkl", "paco/paco_part_val.pkl", what="PACO-Part")
    root, data = file.parents[1], read_pickle(file)
    known = list(read_pickle(file.with_name("paco_part_train.pkl"))["cid2img"])
    # an image that is listed twice counts once
    pools: dict[Any, list[Any]] = {}
    for key, rows in data["cid2img"].items():
        pools[key] = list({next(iter(row)): row for row in rows}.values())
    fold = [known[draw.fold + 4 * number] for number in range(len(known) // 4)]
    classes = [key for key in fold if len(pools.get(key, ())) > draw.shots]

    def drawn(row: Mapping[Any, str], label: Any, rng: Rng) -> MaskedImage:
        ((image_id, name),) = row.items()
        objects: dict[Any, list[Any]] = {}
        for annotation in data["img2anno"][image_id]:
            if annotation["category_id"] == label:
                objects.setdefault(annotation["obj_ann_id"], []).append(annotation)
        rows = objects[_pick(list(objects), rng)]
        image = Image.open(root / "coco" / "/".join(name.split("/")[-2:]))
        x, y, width, height = rows[0]["obj_bbox"]
        return _cropped(image, _union(rows, image.size_hw), (x, y, x + width, y + height))

    def attempt(rng: Rng) -> Episode:
        label = _pick(classes, rng)
        target = _pick(pools[label], rng)
        shown = drawn(target, label, rng)
        references: list[MaskedImage] = []
        while len(references) < draw.shots:
            other = _pick(pools[label], rng)
            if other != target:
                references.append(drawn(other, label, rng))
        return Episode(classes.index(label), shown, tuple(references))

    def episodes() -> Iterator[Episode]:
        rng = Rng(draw.seed)
        for _ in range(2500):
            episode = attempt(rng)
            # a box outside its image leaves nothing to look at
            while not all(shown.mask.size for shown in (episode.target, *episode.references)):
                episode = attempt(rng)
            yield episode

    return [str(label) for label in classes], 2500, episodes()


# Folders of images with a mask each: classes take turns


def _in_turn(
    pools: Sequence[Sequence[Path]], count: int, draw: Draw, masked: Callable[[Path], MaskedImage]
) -> Iterator[Episode]:
    rng = Rng(draw.seed)
    for number in range(count):
        label = number % len(pools)
        target = _pick(pools[label], rng)
        references = _others(pools[label], target, draw, rng)
        yield Episode(label, masked(target), tuple(masked(file) for file in references))


def _bright(file: Path) -> NDArray[np.bool_]:
    """(H, W) mask of a grey image: its brighter half."""
    from PIL import Image as Pillow

    with Pillow.open(file) as opened:
        return np.asarray(opened.convert("L")) >= 128


def _isic(folder: Path, draw: Draw) -> tuple[list[str], int, Iterator[Episode]]:
    inputs = "ISIC2018_Task1-2_Training_Input"
    root = place(folder, f"ISIC/{inputs}", inputs, what="ISIC 2018, its images sorted into 1, 2 and 3").parent
    pools = [sorted((root / inputs / name).glob("*.jpg")) for name in "123"]

    def masked(file: Path) -> MaskedImage:
        mask = root / "ISIC2018_Task1_Training_GroundTruth" / f"{file.stem}_segmentation.png"
        return MaskedImage(Image.open(file), _bright(mask))

    return list("123"), 600, _in_turn(pools, 600, draw, masked)


def _lung(folder: Path, draw: Draw) -> tuple[list[str], int, Iterator[Episode]]:
    root = place(folder, "LungSegmentation/CXR_png", "CXR_png", what="the chest X-rays (LungSegmentation)").parent
    masks = sorted((root / "masks").glob("*.png"))

    def masked(mask: Path) -> MaskedImage:
        # masks of the Shenzhen images end with _mask, those of Montgomery have their image's name
        name = mask.name if "MCUCXR" in mask.name else f"{mask.stem.removesuffix('_mask')}.png"
        return MaskedImage(Image.open(root / "CXR_png" / name), _bright(mask))

    return ["lung"], 600, _in_turn([masks], 600, draw, masked)


_SUIM = ("FV", "HD", "PF", "RI", "RO", "SR", "WR")


def _suim(folder: Path, draw: Draw) -> tuple[list[str], int, Iterator[Episode]]:
    root = place(folder, "SUIM/masks", "masks", what="SUIM, its masks in a folder for each class").parent
    pools = [[file for file in sorted((root / "masks" / name).glob("*")) if _bright(file).any()] for name in _SUIM]

    def masked(mask: Path) -> MaskedImage:
        return MaskedImage(Image.open(root / "images" / f"{mask.stem}.jpg"), _bright(mask))

    count = sum(map(len, pools))
    return list(_SUIM), count, _in_turn(pools, count, draw, masked)


# iSAID-5i: three folds of five classes, one episode for each line of the fold's list; 255 does not count


def _isaid(folder: Path, draw: Draw) -> tuple[list[str], int, Iterator[Episode]]:
    root = place(folder, "iSAID/splits/val", "splits/val", what="iSAID-5i (iSAID)").parents[1]
    lines = [line.split("__") for line in read_lines(root / "splits" / "val" / f"fold{draw.fold}.txt")]
    listed = [(name, int(number) - 1) for name, number in lines]
    classes = [5 * draw.fold + number for number in range(5)]
    pools: dict[int, list[str]] = {}
    for name, label in listed:
        pools.setdefault(label, []).append(name)

    def masked(name: str, label: int) -> MaskedImage:
        values = read_labels(root / "val" / "semantic_png" / f"{name}_instance_color_RGB.png")
        return MaskedImage(Image.open(root / "val" / "images" / f"{name}.png"), values == label + 1, values == 255)

    def episodes() -> Iterator[Episode]:
        rng = Rng(draw.seed)
        for name, label in listed:
            references = _others(pools[label], name, draw, rng)
            shown = tuple(masked(other, label) for other in references)
            yield Episode(classes.index(label), masked(name, label), shown)

    return [f"class {label + 1}" for label in classes], len(listed), episodes()


# PerMIS: of three frames of a video the first is the reference for both others


def _permis(folder: Path, _: Draw) -> tuple[list[str], int, Iterator[Episode]]:
    root = place(folder, "PerMIRS", ".", what="PerMIS (PerMIRS)")
    videos = sorted(video for video in root.iterdir() if (video / "masks.npz.npy").is_file())
    if not videos:
        raise MaskwrightError(f"{folder} does not hold PerMIS: no folder in it has masks.npz.npy. Name PerMIRS.")

    def episodes() -> Iterator[Episode]:
        for video in videos:
            frames = _array_of_objects(video / "masks.npz.npy")
            first, *others = (
                MaskedImage(Image.open(video / f"{number}.jpg"), np.asarray(next(iter(frames[number].values()))) > 0)
                for number in range(3)
            )
            for target in others:
                yield Episode(0, target, (first,))

    return ["object"], 2 * len(videos), episodes()


def _array_of_objects(file: Path) -> Any:
    """A .npy file of pickled dictionaries of arrays, read without running code."""
    with file.open("rb") as stream:
        version = np.lib.format.read_magic(stream)
        reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        reader(stream)
        return unpickle(stream, file)


EPISODES = {
    "coco-20i": Benchmark(_coco, folds=4),
    "lvis-92i": Benchmark(_lvis, folds=10),
    "pascal-part": Benchmark(_pascal_part, folds=4),
    "paco-part": Benchmark(_paco_part, folds=4),
    "isic": Benchmark(_isic),
    "lung": Benchmark(_lung),
    "suim": Benchmark(_suim),
    "isaid-5i": Benchmark(_isaid, folds=3),
    "permis": Benchmark(_permis),
}
"""By name."""
