"""Classes in three spaces, as dinov3.seg's supplement analyses them: visual prototypes, and both halves of the text.

In its order: how well text predicts prototypes (Table 6), nearest neighbours (Table 7), classes that training has seen
or not, by look and by name, and the mIoU of each (Tables 2 and 8 to 10).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from maskwright.domain import Image
from maskwright.errors import MaskwrightError, UsageError
from maskwright.formats.benchmarks.semantic import SEMANTIC, stuff_training_images
from maskwright.formats.labelled_folder import LabelledFolder, label_map
from maskwright.models.dense_features import square_input
from maskwright.models.dinotxt import global_half, local_half
from maskwright.presets.loading import LoadedDinoTxt
from maskwright.progress import NO_PROGRESS, Progress

__all__ = ["ClassReport", "ClassSpaces", "LabelledClasses", "analyse_classes", "class_spaces", "prototype_fit"]

SEEN = 0.9
"""Cosine with a training class from which a class counts as seen."""
_NEIGHBOURS, _FOLDS, _RIDGE = 5, 5, 1.0
_PROMPT = "A photo of a {} in the scene"
_IGNORED = -1


class LabelledClasses(NamedTuple):
    """Images whose pixels are labelled."""

    names: tuple[str, ...]
    images: Sequence[Any]
    read: Any
    """From one of `images` to the image and its (H, W) class indices, -1 where there is none."""

    @classmethod
    def of(cls, folder: Path, benchmark: str | None = None) -> LabelledClasses:
        """A labelled folder, a benchmark, or the training images of COCO-Stuff as its owners publish them.

        Raises:
            UsageError: there is no such benchmark of label maps.
            MaskwrightError: the folder does not hold it.
        """
        if benchmark is None and (folder / "annotations.json").is_file():
            data = LabelledFolder.read(folder)
            numbers = {key: n for n, key in enumerate(data.categories)}

            def read(row: Any) -> tuple[Image, NDArray[np.int16]]:
                image = Image.open(row.file)
                return image, label_map(row.annotations, numbers, image.size_hw, empty=_IGNORED, crowd=_IGNORED)

            return cls(tuple(data.categories.values()), data.images, read)
        if benchmark is not None and benchmark not in SEMANTIC:
            raise UsageError(f"There is no benchmark of label maps {benchmark}. Choose one of: {', '.join(SEMANTIC)}.")
        known = SEMANTIC[benchmark or "coco-stuff"]
        images = known.images(folder) if benchmark else stuff_training_images(folder)
        names = tuple(name.partition(",")[0] for name in known.names)
        # labels from 1; background, 0, and ignored pixels are no class
        return cls(names, images, lambda row: (row.image(), row.labels() - 1))


class ClassSpaces(NamedTuple):
    """Unit vectors of the classes that images show."""

    names: tuple[str, ...]
    visual: Tensor
    """(T, C) prototypes"""
    global_text: Tensor
    """(T, C)"""
    local_text: Tensor
    """(T, C)"""

    @property
    def text(self) -> Tensor:
        """(T, 2C) both halves of the text, unit length."""
        return F.normalize(torch.cat([self.global_text, self.local_text], dim=1), dim=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassReport:
    """The analyses of a data set's classes."""

    preset: str
    classes: int
    """That images show."""
    r2: dict[str, float]
    """Coefficient of determination of the prototypes by `global`, `local` and `both` halves of the text (Table 6)."""
    neighbours: dict[str, dict[str, list[str]]]
    """By class: the nearest ones in `visual`, `global` and `local` space (Table 7)."""
    seen: dict[str, dict[str, Any]]
    """By look (`visual`) and by name (`text`): the `seen` and `unseen` classes, and the `miou` of each, where scores
    were given (Tables 2 and 8 to 10)."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


@torch.inference_mode()
def class_spaces(
    preset: LoadedDinoTxt, data: LabelledClasses, device: torch.device, *, size: int, progress: Progress = NO_PROGRESS
) -> ClassSpaces:
    """Prototypes and text embeddings of the classes that images show.

    A prototype is the mean over images of the mean of the backbone's features inside the class's mask.

    Args:
        preset: dino.txt, whose backbone is used without the vision head.
        data: labelled images.
        device: to compute on.
        size: side in pixels of the square that an image is stretched to, rounded up to whole patches.
        progress: reports images; cancels between them.

    Raises:
        MaskwrightError: no image shows a class.
    """
    backbone = preset.model.visual_model.backbone
    side = -(-size // backbone.config.patch) * backbone.config.patch
    sums = torch.zeros(len(data.names), backbone.config.width, dtype=torch.float64)
    counts = torch.zeros(len(data.names), dtype=torch.float64)
    preset.model.to(device)
    for number, row in enumerate(data.images):
        progress.check()
        progress.report(number, len(data.images))
        image, labels = data.read(row)
        pixels = torch.from_numpy(image.pixels.copy()).to(device).permute(2, 0, 1).float() / 255
        features = backbone(square_input(pixels, side)).patch_map()[0].float().cpu()
        for label, mean in _means(features, torch.from_numpy(labels)):
            sums[label] += mean
            counts[label] += 1
    progress.report(len(data.images), len(data.images))
    shown = torch.nonzero(counts)[:, 0]
    if not len(shown):
        raise MaskwrightError("No image shows a class.", "Name a folder with labelled images.")
    names = tuple(data.names[n] for n in shown.tolist())
    prototypes = F.normalize(sums[shown] / counts[shown, None], dim=1).float()
    prompts = [_PROMPT.format(name) for name in names]
    text = preset.model.encode_text(preset.tokenizer(prompts).to(device)).float().cpu()
    return ClassSpaces(names, prototypes, global_half(text), local_half(text))


def _means(features: Tensor, labels: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Each class of an image, with the mean of (C, h, w) features, weighted by its share of each cell."""
    for label in labels[labels >= 0].unique().tolist():
        grid = features.shape[-2], features.shape[-1]
        weight = F.adaptive_avg_pool2d((labels == label)[None].double(), grid)[0]
        yield int(label), (features.double() * weight).sum(dim=(1, 2)) / weight.sum()


