"""OVS-DINO's parts in, a preset that waits for training out; trained, it stores its heads and DINO's last blocks."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image as Pillow
from safetensors.torch import load_file, save_file

import maskwright as mw
from maskwright.domain import rle
from maskwright.engine import Engine
from maskwright.errors import BadWeights, MaskwrightError, UsageError
from maskwright.models.ovs_dino import EncodersConfig, HeadsConfig
from maskwright.models.sam import Sam, SamConfig
from maskwright.presets.catalog import describe
from maskwright.presets.convert import import_ovs_dino
from maskwright.presets.folders import tasks
from maskwright.presets.loading import load
from maskwright.settings import Settings
from maskwright.training.config import OvsConfig
from maskwright.training.recipes import TrainingJob, train_ovs_dino
from tests.core.presets.test_convert_talk2dino import (
    PLAIN,
    VOCABULARY,
    _made,
    needs_vocabulary,
    official_clip,
    official_dinov2,
)

pytestmark = needs_vocabulary

assert PLAIN.dinov2 is not None
ENCODERS = EncodersConfig(replace(PLAIN.dinov2), PLAIN.text)
TEACHER = SamConfig(
    size=32, longest=32, stride=16, width=16, depth=2, heads=2, window=2, global_blocks=(1,), out=8, decoder_heads=2,
    decoder_mlp=16,
)  # fmt: skip
HEADS = HeadsConfig(width=16, text=12, middle=8, taps=(1,), groups=4)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """As their authors, or the hub, publish them."""
    folder = tmp_path_factory.mktemp("official")
    model = _made(PLAIN)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        sam = Sam(TEACHER)
    torch.save(official_dinov2(model), folder / "dinov2_vitb14_pretrain.pth")
    torch.save(official_clip(model), folder / "ViT-B-16.pt")
    hub = {name.replace("image_encoder.", "vision_encoder."): value for name, value in sam.state_dict().items()}
    save_file(hub, folder / "sam.safetensors")
    return [*sorted(folder.iterdir()), VOCABULARY]


@pytest.fixture(scope="module")
def waiting(files: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return import_ovs_dino(files, tmp_path_factory.mktemp("presets") / "waits", ENCODERS, TEACHER)


def test_until_it_is_trained_it_says_so(waiting: Path) -> None:
    assert tasks(waiting) == ("click",)
    engine, image = Engine.load(waiting, "cpu"), mw.Image(torch.zeros(32, 40, 3, dtype=torch.uint8).numpy())
    for method in (None, "ovs-dino"):
        with pytest.raises(MaskwrightError, match=r"waits for training\. Train it with"):
            engine.segment_text(image, "cow", method)
    assert "OVS-DINO waits for training" in describe(str(waiting), Settings.load()).text


def test_trained_it_answers_text_and_stores_what_was_trained(waiting: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "images").mkdir(parents=True)
    pixels = torch.randint(0, 256, (40, 40, 3), dtype=torch.uint8).numpy()
    Pillow.fromarray(pixels).save(data / "images" / "m1.png")
    mask = rle.encode(pixels[..., 0] > 90)
    (data / "annotations.json").write_text(json.dumps({
        "images": [{"id": 1, "file_name": "m1.png", "width": 40, "height": 40}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "segmentation": mask}],
        "categories": [{"id": 1, "name": "cow"}],
    }))  # fmt: skip
    out = Path(shutil.copytree(waiting, tmp_path / "mine"))
    config = OvsConfig(
        heads=HEADS, steps=2, batch=2, size=28, teacher_size=32, mask_side=28, trained_blocks=1, warmup=0.0
    )
    assert train_ovs_dino(TrainingJob(folders=[data], out=out), config)
    assert tasks(out) == ("text", "click")
    stored = load_file(out / "ovs-dino.safetensors")
    assert {name.split(".")[0] for name in stored} == {"heads", "blocks"}
    assert {value.dtype for value in stored.values()} == {torch.float32}, "its steps are small"
    engine = Engine.load(out, "cpu")
    assert engine.text_methods == ("ovs-dino",)
    found = engine.segment_text(mw.Image(pixels), "cow, sky")
    assert found.provenance["method"] == "ovs-dino"
    preset = load(out)
    assert preset.ovs_dino is not None
    assert len(preset.ovs_dino.settings.prompts) == 80
    block = preset.ovs_dino.model.visual.blocks[-1].state_dict()
    before = load_file(waiting / "ovs-dino-encoders.safetensors")
    name = "mlp.fc1.weight"
    assert not torch.equal(block[name], before[f"visual.vit.encoder.layer.1.{name}"])


def test_what_is_wrong_with_the_files_is_named(files: list[Path], tmp_path: Path) -> None:
    def make(chosen: list[Path]) -> Path:
        return import_ovs_dino(chosen, tmp_path / "bad", ENCODERS, TEACHER)

    with pytest.raises(UsageError, match="needs one file of SAM"):
        make([file for file in files if "sam" not in file.name])
    with pytest.raises(BadWeights, match="vocabulary"):
        make(files[:-1])
    with pytest.raises(BadWeights, match=r"lacks text\."):
        make([file for file in files if "ViT" not in file.name])
    assert not (tmp_path / "bad" / "config.json").exists()
