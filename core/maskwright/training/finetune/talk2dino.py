"""Fine-tuning of Talk2DINO's projection on accepted masks; both encoders stand still, so images are encoded once."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import Dataset

from maskwright.engine.talk2dino import Talk2DinoMethod
from maskwright.files.atomic import atomic_save
from maskwright.models.dinov3seg import focal_loss
from maskwright.models.talk2dino import Projection, scores
from maskwright.presets.config import TALK2DINO
from maskwright.presets.config_io import sections
from maskwright.presets.loading import LoadedTalk2Dino
from maskwright.presets.weights import read_weights, save_part
from maskwright.training.config import RELEASED_LR, Schedule
from maskwright.training.data import IGNORE
from maskwright.training.finetune.dinov3seg import TuneFolders, distance_from, none_loss
from maskwright.training.finetune.export import answer_with, keep_parts, link
from maskwright.training.finetune.images import TrainingImage
from maskwright.training.in_training import PresetInTraining
from maskwright.training.loop import RunOptions, Trainer

__all__ = ["projection_config", "tune_projection"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectionConfig(Schedule):
    """Fine-tuning of a projection."""

    replay: float = 0.25
    """Share of each batch that the base's own answers on other images take, against forgetting."""


def projection_config(base: LoadedTalk2Dino, images: int, *, epochs: int | None, seed: int) -> ProjectionConfig:
    """Settings of a run: 40 passes over the images, within 200 to 600 steps, unless `epochs` says otherwise."""
    batch = 8
    steps = max(1, round((epochs or 40) * images / batch))
    if epochs is None:
        steps = min(max(steps, 200), 600)
    # encoders of its own come with the projection that its authors published
    lr = RELEASED_LR if base.settings.model is not None else 3e-4
    return ProjectionConfig(steps=steps, batch=batch, lr=lr, weight_decay=0.01, warmup=0.05, ema=0.98, seed=seed)


class _Batch(NamedTuple):
    features: Tensor
    """(B, C, h, w) of one window each"""
    labels: Tensor
    """(B, h, w) class index, IGNORE or NONE"""
    words: tuple[tuple[int, ...], ...]
    """Texts that the base is asked for on images that are replayed; none for others"""

    def to(self, device: str) -> _Batch:
        """The same batch on another device."""
        return _Batch(self.features.to(device).float(), self.labels.to(device), self.words)


class _Steps(Dataset[_Batch]):
    """Batches of a run: item n is the batch of step n, which depends on the seed alone."""

    def __init__(self, files: Sequence[Path], images: Sequence[TrainingImage], texts: Sequence[str], config: Schedule):
        self._files, self._config = files, config
        number = {text: n for n, text in enumerate(texts)}
        self._words = [tuple(number[word] for word in image.words) for image in images]
        self._labelled = [n for n, image in enumerate(images) if not image.words]
        self._replayed = [n for n, image in enumerate(images) if image.words]

    def __len__(self) -> int:
        return self._config.steps

    def __getitem__(self, step: int) -> _Batch:
        config = self._config
        replayed = round(config.batch * getattr(config, "replay", 0.0)) if self._replayed else 0
        features, labels, words = [], [], []
        for place in range(config.batch):
            rng = np.random.default_rng([config.seed, step, place])
            pool = self._replayed if place < replayed else self._labelled
            index = pool[int(rng.integers(len(pool)))]
            stored = load_file(self._files[index])
            window = int(rng.integers(len(stored["features"])))
            features.append(stored["features"][window])
            labels.append(stored["labels"][window].long())
            words.append(self._words[index])
        return _Batch(torch.stack(features), torch.stack(labels), tuple(words))


class _Objective:
    """Mean over images of focal and "none" loss; for replayed images of the distance from the base's answers."""

    def __init__(self, projection: Projection, base: LoadedTalk2Dino, texts: Tensor, own: int) -> None:
        """Take what learns, and the (T, C) text embeddings of the project's `own` classes and of further words."""
        self._projection, self._settings, self._texts, self._own = projection, base.settings, texts, own
        self._before = copy.deepcopy(projection).requires_grad_(requires_grad=False)

    def __call__(self, step: int, batch: _Batch) -> tuple[Tensor, Mapping[str, Tensor]]:  # noqa: ARG002
        terms: dict[str, list[Tensor]] = {"focal": [], "none": [], "replay": []}
        losses = []
        for row, words in enumerate(batch.words):
            features, labels = batch.features[row : row + 1], batch.labels[row : row + 1]
            prompted = torch.tensor(words or range(self._own), device=features.device)
            logits = self._logits(self._projection, features, prompted)
            if words:
                terms["replay"].append(distance_from(logits, self._logits(self._before, features, prompted)))
                losses.append(terms["replay"][-1])
                continue
            targets = (labels[:, None] == prompted[None, :, None, None]).float()
            terms["focal"].append(focal_loss(logits, targets, (labels != IGNORE)[:, None].float().expand_as(targets)))
            terms["none"].append(none_loss(logits, labels, targets))
            losses.append(terms["focal"][-1] + terms["none"][-1])
        parts = {name: torch.stack(values).mean().detach() for name, values in terms.items() if values}
        return torch.stack(losses).mean(), parts

    def constrain(self) -> None:
        """No range."""

    def _logits(self, projection: Projection, features: Tensor, prompted: Tensor) -> Tensor:
        """(1, T, h, w) of the probability that the preset's threshold makes 0.5."""
        classes = F.normalize(projection(self._texts[prompted]), dim=-1)
        return (scores(features, classes) - self._settings.threshold) * self._settings.logit_scale


