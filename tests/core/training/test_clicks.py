"""Training of SAM: simulated prompts, loss, and that it learns."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Pillow
from safetensors.torch import load_file

import maskwright as mw
from maskwright.domain import rle
from maskwright.engine import Engine
from maskwright.errors import MaskwrightError
from maskwright.formats.labelled_folder import held_out
from maskwright.models.dinotxt import DinoTxt, DinoTxtConfig, HeadConfig, TextConfig
from maskwright.models.dinov3 import DinoV3Config
from maskwright.models.sam import SamConfig
from maskwright.models.tokenizer import train_tokenizer
from maskwright.presets.weights import save_part
from maskwright.progress import NO_PROGRESS
from maskwright.training.clicks import _click, _corrupted, _mask_loss, _noisy_boxes, train
from maskwright.training.config import ClickConfig
from maskwright.training.data import read_objects
from maskwright.training.loop import RunOptions, TimeLimit

BACKBONE = DinoV3Config(width=32, depth=1, heads=2, layer_scale=1.0, stem=((8, 0), (16, 0), (32, 1), (32, 0)))
CONFIG = ClickConfig(
    model=SamConfig(size=96, longest=64, stride=8, backbone=BACKBONE, out=32, decoder_heads=2, decoder_mlp=64),
    steps=120, batch=4, crop=64, short_side=(64, 80), objects=3, lr=3e-3, ema=0.9,
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty pictures with two bright boxes, which one annotation covers."""
    root = tmp_path_factory.mktemp("data") / "boxes"
    (root / "images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    images, rows = [], []
    for number in range(1, 21):
        pixels, mask = _boxes(rng)
        Pillow.fromarray(pixels).save(root / "images" / f"b{number}.png")
        images.append({"id": number, "file_name": f"b{number}.png", "width": 64, "height": 64})
        rows.append(
            {"id": number, "image_id": number, "category_id": 1, "segmentation": rle.encode(mask), "iscrowd": 0}
        )
    data = {"images": images, "annotations": rows, "categories": [{"id": 1, "name": "box"}, {"id": 2, "name": "x"}]}
    (root / "annotations.json").write_text(json.dumps(data))
    return root


def _boxes(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    pixels = rng.integers(0, 60, (64, 64, 3), dtype=np.uint8)
    mask = np.zeros((64, 64), bool)
    for left in (2, 36):
        x, y = left + int(rng.integers(0, 8)), int(rng.integers(4, 40))
        mask[y : y + 18, x : x + 18] = True
    pixels[mask] += 150
    return pixels, mask


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text preset with random weights and a backbone that clicks can start from."""
    out = tmp_path_factory.mktemp("start") / "preset"
    out.mkdir()
    train_tokenizer(["a photo of a box."], vocabulary=300).save(str(out / "tokenizer.json"))
    config = DinoTxtConfig(
        BACKBONE, HeadConfig(1, 2), TextConfig(vocabulary=300, context=16, width=16, depth=1, heads=2)
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = DinoTxt(config)
    told = {"model": asdict(config), "tokenizer": "tokenizer.json", "prompts": ["{}"]}
    save_part(out, "dinotxt", model.state_dict(), told, dtype=torch.float32)
    return out


@pytest.fixture
def out(start: Path, tmp_path: Path) -> Path:
    shutil.copytree(start, tmp_path / "preset")
    return tmp_path / "preset"


def test_objects_are_numbered_and_held_out_pictures_left_out(folder: Path) -> None:
    source = read_objects(folder, weight=1, skip=frozenset({"b1"}))
    names = [f"b{n}.png" for n in range(1, 21)]
    assert len(source.samples) == sum(not held_out(name) and name != "b1.png" for name in names)
    assert all(sample.labels.max() == 2 for sample in source.samples), "two boxes of one annotation are two objects"


@pytest.mark.slow
def test_it_learns_to_find_the_box_that_is_clicked(folder: Path, out: Path, rng: np.random.Generator) -> None:
    source = read_objects(folder, weight=1, skip=frozenset())
    losses = []
    assert train([source], CONFIG, out, RunOptions(on_step=lambda step: losses.append(step.loss)))
    assert losses[-1] < 0.6 * losses[0]
    pixels, mask = _boxes(rng)
    engine, image = Engine.load(out, "cpu"), mw.Image(pixels)
    left = mask.copy()
    left[:, 32:] = False
    rows, columns = np.nonzero(left)
    found = engine.segment_click(image, [(columns.mean() + 0.5, rows.mean() + 0.5)]).masks()[0].to_array()
    assert (found & left).sum() / (found | left).sum() > 0.5
    assert engine.segment_text(image, "box").label_map.any(), "words still work"
    assert json.loads((out / "clicks.json").read_text())["steps"] == 120


def test_a_run_goes_on_where_it_stopped(folder: Path, start: Path, tmp_path: Path) -> None:
    source = read_objects(folder, weight=1, skip=frozenset())
    config = replace(CONFIG, steps=6)
    for name in ("whole", "parts"):
        shutil.copytree(start, tmp_path / name)
    assert train([source], config, tmp_path / "whole")
    assert not train([source], config, tmp_path / "parts", RunOptions(progress=TimeLimit(NO_PROGRESS, 0)))
    assert train([source], config, tmp_path / "parts")
    whole, parts = (load_file(tmp_path / name / "sam.safetensors") for name in ("whole", "parts"))
    assert all(torch.equal(value, parts[name]) for name, value in whole.items())
    with pytest.raises(MaskwrightError, match="other settings"):
        train([source], replace(config, seed=1), tmp_path / "parts")


def test_clicks_fall_on_what_is_wrong() -> None:
    target = torch.zeros(3, 40, 40, dtype=torch.bool)
    target[:, 10:20, 10:20] = True
    mask = torch.zeros_like(target)
    mask[1] = target[1]
    mask[1, 30:38, 30:38] = True
    mask[2] = target[2]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        points, signs = _click(target, mask, 2, torch.tensor([8, 0]))
    assert points.shape == (3, 1, 2)
    assert signs[:, 0].tolist() == [1, 0, 1], "inside; on the surplus; anywhere inside when nothing is wrong"
    cells = ((points[:, 0] + 0.5 - torch.tensor([8, 0])) / 2).int()
    assert [bool(target[n, y, x]) for n, (x, y) in enumerate(cells.tolist())] == [True, False, True]
    assert cells[1].min() >= 30


def test_boxes_and_rough_masks_are_near_the_object(rng: np.random.Generator) -> None:
    target = torch.zeros(2, 64, 64, dtype=torch.bool)
    target[:, 20:40, 10:50] = True
    with torch.random.fork_rng():
        torch.manual_seed(0)
        boxes, rough = _noisy_boxes(target, 2), _corrupted(target, rng)[:, 0] > 0
    assert ((boxes - torch.tensor([20, 40, 100, 80]) + 0.5).abs() <= 20).all()
    iou = (rough & target).sum(dim=(1, 2)) / (rough | target).sum(dim=(1, 2))
    assert (iou > 0.3).all()
    assert (iou < 1).all()


def test_the_loss_does_not_give_up_small_things() -> None:
    target = torch.zeros(1, 100, 100, dtype=torch.bool)
    target[:, 50:54, 50:54] = True
    right = torch.where(target, 8.0, -8.0)[:, None]
    nothing, everything = torch.full_like(right, -8.0), torch.full_like(right, 8.0)
    losses = [float(_mask_loss(logits, target)) for logits in (right, nothing, everything)]
    assert losses[0] < 0.2
    assert losses[1] > 1.5
    assert losses[2] > 1.5
