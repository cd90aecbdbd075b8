"""Training data and classes: which images are read, what their labels say, and what a step draws."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from maskwright.domain import rle
from maskwright.errors import MaskwrightError
from maskwright.formats.labelled_folder import LabelledFolder, held_out
from maskwright.training.config import CropSchedule
from maskwright.training.data import IGNORE, NONE, Steps, folder_classes, read_source
from maskwright.training.recipes import TrainingJob
from maskwright.training.vocabulary import NO, UNSURE, YES, Vocabulary
from tests.core.formats.benchmarks.fakes import SIZE, stuff

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


def test_images_are_read_when_they_are_drawn(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches equal those of the same samples in memory; nothing is decoded before."""
    from maskwright.domain import Image

    opened: list[Path] = []
    real = Image.open
    monkeypatch.setattr(Image, "open", lambda file: opened.append(file) or real(file))
    source, _ = _source(folder)
    published = replace(SCHEDULE, augment="catseg", short_side=(40, 40))
    lazy = Steps([source], published)
    assert opened == []
    batch = lazy[0]
    assert len(opened) == published.batch
    in_memory = Steps([replace(source, samples=tuple(source.samples))], published)
    count = len(opened)
    for step in range(3):
        assert torch.equal(in_memory[step].pixels, lazy[step].pixels)
        assert torch.equal(in_memory[step].labels, lazy[step].labels)
    assert len(opened) == count + 6 * published.batch
    assert torch.equal(batch.pixels, lazy[0].pixels)
    own, held = (
        Steps([replace(source, samples=kind)], SCHEDULE)[2] for kind in (source.samples, tuple(source.samples))
    )
    assert torch.equal(own.pixels, held.pixels)


def test_all_images_when_asked(folder: Path) -> None:
    vocabulary = Vocabulary(["grass", "sky"])
    source = read_source(folder, 0, vocabulary, weight=1, background=False, skip=None)
    assert len(source.samples) == 12
    job = TrainingJob(folders=[folder], out=folder, all_images=True)
    assert len(job.labelled()[0][0].samples) == 12
    assert len(replace(job, all_images=False).labelled()[0][0].samples) < 12


def test_a_missing_image_is_noticed_at_once(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    (tmp_path / "copy" / "images" / "m3.png").unlink()
    with pytest.raises(MaskwrightError, match=r"no file .*m3\.png"):
        read_source(tmp_path / "copy", 0, Vocabulary(["grass", "sky"]), weight=1, background=False, skip=None)


def test_coco_stuff_as_published(tmp_path: Path) -> None:
    """Its 171 classes in their order; unlabelled pixels are ignored."""
    rng = np.random.default_rng(3)
    maps = [rng.integers(1, 172, SIZE).astype(np.int16) for _ in range(3)]
    maps[0][:4] = -1
    stuff(tmp_path, maps, background=False)
    for part in (tmp_path, tmp_path / "stuffthingmaps"):
        (part / "val2017").rename(part / "train2017")
    job = TrainingJob(folders=[tmp_path], out=tmp_path, all_images=True)
    (source,), vocabulary = job.labelled(exactly=True)
    assert (len(vocabulary), len(source.samples)) == (171, 3)
    assert [entry.name for entry in vocabulary.entries] == folder_classes(tmp_path)
    for sample, labels in zip(source.samples, maps, strict=True):
        assert np.array_equal(sample.labels, np.where(labels < 0, IGNORE, labels - 1))


def test_what_contains_what() -> None:
    vocabulary = Vocabulary(["brick wall", "wall", "human body", "face", "cow"])
    table = vocabulary.containment()
    brick, wall, person, face, cow = map(vocabulary.index, ["brick wall", "wall", "human body", "face", "cow"])
    assert vocabulary.entries[person].name == "person"
    assert table[brick, wall] == YES
    assert table[wall, brick] == UNSURE
    assert table[face, person] == UNSURE
    assert table[cow, wall] == NO
