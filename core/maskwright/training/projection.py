"""Talk2DINO's projection learns from pictures with captions, both encoders frozen (Sec. 3.2 of the paper, facts 5.6).

A picture goes through its encoder once: what its attention heads look at is a few vectors, which are kept on the disk.
So an epoch over thousands of pictures is a matter of seconds, and a run that was stopped does not encode again.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from maskwright.domain import Image
from maskwright.errors import Cancelled, MaskwrightError
from maskwright.files.atomic import atomic_save
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
from maskwright.training.captions import Captioned
from maskwright.training.data import MEAN, STD
from maskwright.training.prompts import PROMPTS

__all__ = ["TINY_PROJECTION", "Encoders", "ProjectionRun", "Taught", "encoders", "settings_for", "teach"]

_SHARD = 256
"""Pictures whose regions are kept in one file."""
_TEXTS = 256
"""Texts that are encoded together."""


@dataclass(frozen=True, slots=True)
class ProjectionRun:
    """Settings of one run; the defaults are the paper's."""

    pooling: Pooling = "max_head"
    epochs: int = 100
    batch: int = 128
    rate: float = 1e-4
    size: int = 518
    """Pixels of the square that pictures are stretched to; see `Talk2Dino.regions`."""
    hidden: int | None = None
    """Width between the two affine maps; None: that of the patches."""
    seed: int = 0


TINY_PROJECTION = ProjectionRun(epochs=75, rate=1e-3, size=448, hidden=64)
"""How the bundled one is made: few pictures, and little room in the bundle."""


def settings_for(base: Path, **given: Any) -> ProjectionRun:
    """The paper's settings where a preset has the paper's encoders, else the bundled preset's; `given` ones win."""
    told = sections(base).get(TALK2DINO, {})
    return replace(ProjectionRun() if told.get("model") else TINY_PROJECTION, **given)


class Encoders(NamedTuple):
    """The frozen parts that a projection is learned between."""

    model: Talk2Dino
    """Its projection is not used."""
    tokenizer: Tokenizer
    sha256: str
    """Of their weights"""
    stretch: bool
    """Whether the pictures' contrast is stretched first"""


class Taught(NamedTuple):
    """What a run made."""

    projection: Projection
    config: ProjectionConfig
    losses: tuple[float, ...]
    """Mean loss of each epoch"""
    pictures: int
    captions: int


def encoders(preset: Preset) -> Encoders:
    """Of a preset: those of its Talk2DINO where that has its own, else those of its dino.txt.

    Raises:
        MaskwrightError: it has neither.
    """
    whole = preset.talk2dino
    if whole is not None and whole.settings.model is not None:
        return Encoders(whole.model, whole.tokenizer, whole.settings.encoders_sha256, whole.settings.stretch)
    if preset.dinotxt is None:
        raise MaskwrightError(
            f"The preset {preset.ref.name} has no words and pictures to bring together. Use tiny or talk2dino-b."
        )
    text, config = preset.dinotxt.model, preset.dinotxt.settings
    model = Talk2Dino(text.visual_model, text.text_model, Projection(ProjectionConfig(1, 1)))
    return Encoders(model, preset.dinotxt.tokenizer, config.sha256, config.stretch)


def teach(
    frozen: Encoders,
    pictures: Sequence[Captioned],
    run: ProjectionRun,
    cache: Path,
    *,
    device: torch.device,
    progress: Callable[[str, int, int], None] = lambda phase, done, total: None,
    stopped: Callable[[], bool] = lambda: False,
) -> Taught:
    """Learn a projection; the same seed on the same CPU gives the same weights.

    Args:
        frozen: the encoders.
        pictures: with captions.
        run: settings.
        cache: folder for what the encoder made of the pictures.
        device: to compute on.
        progress: told the phase ("pictures", "texts" or "epochs"), what is done of it and in all.
        stopped: asked between batches.

    Raises:
        Cancelled: `stopped` said so; what was encoded is kept.
        MaskwrightError: a picture cannot be read, or there are too few.
    """
    if len(pictures) < 2:
        raise MaskwrightError("Learning needs at least two pictures with captions. Add some.")
    frozen.model.to(device).eval()

    def told(phase: str) -> Callable[[int, int], None]:
        def tell(done: int, total: int) -> None:
            if stopped():
                raise Cancelled
            progress(phase, done, total)

        return tell

    regions = _regions(frozen, [one.file for one in pictures], run, cache, device, told("pictures"))
    said = _Said(pictures)
    texts = _texts(frozen, said.prompts(), device, told("texts"))
    config = ProjectionConfig(texts.shape[-1], regions.shape[-1], run.hidden)
    projection, losses = _learned(config, regions, texts, said, run, device, told("epochs"))
    return Taught(projection, config, losses, len(pictures), len(said.texts))


