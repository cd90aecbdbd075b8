"""The trainer of the bundled preset: dense supervision through the text embeddings.

Each step encodes every class under a random synonym and prompt, so that a pixel learns to resemble the words for it
and no others. Two dense terms: all the classes a source labels compete for a pixel; and with a random subset of them
the pixel must fall to none of them when its own is missing, as it does when a person types a few names.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader

from maskwright.errors import MaskwrightError
from maskwright.models.checkpoints import atomic_save, save_part
from maskwright.models.dinotxt import DinoTxt, dense_similarity, global_half, local_half
from maskwright.models.tokens import Tokenizer, train_tokenizer
from maskwright.training.config import TrainConfig
from maskwright.training.data import IGNORE, NONE, Batch, Source, Steps
from maskwright.training.vocabulary import UNSURE, YES, Vocabulary

__all__ = ["PROMPTS", "Step", "train"]

log = logging.getLogger(__name__)

PROMPTS = ("{}", "a photo of a {}.", "A photo of a {} in the scene")
"""Prompts averaged when the trained model is used; training draws from these and from all published templates."""


PROTOCOL = {"short_sides": [288], "window": 288, "stride": 144}
"""How the trained model looks at an image: in the middle of the sizes it was trained at, in larger windows."""


@dataclass(frozen=True, slots=True)
class Step:
    """What one step reports."""

    step: int
    steps: int
    loss: float
    parts: dict[str, float]
    images_per_second: float


class _Trained(nn.Module):
    """The model with the two offsets that turn a scaled cosine into a logit against "none of these"."""

    def __init__(self, model: DinoTxt) -> None:
        super().__init__()
        self.model = model
        # a tenth of the offset each, so that they move ten times as fast as a weight does
        self.offset = nn.Parameter(torch.tensor(-0.2))
        self.image_offset = nn.Parameter(torch.tensor(-0.2))


class _Losses:
    """The loss terms; holds per-source class sets and the containment of classes."""

    def __init__(self, sources: Sequence[Source], vocabulary: Vocabulary, device: str) -> None:
        self.device = device
        self.containment = torch.from_numpy(vocabulary.containment()).to(device)
        self.classes = [torch.from_numpy(source.classes) for source in sources]
        self.background = [source.background for source in sources]
        # a source of one class with a true background (microscopy) shares nothing with the others
        alone = [bg and len(c) == 1 for bg, c in zip(self.background, self.classes, strict=True)]
        every = torch.arange(len(vocabulary))
        own = [set(c.tolist()) for c in self.classes]
        foreign = set().union(*(own[i] for i, single in enumerate(alone) if single))
        self.absent = [
            every[[k not in own[i] for k in every.tolist()]]
            if single
            else torch.tensor(sorted(foreign - own[i]), dtype=torch.int64)
            for i, single in enumerate(alone)
        ]
        self.class_weight = _balance(sources, len(vocabulary)).to(device)

    def __call__(
        self, batch: Batch, features: Any, text: Tensor, trained: _Trained, rng: np.random.Generator
    ) -> dict[str, Tensor]:
        scale = trained.model.logit_scale.exp()
        local, wide = local_half(text.float()), global_half(text.float())
        sums: dict[str, list[Tensor]] = {"classes": [], "subset": [], "image": []}
        for index in batch.sources.unique().tolist():
            rows = batch.sources == index
            part = features._replace(cls=features.cls[rows].float(), patches=features.patches[rows].float())
            labels = batch.labels[rows]
            absent = self.absent[index]
            drawn = absent[torch.from_numpy(rng.permutation(len(absent))[:24])]
            classes = torch.cat([self.classes[index], drawn]).to(self.device)
            share = rows.float().mean()
            logits = dense_similarity(part, local[classes]) * scale + 10 * trained.offset
            logits = F.interpolate(logits, size=labels.shape[-2:], mode="bilinear", align_corners=False)
            sums["classes"].append(share * self._classes(logits, labels, classes, self.background[index]))
            sums["subset"].append(share * self._subset(logits, labels, classes, rng))
            own = self.classes[index].to(self.device)
            cosine = F.normalize(part.cls, dim=-1) @ wide[own].T
            shown = (labels.flatten(1)[:, :, None] == own).any(dim=1).float()
            image_logits = cosine * scale + 10 * trained.image_offset
            sums["image"].append(share * F.binary_cross_entropy_with_logits(image_logits, shown) * 10)
        return {name: torch.stack(values).sum() for name, values in sums.items()}

    def _classes(self, logits: Tensor, labels: Tensor, classes: Tensor, background: bool) -> Tensor:
        """All the source's classes compete; with a true background, so does "none"."""
        place = torch.full((len(self.containment),), IGNORE, device=self.device)
        place[classes] = torch.arange(len(classes), device=self.device)
        target = torch.where(labels >= 0, place[labels.clamp(min=0)], labels)
        weight = self.class_weight[classes]
        if background:
            logits = F.pad(logits, (0, 0, 0, 0, 0, 1))
            target = torch.where(target == NONE, len(classes), target)
            weight = F.pad(weight, (0, 1), value=1.0)
        return _cross_entropy(logits, target, weight)

    def _subset(self, logits: Tensor, labels: Tensor, classes: Tensor, rng: np.random.Generator) -> Tensor:
        """A random subset of the classes against "none of these", which has the logit 0."""
        kept = torch.from_numpy(rng.random(len(classes)) < rng.uniform(0.1, 0.9)).to(self.device)
        if not kept.any():
            return logits.sum() * 0
        chosen = classes[kept]
        relation = self.containment[:, chosen]
        none = len(chosen)
        found = torch.where(
            (relation == YES).any(dim=1),
            (relation == YES).float().argmax(dim=1),
            torch.where((relation == UNSURE).any(dim=1), IGNORE, none),
        )
        # the class itself goes before a wider one
        found[chosen] = torch.arange(none, device=self.device)
        target = torch.where(labels >= 0, found[labels.clamp(min=0)], torch.where(labels == NONE, none, IGNORE))
        weight = F.pad(self.class_weight[chosen], (0, 1), value=1.0)
        return _cross_entropy(F.pad(logits[:, kept], (0, 0, 0, 0, 0, 1)), target, weight)


