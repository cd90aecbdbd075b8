"""Training of OVS-DINO (its Secs. 4.1 and 4.3): alignment with SAM, and segmentation by pseudo-masks.

The alignment trains the heads alone, so the structure-aware encoder runs on DINO's maps without their gradients; the
segmentation also trains DINO's last blocks, so it runs on the maps with them. Where DINO is frozen both are one pass,
and its maps and SAM's embeddings are computed once per image and kept on disk.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from maskwright.files.atomic import atomic_save
from maskwright.models.devices import mixed_precision
from maskwright.models.ovs_dino import (
    DinoTaps,
    OvsDino,
    alignment,
    middle_grid,
    sam_middle,
    segmentation_losses,
)
from maskwright.models.tokenizer import Tokenizer
from maskwright.training.config import OvsConfig
from maskwright.training.loop import RunOptions, Trainer
from maskwright.training.noun_masks import NounBatch, NounImages, NounSteps, square_pixels

__all__ = ["OvsObjective", "OvsRun", "frozen_maps", "noun_vectors", "train"]

STATE = "ovs-dino.pt"
_SIMILAR = 1e-6


class OvsObjective:
    """L = L_align + L_seg (Eq. 16)."""

    def __init__(self, model: OvsDino, sam: nn.Module | None, vectors: Tensor, config: OvsConfig, device: str) -> None:
        """Prepare the loss.

        Args:
            model: Whose heads, and last blocks, are trained; its other parts are on `device`.
            sam: Image encoder of SAM; may be None where embeddings are cached, or nothing needs them.
            vectors: (V, D) unit vectors of all nouns.
            config: Settings.
            device: torch device.
        """
        self._model, self._sam, self._config = model, sam, config
        self._vectors, self._device = vectors.to(device), torch.device(device)

    def __call__(self, step: int, batch: NounBatch) -> tuple[Tensor, Mapping[str, Tensor]]:  # noqa: ARG002
        """Loss of one batch, and its terms."""
        config, heads = self._config, self._model.heads
        with mixed_precision(self._device):
            features = self._features(batch)
            target = self._target(batch, features)
            parts: dict[str, Tensor] = {}
            middle = None
            if config.align:
                assert target is not None
                middle = heads.encoder(features.detach())
                parts = alignment(middle, target)._asdict()
            if config.middle == "sam":
                middle = target
            elif config.trained_blocks:
                middle = heads.encoder(features)
            projected = heads(features, middle)
        parts["dice"], parts["bce"] = self._segmentation(projected.float(), batch)
        aligned = config.align * (parts["cosine"] + parts["mse"]) if config.align else 0.0
        return aligned + parts["dice"] + parts["bce"], {name: value.detach() for name, value in parts.items()}

    @torch.no_grad()
    def constrain(self) -> None:
        """Keep the factor of the logits positive."""
        self._model.heads.scale.clamp_(min=1.0)

    def _features(self, batch: NounBatch) -> DinoTaps:
        if batch.maps.numel():
            *taps, last = batch.maps.unbind(dim=1)
            return DinoTaps(tuple(taps), last)
        size = self._config.size
        pixels = F.interpolate(batch.pixels, (size, size), mode="bilinear", antialias=True)
        return self._model.taps(pixels)

    def _target(self, batch: NounBatch, features: DinoTaps) -> Tensor | None:
        if batch.target.numel():
            return batch.target
        if self._sam is None or not (self._config.align or self._config.middle == "sam"):
            return None
        grid = middle_grid((features.last.shape[-2], features.last.shape[-1]))
        return sam_middle(self._sam, batch.pixels, self._config.teacher_size, grid)

    def _segmentation(self, projected: Tensor, batch: NounBatch) -> tuple[Tensor, Tensor]:
        unit = F.normalize(projected, dim=1, eps=_SIMILAR)[batch.owners]
        cosines = torch.einsum("kdhw,kd->khw", unit, self._vectors[batch.nouns])
        logits = self._model.heads.logits(cosines)
        side = batch.masks.shape[-1]
        logits = F.interpolate(logits[:, None], (side, side), mode="bilinear", align_corners=False)[:, 0]
        return segmentation_losses(logits, batch.masks, batch.scored[batch.owners])


@torch.no_grad()
def noun_vectors(
    model: OvsDino, tokenizer: Tokenizer, prompts: Sequence[str], nouns: Sequence[str], options: RunOptions
) -> Tensor:
    """(V, D) unit vectors of the nouns under all prompt templates, as at inference."""
    vectors = []
    model.to(options.device).eval()
    for number, noun in enumerate(nouns):
        options.progress.check()
        options.progress.report(number, len(nouns), "Encoding nouns")
        ids = tokenizer([prompt.format(noun) for prompt in prompts]).to(options.device)
        vectors.append(model.encode_class(ids).cpu())
    return torch.stack(vectors)


@dataclass(frozen=True, slots=True, eq=False)
class OvsRun:
    """Model, teacher and data of a run."""

    model: OvsDino
    """With pretrained encoders."""
    sam: nn.Module
    """Image encoder of SAM."""
    data: NounImages
    out: Path
    """Folder of the run; one in it is resumed."""
    encoders: str
    """Hash of the weights of all encoders, for the cache of a frozen DINO."""
    stretch: bool
    """Stretch the contrast of images first."""
    maps: Path
    """Folder for the maps of a frozen DINO, which several runs may share."""


def train(run: OvsRun, vectors: Tensor, config: OvsConfig, options: RunOptions) -> tuple[nn.ModuleDict, bool]:
    """Train the heads of a model, or resume the run that its folder holds.

    Args:
        run: Model, teacher and data.
        vectors: (V, D) unit vectors of the nouns.
        config: Settings.
        options: Device and callbacks.

    Returns:
        The averaged trained parts, and whether the last step was reached.

    Raises:
        Cancelled: On request, while the maps of a frozen DINO are computed.
        MaskwrightError: The folder holds a run with other settings, or an image cannot be read.
    """
    run.model.to(options.device).eval()
    run.sam.to(options.device).eval().requires_grad_(requires_grad=False)
    run.out.mkdir(parents=True, exist_ok=True)
    cached = [] if config.trained_blocks else frozen_maps(run, config, options)
    run.model.requires_grad_(requires_grad=False)
    parts = run.model.trained_parts(config.trained_blocks).requires_grad_(requires_grad=True)
    trainer = Trainer(parts, config, run.out, options.device, state=STATE, pretrained=[parts["blocks"]])
    objective = OvsObjective(run.model, None if cached else run.sam, vectors, config, options.device)
    finished = trainer.run(NounSteps(run.data, config, stretch=run.stretch, cached=cached), objective, options)
    return trainer.ema, finished


@torch.no_grad()
def frozen_maps(run: OvsRun, config: OvsConfig, options: RunOptions) -> list[Path]:
    """One file per image with a frozen DINO's maps and SAM's embedding, in half precision; missing ones are made."""
    run.maps.mkdir(parents=True, exist_ok=True)
    files = []
    images = run.data.images
    for number, image in enumerate(images):
        options.progress.check()
        options.progress.report(number, len(images), "Encoding images")
        stamp = image.file.stat() if image.file.exists() else None
        key = repr((
            run.encoders, run.stretch, config.size, config.teacher_size, config.heads.taps, image.file.name,
            stamp and (stamp.st_size, stamp.st_mtime_ns),
        ))  # fmt: skip
        file = run.maps / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.npz"
        files.append(file)
        if file.exists():
            continue
        pixels = torch.from_numpy(square_pixels(image.file, config.teacher_size, stretch=run.stretch))[None]
        pixels = pixels.to(options.device)
        size = (config.size, config.size)
        features = run.model.taps(F.interpolate(pixels, size, mode="bilinear", antialias=True))
        grid = middle_grid((features.last.shape[-2], features.last.shape[-1]))
        with mixed_precision(pixels.device):
            target = sam_middle(run.sam, pixels, config.teacher_size, grid)
        maps = torch.cat([*features.taps, features.last]).half().cpu().numpy()
        _save(file, maps, target[0].half().cpu().numpy())
    return files


def _save(file: Path, maps: NDArray[np.float16], target: NDArray[np.float16]) -> None:
    def write(temporary: Path) -> None:
        with temporary.open("wb") as stream:
            np.savez(stream, maps=maps, target=target)

    atomic_save(file, write)
