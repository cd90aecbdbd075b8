"""Training of Talk2DINO's projection on captioned images, with both encoders frozen (Sec. 3.2 of the paper).

Every image is encoded once: the embeddings of its attention heads are a few vectors, which are kept on disk. An epoch
over thousands of images then takes seconds, and an interrupted run does not encode again.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image as Pillow
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from maskwright.domain import Image
from maskwright.errors import MaskwrightError
from maskwright.files.atomic import atomic_save
from maskwright.formats.captions import CaptionedImage
from maskwright.imaging.normalization import stretch_contrast
from maskwright.models.talk2dino import (
    InfoNce,
    Pooling,
    Projection,
    ProjectionConfig,
    Talk2Dino,
    pool_regions,
)
from maskwright.models.tokenizer import Tokenizer
from maskwright.presets.config import TALK2DINO
from maskwright.presets.config_io import sections
from maskwright.presets.loading import Preset
from maskwright.progress import NO_PROGRESS, Progress
from maskwright.training.data import MEAN, STD
from maskwright.training.prompts import PROMPTS

__all__ = [
    "TINY_PROJECTION",
    "Encoders",
    "ProjectionResult",
    "ProjectionSettings",
    "default_settings",
    "encoders",
    "train",
]

_SHARD = 256
"""Images whose embeddings are kept in one file."""
_TEXT_BATCH = 256
"""Texts that are encoded together."""


@dataclass(frozen=True, slots=True)
class ProjectionSettings:
    """Settings of one run; the defaults are the paper's."""

    pooling: Pooling = "max_head"
    epochs: int = 100
    batch: int = 128
    lr: float = 1e-4
    """Learning rate of Adam, or its peak where a cosine over the epochs follows."""
    released: bool = True
    """As in the authors' code: an epoch has every caption of every image once, the learning rate is constant, the loss
    has its initial scale, and of an image the middle square is seen. Otherwise an epoch has one caption per image, rare
    ones more often, the rate follows a cosine, the scale learns, further images with a caption are no negatives of it,
    and images are stretched to a square: for few images."""
    size: int = 448
    """Side in pixels of that square; see `Talk2Dino.regions`."""
    all_images: bool = False
    """Train on every image; otherwise held-out ones and those of the sample gallery are left out."""
    hidden: int | None = None
    """Width between the two affine maps; None is that of the patches."""
    seed: int = 0


TINY_PROJECTION = ProjectionSettings(epochs=75, lr=1e-3, size=448, hidden=64, released=False)
"""Settings of the bundled preset, for few images and a small file."""


def default_settings(base: Path, **options: Any) -> ProjectionSettings:
    """Settings for a preset: the paper's where it has the paper's encoders, else the bundled preset's.

    Args:
        base: Preset folder.
        options: Fields of `ProjectionSettings` that replace the defaults.
    """
    whole = sections(base).get(TALK2DINO, {}).get("model")
    return replace(ProjectionSettings() if whole else TINY_PROJECTION, **options)


class Encoders(NamedTuple):
    """Frozen encoders that a projection is trained between."""

    model: Talk2Dino
    """Its own projection is not used."""
    tokenizer: Tokenizer
    sha256: str
    """Hash of the weights."""
    stretch: bool
    """Stretch the contrast of images first."""


class ProjectionResult(NamedTuple):
    """Trained projection with the losses of its run."""

    projection: Projection
    config: ProjectionConfig
    losses: tuple[float, ...]
    """Mean loss of each epoch."""
    images: int
    captions: int


def encoders(preset: Preset) -> Encoders:
    """Encoders of a preset: those of its Talk2DINO if it is whole, else those of its dino.txt.

    Raises:
        MaskwrightError: It has neither.
    """
    whole = preset.talk2dino or preset.waiting_talk2dino
    if whole is not None and whole.settings.model is not None:
        return Encoders(whole.model, whole.tokenizer, whole.settings.encoders_sha256, whole.settings.stretch)
    if preset.dinotxt is None:
        raise MaskwrightError(f"The preset {preset.ref.name} has no text and image encoders. Use tiny or talk2dino-b.")
    dinotxt, settings = preset.dinotxt.model, preset.dinotxt.settings
    model = Talk2Dino(dinotxt.visual_model, dinotxt.text_model, Projection(ProjectionConfig(1, 1)))
    return Encoders(model, preset.dinotxt.tokenizer, settings.sha256, settings.stretch)


