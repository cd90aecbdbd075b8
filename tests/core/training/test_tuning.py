"""Fine-tuning dinov3.seg: exactly what a recipe names learns, and the result keeps all parts of its base."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from maskwright.domain import Annotation, Image, Mask
from maskwright.engine import Engine
from maskwright.files.hashing import sha256_of
from maskwright.models.dinotxt import SPECS as DINOTXT
from maskwright.models.dinov3seg import Dinov3Seg, Dinov3SegConfig
from maskwright.models.sam import SPECS as SAM
from maskwright.presets.config_io import sections
from maskwright.presets.loading import load, load_dinov3seg
from maskwright.progress import Progress
from maskwright.training.config import TuneConfig
from maskwright.training.data import IGNORE, NONE
from maskwright.training.finetune.dinov3seg import (
    TunedDinov3Seg,
    TuneFolders,
    TuneObjective,
    tune_config,
    tune_dinov3seg,
)
from maskwright.training.finetune.estimate import estimate, smaller_batch
from maskwright.training.finetune.export import save_tuned_dinov3seg
from maskwright.training.finetune.images import TrainingImage
from maskwright.training.finetune.learning import rate_factor
from maskwright.training.finetune.steps import TuneBatch, TuneWords
from maskwright.training.loop import RunOptions
from tests.progress import Recorded

NAMES = ("meadow", "air")


def _annotation(number: int, name: str, region: np.ndarray[Any, Any], state: str = "accepted") -> Annotation:
    mask = Mask.from_array(region)
    return Annotation(number, f"u{number}", 1, NAMES.index(name) + 1, name, mask, state, "manual", 1, "me", "t", "t")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[TrainingImage]:
    """Four pictures, green on the left and blue on the right, and one that is replayed."""
    folder, rng, made = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0), []
    for number in range(5):
        edge = int(rng.integers(24, 40))
        pixels = rng.integers(0, 60, (64, 64, 3), dtype=np.uint8)
        pixels[:, :edge, 1] += 150
        pixels[:, edge:, 2] += 150
        file = folder / f"m{number}.png"
        Pillow.fromarray(pixels).save(file)
        left = np.zeros((64, 64), bool)
        left[:, :edge] = True
        masks = _annotation(1, "meadow", left), _annotation(2, "air", ~left)
        made.append(TrainingImage(file, sha256_of(file), masks))
    return [*made[:4], replace(made[4], accepted=(), words=("grass", "sky"))]


def _config(base: Path, images: list[TrainingImage], **settings: Any) -> TuneConfig:
    loaded = load(base)
    assert loaded.dinov3seg is not None
    assert loaded.dinotxt is not None
    told = loaded.dinov3seg.settings, loaded.dinotxt.settings
    config = tune_config(*told, len(images), recipe="decoder", epochs=None, seed=0)
    return replace(config, steps=3, crop=96, side=96, least=96, variants=2, max_classes=4, **settings)


def _tune(
    preset: Path, images: list[TrainingImage], config: TuneConfig, out: Path, progress: Progress | None = None
) -> Any:
    options, base = RunOptions(progress=progress or Progress()), load_dinov3seg(preset)
    tensors = tune_dinov3seg(base, images, NAMES, config, TuneFolders(out, out / "encodings"), options=options)
    if tensors is not None:
        save_tuned_dinov3seg(base, tensors, out, NAMES, released=config.released)
    return tensors


@pytest.mark.parametrize("recipe", ["decoder", "qv", "qk", "vision", "full"])
def test_a_recipe_changes_exactly_the_tensors_that_it_names(
    segmenting_preset: Path, images: list[TrainingImage], tmp_path: Path, recipe: str
) -> None:
    _tune(segmenting_preset, images, _config(segmenting_preset, images, recipe=recipe), tmp_path)
    before, after = (load_dinov3seg(folder).model.state_dict() for folder in (segmenting_preset, tmp_path))
    changed = {name for name, value in before.items() if not torch.equal(value, after[name])}
    sides = {name.split(".")[0] for name in changed}
    image_side = {name for name in before if name.startswith("vlm.visual_model.")}
    assert {"anyup", "aggregator"} <= sides
    match recipe:
        case "decoder":
            assert sides == {"anyup", "aggregator"}
        case "qv" | "qk":
            assert sides == {"anyup", "aggregator", "vlm"}
            blocks = changed & image_side
            assert all(f".{recipe[0]}_proj." in n or f".{recipe[1]}_proj." in n or "attn.qkv" in n for n in blocks)
            (fused,) = (name for name in blocks if "attn.qkv.weight" in name)
            thirds = zip(before[fused].chunk(3), after[fused].chunk(3), strict=True)
            moved = [not torch.equal(first, second) for first, second in thirds]
            assert moved == ([True, False, True] if recipe == "qv" else [True, True, False])
        case _:
            assert "spe" in sides
            assert image_side & changed
            assert any(name.startswith("vlm.text_model.") for name in changed) == (recipe == "full")
    # what did not change is the base's file
    for part in ("dinotxt", "sam"):
        assert (tmp_path / f"{part}.safetensors").read_bytes() == (
            segmenting_preset / f"{part}.safetensors"
        ).read_bytes()


def test_the_result_has_every_part_of_its_base_and_answers_with_what_learned(
    segmenting_preset: Path, images: list[TrainingImage], tmp_path: Path
) -> None:
    _tune(segmenting_preset, images, _config(segmenting_preset, images), tmp_path)
    assert sections(segmenting_preset).keys() <= sections(tmp_path).keys()
    first, second = Engine.load(segmenting_preset, "cpu"), Engine.load(tmp_path, "cpu")
    assert second.text_method() == "dinov3seg"
    assert second.text_methods == first.text_methods
    image = images[0].open()
    assert (
        first.segment_text(image, NAMES, method="dinotxt").label_map
        == second.segment_text(image, NAMES, method="dinotxt").label_map
    ).all()
    assert second.segment_text(image, "air, moon").out_of_vocabulary == ("moon",)


def test_it_learns_what_people_accepted(segmenting_preset: Path, images: list[TrainingImage], tmp_path: Path) -> None:
    config = _config(segmenting_preset, images)
    _tune(segmenting_preset, images, replace(config, steps=40, lr=4e-3, ema=0.9, absent=0, replay=0.0), tmp_path)
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[:, :30, 1] = pixels[:, 30:, 2] = 180
    found = Engine.load(tmp_path, "cpu").segment_text(Image(pixels), NAMES).label_map
    assert float((found == np.where(np.arange(64) < 30, 1, 2)[None]).mean()) > 0.9


def test_a_stopped_run_ends_where_an_undisturbed_one_does(
    segmenting_preset: Path, images: list[TrainingImage], tmp_path: Path
) -> None:
    base, config = segmenting_preset, _config(segmenting_preset, images)
    whole = _tune(base, images, config, tmp_path / "whole")
    # the first ten answers let the images be encoded
    answers = iter([False] * 11 + [True])
    assert _tune(base, images, config, tmp_path / "parts", Recorded(lambda: next(answers))) is None
    parts = _tune(base, images, config, tmp_path / "parts")
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def _two_layers() -> Dinov3Seg:
    """dinov3.seg of published widths with two blocks in each encoder and random weights."""
    vlm, spe = DINOTXT["vitl16"], SAM["vitl"]
    config = Dinov3SegConfig(
        vlm=replace(vlm, backbone=replace(vlm.backbone, depth=2), text=replace(vlm.text, depth=1, vocabulary=500)),
        spe=replace(spe, depth=2, global_blocks=(1,)), taps=(0, 1),
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Dinov3Seg(config).eval()


@pytest.mark.slow
def test_official_weights_move_less_than_one_percent_in_ten_steps() -> None:
    model = _two_layers()
    tuned = TunedDinov3Seg(model, "full")
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    factor = rate_factor(model, 2e-4, released=True)
    groups = [
        {"params": [value], "lr": 2e-4 * factor(name)}
        for name, value in model.named_parameters()
        if value.requires_grad
    ]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98), weight_decay=1e-4, fused=True)
    for _ in range(10):
        for value in model.parameters():
            # AdamW's step does not depend on the size of the gradient; always the same sign moves furthest
            value.grad = torch.ones_like(value) if value.requires_grad else None
        optimizer.step()
        tuned.restore_frozen_parts()
    for name, value in model.named_parameters():
        if name.startswith(("vlm.", "spe.", "anyup.")) and before[name].norm() > 0:
            moved = float((value.detach() - before[name]).norm() / before[name].norm())
            # values that start near zero, such as biases, are bounded by the rate
            largest = float((value.detach() - before[name]).abs().max())
            assert moved < 0.01 or largest < 2.2e-5, name


def test_rates_follow_the_origin_of_the_weights(segmenting_preset: Path) -> None:
    model = load_dinov3seg(segmenting_preset).model
    own, official = (rate_factor(model, 5e-4, released=released) for released in (False, True))
    # MobileSAM's encoder is published whoever trained the rest
    rates = {name: 5e-4 * own(name) for name, _ in model.named_parameters()}
    assert all(rate == pytest.approx(2e-6) for name, rate in rates.items() if name.startswith("spe."))
    assert {rate for name, rate in rates.items() if name.startswith("vlm.")} <= {0.1 * 5e-4}
    assert rates["aggregator.conv1.weight"] == 5e-4
    slow = {name for name, _ in model.named_parameters() if 5e-4 * official(name) < 2.1e-6}
    assert {name.split(".")[0] for name in slow} == {"vlm", "spe", "anyup"}


@pytest.fixture
def objective(segmenting_preset: Path, images: list[TrainingImage]) -> TuneObjective:
    base, config = load_dinov3seg(segmenting_preset), _config(segmenting_preset, images)
    trained = TunedDinov3Seg(base.model, "decoder")
    return TuneObjective(trained, copy.deepcopy(base.model), base, TuneWords.of(NAMES), config)


def _gradients(preset: Path, *, checkpointing: bool) -> tuple[dict[str, torch.Tensor], int]:
    """Gradients of a fixed loss, and bytes kept for them."""
    model = TunedDinov3Seg(load_dinov3seg(preset).model, "full", checkpointing=checkpointing).model
    kept: list[int] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor.nbytes)
        return tensor

    pixels = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = model(pixels, torch.ones(2, 64).cumsum(0)).square().mean()
    loss.backward()
    return {name: value.grad for name, value in model.named_parameters() if value.grad is not None}, sum(kept)


def test_blocks_that_are_computed_again_give_the_same_gradient(segmenting_preset: Path) -> None:
    (plain, whole), (again, less) = (_gradients(segmenting_preset, checkpointing=flag) for flag in (False, True))
    assert less < 0.8 * whole
    assert plain.keys() == again.keys()
    for name, gradient in plain.items():
        torch.testing.assert_close(again[name], gradient)


def _asked(labels: list[int], rejected: list[int], classes: list[int]) -> TuneBatch:
    pixels = torch.zeros(1, 3, 64, 64)
    return TuneBatch(
        pixels,
        torch.tensor([[labels]]),
        torch.tensor([[rejected]]),
        torch.tensor([classes]),
        torch.tensor([False]),
        None,
    )


def test_pixels_count_where_people_said_something(objective: TuneObjective) -> None:
    other = len(NAMES)
    targets, valid = objective._targets(_asked([0, IGNORE, NONE, IGNORE], [0, 0, 0, 0b01], [0, 1, other]))
    assert targets[0, :, 0].tolist() == [[1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    # an image that is complete shows none of the project's classes elsewhere; of others nobody said anything
    assert valid[0, :, 0].tolist() == [[1, 0, 1, 1], [1, 0, 1, 0], [1, 0, 0, 0]]


def test_rejected_masks_and_complete_images_are_labels(images: list[TrainingImage]) -> None:
    region = np.zeros((64, 64), bool)
    region[:8] = True
    one = replace(images[0], accepted=images[0].accepted[:1], rejected=(_annotation(3, "air", region, "rejected"),))
    known = one.label(NAMES, (64, 64), background=False)
    assert set(np.unique(known.labels)) == {IGNORE, 0}
    assert (known.rejected[:8] == 0b10).all()
    assert not known.rejected[8:].any()
    assert NONE in replace(one, complete=True).label(NAMES, (64, 64), background=False).labels


def test_words_of_other_classes_overlap_with_none_of_the_projects() -> None:
    words = TuneWords.of(["brick wall", "person"])
    absent = {words.names[number] for number in words.absent}
    assert words.names[:2] == ("brick wall", "person")
    assert "cow" in absent
    assert not absent & {"wall", "brick wall", "person", "face", "cyclist"}


def test_memory_is_counted_before_the_start(segmenting_preset: Path, images: list[TrainingImage]) -> None:
    model = load_dinov3seg(segmenting_preset).model
    config = _config(segmenting_preset, images)
    needs = {
        recipe: estimate(model.config, replace(config, recipe=recipe), classes=2, images=4)
        for recipe in ("decoder", "vision")
    }
    learning = sum(
        value.nbytes for name, value in model.named_parameters() if name.startswith(("anyup.", "aggregator."))
    )
    assert needs["decoder"].weights == sum(value.nbytes for value in model.parameters())
    assert (needs["decoder"].gradients, needs["decoder"].optimizer) == (learning, 2 * learning)
    assert needs["decoder"].memory < needs["vision"].memory
    assert smaller_batch(needs["vision"], needs["vision"].memory - 1).batch == 2
    assert estimate(model.config, replace(config, ema=0.0), classes=2, images=4).average == 0


def test_frozen_matrices_in_half_precision_change_nothing_under_autocast(
    segmenting_preset: Path, images: list[TrainingImage]
) -> None:
    base = load_dinov3seg(segmenting_preset)
    whole, halved = (TunedDinov3Seg(copy.deepcopy(base.model), "qv") for _ in range(2))
    halved.halve_frozen()
    kinds = {name: value.dtype for name, value in halved.model.named_parameters()}
    assert {kinds[name] for name in halved.learning} == {torch.float32}
    assert torch.bfloat16 in kinds.values()
    pixels, words = torch.rand(1, 3, 64, 64), base.tokenizer(["meadow", "air"])
    answers = []
    for tuned in (whole.eval(), halved.eval()):
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
            views = tuned.model.text_views(tuned.model.vlm.encode_text(words).float())[None]
            image = tuned.model.encode(pixels, tuned.model.patch_features(pixels))
            answers.append(tuned.model.predict(image, views).float())
    torch.testing.assert_close(answers[1], answers[0], rtol=0, atol=0)
