"""MobileSAM's image encoder and the EfficientNet-Lite trunk: published layouts, folded batch norms, any image size."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from maskwright.errors import BadWeights, ShapeError
from maskwright.models.dinov3 import DinoV3, DinoV3Config
from maskwright.models.efficientnet_lite import LiteConfig, LiteTrunk, convert_published
from maskwright.models.sam import SPECS, Sam, convert_official, official_name
from maskwright.models.tiny_vit import TinyVit, TinyVitConfig, fold_batch_norms

SMALL = TinyVitConfig(widths=(16, 32, 32, 64), depths=(1, 1, 1, 1), heads=(1, 1, 2, 2), windows=(7, 7, 4, 7), out=32)


def _unfolded(folded: dict[str, Tensor]) -> dict[str, Tensor]:
    """The authors' layout: every convolution `c` with a batch norm `bn` of random statistics that folds to it."""
    chance = torch.Generator().manual_seed(3)
    out: dict[str, Tensor] = {}
    for name, value in folded.items():
        stem, found, part = name.rpartition(".c.")
        if not found:
            out[name] = value
        elif part == "weight":
            weight, mean, variance = (torch.rand(len(value), generator=chance) + 0.5 for _ in range(3))
            factor = weight / (variance + 1e-5).sqrt()
            out[name] = value / factor[:, None, None, None]
            out[f"{stem}.bn.weight"] = weight
            out[f"{stem}.bn.bias"] = folded[f"{stem}.c.bias"] + mean * factor
            out[f"{stem}.bn.running_mean"], out[f"{stem}.bn.running_var"] = mean, variance
            out[f"{stem}.bn.num_batches_tracked"] = torch.tensor(1)
    return out


def test_mobile_sam_has_the_published_sizes() -> None:
    with torch.device("meta"):
        model = Sam(SPECS["mobile"])
    count = sum(p.numel() for p in model.image_encoder.parameters())
    # 5,731,712 without the attention biases, which are constants of the published ONNX file
    assert count == 5_738_964
    assert sum(p.numel() for p in model.parameters()) - count == 4_064_816


@pytest.mark.slow
def test_the_authors_file_loads_with_batch_norms_and_unused_keys() -> None:
    model = Sam(SPECS["mobile"])
    own = {name: torch.randn(value.shape) * 0.1 for name, value in model.state_dict().items()}
    encoder = {name.removeprefix("image_encoder."): v for name, v in own.items() if name.startswith("image_encoder.")}
    depth = {name: model.config.iou_depth if "iou_prediction_head" in name else 3 for name in own}
    theirs = {official_name(name, depth[name]): v for name, v in own.items() if not name.startswith("image_encoder.")}
    theirs |= {f"image_encoder.{name}": value for name, value in _unfolded(encoder).items()}
    theirs["image_encoder.head.weight"] = torch.zeros(1000, 320)
    theirs["image_encoder.layers.1.blocks.0.attn.attention_bias_idxs"] = torch.zeros(49, 49)
    converted = convert_official(theirs, model)
    assert converted.keys() == own.keys()
    assert all(torch.allclose(converted[name], value, atol=1e-5) for name, value in own.items())
    del theirs["image_encoder.patch_embed.seq.0.c.weight"]
    with pytest.raises(BadWeights, match=r"patch_embed\.seq\.0\.c\.weight"):
        convert_official(theirs, model)


def test_folded_weights_compute_what_batch_norms_do() -> None:
    torch.manual_seed(0)
    model = TinyVit(SMALL).eval()
    state = _unfolded(model.state_dict())
    assert all(torch.allclose(fold_batch_norms(state)[name], v, atol=1e-5) for name, v in model.state_dict().items())
    pixels = torch.randn(1, 3, 32, 32)
    stem = "patch_embed.seq.0"
    theirs = F.batch_norm(
        F.conv2d(pixels, state[f"{stem}.c.weight"], stride=2, padding=1),
        state[f"{stem}.bn.running_mean"], state[f"{stem}.bn.running_var"],
        state[f"{stem}.bn.weight"], state[f"{stem}.bn.bias"],
    )  # fmt: skip
    assert torch.allclose(model.patch_embed.seq[0](pixels), theirs, atol=1e-5)