def train(
    encoders: Encoders,
    images: Sequence[CaptionedImage],
    settings: ProjectionSettings,
    cache: Path,
    *,
    device: torch.device,
    progress: Progress = NO_PROGRESS,
) -> ProjectionResult:
    """Train a projection; the same seed on the same CPU gives the same weights.

    Args:
        encoders: Frozen encoders.
        images: Images with captions.
        settings: Settings of the run.
        cache: Folder for the embeddings of the images.
        device: Device to compute on.
        progress: Reports images, texts and epochs; cancels between batches.

    Raises:
        Cancelled: `progress` cancelled; embeddings in complete files are kept.
        MaskwrightError: An image cannot be read, or there are fewer than two.
    """
    if len(images) < 2:
        raise MaskwrightError("Training needs at least two captioned images. Add some.")
    encoders.model.to(device).eval()
    regions = _image_embeddings(encoders, [image.file for image in images], settings, cache, device, progress)
    captions = _Captions(images)
    texts = _text_embeddings(encoders, captions.prompts(), device, progress)
    config = ProjectionConfig(texts.shape[-1], regions.shape[-1], settings.hidden)
    torch.manual_seed(settings.seed)
    projection = Projection(config).to(device)
    losses = _optimize(projection, regions, texts, captions, settings, device, progress)
    return ProjectionResult(projection.cpu().eval(), config, losses, len(images), len(captions.texts))


def _report(progress: Progress, done: int, total: int, stage: str) -> None:
    progress.check()
    progress.report(done, total, stage)


def _optimize(
    projection: Projection,
    regions: Tensor,
    texts: Tensor,
    captions: _Captions,
    settings: ProjectionSettings,
    device: torch.device,
    progress: Progress,
) -> tuple[float, ...]:
    """Minimise InfoNCE (Eq. 7); returns the mean loss of each epoch."""
    loss = InfoNce().to(device)
    loss.requires_grad_(not settings.released)
    optimizer = torch.optim.Adam([*projection.parameters(), *loss.parameters()], lr=settings.lr)
    rng = np.random.default_rng(settings.seed)
    losses = []
    for epoch in range(settings.epochs):
        values = []
        if not settings.released:
            for group in optimizer.param_groups:
                group["lr"] = settings.lr * 0.5 * (1 + math.cos(math.pi * epoch / settings.epochs))
        for rows, drawn in captions.batches(settings, rng):
            _report(progress, epoch, settings.epochs, _TRAINING)
            text = projection(texts[drawn, rng.integers(texts.shape[1], size=len(rows))].to(device))
            image = pool_regions(regions[rows].to(device).float(), text, settings.pooling)
            cosines = F.normalize(image, dim=-1) @ F.normalize(text, dim=-1).T
            same = None if settings.released else torch.from_numpy(captions.matches(rows, drawn)).to(device)
            value = loss(cosines, same)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            values.append(value.item())
        losses.append(float(np.mean(values)))
    _report(progress, settings.epochs, settings.epochs, _TRAINING)
    return tuple(losses)


_IMAGES, _TEXTS, _TRAINING = "Encoding images", "Encoding texts", "Training"
"""Stages of the progress."""


