"""Training of SAM's prompt encoder and mask decoder on simulated clicks and boxes (Kirillov et al., 2023, appendix A).

The image encoder is frozen: each image and its mirror image are encoded once, and the embeddings are kept on disk.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from maskwright.engine.sam import encode
from maskwright.files.atomic import atomic_save
from maskwright.models.devices import mixed_precision
from maskwright.models.sam import Prompts, Sam
from maskwright.presets.config_io import to_plain
from maskwright.presets.loading import LoadedSam
from maskwright.presets.weights import save_part
from maskwright.training.config import ClickConfig
from maskwright.training.data import Sample, Source, source_indices
from maskwright.training.in_training import PresetInTraining
from maskwright.training.loop import CPU_RUN, RunOptions, Trainer

__all__ = ["ClickObjective", "ClickSteps", "train"]

_STATE = "clicks.pt"
_MIN_CELLS = 20
"""Smallest training object, in cells of the decoder's masks."""


def train(
    base: LoadedSam, sources: Sequence[Source], config: ClickConfig, out: Path, options: RunOptions = CPU_RUN
) -> bool:
    """Tune a copy of SAM and write it into the preset in `out`, or resume the run that `out` holds.

    Args:
        base: SAM to start from; it is not changed.
        sources: Images with numbered objects. An image without any is used with masks of the untuned decoder, so that
            what the decoder knew is kept.
        config: Settings.
        out: Folder of the run.
        options: Device and callbacks.

    Returns:
        Whether the last step was reached; otherwise only the state to resume from is written.

    Raises:
        MaskwrightError: `out` holds a run with other settings.
        Cancelled: `options.progress` cancelled while images were encoded.
    """
    torch.manual_seed(config.seed)
    out.mkdir(parents=True, exist_ok=True)
    steps = ClickSteps(base, sources, config, out / "embeddings", options)
    trainer = Trainer(_trainable(copy.deepcopy(base.model)), config, out, options.device, state=_STATE)

    def preset(model: Sam) -> PresetInTraining:
        return PresetInTraining(base.ref, sam=replace(base, model=model))

    if not trainer.run(steps, ClickObjective(trainer.trained, config), options, preset):
        return False
    tuned = trainer.ema.state_dict()
    state = {
        name: value.lerp(tuned[name].to(value), config.interpolation) if value.is_floating_point() else value
        for name, value in base.model.state_dict().items()
    }
    save_part(out, "sam", state, to_plain(base.settings), dtype=torch.float16)
    return True


def _trainable(model: Sam) -> Sam:
    model.requires_grad_(requires_grad=True)
    for module in (model.image_encoder, model.prompt_encoder.shared_embedding):
        module.requires_grad_(requires_grad=False)
    return model


@dataclass(frozen=True, slots=True, eq=False)
class ClickBatch:
    """Images of one step."""

    embeddings: Tensor
    """(B, C, h, w) in half precision"""
    objects: tuple[Tensor, ...]
    """(K, 4h, 4w) masks of each image; none where nobody labelled it"""
    inputs_wh: Tensor
    """(B, 2) size of each resized image inside the padded input"""

    def to(self, device: str) -> ClickBatch:
        """The same batch on another device."""
        return ClickBatch(
            self.embeddings.to(device), tuple(part.to(device) for part in self.objects), self.inputs_wh.to(device)
        )


