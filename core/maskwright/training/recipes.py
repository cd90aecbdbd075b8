"""Training recipes: labelled folders in, preset folder out."""

from __future__ import annotations

import copy
import json
import math
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from typing import Literal

import torch

from maskwright.errors import Cancelled, MaskwrightError, UsageError
from maskwright.formats.captions import read_captions
from maskwright.models.devices import choose_device
from maskwright.models.dinov3seg import Dinov3SegConfig
from maskwright.presets.config import OVS_ENCODERS, TALK2DINO, Dinov3SegSettings, OvsDinoSettings, WindowProtocol
from maskwright.presets.config_io import sections
from maskwright.presets.folders import CONFIG
from maskwright.presets.loading import (
    dinotxt_settings,
    dinov3seg_settings,
    load,
    load_dinotxt,
    load_ovs_encoders,
    load_sam,
    sam_settings,
)
from maskwright.presets.saving import save_ovs_dino, save_projection
from maskwright.presets.weights import save_record
from maskwright.progress import NO_PROGRESS, Progress
from maskwright.training import dinov3seg, ovs_dino, projection
from maskwright.training.config import TINY_OVS, TINY_SEG, OvsConfig, SegConfig
from maskwright.training.data import Source, folder_classes, read_source
from maskwright.training.loop import RunOptions, TimeLimit, TrainProgress
from maskwright.training.noun_masks import read_noun_images
from maskwright.training.projection import ProjectionResult, ProjectionSettings
from maskwright.training.prompts import named_templates
from maskwright.training.vocabulary import Vocabulary

__all__ = [
    "TrainingJob",
    "gallery_images",
    "imported_dinov3seg",
    "on_encoders_of",
    "ovs_config",
    "seg_config",
    "train_dinov3seg",
    "train_ovs_dino",
    "train_projection",
]


_WORKERS = 8
"""Processes that read batches ahead, at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingJob:
    """Training data, output folder, length and device of a recipe."""

    folders: Sequence[Path]
    """Labelled folders, or COCO-Stuff as published; see `all_images`."""
    out: Path
    """Preset folder; an unfinished run in it is resumed."""
    weights: Mapping[str, float] = field(default_factory=dict)
    """Share of each batch by folder name; default 1."""
    background: frozenset[str] = frozenset()
    """Names of folders whose unlabelled pixels belong to none of their classes."""
    all_images: bool = False
    """Train on every image; otherwise held-out ones and those of the sample gallery are left out."""
    augment: Literal["maskwright", "catseg"] | None = None
    """How images are drawn and varied; None is CAT-Seg's way for imported parts of dinov3.seg, else our own."""
    steps: int | None = None
    """Number of steps; None is that of the bundled preset, or the paper's for imported parts of dinov3.seg."""
    minutes: float | None = None
    """Stop after this time."""
    seed: int = 0
    device: str = "cpu"
    """As for `Engine.load`."""
    log: Callable[[str], None] = lambda line: None
    """Called with a line of text now and then."""
    progress: Progress = NO_PROGRESS
    """Reports steps."""
    maps: Path | None = None
    """OVS-DINO: folder for the maps of a frozen DINO, which several runs may share; None: in `out`."""

    def labelled(self, *, stretch: bool = True, exactly: bool = False) -> tuple[list[Source], Vocabulary]:
        """The folders as sources of labelled pixels, and their classes.

        Args:
            stretch: Stretch the contrast of images.
            exactly: Every category is a class of its own, in file order; otherwise the bundled list of synonyms joins
                some (of COCO-Stuff's 171, 160 remain) and says which contain others.
        """
        names = dict.fromkeys(name for folder in self.folders for name in folder_classes(folder))
        vocabulary = Vocabulary.plain(list(names)) if exactly else Vocabulary(names)
        skip = self.skipped()
        sources = [
            read_source(
                folder, index, vocabulary, weight=self.weights.get(folder.name, 1.0),
                background=folder.name in self.background, skip=skip, stretch=stretch,
            )
            for index, folder in enumerate(self.folders)
        ]  # fmt: skip
        return self._checked(sources), vocabulary

    def skipped(self) -> frozenset[str] | None:
        """Names without extension of images that are left out beside held-out ones; None takes every image."""
        return None if self.all_images else gallery_images()

    def options(self) -> RunOptions:
        """Device and callbacks of a run that starts now; on a GPU other processes read batches ahead."""
        progress, device = TimeLimit(self.progress, self.minutes), str(choose_device(self.device))
        ahead = device.startswith("cuda") and hasattr(os, "fork")
        workers = min(_WORKERS, os.cpu_count() or 1) if ahead else 0
        return RunOptions(device=device, progress=progress, on_step=self._log_step, workers=workers)

    def _checked(self, sources: list[Source]) -> list[Source]:
        for source in sources:
            if not source.samples:
                raise MaskwrightError(f"{source.name} has no image to train on. Add images, or leave the folder out.")
            self.log(f"{source.name}: {len(source.samples)} images")
        return sources

    def _log_step(self, step: TrainProgress) -> None:
        if step.step % 100 == 0:
            parts = ", ".join(f"{name} {value:.3f}" for name, value in step.parts.items())
            speed = f"{step.images_per_second:.1f} images/s"
            self.log(f"step {step.step}/{step.steps}, loss {step.loss:.3f} ({parts}), {speed}")


