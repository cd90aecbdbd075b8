"""Fine-tuning of a text preset on the accepted masks of a project: same losses, locked words, pretrained pixels."""

from __future__ import annotations

import copy
import dataclasses
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from maskwright.domain import Annotation, Image
from maskwright.errors import MaskwrightError
from maskwright.groundtruth import truth
from maskwright.models.checkpoints import save_part, write_part
from maskwright.models.presets import DinoTxtPreset, Preset, SegSettings, TextPreset, save_seg, sections
from maskwright.pictures import stretched
from maskwright.training.config import SegConfig, TrainConfig
from maskwright.training.data import IGNORE, NONE, Sample, Source, crops
from maskwright.training.loop import Fit, Step
from maskwright.training.losses import TextObjective, Trained
from maskwright.training.seg import SegObjective, SegTrained, seg_steps
from maskwright.training.vocabulary import Vocabulary

__all__ = ["EPOCHS", "RECIPES", "STEPS", "finetune", "sample", "text_of", "tuning_config"]

RECIPES = ("full", "head")
"""What learns: everything that sees pixels, or only what stands on top of the encoders (dino.txt: its vision head)."""
STEPS = {"dinotxt": (100, 800), "dinov3seg": (100, 500)}
EPOCHS = 320
"""Length of a run when no number of epochs is given: so many, but no fewer and no more steps than these."""


def sample(
    image: Image,
    annotations: Sequence[Annotation],
    names: Sequence[str],
    *,
    background: bool,
    preset: TextPreset | SegSettings,
) -> Sample:
    """One image with its accepted masks; classes that are not learnt count for nothing.

    Args:
        image: upright.
        annotations: of this image.
        names: the classes that are learnt, by index.
        background: unlabelled pixels are none of the classes.
        preset: of the model that is tuned, which says how pictures are prepared.
    """
    labels = truth(
        annotations,
        {name: index for index, name in enumerate(names)},
        image.size_hw,
        empty=NONE if background else IGNORE,
    )
    return Sample(stretched(image.pixels) if preset.stretch else image.pixels, labels, 0)


def tuning_config(preset: Preset, images: int, *, epochs: int | None, seed: int) -> TrainConfig | SegConfig:
    """Schedule of a run on so many images: crops and sizes around those that the preset is asked at.

    It is the preset's main model for words that learns: dinov3.seg where it has one, else dino.txt.
    """
    if preset.seg is not None:
        asked = preset.seg.config.protocol
        window, least, most, batch = asked.window, min(asked.sides), max(asked.sides), 8
    else:
        sliding = text_of(preset).config.protocol
        window, least, most, batch = sliding.window, min(sliding.short_sides), max(sliding.short_sides), 16
    patch = text_of(preset).config.model.backbone.patch
    crop = max(1, round(window * 2 / 3 / patch)) * patch
    short = max(crop, round(least * 0.75)), max(crop, round(most * 4 / 3))
    steps = max(1, round((epochs or EPOCHS) * images / batch))
    if epochs is None:
        fewest, most_steps = STEPS["dinotxt" if preset.seg is None else "dinov3seg"]
        steps = min(max(steps, fewest), most_steps)
    if preset.seg is not None:
        # released encoders are only nudged, as in the paper
        released = preset.seg.config.model.spe.backbone is None
        return SegConfig(
            model=preset.seg.config.model, steps=steps, batch=batch, crop=crop, short_side=short, label_stride=4,
            classes=16, rate=2e-4 if released else 1e-3, share=0.01 if released else 1.0, still=("text", "stems"),
            weight_decay=0.05, clip=1.0, warmup=0.05, average=0.99, text_every=4, prompt=None, seed=seed,
        )  # fmt: skip
    return TrainConfig(
        model=text_of(preset).config.model, steps=steps, batch=batch, crop=crop, short_side=short, rate=1e-3,
        warmup=0.05, average=0.99, seed=seed, word_steps=0,
    )  # fmt: skip


