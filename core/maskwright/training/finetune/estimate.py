"""Memory and time of a fine-tuning run, counted before it starts with tensors that have shapes and no values."""

from __future__ import annotations

import time
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from maskwright.models.dinov3seg import Dinov3Seg, Dinov3SegConfig, ImageFeatures
from maskwright.training.config import TuneConfig
from maskwright.training.finetune.dinov3seg import TunedDinov3Seg

__all__ = ["Estimate", "estimate"]

_PROGRAM = 700 << 20
"""Bytes of the program itself: torch, images and labels."""
_TOKENS = 12
"""Length of a prompt for a class name."""
_MIXED = 0.58
"""Bytes with automatic mixed precision as a share of those in single precision: of dinov3seg-l, 171 classes and all but
the words learning, 8.6 of 14.8 GiB."""
_EFFICIENCY = {"cpu": 0.9, "cuda": 0.3}
"""Share of a large matrix product's speed that a run reaches: 0.93 with the bundled preset on a CPU, since gradients
are counted that frozen parts do not have; on a GPU it was not measured."""


class Estimate(NamedTuple):
    """What a run needs."""

    weights: int
    """Bytes; the next four as well."""
    gradients: int
    optimizer: int
    average: int
    """Moving average of the weights."""
    activations: int
    """Kept for the gradient of one image."""
    batch: int
    """Images of a pass."""
    operations: float
    """Multiply-adds of all steps, images that pass frozen encoders included."""

    @property
    def memory(self) -> int:
        """Peak in bytes, with the whole batch in one pass; one image at a time needs `activations` times fewer."""
        fixed = self.weights + self.gradients + self.optimizer + self.average
        # the gradient of an activation takes as much for a moment
        return int(fixed + self.batch * self.activations * 1.15 + _PROGRAM)

    def minutes(self, device: str = "cpu") -> float:
        """Time of the steps on this machine, whose speed is measured for a moment."""
        return self.operations / (_EFFICIENCY.get(device, 0.3) * _speed(device)) / 60


def estimate(model: Dinov3SegConfig, config: TuneConfig, *, classes: int, images: int, device: str = "cpu") -> Estimate:
    """Count the tensors of one step.

    Args:
        model: Sizes of dinov3.seg.
        config: Settings of the run.
        classes: Of the project.
        images: Number of training images.
        device: That trains.
    """
    prompted = min(config.max_classes, classes + config.absent)
    with torch.device("meta"):
        network = Dinov3Seg(model)
        trained = TunedDinov3Seg(network, config.recipe, checkpointing=config.released)
        weights = sum(parameter.nbytes for parameter in network.parameters())
        learning = sum(parameter.nbytes for parameter in network.parameters() if parameter.requires_grad)
        with FlopCounterMode(display=False) as counter:
            activations = _kept(trained, config, prompted)
        once = 0.0
        if config.recipe == "decoder":
            with FlopCounterMode(display=False) as encoding, torch.no_grad():
                pixels = torch.empty(1, 3, config.side, config.side)
                features = network.patch_features(pixels)
                network.spe(pixels, (features.shape[-2], features.shape[-1]))
            once = encoding.get_total_flops() / 2 * (images * config.variants + 40)
    if device == "cuda":
        activations = int(_MIXED * activations)
        if config.released:
            trained.halve_frozen()
            weights = sum(parameter.nbytes for parameter in network.parameters())
    steps = config.steps * config.batch * counter.get_total_flops() / 2 * 3
    return Estimate(
        weights=weights, gradients=learning, optimizer=2 * learning, average=weights if config.ema else 0,
        activations=activations, batch=config.batch, operations=steps + once,
    )  # fmt: skip


def _kept(trained: TunedDinov3Seg, config: TuneConfig, classes: int) -> int:
    """Bytes that one image keeps for its gradient."""
    network, own = trained.model, {id(parameter) for parameter in trained.parameters()}
    width, patch = network.config.vlm.backbone.width, network.config.vlm.backbone.patch
    cells = config.crop // patch
    seen: dict[int, tuple[Tensor, int]] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if id(tensor) not in own and not isinstance(tensor, torch.nn.Parameter):
            # the tensor is held so that no other gets its number
            seen[storage._cdata] = (tensor, storage.nbytes())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        pixels = torch.empty(1, 3, config.crop, config.crop)
        text = torch.empty(classes, 2 * width)
        if trained.text_learns:
            tower = network.vlm.text_model
            text = tower.head.linear_projection(tower.backbone(torch.zeros(classes, _TOKENS, dtype=torch.int64))[:, -1])
        views = network.text_views(text)[None]
        if trained.encoders_learn:
            features = network.patch_features(pixels)
            image = network.encode(pixels, features)
        else:
            features = torch.empty(1, width, cells, cells)
            with torch.no_grad():
                prior, taps = network.spe(pixels, (cells, cells))
            image = ImageFeatures(network.refine(pixels, features), network.aggregator.guidance(prior, taps))
        network.predict(image, views)
    return sum(size for _, size in seen.values())


def smaller_batch(need: Estimate, available: int) -> Estimate:
    """The estimate with the largest batch, halved as a run does it, that fits into the memory."""
    while need.batch > 1 and need.memory > available:
        need = need._replace(batch=need.batch // 2)
    return need


def _speed(device: str) -> float:
    """Multiply-adds in a second of a large matrix product on a device."""
    side = 512 if device == "cpu" else 4096
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    matrix = torch.ones(side, side, dtype=dtype, device=device)
    matrix @ matrix
    # on a CPU by the time of all its threads, so that other programs do not count
    clock, cores = (time.process_time, torch.get_num_threads()) if device == "cpu" else (time.perf_counter, 1)
    began, rounds = clock(), 0
    while clock() - began < 0.1:
        matrix @ matrix
        rounds += 1
        if device != "cpu":
            torch.cuda.synchronize()
    return float(cores * rounds * side**3 / (clock() - began))
