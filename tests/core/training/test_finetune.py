"""Fine-tuning a small preset with random weights on pictures of two colours."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from maskwright.domain import Annotation, Image, Mask
from maskwright.engine import Engine
from maskwright.errors import MaskwrightError
from maskwright.models.presets import load, load_text, sections
from maskwright.training.data import IGNORE, NONE, Sample
from maskwright.training.finetune import finetune, sample, tuning_config

NAMES = ("meadow", "air")


def _picture(rng: np.random.Generator) -> tuple[np.ndarray[Any, Any], int]:
    edge = int(rng.integers(24, 40))
    pixels = rng.integers(0, 60, (64, 64, 3), dtype=np.uint8)
    pixels[:, :edge, 1] += 150
    pixels[:, edge:, 2] += 150
    return pixels, edge


def _annotations(edge: int) -> list[Annotation]:
    left = np.zeros((64, 64), bool)
    left[:, :edge] = True
    return [
        Annotation(n, f"u{n}", 1, n, name, Mask.from_array(region), "accepted", "manual", 1, "me", "t", "t")
        for n, (name, region) in enumerate(zip(NAMES, (left, ~left), strict=True), start=1)
    ]


@pytest.fixture(scope="module", params=["dinotxt", "dinov3seg"])
def base(request: pytest.FixtureRequest, small_preset: Path, taught_preset: Path) -> Path:
    """A preset whose main model for words is the one named."""
    return {"dinotxt": small_preset, "dinov3seg": taught_preset}[request.param]


def _weights(folder: Path) -> Path:
    """File of what learns."""
    return folder / f"{'dinov3seg' if 'dinov3seg' in sections(folder) else 'dinotxt'}.safetensors"


@pytest.fixture(scope="module")
def samples(small_preset: Path) -> list[Sample]:
    rng, config = np.random.default_rng(0), load_text(small_preset).config
    made = []
    for _ in range(6):
        pixels, edge = _picture(rng)
        made.append(sample(Image(pixels), _annotations(edge), NAMES, background=False, preset=config))
    return made


def _tune(
    preset: Path, samples: list[Sample], out: Path, *, recipe: str = "full", epochs: int = 80, **told: Any
) -> bool:
    base = load(preset)
    config = tuning_config(base, len(samples), epochs=epochs, seed=0)
    return finetune(base, preset, samples, NAMES, config, out, recipe=recipe, **told)


@pytest.fixture(scope="module")
def tuned(base: Path, samples: list[Sample], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("tuned") / "run-1"
    assert _tune(base, samples, out)
    return out


def test_labels_of_classes_that_are_not_learnt_count_for_nothing(small_preset: Path) -> None:
    config = load_text(small_preset).config
    image = Image(np.zeros((64, 64, 3), np.uint8))
    made = sample(image, _annotations(30), ["air"], background=True, preset=config)
    assert (made.labels[:, :30] == IGNORE).all()
    assert (made.labels[:, 30:] == 0).all()
    empty = sample(image, [], ["air"], background=True, preset=config)
    assert (empty.labels == NONE).all()


def test_the_result_is_a_preset_that_finds_what_it_was_shown(base: Path, tuned: Path) -> None:
    pixels, edge = _picture(np.random.default_rng(77))
    truth = np.where(np.arange(64) < edge, 1, 2)[None, :].repeat(64, axis=0)

    def right(folder: Path) -> float:
        found = Engine.load(folder, "cpu").segment_text(Image(pixels), NAMES)
        return float((found.label_map == truth).mean())

    assert right(tuned) > 0.9
    assert right(tuned) > right(base) + 0.1
    engine = Engine.load(tuned, "cpu")
    assert engine.text_methods == Engine.load(base, "cpu").text_methods
    assert engine.text_model != Engine.load(base, "cpu").text_model
    assert Engine.load(tuned, "cpu").segment_text(Image(pixels), "air, cow, moon").unfamiliar == ("moon",)
    # by example it is asked as its base
    for part in ("insid3", "sam"):
        assert sections(tuned)[part] == sections(base)[part]
    assert (tuned / "sam.safetensors").read_bytes() == (base / "sam.safetensors").read_bytes()


def test_length_of_a_run_follows_the_number_of_images(base: Path) -> None:
    preset = load(base)

    def steps(images: int, epochs: int | None = None) -> int:
        return tuning_config(preset, images, epochs=epochs, seed=0).steps

    batch = tuning_config(preset, 1, epochs=1, seed=0).batch
    longest = 800 if preset.seg is None else 500
    assert [steps(images) for images in (1, 5, 1000)] == [100, 5 * 320 // batch, longest]
    assert [steps(5, epochs=1), steps(40, epochs=1000)] == [1, 40_000 // batch]


def test_words_stay_locked_and_the_head_recipe_leaves_the_backbone_alone(
    small_preset: Path, samples: list[Sample], tmp_path: Path
) -> None:
    tuned, tmp_path = tmp_path / "full", tmp_path / "head"
    assert _tune(small_preset, samples, tuned, epochs=8)
    assert _tune(small_preset, samples, tmp_path, recipe="head", epochs=8)
    base, full, head = (load_file(place / "dinotxt.safetensors") for place in (small_preset, tuned, tmp_path))
    for name, value in base.items():
        if name.startswith("text_model."):
            assert torch.equal(value, full[name])
            assert torch.equal(value, head[name])
        if name.startswith("visual_model.backbone."):
            assert torch.equal(value, head[name])
    assert any(not torch.equal(v, full[n]) for n, v in base.items() if n.startswith("visual_model.backbone."))
    assert any(not torch.equal(v, head[n]) for n, v in base.items() if n.startswith("visual_model.head."))


def test_a_stopped_run_leaves_no_preset_and_ends_where_an_undisturbed_one_does(
    base: Path, tuned: Path, samples: list[Sample], tmp_path: Path
) -> None:
    answers = iter([False] * 11 + [True])
    assert not _tune(base, samples, tmp_path, stopped=lambda: next(answers))
    assert not (tmp_path / "config.json").exists()
    assert _tune(base, samples, tmp_path)
    first, second = (load_file(_weights(place)) for place in (tuned, tmp_path))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_dinov3seg_learns_in_full_or_above_its_encoders(
    segmenting_preset: Path, samples: list[Sample], tmp_path: Path
) -> None:
    for recipe in ("full", "head"):
        assert _tune(segmenting_preset, samples, tmp_path / recipe, recipe=recipe, epochs=8)
    full, head = (set(load_file(_weights(tmp_path / recipe))) for recipe in ("full", "head"))
    assert not any(name.startswith("vlm.text_model.") for name in full), "words stay locked"
    assert any(name.startswith("vlm.visual_model.backbone.") for name in full)
    assert any(name.startswith("spe.") for name in full)
    assert {name.partition(".")[0] for name in head} == {"anyup", "aggregator"}
    for recipe in ("full", "head"):
        # dino.txt under it stays as it was
        told = (tmp_path / recipe / "dinotxt.safetensors").read_bytes()
        assert told == (segmenting_preset / "dinotxt.safetensors").read_bytes()


def test_a_preset_without_words_cannot_be_improved(small_preset: Path, tmp_path: Path) -> None:
    preset = load(small_preset)
    with pytest.raises(MaskwrightError, match="no text model to improve"):
        tuning_config(replace(preset, text=None), 3, epochs=None, seed=0)
