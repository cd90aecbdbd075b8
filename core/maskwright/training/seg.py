"""The trainer of dinov3.seg (its Secs. 3.3 and 4.2): everything learns at once, what was trained before more slowly."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maskwright.models.dinov3 import ConvStem
from maskwright.models.dinov3seg import Dinov3Seg, dice_loss, focal_loss
from maskwright.models.state_dict import load_exactly
from maskwright.models.tokenizer import Tokenizer
from maskwright.presets.config import Dinov3SegSettings
from maskwright.presets.config_io import sections
from maskwright.presets.loading import dinov3seg_settings, load_dinotxt, load_sam, shared_weights
from maskwright.presets.saving import save_dinov3seg
from maskwright.presets.weights import read_weights, save_record
from maskwright.training.config import SegConfig
from maskwright.training.data import IGNORE, Batch, Source, Steps
from maskwright.training.loop import Trainer, TrainProgress, until
from maskwright.training.losses import Words, absent_classes
from maskwright.training.vocabulary import UNSURE, YES, Vocabulary

__all__ = ["SegObjective", "SegTrained", "seg_steps", "started", "train_seg"]


class SegTrained(nn.Module):
    """The model, with the parts that stand still as the settings say."""

    def __init__(self, model: Dinov3Seg, config: SegConfig) -> None:
        super().__init__()
        self.model, self._config = model, config
        stems = [module for module in model.modules() if isinstance(module, ConvStem)]
        self._still = (
            *((model.vlm.text_model,) if "text" in config.still else ()),
            *(stems if "stems" in config.still else ()),
        )
        model.requires_grad_(True)
        # it takes no part in the segmentation
        model.vlm.logit_scale.requires_grad_(False)
        for module in self._still:
            module.requires_grad_(False)

    @property
    def pretrained(self) -> list[nn.Module]:
        """What learns at the lower rate."""
        early = None if self._config.new_early else self.model.anyup
        return [part for part in (self.model.vlm, self.model.spe, early) if part is not None]

    def train(self, mode: bool = True) -> SegTrained:
        """As usual, but what stands still keeps its statistics."""
        super().train(mode)
        for module in self._still:
            module.eval()
        return self


def seg_steps(config: SegConfig, sources: Sequence[Source]) -> Steps:
    """The steps of a run."""
    return Steps(
        sources, batch=config.batch, crop=config.crop, short_side=config.short_side, seed=config.seed,
        steps=config.steps, stride=config.label_stride,
    )  # fmt: skip


class SegObjective:
    """Focal and dice loss of a batch: each picture is asked for classes that it shows and for others."""

    def __init__(
        self,
        trained: SegTrained,
        sources: Sequence[Source],
        vocabulary: Vocabulary,
        tokenizer: Tokenizer,
        config: SegConfig,
        device: str,
    ) -> None:
        self._model, self._config, self._device = trained.model, config, device
        self._words = Words(
            trained.model.vlm, vocabulary, tokenizer, every=config.text_every, seed=config.seed, device=device,
            learning="text" not in config.still, prompt=config.prompt,
        )  # fmt: skip
        self._own = [source.classes for source in sources]
        self._absent = [absent.numpy() for absent in absent_classes(sources, len(vocabulary))]
        self._relation = torch.from_numpy(vocabulary.containment()).to(device)

    def __call__(self, step: int, batch: Batch) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The loss of one batch, and its terms."""
        config = self._config
        rng = np.random.default_rng([config.seed, step, 1])
        asked = self._asked(batch, rng)
        model = self._model
        pixels = batch.pixels.to(memory_format=torch.channels_last)
        with torch.autocast(torch.device(self._device).type, dtype=torch.bfloat16):
            text = self._words.at(step)[asked]
            features = model.patch_features(pixels)
            if config.blur:
                features = _mixed_up(features, config.blur, rng)
            logits = model.predict(model.encode(pixels, features), model.text_views(text))
        logits = logits.float()
        if logits.shape[-2:] != batch.labels.shape[-2:]:
            logits = F.interpolate(logits, batch.labels.shape[-2:], mode="bilinear", align_corners=False)
        targets, valid = self._targets(batch.labels, asked)
        if config.loss == "bce":
            loss = focal_loss(logits, targets, valid, gamma=0)
            return loss, {"bce": loss.detach()}
        parts = {"focal": focal_loss(logits, targets, valid, gamma=config.gamma)}
        parts["dice"] = dice_loss(logits, targets, valid)
        return parts["focal"] + config.dice * parts["dice"], parts

    def settle(self) -> None:
        """Nothing has a range."""

    def _asked(self, batch: Batch, rng: np.random.Generator) -> Tensor:
        """(B, T) classes that each picture is asked for: some or all it shows, then others that are not there."""
        limit = self._config.classes
        rows = []
        count = len(self._own[0]) if limit is None else int(rng.integers(min(4, limit), limit + 1))
        for labels, index in zip(batch.labels, batch.sources.tolist(), strict=True):
            own = self._own[index]
            if limit is None:
                rows.append(rng.permutation(own))
                continue
            shown = np.intersect1d(labels.unique().cpu().numpy(), own)
            shown = rng.permutation(shown)[: max(1, count - 2)]
            # people ask for some of what there is
            kept = shown[rng.random(len(shown)) < 0.9] if rng.random() < 0.5 else shown
            missing = rng.permutation(np.setdiff1d(own, shown))
            foreign = rng.permutation(self._absent[index])
            few = min(len(foreign), int(rng.integers(0, 3)))
            others = np.concatenate([foreign[:few], missing, foreign[few:]])
            row = np.concatenate([kept, others])[:count]
            rows.append(row if len(row) else shown)
        fewest = min(map(len, rows))
        # a source may have too few classes for the others' number
        rows = [rng.permutation(row[:fewest]) for row in rows]
        return torch.from_numpy(np.stack(rows).astype(np.int64)).to(self._device)

    def _targets(self, labels: Tensor, asked: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, h, w) whether a pixel is of the class, and whether it counts."""
        known = labels.clamp(min=0)
        relation = self._relation[known[:, None], asked[:, :, None, None]]
        named = labels[:, None] >= 0
        own = labels[:, None] == asked[:, :, None, None]
        # where the pixel's own class is asked for as well, a wider one is neither right nor wrong
        own_asked = own.any(dim=1, keepdim=True)
        wider = (relation == YES) & ~own
        targets = named & (own | (wider & ~own_asked))
        unsure = named & ((relation == UNSURE) | (wider & own_asked))
        valid = (labels[:, None] != IGNORE) & ~unsure
        return targets.float(), valid.float()


def _mixed_up(features: Tensor, share: float, rng: np.random.Generator) -> Tensor:
    """At places of some pictures, features drawn towards those of another picture.

    A model knows the pictures it was trained on too well: the refinement would learn to trust correlations always.
    """
    batch, _, height, width = features.shape
    generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
    coarse = torch.rand(batch, 1, 4, 4, generator=generator)
    places = F.interpolate(coarse, (height, width), mode="bilinear", align_corners=False)
    chosen, strength = torch.rand(2, batch, 1, 1, 1, generator=generator)
    weight = (places > 0.6) * (chosen < share) * strength * 0.7
    others = features.detach().roll(1, dims=0).flip(3)
    weight = weight.to(features.device, features.dtype)
    return features * (1 - weight) + others * weight  # type: ignore[no-any-return]


SETTINGS = {
    "protocol": {"sides": [320, 480], "window": 288, "stride": 192}, "most_classes": 32, "stretch": True,
    "cleaning": 0.0,
}  # fmt: skip
"""How the trained model is asked: near the paper's proportions (640, 384, 256) at the sizes it was trained at, and for
not many more classes at a time than it was trained with. Its chances were learned without background cleaning."""


def train_seg(
    sources: Sequence[Source],
    vocabulary: Vocabulary,
    config: SegConfig,
    out: Path,
    *,
    device: str = "cpu",
    minutes: float | None = None,
    on_step: Callable[[TrainProgress], None] = lambda step: None,
) -> bool:
    """Add dinov3.seg to the preset in `out`, from its text model and its promptable model; True at the last step.

    Raises:
        MaskwrightError: `out` lacks one of them, or holds a run with other settings.
    """
    torch.manual_seed(config.seed)
    model, tokenizer = started(config, out)
    imported = _imported(out) is not None
    stopped = until(minutes, lambda: False)
    finished, phase, number = True, config, 1
    while finished:
        begun = copy.deepcopy(model.state_dict()) if phase.keep else {}
        trained = SegTrained(model, phase)
        fit = Trainer(
            trained, phase, out, device, state=f"dinov3seg-{number}.pt", gentle=trained.pretrained, share=phase.share,
            clip=phase.clip,
        )  # fmt: skip
        objective = SegObjective(fit.trained, sources, vocabulary, tokenizer, phase, device)
        finished = fit.run(seg_steps(phase, sources), objective, on_step=on_step, stopped=stopped)
        model = fit.mean.model
        _draw_back(model, begun, phase.keep)
        if phase.finish is None:
            break
        phase, number = phase.finish, number + 1
    # what was put together of official files is asked as published, and waits until its training is over
    settings = {"trained": finished} if imported else SETTINGS
    save_dinov3seg(out, model, settings, dtype=torch.float16)
    save_record(out / "dinov3seg.json", _told(config))
    return finished


def _draw_back(model: Dinov3Seg, begun: Mapping[str, Tensor], share: float) -> None:
    """Move each weight of the model that share of the way to what it was, where that is given."""
    now = model.state_dict()
    for name, before in begun.items():
        if before.is_floating_point():
            now[name].lerp_(before.to(now[name]), share)


def _told(config: SegConfig) -> dict[str, Any]:
    """The settings without the model's sizes, which `config.json` has."""
    own = {key: value for key, value in config.to_dict().items() if key != "model"}
    return own | {"finish": None if config.finish is None else _told(config.finish)}


def started(config: SegConfig, folder: Path) -> tuple[Dinov3Seg, Tokenizer]:
    """The model with the weights that the preset in `folder` has for its parts, and the preset's tokenizer."""
    text, click = load_dinotxt(folder), load_sam(folder)
    model = Dinov3Seg(config.model)
    state = model.state_dict() | shared_weights(model, text, click)
    if imported := _imported(folder):
        state |= read_weights(folder / imported.weights, imported.sha256)
    load_exactly(model, state, what=folder.name)
    return model, text.tokenizer


def _imported(folder: Path) -> Dinov3SegSettings | None:
    """The parts in `folder` that wait to be trained, if there are such."""
    settings = dinov3seg_settings(folder) if "dinov3seg" in sections(folder) else None
    return settings if settings is not None and not settings.trained else None
