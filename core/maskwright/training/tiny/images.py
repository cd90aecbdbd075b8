"""Training images of the bundled preset: four labelled folders, and photographs that other networks labelled."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from maskwright.engine.sam import Clicks, decode, encode
from maskwright.errors import MaskwrightError
from maskwright.files.atomic import atomic_save
from maskwright.formats.labelled_folder import LabelledFolder, held_out, read_coco
from maskwright.imaging.normalization import stretch_contrast
from maskwright.imaging.similarity import NEAR_DUPLICATE, perceptual_hash
from maskwright.models.devices import choose_device
from maskwright.presets.loading import LoadedSam
from maskwright.training.data import IGNORE, Sample, Source, read_objects, read_source
from maskwright.training.loop import RunOptions
from maskwright.training.vocabulary import Vocabulary

__all__ = ["LABELLED", "TinyImages", "read_images", "taught_sources"]

LABELLED = {"msrc_v2": (6.0, 2.0), "coco128": (4.0, 2.5), "clothing": (2.5, 2.5), "nuclei": (2.0, 1.2)}
"""Labelled folders with their shares of a batch of text and of click training."""
_BACKGROUND = ("clothing", "nuclei")
"""Folders whose unlabelled pixels belong to none of their classes."""
_PHOTOGRAPHS, _IMAGENET = (3.0, 2.5), 5.0
"""Shares of photographs without labels, in text and click training, and of ImageNet's images in text training."""
_VOC = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "dining table", "dog",
    "horse", "motorbike", "person", "potted plant", "sheep", "sofa", "train", "tv",
)  # fmt: skip
_CITYSCAPES = (
    "road", "pavement", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "tree", "grass", "sky",
    "person", "cyclist", "car", "truck", "bus", "train", "motorcycle", "bicycle",
)  # fmt: skip
"""Classes of the teachers' label maps, by index."""
_VEHICLES = frozenset(("car", "bus", "truck", "traffic light", "motorcycle", "bicycle"))
_MIN_ROAD = 0.05
"""Share of road from which the Cityscapes teacher, which knows streets only, is asked; one vehicle must be there."""
_MIN_BOX_SCORE, _MIN_MASK_SCORE, _MAX_BOXES = 0.35, 0.6, 20
_PHOTOGRAPH_SIDE = 400
"""Longest side in pixels that BSDS photographs are reduced to."""


@dataclass(frozen=True, slots=True, eq=False)
class TeacherImage:
    """A photograph with labels and boxes of other networks."""

    sample: Sample
    boxes: tuple[tuple[int, tuple[float, float, float, float]], ...]
    """Class, and left, top, right, bottom in pixels"""


@dataclass(frozen=True, slots=True)
class TinyImages:
    """All training images."""

    labelled: tuple[Source, ...]
    """Sources of labelled pixels."""
    objects: tuple[Source, ...]
    """Sources of numbered objects; in the last one, of photographs, nobody labelled any."""
    photographs: tuple[TeacherImage, ...]
    imagenet: tuple[TeacherImage, ...]
    imagenet_names: tuple[str, ...]
    """ImageNet's names in its order."""
    files: Mapping[str, Sequence[str]]
    """File names of the training images by data set."""


def read_images(data: Path, vocabulary: Vocabulary, skip: frozenset[str]) -> TinyImages:
    """Read the training images; held-out images and near-duplicates of them are left out.

    Args:
        data: Folder with the labelled folders, and with `bsds500`, `mixed256` and `pseudo`.
        vocabulary: All classes.
        skip: Image names without extension to leave out.

    Raises:
        MaskwrightError: A folder or file is missing.
    """
    for name in (*LABELLED, "bsds500", "mixed256", "pseudo"):
        if not (data / name).is_dir():
            raise MaskwrightError(f"{data} has no folder {name}. Name the folder with the training data.")
    skip = skip | _near_duplicates(data)
    teachers = _Teachers(data / "pseudo", vocabulary)
    labelled, objects = [], []
    for index, (name, (share, click_share)) in enumerate(LABELLED.items()):
        source = read_source(data / name, index, vocabulary, weight=share, background=name in _BACKGROUND, skip=skip)
        # each is drawn many times
        labelled.append(replace(source, samples=tuple(source.samples)))
        source = read_objects(data / name, weight=click_share, skip=skip)
        # a garment is a part of a person, who is one more object
        objects.append(replace(source, parts=name == "clothing"))
    photographs = list(_photographs(data, skip, teachers))
    imagenet, names = _imagenet(data, teachers)
    unlabelled = tuple(replace(image.sample, labels=np.zeros_like(image.sample.labels)) for *_, image in photographs)
    objects.append(Source("photographs", unlabelled, np.zeros(1, np.int64), background=False, weight=_PHOTOGRAPHS[1]))
    files = {name: _file_names(data / name, skip) for name in LABELLED}
    for dataset, name, _ in photographs:
        files.setdefault(dataset, []).append(name)
    files["imagenet"] = sorted(imagenet)
    return TinyImages(
        tuple(labelled),
        tuple(objects),
        tuple(image for *_, image in photographs),
        tuple(imagenet.values()),
        names,
        files,
    )


