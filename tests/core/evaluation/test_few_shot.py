"""Episodes: drawn by the seed, inside a sequence, and scored as the protocol says."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

import maskwright as mw
from maskwright.domain import ModelRef, PromptKind, Provenance, rle
from maskwright.engine import Engine
from maskwright.errors import MaskwrightError
from maskwright.evaluation.few_shot import draw_episodes, evaluate_example
from maskwright.evaluation.protocol import ImageSelection
from maskwright.formats.labelled_folder import LabelledFolder
from tests.progress import Recorded

CAT, DOG, CAR = 1, 2, 3


def write(folder: Path, images: dict[str, str | None], masks: Sequence[tuple[int, int, np.ndarray[Any, Any]]]) -> Path:
    """Images of 8 x 8 by name with their sequence; masks as (image number from 1, category, region)."""
    (folder / "images").mkdir(parents=True)
    rows = []
    for number, (name, sequence) in enumerate(images.items(), start=1):
        Pillow.fromarray(np.full((8, 8, 3), 20 * number, np.uint8)).save(folder / "images" / name)
        rows.append({"id": number, "file_name": name, "width": 8, "height": 8})
        rows[-1] |= {} if sequence is None else {"sequence": sequence}
    names = {CAT: "cat", DOG: "dog", CAR: "car"}
    data = {
        "images": rows,
        "annotations": [
            {"id": n, "image_id": image, "category_id": category, "segmentation": rle.encode(mask), "iscrowd": 0}
            for n, (image, category, mask) in enumerate(masks, start=1)
        ],
        "categories": [{"id": key, "name": name} for key, name in names.items()],
    }
    (folder / "annotations.json").write_text(json.dumps(data))
    return folder


def part(rows: slice, columns: slice) -> np.ndarray[Any, np.dtype[np.bool_]]:
    mask = np.zeros((8, 8), bool)
    mask[rows, columns] = True
    return mask


HALF, QUARTER = part(slice(8), slice(4)), part(slice(4), slice(4))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Cats in a, b and c; a dog in a only; b has its cat in two pieces; d is one big car, and so is e."""
    low = part(slice(4, 8), slice(4))
    whole = part(slice(8), slice(8))
    return write(
        tmp_path / "data",
        dict.fromkeys(["a.png", "b.png", "c.png", "d.png", "e.png"]),
        [(1, CAT, HALF), (2, CAT, QUARTER), (2, CAT, low), (3, CAT, QUARTER), (1, DOG, low), (4, CAR, whole),
         (5, CAR, whole)],
    )  # fmt: skip


class Copies:
    """An engine that takes the reference's mask for the answer."""

    model = ModelRef("copies", "")

    def segment_like(self, image: mw.Image, references: Sequence[mw.Reference], *, refine: str | None) -> Any:
        mask = references[0].mask.to_array()
        made = Provenance(PromptKind.REFERENCE, self.model, "copies", image.sha256, None)
        return mw.Prediction(mask.astype(np.int32), ("x",), (float(mask.mean()),), (0.5,), (), made)


def test_the_seed_decides_and_pairs_are_different_images_of_the_category(folder: Path) -> None:
    data = LabelledFolder.read(folder)
    drawn = [
        (e.category, e.reference.file.name, e.target.file.name)
        for e in draw_episodes(data, ImageSelection(seed=3), count=60)
    ]
    assert drawn == [
        (e.category, e.reference.file.name, e.target.file.name)
        for e in draw_episodes(data, ImageSelection(seed=3), count=60)
    ]
    assert drawn != [
        (e.category, e.reference.file.name, e.target.file.name)
        for e in draw_episodes(data, ImageSelection(seed=4), count=60)
    ]
    assert {category for category, _, _ in drawn} == {CAT}, "no second dog, and a car that fills its image says nothing"
    assert all(one != other for _, one, other in drawn)
    assert {one for _, one, _ in drawn} == {"a.png", "b.png", "c.png"}


def test_sequences_are_not_mixed(tmp_path: Path) -> None:
    images: dict[str, str | None] = {"a1.png": "a", "a2.png": "a", "b1.png": "b", "b2.png": "b", "c1.png": "c"}
    data = LabelledFolder.read(write(tmp_path / "video", images, [(n, CAT, HALF) for n in range(1, 6)]))
    for one in draw_episodes(data, ImageSelection(seed=0), count=50):
        assert one.reference.sequence == one.target.sequence != "c"
        assert one.reference is not one.target


def test_scores(folder: Path) -> None:
    scores = evaluate_example(Copies(), folder, selection=ImageSelection(limit=40, seed=1))  # type: ignore[arg-type]
    # a and b show the left half, c its upper quarter: alike is 1, half against quarter 0.5
    pairs = [
        (e.reference.file.stem, e.target.file.stem)
        for e in draw_episodes(LabelledFolder.read(folder), ImageSelection(seed=1), count=40)
    ]
    expected = [1.0 if "c" not in pair else 0.5 for pair in pairs]
    assert scores.miou == pytest.approx(np.mean(expected))
    assert (scores.episodes, scores.images, scores.classes, scores.seed) == (40, 3, 1, 1)
    assert scores.per_class == {"cat": pytest.approx(np.mean(expected)), "dog": None, "car": None}
    assert scores.pixel_accuracy == pytest.approx(np.mean([1.0 if "c" not in pair else 0.75 for pair in pairs]))


def test_with_a_real_model(folder: Path, small_preset: Path) -> None:
    engine = Engine.load(small_preset, "cpu")
    progress = Recorded()
    scores = evaluate_example(engine, folder, selection=ImageSelection(limit=5), refine="crf", progress=progress)
    assert 0 <= scores.miou <= 1
    assert progress.reports[-1] == (5, 5)
    assert engine.encoder_calls <= 3


def test_too_little_to_draw_from(tmp_path: Path) -> None:
    alone = write(tmp_path / "alone", {"a.png": None}, [(1, CAT, HALF)])
    with pytest.raises(MaskwrightError, match="no category with masks in two images"):
        list(draw_episodes(LabelledFolder.read(alone), ImageSelection(seed=0), count=1))
    full = np.ones((8, 8), bool)
    filled = write(tmp_path / "filled", {"a.png": None, "b.png": None}, [(1, CAT, full), (2, CAT, full)])
    with pytest.raises(MaskwrightError, match="hardly a mask"):
        list(draw_episodes(LabelledFolder.read(filled), ImageSelection(seed=0), count=1))