class _Captions:
    """All distinct captions, and which image has which."""

    def __init__(self, images: Sequence[CaptionedImage]) -> None:
        index: dict[str, int] = {}
        self._of = [np.array([index.setdefault(text, len(index)) for text in image.captions]) for image in images]
        self.texts = tuple(index)
        self._names = {text for image in images if image.names for text in image.captions}
        counts = np.bincount(np.concatenate(self._of))
        # rare captions are drawn more often: "sky" fits every other image, a sentence fits one
        self._weights = counts**-0.5

    def batches(
        self, settings: ProjectionSettings, rng: np.random.Generator
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Rows of images and their captions, a batch at a time, for one epoch."""
        if settings.released:
            pairs = np.array([(row, caption) for row, own in enumerate(self._of) for caption in own])
            pairs = pairs[rng.permutation(len(pairs))]
            for start in range(0, len(pairs), settings.batch):
                part = pairs[start : start + settings.batch]
                yield part[:, 0], part[:, 1]
            return
        order, batch = rng.permutation(len(self._of)), min(settings.batch, len(self._of))
        # images that do not fill a batch are drawn in another epoch
        for rows in order[: len(order) // batch * batch].reshape(-1, batch):
            yield rows, np.array([self.draw(row, rng) for row in rows])

    def draw(self, row: int, rng: np.random.Generator) -> int:
        """Index of one caption of an image."""
        weights = self._weights[self._of[row]]
        return int(rng.choice(self._of[row], p=weights / weights.sum()))

    def matches(self, rows: NDArray[np.int64], drawn: NDArray[np.int64]) -> NDArray[np.bool_]:
        """(B, B) whether each image has each of the drawn captions."""
        return np.stack([np.isin(drawn, self._of[row]) for row in rows])

    def prompts(self) -> list[list[str]]:
        """Texts of each caption, the same number for all: class names in prompt templates, sentences unchanged."""
        return [[prompt.format(text) if text in self._names else text for prompt in PROMPTS] for text in self.texts]


def _text_embeddings(encoders: Encoders, texts: list[list[str]], device: torch.device, progress: Progress) -> Tensor:
    """(captions, prompts, C) raw text embeddings."""
    flat = [text for row in texts for text in row]
    # sentences are repeated for every prompt
    distinct = list(dict.fromkeys(flat))
    embeddings = []
    for start in range(0, len(distinct), _TEXT_BATCH):
        _report(progress, start, len(distinct), _TEXTS)
        tokens = encoders.tokenizer(distinct[start : start + _TEXT_BATCH]).to(device)
        with torch.no_grad():
            embeddings.append(encoders.model.text(tokens).float().cpu())
    index = {text: number for number, text in enumerate(distinct)}
    rows = torch.tensor([index[text] for text in flat]).view(len(texts), -1)
    return torch.cat(embeddings)[rows]


def _image_embeddings(
    encoders: Encoders,
    files: Sequence[Path],
    settings: ProjectionSettings,
    cache: Path,
    device: torch.device,
    progress: Progress,
) -> Tensor:
    """(images, regions, C) in half precision: the vectors that `settings.pooling` chooses from."""
    cache.mkdir(parents=True, exist_ok=True)
    chosen = {"max_head": slice(0, -2), "average": slice(-2, -1), "cls": slice(-1, None)}[settings.pooling]
    shards = []
    for start in range(0, len(files), _SHARD):
        part = files[start : start + _SHARD]
        stats = [(file.name, *_stamp(file)) for file in part]
        visual = type(encoders.model.visual).__name__
        crop = " crop" if settings.released else ""
        key = f"{encoders.sha256} {visual} {settings.size}{crop} {encoders.stretch} {stats}"
        shard = cache / f"regions-{hashlib.sha256(key.encode()).hexdigest()[:24]}.safetensors"
        try:
            regions = load_file(shard)["regions"]
        except (OSError, KeyError, SafetensorError):
            # missing or damaged
            rows = []
            for done, file in enumerate(part, start=start):
                _report(progress, done, len(files), _IMAGES)
                rows.append(_encode(encoders, file, settings, device))
            regions = torch.stack(rows)
            _save_shard(shard, regions)
        shards.append(regions[:, chosen])
    return torch.cat(shards)


def _stamp(file: Path) -> tuple[int, ...]:
    """Size and modification time; empty for a missing file, which `_encode` reports."""
    try:
        return file.stat().st_size, file.stat().st_mtime_ns
    except OSError:
        return ()


def _save_shard(shard: Path, regions: Tensor) -> None:
    atomic_save(shard, lambda file: save_file({"regions": regions}, file))


@torch.no_grad()
def _encode(encoders: Encoders, file: Path, settings: ProjectionSettings, device: torch.device) -> Tensor:
    """(regions, C) of one image."""
    pixels = Image.open(file).pixels
    if settings.released:
        pixels = _middle(pixels, settings.size)
    image = (np.asarray(stretch_contrast(pixels) if encoders.stretch else pixels, np.float32) / 255 - MEAN) / STD
    batch = torch.from_numpy(image).to(device).permute(2, 0, 1)[None]
    return encoders.model.regions(batch, settings.size)[0].half().cpu()


def _middle(pixels: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """The middle square of an (H, W, 3) image whose short side was resized to `size`, bicubic."""
    height, width = (size * side // min(pixels.shape[:2]) for side in pixels.shape[:2])
    left, top = round((width - size) / 2), round((height - size) / 2)
    resized = Pillow.fromarray(pixels).resize((width, height), Pillow.Resampling.BICUBIC)
    return np.asarray(resized.crop((left, top, left + size, top + size)))
