"""Training of SAM's decoder: simulated prompts, loss, and that it learns on a frozen encoder."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Pillow
from safetensors.torch import load_file

from maskwright.domain import rle
from maskwright.errors import MaskwrightError
from maskwright.formats.labelled_folder import held_out
from maskwright.presets.loading import LoadedSam, load_sam
from maskwright.training.clicks import (
    ClickBatch,
    ClickObjective,
    ClickSteps,
    _larger_error,
    _mask_loss,
    _noisy_boxes,
    _point_in,
    train,
)
from maskwright.training.config import ClickConfig
from maskwright.training.data import Sample, Source, read_objects
from maskwright.training.loop import CPU_RUN, RunOptions
from tests.progress import Recorded

CONFIG = ClickConfig(steps=30, batch=4, objects=3, lr=2e-3, ema=0.9, interpolation=1.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten pictures with two bright boxes, which one annotation covers."""
    root = tmp_path_factory.mktemp("data") / "boxes"
    (root / "images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    images, rows = [], []
    for number in range(1, 11):
        pixels = rng.integers(0, 60, (64, 64, 3), dtype=np.uint8)
        mask = np.zeros((64, 64), bool)
        for left in (2, 36):
            x, y = left + int(rng.integers(0, 8)), int(rng.integers(4, 40))
            mask[y : y + 18, x : x + 18] = True
        pixels[mask] += 150
        Pillow.fromarray(pixels).save(root / "images" / f"b{number}.png")
        images.append({"id": number, "file_name": f"b{number}.png", "width": 64, "height": 64})
        rows.append(
            {"id": number, "image_id": number, "category_id": 1, "segmentation": rle.encode(mask), "iscrowd": 0}
        )
    data = {"images": images, "annotations": rows, "categories": [{"id": 1, "name": "box"}, {"id": 2, "name": "x"}]}
    (root / "annotations.json").write_text(json.dumps(data))
    return root


@pytest.fixture(scope="module")
def base(small_preset: Path) -> LoadedSam:
    return load_sam(small_preset)


@pytest.fixture(scope="module")
def source(folder: Path) -> Source:
    return read_objects(folder, weight=1, skip=frozenset())


def test_objects_are_numbered_and_held_out_images_left_out(folder: Path) -> None:
    source = read_objects(folder, weight=1, skip=frozenset({"b1"}))
    names = [f"b{n}.png" for n in range(1, 11)]
    assert len(source.samples) == sum(not held_out(name) and name != "b1.png" for name in names)
    assert all(sample.labels.max() == 2 for sample in source.samples), "two boxes of one annotation are two objects"


def test_the_decoder_learns_and_the_encoder_stays(source: Source, base: LoadedSam, tmp_path: Path) -> None:
    losses: list[float] = []
    assert train(base, [source], CONFIG, tmp_path, RunOptions(on_step=lambda step: losses.append(step.loss)))
    assert losses[-1] < 0.8 * losses[0]
    tuned, before = load_sam(tmp_path), base.model.state_dict()
    assert tuned.settings.model == base.settings.model
    changed = {
        name.split(".")[0] for name, value in tuned.model.state_dict().items() if not torch.equal(value, before[name])
    }
    assert changed == {"prompt_encoder", "mask_decoder"}


def test_a_result_may_go_half_of_the_way(source: Source, base: LoadedSam, tmp_path: Path) -> None:
    name = "mask_decoder.mask_tokens.weight"
    stored = []
    for share in (0.0, 0.5, 1.0):
        out = tmp_path / str(share)
        assert train(base, [source], replace(CONFIG, steps=3, interpolation=share), out)
        stored.append(load_file(out / "sam.safetensors")[name].float())
    initial, half, tuned = stored
    assert not torch.equal(initial, tuned)
    torch.testing.assert_close(half, (initial + tuned) / 2, atol=2e-3, rtol=2e-3)


def test_a_run_resumes_where_it_stopped(source: Source, base: LoadedSam, tmp_path: Path) -> None:
    config = replace(CONFIG, steps=4)
    assert train(base, [source], config, tmp_path / "whole")
    # one answer per image that is encoded, then one per step
    answers = iter([False] * len(source.samples) + [False, True])
    stopped = RunOptions(progress=Recorded(lambda: next(answers)))
    assert not train(base, [source], config, tmp_path / "parts", stopped)
    assert not (tmp_path / "parts" / "config.json").exists()
    assert train(base, [source], config, tmp_path / "parts")
    whole, parts = (load_file(tmp_path / name / "sam.safetensors") for name in ("whole", "parts"))
    assert all(torch.equal(value, parts[name]) for name, value in whole.items())
    with pytest.raises(MaskwrightError):
        train(base, [source], replace(config, seed=1), tmp_path / "parts")


def test_objects_follow_the_mirror_image_and_parts_have_a_union(base: LoadedSam, tmp_path: Path) -> None:
    labels = np.zeros((64, 48), np.int16)
    labels[:, :16], labels[:, 16:20] = 1, 2
    sample = Sample(np.zeros((64, 48, 3), np.uint8), labels, 0)
    source = Source("person", (sample,), np.zeros(1, np.int64), background=False, weight=1.0, parts=True)
    config = replace(CONFIG, batch=8, objects=3)
    batch = ClickSteps(base, [source], config, tmp_path, CPU_RUN)[0]
    assert batch.embeddings.shape == (8, 32, 8, 8)
    assert batch.inputs_wh.tolist() == [[96, 128]] * 8
    widths = {tuple(sorted(int(plane.any(dim=0).sum()) for plane in masks)) for masks in batch.objects}
    assert widths == {(2, 8, 10)}, "two parts and their union, in cells of four pixels"
    lefts = {bool(masks[:, :, 0].any()) for masks in batch.objects}
    assert lefts == {True, False}, "some are mirrored"
    assert not any(masks[:, :, 24:].any() for masks in batch.objects), "nothing in the padding"


def test_images_without_labels_keep_what_the_decoder_knew(base: LoadedSam) -> None:
    objective = ClickObjective(base.model, CONFIG)
    empty = torch.zeros(0, 32, 32, dtype=torch.bool)
    batch = ClickBatch(torch.zeros(1, 32, 8, 8).half(), (empty,), torch.tensor([[128, 128]]))
    loss, parts = objective(0, batch)
    assert torch.isfinite(loss)
    assert set(parts) == {"masks", "iou"}


def test_clicks_fall_into_the_larger_error() -> None:
    target = torch.zeros(3, 40, 40, dtype=torch.bool)
    target[:, 10:20, 10:20] = True
    mask = torch.zeros_like(target)
    mask[1] = target[1]
    mask[1, 30:38, 30:38] = True
    mask[2] = target[2]
    region, labels = _larger_error(mask, target)
    assert labels.tolist() == [1, 0, 1], "missing; surplus; the object itself without an error"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        deepest, scattered = _point_in(region, anywhere=0.0), _point_in(region, anywhere=1.0)
    for points in (deepest, scattered):
        cells = ((points - 1.5) / 4).long()
        assert [bool(region[n, y, x]) for n, (x, y) in enumerate(cells.tolist())] == [True] * 3
    assert ((deepest[0] - 4 * 14.5).abs() <= 8).all(), "near the middle"


def test_boxes_are_near_the_objects() -> None:
    target = torch.zeros(2, 64, 64, dtype=torch.bool)
    target[:, 20:40, 10:50] = True
    with torch.random.fork_rng():
        torch.manual_seed(0)
        boxes = _noisy_boxes(target)
    assert ((boxes - torch.tensor([40, 80, 200, 160]) + 0.5).abs() <= 20).all()
    assert not torch.equal(boxes[0], boxes[1])


def test_a_small_object_has_a_loss() -> None:
    target = torch.zeros(1, 100, 100, dtype=torch.bool)
    target[:, 50:54, 50:54] = True
    right = torch.where(target, 8.0, -8.0)[:, None]
    nothing, everything = torch.full_like(right, -8.0), torch.full_like(right, 8.0)
    losses = [float(_mask_loss(logits, target)) for logits in (right, nothing, everything)]
    assert losses[0] < 0.2
    assert losses[1] > 0.9
    assert losses[2] > 0.9
