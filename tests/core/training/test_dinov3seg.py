"""The trainer of dinov3.seg: what it asks of a picture, what learns how fast, and that it learns."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from maskwright.engine import Engine
from maskwright.errors import MaskwrightError
from maskwright.evaluation.protocol import ImageSelection
from maskwright.evaluation.text import evaluate_text
from maskwright.presets.folders import bundled
from maskwright.presets.loading import dinov3seg_settings, load, load_dinov3seg
from maskwright.presets.weights import write_part
from maskwright.progress import NO_PROGRESS
from maskwright.training.config import SegConfig
from maskwright.training.data import IGNORE, NONE, Batch, Sample, Source
from maskwright.training.dinov3seg import SegObjective, TrainedDinov3Seg, initial_model, seg_steps, train
from maskwright.training.loop import RunOptions, TimeLimit, Trainer
from maskwright.training.recipes import TrainingJob, train_dinov3seg
from maskwright.training.vocabulary import Vocabulary
from tests.core.training.conftest import small_config, source_of


@pytest.fixture
def out(segmenting_preset: Path, tmp_path: Path) -> Path:
    shutil.copytree(segmenting_preset, tmp_path / "preset")
    return tmp_path / "preset"


@pytest.mark.slow
def test_a_training_leaves_a_preset_that_answers(labelled_folder: Path, out: Path) -> None:
    source, vocabulary = source_of(labelled_folder)
    told: list[float] = []
    before = load_file(out / "dinov3seg.safetensors")
    assert train(
        [source], vocabulary, small_config(out, steps=20), out, RunOptions(on_step=lambda step: told.append(step.loss))
    )
    assert len(told) == 2
    assert np.isfinite(told).all()
    after = load_file(out / "dinov3seg.safetensors")
    assert any(not torch.equal(after[name], value) for name, value in before.items())
    (scores,) = evaluate_text(Engine.load(out, "cpu"), labelled_folder, selection=ImageSelection(limit=2))
    assert scores.method == "dinov3seg"
    assert json.loads((out / "dinov3seg.json").read_text())["steps"] == 20


@pytest.mark.slow
def test_it_learns_what_a_batch_shows(labelled_folder: Path, tmp_path: Path) -> None:
    """The bundled model has not seen such pictures; a few steps teach it to tell what is where."""
    config = small_config(bundled() / "tiny", steps=40, crop=96, short_side=(96, 96), lr=3e-3, ema=0.8)
    source, vocabulary = source_of(labelled_folder)
    preset = load_dinov3seg(bundled() / "tiny")
    trained = TrainedDinov3Seg(preset.model, config)
    trainer = Trainer(trained, config, tmp_path, "cpu", pretrained=trained.pretrained)
    shown = seg_steps(replace(config, seed=1), [source])[0]

    def right(model: TrainedDinov3Seg) -> float:
        text = preset.model.vlm.encode_text(preset.tokenizer([entry.name for entry in vocabulary.entries]))
        with torch.no_grad():
            logits = model.model(shown.pixels, text)[:, :, 2::4, 2::4]
        return float((logits.argmax(dim=1) == shown.labels).float().mean())

    before = right(trainer.ema.eval())
    trainer.run(
        seg_steps(config, [source]), SegObjective(trained, [source], vocabulary, preset.tokenizer, config, "cpu")
    )
    after = right(trainer.ema.eval())
    assert after > max(before + 0.1, 0.85), f"{before:.2f} before, {after:.2f} after"


@pytest.mark.slow
def test_a_run_that_was_stopped_ends_where_an_undisturbed_one_does(
    labelled_folder: Path, out: Path, tmp_path: Path
) -> None:
    source, vocabulary = source_of(labelled_folder)
    config = small_config(out, steps=6)
    other = shutil.copytree(out, tmp_path / "other")
    assert train([source], vocabulary, config, out)
    assert not train([source], vocabulary, config, other, RunOptions(progress=TimeLimit(NO_PROGRESS, 0)))
    assert train([source], vocabulary, config, other)
    first, second = (load_file(place / "dinov3seg.safetensors") for place in (out, other))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_only_what_learnt_is_stored(labelled_folder: Path, out: Path) -> None:
    source, vocabulary = source_of(labelled_folder)
    assert train([source], vocabulary, small_config(out, steps=2), out)
    stored = load_file(out / "dinov3seg.safetensors")
    assert {name.split(".")[0] for name in stored} == {"anyup", "aggregator"}


def test_what_was_trained_before_learns_at_its_share_of_the_rate(out: Path, tmp_path: Path) -> None:
    paper = SegConfig()
    assert (paper.lr, paper.lr * paper.pretrained_lr_scale) == (2e-4, pytest.approx(2e-6))
    assert (paper.gamma, paper.dice, paper.steps, paper.batch, paper.weight_decay) == (2.0, 0.05, 80_000, 4, 1e-4)
    config = replace(paper, model=dinov3seg_settings(out).model)
    trained = TrainedDinov3Seg(initial_model(config, out)[0], config)
    trainer = Trainer(trained, config, tmp_path, "cpu", pretrained=trained.pretrained)
    rates = {
        id(p): share
        for group, share in zip(trainer._optimizer.param_groups, trainer._lr_scales, strict=True)
        for p in group["params"]
    }
    for name, value in trained.model.named_parameters():
        if value.requires_grad:
            assert rates[id(value)] == (1.0 if name.startswith("aggregator.") else 0.01), name
    fresh = TrainedDinov3Seg(initial_model(config, out)[0], replace(config, new_early=True))
    assert fresh.model.anyup not in fresh.pretrained


def test_the_optimizer_is_catsegs(out: Path, tmp_path: Path) -> None:
    """Biases decay, norms and embeddings do not: CAT-Seg's rule, module by module; AdamW's own averages."""
    config = replace(SegConfig(), model=dinov3seg_settings(out).model)
    trained = TrainedDinov3Seg(initial_model(config, out)[0], config)
    trainer = Trainer(trained, config, tmp_path, "cpu", pretrained=trained.pretrained)
    groups = trainer._optimizer.param_groups
    assert {group["betas"] for group in groups} == {(0.9, 0.999)}
    decays = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    seen = []
    for module in trained.modules():
        norm = "Norm" in type(module).__name__
        for name, value in module.named_parameters(recurse=False):
            if value.requires_grad:
                zero = norm or isinstance(module, torch.nn.Embedding) or "pos_embed" in name or "rel_pos" in name
                assert decays[id(value)] == (0.0 if zero else 1e-4), name
                seen.append((name == "bias", zero))
    assert {(True, True), (True, False), (False, True), (False, False)} <= set(seen)
    own = Trainer(trained, replace(config, decayed="kernels", betas=(0.9, 0.98)), tmp_path, "cpu")
    decayed = {id(p) for group in own._optimizer.param_groups if group["weight_decay"] for p in group["params"]}
    for name, value in trained.named_parameters():
        looked_up = value.ndim < 2 or any(word in name for word in ("_embedding", "token", "rel_pos", "freqs"))
        patches = "patch_embeddings" in name and value.ndim > 1
        if value.requires_grad:
            assert (id(value) in decayed) == (patches or not looked_up), name


@pytest.fixture
def objective(out: Path, labelled_folder: Path) -> SegObjective:
    config = small_config(out)
    model, tokenizer = initial_model(config, out)
    vocabulary = Vocabulary(["wall", "brick wall", "grass"])
    pixels = np.zeros((64, 64, 3), np.uint8)
    source = Source("walls", (Sample(pixels, np.zeros((64, 64), np.int16), 0),), np.arange(3), True, 1.0)
    return SegObjective(TrainedDinov3Seg(model, config), [source], vocabulary, tokenizer, config, "cpu")


def test_targets_follow_what_contains_what(objective: SegObjective) -> None:
    vocabulary = Vocabulary(["wall", "brick wall", "grass"])
    wall, bricks, grass = (vocabulary.index(name) for name in ("wall", "brick wall", "grass"))
    labels = torch.tensor([[[bricks, wall, grass, NONE, IGNORE]]])
    asked = torch.tensor([[wall, grass]])
    targets, valid = objective._targets(labels, asked)
    assert targets[0, :, 0].tolist() == [[1, 1, 0, 0, 0], [0, 0, 1, 0, 0]]
    assert valid[0, :, 0].tolist() == [[1, 1, 1, 1, 0], [1, 1, 1, 1, 0]]
    # asked for both, a brick is a brick, and nobody knows of what the other wall is made
    targets, valid = objective._targets(labels, torch.tensor([[wall, bricks]]))
    assert targets[0, :, 0].tolist() == [[0, 1, 0, 0, 0], [1, 0, 0, 0, 0]]
    assert valid[0, :, 0].tolist() == [[0, 1, 1, 1, 0], [1, 0, 1, 1, 0]]


def test_pictures_are_asked_for_what_they_show_and_for_more(objective: SegObjective) -> None:
    labels = torch.zeros(2, 16, 16, dtype=torch.int64)
    labels[1] = 2
    batch = Batch(torch.zeros(2, 3, 64, 64), labels, torch.zeros(2, dtype=torch.int64))
    shown = {0: 0, 2: 0}
    for seed in range(40):
        asked = objective._prompted_classes(batch, np.random.default_rng(seed))
        assert asked.shape[0] == 2
        assert all(len(set(row)) == len(row) for row in asked.tolist())
        for row, label in zip(asked.tolist(), (0, 2), strict=True):
            shown[label] += label in row
    assert min(shown.values()) > 25, "mostly what there is"


def test_a_picture_that_shows_all_there_is_is_asked_for_something(objective: SegObjective) -> None:
    objective._own, objective._absent = [np.array([2])], [np.array([], np.int64)]
    labels = torch.full((3, 16, 16), 2)
    batch = Batch(torch.zeros(3, 3, 64, 64), labels, torch.zeros(3, dtype=torch.int64))
    for seed in range(60):
        assert objective._prompted_classes(batch, np.random.default_rng(seed)).tolist() == [[2]] * 3


def test_nothing_to_build_on_is_one_sentence(labelled_folder: Path, small_preset: Path, tmp_path: Path) -> None:
    with pytest.raises(MaskwrightError, match="no preset with"):
        train_dinov3seg(TrainingJob(folders=[labelled_folder], out=tmp_path))
    text_only = tmp_path / "text"
    text_only.mkdir()
    write_part(text_only, "dinotxt", {})
    with pytest.raises(MaskwrightError, match="no preset with"):
        train_dinov3seg(TrainingJob(folders=[labelled_folder], out=text_only))


def test_imported_parts_are_trained_as_published(
    labelled_folder: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = json.loads((out / "config.json").read_text())
    told["dinov3seg"]["trained"] = False
    (out / "config.json").write_text(json.dumps(told))
    kept = load_file(out / "dinov3seg.safetensors")
    used: list[SegConfig] = []
    monkeypatch.setattr(
        "maskwright.training.dinov3seg.train",
        lambda sources, words, config, *args, **kw: used.append(config) or True,
    )
    assert train_dinov3seg(TrainingJob(folders=[labelled_folder], out=out, steps=7, seed=3))
    assert used == [replace(SegConfig(), model=dinov3seg_settings(out).model, steps=7, seed=3)]
    model, _ = initial_model(used[0], out)
    early = {name: value for name, value in model.state_dict().items() if name.startswith("anyup.")}
    assert all(torch.equal(value, kept[name].float()) for name, value in early.items())
    monkeypatch.undo()
    small = replace(used[0], steps=2, crop=64, short_side=(64, 64), label_stride=4, ema=0.0)
    source, vocabulary = source_of(labelled_folder)
    assert not train([source], vocabulary, small, out, RunOptions(progress=TimeLimit(NO_PROGRESS, 0)))
    assert not dinov3seg_settings(out).trained, "until its training is over"
    assert train([source], vocabulary, small, out)
    assert dinov3seg_settings(out).trained
    assert load(out).dinov3seg is not None
