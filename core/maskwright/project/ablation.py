"""What each part of dinov3.seg is worth (the paper's Table 3): the same training again and again, one part left out."""

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
from maskwright.training.config import TINY_SEG_STAGES, SegConfig
from maskwright.training.recipes import TrainingJob, train_dinov3seg

__all__ = ["ROWS", "AblationRow", "ablate", "as_table"]

ZERO_SHOT, ALL, AGGREGATION = "dino.txt, zero-shot", "dinov3.seg", "without aggregation"
ROWS = (ZERO_SHOT, ALL, "without text ensemble", "without early refinement", "without focal and dice", AGGREGATION)
"""The baseline, the whole model, and the model without one part at a time."""


@dataclass(frozen=True, slots=True)
class AblationRow:
    """One line of the table."""

    name: str
    miou: dict[str, float]
    """By name of the labelled folder"""

    @property
    def mean(self) -> float:
        """Over the folders."""
        return sum(self.miou.values()) / len(self.miou)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self) | {"mean": self.mean}


def _without(row: str) -> SegConfig:
    config = replace(TINY_SEG_STAGES, next_stage=None)
    model = config.model
    return {
        ALL: config,
        "without text ensemble": replace(
            config, model=replace(model, text_ensemble=False, aggregator=replace(model.aggregator, views=1))
        ),
        "without early refinement": replace(config, model=replace(model, anyup=None)),
        "without focal and dice": replace(config, loss="bce"),
    }[row]


def ablate(
    base: Path,
    job: TrainingJob,
    measure: Sequence[Path],
    *,
    limit: int | None = None,
    rows: Sequence[str] = ROWS,
) -> list[AblationRow]:
    """Train and measure every row.

    Args:
        base: folder of the preset whose text model and promptable model every row starts from.
        job: what to train on and for how long; `out` gets a folder for each row, and a call that was stopped goes on.
        measure: labelled folders; their held-out images count.
        limit: at most so many images of each.
        rows: of ROWS.

    Raises:
        MaskwrightError: a base without words or clicks, or a folder without images.
    """
    if "sam" not in sections(base) or sam_settings(base).model.backbone is None:
        raise MaskwrightError(f"{base.name} is not a preset like tiny, which the variants are made for. Use tiny.")
    selection = ImageSelection(only_held_out=True, limit=limit, seed=job.seed)
    results = []
    for name in rows:
        folder = base
        if name != ZERO_SHOT:
            trained = ALL if name == AGGREGATION else name
            folder = job.out / trained.replace(" ", "-")
            job.log(f"{trained}: training in {folder}")
            _copied(base, folder)
            train_dinov3seg(replace(job, out=folder), _without(trained))
        if name == AGGREGATION:
            folder = _asked_as_catseg(folder, job.out / name.replace(" ", "-"))
        engine = Engine.load(folder, job.device)
        method = "dinotxt" if name == ZERO_SHOT else "dinov3seg"
        scores = [evaluate_text(engine, data, method=method, selection=selection)[0] for data in measure]
        row = AblationRow(name, {data.name: score.miou for data, score in zip(measure, scores, strict=True)})
        job.log(f"{row.name}: {row.miou}")
        results.append(row)
    return results


def _copied(base: Path, folder: Path) -> None:
    """The base's words and clicks in a folder of their own; what is there already stays."""
    folder.mkdir(parents=True, exist_ok=True)
    here = sections(folder) if (folder / "config.json").exists() else {}
    for part, config in sections(base).items():
        if part != "dinov3seg" and part not in here:
            for file in (config.get("weights"), config.get("tokenizer")):
                if file is not None:
                    shutil.copyfile(base / file, folder / file)
            write_part(folder, part, config)


def _asked_as_catseg(folder: Path, into: Path) -> Path:
    """The same model asked window by window, with predictions averaged: configurations I to IV of the paper."""
    shutil.copytree(folder, into, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.pt"))
    settings = sections(into)["dinov3seg"]
    write_part(into, "dinov3seg", {**settings, "protocol": {**settings["protocol"], "aggregation": "catseg"}})
    return into


def as_table(rows: Sequence[AblationRow]) -> str:
    """The rows in Markdown."""
    sets = list(rows[0].miou)
    lines = [f"| | {' | '.join(sets)} | mean |", "| --- |" + " --- |" * (len(sets) + 1)]
    lines += [
        f"| {row.name} | {' | '.join(f'{row.miou[name]:.3f}' for name in sets)} | {row.mean:.3f} |" for row in rows
    ]
    return "\n".join(lines)
