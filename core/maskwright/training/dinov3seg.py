"""Training of dinov3.seg (its Secs. 3.3 and 4.2): all modules together, pretrained ones at a lower learning rate."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maskwright.models.devices import mixed_precision
from maskwright.models.dinov3seg import Dinov3Seg, dice_loss, focal_loss
from maskwright.models.state_dict import load_exactly
from maskwright.models.tokenizer import Tokenizer
from maskwright.presets.config import Dinov3SegSettings
from maskwright.presets.config_io import sections, to_plain
from maskwright.presets.loading import dinov3seg_settings, load_dinotxt, load_sam, shared_weights
from maskwright.presets.saving import save_dinov3seg
from maskwright.presets.weights import read_weights, save_record
from maskwright.training.config import SegConfig
from maskwright.training.data import IGNORE, Batch, Source, Steps
from maskwright.training.loop import CPU_RUN, RunOptions, Trainer
from maskwright.training.losses import ClassEmbeddings, absent_classes
from maskwright.training.vocabulary import UNSURE, YES, Vocabulary

__all__ = ["SegObjective", "TrainedDinov3Seg", "initial_model", "seg_steps", "train"]

_STATE = "dinov3seg.pt"


class TrainedDinov3Seg(nn.Module):
    """dinov3.seg, of which the settings may freeze dino.txt and the semantic prior encoder."""

    def __init__(self, model: Dinov3Seg, config: SegConfig) -> None:
        super().__init__()
        self.model, self._config = model, config
        self._frozen = (model.vlm, model.spe) if config.frozen_encoders else ()
        model.requires_grad_(requires_grad=True)
        # not used by the segmentation
        model.vlm.logit_scale.requires_grad_(False)  # noqa: FBT003 - torch types no keyword
        for module in self._frozen:
            module.requires_grad_(requires_grad=False)
        self._restored: list[tuple[nn.Parameter, Tensor, Tensor]] = []
        if config.tuned != "full" and not config.frozen_encoders:
            self._tune_attention(config.tuned)

    def _tune_attention(self, learning: str) -> None:
        """Let only these projections of dino.txt's attention learn; of fused ones their thirds."""
        for name, parameter in self.model.vlm.named_parameters():
            split, fused = re.search(r"\.([qkv])_proj\.", name), ".qkv." in name
            parameter.requires_grad_(fused or (split is not None and split[1] in learning))
            if fused:
                thirds = torch.tensor([letter in learning for letter in "qkv"]).repeat_interleave(len(parameter) // 3)
                learns = thirds.view(-1, *(1 for _ in parameter.shape[1:]))
                parameter.register_hook(lambda grad, learns=learns: grad * learns.to(grad.device))
                self._restored.append((parameter, learns, parameter.detach().clone()))

    @torch.no_grad()
    def restore(self) -> None:
        """Undo what weight decay did to the thirds of fused projections that do not learn."""
        for parameter, learns, before in self._restored:
            parameter.copy_(torch.where(learns.to(parameter.device), parameter, before.to(parameter.device)))

    @property
    def pretrained(self) -> list[nn.Module]:
        """Modules with pretrained weights: dino.txt, semantic prior encoder, and early refinement unless it is new."""
        early = None if self._config.new_early else self.model.anyup
        return [part for part in (self.model.vlm, self.model.spe, early) if part is not None]

    def train(self, mode: bool = True) -> TrainedDinov3Seg:  # noqa: FBT001, FBT002 - as nn.Module has it
        """Set the mode, except that frozen modules keep their statistics."""
        super().train(mode)
        for module in self._frozen:
            module.eval()
        return self


def seg_steps(config: SegConfig, sources: Sequence[Source]) -> Steps:
    """Batches of a run."""
    return Steps(sources, config, stride=config.label_stride)


class SegObjective:
    """Focal and dice loss; each image is prompted with classes that it shows and with others."""

    def __init__(
        self,
        trained: TrainedDinov3Seg,
        sources: Sequence[Source],
        vocabulary: Vocabulary,
        tokenizer: Tokenizer,
        config: SegConfig,
        device: str,
    ) -> None:
        self._trained = trained
        self._model, self._config, self._device = trained.model, config, torch.device(device)
        self._embeddings = ClassEmbeddings(
            trained.model.vlm, vocabulary, tokenizer, config, device, text_trained=not config.frozen_encoders,
            prompt=config.prompt,
        )  # fmt: skip
        self._own = [source.classes for source in sources]
        self._absent = [absent.numpy() for absent in absent_classes(sources, len(vocabulary))]
        self._relation = torch.from_numpy(vocabulary.containment()).to(device)

    def __call__(self, step: int, batch: Batch) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Loss of one batch, and its terms."""
        config = self._config
        rng = np.random.default_rng([config.seed, step, 1])
        classes = self._prompted_classes(batch, rng)
        model = self._model
        pixels = batch.pixels.to(memory_format=torch.channels_last)
        with mixed_precision(self._device):
            text = self._embeddings.at(step)[classes]
            with torch.set_grad_enabled(not config.frozen_encoders):
                features = model.patch_features(pixels)
            if config.feature_mixing:
                features = _mix_features(features, config.feature_mixing, rng)
            logits = model.predict(model.encode(pixels, features), model.text_views(text))
        logits = logits.float()
        if logits.shape[-2:] != batch.labels.shape[-2:]:
            logits = F.interpolate(logits, batch.labels.shape[-2:], mode="bilinear", align_corners=False)
        targets, valid = self._targets(batch.labels, classes)
        if config.loss == "bce":
            loss = focal_loss(logits, targets, valid, gamma=0)
            return loss, {"bce": loss.detach()}
        parts = {"focal": focal_loss(logits, targets, valid, gamma=config.gamma)}
        parts["dice"] = dice_loss(logits, targets, valid)
        loss = parts["focal"] + config.dice * parts["dice"]
        if config.none_loss:
            parts["none"] = _none_loss(logits, batch.labels, targets, valid)
            loss = loss + config.none_loss * parts["none"]
        return loss, parts

    def constrain(self) -> None:
        """Keep what does not learn of fused projections."""
        self._trained.restore()

    def _prompted_classes(self, batch: Batch, rng: np.random.Generator) -> Tensor:
        """(B, T) classes that each image is prompted with: some or all that it shows, then absent ones."""
        limit = self._config.max_classes
        rows = []
        count = len(self._own[0]) if limit is None else int(rng.integers(min(4, limit), limit + 1))
        for labels, index in zip(batch.labels, batch.sources.tolist(), strict=True):
            own = self._own[index]
            if limit is None:
                rows.append(rng.permutation(own))
                continue
            present = np.intersect1d(labels.unique().cpu().numpy(), own)
            present = rng.permutation(present)[: max(1, count - 2)]
            # half of the prompts omit some of the classes, as users do
            prompted = present[rng.random(len(present)) < 0.9] if rng.random() < 0.5 else present
            missing = rng.permutation(np.setdiff1d(own, present))
            foreign = rng.permutation(self._absent[index])
            few = min(len(foreign), int(rng.integers(0, 3)))
            row = np.concatenate([prompted, foreign[:few], missing, foreign[few:]])[:count]
            rows.append(row if len(row) else present)
        # a source may have fewer classes than the others
        fewest = min(map(len, rows))
        rows = [rng.permutation(row[:fewest]) for row in rows]
        return torch.from_numpy(np.stack(rows).astype(np.int64)).to(self._device)

    def _targets(self, labels: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, h, w) whether a pixel belongs to a class, and whether it is scored."""
        known = labels.clamp(min=0)
        relation = self._relation[known[:, None], classes[:, :, None, None]]
        labelled = labels[:, None] >= 0
        own = labels[:, None] == classes[:, :, None, None]
        # where the pixel's own class is prompted as well, a class that contains it is neither right nor wrong
        own_prompted = own.any(dim=1, keepdim=True)
        wider = (relation == YES) & ~own
        targets = labelled & (own | (wider & ~own_prompted))
        unsure = labelled & ((relation == UNSURE) | (wider & own_prompted))
        valid = (labels[:, None] != IGNORE) & ~unsure
        return targets.float(), valid.float()


def _none_loss(logits: Tensor, labels: Tensor, targets: Tensor, valid: Tensor) -> Tensor:
    """Cross-entropy over the prompted classes and "none", whose logit is 0.

    It compares the classes with each other, which the other two losses do not.
    """
    competing = logits.masked_fill((valid == 0) & (targets == 0) & (labels >= 0)[:, None], -30.0)
    none = (labels != IGNORE) & (valid > 0).all(dim=1)
    target = torch.where(none, logits.shape[1], IGNORE)
    target = torch.where((targets > 0).any(dim=1), targets.argmax(dim=1), target)
    if not (target >= 0).any():
        return logits.sum() * 0
    return F.cross_entropy(F.pad(competing, (0, 0, 0, 0, 0, 1)), target, ignore_index=IGNORE)


def _mix_features(features: Tensor, share: float, rng: np.random.Generator) -> Tensor:
    """Mix the features of a share of the images with another image's at random places.

    On its training images the text similarity is too reliable: the refinement would learn to trust it always.
    """
    batch, _, height, width = features.shape
    generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
    coarse = torch.rand(batch, 1, 4, 4, generator=generator)
    places = F.interpolate(coarse, (height, width), mode="bilinear", align_corners=False)
    draw, strength = torch.rand(2, batch, 1, 1, 1, generator=generator)
    weight = (places > 0.6) * (draw < share) * strength * 0.7
    others = features.detach().roll(1, dims=0).flip(3)
    weight = weight.to(features.device, features.dtype)
    return features * (1 - weight) + others * weight  # type: ignore[no-any-return]


SETTINGS = {
    "protocol": {"sides": [416], "window": 320, "stride": 192, "aggregation": "global"}, "most_classes": 32,
    "stretch": True, "cleaning": 0.0,
}  # fmt: skip
"""Settings of the bundled preset's model, for about as many classes at a time as it was trained with. Its probabilities
were trained without background cleaning."""


def train(
    sources: Sequence[Source],
    vocabulary: Vocabulary,
    config: SegConfig,
    out: Path,
    options: RunOptions = CPU_RUN,
) -> bool:
    """Add dinov3.seg to the preset in `out`, or resume the run that it holds.

    Args:
        sources: Labelled images.
        vocabulary: Their classes.
        config: Settings.
        out: Folder of a preset with dino.txt and SAM.
        options: Device and callbacks.

    Returns:
        Whether the last step was reached; the preset is written in either case.

    Raises:
        MaskwrightError: `out` lacks one of the two models, or holds a run with other settings.
    """
    torch.manual_seed(config.seed)
    model, tokenizer = initial_model(config, out)
    imported = _untrained_parts(out)
    trained = TrainedDinov3Seg(model, config)
    trainer = Trainer(trained, config, out, options.device, state=_STATE, pretrained=trained.pretrained)
    objective = SegObjective(trainer.trained, sources, vocabulary, tokenizer, config, options.device)
    finished = trainer.run(seg_steps(config, sources), objective, options)
    # official parts keep the published protocol, and count as untrained until the last step
    settings = SETTINGS
    if imported is not None:
        settings = {"trained": finished, "class_pooling": to_plain(imported.class_pooling)}
    save_dinov3seg(out, trainer.ema.model, settings, dtype=torch.float16)
    save_record(out / "dinov3seg.json", config.record())
    return finished


def initial_model(config: SegConfig, folder: Path) -> tuple[Dinov3Seg, Tokenizer]:
    """Model with the weights that the preset in `folder` has for its parts, and the preset's tokenizer."""
    dinotxt, sam = load_dinotxt(folder), load_sam(folder)
    model = Dinov3Seg(config.model)
    state = model.state_dict() | shared_weights(model, dinotxt, sam)
    if untrained := _untrained_parts(folder):
        parts = read_weights(folder / untrained.weights, untrained.sha256)
        # AnyUp's, for which a variant without early refinement has no use
        state |= {name: value for name, value in parts.items() if name.startswith("anyup.") and name in state}
    load_exactly(model, state, what=folder.name)
    return model, dinotxt.tokenizer


def _untrained_parts(folder: Path) -> Dinov3SegSettings | None:
    """Settings of official parts in `folder` that are not trained yet, or None."""
    settings = dinov3seg_settings(folder) if "dinov3seg" in sections(folder) else None
    return settings if settings is not None and not settings.trained else None