def finetune(
    preset: Preset,
    folder: Path,
    samples: Sequence[Sample],
    names: Sequence[str],
    config: TrainConfig | SegConfig,
    out: Path,
    *,
    recipe: str = "full",
    background: bool = False,
    device: str = "cpu",
    on_step: Callable[[Step], None] = lambda step: None,
    stopped: Callable[[], bool] = lambda: False,
) -> bool:
    """Tune a copy of the preset's main model for words and write the result as a preset into `out`.

    Args:
        preset: the base; it is left as it is.
        folder: of the base.
        samples: images whose labels are indices into `names`.
        names: the classes, by the words that people will type for them.
        config: of `tuning_config`.
        out: folder of the run; one that was stopped there goes on.
        recipe: one of RECIPES.
        background: as the samples were made.
        device: "cpu", "cuda".
        on_step: told every tenth step.
        stopped: asked after each step.

    Returns:
        True when the last step was reached; otherwise nothing but the state to resume from was written.
    """
    torch.manual_seed(config.seed)
    out.mkdir(parents=True, exist_ok=True)
    source = Source("project", tuple(samples), np.arange(len(names)), background, 1.0)
    vocabulary = Vocabulary.exactly(names)
    told = {"on_step": on_step, "stopped": stopped}
    if isinstance(config, SegConfig):
        if recipe == "head":
            config = replace(config, still=(*config.still, "encoders"))
        return _finetune_seg(preset, folder, source, vocabulary, config, out, device, told)
    return _finetune_text(preset, folder, source, vocabulary, config, out, device, told, head=recipe == "head")


def text_of(preset: Preset) -> DinoTxtPreset:
    """The preset's dino.txt; raises MaskwrightError when it has none."""
    if preset.text is None:
        raise MaskwrightError(f"The preset {preset.ref.name} has no text model to improve. Start from tiny.")
    return preset.text


def _finetune_seg(
    preset: Preset, folder: Path, source: Source, vocabulary: Vocabulary, config: SegConfig, out: Path, device: str,
    told: dict[str, Any],
) -> bool:  # fmt: skip
    assert preset.seg is not None
    trained = SegTrained(copy.deepcopy(preset.seg.model), config)
    fit = Fit(trained, config, out, device, gentle=trained.pretrained, share=config.share, clip=config.clip)
    objective = SegObjective(fit.trained, [source], vocabulary, preset.seg.tokenizer, config, device)
    if not fit.run(seg_steps(config, [source]), objective, **told):
        return False
    _copy_rest(preset, folder, out, vocabulary, but="dinov3seg")
    settings = {
        key: value
        for key, value in dataclasses.asdict(preset.seg.config).items()
        if key not in ("model", "weights", "sha256", "built_on")
    }
    save_seg(out, fit.mean.model, settings, dtype=torch.float16)
    return True


def _finetune_text(
    preset: Preset, folder: Path, source: Source, vocabulary: Vocabulary, config: TrainConfig, out: Path, device: str,
    told: dict[str, Any], *, head: bool,
) -> bool:  # fmt: skip
    base = text_of(preset)
    model, settings = copy.deepcopy(base.model), base.config
    frozen = [model.visual_model.backbone] if head else []
    trained = Trained(model, offset=-settings.threshold * settings.scale, frozen=frozen)
    fit = Fit(trained, config, out, device)
    objective = TextObjective(trained, [source], vocabulary, base.tokenizer, config, device)
    if not fit.run(crops(config, [source]), objective, **told):
        return False
    _copy_rest(preset, folder, out, vocabulary, but="dinotxt")
    scale = fit.mean.model.logit_scale.exp().item()
    tuned = replace(
        settings,
        # a released model is asked with a factor of 1; only one that was taught with a factor keeps to it
        sharpness=scale,
        scale=scale,
        threshold=-10 * fit.mean.offset.item() / scale,
        familiar=_known(settings, vocabulary),
    )
    plain = {key: value for key, value in dataclasses.asdict(tuned).items() if key not in ("weights", "sha256")}
    save_part(out, "dinotxt", fit.mean.model.state_dict(), json.loads(json.dumps(plain)), dtype=torch.float16)
    return True


def _known(settings: TextPreset, vocabulary: Vocabulary) -> tuple[str, ...] | None:
    if settings.familiar is None:
        return None
    return tuple(sorted({*settings.familiar, *(name for names in vocabulary.texts() for name in names)}))


def _copy_rest(preset: Preset, folder: Path, out: Path, vocabulary: Vocabulary, *, but: str) -> None:
    """What does not learn comes along as it is; only the list of taught words grows."""
    settings = text_of(preset).config
    shutil.copyfile(folder / settings.tokenizer, out / settings.tokenizer)
    for part, config in sections(folder).items():
        if part != but:
            if "weights" in config:
                shutil.copyfile(folder / config["weights"], out / config["weights"])
            if part == "dinotxt":
                config = {**config, "familiar": _known(settings, vocabulary)}
            write_part(out, part, config)
