"""dinov3.seg against its paper: sizes, what each step may and may not do, inference on any shape, losses."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from maskwright.evaluation.model_size import count
from maskwright.imaging.geometry import slide
from maskwright.models import cost_aggregation, dinov3seg
from maskwright.models.anyup import AnyUp, AnyUpConfig, convert_official
from maskwright.models.cost_aggregation import AggregatorConfig
from maskwright.models.dinotxt import DinoTxtConfig, HeadConfig, TextConfig
from maskwright.models.dinov3 import DinoV3Config
from maskwright.models.dinov3seg import Dinov3Seg, Dinov3SegConfig
from maskwright.models.sam import SamConfig
from maskwright.models.sliding_window import average_windows
from maskwright.presets.config import Dinov3SegProtocol
from tests.conftest import SHARED

SMALL = Dinov3SegConfig(
    vlm=DinoTxtConfig(
        DinoV3Config(width=32, depth=1, heads=2, layer_scale=1.0),
        HeadConfig(blocks=1, heads=2, layer_scale=1.0),
        TextConfig(vocabulary=50, context=8, width=16, depth=1, heads=2),
    ),
    spe=SamConfig(size=128, longest=128, width=24, depth=3, heads=2, window=4, global_blocks=(2,), out=16),
    taps=(0, 1),
    anyup=AnyUpConfig(width=16, heads=2),
    aggregator=AggregatorConfig(
        text=32, appearance=16, taps=(24, 24), hidden=32, window=4, text_guidance=16, appearance_guidance=16,
        decoder=(32, 16), decoder_guidance=(16, 8), padding=6,
    ),
)  # fmt: skip


@pytest.fixture(scope="module")
def model() -> Dinov3Seg:
    torch.manual_seed(0)
    model = Dinov3Seg(SMALL)
    with torch.no_grad():
        for layer in model.aggregator.layers:
            # zero at the start, so that nobody would miss them
            layer.attention.padding_tokens.normal_()
            layer.attention.padding_guidance.normal_()
    return model.eval().requires_grad_(False)


def _text(classes: int, seed: int = 1) -> Tensor:
    return torch.randn(classes, 64, generator=torch.Generator().manual_seed(seed))


def _pixels(height: int = 64, width: int = 96, seed: int = 2) -> Tensor:
    return torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(seed))


def _parameters(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(("final", "total"), [("neck", 1_178_204_130), ("last_block", 1_178_235_874)])
def test_has_the_papers_number_of_parameters(final: str, total: int) -> None:
    config = dinov3seg.SPECS["vitl16"]
    if final == "last_block":
        config = replace(config, final="last_block", aggregator=replace(config.aggregator, appearance=1024))
    with torch.device("meta"):
        model = Dinov3Seg(config)
    assert _parameters(model.vlm) == 866_611_713
    assert _parameters(model) == total
    assert round(total / 1e6, 1) == 1178.2
    assert round((total - 866_611_713) / 1e6, 1) == 311.6


@pytest.mark.parametrize("final", ["neck", "last_block"])
def test_either_final_layer_of_the_prior_guides(final: str) -> None:
    config = SMALL
    if final == "last_block":
        config = replace(SMALL, final="last_block", aggregator=replace(SMALL.aggregator, appearance=24))
    logits = Dinov3Seg(config).eval()(_pixels(), _text(3))
    assert logits.shape == (1, 3, 64, 96)


def test_anyup_has_the_authors_layout() -> None:
    file = SHARED / "checkpoints" / "anyup.json"
    if not file.is_file():
        pytest.skip(f"no {file}")
    layout = json.loads(file.read_text())
    with torch.device("meta"):
        model = AnyUp(AnyUpConfig())
    shapes = {name: list(value.shape) for name, value in model.state_dict().items()}
    assert shapes == {name: shape for name, (shape, _) in layout.items()}
    prefixed = convert_official({f"module.{name}": value for name, value in model.state_dict().items()})
    assert prefixed.keys() == layout.keys()


def test_anyup_starts_with_the_published_frequencies() -> None:
    freqs = AnyUp(AnyUpConfig()).rope.freqs
    expected = 2 * torch.pi * 100 ** torch.linspace(0, -1, 32)
    torch.testing.assert_close(freqs[0, :64], torch.cat([expected, expected]))
    torch.testing.assert_close(freqs[1, 64:], torch.cat([expected, expected]))
    assert not freqs[0, 64:].any()
    assert not freqs[1, :64].any()


def test_early_refinement_recombines_features_convexly(model: Dinov3Seg) -> None:
    pixels = _pixels()
    # with one channel a cell as features, the output's channels are the weights themselves
    cells = 4 * 6
    weights = model.refine(pixels, torch.eye(cells).reshape(1, cells, 4, 6))
    assert (weights >= 0).all()
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(1, 4, 6))
    features = torch.randn(1, 32, 4, 6)
    refined = model.refine(pixels, features)
    assert not torch.allclose(refined, features)
    low, high = features.amin(dim=(2, 3), keepdim=True), features.amax(dim=(2, 3), keepdim=True)
    assert (refined >= low - 1e-5).all()
    assert (refined <= high + 1e-5).all()


def test_unification_in_strips_equals_the_whole() -> None:
    early = AnyUp(AnyUpConfig(width=16, heads=2)).eval()
    image, features = _pixels(128, 304), torch.randn(1, 20, 19, 19)
    learning = early(image, features, (21, 19))
    with torch.no_grad():
        torch.testing.assert_close(early(image, features, (21, 19)), learning, rtol=1e-4, atol=1e-4)


def test_order_of_classes_is_of_no_account(model: Dinov3Seg) -> None:
    text, order = _text(5), torch.tensor([3, 0, 4, 1, 2])
    logits = model(_pixels(), text)
    assert logits.std(dim=1).max() > 0.01
    torch.testing.assert_close(model(_pixels(), text[order]), logits[:, order], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("classes", [pytest.param(5, id="fewer than the padding"), pytest.param(9, id="more")])
@pytest.mark.parametrize("chunk", [1, 2, 4])
def test_chunks_of_classes_give_the_same(model: Dinov3Seg, classes: int, chunk: int) -> None:
    whole = model(_pixels(), _text(classes))
    torch.testing.assert_close(model(_pixels(), _text(classes), chunk=chunk), whole, rtol=1e-4, atol=1e-5)


def test_another_class_speaks_through_the_class_block_only(model: Dinov3Seg, monkeypatch: pytest.MonkeyPatch) -> None:
    text = _text(5)
    few, more = model(_pixels(), text[:4]), model(_pixels(), text)
    assert not torch.allclose(few, more[:, :4], atol=1e-4)

    def apart(self: object, chunks: list[Tensor], guidance: list[Tensor], pooling: object) -> list[Tensor]:
        return chunks

    monkeypatch.setattr(cost_aggregation._ClassRefinement, "forward", apart)
    few, more = model(_pixels(), text[:4]), model(_pixels(), text)
    torch.testing.assert_close(few, more[:, :4], rtol=1e-4, atol=1e-5)


def test_learned_class_fills_up_as_the_authors_do(model: Dinov3Seg) -> None:
    block = model.aggregator.layers[0].attention
    maps, words = torch.randn(1, 32, 3, 4, 4), torch.randn(1, 3, 16)
    (ours,) = block([maps], [words])
    # the authors put the learned class onto the class axis as often as it takes
    filler = block.padding_tokens.reshape(1, 32, 1, 1, 1).expand(-1, -1, 3, 4, 4)
    padding, block.padding = block.padding, 0
    try:
        (theirs,) = block(
            [torch.cat([maps, filler], dim=2)], [torch.cat([words, block.padding_guidance.expand(-1, 3, -1)], dim=1)]
        )
    finally:
        block.padding = padding
    torch.testing.assert_close(ours, theirs[:, :, :3], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("grid", [(8, 8), (6, 9), (5, 13)], ids=str)
@pytest.mark.parametrize("shifted", [False, True])
def test_windows_on_any_grid_equal_attention_over_the_cells_of_a_window(grid: tuple[int, int], shifted: bool) -> None:
    torch.manual_seed(0)
    block = cost_aggregation._SwinBlock(16, 8, 2, 4, shifted=shifted).eval().requires_grad_(False)
    height, width = grid
    maps, guidance = torch.randn(1, 2, height, width, 16), torch.randn(1, 1, height, width, 8)
    shift = 2 if shifted else 0
    place = [(torch.arange(side) - shift).div(4, rounding_mode="floor") for side in grid]
    window = (100 * place[0][:, None] + place[1]).flatten()
    dense = (window[:, None] != window[None]) * -100.0
    flat = [part.flatten(2, 3)[:, :, None] for part in (block.norm1(maps), guidance)]
    mixed = maps + block.attn(flat[0], flat[1], dense[None])[:, :, 0].unflatten(2, grid)
    torch.testing.assert_close(block(maps, guidance), mixed + block.mlp(block.norm2(mixed)), rtol=1e-4, atol=1e-5)


def test_one_class_and_one_row_of_cells(model: Dinov3Seg) -> None:
    assert model(_pixels(32, 256), _text(1)).shape == (1, 1, 32, 256)


def test_training_and_inference_attend_alike(model: Dinov3Seg) -> None:
    cosines = cost_aggregation.correlation(torch.randn(1, 32, 6, 7), model.text_views(_text(3))[None])
    guidance = model.aggregator.guidance(torch.randn(1, 16, 6, 7), (torch.randn(1, 24, 6, 7),) * 2)
    views = model.text_views(_text(3))[None]
    fused = model.aggregator(cosines, views, guidance)
    learning = model.aggregator(cosines.clone().requires_grad_(), views, guidance)
    torch.testing.assert_close(learning, fused, rtol=1e-4, atol=1e-5)


def test_everything_learns_that_takes_part() -> None:
    torch.manual_seed(0)
    model = Dinov3Seg(SMALL)
    model(_pixels(), model.vlm.encode_text(torch.randint(1, 49, (3, 8)))).square().mean().backward()
    still = {name for name, value in model.named_parameters() if value.grad is None or not value.grad.any()}
    unused = (
        "vlm.logit_scale",
        "mask_token",
        "attention.k_proj.bias",  # moves all logits of a query alike
        "cls_token",
        "register_tokens",
        "padding_",  # multiplied by zeros at the start
        "rel_pos",  # too small to be told from zero before training
        "cross_attn.attention.out_proj",
        "vlm.visual_model",
    )
    assert not [name for name in still if not any(part in name for part in unused)]
    learnt = {name for name, value in model.named_parameters() if value.grad is not None and value.grad.any()}
    for part in ("vlm.visual_model.backbone.vit.model.layer.0", "vlm.text_model", "spe.encoder", "anyup", "aggregator"):
        assert any(name.startswith(part) for name in learnt), part


def test_bfloat16_agrees_with_single_precision(model: Dinov3Seg) -> None:
    exact = model(_pixels(), _text(5))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = model(_pixels(), _text(5)).float()
    # networks with random weights amplify rounding
    assert (exact.sigmoid() - half.sigmoid()).abs().max() < 0.05


@pytest.mark.parametrize("size", [(96, 96), (64, 208), (240, 64)], ids=str)
def test_windows_cover_every_cell_once_counted(size: tuple[int, int]) -> None:
    places = [(y // 16, x // 16) for y, x in slide(size, 64, 32)]
    grid = size[0] // 16, size[1] // 16
    truth = torch.randn(1, 5, *grid)
    windows = torch.cat([truth[:, :, y : y + 4, x : x + 4] for y, x in places])
    torch.testing.assert_close(average_windows(windows, places, grid), truth[0])


def test_aggregation_averages_local_and_global_features(model: Dinov3Seg, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = _pixels(64, 96)
    seen: list[Tensor] = []
    monkeypatch.setattr(model, "encode", lambda image, features, prior: seen.append(features))
    model.aggregate_windows(pixels, [(0, 0), (0, 32)], 64)
    whole = model.patch_features(pixels)
    left, right = model.patch_features(pixels[..., :64]), model.patch_features(pixels[..., 32:])
    local = torch.cat([left[..., :2], (left[..., 2:] + right[..., :2]) / 2, right[..., 2:]], dim=3)
    torch.testing.assert_close(seen[0], (local + whole) / 2, rtol=1e-4, atol=1e-5)
    model.aggregate_windows(pixels, [], 64)
    torch.testing.assert_close(seen[1], whole)


@pytest.mark.parametrize(("gamma", "expected"), [(0, 0.437187), (1, 0.212042), (2, 0.117144), (3, 0.067911)])
def test_focal_loss_on_the_worked_example(gamma: float, expected: float) -> None:
    logits, truth = _worked()
    loss = dinov3seg.focal_loss(logits, truth, torch.ones_like(truth), gamma=gamma)
    assert float(loss) == pytest.approx(expected, abs=1e-6)


def test_dice_loss_on_the_worked_example() -> None:
    logits, truth = _worked()
    assert float(dinov3seg.dice_loss(logits, truth, torch.ones_like(truth))) == pytest.approx(0.272177, abs=1e-6)
    total = dinov3seg.focal_loss(logits, truth, torch.ones_like(truth)) + 0.05 * dinov3seg.dice_loss(
        logits, truth, torch.ones_like(truth)
    )
    assert float(total) == pytest.approx(0.130753, abs=1e-6)


@pytest.mark.parametrize("loss", [dinov3seg.focal_loss, dinov3seg.dice_loss])
def test_pixels_that_do_not_count_change_nothing(loss: Callable[..., Tensor]) -> None:
    logits, truth = _worked()
    more = torch.cat([logits, torch.tensor([[[[3.0]], [[-2.0]]]])], dim=3)
    labels = torch.cat([truth, torch.zeros(1, 2, 1, 1)], dim=3)
    valid = torch.cat([torch.ones_like(truth), torch.zeros(1, 2, 1, 1)], dim=3)
    torch.testing.assert_close(loss(more, labels, valid), loss(logits, truth, torch.ones_like(truth)))


def _worked() -> tuple[Tensor, Tensor]:
    chance = torch.tensor([[0.9, 0.2, 0.7], [0.6, 0.4, 0.1]])[None, :, None]
    truth = torch.tensor([[1.0, 0, 1], [0, 1, 0]])[None, :, None]
    return chance.logit(), truth


def test_operations_are_counted_by_stage() -> None:
    protocol = Dinov3SegProtocol(sides=(96,), window=64, stride=32)
    found = count(SMALL, protocol, classes=3)
    assert found.parameters_total == _parameters(Dinov3Seg(SMALL))
    assert found.operations_total == pytest.approx(sum(found.operations.values()))
    # the patch convolution of one window, alone: 16 cells, 768 values each, 32 channels
    assert found.operations["dino.txt, windows"] > 4 * 16 * 768 * 32 / 1e9
    twice = count(SMALL, protocol, classes=6)
    stage = "late refinement and decoder"
    assert twice.operations[stage] == pytest.approx(2 * found.operations[stage], rel=0.2)
    assert twice.operations["semantic prior encoder"] == found.operations["semantic prior encoder"]
    both = count(SMALL, replace(protocol, sides=(64, 96)), classes=3)
    assert both.operations[stage] > found.operations[stage]