class ClickSteps(Dataset[ClickBatch]):
    """Batches of a run: item n is the batch of step n, which depends on the seed alone."""

    def __init__(
        self, base: LoadedSam, sources: Sequence[Source], config: ClickConfig, cache: Path, options: RunOptions
    ) -> None:
        """Encode all images and their mirror images, unless `cache` has them; raises Cancelled."""
        self._config, self._cache, self._base = config, cache, base
        self._sources = [source for source in sources if source.samples]
        samples = [sample for source in self._sources for sample in source.samples]
        cache.mkdir(parents=True, exist_ok=True)
        base.model.to(options.device)
        for number, sample in enumerate(samples):
            options.progress.check()
            options.progress.report(number, len(samples), "Encoding images")
            for mirrored in (False, True):
                self._encode(sample, options, mirrored=mirrored)
        base.model.to("cpu")

    def __len__(self) -> int:
        return self._config.steps

    def __getitem__(self, step: int) -> ClickBatch:
        rng = np.random.default_rng([self._config.seed, step])
        embeddings, objects, sizes = [], [], []
        for index in source_indices(self._sources, self._config.batch, rng):
            source = self._sources[index]
            sample = source.samples[int(rng.integers(len(source.samples)))]
            mirrored = bool(rng.random() < 0.5)
            embeddings.append(torch.from_numpy(np.load(self._file(sample, mirrored=mirrored))))
            masks, size_wh = self._objects(sample, rng, union=source.parts)
            objects.append(masks.flip(2) if mirrored else masks)
            sizes.append(size_wh)
        side = self._base.settings.model.size // 4
        padded = (F.pad(masks, (0, side - masks.shape[2], 0, side - masks.shape[1])) for masks in objects)
        return ClickBatch(torch.stack(embeddings), tuple(padded), torch.tensor(sizes))

    def _encode(self, sample: Sample, options: RunOptions, *, mirrored: bool) -> None:
        file = self._file(sample, mirrored=mirrored)
        if not file.exists():
            pixels = np.ascontiguousarray(sample.pixels[:, ::-1]) if mirrored else sample.pixels
            features = encode(self._base, pixels, torch.device(options.device)).features[0].half().cpu().numpy()
            atomic_save(file, lambda temporary: _save_array(temporary, features))

    def _file(self, sample: Sample, *, mirrored: bool) -> Path:
        key = hashlib.sha256(f"{self._base.ref.sha256} {sample.pixels.shape}".encode() + sample.pixels.tobytes())
        return self._cache / f"{key.hexdigest()[:24]}{'-mirrored' if mirrored else ''}.npy"

    def _objects(self, sample: Sample, rng: np.random.Generator, *, union: bool) -> tuple[Tensor, tuple[int, int]]:
        """(K, h, w) masks of objects drawn from an image, and (width, height) of the resized image."""
        height, width = sample.labels.shape
        scale = self._base.settings.model.longest / max(height, width)
        size = tuple(max(4, round(side * scale)) for side in (height, width))
        numbers, counts = np.unique(sample.labels[sample.labels > 0], return_counts=True)
        large = [sample.labels == n for n in numbers[counts * (scale / 4) ** 2 >= _MIN_CELLS]]
        if union and len(large) > 1:
            large.append(sample.labels > 0)
        drawn = rng.permutation(len(large))[: self._config.objects]
        planes = np.stack([large[n] for n in drawn]) if len(drawn) else np.zeros((0, height, width), bool)
        small = (size[0] // 4, size[1] // 4)
        masks = torch.from_numpy(planes).float()[None]
        masks = (
            F.interpolate(masks, small, mode="bilinear", antialias=True)[0]
            if len(drawn)
            else masks.new_zeros(0, *small)
        )
        return masks > 0.5, (size[1], size[0])


def _save_array(file: Path, array: NDArray[np.float16]) -> None:
    with file.open("wb") as stream:
        np.save(stream, array)


class ClickObjective:
    """Loss of a first click or box and of the clicks that correct its mask.

    A single click is ambiguous, so the best of its three masks has most of the loss; later prompts have one mask.
    """

    def __init__(self, model: Sam, config: ClickConfig) -> None:
        self._model, self._config = model, config
        self._untuned = copy.deepcopy(model).eval().requires_grad_(requires_grad=False)

    def __call__(self, step: int, batch: ClickBatch) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Loss of one batch, and its terms."""
        rng = np.random.default_rng([self._config.seed, step, 1])
        objects = [
            masks if len(masks) else self._own_masks(batch.embeddings[index][None].float(), batch.inputs_wh[index])
            for index, masks in enumerate(batch.objects)
        ]
        owner = torch.tensor([index for index, masks in enumerate(objects) for _ in masks], dtype=torch.int64)
        target = torch.cat(objects)
        if not len(target):
            nothing = torch.stack([p.sum() for p in self._model.mask_decoder.parameters()]).sum() * 0
            return nothing, {"masks": nothing, "iou": nothing}
        embedding = batch.embeddings[owner.to(target.device)].float()
        return self._rounds(embedding, target, boxed=bool(rng.random() < self._config.boxes))

    def constrain(self) -> None:
        """No parameter has a limited range."""

    def _rounds(self, embedding: Tensor, target: Tensor, *, boxed: bool) -> tuple[Tensor, Mapping[str, Tensor]]:
        rows = torch.arange(len(target), device=target.device)
        points: list[Tensor] = [] if boxed else [_point_in(target, anywhere=0.2)]
        labels: list[Tensor] = [] if boxed else [torch.ones_like(rows)]
        boxes = _noisy_boxes(target) if boxed else None
        start: Tensor | None = None
        parts = {"masks": embedding.new_zeros(()), "iou": embedding.new_zeros(())}
        for turn in range(self._config.prompts):
            prompts = Prompts(
                torch.stack(points, dim=1) if points else None,
                torch.stack(labels, dim=1) if labels else None,
                boxes,
                start,
            )
            with mixed_precision(target.device):
                logits, predicted = self._model.decode(embedding, prompts)
            ambiguous = turn == 0 and not boxed
            logits, predicted = (
                part.float()[:, 1:] if ambiguous else part.float()[:, :1] for part in (logits, predicted)
            )
            loss = _mask_loss(logits, target)
            error = F.mse_loss(predicted, _iou(logits.detach() > 0, target))
            # the best of three masks learns to be it, the others a little, so that each stays a proposal
            masks = loss.min(dim=1).values.mean() + 0.02 * loss.mean() if ambiguous else loss.mean()
            parts["masks"] = parts["masks"] + masks / self._config.prompts
            parts["iou"] = parts["iou"] + error * (2 if ambiguous else 1) / self._config.prompts
            start = logits[rows, predicted.argmax(dim=1)][:, None].detach()
            region, label = _larger_error(start[:, 0] > 0, target)
            points.append(_point_in(region, anywhere=0.15))
            labels.append(label)
        return parts["masks"] + parts["iou"], parts

    @torch.no_grad()
    def _own_masks(self, embedding: Tensor, input_wh: Tensor) -> Tensor:
        """(K, 4h, 4w) masks that the untuned decoder predicts for clicks anywhere in an image and is sure of."""
        count = self._config.objects
        rows = torch.arange(count, device=embedding.device)
        points = torch.rand(count, 1, 2, device=embedding.device) * input_wh
        logits, predicted = self._untuned.decode(embedding, Prompts(points, torch.ones_like(rows)[:, None]))
        choice = 1 + torch.multinomial((predicted[:, 1:] - 0.7).clamp(min=1e-3), 1)[:, 0]
        masks = logits[rows, choice] > 0
        return masks[(predicted[rows, choice] > 0.75) & (masks.flatten(1).sum(dim=1) > 3 * _MIN_CELLS)]


def _mask_loss(logits: Tensor, target: Tensor) -> Tensor:
    """(O, N): 20 times the focal loss and the dice loss of (O, N, h, w) logits, as in SAM."""
    true_mask = target.float()[:, None].expand_as(logits)
    entropy = F.binary_cross_entropy_with_logits(logits, true_mask, reduction="none")
    probability = logits.sigmoid()
    wrong = torch.where(true_mask > 0, 1 - probability, probability)
    focal = (entropy * wrong**2 * torch.where(true_mask > 0, 0.5, 1.0)).mean(dim=(2, 3))
    overlap = (probability * true_mask).sum(dim=(2, 3))
    dice = 1 - (2 * overlap + 1) / (probability.sum(dim=(2, 3)) + true_mask.sum(dim=(2, 3)) + 1)
    return 20 * focal + dice


def _iou(masks: Tensor, target: Tensor) -> Tensor:
    """(O, N) IoU of boolean (O, N, h, w) masks."""
    true_mask = target[:, None]
    return (masks & true_mask).sum(dim=(2, 3)) / (masks | true_mask).sum(dim=(2, 3)).clamp(min=1)


def _larger_error(mask: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """(O, h, w) the larger of what is missing and what is too much, and (O,) the label of a click there.

    Without an error it is the object itself.
    """
    missing, surplus = target & ~mask, mask & ~target
    positive = missing.flatten(1).sum(dim=1) >= surplus.flatten(1).sum(dim=1)
    wrong = torch.where(positive[:, None, None], missing, surplus)
    return torch.where(wrong.flatten(1).any(dim=1)[:, None, None], wrong, target), positive.long()


def _point_in(region: Tensor, *, anywhere: float) -> Tensor:
    """(O, 2) x and y near the deepest place of each region, for a share of them anywhere in it, in input pixels."""
    depth = _depth(region[:, None]).flatten(1)
    depth = depth + torch.rand_like(depth) * 0.5 * (depth > 0)
    random = torch.rand_like(depth) * region.flatten(1)
    scattered = torch.rand(len(region), device=region.device) < anywhere
    place = torch.where(scattered, random.argmax(dim=1), depth.argmax(dim=1))
    # a cell is 4 pixels wide, and 0 is the centre of the first pixel
    return torch.stack([place % region.shape[2], place // region.shape[2]], dim=1) * 4 + 1.5


def _depth(region: Tensor) -> Tensor:
    """(O, 1, h, w) erosions that each cell survives, 64 at most: by cross and square in turn, nearly a circle."""
    inner = F.pad(region.float(), (1, 1, 1, 1))
    depth = torch.zeros_like(region, dtype=torch.float32)
    for turn in range(64):
        depth += inner[:, :, 1:-1, 1:-1]
        if turn % 2:
            inner = -F.max_pool2d(-inner, 3, 1, 1)
        else:
            inner = -torch.maximum(F.max_pool2d(-inner, (1, 3), 1, (0, 1)), F.max_pool2d(-inner, (3, 1), 1, (1, 0)))
        if not inner.any():
            break
    return depth


def _noisy_boxes(target: Tensor) -> Tensor:
    """(O, 4) boxes of the objects in input pixels, each edge jittered by about a twentieth of the side."""
    boxes = []
    for plane in target:
        rows, columns = (plane.any(dim=axis).nonzero()[:, 0] for axis in (1, 0))
        boxes.append(torch.stack([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]).float())
    box = torch.stack(boxes) * 4 - 0.5
    side = (box[:, 2:] - box[:, :2]).repeat(1, 2)
    return box + (torch.randn_like(box) * 0.05 * side).clamp(-20, 20)