def _learned(
    config: ProjectionConfig,
    regions: Tensor,
    texts: Tensor,
    said: _Said,
    run: ProjectionRun,
    device: torch.device,
    tell: Callable[[int, int], None],
) -> tuple[Projection, tuple[float, ...]]:
    """The projection, and the mean loss of each epoch (Eq. 7)."""
    torch.manual_seed(run.seed)
    projection, loss = Projection(config).to(device), InfoNce().to(device)
    optimiser = torch.optim.Adam([*projection.parameters(), *loss.parameters()], lr=run.rate)
    rng, batch = np.random.default_rng(run.seed), min(run.batch, len(regions))
    losses = []
    for epoch in range(run.epochs):
        order, spent = rng.permutation(len(regions)), []
        for group in optimiser.param_groups:
            group["lr"] = run.rate * 0.5 * (1 + math.cos(math.pi * epoch / run.epochs))
        # pictures that are left over come in another epoch
        for rows in order[: len(order) // batch * batch].reshape(-1, batch):
            tell(epoch, run.epochs)
            drawn = np.array([said.drawn(row, rng) for row in rows])
            text = projection(texts[drawn, rng.integers(texts.shape[1], size=batch)].to(device))
            image = pool_regions(regions[rows].to(device).float(), text, run.pooling)
            cosines = F.normalize(image, dim=-1) @ F.normalize(text, dim=-1).T
            value = loss(cosines, torch.from_numpy(said.true(rows, drawn)).to(device))
            optimiser.zero_grad()
            value.backward()
            optimiser.step()
            spent.append(value.item())
        losses.append(float(np.mean(spent)))
    tell(run.epochs, run.epochs)
    return projection.cpu().eval(), tuple(losses)


class _Said:
    """Which captions there are, and which picture has which."""

    def __init__(self, pictures: Sequence[Captioned]) -> None:
        number: dict[str, int] = {}
        self._of = [np.array([number.setdefault(text, len(number)) for text in one.captions]) for one in pictures]
        self.texts = tuple(number)
        self._names = {text for one in pictures if one.names for text in one.captions}
        counts = np.bincount(np.concatenate(self._of))
        # of a picture's captions the rarer come more often: "sky" is on every other picture, a sentence on one
        self._chance = counts**-0.5

    def drawn(self, row: int, rng: np.random.Generator) -> int:
        """One caption of a picture."""
        chance = self._chance[self._of[row]]
        return int(rng.choice(self._of[row], p=chance / chance.sum()))

    def true(self, rows: NDArray[np.int64], drawn: NDArray[np.int64]) -> NDArray[np.bool_]:
        """(B, B) whether each picture has each of the captions drawn."""
        return np.stack([np.isin(drawn, self._of[row]) for row in rows])

    def prompts(self) -> list[list[str]]:
        """Per caption the texts that stand for it, as many for all: a class name under prompts, a sentence as it is."""
        return [[prompt.format(text) if text in self._names else text for prompt in PROMPTS] for text in self.texts]


def _texts(frozen: Encoders, texts: list[list[str]], device: torch.device, tell: Callable[[int, int], None]) -> Tensor:
    """(captions, prompts, C) raw embeddings."""
    every = [text for row in texts for text in row]
    # a sentence stands there under every prompt
    known = list(dict.fromkeys(every))
    found = []
    for start in range(0, len(known), _TEXTS):
        tell(start, len(known))
        with torch.no_grad():
            found.append(frozen.model.text(frozen.tokenizer(known[start : start + _TEXTS]).to(device)).float().cpu())
    place = {text: index for index, text in enumerate(known)}
    rows = torch.tensor([place[text] for text in every]).view(len(texts), -1)
    return torch.cat(found)[rows]


def _regions(
    frozen: Encoders,
    files: Sequence[Path],
    run: ProjectionRun,
    cache: Path,
    device: torch.device,
    tell: Callable[[int, int], None],
) -> Tensor:
    """(pictures, regions, C) in half precision: what stands for each picture under `run.pooling`."""
    cache.mkdir(parents=True, exist_ok=True)
    shards = []
    for start in range(0, len(files), _SHARD):
        part = files[start : start + _SHARD]
        stats = [(file.name, *_stamp(file)) for file in part]
        key = hashlib.sha256(
            f"{frozen.sha256} {type(frozen.model.visual).__name__} {run.size} {frozen.stretch} {stats}".encode()
        ).hexdigest()[:24]
        shard = cache / f"regions-{key}.safetensors"
        try:
            found = load_file(shard)["regions"]
        except (OSError, KeyError, SafetensorError):
            # not there, or not whole: it can be had again
            rows = []
            for done, file in enumerate(part, start=start):
                tell(done, len(files))
                rows.append(_seen(frozen, file, run.size, device))
            found = torch.stack(rows)
            _keep(shard, found)
        chosen = {"max_head": slice(0, -2), "average": slice(-2, -1), "cls": slice(-1, None)}[run.pooling]
        shards.append(found[:, chosen])
    return torch.cat(shards)


def _stamp(file: Path) -> tuple[int, ...]:
    """Size and time of a file; nothing of one that is missing, which reading will tell of."""
    try:
        return file.stat().st_size, file.stat().st_mtime_ns
    except OSError:
        return ()


def _keep(shard: Path, regions: Tensor) -> None:
    atomic_save(shard, lambda file: save_file({"regions": regions}, file))


@torch.no_grad()
def _seen(frozen: Encoders, file: Path, size: int, device: torch.device) -> Tensor:
    pixels = Image.open(file).pixels
    image = (np.asarray(stretch_contrast(pixels) if frozen.stretch else pixels, np.float32) / 255 - MEAN) / STD
    batch = torch.from_numpy(image).to(device).permute(2, 0, 1)[None]
    return frozen.model.regions(batch, size)[0].half().cpu()
