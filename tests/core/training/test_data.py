"""Training data and classes: which images are read, what their labels say, and what a step draws."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from maskwright.domain import rle
from maskwright.formats.labelled_folder import LabelledFolder, held_out
from maskwright.training.config import CropSchedule
from maskwright.training.data import IGNORE, NONE, Steps, read_source
from maskwright.training.vocabulary import NO, UNSURE, YES, Vocabulary

SCHEDULE = CropSchedule(steps=5, batch=8, crop=32, short_side=(40, 64), lr=1e-3, warmup=0.1, ema=0.9, seed=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 pictures, left half green grass, right half blue sky, with noise."""
    root = tmp_path_factory.mktemp("data") / "labelled_folder"
    (root / "images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    images, annotations = [], []
    for number in range(1, 13):
        pixels = rng.integers(0, 60, (48, 64, 3), dtype=np.uint8)
        pixels[:, :32, 1] += 150
        pixels[:, 32:, 2] += 150
        Pillow.fromarray(pixels).save(root / "images" / f"m{number}.png")
        images.append({"id": number, "file_name": f"m{number}.png", "width": 64, "height": 48})
        for category, columns in ((1, slice(0, 32)), (2, slice(32, 60))):
            mask = np.zeros((48, 64), bool)
            mask[:, columns] = True
            annotations.append(
                {
                    "id": len(annotations) + 1, "image_id": number, "category_id": category, "iscrowd": 0,
                    "segmentation": rle.encode(mask),
                }
            )  # fmt: skip
    categories = [{"id": 1, "name": "grass"}, {"id": 2, "name": "sky"}]
    data = {"images": images, "annotations": annotations, "categories": categories}
    (root / "annotations.json").write_text(json.dumps(data))
    return root


def _source(folder: Path, *, background: bool = False):  # type: ignore[no-untyped-def]
    vocabulary = Vocabulary(LabelledFolder.read(folder).categories.values())
    return read_source(folder, 0, vocabulary, weight=1, background=background, skip=frozenset({"m1"})), vocabulary


def test_held_out_and_skipped_pictures_are_never_read(folder: Path) -> None:
    source, _ = _source(folder)
    names = [f"m{n}.png" for n in range(1, 13)]
    kept_out = [name for name in names if held_out(name)]
    assert kept_out, "the rule keeps some of these out"
    assert len(source.samples) == 12 - len({*kept_out, "m1.png"})


def test_unlabelled_pixels_are_ignored_or_none_of_the_classes(folder: Path) -> None:
    ignored, _ = _source(folder)
    none, _ = _source(folder, background=True)
    assert (ignored.samples[0].labels[:, 60:] == IGNORE).all()
    assert (none.samples[0].labels[:, 60:] == NONE).all()


def test_a_step_is_the_same_whenever_it_is_drawn_and_labels_follow_pixels(folder: Path) -> None:
    source, _ = _source(folder)
    steps = Steps([source], SCHEDULE)
    first, again, other = steps[3], steps[3], steps[4]
    assert torch.equal(first.pixels, again.pixels)
    assert not torch.equal(first.pixels, other.pixels)
    assert first.labels.shape == (8, 8, 8)
    green, blue = (torch.nn.functional.avg_pool2d(first.pixels, 4)[:, c] for c in (1, 2))
    clear = (green - blue).abs() > 1.5
    labelled = clear & (first.labels >= 0)
    assert labelled.any()
    assert ((green > blue)[labelled] == (first.labels == 0)[labelled]).float().mean() > 0.95


def test_what_contains_what() -> None:
    vocabulary = Vocabulary(["brick wall", "wall", "human body", "face", "cow"])
    table = vocabulary.containment()
    brick, wall, person, face, cow = map(vocabulary.index, ["brick wall", "wall", "human body", "face", "cow"])
    assert vocabulary.entries[person].name == "person"
    assert table[brick, wall] == YES
    assert table[wall, brick] == UNSURE
    assert table[face, person] == UNSURE
    assert table[cow, wall] == NO
