"""The trainer of the promptable part: simulated clicks and boxes on objects, as SAM is trained (its appendix A).

The image encoder starts from the preset's text model, which has seen the same pictures; prompt encoder and mask decoder
start from random weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
from maskwright.training.loop import Trainer, TrainProgress, until

__all__ = ["ClickObjective", "train_clicks"]

_STATE = "clicks.pt"
SETTINGS = {
    "stretch": True, "connected": True, "filled_box": True, "grid": 16, "least_score": 0.35,
    "least_stability": 0.8, "offset": 0.1,
}  # fmt: skip
"""How the trained model is asked: its logits are small and its hopes low, so that SAM's bars would keep nothing."""


def train_clicks(
    sources: Sequence[Source],
    config: ClickConfig,
    out: Path,
    *,
    device: str = "cpu",
    minutes: float | None = None,
    on_step: Callable[[TrainProgress], None] = lambda step: None,
) -> bool:
    """Add the promptable part to the preset in `out`; True when the last step was reached.

    Raises:
        MaskwrightError: `out` holds no text model to start from, or a run with other settings.
    """
    torch.manual_seed(config.seed)
    model = _start(config, out)
    fit = Trainer(model, config, out, device, state=_STATE, gentle=[_backbone(model)])
    steps = Steps(
        sources, batch=config.batch, crop=config.crop, short_side=config.short_side, seed=config.seed,
        steps=config.steps, stride=model.config.stride // 4, chances=_evenly,
    )  # fmt: skip
    finished = fit.run(
        steps, ClickObjective(fit.trained, config), on_step=on_step, stopped=until(minutes, lambda: False)
    )
    told = {"model": asdict(config.model), **SETTINGS}
    save_part(out, "sam", fit.mean.state_dict(), told, dtype=torch.float16)
    save_record(out / "clicks.json", {k: v for k, v in config.to_dict().items() if k != "model"})
    return finished


def _backbone(model: Sam) -> nn.Module:
    if not isinstance(model.image_encoder, HybridEncoder):
        raise TypeError("only the bundled encoder is trained from a text model")
    return model.image_encoder.backbone


def _start(config: ClickConfig, out: Path) -> Sam:
    model = Sam(config.model)
    _backbone(model).load_state_dict(load_dinotxt(out).model.visual_model.backbone.state_dict())
    # torch's own start for the parts that transformers leaves as they come, and two ranges of position frequencies: the
    # coarse ones tell regions apart, the fine ones place a click on a thing of a few cells
    for module in (model.prompt_encoder, model.mask_decoder):
        for part in module.modules():
            if isinstance(part, nn.Embedding):
                nn.init.normal_(part.weight, std=0.5)
    matrix = model.prompt_encoder.shared_embedding.positional_embedding
    with torch.no_grad():
        matrix.copy_(torch.randn_like(matrix))
        matrix[:, ::2] *= 3
    matrix.requires_grad_(False)
    for module in model.mask_decoder.transformer.modules():
        if isinstance(module, SamAttention):
            # equal projections: from the first step on a click looks at its own place, which takes long to learn
            nn.init.orthogonal_(module.q_proj.weight, gain=_GAIN)
            module.k_proj.weight.data.copy_(module.q_proj.weight)
            for projection in (module.q_proj, module.k_proj):
                nn.init.zeros_(projection.bias)
    return model


_GAIN = 2.0
"""Of those projections: at the click's own place the weight is some hundred times that of a far one."""


def _evenly(source: Source) -> NDArray[np.float64]:
    """Every picture is as likely as the root of how many objects it shows."""
    counts = np.array([len(np.unique(sample.labels)) - 1 for sample in source.samples]) ** 0.5
    return np.asarray(counts / counts.sum())