def tune_projection(
    base: LoadedTalk2Dino,
    images: Sequence[TrainingImage],
    names: Sequence[str],
    config: ProjectionConfig,
    folders: TuneFolders,
    *,
    background: bool,
    options: RunOptions,
) -> bool:
    """Tune a copy of the projection, and write the result as a preset into `folders.out`; the same call resumes.

    Args:
        base: Talk2DINO to start from.
        images: Training images, and images with words whose answers by the base are kept.
        names: Classes by index, as users type them.
        config: Settings, as `projection_config` returns them.
        folders: Of the run.
        background: Unlabelled pixels belong to none of the classes, in every image.
        options: Device and callbacks.

    Returns:
        Whether the last step was reached.

    Raises:
        MaskwrightError: An image is missing or damaged.
        Cancelled: On request, while images are encoded.
    """
    torch.manual_seed(config.seed)
    folders.out.mkdir(parents=True, exist_ok=True)
    model = base.model.to(options.device).eval()
    further = dict.fromkeys(word for image in images for word in image.words if word not in names)
    texts = (*names, *further)
    files = _encode(base, images, names, folders.encodings, background=background, options=options)
    embedded = torch.cat([_text(base, text, options.device) for text in texts])
    trainer = Trainer(copy.deepcopy(model.projection).requires_grad_(), config, folders.out, options.device)

    def preset(projection: nn.Module) -> PresetInTraining:
        tuned = copy.copy(base.model)
        tuned._modules = {**base.model._modules, "projection": projection}
        return PresetInTraining(base.ref, talk2dino=replace(base, model=tuned))

    objective = _Objective(trainer.trained, base, embedded, len(names))
    if not trainer.run(_Steps(files, images, texts, config), objective, options, preset):
        return False
    _export(base, trainer.ema, names, folders.out)
    return True


def _text(base: LoadedTalk2Dino, name: str, device: str) -> Tensor:
    """(1, C) mean of a class's prompts, as the projection takes it."""
    tokens = base.tokenizer([prompt.format(name) for prompt in base.settings.prompts]).to(device)
    with torch.no_grad():
        mean: Tensor = base.model.text(tokens).float().mean(dim=0, keepdim=True)
    return mean


def _encode(
    base: LoadedTalk2Dino,
    images: Sequence[TrainingImage],
    names: Sequence[str],
    folder: Path,
    *,
    background: bool,
    options: RunOptions,
) -> list[Path]:
    """A file for each image with the features and the labels of its windows."""
    folder.mkdir(parents=True, exist_ok=True)
    method = Talk2DinoMethod(base, torch.device(options.device))
    files = []
    for done, one in enumerate(images):
        options.progress.check()
        options.progress.report(done, len(images), "Encoding images")
        files.append(file := folder / f"{one.sha256[:24]}.safetensors")
        if file.exists():
            continue
        image = one.open()
        embedding = method.encode(image.pixels, options.progress.quiet())
        labels = one.label(names, image.size_hw, background=background).labels
        if one.words:
            labels = np.full_like(labels, IGNORE)
        height, width = embedding.resized_hw
        side, cells = base.settings.protocol.window, embedding.features.shape[-1]
        centres = (np.arange(cells) + 0.5) * side / cells
        windows = [
            labels[
                np.ix_(
                    ((top + centres) * labels.shape[0] / height).astype(int).clip(max=labels.shape[0] - 1),
                    ((left + centres) * labels.shape[1] / width).astype(int).clip(max=labels.shape[1] - 1),
                )
            ]
            for top, left in embedding.positions
        ]
        tensors = {
            "features": embedding.features.half().contiguous().cpu(),
            "labels": torch.from_numpy(np.stack(windows)),
        }
        atomic_save(file, partial(save_file, tensors))
    return files


def _export(base: LoadedTalk2Dino, projection: nn.Module, names: Sequence[str], out: Path) -> None:
    """Write the result: all parts of the base, with another projection."""
    keep_parts(base.folder, out, changed=(TALK2DINO,))
    stored = sections(base.folder)[TALK2DINO]
    entry = {key: value for key, value in stored.items() if key not in ("weights", "sha256")}
    state = {name: value.cpu() for name, value in projection.state_dict().items()}
    whole = base.settings.model is not None
    if whole:
        entry["built_on"] = base.settings.encoders_sha256
        link(base.folder / stored["tokenizer"], out / stored["tokenizer"])
        state = {f"projection.{name}": value for name, value in state.items()}
        state = {**read_weights(base.folder / base.settings.weights, base.settings.sha256), **state}
    # steps of RELEASED_LR are smaller than the resolution of half precision
    save_part(out, TALK2DINO, state, entry, dtype=torch.float32 if whole else torch.float16)
    answer_with(out, TALK2DINO, names)
