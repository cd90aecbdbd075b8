"""Sizes and layouts of the official models, on the meta device."""

from __future__ import annotations

import json

import pytest
import torch

from maskwright.errors import BadWeights, ShapeError
from maskwright.models import dinotxt, dinov3
from maskwright.models.state_dict import load_exactly
from tests.conftest import SHARED

LAYOUTS = SHARED / "checkpoints"
needs_layouts = pytest.mark.skipif(not LAYOUTS.is_dir(), reason=f"no checkpoint layouts in {LAYOUTS}")


def _meta_state(name: str) -> dict[str, torch.Tensor]:
    layout = json.loads((LAYOUTS / f"{name}.json").read_text())
    return {key: torch.empty(shape, device="meta") for key, (shape, _) in layout.items()}


def _count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_dinotxt_has_the_published_number_of_parameters() -> None:
    with torch.device("meta"):
        model = dinotxt.DinoTxt(dinotxt.SPECS["vitl16"])
    assert _count(model) == 866_611_713
    assert _count(model.visual_model.backbone) == 303_154_176
    assert _count(model.visual_model.head) == 25_326_336


@needs_layouts
@pytest.mark.parametrize(("spec", "parameters"), [("vits16", 21_601_152), ("vitb16", 85_669_632)])
def test_backbones_load_the_authors_layout(spec: str, parameters: int) -> None:
    with torch.device("meta"):
        model = dinov3.DinoV3(dinov3.SPECS[spec])
    assert _count(model) == parameters
    load_exactly(model, dinov3.convert_official(_meta_state(f"dinov3_{spec}")), what=spec)


@needs_layouts
def test_whole_dinotxt_loads_from_the_authors_two_files() -> None:
    with torch.device("meta"):
        model = dinotxt.DinoTxt(dinotxt.SPECS["vitl16"])
    backbone = dinov3.convert_official(_meta_state("dinov3_vitl16"))
    head = _meta_state("dinov3_vitl16_dinotxt")
    load_exactly(model, head | {f"visual_model.backbone.{k}": v for k, v in backbone.items()}, what="dino.txt")


def test_key_bias_is_masked_even_where_the_file_holds_nan() -> None:
    bias = torch.full((12,), 2.0)
    bias[4:8] = torch.nan
    mask = torch.ones(12)
    mask[4:8] = 0
    state = {"blocks.0.attn.qkv.bias": bias, "blocks.0.attn.qkv.bias_mask": mask}
    converted = dinov3.convert_official(state)
    assert torch.equal(converted["vit.model.layer.0.attention.k_proj.bias"], torch.zeros(4))
    assert torch.equal(converted["vit.model.layer.0.attention.q_proj.bias"], torch.full((4,), 2.0))
    with pytest.raises(BadWeights, match="bias_mask"):
        dinov3.convert_official({"blocks.0.attn.qkv.bias": bias})


def test_sides_must_be_multiples_of_the_patch() -> None:
    model = dinov3.DinoV3(dinov3.DinoV3Config(width=32, depth=1, heads=2))
    with pytest.raises(ShapeError, match="multiples of 16"):
        model(torch.zeros(1, 3, 40, 32))


def test_texts_of_different_length_do_not_disturb_one_another() -> None:
    config = dinotxt.DinoTxtConfig(
        dinov3.DinoV3Config(width=32, depth=1, heads=2),
        dinotxt.HeadConfig(1, 2),
        dinotxt.TextConfig(vocabulary=50, context=12, width=32, depth=2, heads=2),
    )
    model = dinotxt.DinoTxt(config).eval()
    generator = torch.Generator().manual_seed(0)
    ids = torch.zeros(150, 12, dtype=torch.int64)
    for row in ids:
        length = int(torch.randint(1, 11, (1,), generator=generator))
        row[:length] = torch.randint(1, 49, (length,), generator=generator)
        row[length] = 49
    together = model.encode_text(ids)
    alone = torch.cat([model.encode_text(row[None]) for row in ids])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
