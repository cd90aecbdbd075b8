"""Training data of OVS-DINO: images with one mask per noun, kept apart because they may overlap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as Pillow
from torch import Tensor
from torch.utils.data import Dataset

from maskwright.domain import Image, rle
from maskwright.domain.rle import Rle
from maskwright.errors import MaskwrightError
from maskwright.formats.labelled_folder import LabelledFolder, LabelledImage, held_out, read_coco
from maskwright.formats.segmentation import mask_of
from maskwright.imaging.normalization import stretch_contrast
from maskwright.training.config import OvsConfig
from maskwright.training.data import MEAN, STD

__all__ = ["NounBatch", "NounImage", "NounImages", "NounSteps", "read_noun_images", "square_pixels"]


@dataclass(frozen=True, slots=True, eq=False)
class NounImage:
    """One image with the masks of its nouns."""

    file: Path
    masks: dict[int, Rle]
    """Union of the masks of each noun, by its number"""
    scored: Rle | None
    """Pixels that are scored; None: all, as pseudo-masks leave none out"""
    absent: NDArray[np.int64]
    """Numbers of the nouns that its folder labels wherever they occur and that it does not show"""


@dataclass(frozen=True, slots=True)
class NounImages:
    """All training images and nouns."""

    images: tuple[NounImage, ...]
    nouns: tuple[str, ...]
    without_masks: int
    """Images left out because none of their nouns has a mask."""


def read_noun_images(
    folders: Sequence[Path], background: frozenset[str] = frozenset(), skip: frozenset[str] | None = frozenset()
) -> NounImages:
    """Read labelled folders, except held-out images; category names are the nouns.

    A folder of pseudo-masks (`info.pseudo`) scores every pixel and says nothing of nouns without a mask; in a labelled
    folder, unlabelled pixels are scored only where they belong to none of its categories.

    Args:
        folders: With `images/` and COCO `annotations.json`.
        background: Names of the folders whose unlabelled pixels belong to none of their categories.
        skip: Image names without extension to leave out beside held-out ones; None takes every image.

    Raises:
        MaskwrightError: No labelled folder, or no mask at all.
        BadCoco: The annotations are damaged.
    """
    numbers: dict[str, int] = {}
    images, empty = [], 0
    for folder in folders:
        data = LabelledFolder.read(folder)
        pseudo = "pseudo" in (read_coco(folder / "annotations.json").get("info") or {})
        own = {key: numbers.setdefault(name.strip().lower(), len(numbers)) for key, name in data.categories.items()}
        complete = np.array([] if pseudo else sorted(set(own.values())), np.int64)
        for row in data:
            if skip is not None and (held_out(row.file.name) or row.file.stem in skip):
                continue
            image = _image(row, own, complete, every_pixel=pseudo or folder.name in background)
            images += [image] if image.masks else []
            empty += not image.masks
    if not images:
        names = ", ".join(folder.name for folder in folders)
        raise MaskwrightError(f"No image of {names} has a mask to train on. Add masks, or run maskwright pseudo-masks.")
    return NounImages(tuple(images), tuple(numbers), empty)


def _image(row: LabelledImage, own: dict[int, int], complete: NDArray[np.int64], *, every_pixel: bool) -> NounImage:
    masks: dict[int, NDArray[np.bool_]] = {}
    scored = np.zeros(row.size_hw, np.bool_)
    crowds = np.zeros(row.size_hw, np.bool_)
    for annotation in row.annotations:
        if annotation.get("segmentation") and annotation.get("category_id") in own:
            mask = mask_of(annotation, row.size_hw)
            if annotation.get("iscrowd"):
                crowds |= mask
                continue
            scored |= mask
            noun = own[annotation["category_id"]]
            masks[noun] = masks[noun] | mask if noun in masks else mask
    scored = ~(crowds & ~scored) if every_pixel else scored
    own_masks = {noun: rle.encode(mask) for noun, mask in masks.items() if mask.any()}
    absent = np.setdiff1d(complete, list(own_masks))
    return NounImage(row.file, own_masks, None if scored.all() else rle.encode(scored), absent)


@dataclass(frozen=True, slots=True, eq=False)
class NounBatch:
    """Images of one step with the masks that are asked of them."""

    pixels: Tensor
    """(B, 3, T, T) normalised float32, or nothing where `maps` are cached"""
    maps: Tensor
    """(B, taps + 1, C, h, w) cached maps of a frozen DINO, or nothing"""
    target: Tensor
    """(B, E, m, m) cached embedding of SAM, or nothing"""
    masks: Tensor
    """(K, H, W) float32, 0 or 1"""
    scored: Tensor
    """(B, H, W) float32, 0 or 1"""
    owners: Tensor
    """(K,) int64 place of each mask's image in the batch"""
    nouns: Tensor
    """(K,) int64 number of each mask's noun"""

    def to(self, device: str) -> Self:
        """The same batch on another device."""
        return type(self)(*(getattr(self, name).to(device) for name in self.__slots__))


