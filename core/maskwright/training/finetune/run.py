"""One fine-tuning run: which model of the base learns, and the result as a preset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from maskwright.domain import Image
from maskwright.engine.text import default_method
from maskwright.errors import MaskwrightError
from maskwright.presets.loading import load, load_dinotxt
from maskwright.training import distributed
from maskwright.training.finetune.clicks import tune_clicks
from maskwright.training.finetune.dinotxt import finetune, project_sample, project_source, tuning_config
from maskwright.training.finetune.dinov3seg import TuneFolders, tune_config, tune_dinov3seg
from maskwright.training.finetune.export import save_tuned_dinov3seg
from maskwright.training.finetune.images import TrainingImage
from maskwright.training.finetune.talk2dino import projection_config, tune_projection
from maskwright.training.loop import RunOptions

__all__ = ["TuneRequest", "tune"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TuneRequest:
    """What a run learns."""

    task: str
    """"text" or "click"."""
    method: str | None
    """Text method; None is the one that answers with the base."""
    recipe: str
    """One of RECIPES."""
    images: Sequence[TrainingImage]
    replayed: Sequence[TrainingImage]
    """Images with words whose answers are kept."""
    names: Sequence[str]
    """Classes by index."""
    background: bool
    """Unlabelled pixels belong to none of the classes."""
    epochs: int | None
    seed: int
    encodings: Path
    """Folder for images after frozen encoders."""


def tune(base: Path, request: TuneRequest, out: Path, options: RunOptions) -> bool:
    """Train, and write the result as a preset into `out`; the same call resumes.

    Args:
        base: Folder of the preset to start from.
        request: What is learned.
        out: Folder of the run.
        options: Device and callbacks.

    Returns:
        Whether the last step was reached; otherwise only the state to resume from is written.

    Raises:
        MaskwrightError: The base lacks the model, or an image is missing or damaged.
        Cancelled: On request, while images are read or encoded.
    """
    if request.task == "click":
        return tune_clicks(base, request.images, out, options, epochs=request.epochs, seed=request.seed)
    preset = load(base)
    method = request.method or default_method(preset)
    if method == "dinov3seg":
        if preset.dinov3seg is None or preset.dinotxt is None:
            raise MaskwrightError(f"{base.name} has no trained dinov3.seg. Use another method, or the preset tiny.")
        config = tune_config(
            preset.dinov3seg.settings, preset.dinotxt.settings, len(request.images), recipe=request.recipe,
            epochs=request.epochs, seed=request.seed,
        )  # fmt: skip
        tensors = tune_dinov3seg(
            preset.dinov3seg, [*request.images, *request.replayed], request.names, config,
            TuneFolders(out, request.encodings), background=request.background, options=options,
        )  # fmt: skip
        if tensors is None:
            return False
        if not distributed.rank():
            save_tuned_dinov3seg(preset.dinov3seg, tensors, out, request.names, released=config.released)
        return True
    if method == "dinotxt":
        return _tune_dinotxt(base, request, out, options)
    if method == "talk2dino" and preset.talk2dino is not None:
        return tune_projection(
            preset.talk2dino, [*request.images, *request.replayed], request.names,
            projection_config(preset.talk2dino, len(request.images), epochs=request.epochs, seed=request.seed),
            TuneFolders(out, request.encodings), background=request.background, options=options,
        )  # fmt: skip
    raise MaskwrightError(
        f"{base.name} has no {method} that is fine-tuned.", "Choose the method dinov3seg, dinotxt or talk2dino."
    )


def _tune_dinotxt(base: Path, request: TuneRequest, out: Path, options: RunOptions) -> bool:
    preset = load_dinotxt(base)
    samples = []
    for done, one in enumerate(request.images):
        options.progress.check()
        options.progress.report(done, len(request.images), "Reading images")
        image: Image = one.open()
        background = request.background or one.complete
        samples.append(
            project_sample(image, one.accepted, request.names, background=background, settings=preset.settings)
        )
    source = project_source(samples, len(request.names), background=request.background)
    config = tuning_config(preset.settings, len(samples), epochs=request.epochs, seed=request.seed)
    return finetune(preset, source, request.names, config, out, recipe=request.recipe, options=options)