@pytest.mark.parametrize("size_hw", [(16, 16), (48, 112), (128, 64)], ids=str)
def test_any_size_of_image(size_hw: tuple[int, int]) -> None:
    height, width = size_hw
    maps = TinyVit(SMALL).eval().maps(torch.randn(2, 3, height, width))
    assert maps.embedding.shape == (2, 32, height // 16, width // 16)
    assert maps.quarter.shape[-2:] == (height // 4, width // 4)
    assert maps.eighth.shape[-2:] == (height // 8, width // 8)
    assert maps.sixteenth.shape[-2:] == (height // 16, width // 16)


def test_sides_must_be_multiples_of_the_stride() -> None:
    with pytest.raises(ShapeError):
        TinyVit(SMALL)(torch.randn(1, 3, 40, 48))


def test_attention_stays_inside_its_window() -> None:
    torch.manual_seed(0)
    model = TinyVit(SMALL).eval()
    stage = model.stages[2]
    features = torch.randn(1, 32, 8, 8)
    changed = features.clone()
    changed[..., 4:, 4:] += 1
    attend = stage.blocks[0]._window_attention
    difference = (attend(features) - attend(changed)).abs().amax(dim=(0, 1))
    assert difference[4:, 4:].min() > 0
    assert difference[:4].max() == 0
    assert difference[:, :4].max() == 0


def published_lite(config: LiteConfig, classes: int = 1000) -> dict[str, Tensor]:
    """The published layout with random weights and statistics."""
    chance = torch.Generator().manual_seed(5)
    state: dict[str, Tensor] = {}

    def norm(name: str, width: int) -> None:
        for part in ("weight", "bias", "running_mean", "running_var"):
            state[f"{name}.{part}"] = torch.rand(width, generator=chance) + 0.5

    def conv(name: str, out: int, channels: int, kernel: int) -> None:
        state[f"{name}.weight"] = torch.randn(out, channels, kernel, kernel, generator=chance) * 0.2

    conv("_conv_stem", config.stem, 3, 3)
    norm("_bn0", config.stem)
    number, channels = 0, config.stem
    for index, (out, depth, kernel) in enumerate(zip(config.widths, config.depths, config.kernels, strict=True)):
        for _ in range(depth):
            hidden = channels * (config.expansion if index else 1)
            if index:
                conv(f"_blocks.{number}._expand_conv", hidden, channels, 1)
                norm(f"_blocks.{number}._bn0", hidden)
            conv(f"_blocks.{number}._depthwise_conv", hidden, 1, kernel)
            norm(f"_blocks.{number}._bn1", hidden)
            conv(f"_blocks.{number}._project_conv", out, hidden, 1)
            norm(f"_blocks.{number}._bn2", out)
            number, channels = number + 1, out
    conv("_conv_head", 1280, channels, 1)
    norm("_bn1", 1280)
    state["_fc.weight"], state["_fc.bias"] = torch.randn(classes, 1280), torch.randn(classes)
    return state


LITE = LiteConfig(stem=8, widths=(4, 6, 8, 8, 10, 12, 16), depths=(1, 1, 1, 1, 1, 1, 1))


def test_the_trunk_loads_the_published_layout_and_folds_its_norms() -> None:
    state = published_lite(LITE)
    trunk = LiteTrunk(LITE).eval()
    weights, _ = convert_published(state, LITE)
    trunk.load_state_dict(weights)
    pixels = torch.randn(1, 3, 32, 32)
    # ImageNet-normalised pixels are converted to (x - 127) / 128 of 0..255
    mean, std = (torch.tensor(v)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    own = ((pixels * std + mean) * 255 - 127) / 128
    convolved = F.conv2d(F.pad(own, (0, 1, 0, 1)), state["_conv_stem.weight"], stride=2)
    mean0, variance0, weight0, bias0 = (
        state[f"_bn0.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
    )
    theirs = F.relu6(F.batch_norm(convolved, mean0, variance0, weight0, bias0, eps=1e-3))
    ours = F.relu6(trunk.stem(pixels * trunk._factor + trunk._shift))
    assert torch.allclose(ours, theirs, atol=1e-4)
    del state["_blocks.2._bn1.weight"]
    with pytest.raises(BadWeights, match=r"_blocks\.2\._bn1\.weight"):
        convert_published(state, LITE)


@pytest.mark.parametrize("dense", [True, False])
def test_maps_of_the_trunk(*, dense: bool) -> None:
    config = LiteConfig(stem=8, widths=LITE.widths, depths=LITE.depths, dense=dense)
    maps = LiteTrunk(config).eval()(torch.randn(1, 3, 64, 96))
    assert maps.eighth.shape == (1, 8, 8, 12)
    assert maps.sixteenth.shape == (1, 10, 4, 6)
    assert maps.last.shape == ((1, 16, 4, 6) if dense else (1, 16, 2, 3))


def test_dinov3_on_a_trunk_keeps_its_interface() -> None:
    model = DinoV3(DinoV3Config(width=24, depth=2, heads=2, layer_scale=1.0, trunk=LITE)).eval()
    stem, features = model.with_stem(torch.randn(1, 3, 32, 48))
    assert stem.shape == (1, 24, 2, 3)
    assert features.patches.shape == (1, 6, 24)
    assert features.grid == (2, 3)
    assert features.cls.shape == (1, 24)
