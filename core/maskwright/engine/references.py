"""Prompts by example with INSID3: references and targets as cells, masks back in pixels."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike, NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from maskwright import __version__
from maskwright.domain import Image, Reference
from maskwright.errors import BadReference, MaskwrightError
from maskwright.files.atomic import atomic_save
from maskwright.imaging.normalization import stretch_contrast
from maskwright.models import insid3
from maskwright.models.crf import crf
from maskwright.models.dense_features import dense_features, square_input
from maskwright.models.insid3 import EncodedReference, PatchFeatures
from maskwright.models.pamr import pamr
from maskwright.presets.config import Insid3Settings
from maskwright.presets.loading import LoadedInsid3

__all__ = [
    "Region",
    "check",
    "checked_points",
    "complement",
    "encode",
    "example",
    "find",
    "match_points",
    "to_provenance",
]

log = logging.getLogger(__name__)


class Region(NamedTuple):
    """What was found in an image."""

    mask: NDArray[np.bool_]
    """(H, W)"""
    score: float
    """0 to 1; 0 when nothing was found"""


def check(references: Sequence[Reference]) -> None:
    """Raise BadReference when the references cannot say what to look for."""
    if not references:
        raise BadReference("There is no reference. Give at least one image with the mask of the thing to find.")
    for one in references:
        if not one.mask.area:
            raise BadReference("The reference mask is empty. Mark the thing to find.")
        if one.mask.area == one.image.size_hw[0] * one.image.size_hw[1]:
            raise BadReference("The reference mask covers the whole image; mark only the object.")


def to_provenance(one: Reference) -> dict[str, str]:
    """A reference as provenance keeps it: which image, and which mask."""
    mask = one.annotation_uid or hashlib.sha256(one.mask.rle["counts"].encode()).hexdigest()
    return {"image": one.image.sha256, "mask": mask}


def complement(preset: LoadedInsid3, device: torch.device, cache: Path) -> Tensor:
    """(C, C - k) basis of what is left beside the preset's positional subspace; that one is kept on the disk."""
    return insid3.complement_of(_positional_basis(preset, device, cache))


def _positional_basis(preset: LoadedInsid3, device: torch.device, cache: Path) -> Tensor:
    config = preset.settings
    text = f"{preset.ref.sha256} {config} {device.type} {__version__}"
    file = cache.expanduser() / f"positions-{hashlib.sha256(text.encode()).hexdigest()[:24]}.safetensors"
    try:
        return load_file(file)["basis"].to(device)
    except (OSError, KeyError, SafetensorError):
        # not there, or not whole: it can be had again
        pass
    black = square_input(torch.zeros(3, config.method.size, config.method.size, device=device), config.method.size)
    basis = insid3.positional_basis(
        dense_features(preset.model, black, stem=config.stem, position=config.position), config.method.components
    )
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        atomic_save(file, lambda temporary: save_file({"basis": basis.cpu()}, temporary))
    except (OSError, SafetensorError) as error:
        log.warning("cannot keep %s: %s", file, error)
    return basis


@torch.inference_mode()
def encode(preset: LoadedInsid3, pixels: NDArray[np.uint8], complement: Tensor, device: torch.device) -> PatchFeatures:
    """Cells of an (H, W, 3) image."""
    config = preset.settings
    image = square_input(_tensor(stretch_contrast(pixels) if config.stretch else pixels, device), config.method.size)
    return insid3.encode(dense_features(preset.model, image, stem=config.stem, position=config.position), complement)


def _tensor(pixels: NDArray[np.uint8], device: torch.device) -> Tensor:
    """(3, H, W) in 0..1."""
    return torch.from_numpy(pixels.copy()).to(device).permute(2, 0, 1).float() / 255


@torch.inference_mode()
def example(cells: PatchFeatures, one: Reference, config: Insid3Settings) -> EncodedReference:
    """A reference on its image's cells."""
    mask = torch.from_numpy(one.mask.to_array()).to(cells.original.device)
    return insid3.encode_reference(cells, insid3.grid_mask(mask, config.method.size, cells.grid_hw))


@torch.inference_mode()
def find(
    cells: PatchFeatures,
    examples: Sequence[EncodedReference],
    not_this: Sequence[EncodedReference],
    config: Insid3Settings,
    image: Image,
    refine: str | None,
    device: torch.device,
) -> Region:
    """What the examples show, in the pixels of the image that `cells` are of."""
    found = insid3.segment(cells, examples, config.method, negative_references=not_this)
    if not found.mask.any():
        return Region(np.zeros(image.size_hw, np.bool_), 0.0)
    size = config.method.size
    square = insid3.square_mask(found.mask, cells.grid_hw, size)
    if refine is not None:
        pixels = F.interpolate(_tensor(image.pixels, device)[None], (size, size), mode="bilinear")[0]
        square = crf(pixels, square) if refine == "crf" else _pamr(pixels, square)
    mask = insid3.resized_mask(square, image.size_hw).cpu().numpy()
    return Region(mask, found.confidence if mask.any() else 0.0)


_PAMR_SIDE = 512
"""PAMR looks at 48 neighbours of every pixel; at full size that is gigabytes."""


def _pamr(pixels: Tensor, square: Tensor) -> Tensor:
    side = min(_PAMR_SIDE, len(square))
    small = F.interpolate(square[None, None].float(), (side, side), mode="area")
    refined = pamr(F.interpolate(pixels[None] * 255, (side, side), mode="area"), small)
    return F.interpolate(refined, tuple(square.shape), mode="bilinear")[0, 0] > 0.5


def checked_points(points_xy: ArrayLike, size_hw: tuple[int, int]) -> NDArray[np.float64]:
    """(K, 2) points inside an image; raises MaskwrightError."""
    points = np.asarray(points_xy, np.float64)
    if points.ndim != 2 or points.shape[1] != 2:
        raise MaskwrightError("Points must be a list of (x, y) pairs.")
    inside = (points >= 0).all(axis=1) & (points[:, 0] <= size_hw[1]) & (points[:, 1] <= size_hw[0])
    if not inside.all():
        raise MaskwrightError("That point is outside the image. Nothing changed.")
    return points


@torch.inference_mode()
def match_points(
    source: PatchFeatures, target: PatchFeatures, points_xy: NDArray[np.float64], of: Image, to: Image
) -> NDArray[np.float64]:
    """Points of the image `to` that correspond to points of the image `of`."""
    h, w = source.grid_hw
    # the method counts cells from 0 at their centres, we count pixels from 0 at the border: half a cell apart
    half = [np.array([image.size_hw[1] / w, image.size_hw[0] / h]) / 2 for image in (of, to)]
    points = torch.from_numpy(points_xy - half[0]).float().to(source.debiased.device)
    sizes = of.size_hw, to.size_hw
    found = insid3.match_points(source.debiased, target.debiased, source.grid_hw, points, sizes)
    return found.double().cpu().numpy() + half[1]
