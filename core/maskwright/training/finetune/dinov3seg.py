"""Fine-tuning of dinov3.seg: its losses on what people accepted, and the base's own answers on other images."""

from __future__ import annotations

import copy
import functools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from maskwright.models.devices import mixed_precision
from maskwright.models.dinov3seg import Dinov3Seg, ImageFeatures, dice_loss, focal_loss
from maskwright.presets.config import DinoTxtSettings, Dinov3SegSettings
from maskwright.presets.loading import LoadedDinov3Seg, Preset
from maskwright.training import distributed
from maskwright.training.config import TuneConfig
from maskwright.training.data import IGNORE, NONE
from maskwright.training.finetune.encodings import Encoded, Encodings, Variants
from maskwright.training.finetune.images import MAX_CLASSES, TrainingImage
from maskwright.training.finetune.learning import learning_tensors, rate_factor
from maskwright.training.finetune.steps import TuneBatch, TuneSteps, TuneWords
from maskwright.training.in_training import PresetInTraining
from maskwright.training.loop import CPU_RUN, RunOptions, Trainer

__all__ = [
    "TuneFolders",
    "TuneObjective",
    "TunedDinov3Seg",
    "distance_from",
    "none_loss",
    "tune_config",
    "tune_dinov3seg",
]


def tune_config(
    settings: Dinov3SegSettings, dinotxt: DinoTxtSettings, images: int, *, recipe: str, epochs: int | None, seed: int
) -> TuneConfig:
    """Settings of a run, around those of the base's inference protocol.

    Args:
        settings: Of the base's dinov3.seg.
        dinotxt: Of its dino.txt, which tell whether its weights are their authors'.
        images: Number of training images.
        recipe: One of RECIPES.
        epochs: Passes over the images; None is 30, within 150 to 300 steps.
        seed: Of the run.
    """
    batch = 4
    steps = max(1, round((epochs or 30) * images / batch))
    if epochs is None:
        steps = min(max(steps, 150), 300)
    protocol, patch = settings.protocol, settings.model.vlm.backbone.patch
    side = max(protocol.sides)
    crop = max(1, min(protocol.window, side) // patch) * patch
    config = TuneConfig(
        recipe=recipe, side=side, crop=crop, least=protocol.window, steps=steps, batch=batch, warmup=0.05,
        variants=min(8, max(2, 320 // max(1, images))), seed=seed, released=dinotxt.released,
        # the paper's; an averaged copy of 1.2 B weights would need 4.4 GiB
        lr=2e-4, weight_decay=1e-4, clip_norm=0.01, ema=0.0,
    )  # fmt: skip
    if config.released:
        return config
    return replace(config, lr=5e-4, weight_decay=0.02, clip_norm=1.0, ema=0.98, dice=1.0, none_loss=0.3)


_EXCLUDED = -30.0
"""Logit of a class that does not compete."""


class TunedDinov3Seg(nn.Module):
    """dinov3.seg of which a recipe names what learns; all else keeps weights and statistics."""

    def __init__(self, model: Dinov3Seg, recipe: str, *, checkpointing: bool = False) -> None:
        """Take the model; with `checkpointing`, blocks are computed again for the gradient, which saves memory."""
        super().__init__()
        self.model = model
        self.learning = learning_tensors(model, recipe)
        self._thirds: list[tuple[nn.Parameter, Tensor, Tensor]] = []
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name in self.learning)
            if parts := self.learning.get(name):
                learns = torch.zeros(3, len(parameter) // 3, *(1 for _ in parameter.shape[1:]), dtype=torch.bool)
                learns[list(parts)] = True
                still = ~learns.flatten(0, 1)
                self._thirds.append((parameter, still, parameter.detach().clone()))
        if checkpointing:
            _compute_blocks_again(model)

    @property
    def text_learns(self) -> bool:
        """Whether the words learn."""
        return any(name.startswith("vlm.text_model.") for name in self.learning)

    @property
    def encoders_learn(self) -> bool:
        """Whether images must pass the encoders in every step."""
        return any(name.startswith(("vlm.visual_model.", "spe.")) for name in self.learning)

    def train(self, mode: bool = True) -> TunedDinov3Seg:  # noqa: FBT001, FBT002 - as nn.Module has it
        """Set the mode; what has running statistics, or learns nothing, stays in inference mode."""
        super().train(mode)
        for module in self.modules():
            still = not any(parameter.requires_grad for parameter in module.parameters())
            if still or isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
        return self

    def halve_frozen(self) -> None:
        """Hold matrices and kernels of the encoders that do not learn in bfloat16, as autocast would use them."""
        for part in (self.model.vlm, self.model.spe):
            for module in part.modules():
                if isinstance(module, nn.Linear | nn.Conv2d) and not any(p.requires_grad for p in module.parameters()):
                    module.to(torch.bfloat16)

    @torch.no_grad()
    def restore_frozen_parts(self) -> None:
        """Undo what weight decay did to the parts of fused projections that do not learn."""
        for parameter, still, before in self._thirds:
            parameter.copy_(torch.where(still.to(parameter.device), before.to(parameter.device), parameter))


def _in_mixed_precision(options: RunOptions, device: torch.device) -> RunOptions:
    """The same options, for a model whose matrices are partly in bfloat16: prompts encode words without autocast."""
    if (measure := options.measure) is None:
        return options

    def mixed(preset: Preset, step: int) -> None:
        with mixed_precision(device):
            measure(preset, step)

    return replace(options, measure=mixed)


def _compute_blocks_again(model: Dinov3Seg) -> None:
    """Keep the inputs of transformer blocks and of early refinement for the gradient, not what happens inside."""
    blocks = [block for part in model.modules() if isinstance(part, nn.ModuleList) for block in part]
    for block in [*blocks, model.anyup]:
        if block is not None and type(block).forward is not nn.Module.forward:
            block.forward = functools.partial(checkpoint, block.forward, use_reentrant=False)


class TuneObjective:
    """Mean over images of focal, dice and "none" loss; for replayed images of the distance from the base's answers.

    Every image counts alike whatever the batch it is in, so that batches can be divided.
    """

    def __init__(
        self, trained: TunedDinov3Seg, teacher: Dinov3Seg, base: LoadedDinov3Seg, words: TuneWords, config: TuneConfig
    ) -> None:
        """Take the model that learns, and refinement and aggregation of the base; all on one device."""
        self._trained, self._config, self._teacher = trained, config, teacher
        self._device = device = next(trained.parameters()).device
        prompts = [base.settings.prompt.format(name) for name in words.names]
        self._tokens = base.tokenizer(prompts)
        self._own = words.own
        with torch.inference_mode():
            parts = [trained.model.vlm.encode_text(part.to(device)).float() for part in self._tokens.split(64)]
        self._text = torch.cat(parts).clone()

    def __call__(self, step: int, batch: TuneBatch) -> tuple[Tensor, Mapping[str, Tensor]]:  # noqa: ARG002
        """Loss of one batch, and its terms."""
        model = self._trained.model
        frozen_views = model.text_views(self._text[batch.classes])
        with mixed_precision(self._device):
            views = self._learnt_views(batch.classes) if self._trained.text_learns else frozen_views
            logits = model.predict(self._features(batch), views).float()
            answers = iter(self._answers(batch, frozen_views))
        terms: dict[str, list[Tensor]] = {"focal": [], "dice": [], "none": [], "replay": []}
        losses = []
        for row in range(batch.images):
            one = logits[row : row + 1]
            if bool(batch.replayed[row]):
                terms["replay"].append(distance_from(one, next(answers)[None]))
                losses.append(terms["replay"][-1])
                continue
            losses.append(self._labelled_loss(one, batch.part(row, row + 1), terms))
        parts = {name: torch.stack(values).mean().detach() for name, values in terms.items() if values}
        return torch.stack(losses).mean(), parts

    def constrain(self) -> None:
        """Keep what the recipe does not name."""
        self._trained.restore_frozen_parts()

    def _features(self, batch: TuneBatch) -> ImageFeatures:
        model = self._trained.model
        if self._trained.encoders_learn:
            return model.encode(batch.pixels, model.patch_features(batch.pixels))
        assert batch.encoded is not None
        return _features_of(model, batch.pixels, batch.encoded)

    def _learnt_views(self, classes: Tensor) -> Tensor:
        """(B, T, P, C) views of the prompted classes with a gradient; each is encoded once."""
        named, places = classes.unique(return_inverse=True)
        text = self._trained.model.vlm.encode_text(self._tokens[named.cpu()].to(self._device))
        return self._trained.model.text_views(text.float()[places])

    @torch.no_grad()
    def _answers(self, batch: TuneBatch, views: Tensor) -> Tensor | Sequence[Tensor]:
        """(R, T, h, w) logits of the base for the replayed images."""
        rows = batch.replayed
        if not rows.any() or batch.encoded is None:
            return ()
        encoded = batch.encoded
        if len(encoded.features) == batch.images:
            first, second = (tap[rows] for tap in encoded.taps)
            encoded = Encoded(encoded.features[rows], encoded.prior[rows], (first, second))
        image = _features_of(self._teacher, batch.pixels[rows], encoded)
        return self._teacher.predict(image, views[rows]).float()

    def _labelled_loss(self, logits: Tensor, image: TuneBatch, terms: dict[str, list[Tensor]]) -> Tensor:
        config = self._config
        targets, valid = self._targets(image)
        terms["focal"].append(focal_loss(logits, targets, valid, gamma=config.gamma))
        terms["dice"].append(dice_loss(logits, targets, valid))
        loss = terms["focal"][-1] + config.dice * terms["dice"][-1]
        if config.none_loss:
            # where only the project's classes are known to be absent, others do not compete
            foreign = (image.classes >= self._own)[:, :, None, None] & (image.labels == NONE)[:, None]
            terms["none"].append(none_loss(logits.masked_fill(foreign, _EXCLUDED), image.labels, targets))
            loss = loss + config.none_loss * terms["none"][-1]
        return loss

    def _targets(self, image: TuneBatch) -> tuple[Tensor, Tensor]:
        """(1, T, h, w) whether a pixel belongs to a class, and whether people said so, by a label or a rejection."""
        classes, labels = image.classes[:, :, None, None], image.labels[:, None]
        refused = (image.rejected[:, None] >> classes.clamp(max=MAX_CLASSES - 1)) & 1 == 1
        refused = refused & (classes < min(self._own, MAX_CLASSES))
        known = (labels >= 0) | ((labels == NONE) & (classes < self._own))
        return (labels == classes).float(), (known | refused).float()


def none_loss(logits: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy over the prompted classes and "none", whose logit is 0: it compares the classes with each other."""
    target = torch.where((targets > 0).any(dim=1), targets.argmax(dim=1), logits.shape[1])
    target = torch.where(labels == IGNORE, IGNORE, target)
    if not (target >= 0).any():
        return logits.sum() * 0
    return F.cross_entropy(F.pad(logits, (0, 0, 0, 0, 0, 1)), target, ignore_index=IGNORE)


def distance_from(logits: Tensor, answers: Tensor) -> Tensor:
    """Divergence of each class's probability, and of the softmax over classes and "none", from the base's."""
    wanted = answers.sigmoid()
    each = F.binary_cross_entropy_with_logits(logits, wanted) - F.binary_cross_entropy_with_logits(answers, wanted)
    among, known = (F.pad(part, (0, 0, 0, 0, 0, 1)).log_softmax(dim=1) for part in (logits, answers))
    return each + (known.exp() * (known - among)).sum(dim=1).mean()


def _features_of(model: Dinov3Seg, pixels: Tensor, encoded: Encoded) -> ImageFeatures:
    guidance = model.aggregator.guidance(encoded.prior, encoded.taps)
    return ImageFeatures(model.refine(pixels, encoded.features), guidance)


def _teacher(model: Dinov3Seg) -> Dinov3Seg:
    """The base's own refinement and aggregation, which stay; its encoders are shared and not used."""
    teacher = copy.copy(model)
    teacher._modules = {
        name: copy.deepcopy(part) for name, part in model._modules.items() if name in ("anyup", "aggregator")
    }
    if model.anyup is None:
        teacher._modules["anyup"] = None
    return teacher.eval().requires_grad_(requires_grad=False)


class TuneFolders(NamedTuple):
    """Folders of a run."""

    out: Path
    """For its state and result."""
    encodings: Path
    """For images after frozen encoders; runs on the same images may share it."""


def tune_dinov3seg(
    base: LoadedDinov3Seg,
    images: Sequence[TrainingImage],
    names: Sequence[str],
    config: TuneConfig,
    folders: TuneFolders,
    *,
    background: bool = False,
    options: RunOptions = CPU_RUN,
) -> Mapping[str, Tensor] | None:
    """Tune dinov3.seg, or resume the run that `folders.out` holds.

    Args:
        base: dinov3.seg to start from, whose model learns: a copy of 1.2 B weights would need 4.4 GiB.
        images: Training images, and images with words whose answers by the base are kept.
        names: Classes by index, as users type them.
        config: Settings, as `tune_config` returns them.
        folders: Of the run.
        background: Unlabelled pixels belong to none of the classes, in every image.
        options: Device and callbacks.

    Returns:
        The tensors that the recipe names, by name; None when the last step was not reached, and only the state to
        resume from is written.

    Raises:
        MaskwrightError: An image is missing or damaged, or the folder holds a run with other settings.
        Cancelled: On request, while images are encoded.
    """
    torch.manual_seed(config.seed)
    folders.out.mkdir(parents=True, exist_ok=True)
    settings, patch = base.settings, base.settings.model.vlm.backbone.patch
    words = TuneWords.of(names)
    model = base.model.to(options.device)
    variants = Variants(tuple(images), config, patch=patch, stretch=settings.stretch)
    stored = Encodings(model, settings, variants, folders.encodings)
    shard = distributed.rank(), distributed.world()
    steps = TuneSteps(variants, words, config, stored, patch=patch, background=background, shard=shard)
    _encode(stored, steps.encoded_variants()[shard[0] :: shard[1]], options)
    teacher = _teacher(model)
    trained = TunedDinov3Seg(model, config.recipe, checkpointing=config.released)
    factor = rate_factor(model, config.lr, released=config.released)
    trainer = Trainer(
        trained, config, folders.out, options.device, lr_scale=lambda name: factor(name.removeprefix("model."))
    )
    objective = TuneObjective(trained, teacher, base, words, config)
    if config.released and trainer.device != "cpu":
        trained.halve_frozen()
        options = _in_mixed_precision(options, torch.device(options.device))

    def preset(tuned: TunedDinov3Seg) -> PresetInTraining:
        return PresetInTraining(base.ref, dinov3seg=replace(base, model=tuned.model))

    if not trainer.run(steps, objective, options, preset):
        return None
    state = trainer.ema.model.state_dict()
    return {name: state[name].detach().cpu() for name in trained.learning}


def _encode(stored: Encodings, variants: Sequence[tuple[int, int]], options: RunOptions) -> None:
    """Encode this process's share of (image, variant) where frozen encoders allow it, then wait for the others."""
    for done, (index, number) in enumerate(variants):
        options.progress.check()
        options.progress.report(done, len(variants), "Encoding images")
        stored.prepare(index, number, torch.device(options.device))
    distributed.wait()
