"""Training of SAM on simulated clicks and boxes (Kirillov et al., 2023, appendix A).

The image encoder starts from the backbone of the preset's dino.txt; prompt encoder and mask decoder start from random
weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers.models.sam.modeling_sam import SamAttention

from maskwright.models.sam import HybridEncoder, Prompts, Sam
from maskwright.presets.loading import load_dinotxt
from maskwright.presets.weights import save_part, save_record
from maskwright.training.config import ClickConfig
from maskwright.training.data import Batch, Source, Steps
from maskwright.training.loop import CPU_RUN, RunOptions, Trainer

__all__ = ["ClickObjective", "train"]

_STATE = "clicks.pt"
SETTINGS = {
    "stretch": True, "connected": True, "filled_box": True, "grid": 16, "least_score": 0.35,
    "least_stability": 0.8, "offset": 0.1,
}  # fmt: skip
"""Settings of the trained model: its logits and predicted IoUs are low, so that SAM's thresholds would keep nothing."""


def train(sources: Sequence[Source], config: ClickConfig, out: Path, options: RunOptions = CPU_RUN) -> bool:
    """Add SAM to the preset in `out`, or resume the run that it holds.

    Args:
        sources: Images with numbered objects.
        config: Settings.
        out: Folder of a preset with dino.txt, whose backbone the image encoder starts from.
        options: Device and callbacks.

    Returns:
        Whether the last step was reached; the preset is written in either case.

    Raises:
        MaskwrightError: `out` has no dino.txt, or a run with other settings.
    """
    torch.manual_seed(config.seed)
    model = _initial_model(config, out)
    trainer = Trainer(model, config, out, options.device, state=_STATE, pretrained=[_backbone(model)])
    steps = Steps(sources, config, stride=model.config.stride // 4, image_weights=_by_objects)
    finished = trainer.run(steps, ClickObjective(trainer.trained, config), options)
    settings = {"model": asdict(config.model), **SETTINGS}
    save_part(out, "sam", trainer.ema.state_dict(), settings, dtype=torch.float16)
    save_record(out / "clicks.json", config.record())
    return finished


def _backbone(model: Sam) -> nn.Module:
    if not isinstance(model.image_encoder, HybridEncoder):
        raise TypeError("only a hybrid encoder can start from the backbone of dino.txt")
    return model.image_encoder.backbone


def _initial_model(config: ClickConfig, out: Path) -> Sam:
    model = Sam(config.model)
    _backbone(model).load_state_dict(load_dinotxt(out).model.visual_model.backbone.state_dict())
    # initial embeddings that transformers leaves undefined
    for module in (model.prompt_encoder, model.mask_decoder):
        for part in module.modules():
            if isinstance(part, nn.Embedding):
                nn.init.normal_(part.weight, std=0.5)
    matrix = model.prompt_encoder.shared_embedding.positional_embedding
    with torch.no_grad():
        # two ranges of position frequencies: the low ones tell regions apart, the high ones place a click on an object
        # of a few cells
        matrix.copy_(torch.randn_like(matrix))
        matrix[:, ::2] *= 3
    matrix.requires_grad_(requires_grad=False)
    for module in model.mask_decoder.transformer.modules():
        if isinstance(module, SamAttention):
            # equal query and key projections: a click attends to its own place from the first step on
            nn.init.orthogonal_(module.q_proj.weight, gain=_QK_GAIN)
            module.k_proj.weight.data.copy_(module.q_proj.weight)
            for projection in (module.q_proj, module.k_proj):
                nn.init.zeros_(projection.bias)
    return model


_QK_GAIN = 2.0
"""Gain of these projections: attention to the click's own place is some hundred times that to a distant one."""


def _by_objects(source: Source) -> NDArray[np.float64]:
    """Probability of each image, proportional to the square root of its number of objects."""
    counts = np.array([len(np.unique(sample.labels)) - 1 for sample in source.samples]) ** 0.5
    return np.asarray(counts / counts.sum())


class ClickObjective:
    """Loss of a first prompt, of corrective clicks without a gradient, and of a last one.

    A first click is ambiguous, so only the best of its three masks has a loss; later prompts have one mask.
    """

    def __init__(self, model: Sam, config: ClickConfig) -> None:
        self._model, self._config = model, config
        self._frozen_norms = [m for m in model.image_encoder.modules() if isinstance(m, nn.BatchNorm2d)]

    def __call__(self, step: int, batch: Batch) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Loss of one batch, and its terms."""
        for norm in self._frozen_norms:
            # statistics of so small a batch would undo those of dino.txt's training
            norm.eval()
        rng = np.random.default_rng([self._config.seed, step, 1])
        model, device = self._model, batch.pixels.device
        owner, target = self._objects(batch.labels, rng)
        with torch.autocast(device.type, dtype=torch.bfloat16):
            embedding, _ = model.image_encoder(batch.pixels.to(memory_format=torch.channels_last))
        embedding = embedding.float()[owner]
        stride = model.config.stride
        offset = tuple(int(rng.integers(0, model.config.size // stride - n + 1)) for n in embedding.shape[-2:])
        shift = torch.tensor(offset[::-1], device=device) * stride
        boxed = rng.random() < self._config.boxes
        boxes = _noisy_boxes(target, stride // 4) + shift.repeat(2) if boxed else None
        points, labels = (None, None) if boxed else _click(target, torch.zeros_like(target), stride // 4, shift)
        start = _corrupted(target, rng) if rng.random() < self._config.masks else None

        def decode() -> tuple[Tensor, Tensor]:
            with torch.autocast(device.type, dtype=torch.bfloat16):
                logits, predicted = model.decode(
                    embedding, Prompts(points, labels, boxes, start), offset=(offset[0], offset[1])
                )
            return logits.float(), predicted.float()

        if start is not None:
            # a mask to correct: the first click falls into its error region
            points, labels = _click(target, start[:, 0] > 0, stride // 4, shift)
            boxes, boxed = None, False
        logits, predicted = decode()
        single_mask = boxed or start is not None
        first = _mask_loss(logits, target)
        best = first[:, 0] if single_mask else first[:, 1:].min(dim=1).values + 0.05 * first.mean(dim=1)
        parts = {"first": best.mean(), "iou": F.mse_loss(predicted, _iou(logits.detach() > 0, target))}
        mask = _best_mask(logits, predicted, single_mask=single_mask)
        iou_first = _iou((mask > 0)[:, None], target).mean()
        corrections = int(rng.integers(0, self._config.corrections))
        for turn in range(corrections + 1):
            clicks, signs = _click(target, mask > 0, stride // 4, shift)
            points = clicks if points is None else torch.cat([points, clicks], dim=1)
            labels = signs if labels is None else torch.cat([labels, signs], dim=1)
            start = mask.detach()[:, None].clamp(-32, 32)
            if turn < corrections:
                with torch.no_grad():
                    logits, predicted = decode()
                mask = logits[:, 0]
        logits, predicted = decode()
        parts["last"] = _mask_loss(logits[:, :1], target).mean()
        parts["iou"] = parts["iou"] + F.mse_loss(predicted[:, :1], _iou(logits[:, :1].detach() > 0, target))
        loss = parts["first"] + parts["last"] + parts["iou"]
        return loss, parts | {"iou_first": iou_first, "iou_last": _iou(logits[:, :1] > 0, target).mean()}

    def constrain(self) -> None:
        """No parameter has a limited range."""

    def _objects(self, numbers: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """(O,) image index and (O, h, w) mask of each object drawn."""
        owner, target = [], []
        for index, plane in enumerate(numbers):
            present, pixels = plane.unique(return_counts=True)
            # slivers that the crop left of an object make no prompt
            present = present[(present > 0) & (pixels >= 12)]
            drawn = rng.permutation(len(present))[: self._config.objects]
            owner += [index] * len(drawn)
            target += [plane == present[n] for n in drawn.tolist()]
        if not target:
            # all crops are empty: the target is the whole first image
            return torch.zeros(1, dtype=torch.int64), torch.ones_like(numbers[:1], dtype=torch.bool)
        return torch.tensor(owner, device=numbers.device), torch.stack(target)


def _best_mask(logits: Tensor, predicted: Tensor, *, single_mask: bool) -> Tensor:
    """(O, h, w) logits of the mask with the highest predicted IoU."""
    if single_mask:
        return logits[:, 0].detach()
    choice = predicted[:, 1:].argmax(dim=1) + 1
    return logits.detach()[torch.arange(len(logits), device=logits.device), choice]


def _click(target: Tensor, mask: Tensor, stride: int, shift: Tensor) -> tuple[Tensor, Tensor]:
    """(O, 1, 2) points in the error region, more likely in its middle than at its edge, and (O, 1) their labels."""
    wrong = target ^ mask
    # without an error, any pixel of the object
    wrong = torch.where(wrong.flatten(1).any(dim=1)[:, None, None], wrong, target)
    deep = wrong.float()
    depth = F.avg_pool2d(deep[:, None], 5, 1, 2)[:, 0] + F.avg_pool2d(deep[:, None], 15, 1, 7)[:, 0]
    weights = (deep * (depth**3 + 1e-4)).flatten(1)
    place = torch.multinomial(weights, 1)[:, 0]
    rows, columns = place // target.shape[2], place % target.shape[2]
    points = torch.stack([columns, rows], dim=1) + torch.rand(len(place), 2, device=target.device)
    label = target.flatten(1).gather(1, place[:, None]).float()
    return (points * stride - 0.5 + shift)[:, None], label


def _noisy_boxes(target: Tensor, stride: int) -> Tensor:
    """(O, 4) boxes of the objects, each edge jittered by about a tenth of the side."""
    boxes = []
    for plane in target:
        rows, columns = (plane.any(dim=axis).nonzero()[:, 0] for axis in (1, 0))
        box = torch.stack([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]).float()
        side = (box[2:] - box[:2]).repeat(2)
        boxes.append(box + (torch.randn(4, device=target.device) * 0.1 * side).clamp(-10, 10))
    return torch.stack(boxes) * stride - 0.5


def _corrupted(target: Tensor, rng: np.random.Generator) -> Tensor:
    """(O, 1, h, w) logits of corrupted masks: dilated or eroded, with random patches inverted."""
    dilated = F.max_pool2d(target.float()[:, None], 7, 1, 3)
    eroded = 1 - F.max_pool2d(1 - target.float()[:, None], 7, 1, 3)
    mask = dilated if rng.random() < 0.5 else eroded
    coarse = F.interpolate(torch.randn(len(target), 1, 6, 6, device=target.device), target.shape[1:], mode="bilinear")
    near = F.max_pool2d(dilated, 21, 1, 10)
    mask = torch.where((coarse > 0.8) & (near > 0), 1 - mask, mask)
    return (mask * 2 - 1) * float(rng.uniform(2, 16))


def _mask_loss(logits: Tensor, target: Tensor) -> Tensor:
    """(O, N) focal and dice loss; object and background weigh the same, so that small objects are not ignored."""
    true_mask = target.float()[:, None].expand_as(logits)
    probability = logits.sigmoid()
    cross_entropy = F.binary_cross_entropy_with_logits(logits, true_mask, reduction="none")
    focal = (1 - torch.where(true_mask > 0, probability, 1 - probability)) ** 2 * cross_entropy
    area, total = true_mask.sum(dim=(2, 3)), true_mask[0, 0].numel()
    foreground = (focal * true_mask).sum(dim=(2, 3)) / area.clamp(min=1)
    # the background's sum is divided by an area near the object's: most of a large background has no loss
    background = (focal * (1 - true_mask)).sum(dim=(2, 3)) / torch.minimum(total - area, 4 * area + 400).clamp(min=1)
    overlap = (probability * true_mask).sum(dim=(2, 3))
    dice = 1 - (2 * overlap + 1) / (probability.sum(dim=(2, 3)) + area + 1)
    return foreground + background + dice


def _iou(masks: Tensor, target: Tensor) -> Tensor:
    """(O, N) IoU of boolean (O, N, h, w) masks."""
    true_mask = target[:, None]
    return (masks & true_mask).sum(dim=(2, 3)) / (masks | true_mask).sum(dim=(2, 3)).clamp(min=1)
