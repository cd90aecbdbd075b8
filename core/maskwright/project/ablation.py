"""Ablation of dinov3.seg (the paper's Table 3): train it with one part left out at a time, and measure each variant.

It uses both training and evaluation, which do not know each other, so it stands in the room above them.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from maskwright.engine import Engine
from maskwright.errors import MaskwrightError
from maskwright.evaluation.protocol import ImageSelection
from maskwright.evaluation.text import evaluate_text
from maskwright.presets.config_io import sections
from maskwright.presets.loading import sam_settings
from maskwright.presets.weights import write_part
from maskwright.training.config import TINY_SEG, SegConfig
from maskwright.training.recipes import TrainingJob, train_dinov3seg

__all__ = ["ROWS", "AblationRow", "ablate", "as_table"]

ZERO_SHOT, ALL, AGGREGATION = "dino.txt, zero-shot", "dinov3.seg", "without aggregation"
ROWS = (ZERO_SHOT, ALL, "without text ensemble", "without early refinement", "without focal and dice", AGGREGATION)
"""Variants: zero-shot baseline, whole model, and the model without one part at a time."""


@dataclass(frozen=True, slots=True)
class AblationRow:
    """mIoU of one variant."""

    name: str
    miou: dict[str, float]
    """By name of the labelled folder."""

    @property
    def mean(self) -> float:
        """Mean over the folders."""
        return sum(self.miou.values()) / len(self.miou)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self) | {"mean": self.mean}


def _config_of(variant: str) -> SegConfig:
    """Training settings of a variant."""
    config, model = TINY_SEG, TINY_SEG.model
    return {
        ALL: config,
        "without text ensemble": replace(
            config, model=replace(model, text_ensemble=False, aggregator=replace(model.aggregator, views=1))
        ),
        "without early refinement": replace(config, model=replace(model, anyup=None)),
        "without focal and dice": replace(config, loss="bce"),
    }[variant]


def ablate(
    base: Path,
    job: TrainingJob,
    measure: Sequence[Path],
    *,
    limit: int | None = None,
    rows: Sequence[str] = ROWS,
) -> list[AblationRow]:
    """Train and measure every variant.

    Args:
        base: Folder of the preset whose dino.txt and SAM every variant starts from.
        job: Training data, length and output; `out` gets a folder per variant, and unfinished ones are resumed.
        measure: Labelled folders, of which the held-out images are measured.
        limit: Largest number of images of each.
        rows: Names of the variants, of ROWS.

    Raises:
        MaskwrightError: The base is no preset like tiny, or a folder has no images.
    """
    if "sam" not in sections(base) or sam_settings(base).model.tiny_vit is None:
        raise MaskwrightError(f"{base.name} is not a preset like tiny, for which the variants are made. Use tiny.")
    selection = ImageSelection(only_held_out=True, limit=limit, seed=job.seed)
    results = []
    for name in rows:
        folder = base
        if name != ZERO_SHOT:
            trained = ALL if name == AGGREGATION else name
            folder = job.out / trained.replace(" ", "-")
            job.log(f"{trained}: training in {folder}")
            _copy_base(base, folder)
            train_dinov3seg(replace(job, out=folder), _config_of(trained))
        if name == AGGREGATION:
            folder = _with_catseg_inference(folder, job.out / name.replace(" ", "-"))
        engine = Engine.load(folder, job.device)
        method = "dinotxt" if name == ZERO_SHOT else "dinov3seg"
        scores = [evaluate_text(engine, data, method=method, selection=selection)[0] for data in measure]
        row = AblationRow(name, {data.name: score.miou for data, score in zip(measure, scores, strict=True)})
        job.log(f"{row.name}: {row.miou}")
        results.append(row)
    return results


def _copy_base(base: Path, folder: Path) -> None:
    """Copy all parts of the base except dinov3.seg; parts that the folder has already are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    existing = sections(folder) if (folder / "config.json").exists() else {}
    for part, config in sections(base).items():
        if part != "dinov3seg" and part not in existing:
            for file in (config.get("weights"), config.get("tokenizer")):
                if file is not None:
                    shutil.copyfile(base / file, folder / file)
            write_part(folder, part, config)


def _with_catseg_inference(folder: Path, into: Path) -> Path:
    """Copy of the preset that averages predictions of windows, as CAT-Seg (configurations I to IV)."""
    shutil.copytree(folder, into, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.pt"))
    settings = sections(into)["dinov3seg"]
    write_part(into, "dinov3seg", {**settings, "protocol": {**settings["protocol"], "aggregation": "catseg"}})
    return into


def as_table(rows: Sequence[AblationRow]) -> str:
    """The rows as a Markdown table."""
    names = list(rows[0].miou)
    lines = [f"| | {' | '.join(names)} | mean |", "| --- |" + " --- |" * (len(names) + 1)]
    lines += [
        f"| {row.name} | {' | '.join(f'{row.miou[name]:.3f}' for name in names)} | {row.mean:.3f} |" for row in rows
    ]
    return "\n".join(lines)