def _file_names(folder: Path, skip: frozenset[str]) -> list[str]:
    names = (row.file for row in LabelledFolder.read(folder))
    return [file.name for file in names if not held_out(file.name) and file.stem not in skip]


def _near_duplicates(data: Path) -> frozenset[str]:
    """Names without extension of images that nearly equal a held-out one."""
    files = [file for name in (*LABELLED, "bsds500") for file in sorted((data / name / "images").glob("*.*"))]
    hashes = {file: perceptual_hash(Pillow.open(file)) for file in files}
    reserved = np.array([value for file, value in hashes.items() if held_out(file.name)], np.uint64)
    return frozenset(
        file.stem
        for file, value in hashes.items()
        if not held_out(file.name) and np.any(np.bitwise_count(reserved ^ np.uint64(value)) <= NEAR_DUPLICATE)
    )


class _Teachers:
    """Label maps and boxes of other networks, by image."""

    def __init__(self, folder: Path, vocabulary: Vocabulary) -> None:
        with np.load(folder / "label_maps.npz") as file:
            self._png, offsets = file["png"], file["offsets"].tolist()
            self._spans = dict(zip(map(str, file["names"]), pairwise(offsets), strict=True))
        self._boxes: dict[str, list[dict[str, Any]]] = json.loads((folder / "coco_boxes.json").read_text("utf-8"))
        self.vocabulary = vocabulary
        self._voc, self._street = (np.full(256, IGNORE, np.int16) for _ in range(2))
        self._voc[1 : len(_VOC) + 1] = [vocabulary.index(name) for name in _VOC]
        self._street[: len(_CITYSCAPES)] = [vocabulary.index(name) for name in _CITYSCAPES]

    def __contains__(self, key: str) -> bool:
        return f"voc:{key}" in self._spans

    def boxes(self, key: str) -> list[dict[str, Any]]:
        """Boxes that the detector is sure of, with `name` and `bbox_xyxy`."""
        return [box for box in self._boxes.get(key, ()) if box["score"] >= _MIN_BOX_SCORE]

    def image(
        self, key: str, pixels: NDArray[np.uint8], boxes: Sequence[Mapping[str, Any]], source: int, **known: int
    ) -> TeacherImage:
        """VOC's classes, and on streets those of Cityscapes where VOC has none."""
        labels = self._voc[self._label_map(f"voc:{key}")]
        street = self._label_map(f"city:{key}")
        if (street == 0).mean() > _MIN_ROAD and _VEHICLES & {str(box["name"]) for box in boxes}:
            labels = np.where(labels == IGNORE, self._street[street], labels)
        plane = Pillow.fromarray(labels.astype(np.int32)).resize(pixels.shape[1::-1], Pillow.Resampling.NEAREST)
        sample = Sample(stretch_contrast(pixels), np.asarray(plane).astype(np.int16), source, **known)
        classes = (self.vocabulary.index(str(box["name"])) for box in boxes)
        corners = (tuple(map(float, box["bbox_xyxy"])) for box in boxes)
        return TeacherImage(sample, tuple(zip(classes, corners, strict=True)))  # type: ignore[arg-type]

    def _label_map(self, name: str) -> NDArray[np.uint8]:
        first, last = self._spans[name]
        return np.array(Pillow.open(io.BytesIO(self._png[first:last].tobytes())))


def _photographs(data: Path, skip: frozenset[str], teachers: _Teachers) -> Iterator[tuple[str, str, TeacherImage]]:
    """Photographs of bsds500, and those of coco128 that people drew boxes on: data set, file name, image."""
    source = len(LABELLED)
    for file in sorted((data / "bsds500" / "images").iterdir()):
        key = f"bsds500/images/{file.name}"
        if held_out(file.name) or file.stem in skip or key not in teachers:
            continue
        image = Pillow.open(file).convert("RGB")
        scale = _PHOTOGRAPH_SIDE / max(image.size)
        image = image.resize((round(image.width * scale), round(image.height * scale)), Pillow.Resampling.LANCZOS)
        boxes = [{**box, "bbox_xyxy": [edge * scale for edge in box["bbox_xyxy"]]} for box in teachers.boxes(key)]
        yield "bsds500", file.name, teachers.image(key, np.array(image), boxes, source)
    drawn = read_coco(data / "coco128" / "annotations_boxes_only.json")
    names = {row["id"]: row["name"] for row in drawn["categories"]}
    for row in drawn["images"]:
        file = data / "coco128" / "images_boxes_only" / row["file_name"]
        key = f"coco128/images_boxes_only/{file.name}"
        if held_out(file.name) or file.stem in skip or key not in teachers:
            continue
        boxes = []
        for mark in drawn["annotations"]:
            if mark["image_id"] == row["id"]:
                x, y, width, height = mark["bbox"]
                boxes.append({"name": names[mark["category_id"]], "bbox_xyxy": (x, y, x + width, y + height)})
        yield "coco_boxes", file.name, teachers.image(key, np.array(Pillow.open(file).convert("RGB")), boxes, source)


