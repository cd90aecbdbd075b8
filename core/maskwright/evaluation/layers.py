"""Layers of a preset's backbone on images: how much detail each keeps, and how alike they are to SAM's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from maskwright.domain import Image
from maskwright.errors import MaskwrightError
from maskwright.models.dinotxt import VisualModel
from maskwright.models.dinov2 import DinoV2
from maskwright.models.dinov3 import DinoV3
from maskwright.models.layer_statistics import frequency_ratio, hsic, principal_maps, radial_energy
from maskwright.models.normalization import normalize
from maskwright.models.ovs_dino import HeadsConfig
from maskwright.models.sam import HybridEncoder, MobileEncoder, Sam, VitEncoder
from maskwright.presets.config import OVS_ENCODERS
from maskwright.presets.config_io import sections
from maskwright.presets.loading import load, load_ovs_encoders
from maskwright.progress import NO_PROGRESS, Progress

__all__ = ["LayerReport", "Networks", "analyse_layers", "load_networks"]

_COMPARED = 5
"""Last layers of each network that are compared."""
_SHOWN = 4
"""Images whose components are shown."""


@dataclass(frozen=True, slots=True, eq=False)
class LayerReport:
    """Statistics of the layers of a backbone."""

    preset: str
    images: int
    energy: tuple[tuple[float, ...], ...]
    """log10 of the energy at each radius, by layer (Fig. 2 b)"""
    ratio: tuple[float, ...]
    """log10 of high over low frequencies, by layer (Fig. 2 a)"""
    cka: tuple[tuple[float, ...], ...]
    """Similarity of the last layers, backbone by row, SAM by column (Fig. 4); empty where the preset has no SAM"""
    backbone_layers: tuple[int, ...]
    """Blocks of the rows, counted from 1"""
    sam_layers: tuple[str, ...]
    """Names of the columns"""
    components: NDArray[np.uint8]
    """(images, layers, h, w, 3) principal components of each layer as colours (Fig. 3)"""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, without the components."""
        return {name: value for name, value in asdict(self).items() if name != "components"}


@dataclass(frozen=True, slots=True, eq=False)
class Networks:
    """A preset's backbone, and its SAM where it has one."""

    preset: str
    backbone: DinoV2 | DinoV3
    sam: Sam | None


def load_networks(folder: Path, device: torch.device) -> Networks:
    """The networks of a preset, also of one whose OVS-DINO waits for training.

    Raises:
        MaskwrightError: the preset has no backbone.
        BadWeights: its files are damaged.
    """
    preset = load(folder)
    models: list[object] = [part.model for part in (preset.talk2dino, preset.dinotxt, preset.insid3) if part]
    if OVS_ENCODERS in sections(folder):
        models.insert(0, load_ovs_encoders(folder, HeadsConfig(), None)[0])
    for model in models:
        visual = getattr(model, "visual", getattr(model, "visual_model", model))
        backbone = visual.backbone if isinstance(visual, VisualModel) else visual
        if isinstance(backbone, DinoV2 | DinoV3):
            sam = preset.sam.model.to(device) if preset.sam else None
            return Networks(preset.ref.name, backbone.to(device).eval(), sam)
    raise MaskwrightError(f"The preset {preset.ref.name} has no DINO backbone.", "Use tiny, insid3-l or talk2dino-b.")