def train_dinov3seg(job: TrainingJob, config: SegConfig | None = None) -> bool:
    """Add dinov3.seg to the preset in `job.out`, or train the official parts that were imported into it.

    Args:
        job: Training data and output folder.
        config: Settings; None: those of `seg_config`.

    Returns:
        Whether the last step was reached; otherwise the same job resumes.

    Raises:
        MaskwrightError: A folder has no image to train on; or `job.out` has no dino.txt and MobileSAM to build on, or
            holds another run.
    """
    imported = imported_dinov3seg(job.out)
    config = config or seg_config(job.out)
    config = replace(
        config, steps=job.steps or config.steps, seed=job.seed, augment=job.augment or config.augment
    )  # fmt: skip
    if config.augment == "catseg" and job.weights:
        raise UsageError(
            "--weight goes with --augment maskwright; as CAT-Seg draws images, all take turns.", "Leave it out."
        )
    stretch = imported is None or imported.stretch
    sources, vocabulary = job.labelled(stretch=stretch, exactly=imported is not None)
    return dinov3seg.train(sources, vocabulary, config, job.out, job.options())


def seg_config(folder: Path) -> SegConfig:
    """Settings of dinov3.seg for a preset: the paper's for imported parts, else the bundled preset's on its encoders.

    Raises:
        MaskwrightError: It has neither these parts, nor dino.txt and MobileSAM.
    """
    imported = imported_dinov3seg(folder)
    if imported is not None:
        return SegConfig(model=imported.model)
    return replace(TINY_SEG, model=on_encoders_of(folder, TINY_SEG.model))


def imported_dinov3seg(folder: Path) -> Dinov3SegSettings | None:
    """Settings of official parts of dinov3.seg that wait for their training, or None."""
    parts = sections(folder) if (folder / CONFIG).is_file() else {}
    settings = dinov3seg_settings(folder) if "dinov3seg" in parts else None
    return settings if settings is not None and not settings.trained else None


def on_encoders_of(folder: Path, model: Dinov3SegConfig) -> Dinov3SegConfig:
    """The same dinov3.seg on the dino.txt and MobileSAM of the preset in `folder`; raises MaskwrightError."""
    parts = sections(folder) if (folder / CONFIG).is_file() else {}
    tiny_vit = sam_settings(folder).model.tiny_vit if {"dinotxt", "sam"} <= parts.keys() else None
    if tiny_vit is None:
        raise MaskwrightError(
            f"There is no preset with dino.txt and MobileSAM in {folder} to build dinov3.seg on. Put a copy of tiny "
            "there, or import dinov3seg-l."
        )
    vlm, spe = dinotxt_settings(folder).model, sam_settings(folder).model
    # TinyViT's first stage follows two halvings
    taps = tiny_vit.widths[model.taps[0] - 2], tiny_vit.widths[model.taps[1] - 2]
    aggregator = replace(model.aggregator, text=vlm.backbone.width, appearance=spe.out, taps=taps)
    return replace(model, vlm=vlm, spe=spe, aggregator=aggregator)


def train_projection(
    folders: Sequence[Path],
    base: Path,
    out: Path,
    settings: ProjectionSettings,
    *,
    device: str = "cpu",
    progress: Progress = NO_PROGRESS,
) -> ProjectionResult:
    """Train Talk2DINO's projection between the frozen encoders of a preset.

    Args:
        folders: Folders with captioned images.
        base: Folder of the preset with the encoders.
        out: Preset folder for the result; may be `base`.
        settings: Settings of the run.
        device: As for `Engine.load`.
        progress: Reports images, texts and epochs.

    Raises:
        MaskwrightError: `out` holds another preset, or there are fewer than two captioned images.
        Cancelled: `progress` cancelled.
    """
    preset = load(base)
    encoders = projection.encoders(preset)
    existing = sections(out) if (out / CONFIG).is_file() else None
    if existing is not None:
        known = {part.get("sha256") for part in existing.values()}
        if existing.get(TALK2DINO, {}).get("model"):
            # a whole Talk2DINO whose projection was trained before
            known.add(existing[TALK2DINO].get("built_on"))
        if encoders.sha256 not in known:
            raise MaskwrightError(f"{out} holds another preset than {base.name}. Name another folder with --out.")
    skip = None if settings.all_images else gallery_images()
    images = [image for folder in folders for image in read_captions(folder, skip)]
    result = projection.train(
        encoders, images, settings, out / "regions", device=choose_device(device), progress=progress
    )  # fmt: skip
    if existing is None:
        shutil.copytree(base, out, dirs_exist_ok=True)
    save_projection(out, result.projection, result.config, preset.dinotxt, size=settings.size)
    return result


