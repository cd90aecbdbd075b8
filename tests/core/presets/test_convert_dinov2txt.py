"""The paper's dino.txt, on DINOv2: its authors' three files in, preset out, and what it computes, written out again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import maskwright as mw
from maskwright.engine import Engine
from maskwright.errors import BadWeights
from maskwright.models.dinotxt import SPECS, DinoTxt, DinoTxtConfig, HeadConfig, TextConfig
from maskwright.models.dinov2 import DinoV2, DinoV2Config
from maskwright.models.dinov2 import convert_official as convert_dinov2
from maskwright.presets.convert import import_dinotxt
from maskwright.presets.loading import dinotxt_settings, load, load_dinotxt
from maskwright.presets.official import OFFICIAL
from tests.core.presets.test_convert_talk2dino import VOCABULARY, needs_vocabulary, official_dinov2

CONFIG = DinoTxtConfig(
    DinoV2Config(width=16, depth=2, heads=2, grid=3),
    HeadConfig(blocks=2, heads=2),
    TextConfig(width=8, depth=1, heads=2),
)
State = dict[str, Tensor]


class _Visual(nn.Module):
    """Under the name that `official_dinov2` reads."""

    def __init__(self, visual: nn.Module) -> None:
        super().__init__()
        self.visual = visual


@pytest.fixture(scope="module")
def model() -> DinoTxt:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        made = DinoTxt(CONFIG).eval().requires_grad_(False)
        for value in made.parameters():
            value.normal_(std=0.5)
    made.logit_scale.fill_(float(np.log(1 / 0.07)))
    return made


def _part(model: nn.Module, prefix: str) -> State:
    return {k.removeprefix(prefix): v.clone() for k, v in model.state_dict().items() if k.startswith(prefix)}


@pytest.fixture
def files(tmp_path: Path, model: DinoTxt) -> list[Path]:
    head = {k.replace("blocks.", "block_list."): v for k, v in _part(model, "visual_model.head.").items()}
    parts = {
        "backbone": official_dinov2(_Visual(model.visual_model.backbone)),
        "vision_head": head,
        "text_encoder": _part(model, "text_model."),
    }
    for name, state in parts.items():
        torch.save(state, tmp_path / f"{name}.pth")
    return [*(tmp_path / f"{name}.pth" for name in parts), VOCABULARY]


@needs_vocabulary
def test_official_files(tmp_path: Path, files: list[Path], model: DinoTxt) -> None:
    folder = import_dinotxt(files[::-1], tmp_path / "mine", CONFIG)
    loaded = load_dinotxt(folder).model.state_dict()
    assert loaded.keys() == model.state_dict().keys()
    assert all(torch.equal(loaded[name], value) for name, value in model.state_dict().items())
    settings = dinotxt_settings(folder)
    assert isinstance(settings.model.backbone, DinoV2Config)
    assert (settings.protocol.short_sides, settings.protocol.window, settings.protocol.stride) == ((448,), 448, 224)
    insid3 = load(folder).insid3
    assert insid3 is not None
    assert insid3.settings.method.size % 14 == insid3.settings.points.size % 14 == 0  # type: ignore[union-attr]
    told = json.loads((folder / "config.json").read_text())
    told["dinotxt"]["protocol"] = {"short_sides": [56], "window": 56, "stride": 28}
    (folder / "config.json").write_text(json.dumps(told))
    image = mw.Image(np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8))
    found = Engine.load(folder, "cpu").segment_text(image, "cow, grass")
    assert set(np.unique(found.label_map)) <= {1, 2}


@needs_vocabulary
def test_a_missing_file_is_named(tmp_path: Path, files: list[Path]) -> None:
    with pytest.raises(BadWeights, match=r"visual_model\.head"):
        import_dinotxt([files[0], *files[2:]], tmp_path / "mine", CONFIG)


def test_features_are_the_head_behind_the_backbone(model: DinoTxt) -> None:
    """Registers pass through the head, as released; positions of the backbone are resized to the image."""
    pixels = torch.randn(2, 3, 42, 56, generator=torch.Generator().manual_seed(0))
    backbone = DinoV2(CONFIG.backbone).eval()  # type: ignore[arg-type]
    backbone.load_state_dict(convert_dinov2(official_dinov2(_Visual(model.visual_model.backbone))))
    with torch.no_grad():
        raw = backbone(pixels)
        tokens = torch.cat([raw.cls[:, None], raw.storage, raw.patches], dim=1)
        head: Any = model.visual_model.head
        for block in head.blocks:
            tokens = tokens + block.ls1.gamma * _attention(block.norm1(tokens), block.attn)
            normed = block.norm2(tokens)
            gated = F.silu(F.linear(normed, block.mlp.w1.weight, block.mlp.w1.bias)) * block.mlp.w2(normed)
            tokens = tokens + block.ls2.gamma * block.mlp.w3(gated)
        tokens = head.ln_final(tokens)
        found = model.encode_image(pixels)
        taps, end = model.visual_model.with_taps(pixels, [0])
    assert found.grid == (3, 4)
    torch.testing.assert_close(found.cls, tokens[:, 0])
    torch.testing.assert_close(found.patches, tokens[:, 5:])
    torch.testing.assert_close(end.patches, found.patches)
    torch.testing.assert_close(taps[0].patches, backbone.intermediate(pixels, [0], norm=False)[0].patches)


def _attention(tokens: Tensor, layer: Any) -> Tensor:
    """Softmax attention with two heads, written out."""
    width = tokens.shape[-1] // 2
    query, key, value = (tokens @ part.T for part in layer.qkv.weight.chunk(3))
    mixed = []
    for head in (slice(0, width), slice(width, 2 * width)):
        weights = (query[..., head] @ key[..., head].transpose(1, 2) / width**0.5).softmax(dim=-1)
        mixed.append(weights @ value[..., head])
    joined = torch.cat(mixed, dim=-1)
    return F.linear(joined, layer.proj.weight, layer.proj.bias)


def test_the_catalogue_counts_its_parameters() -> None:
    with torch.device("meta"):
        made = DinoTxt(SPECS["vitl14"])
    count = sum(value.numel() for value in made.parameters())
    assert sum(file.size for file in OFFICIAL["dinov2txt-l"].files[:3]) == 4 * (count - 1)
    assert f"{count / 1e6:.1f} M" in OFFICIAL["dinov2txt-l"].description