def _cross_entropy(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean over the pixels that count; 0 when none does."""
    if not (target >= 0).any():
        return logits.sum() * 0
    return F.cross_entropy(logits, target, weight=weight, ignore_index=IGNORE, label_smoothing=0.02)


def _balance(sources: Sequence[Source], classes: int) -> Tensor:
    """Weight of each class: its inverse pixel frequency to the power 0.3, between 0.5 and 2.5."""
    pixels = np.ones(classes)
    for source in sources:
        for sample in source.samples:
            shown = sample.labels[sample.labels >= 0]
            pixels += np.bincount(shown, minlength=classes) / sample.labels.size
    weight = (np.median(pixels[pixels > 1]) / pixels) ** 0.3 if (pixels > 1).any() else np.ones(classes)
    weight = weight.clip(0.5, 2.5)
    # a class that is alone in its source has "none of these", which weighs 1, to stand against
    weight[[int(s.classes[0]) for s in sources if len(s.classes) == 1]] = 1.0
    return torch.from_numpy(weight).float()


def _teach_words(
    model: DinoTxt, tokenizer: Tokenizer, texts: Sequence[Sequence[str]], config: TrainConfig, device: str
) -> None:
    """Pull the prompts of one class together and those of different classes apart, in both halves; then lock them.

    An untrained text tower maps all prompts to nearly one direction (mean cosine 0.98), and when words and pixels
    learn together from few images the words fall back to it (0.84 after 700 steps): pixels then learn next to
    nothing. Against locked, well separated words they learn as a classifier does.
    """
    optimiser = torch.optim.AdamW(model.text_model.parameters(), lr=config.rate, weight_decay=config.weight_decay)
    templates, own = _templates(), torch.arange(len(texts), device=device)
    for step in range(config.word_steps):
        rng = np.random.default_rng([config.seed, step, 2])
        views = [model.encode_text(tokenizer(list(_prompts(texts, templates, rng))).to(device)) for _ in range(2)]
        loss = torch.zeros((), device=device)
        for half in (global_half, local_half):
            logits = half(views[0]) @ half(views[1]).T / 0.1
            loss = loss + F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.text_model.parameters(), 1.0)
        optimiser.step()
        if step % 50 == 49:
            log.info("words %d/%d, loss %.3f", step + 1, config.word_steps, loss.item())


def _rate(config: TrainConfig, step: int) -> float:
    """Learning rate as a share of the highest: linear warm-up, then a cosine to 0."""
    rising = max(1, round(config.warmup * config.steps))
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, config.steps - rising)))


def _groups(trained: _Trained, decay: float) -> list[dict[str, Any]]:
    """Everything but the text tower; weight decay for matrices and kernels only."""
    words = {id(parameter) for parameter in trained.model.text_model.parameters()}
    learning = [parameter for parameter in trained.parameters() if id(parameter) not in words]
    return [
        {"params": [p for p in learning if p.ndim >= 2], "weight_decay": decay},
        {"params": [p for p in learning if p.ndim < 2], "weight_decay": 0.0},
    ]


@torch.no_grad()
def _average(mean: nn.Module, model: nn.Module, decay: float) -> None:
    current = model.state_dict()
    for name, value in mean.state_dict().items():
        if value.is_floating_point():
            value.lerp_(current[name], 1 - decay)
        else:
            value.copy_(current[name])


def _templates() -> list[str]:
    table = json.loads((files("maskwright_assets") / "prompt_templates.json").read_text(encoding="utf-8"))
    return [text for texts in table.values() for text in texts]


def _prompts(texts: Sequence[Sequence[str]], templates: Sequence[str], rng: np.random.Generator) -> Iterator[str]:
    """One prompt a class: half the time its first name, and a plain prompt two times out of three."""
    for names in texts:
        name = names[0] if len(names) == 1 or rng.random() < 0.5 else names[int(rng.integers(1, len(names)))]
        pool = PROMPTS if rng.random() < 0.67 else templates
        yield pool[int(rng.integers(len(pool)))].format(name)


def train(
    sources: Sequence[Source],
    vocabulary: Vocabulary,
    config: TrainConfig,
    out: Path,
    *,
    device: str = "cpu",
    workers: int = 0,
    minutes: float | None = None,
    on_step: Callable[[Step], None] = lambda step: None,
    stopped: Callable[[], bool] = lambda: False,
) -> bool:
    """Train into the preset folder `out`; True when the last step was reached.

    State is kept in `out/training.pt` every 100 steps and at the end, whatever ends the run; a later call
    with the same arguments goes on from there. The same seed on the same CPU gives the same weights.
    """
    torch.manual_seed(config.seed)
    out.mkdir(parents=True, exist_ok=True)
    tokenizer = _tokenizer(vocabulary, config, out)
    trained, mean = _Trained(DinoTxt(config.model)), _Trained(DinoTxt(config.model))
    for module in (trained, mean):
        module.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.AdamW(_groups(trained, config.weight_decay), lr=config.rate, betas=(0.9, 0.98))
    first = _resume(out, config, trained, mean, optimiser)
    losses, templates, texts = _Losses(sources, vocabulary, device), _templates(), vocabulary.texts()
    if not first:
        _teach_words(trained.model, tokenizer, texts, config, device)
        mean.load_state_dict(trained.state_dict())
    trained.model.text_model.requires_grad_(False)
    steps = Steps(
        sources, batch=config.batch, crop=config.crop, short_side=config.short_side, seed=config.seed,
        steps=config.steps,
    )  # fmt: skip
    loader = DataLoader(steps, batch_size=None, sampler=range(first, config.steps), num_workers=workers)
    began, since = time.monotonic(), time.monotonic()
    step, text = first - 1, None
    for step, batch in enumerate(loader, start=first):
        rng = np.random.default_rng([config.seed, step, 1])
        torch.manual_seed(config.seed * 1_000_003 + step)
        for group in optimiser.param_groups:
            group["lr"] = config.rate * _rate(config, step)
        trained.train()
        with torch.autocast(device, dtype=torch.bfloat16):
            if text is None or step % config.text_every == 0:
                # drawn by the step that started the group, so that a resumed run goes on with the same words
                drawn = np.random.default_rng([config.seed, step - step % config.text_every, 3])
                with torch.no_grad():
                    text = trained.model.encode_text(tokenizer(list(_prompts(texts, templates, drawn))).to(device))
            features = trained.model.encode_image(batch.pixels.to(device, memory_format=torch.channels_last))
        parts = losses(batch.to(device), features, text, trained, rng)
        loss = parts["classes"] + config.subset_loss * parts["subset"] + config.image_loss * parts["image"]
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(trained.parameters(), 1.0)
        optimiser.step()
        with torch.no_grad():
            trained.model.logit_scale.clamp_(max=math.log(50))
        _average(mean, trained, min(config.average, (1 + step) / (10 + step)))
        if step % 10 == 9:
            rate = 10 * config.batch / (time.monotonic() - since)
            since = time.monotonic()
            on_step(Step(step + 1, config.steps, loss.item(), {k: v.item() for k, v in parts.items()}, rate))
        late = minutes is not None and time.monotonic() - began > 60 * minutes
        ends = late or stopped()
        if step % 100 == 99 or step + 1 == config.steps or ends:
            _keep(out, config, step + 1, trained, mean, optimiser)
        if ends:
            break
    _export(out, mean, config, vocabulary)
    return step + 1 >= config.steps


def _tokenizer(vocabulary: Vocabulary, config: TrainConfig, out: Path) -> Tokenizer:
    file = out / "tokenizer.json"
    if not file.exists():
        corpus = [text for texts in vocabulary.texts() for text in texts] * 4 + _templates()
        train_tokenizer(corpus, vocabulary=config.model.text.vocabulary).save(str(file))
    return Tokenizer.load(file, context=config.model.text.context)


def _resume(
    out: Path, config: TrainConfig, trained: nn.Module, mean: nn.Module, optimiser: torch.optim.Optimizer
) -> int:
    file = out / "training.pt"
    if not file.exists():
        return 0
    state = torch.load(file, map_location="cpu", weights_only=True)
    if state["config"] != json.dumps(config.to_dict()):
        raise MaskwrightError(f"{out} holds a run with other settings. Name another folder with --out, or delete it.")
    trained.load_state_dict(state["trained"])
    mean.load_state_dict(state["mean"])
    optimiser.load_state_dict(state["optimiser"])
    return int(state["step"])


def _keep(
    out: Path, config: TrainConfig, step: int, trained: nn.Module, mean: nn.Module, optimiser: torch.optim.Optimizer
) -> None:
    state = {
        "config": json.dumps(config.to_dict()),
        "step": step,
        "trained": trained.state_dict(),
        "mean": mean.state_dict(),
        "optimiser": optimiser.state_dict(),
    }
    atomic_save(out / "training.pt", lambda file: torch.save(state, file))


def _export(out: Path, mean: _Trained, config: TrainConfig, vocabulary: Vocabulary) -> None:
    """Write the preset: averaged weights in half precision, sizes, prompts, threshold and the words it was taught."""
    scale = mean.model.logit_scale.exp().item()
    save_part(
        out,
        "dinotxt",
        mean.model.state_dict(),
        {
            "model": config.to_dict()["model"],
            "tokenizer": "tokenizer.json",
            "prompts": list(PROMPTS),
            "protocol": PROTOCOL,
            "stretch": True,
            "high_resolution": {"visits": [1, 2, 4]},
            "sharpness": scale,
            "scale": scale,
            "threshold": -10 * mean.offset.item() / scale,
            "familiar": sorted({text for texts in vocabulary.texts() for text in texts}),
        },
        dtype=torch.float16,
    )
    run = json.dumps({k: v for k, v in config.to_dict().items() if k != "model"}, indent=1) + "\n"
    atomic_save(out / "training.json", lambda file: file.write_text(run, encoding="utf-8"))
