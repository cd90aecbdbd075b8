"""Fine-tuning of a preset's dino.txt on the accepted masks of a project; the text tower stays frozen."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from maskwright.domain import Annotation, Image
from maskwright.formats.labelled_folder import rasterize
from maskwright.imaging.normalization import stretch_contrast
from maskwright.models.efficientnet_lite import LiteTrunk
from maskwright.presets.config import DinoTxtSettings
from maskwright.presets.config_io import to_plain
from maskwright.presets.loading import LoadedDinoTxt
from maskwright.presets.weights import save_part
from maskwright.training.config import RELEASED_LR, TrainConfig
from maskwright.training.data import IGNORE, NONE, Sample, Source, Steps
from maskwright.training.finetune.export import TITLES, answer_with, keep_dinov3seg, keep_parts, link, tied_parts
from maskwright.training.in_training import PresetInTraining
from maskwright.training.loop import CPU_RUN, RunOptions, Trainer
from maskwright.training.losses import ClassEmbeddings, TextObjective, TrainedDinoTxt
from maskwright.training.vocabulary import Vocabulary

__all__ = ["DEFAULT_EPOCHS", "STEP_RANGE", "finetune", "project_sample", "project_source", "tuning_config"]

DEFAULT_EPOCHS = 320
STEP_RANGE = (100, 800)
"""Fewest and most steps of a run of default length."""


def project_sample(
    image: Image,
    annotations: Sequence[Annotation],
    names: Sequence[str],
    *,
    background: bool,
    settings: DinoTxtSettings,
) -> Sample:
    """Training sample of one image with its accepted masks; pixels of other classes are ignored.

    Args:
        image: Upright image.
        annotations: Its accepted masks.
        names: Classes to learn, by index.
        background: Unlabelled pixels belong to none of the classes.
        settings: Settings of the base, which say how images are prepared.
    """
    labels = rasterize(
        annotations,
        {name: index for index, name in enumerate(names)},
        image.size_hw,
        empty=NONE if background else IGNORE,
    )
    return Sample(stretch_contrast(image.pixels) if settings.stretch else image.pixels, labels, 0)


def project_source(samples: Sequence[Sample], classes: int, *, background: bool) -> Source:
    """Samples of a project as the only source of a run."""
    return Source("project", tuple(samples), np.arange(classes), background, 1.0)


def tuning_config(settings: DinoTxtSettings, images: int, *, epochs: int | None, seed: int) -> TrainConfig:
    """Settings of a run: crops and sizes around those of the base's inference protocol.

    Weights that their authors published are tuned at `RELEASED_LR`, those that were trained here at 1e-3.

    Args:
        settings: Settings of the base.
        images: Number of training images.
        epochs: Passes over them; None is 320, within 100 to 800 steps.
        seed: Seed of the run.
    """
    batch = 16
    patch = settings.model.backbone.patch
    crop = max(1, round(settings.protocol.window * 2 / 3 / patch)) * patch
    sides = settings.protocol.short_sides
    short_side = max(crop, round(min(sides) * 0.75)), max(crop, round(max(sides) * 4 / 3))
    steps = max(1, round((epochs or DEFAULT_EPOCHS) * images / batch))
    if epochs is None:
        steps = min(max(steps, STEP_RANGE[0]), STEP_RANGE[1])
    # the two offsets of the loss are always new, and learn at the full rate
    lr, pretrained_lr_scale = (100 * RELEASED_LR, 0.01) if settings.released else (1e-3, 1.0)
    return TrainConfig(
        model=settings.model, steps=steps, batch=batch, crop=crop, short_side=short_side, lr=lr,
        pretrained_lr_scale=pretrained_lr_scale, warmup=0.05, ema=0.99, seed=seed,
    )  # fmt: skip


def finetune(
    base: LoadedDinoTxt,
    source: Source,
    names: Sequence[str],
    config: TrainConfig,
    out: Path,
    *,
    recipe: str = "full",
    options: RunOptions = CPU_RUN,
) -> bool:
    """Tune a copy of the base's model and write the result as a preset into `out`, or resume the run that it holds.

    Args:
        base: dino.txt to start from; it is not changed.
        source: Training samples, as `project_source` returns them.
        names: Classes by index, as users type them.
        config: Settings, as `tuning_config` returns them.
        out: Folder of the run.
        recipe: "decoder" trains the vision head, "qv" and "qk" these projections of the backbone's blocks as well,
            "vision" and "full" the whole visual model.
        options: Device and callbacks.

    Returns:
        Whether the last step was reached; otherwise only the state to resume from is written.
    """
    torch.manual_seed(config.seed)
    out.mkdir(parents=True, exist_ok=True)
    model, settings = copy.deepcopy(base.model), base.settings
    backbone = model.visual_model.backbone
    # a pretrained trunk has seen more than any project shows, and the learning rate is not made for it
    trunks = [module for module in backbone.modules() if isinstance(module, LiteTrunk)]
    frozen = [backbone] if recipe == "decoder" else trunks
    trained = TrainedDinoTxt(model, offset=-settings.threshold * settings.background_scale, frozen=frozen)
    if recipe in ("qv", "qk"):
        for name, parameter in backbone.named_parameters():
            parameter.requires_grad_(re.search(rf"\.[{recipe}]_proj\.", name) is not None)
    trainer = Trainer(trained, config, out, options.device, pretrained=[model])
    vocabulary = Vocabulary.exactly(names)
    embeddings = ClassEmbeddings(model, vocabulary, base.tokenizer, config, options.device)
    objective = TextObjective(trained, [source], vocabulary, embeddings, config, options.device)

    def preset(tuned: TrainedDinoTxt) -> PresetInTraining:
        loaded = replace(base, model=tuned.model, settings=_tuned_settings(settings, tuned, names))
        return PresetInTraining(base.ref, dinotxt=loaded)

    if not trainer.run(Steps([source], config), objective, options, preset):
        return False
    _export(out, base, trainer.ema, names, options.on_note)
    return True


def _tuned_settings(settings: DinoTxtSettings, tuned: TrainedDinoTxt, names: Sequence[str]) -> DinoTxtSettings:
    """The base's settings, with the trained scale and threshold."""
    scale, known = tuned.model.logit_scale.exp().item(), settings.vocabulary
    return replace(
        settings,
        # released models use a factor of 1 at inference; a model trained with a factor keeps it
        logit_scale=scale,
        background_scale=scale,
        threshold=-10 * tuned.offset.item() / scale,
        vocabulary=None if known is None else tuple(sorted({*known, *names})),
    )


def _export(
    out: Path, base: LoadedDinoTxt, ema: TrainedDinoTxt, names: Sequence[str], on_note: Callable[[str], None]
) -> None:
    """Write the tuned preset."""
    settings, tuned = base.settings, _tuned_settings(base.settings, ema, names)
    keep_parts(base.folder, out, changed=("dinotxt", "dinov3seg", *tied_parts(base.folder)))
    link(base.folder / settings.tokenizer, out / settings.tokenizer)
    # steps of RELEASED_LR are smaller than the resolution of half precision
    dtype = torch.float32 if settings.released else torch.float16
    save_part(out, "dinotxt", ema.model.state_dict(), to_plain(tuned), dtype=dtype)
    keep_dinov3seg(base.folder, out)
    answer_with(out, "dinotxt", names)
    if left_out := [TITLES[part] for part in tied_parts(base.folder)]:
        on_note(f"Made for the old features of dino.txt and left out of the result: {', '.join(left_out)}.")
