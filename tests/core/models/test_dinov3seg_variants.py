"""Variants of dinov3.seg that its ablations train: other priors, no decoder, windows of the prior, parts that learn."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from maskwright.models.dinov3seg import Dinov3Seg
from maskwright.presets.loading import load_dinov3seg
from maskwright.project.dinov3seg_rows import TABLES, Row, training_of
from maskwright.training.config import SegConfig
from maskwright.training.dinov3seg import TrainedDinov3Seg
from maskwright.training.loop import Trainer


@pytest.fixture(scope="module")
def model(segmenting_preset: Path) -> Dinov3Seg:
    return load_dinov3seg(segmenting_preset).model


def _variant(model: Dinov3Seg, row: Row) -> Dinov3Seg:
    torch.manual_seed(0)
    made = Dinov3Seg(row.config(SegConfig(model=model.config)).model).eval()
    own = made.state_dict()
    made.load_state_dict(
        {k: v for k, v in model.state_dict().items() if k in own and v.shape == own[k].shape}, strict=False
    )
    return made.requires_grad_(requires_grad=False)


def _row(table: str, name: str) -> Row:
    return next(row for row in TABLES[table] if row.name == name)


def test_rows_are_those_of_the_paper() -> None:
    """Its L model: parameters of each variant, and which rows share a training."""
    whole = SegConfig()
    made = {row.name: row.config(whole) for rows in TABLES.values() for row in rows}
    with torch.device("meta"):
        own = Dinov3Seg(made["no prior encoder"].model)
        first = Dinov3Seg(made["I"].model)
    assert own.config.taps == (7, 15)
    assert not list(own.spe.parameters())
    assert sum(p.numel() for p in first.spe.parameters()) == 308_278_272
    assert (first.anyup, first.config.aggregator.views, made["I"].loss) == (None, 1, "bce")
    assert [made[name].model.aggregator.views for name in ("II", "III", "IV")] == [2, 2, 2]
    assert [made[name].model.anyup is None for name in ("II", "III", "IV")] == [True, False, False]
    assert [made[name].loss for name in ("III", "IV", "V")] == ["bce", "focal_dice", "focal_dice"]
    assert {training_of(row) for row in TABLES["5"]} == {"dinov3.seg"}
    assert training_of(_row("3", "V")) == training_of(_row("14", "dice 0.05, gamma 2")) == "dinov3.seg"
    assert [(made[row.name].dice, made[row.name].gamma) for row in TABLES["14"]] == [
        (0.01, 2.0), (0.1, 2.0), (0.05, 2.0), (0.05, 1.0), (0.05, 3.0)
    ]  # fmt: skip
    assert [made[row.name].model.aggregator.layers for row in TABLES["11"]] == [1, 2, 3]


def test_without_decoder_logits_are_scaled_cosines(model: Dinov3Seg) -> None:
    made = _variant(model, _row("3", "dino.txt, fine-tuned"))
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randn(1, 3, 64, 64, generator=generator)
    text = torch.randn(3, 2 * model.config.vlm.backbone.width, generator=generator)
    with torch.no_grad():
        patches = model.vlm.encode_image(pixels).patches[0]
        local = text[:, text.shape[1] // 2 :]
        cosines = (patches / patches.norm(dim=1, keepdim=True)) @ (local / local.norm(dim=1, keepdim=True)).T
        features = made.patch_features(pixels)
        found = made.predict(made.encode(pixels, features), made.text_views(text)[None])
    torch.testing.assert_close(found[0].flatten(1).T, cosines / 0.07, atol=1e-4, rtol=1e-4)


def test_the_own_prior_is_dinotxts_blocks(model: Dinov3Seg) -> None:
    made = _variant(model, _row("12", "no prior encoder"))
    pixels = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        final, (first, second) = made.spe(pixels, (4, 6))
        blocks = model.vlm.visual_model.backbone.intermediate(pixels, list(made.config.taps), norm=False)
        expected = model.vlm.encode_image(pixels).patch_map()
    torch.testing.assert_close(final, expected)
    torch.testing.assert_close(first, blocks[0].patch_map())
    torch.testing.assert_close(second, blocks[-1].patch_map())
    twin = copy.deepcopy(made)
    assert twin.spe._visual[0] is twin.vlm.visual_model, "a copy looks into itself"  # type: ignore[union-attr]


def test_windows_of_the_prior_are_averaged_with_the_whole(model: Dinov3Seg) -> None:
    """Map by map, at each map's own stride, beside a loop over cells."""
    pixels = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    positions = [(0, 0), (0, 32)]
    with torch.no_grad():
        whole = model.spe(pixels, (4, 6))
        parts = [model.spe(pixels[:, :, t : t + 64, x : x + 64], (4, 4)) for t, x in positions]
        found = model._with_windows(whole, pixels, positions, 64)
        features = model.patch_features(pixels)
        direct = model.encode(pixels, features, found)
        through = model.aggregate_windows(pixels, (), 64, prior_positions=positions)
    flat = [(found[0], whole[0], [p[0] for p in parts])]
    flat += [(found[1][n], whole[1][n], [p[1][n] for p in parts]) for n in (0, 1)]
    for merged, full, windows in flat:
        stride = 64 // windows[0].shape[-1]
        for column in range(full.shape[-1]):
            inside = [
                window[0, :, :, column - left // stride]
                for window, (_, left) in zip(windows, positions, strict=True)
                if 0 <= column - left // stride < window.shape[-1]
            ]
            expected = (torch.stack(inside).mean(dim=0) + full[0, :, :, column]) / 2
            torch.testing.assert_close(merged[0, :, :, column], expected)
    torch.testing.assert_close(direct.guidance.appearance, through.guidance.appearance)


@pytest.mark.parametrize(("kind", "still"), [("qv", "k"), ("qk", "v")])
def test_only_these_projections_of_dinotxt_learn(model: Dinov3Seg, kind: str, still: str, tmp_path: Path) -> None:
    config = SegConfig(
        model=model.config, tuned=cast(Any, kind), steps=1, lr=0.1, pretrained_lr_scale=1.0, weight_decay=0.1
    )
    trained = TrainedDinov3Seg(copy.deepcopy(model), config)
    before = {name: value.clone() for name, value in trained.model.state_dict().items()}
    trainer = Trainer(trained, config, tmp_path, "cpu", pretrained=trained.pretrained)
    for value in trained.parameters():
        if value.requires_grad:
            # hooks see this gradient as they see one of backward
            (value * torch.ones_like(value)).sum().backward()
    trainer._optimizer.step()
    trained.restore()
    for name, value in trained.model.state_dict().items():
        if not name.startswith("vlm."):
            continue
        changed = (value != before[name]).flatten(1).any(dim=1) if value.ndim > 1 else value != before[name]
        if ".qkv." in name:
            parts = dict(zip("qkv", changed.chunk(3), strict=True))
            assert not parts[still].any(), name
            assert all(parts[letter].any() for letter in kind), name
        else:
            learns = any(f".{letter}_proj.weight" in name for letter in kind)
            assert bool(changed.any()) == (learns or any(f".{letter}_proj.bias" in name for letter in kind)), name