def _imagenet(data: Path, teachers: _Teachers) -> tuple[dict[str, TeacherImage], tuple[str, ...]]:
    """One image per class by name, and the names of the classes in ImageNet's order, that of their WordNet numbers."""
    vocabulary = json.loads((data / "mixed256" / "vocabulary.json").read_text("utf-8"))["classes"]
    names: dict[str, str] = {}
    jpegs: dict[str, bytes] = {}
    for shard in sorted((data / "mixed256").glob("mixed256-*.npz")):
        with np.load(shard) as file:
            rows, offsets, jpeg = json.loads(file["meta"].tobytes()), file["jpg_off"], file["jpg"]
        for place, row in enumerate(rows):
            if row["dataset"] == "imagenet_sample":
                label = row["labels"][0]
                names[row["name"]] = vocabulary[label]["name"] if isinstance(label, int) else label
                jpegs[row["name"]] = jpeg[offsets[place] : offsets[place + 1]].tobytes()
    images = {}
    for number, name in enumerate(sorted(names)):
        key = f"imagenet_sample/{name}"
        if not held_out(name) and key in teachers:
            pixels = np.array(Pillow.open(io.BytesIO(jpegs[name])).convert("RGB"))
            boxes = teachers.boxes(key)
            images[name] = teachers.image(key, pixels, boxes, len(LABELLED) + 1, image_class=number)
    return images, tuple(names[name] for name in sorted(names))


def taught_sources(images: TinyImages, sam: LoadedSam, cache: Path, options: RunOptions) -> list[Source]:
    """Sources of the photographs and of ImageNet's images, whose boxes become masks by SAM.

    Args:
        images: All training images.
        sam: Asked for the mask of each box.
        cache: Folder for the label maps; those that it has are read.
        options: Device and progress.

    Raises:
        Cancelled: `options.progress` cancelled.
    """
    cache.mkdir(parents=True, exist_ok=True)
    device = choose_device(options.device)
    sam.model.to(device)
    groups = {"photographs": (images.photographs, _PHOTOGRAPHS[0]), "imagenet": (images.imagenet, _IMAGENET)}
    total, done = sum(len(group) for group, _ in groups.values()), 0
    samples: dict[str, list[Sample]] = {name: [] for name in groups}
    for name, (group, _) in groups.items():
        for image in group:
            options.progress.check()
            options.progress.report(done, total, "Masks of boxes")
            key = hashlib.sha256(image.sample.pixels.tobytes() + repr(image.boxes).encode()).hexdigest()[:24]
            file = cache / f"{key}.png"
            if image.boxes and not file.exists():
                labels = _with_boxes(image, sam, options)
                atomic_save(file, lambda temporary, labels=labels: _save_labels(labels, temporary))  # type: ignore[misc]
            labels = np.asarray(Pillow.open(file)).astype(np.int16) - 1 if image.boxes else image.sample.labels
            samples[name].append(replace(image.sample, labels=labels))
            done += 1
    sam.model.to("cpu")
    classes = np.unique(np.concatenate([sample.labels.ravel() for part in samples.values() for sample in part]))
    classes = classes[classes >= 0].astype(np.int64)
    return [
        Source(name, tuple(samples[name]), classes, background=False, weight=share, from_teachers=True)
        for name, (_, share) in groups.items()
        if samples[name]
    ]


def _save_labels(labels: NDArray[np.int16], file: Path) -> None:
    # IGNORE becomes 0; no image has 255 classes
    Pillow.fromarray((labels + 1).astype(np.uint8)).save(file, format="PNG")


def _with_boxes(image: TeacherImage, sam: LoadedSam, options: RunOptions) -> NDArray[np.int16]:
    """(H, W) labels with the masks of the largest boxes, the largest first."""
    labels = image.sample.labels.copy()
    embedding = encode(sam, image.sample.pixels, choose_device(options.device))
    area = {box: (box[1][2] - box[1][0]) * (box[1][3] - box[1][1]) for box in image.boxes}
    none = np.zeros((0, 2)), np.zeros(0, np.int64)
    for label, corners in sorted(set(image.boxes), key=lambda box: -area[box])[:_MAX_BOXES]:
        (candidate,) = decode(sam, embedding, Clicks(*none, corners), None, (labels.shape[0], labels.shape[1]))
        if candidate.score >= _MIN_MASK_SCORE:
            labels[candidate.mask] = label
    return labels