class ClickObjective:
    """The loss of one batch: a first prompt, corrections without a gradient, and a last one.

    A first click may mean several things, so the best of three masks is taught; everything after it means one.
    """

    def __init__(self, model: Sam, config: ClickConfig) -> None:
        self._model, self._config = model, config
        self._still = [m for m in model.image_encoder.modules() if isinstance(m, nn.BatchNorm2d)]

    def __call__(self, step: int, batch: Batch) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The loss, and its terms."""
        for norm in self._still:
            # statistics of so small a batch would undo those of the text model's training
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
        everything = torch.ones_like(target)
        boxed = rng.random() < self._config.boxes
        boxes = _noisy_boxes(target, stride // 4) + shift.repeat(2) if boxed else None
        points, labels = (None, None) if boxed else _click(target, everything * False, stride // 4, shift)
        start = _rough(target, rng) if rng.random() < self._config.masks else None

        def passed() -> tuple[Tensor, Tensor]:
            with torch.autocast(device.type, dtype=torch.bfloat16):
                logits, predicted = model.decode(
                    embedding, Prompts(points, labels, boxes, start), offset=(offset[0], offset[1])
                )
            return logits.float(), predicted.float()

        if start is not None:
            # a mask to correct: the first click is on what is wrong with it
            points, labels = _click(target, start[:, 0] > 0, stride // 4, shift)
            boxes, boxed = None, False
        logits, predicted = passed()
        alone = boxed or start is not None
        first = _mask_loss(logits, target)
        truth_iou = _iou(logits.detach() > 0, target)
        best = first[:, 0] if alone else first[:, 1:].min(dim=1).values + 0.05 * first.mean(dim=1)
        parts = {"first": best.mean(), "iou": F.mse_loss(predicted, truth_iou)}
        kept = _kept(logits, predicted, alone)
        told = _iou((kept > 0)[:, None], target).mean()
        again = int(rng.integers(0, self._config.corrections))
        for turn in range(again + 1):
            clicks, signs = _click(target, kept > 0, stride // 4, shift)
            points = clicks if points is None else torch.cat([points, clicks], dim=1)
            labels = signs if labels is None else torch.cat([labels, signs], dim=1)
            start = kept.detach()[:, None].clamp(-32, 32)
            if turn < again:
                with torch.no_grad():
                    logits, predicted = passed()
                kept = logits[:, 0]
        logits, predicted = passed()
        parts["last"] = _mask_loss(logits[:, :1], target).mean()
        parts["iou"] = parts["iou"] + F.mse_loss(predicted[:, :1], _iou(logits[:, :1].detach() > 0, target))
        loss = parts["first"] + parts["last"] + parts["iou"]
        return loss, parts | {"iou_first": told, "iou_last": _iou(logits[:, :1] > 0, target).mean()}

    def settle(self) -> None:
        """Nothing has a range."""

    def _objects(self, numbers: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """(O,) picture of each object drawn, and (O, h, w) where it is."""
        owner, target = [], []
        for index, plane in enumerate(numbers):
            shown, pixels = plane.unique(return_counts=True)
            # a sliver that the crop left of a thing cannot be asked for
            shown = shown[(shown > 0) & (pixels >= 12)]
            drawn = rng.permutation(len(shown))[: self._config.objects]
            owner += [index] * len(drawn)
            target += [plane == shown[n] for n in drawn.tolist()]
        if not target:
            # a batch of empty crops; ask for everything
            return torch.zeros(1, dtype=torch.int64), torch.ones_like(numbers[:1], dtype=torch.bool)
        return torch.tensor(owner, device=numbers.device), torch.stack(target)


def _kept(logits: Tensor, predicted: Tensor, alone: bool) -> Tensor:
    """(O, h, w) logits that a person would go on with."""
    if alone:
        return logits[:, 0].detach()
    choice = predicted[:, 1:].argmax(dim=1) + 1
    return logits.detach()[torch.arange(len(logits), device=logits.device), choice]


def _click(target: Tensor, mask: Tensor, stride: int, shift: Tensor) -> tuple[Tensor, Tensor]:
    """(O, 1, 2) points where a mask is wrong, rather in the middle than at the rim, and (O, 1) their signs."""
    wrong = target ^ mask
    # nothing is wrong: any pixel of the object will do
    wrong = torch.where(wrong.flatten(1).any(dim=1)[:, None, None], wrong, target)
    deep = wrong.float()
    depth = F.avg_pool2d(deep[:, None], 5, 1, 2)[:, 0] + F.avg_pool2d(deep[:, None], 15, 1, 7)[:, 0]
    chances = (deep * (depth**3 + 1e-4)).flatten(1)
    place = torch.multinomial(chances, 1)[:, 0]
    rows, columns = place // target.shape[2], place % target.shape[2]
    points = torch.stack([columns, rows], dim=1) + torch.rand(len(place), 2, device=target.device)
    sign = target.flatten(1).gather(1, place[:, None]).float()
    return (points * stride - 0.5 + shift)[:, None], sign


def _noisy_boxes(target: Tensor, stride: int) -> Tensor:
    """(O, 4) boxes of the objects, each edge off by about a tenth of the side, as a hurried person draws them."""
    boxes = []
    for plane in target:
        rows, columns = (plane.any(dim=axis).nonzero()[:, 0] for axis in (1, 0))
        box = torch.stack([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]).float()
        side = (box[2:] - box[:2]).repeat(2)
        boxes.append(box + (torch.randn(4, device=target.device) * 0.1 * side).clamp(-10, 10))
    return torch.stack(boxes) * stride - 0.5


def _rough(target: Tensor, rng: np.random.Generator) -> Tensor:
    """(O, 1, h, w) logits of masks that are wrong in places: grown or shrunk, with patches added and taken away."""
    grown = F.max_pool2d(target.float()[:, None], 7, 1, 3)
    shrunk = 1 - F.max_pool2d(1 - target.float()[:, None], 7, 1, 3)
    rough = grown if rng.random() < 0.5 else shrunk
    coarse = F.interpolate(torch.randn(len(target), 1, 6, 6, device=target.device), target.shape[1:], mode="bilinear")
    near = F.max_pool2d(grown, 21, 1, 10)
    rough = torch.where((coarse > 0.8) & (near > 0), 1 - rough, rough)
    return (rough * 2 - 1) * float(rng.uniform(2, 16))


def _mask_loss(logits: Tensor, target: Tensor) -> Tensor:
    """(O, N) focal and dice loss; the object and the rest weigh the same, or small things would be given up."""
    truth = target.float()[:, None].expand_as(logits)
    chance = logits.sigmoid()
    plain = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    right = torch.where(truth > 0, chance, 1 - chance)
    focal = (1 - right) ** 2 * plain
    inside, total = truth.sum(dim=(2, 3)), truth[0, 0].numel()
    balanced = (focal * truth).sum(dim=(2, 3)) / inside.clamp(min=1)
    # of the rest what is near counts, or there would be too little of it in each term
    rest = (focal * (1 - truth)).sum(dim=(2, 3)) / torch.minimum(total - inside, 4 * inside + 400).clamp(min=1)
    overlap = (chance * truth).sum(dim=(2, 3))
    dice = 1 - (2 * overlap + 1) / (chance.sum(dim=(2, 3)) + inside + 1)
    return balanced + rest + dice


def _iou(masks: Tensor, target: Tensor) -> Tensor:
    """(O, N) IoU of boolean (O, N, h, w) masks."""
    truth = target[:, None]
    return (masks & truth).sum(dim=(2, 3)) / (masks | truth).sum(dim=(2, 3)).clamp(min=1)
