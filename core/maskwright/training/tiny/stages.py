"""Training of the bundled preset from pretrained networks, stage by stage; the same command resumes.

1. MiniLM's embeddings of nouns, phrases and class names, and a tokenizer.
2. The text tower, which learns them.
3. SAM's decoder on MobileSAM's frozen encoder.
4. Boxes of a detector on photographs, which become masks by that SAM.
5. The visual model on EfficientNet-Lite2's frozen trunk.
6. dinov3.seg on both, Talk2DINO's projection, and OVS-DINO with that SAM as teacher.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from maskwright.models.devices import choose_device
from maskwright.models.sam import SPECS, Sam, SamConfig
from maskwright.presets.config import OVS_DINO
from maskwright.presets.config_io import sections, to_plain
from maskwright.presets.loading import load_sam
from maskwright.presets.weights import save_part, save_record, write_part
from maskwright.progress import NO_PROGRESS, Progress
from maskwright.training import clicks, dinov3seg
from maskwright.training.config import TINY_OVS, TINY_SEG, ClickConfig, OvsConfig, SegConfig
from maskwright.training.loop import RunOptions, TimeLimit, TrainProgress
from maskwright.training.projection import TINY_PROJECTION, ProjectionSettings
from maskwright.training.prompts import PROMPTS
from maskwright.training.recipes import (
    TrainingJob,
    gallery_images,
    on_encoders_of,
    ovs_config,
    train_ovs_dino,
    train_projection,
)
from maskwright.training.tiny.images import LABELLED, TinyImages, read_images, taught_sources
from maskwright.training.tiny.pretrained import Pretrained, load_mobile_sam
from maskwright.training.tiny.texts import Texts, read_texts
from maskwright.training.tiny.tower import TowerConfig, train_tower, with_maps
from maskwright.training.tiny.words import TrainedWords, WordsConfig, train_words
from maskwright.training.vocabulary import Vocabulary

__all__ = ["TinyConfig", "TinyJob", "train_tiny"]

SAM_SETTINGS = {"stretch": True, "connected": True, "grid": 24, "least_score": 0.8, "least_stability": 0.9}
DINOTXT_SETTINGS = {
    "tokenizer": "tokenizer.json", "prompts": list(PROMPTS), "stretch": True, "cleaning": 0.0,
    "protocol": {"short_sides": [320, 512], "window": 320, "stride": 160}, "high_resolution": {"visits": [1, 2, 4]},
}  # fmt: skip
"""The threshold was trained without background cleaning."""
INSID3_SETTINGS = {
    "part": "dinotxt", "stretch": True, "stem": 0.7, "position": 0.75,
    "method": {"size": 1024, "components": 16, "tau": 0.85, "merge": 0.2},
}  # fmt: skip
"""The last layer knows categories but loses appearance, so features of the trunk are added."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TinyConfig:
    """Settings of all stages; the defaults are the bundled preset's."""

    sam: SamConfig = SPECS["mobile"]
    tower: TowerConfig = field(default_factory=TowerConfig)
    clicks: ClickConfig = field(default_factory=ClickConfig)
    words: WordsConfig = field(default_factory=WordsConfig)
    seg: SegConfig = TINY_SEG
    projection: ProjectionSettings = TINY_PROJECTION
    ovs: OvsConfig = TINY_OVS
    """Its sizes are those of the other stages' models."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TinyJob:
    """Training data, pretrained networks and output folder of a run."""

    data: Path
    """Folder with msrc_v2, coco128, clothing, nuclei, bsds500, mixed256 and pseudo."""
    pretrained: Pretrained
    out: Path
    """Folder of the run, which gets `preset`; a run in it is resumed."""
    minutes: float | None = None
    """Stop after this time."""
    device: str = "cpu"
    """As for `Engine.load`."""
    log: Callable[[str], None] = lambda line: None
    """Called with a line of text now and then."""
    progress: Progress = NO_PROGRESS
    """Reports steps."""


class _Stage(Progress):
    """Passes reports on under the name of the stage."""

    def __init__(self, progress: Progress, stage: str) -> None:
        self._progress, self._stage = progress, stage

    def report(self, done: int, total: int, stage: str = "") -> None:
        self._progress.report(done, total, stage or self._stage)

    def cancelled(self) -> bool:
        return self._progress.cancelled()


def train_tiny(job: TinyJob, config: TinyConfig | None = None) -> bool:
    """Train the bundled preset into `job.out / "preset"`.

    Args:
        job: Data, networks and output.
        config: Settings of the stages; None is those of the bundled preset.

    Returns:
        Whether it is finished; otherwise the same job resumes.

    Raises:
        MaskwrightError: A file is missing, or `job.out` holds a run with other settings.
        Cancelled: `job.progress` cancelled, or the time was over, between the steps of a training.
    """
    job.pretrained.check()
    job.out.mkdir(parents=True, exist_ok=True)
    return _Run(job, config or TinyConfig()).stages()


class _Run:
    def __init__(self, job: TinyJob, config: TinyConfig) -> None:
        self.job, self.config, self.preset = job, config, job.out / "preset"
        self.progress = TimeLimit(job.progress, job.minutes)
        self.vocabulary = Vocabulary.bundled()

    def stages(self) -> bool:
        job, config = self.job, self.config
        images = read_images(job.data, self.vocabulary, gallery_images())
        for name, names in images.files.items():
            job.log(f"{name}: {len(names)} images")
        texts = self._texts(images)
        tower = train_tower(config.words.model, texts, job.out, config.tower, self._options("Text tower"))
        if tower is None or not self._clicks(images):
            return False
        sam = load_sam(job.out / "clicks")
        taught = taught_sources(images, sam, job.out / "labels", self._options("Masks of boxes"))
        sources = [*images.labelled, *taught]
        words = train_words(
            texts, (self.vocabulary, images.imagenet_names), sources, job.pretrained.lite, job.out, config.words,
            self._options("Visual model"),
        )  # fmt: skip
        if words is None:
            return False
        self._write_preset(words, tower, images)
        # ImageNet's images show one thing, whose outline nobody drew
        pixels = [source for source in sources if source.name != "imagenet"]
        seg = replace(config.seg, model=on_encoders_of(self.preset, config.seg.model))
        if not dinov3seg.train(pixels, self.vocabulary, seg, self.preset, self._options("dinov3.seg")):
            return False
        folders = [job.data / name for name in LABELLED]
        train_projection(
            folders, self.preset, self.preset, config.projection, device=job.device, progress=self.progress
        )  # fmt: skip
        if not self._ovs_dino():
            return False
        save_record(self.preset / "training_images.json", dict(images.files))
        return True

    def _ovs_dino(self) -> bool:
        """Trained on COCO's masks, as the paper on COCO's images."""
        job = TrainingJob(
            folders=[self.job.data / "coco128"], out=self.preset, maps=self.job.out / "maps", device=self.job.device,
            log=self.job.log, progress=self.progress,
        )  # fmt: skip
        return OVS_DINO in sections(self.preset) or train_ovs_dino(job, ovs_config(self.preset, self.config.ovs))

    def _options(self, stage: str) -> RunOptions:
        def log(step: TrainProgress) -> None:
            if step.step % 100 == 0 or step.step == step.steps:
                parts = ", ".join(f"{name} {value:.3f}" for name, value in step.parts.items())
                self.job.log(f"{stage}: step {step.step}/{step.steps}, loss {step.loss:.3f} ({parts})")

        device = str(choose_device(self.job.device))
        return RunOptions(device=device, progress=_Stage(self.progress, stage), on_step=log)

    def _texts(self, images: TinyImages) -> Texts:
        classes = [name for names in self.vocabulary.texts() for name in names]
        listed = json.loads((self.job.data / "mixed256" / "vocabulary.json").read_text("utf-8"))["classes"]
        return read_texts(
            [*classes, *images.imagenet_names], [row["name"] for row in listed],
            (self.job.pretrained.minilm, self.job.pretrained.wordnet), self.job.out,
            vocabulary=self.config.words.model.text.vocabulary, progress=self.progress,
        )  # fmt: skip

    def _clicks(self, images: TinyImages) -> bool:
        """MobileSAM's decoder, from its published weights."""
        base = self.job.out / "mobile_sam"
        if not (base / "config.json").is_file():
            model = Sam(self.config.sam)
            load_mobile_sam(self.job.pretrained.mobile_sam, model)
            base.mkdir(exist_ok=True)
            entry = {"model": to_plain(self.config.sam), **SAM_SETTINGS}
            save_part(base, "sam", model.state_dict(), entry, dtype=torch.float32)
        out, options = self.job.out / "clicks", self._options("Clicks")
        return (out / "config.json").is_file() or clicks.train(
            load_sam(base), images.objects, self.config.clicks, out, options
        )

    def _write_preset(self, words: TrainedWords, tower: nn.Module, images: TinyImages) -> None:
        """Text, examples and clicks; the same weights give the same files."""
        if (self.preset / "config.json").is_file():
            return
        partial = self.job.out / ".preset"
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(self.job.out / "clicks", partial, ignore=shutil.ignore_patterns("*.pt", "embeddings"))
        shutil.copyfile(self.job.out / "tokenizer.json", partial / "tokenizer.json")
        model = words.model
        model.text_model.load_state_dict(with_maps(tower.state_dict(), words.maps.weight.detach()))
        scale = model.logit_scale.exp().item()
        trained = {name for names in self.vocabulary.texts() for name in names} | set(images.imagenet_names)
        entry: dict[str, Any] = {
            "model": to_plain(model.config), **DINOTXT_SETTINGS, "sharpness": scale, "scale": scale,
            "threshold": -10 * words.offset.item() / scale, "familiar": sorted(name.lower() for name in trained),
        }  # fmt: skip
        save_part(partial, "dinotxt", model.state_dict(), entry, dtype=torch.float16)
        write_part(partial, "insid3", INSID3_SETTINGS)
        partial.replace(self.preset)