@torch.inference_mode()
def analyse_layers(
    networks: Networks, files: Sequence[Path], *, size: int = 448, progress: Progress = NO_PROGRESS
) -> LayerReport:
    """Run a backbone, and SAM, on images, and compare their layers.

    Args:
        networks: of a preset.
        files: images.
        size: side in pixels of the square that an image is stretched to, rounded up to whole patches.
        progress: reports images; cancels between them.

    Raises:
        MaskwrightError: there is no image, or one cannot be read.
        Cancelled: on request.
    """
    backbone, sam = networks.backbone, networks.sam
    if not files:
        raise MaskwrightError("There is no image to analyse.", "Name a folder with images.")
    patch, depth = backbone.config.patch, backbone.config.depth
    side = -(-size // patch) * patch
    spectra: list[Tensor] = []
    shown: list[NDArray[np.uint8]] = []
    kernels: list[Tensor] = []
    names: tuple[str, ...] = ()
    for number, file in enumerate(files):
        progress.check()
        progress.report(number, len(files))
        pixels = _pixels(file, backbone, side)
        outputs = backbone.intermediate(pixels, [*range(depth)], norm=False)
        layers = [output.patch_map()[0].float().cpu() for output in outputs]
        spectra.append(torch.stack([radial_energy(layer[None]) for layer in layers]))
        if number < _SHOWN:
            colours = torch.stack([principal_maps(layer) for layer in layers]).permute(0, 2, 3, 1)
            shown.append((colours * 255).round().byte().numpy())
        if sam is not None:
            others = _sam_layers(sam.image_encoder, _pixels(file, sam, sam.config.size))
            names = tuple(others)
            kernels.append(_similarities(layers[-_COMPARED:], list(others.values())))
    progress.report(len(files), len(files))
    energy = torch.stack(spectra).mean(dim=0)
    return LayerReport(
        networks.preset, len(files), tuple(map(tuple, energy.clamp(min=1e-12).log10().tolist())),
        tuple(frequency_ratio(row) for row in energy), _cka(kernels),
        tuple(range(max(0, depth - _COMPARED) + 1, depth + 1)), names, np.stack(shown),
    )  # fmt: skip


def _pixels(file: Path, network: nn.Module, side: int) -> Tensor:
    """(1, 3, side, side) normalised pixels where the network is."""
    weight = next(network.parameters())
    image = torch.from_numpy(Image.open(file).pixels.copy()).permute(2, 0, 1)[None].float() / 255
    square = F.interpolate(normalize(image), (side, side), mode="bilinear", antialias=True)
    return square.to(weight.device, weight.dtype)


def _sam_layers(sam: VitEncoder | HybridEncoder | MobileEncoder, pixels: Tensor) -> dict[str, Tensor]:
    """(C, h, w) maps of SAM's last layers; of MobileSAM its stages and the embedding."""
    if isinstance(sam, MobileEncoder):
        maps = sam.maps(pixels)
        return {name: getattr(maps, name)[0] for name in ("quarter", "eighth", "sixteenth", "embedding")}
    depth = len(sam.layers) if isinstance(sam, VitEncoder) else sam.backbone.config.depth
    blocks = tuple(range(max(0, depth - _COMPARED), depth))
    _embedding, outputs = sam(pixels, blocks)
    return {f"block {n + 1}": output[0].permute(2, 0, 1) for n, output in zip(blocks, outputs, strict=True)}


def _similarities(layers: list[Tensor], others: list[Tensor]) -> Tensor:
    """(rows, columns, 3) HSIC of each pair, of the row with itself, and of the column with itself."""
    grid = layers[0].shape[-2], layers[0].shape[-1]
    rows = [layer.flatten(1).T for layer in layers]
    columns = [F.adaptive_avg_pool2d(other.float().cpu(), grid).flatten(1).T for other in others]
    own, theirs = [hsic(row, row) for row in rows], [hsic(column, column) for column in columns]
    return torch.tensor([
        [(hsic(row, column), own[i], theirs[j]) for j, column in enumerate(columns)] for i, row in enumerate(rows)
    ])  # fmt: skip


def _cka(kernels: list[Tensor]) -> tuple[tuple[float, ...], ...]:
    if not kernels:
        return ()
    both, own, theirs = torch.stack(kernels).double().sum(dim=0).unbind(dim=-1)
    return tuple(map(tuple, (both / (own * theirs).clamp(min=1e-24).sqrt()).tolist()))
