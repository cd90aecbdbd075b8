"""Parameters and operations of dinov3.seg, counted on the meta device without weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from maskwright.imaging.geometry import slide
from maskwright.models.cost_aggregation import CostAggregator, correlation
from maskwright.models.dinov3seg import Dinov3Seg, Dinov3SegConfig
from maskwright.presets.config import Dinov3SegProtocol

__all__ = ["Count", "count"]


@dataclass(frozen=True, slots=True)
class Count:
    """Cost of one square image."""

    parameters: dict[str, int]
    """By module."""
    parameters_total: int
    operations: dict[str, float]
    """10^9 multiply-adds of matrix products, convolutions and attention, by stage."""
    operations_total: float
    sides: tuple[int, ...]
    """Side of the square image in pixels, for each inference size."""
    classes: int


def count(config: Dinov3SegConfig, protocol: Dinov3SegProtocol, *, classes: int = 150) -> Count:
    """Count a forward pass under local-global aggregation, without the text tower, whose embeddings are cached.

    Args:
        config: Sizes of the model.
        protocol: Sizes of the image and its windows.
        classes: Number of classes in the prompt.
    """
    with torch.device("meta"):
        model = Dinov3Seg(config).eval().requires_grad_(requires_grad=False)
    operations: dict[str, float] = {}
    for side in protocol.sides:
        for name, number in _stages(model, side, protocol, classes).items():
            operations[name] = operations.get(name, 0.0) + number
    parts: dict[str, nn.Module | None] = {
        "dino.txt": model.vlm,
        "semantic prior encoder": model.spe,
        "early refinement": model.anyup,
        "correlation, late refinement, decoder": model.aggregator,
    }
    parameters = {name: _parameters(part) for name, part in parts.items() if part is not None}
    return Count(
        parameters, sum(parameters.values()), operations, sum(operations.values()), protocol.sides, classes
    )  # fmt: skip


def _stages(model: Dinov3Seg, side: int, protocol: Dinov3SegProtocol, classes: int) -> dict[str, float]:
    """10^9 multiply-adds of each stage at one size."""
    config = model.config
    width, grid = config.vlm.backbone.width, side // config.vlm.backbone.patch
    with torch.device("meta"):
        pixels = torch.empty(1, 3, side, side)
        window = torch.empty(1, 3, protocol.window, protocol.window)
        views = torch.empty(1, classes, config.aggregator.views, width)
        features = torch.empty(1, width, grid, grid)
    aggregator = model.aggregator
    assert isinstance(aggregator, CostAggregator)
    prior, taps = model.spe(pixels, (grid, grid))
    encoded = model.encode(pixels, features)
    windows = len(slide((side, side), protocol.window, protocol.stride))
    stages: dict[str, Callable[[], Any]] = {
        "dino.txt, whole image": lambda: model.patch_features(pixels),
        "dino.txt, windows": lambda: [model.patch_features(window) for _ in range(windows)],
        "semantic prior encoder": lambda: model.spe(pixels, (grid, grid)),
        "guidance": lambda: aggregator.guidance(prior, taps),
        "early refinement": lambda: model.refine(pixels, features),
        "correlation": lambda: aggregator.embed(correlation(features, views)),
        "late refinement and decoder": lambda: model.predict(encoded, views),
    }
    operations = {name: _operations(stage) / 1e9 for name, stage in stages.items()}
    # the last stage includes the correlation
    operations["late refinement and decoder"] -= operations["correlation"]
    return operations


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _operations(stage: Callable[[], Any]) -> float:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        stage()
    # the counter counts multiplications and additions separately
    return float(counter.get_total_flops()) / 2