def train_ovs_dino(job: TrainingJob, config: OvsConfig | None = None) -> bool:
    """Train OVS-DINO on the encoders of the preset in `job.out`, with the preset's SAM as teacher.

    Args:
        job: Folders of masks by noun, and output folder; `weights` is not used.
        config: Settings; None: the paper's on imported encoders, else those of the bundled preset.

    Returns:
        Whether the last step was reached, and so OVS-DINO was written; otherwise the same job resumes.

    Raises:
        MaskwrightError: There is no mask to train on; or `job.out` has no encoders and SAM, or holds another run.
    """
    config = config or ovs_config(job.out)
    config = replace(config, steps=job.steps or config.steps, seed=job.seed)
    data = read_noun_images(job.folders, job.background, job.skipped())
    job.log(f"{len(data.images)} images, {len(data.nouns)} nouns; {data.without_masks} images without a mask left out")
    torch.manual_seed(config.seed)
    parts = sections(job.out)
    dinotxt = load_dinotxt(job.out) if OVS_ENCODERS not in parts else None
    model, tokenizer, sha256 = load_ovs_encoders(job.out, config.heads, dinotxt)
    if dinotxt is not None and config.trained_blocks:
        # dino.txt keeps its own blocks
        model.visual = copy.deepcopy(model.visual)
    sam = load_sam(job.out)
    prompts = named_templates("imagenet_80") if dinotxt is None else dinotxt.settings.prompts
    options = job.options()
    stretch = dinotxt is not None and dinotxt.settings.stretch
    run = ovs_dino.OvsRun(
        model, sam.model.image_encoder, data, job.out, f"{sha256} {sam.settings.sha256}", stretch,
        job.maps or job.out / "maps",
    )  # fmt: skip
    try:
        vectors = ovs_dino.noun_vectors(model, tokenizer, prompts, data.nouns, options)
        trained, finished = ovs_dino.train(run, vectors, config, options)
    except Cancelled:
        return False
    if finished:
        settings = OvsDinoSettings(
            config.heads, "", "", sha256, tuple(prompts), config.trained_blocks,
            WindowProtocol(config.size, 2048, config.size, config.size // 2), stretch,
            middle=config.middle, teacher_size=config.teacher_size,
        )  # fmt: skip
        # steps in weights that their authors published are smaller than the resolution of half precision
        dtype = torch.float16 if dinotxt is not None else torch.float32
        save_ovs_dino(job.out, trained, settings, dtype=dtype)
        save_record(job.out / "ovs-dino.json", config.record() | {"nouns": list(data.nouns)})
    return finished


def ovs_config(folder: Path, tiny: OvsConfig | None = None) -> OvsConfig:
    """Settings for the preset in `folder`: the paper's where its encoders were imported, else those on a dino.txt.

    Args:
        folder: Of the preset.
        tiny: Settings on a dino.txt, of which the sizes are fitted; None is the bundled preset's.

    Raises:
        MaskwrightError: It has no SAM, or no encoders of text and images.
    """
    parts = sections(folder) if (folder / CONFIG).is_file() else {}
    if "sam" not in parts or not parts.keys() & {OVS_ENCODERS, "dinotxt"}:
        raise MaskwrightError(
            f"There is no preset with SAM and encoders in {folder} to train OVS-DINO on.",
            "Put a copy of tiny there, or import ovs-dino-b.",
        )
    middle = sam_settings(folder).model.out
    if OVS_ENCODERS in parts:
        config = OvsConfig()
        return replace(config, heads=replace(config.heads, middle=middle))
    settings = dinotxt_settings(folder)
    width, depth = settings.model.backbone.width, settings.model.backbone.depth
    tiny = tiny or TINY_OVS
    heads = replace(
        tiny.heads, width=width, text=width, middle=middle, taps=tuple(range(1, depth)),
        groups=math.gcd(tiny.heads.groups, width), scale=settings.background_scale,
        bias=-settings.background_scale * settings.threshold,
    )  # fmt: skip
    return replace(tiny, heads=heads)


def gallery_images() -> frozenset[str]:
    """Names without extension of the sample gallery's images, which no training uses."""
    rows = json.loads((files("maskwright_assets") / "samples" / "samples.json").read_text(encoding="utf-8"))
    return frozenset(Path(row["file"]).stem for row in rows)
