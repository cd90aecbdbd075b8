"""Fine-tuning Talk2DINO's projection: it alone changes, it learns, and it answers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from maskwright.domain import Annotation, Image, Mask
from maskwright.engine import Engine
from maskwright.files.hashing import sha256_of
from maskwright.models.talk2dino import Talk2DinoConfig
from maskwright.presets.config_io import sections
from maskwright.presets.loading import load_dinotxt, load_talk2dino
from maskwright.training.config import RELEASED_LR
from maskwright.training.finetune.images import TrainingImage
from maskwright.training.finetune.run import TuneRequest, tune
from maskwright.training.finetune.talk2dino import projection_config
from maskwright.training.loop import CPU_RUN

NAMES = ("meadow", "air")


def _halves(edge: int) -> np.ndarray:
    pixels = np.random.default_rng(edge).integers(0, 60, (64, 64, 3), dtype=np.uint8)
    pixels[:, :edge, 1] += 150
    pixels[:, edge:, 2] += 150
    return pixels


@pytest.fixture
def request_(tmp_path: Path) -> TuneRequest:
    images = []
    for number, edge in enumerate((24, 32, 40)):
        file = tmp_path / f"{number}.png"
        Pillow.fromarray(_halves(edge)).save(file)
        left = np.broadcast_to(np.arange(64) < edge, (64, 64))
        masks = tuple(
            Annotation(k, f"{k}", 1, k + 1, name, Mask.from_array(part), "accepted", "manual", 1, "me", "t", "t")
            for k, (name, part) in enumerate(zip(NAMES, (left, ~left), strict=True))
        )
        images.append(TrainingImage(file, sha256_of(file), masks))
    return TuneRequest(
        task="text", method="talk2dino", recipe="decoder", images=images[:2],
        replayed=[replace(images[2], accepted=(), words=("grass", "sky"))], names=NAMES, background=False, epochs=320,
        seed=0, encodings=tmp_path / "encodings",
    )  # fmt: skip


def test_the_projection_alone_learns(talking_preset: Path, request_: TuneRequest, tmp_path: Path) -> None:
    assert tune(talking_preset, request_, tmp_path / "out", CPU_RUN)
    before, after = (load_talk2dino(folder, load_dinotxt(folder)) for folder in (talking_preset, tmp_path / "out"))
    first, second = before.model.projection.state_dict(), after.model.projection.state_dict()
    assert not any(torch.equal(first[name], second[name]) for name in first)
    for part in ("dinotxt", "sam"):
        name = f"{part}.safetensors"
        assert (tmp_path / "out" / name).read_bytes() == (talking_preset / name).read_bytes()
    assert sections(talking_preset).keys() <= sections(tmp_path / "out").keys()
    tuned = Engine.load(tmp_path / "out", "cpu")
    assert tuned.text_method() == "talk2dino"
    truth = np.where(np.arange(64) < 28, 1, 2)[None]
    right = [
        float((engine.segment_text(Image(_halves(28)), NAMES, method="talk2dino").label_map == truth).mean())
        for engine in (Engine.load(talking_preset, "cpu"), tuned)
    ]
    assert right[1] > max(0.8, right[0])


def test_published_projections_learn_slowly(talking_preset: Path) -> None:
    base = load_talk2dino(talking_preset, load_dinotxt(talking_preset))
    assert projection_config(base, 40, epochs=None, seed=0).lr == 3e-4
    published = replace(base, settings=replace(base.settings, model=Talk2DinoConfig()))
    assert projection_config(published, 40, epochs=None, seed=0).lr == RELEASED_LR
