"""OVS-DINO's equations on small random weights, what each loss trains, and the published sizes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maskwright.models.clip_text import ClipTextConfig
from maskwright.models.dinotxt import DinoTxt, DinoTxtConfig, HeadConfig, TextConfig
from maskwright.models.dinov2 import DinoV2Config
from maskwright.models.dinov3 import DinoV3Config
from maskwright.models.ovs_dino import (
    EncodersConfig,
    Heads,
    HeadsConfig,
    OvsDino,
    alignment,
    sam_middle,
    segmentation_losses,
    similarity,
)
from maskwright.models.sam import Sam, SamConfig
from maskwright.models.tiny_vit import TinyVitConfig
from maskwright.training.config import OvsConfig
from maskwright.training.noun_masks import NounBatch
from maskwright.training.ovs_dino import OvsObjective

SMALL = HeadsConfig(width=24, text=12, middle=8, taps=(2, 4), groups=4)
ENCODERS = EncodersConfig(
    DinoV2Config(width=24, depth=6, heads=2, grid=4, registers=0),
    ClipTextConfig(vocabulary=50, context=8, width=16, depth=1, heads=2, out=12),
)
MIDDLES = [SMALL, replace(SMALL, pointwise=True), replace(SMALL, shared_fusion=True), replace(SMALL, gate=False)]


@pytest.fixture
def model() -> OvsDino:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        built = OvsDino.build(ENCODERS, SMALL)
        for block in built.visual.blocks:
            for parameter in block.parameters():
                nn.init.normal_(parameter, std=0.2)
    return built.eval()


@pytest.fixture
def pixels() -> Tensor:
    return torch.randn(2, 3, 56, 56, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def teacher() -> Sam:
    encoder = TinyVitConfig(widths=(8, 8, 8, 8), depths=(1,) * 4, heads=(1,) * 4, windows=(4,) * 4, out=8)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Sam(SamConfig(size=128, longest=128, tiny_vit=encoder, out=8, decoder_heads=2, decoder_mlp=16)).eval()


@pytest.mark.parametrize(("pointwise", "expected"), [(False, 5_151_752), (True, 5_344_008)])
def test_the_published_size_has_this_many_new_parameters(pointwise: bool, expected: int) -> None:
    heads = Heads(HeadsConfig(pointwise=pointwise))
    assert sum(parameter.numel() for parameter in heads.parameters()) == expected


def test_with_alpha_and_gamma_zero_the_output_is_dinos_to_the_bit(model: OvsDino, pixels: Tensor) -> None:
    features = model.taps(pixels)
    last = model.visual(pixels).patch_map()
    assert torch.equal(features.last, last), "F12 went through the final norm"
    assert torch.equal(model.heads.encoder.fusion(features), last)
    assert torch.equal(model.heads.decoder(features.last, model.heads.encoder(features)), last)
    with torch.no_grad():
        model.heads.decoder.gamma.fill_(0.5)
    assert not torch.equal(model.heads.decoder(features.last, model.heads.encoder(features)), last)


def test_taps_are_blocks_without_a_norm(model: OvsDino, pixels: Tensor) -> None:
    assert isinstance(model.visual.blocks, nn.ModuleList)
    outputs: list[Tensor] = []
    hooks = [block.register_forward_hook(lambda *args: outputs.append(args[2])) for block in model.visual.blocks]
    features = model.taps(pixels)
    for hook in hooks:
        hook.remove()
    for tap, block in zip(features.taps, SMALL.taps, strict=True):
        assert torch.equal(tap.flatten(2).transpose(1, 2), outputs[block - 1][:, 1:]), "blocks are counted from 1"


def test_the_backbone_of_dinotxt_has_taps_too() -> None:
    config = DinoTxtConfig(
        DinoV3Config(width=24, depth=3, heads=2, layer_scale=1.0), HeadConfig(blocks=1, heads=2, layer_scale=1.0),
        TextConfig(vocabulary=50, context=8, width=16, depth=1, heads=2),
    )  # fmt: skip
    visual = DinoTxt(config).eval().visual_model
    pixels = torch.randn(1, 3, 32, 48)
    taps, last = visual.with_taps(pixels, [0, 1])
    torch.testing.assert_close(last.patches, visual(pixels).patches)
    assert torch.equal(taps[1].patches, visual.backbone.intermediate(pixels, [1], norm=False)[0].patches)


@pytest.mark.parametrize("config", MIDDLES, ids=["multiplier", "pointwise", "shared", "without gate"])
def test_shapes_of_every_reading(config: HeadsConfig, model: OvsDino, pixels: Tensor) -> None:
    heads, features = Heads(config), model.taps(pixels)
    assert heads.encoder(features).shape == (2, 8, 8, 8), "twice the patches"
    assert heads(features).shape == (2, 12, 4, 4)


def test_alignment_on_numbers_worked_out_by_hand() -> None:
    middle, target = torch.tensor([[3.0, 4.0]]).view(1, 2, 1, 1), torch.tensor([[4.0, 3.0]]).view(1, 2, 1, 1)
    loss = alignment(middle, target)
    assert float(loss.cosine) == pytest.approx(1 - 24 / 25)
    assert float(loss.mse) == pytest.approx((1 + 1) / 2)
    assert [float(value) for value in alignment(target, target)] == pytest.approx([0.0, 0.0], abs=1e-6)


def test_dice_and_cross_entropy_on_numbers_worked_out_by_hand() -> None:
    logits, targets = torch.zeros(1, 1, 4), torch.tensor([[[1.0, 1.0, 0.0, 0.0]]])
    dice, entropy = segmentation_losses(logits, targets)
    assert float(dice) == pytest.approx(1 - (2 * 1 + 1) / (2 + 2 + 1))
    assert float(entropy) == pytest.approx(np.log(2))
    logits[0, 0, 3] = 50
    _, entropy = segmentation_losses(logits, targets, torch.tensor([[[1.0, 1.0, 1.0, 0.0]]]))
    assert float(entropy) == pytest.approx(np.log(2)), "a pixel that is not scored does not count"


def test_a_class_vector_is_the_mean_of_unit_prompts(model: OvsDino) -> None:
    ids = torch.tensor([[3, 7, 49, 0, 0, 0, 0, 0], [5, 49, 0, 0, 0, 0, 0, 0]])
    with torch.no_grad():
        unit = F.normalize(model.text(ids), dim=-1)
        torch.testing.assert_close(model.encode_class(ids), F.normalize(unit.mean(dim=0), dim=0))
        features, attention = model.encode_image(torch.zeros(1, 3, 28, 42))
    assert (features.shape, attention.shape) == ((1, 12, 2, 3), (1, 2, 6))
    cosines = similarity(features, model.encode_class(ids)[None])
    assert cosines.abs().max() <= 1


# which loss trains what


def _batch(pixels: Tensor) -> NounBatch:
    nothing = torch.zeros(0)
    masks = (torch.rand(3, 56, 56, generator=torch.Generator().manual_seed(2)) > 0.5).float()
    return NounBatch(
        pixels, nothing, nothing, masks, torch.ones(2, 56, 56), torch.tensor([0, 0, 1]), torch.tensor([0, 1, 1])
    )


def _touched(model: OvsDino) -> set[str]:
    return {name for name, p in model.named_parameters() if p.grad is not None and bool((p.grad != 0).any())}


@pytest.fixture
def awake(model: OvsDino) -> OvsDino:
    """Alpha and gamma away from 0, where every gradient passes."""
    with torch.no_grad():
        model.heads.encoder.fusion.alpha.fill_(0.3)
        model.heads.decoder.gamma.fill_(0.3)
    return model


CONFIG = OvsConfig(heads=SMALL, steps=4, batch=2, size=56, teacher_size=128, mask_side=56, trained_blocks=3)


def _objective(model: OvsDino, teacher: Sam, config: OvsConfig) -> OvsObjective:
    model.requires_grad_(requires_grad=False)
    model.trained_parts(config.trained_blocks).requires_grad_(requires_grad=True)
    vectors = F.normalize(torch.randn(2, 12, generator=torch.Generator().manual_seed(3)), dim=-1)
    return OvsObjective(model, teacher.image_encoder, vectors, config, "cpu")


def test_segmentation_reaches_exactly_the_last_three_blocks(awake: OvsDino, teacher: Sam, pixels: Tensor) -> None:
    objective = _objective(awake, teacher, replace(CONFIG, align=0.0))
    objective(0, _batch(pixels))[0].backward()
    touched = _touched(awake)
    visual = {name for name in touched if name.startswith("visual.")}
    assert {name.split(".")[4] for name in visual} == {"3", "4", "5"}
    assert all(name.startswith("visual.vit.encoder.layer.") for name in visual), "the final norm stands still"
    assert {"heads.encoder.conv.weight", "heads.decoder.gamma", "heads.projector.weight", "heads.scale"} <= touched
    assert not [name for name in touched if name.startswith("text.")]


def test_alignment_trains_the_encoder_alone(awake: OvsDino, teacher: Sam, pixels: Tensor) -> None:
    objective = _objective(awake, teacher, CONFIG)
    batch = _batch(pixels)
    features = objective._features(batch)
    target = objective._target(batch, features)
    assert target is not None
    assert target.shape == (2, 8, 8, 8)
    sum(alignment(awake.heads.encoder(features.detach()), target)).backward()  # type: ignore[union-attr]
    assert {name.split(".")[1] for name in _touched(awake)} == {"encoder"}
    assert all(name.startswith("heads.") for name in _touched(awake))
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_both_losses_together_add_up(awake: OvsDino, teacher: Sam, pixels: Tensor) -> None:
    loss, parts = _objective(awake, teacher, CONFIG)(0, _batch(pixels))
    assert set(parts) == {"cosine", "mse", "dice", "bce"}
    assert float(loss.detach()) == pytest.approx(sum(float(value) for value in parts.values()), rel=1e-5)
    half, _ = _objective(awake, teacher, replace(CONFIG, align=0.5))(0, _batch(pixels))
    aligned = float(parts["cosine"] + parts["mse"])
    assert float(loss.detach() - half.detach()) == pytest.approx(aligned / 2, rel=1e-3)


def test_sam_is_never_called_at_inference(awake: OvsDino, teacher: Sam, pixels: Tensor) -> None:
    calls: list[int] = []
    teacher.image_encoder.register_forward_hook(lambda *_: calls.append(1))
    _objective(awake, teacher, CONFIG)(0, _batch(pixels))
    assert calls == [1], "once a step in training"
    awake.encode_image(pixels)
    assert calls == [1]
    assert not any(isinstance(part, Sam) for part in awake.modules())


def test_sams_embedding_may_stand_in_for_the_middle(awake: OvsDino, teacher: Sam, pixels: Tensor) -> None:
    """Table 4: the same weights answer with SAM's own features."""
    middle = sam_middle(teacher.image_encoder, pixels, 128, (8, 8))
    with torch.no_grad():
        own, swapped = awake.encode_image(pixels)[0], awake.encode_image(pixels, middle)[0]
    assert swapped.shape == own.shape
    assert not torch.equal(swapped, own)