def prototype_fit(text: Tensor, prototypes: Tensor) -> float:
    """Mean R^2 of ridge regression from (T, C) text to (T, D) prototypes over five folds of the classes in order.

    Raises:
        MaskwrightError: there are fewer than ten classes.
    """
    if len(text) < 2 * _FOLDS:
        raise MaskwrightError(f"{len(text)} classes are too few for {_FOLDS} folds.", "Use data with ten at least.")
    scores = []
    for fold in np.array_split(np.arange(len(text)), _FOLDS):
        rest = np.setdiff1d(np.arange(len(text)), fold)
        x, y = text[rest].double(), prototypes[rest].double()
        inputs, targets = x - x.mean(dim=0), y - y.mean(dim=0)
        weights = torch.linalg.solve(
            inputs.T @ inputs + _RIDGE * torch.eye(x.shape[1], dtype=x.dtype), inputs.T @ targets
        )
        true = prototypes[fold].double()
        residual = (true - ((text[fold].double() - x.mean(dim=0)) @ weights + y.mean(dim=0))).square().sum(dim=0)
        total = (true - true.mean(dim=0)).square().sum(dim=0)
        scores.append(float((1 - residual / total).mean()))
    return float(np.mean(scores))


def analyse_classes(
    preset: str, tested: ClassSpaces, trained: ClassSpaces, scores: Mapping[str, float | None] | None = None
) -> ClassReport:
    """All analyses.

    Args:
        preset: its name.
        tested: classes of the data set.
        trained: classes of the training data.
        scores: IoU by class name, as `evaluate` reports it.
    """
    spaces = {"global": tested.global_text, "local": tested.local_text, "both": tested.text}
    near = {"visual": tested.visual, "global": tested.global_text, "local": tested.local_text}
    neighbours: dict[str, dict[str, list[str]]] = {name: {} for name in tested.names}
    for space, vectors in near.items():
        alike = (vectors @ vectors.T).fill_diagonal_(-torch.inf)
        for name, row in zip(tested.names, alike.argsort(dim=1, descending=True), strict=True):
            others = row[: min(_NEIGHBOURS, len(tested.names) - 1)].tolist()
            neighbours[name][space] = [tested.names[n] for n in others]
    return ClassReport(
        preset=preset, classes=len(tested.names), neighbours=neighbours,
        r2={name: prototype_fit(text, tested.visual) for name, text in spaces.items()},
        seen={
            "visual": _split(tested.names, tested.visual, trained.visual, scores),
            "text": _split(tested.names, tested.text, trained.text, scores),
        },
    )  # fmt: skip


def _split(
    names: Sequence[str], vectors: Tensor, trained: Tensor, scores: Mapping[str, float | None] | None
) -> dict[str, Any]:
    """Classes by whether a training class is alike, and their mean IoU."""
    near = (vectors @ trained.T).amax(dim=1) > SEEN
    parts = {
        kind: [name for name, is_near in zip(names, near.tolist(), strict=True) if is_near == wanted]
        for kind, wanted in (("seen", True), ("unseen", False))
    }
    if scores is None:
        return parts
    # names of benchmarks hold synonyms after commas
    known = {name.partition(",")[0]: value for name, value in scores.items() if value is not None}
    means = {kind: [known[name] for name in part if name in known] for kind, part in parts.items()}
    return {**parts, "miou": {kind: float(np.mean(values)) if values else None for kind, values in means.items()}}
