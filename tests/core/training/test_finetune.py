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
from maskwright.presets.config_io import sections
from maskwright.presets.loading import load_dinotxt
from maskwright.training.data import IGNORE, NONE, Sample
from maskwright.training.finetune.dinotxt import finetune, project_sample, project_source, tuning_config
from maskwright.training.loop import CPU_RUN, RunOptions
from tests.progress import Recorded

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


@pytest.fixture(scope="module")
def samples(small_preset: Path) -> list[Sample]:
    rng, config = np.random.default_rng(0), load_dinotxt(small_preset).settings
    made = []
    for _ in range(6):
        pixels, edge = _picture(rng)
        made.append(project_sample(Image(pixels), _annotations(edge), NAMES, background=False, settings=config))
    return made


def _tune(
    preset: Path,
    samples: list[Sample],
    out: Path,
    *,
    recipe: str = "full",
    epochs: int = 80,
    options: RunOptions = CPU_RUN,
) -> bool:
    base = load_dinotxt(preset)
    config = tuning_config(base.settings, len(samples), epochs=epochs, seed=0)
    source = project_source(samples, len(NAMES), background=False)
    return finetune(base, source, NAMES, config, out, recipe=recipe, options=options)


@pytest.fixture(scope="module")
def tuned(small_preset: Path, samples: list[Sample], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("tuned") / "run-1"
    assert _tune(small_preset, samples, out)
    return out


def test_labels_of_classes_that_are_not_learnt_count_for_nothing(small_preset: Path) -> None:
    config = load_dinotxt(small_preset).settings
    image = Image(np.zeros((64, 64, 3), np.uint8))
    made = project_sample(image, _annotations(30), ["air"], background=True, settings=config)
    assert (made.labels[:, :30] == IGNORE).all()
    assert (made.labels[:, 30:] == 0).all()
    empty = project_sample(image, [], ["air"], background=True, settings=config)
    assert (empty.labels == NONE).all()


def test_the_result_is_a_preset_that_finds_what_it_was_shown(small_preset: Path, tuned: Path) -> None:
    pixels, edge = _picture(np.random.default_rng(77))
    truth = np.where(np.arange(64) < edge, 1, 2)[None, :].repeat(64, axis=0)

    def right(folder: Path) -> float:
        found = Engine.load(folder, "cpu").segment_text(Image(pixels), NAMES)
        return float((found.label_map == truth).mean())

    assert right(tuned) > 0.9
    assert right(tuned) > right(small_preset) + 0.1
    assert Engine.load(tuned, "cpu").segment_text(Image(pixels), "air, cow, moon").out_of_vocabulary == ("moon",)
    # by example it is asked as its base
    for part in ("insid3", "sam"):
        assert sections(tuned)[part] == sections(small_preset)[part]
    assert (tuned / "sam.safetensors").read_bytes() == (small_preset / "sam.safetensors").read_bytes()


def test_length_of_a_run_follows_the_number_of_images(small_preset: Path) -> None:
    config = load_dinotxt(small_preset).settings

    def steps(images: int, epochs: int | None = None) -> int:
        return tuning_config(config, images, epochs=epochs, seed=0).steps

    assert [steps(images) for images in (1, 5, 20, 40, 1000)] == [100, 100, 400, 800, 800]
    assert [steps(5, epochs=1), steps(40, epochs=1000)] == [1, 2500]


def test_words_stay_locked_and_the_decoder_recipe_leaves_the_backbone_alone(
    small_preset: Path, tuned: Path, samples: list[Sample], tmp_path: Path
) -> None:
    assert _tune(small_preset, samples, tmp_path, recipe="decoder", epochs=8)
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
    small_preset: Path, tuned: Path, samples: list[Sample], tmp_path: Path
) -> None:
    answers = iter([False] * 11 + [True])
    assert not _tune(small_preset, samples, tmp_path, options=RunOptions(progress=Recorded(lambda: next(answers))))
    assert not (tmp_path / "config.json").exists()
    assert _tune(small_preset, samples, tmp_path)
    first, second = (load_file(place / "dinotxt.safetensors") for place in (tuned, tmp_path))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_result_answers_with_what_was_tuned_and_keeps_the_rest(
    segmenting_preset: Path, samples: list[Sample], tmp_path: Path
) -> None:
    assert _tune(segmenting_preset, samples, tmp_path, epochs=8)
    base, engine = Engine.load(segmenting_preset, "cpu"), Engine.load(tmp_path, "cpu")
    assert engine.text_methods == ("dinotxt", "dinov3seg")
    assert engine.text_model != base.text_model
    image = Image(samples[0].pixels)
    answers = [one.segment_text(image, NAMES, method="dinov3seg").label_map for one in (base, engine)]
    assert (answers[0] == answers[1]).all()


def test_published_weights_are_tuned_at_the_papers_rate(
    small_preset: Path, samples: list[Sample], tmp_path: Path
) -> None:
    base = load_dinotxt(small_preset)
    released = replace(base, settings=replace(base.settings, vocabulary=None))
    config = tuning_config(released.settings, len(samples), epochs=8, seed=0)
    assert config.lr * config.pretrained_lr_scale == pytest.approx(2e-6)
    source = project_source(samples, len(NAMES), background=False)
    assert finetune(released, source, NAMES, replace(config, ema=0.0), tmp_path)
    before, after = base.model.state_dict(), load_file(tmp_path / "dinotxt.safetensors")
    moved = max(float((value - before[name]).abs().max()) for name, value in after.items())
    # AdamW moves a weight by about the learning rate in a step
    assert 0 < moved <= 1.1 * 2e-6 * config.steps
