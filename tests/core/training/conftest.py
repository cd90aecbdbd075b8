"""A small labelled folder, and settings that train dinov3.seg on it in seconds."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from maskwright.domain import rle
from maskwright.presets.loading import dinov3seg_settings
from maskwright.training.config import TINY_SEG, SegConfig
from maskwright.training.data import Source, read_source
from maskwright.training.vocabulary import Vocabulary

NAMES = ("grass", "sky", "cow")


def small_config(folder: Path, **settings: object) -> SegConfig:
    """Settings for the model in `folder` and pictures of 64 pixels."""
    base = replace(
        TINY_SEG,
        model=dinov3seg_settings(folder).model,
        steps=60,
        batch=4,
        crop=64,
        short_side=(64, 80),
    )
    return replace(base, **{"lr": 3e-3, "ema": 0.9, "label_stride": 4, **settings})  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def labelled_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve pictures with grass on the left, sky on the right, and a cow somewhere."""
    root = tmp_path_factory.mktemp("data") / "labelled_folder"
    (root / "images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    images, rows = [], []
    for number in range(1, 13):
        pixels = rng.integers(0, 60, (64, 64, 3), dtype=np.uint8)
        edge, top = int(rng.integers(24, 40)), int(rng.integers(0, 40))
        labels = np.where(np.arange(64) < edge, 1, 2)[None].repeat(64, axis=0)
        labels[top : top + 20, edge - 10 : edge + 10] = 3
        for value, colour in ((1, (0, 150, 0)), (2, (0, 0, 150)), (3, (150, 0, 0))):
            pixels[labels == value] += np.array(colour, np.uint8)
        Pillow.fromarray(pixels).save(root / "images" / f"m{number}.png")
        images.append({"id": number, "file_name": f"m{number}.png", "width": 64, "height": 64})
        rows += [
            {"id": 3 * number + k, "image_id": number, "category_id": k, "segmentation": rle.encode(labels == k)}
            for k in (1, 2, 3)
        ]
    categories = [{"id": k, "name": name} for k, name in enumerate(NAMES, start=1)]
    (root / "annotations.json").write_text(
        json.dumps({"images": images, "annotations": rows, "categories": categories})
    )
    return root


def source_of(folder: Path) -> tuple[Source, Vocabulary]:
    """The labelled folder as the trainer reads it."""
    vocabulary = Vocabulary(NAMES)
    return read_source(folder, 0, vocabulary, weight=1, background=False, skip=frozenset()), vocabulary