def square_pixels(file: Path, size: int, *, stretch: bool) -> NDArray[np.float32]:
    """(3, size, size) normalised image, stretched to a square."""
    pixels = Image.open(file).pixels
    image = Pillow.fromarray(stretch_contrast(pixels) if stretch else pixels)
    square = np.asarray(image.resize((size, size), Pillow.Resampling.BILINEAR), np.float32) / 255
    return np.ascontiguousarray(((square - MEAN) / STD).transpose(2, 0, 1))


class NounSteps(Dataset[NounBatch]):
    """Batches of a run: item n is the batch of step n, which depends on the seed alone; every epoch has a new order."""

    def __init__(self, data: NounImages, config: OvsConfig, *, stretch: bool, cached: Sequence[Path] = ()) -> None:
        """Draw batches.

        Args:
            data: Images and nouns.
            config: Batch, sizes and seed.
            stretch: Stretch the contrast of images first.
            cached: File with the frozen maps of each image; empty where the encoders run in the step.
        """
        self._data, self._config, self._stretch, self._cached = data, config, stretch, cached

    def __len__(self) -> int:
        return self._config.steps

    def __getitem__(self, step: int) -> NounBatch:
        config = self._config
        rng = np.random.default_rng([config.seed, step])
        pixels, maps, targets, masks, scored, owners, nouns = [], [], [], [], [], [], []
        for place, index in enumerate(self._indices(step)):
            image = self._data.images[index]
            mirrored = rng.random() < config.mirror
            chosen = self._chosen(image, rng)
            planes = _resized([image.masks.get(noun) for noun in chosen], config.mask_side)
            valid = _resized([image.scored], config.mask_side)[0] if image.scored else np.ones_like(planes[0])
            if self._cached:
                with np.load(self._cached[index]) as file:
                    maps.append(_turned(file["maps"], mirrored=mirrored))
                    targets.append(_turned(file["target"], mirrored=mirrored))
            else:
                square = square_pixels(image.file, config.teacher_size, stretch=self._stretch)
                pixels.append(_turned(square, mirrored=mirrored))
            masks += [_turned(plane, mirrored=mirrored) for plane in planes]
            scored.append(_turned(valid, mirrored=mirrored))
            owners += [place] * len(chosen)
            nouns += chosen
        return NounBatch(
            _stacked(pixels), _stacked(maps), _stacked(targets), _stacked(masks), _stacked(scored),
            torch.tensor(owners), torch.tensor(nouns),
        )  # fmt: skip

    def _indices(self, step: int) -> list[int]:
        count, config = len(self._data.images), self._config
        places = range(step * config.batch, (step + 1) * config.batch)
        orders = {
            epoch: np.random.default_rng([config.seed, epoch, 7]).permutation(count)
            for epoch in {place // count for place in places}
        }
        return [int(orders[place // count][place % count]) for place in places]

    def _chosen(self, image: NounImage, rng: np.random.Generator) -> list[int]:
        """Nouns asked of an image: its own, then absent ones."""
        own = rng.permutation(list(image.masks))[: self._config.nouns]
        return [*own.tolist(), *rng.permutation(image.absent)[: self._config.negatives].tolist()]


def _resized(masks: Sequence[Rle | None], side: int) -> list[NDArray[np.float32]]:
    """(side, side) masks, 0 or 1; None is an empty mask."""
    planes = []
    for mask in masks:
        plane = np.zeros((side, side), np.float32)
        if mask is not None:
            image = Pillow.fromarray(rle.decode(mask)).resize((side, side), Pillow.Resampling.NEAREST)
            plane = np.asarray(image, np.float32)
        planes.append(plane)
    return planes


def _turned(array: NDArray[np.generic], *, mirrored: bool) -> NDArray[np.generic]:
    return array[..., ::-1] if mirrored else array


def _stacked(parts: list[NDArray[np.generic]]) -> Tensor:
    return torch.from_numpy(np.stack(parts).astype(np.float32)) if parts else torch.zeros(0)
