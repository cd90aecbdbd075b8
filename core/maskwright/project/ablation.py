"""Ablations of dinov3.seg (rows of `dinov3seg_rows`) and OVS-DINO (its Tables 2 to 4): variants trained and measured.

It uses both training and evaluation, which do not know each other, so it stands in the room above them.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from maskwright.engine import Engine
from maskwright.evaluation.protocol import ImageSelection
from maskwright.evaluation.text import PostProcessing, evaluate_text
from maskwright.presets.config import OVS_DINO
from maskwright.presets.config_io import sections
from maskwright.presets.folders import CONFIG
from maskwright.presets.weights import write_part
from maskwright.project.dinov3seg_rows import TABLES, Row, training_of
from maskwright.training.config import OvsConfig
from maskwright.training.recipes import (
    TrainingJob,
    imported_dinov3seg,
    ovs_config,
    seg_config,
    train_dinov3seg,
    train_ovs_dino,
)

__all__ = ["OVS_ROWS", "ROWS", "AblationRow", "ablate", "ablate_ovs", "as_table"]

ROWS = tuple(row.name for row in TABLES["parts"])
"""Variants: zero-shot baseline, whole model, and the model without one part at a time."""
ZERO_SHOT = ROWS[0]
OVS_ALL, AT_TEST = "OVS-DINO", "SAM at test"
OVS_ROWS = (
    ZERO_SHOT, OVS_ALL, "without SAM alignment", "without encoder", "without preservation gate", "fewer layers",
    "frozen DINO", AT_TEST,
)  # fmt: skip
"""Variants of OVS-DINO: baseline where the base has a dino.txt, whole model, Table 2, Table 3, and Table 4, which gives
the trained model SAM's embedding. Where DINO is frozen anyway, "frozen DINO" is the whole model and is left out."""


@dataclass(frozen=True, slots=True)
class AblationRow:
    """mIoU of one variant."""

    name: str
    miou: dict[str, float]
    """By name of the labelled folder."""
    boundary_iou: dict[str, float] = field(default_factory=dict)
    """The same; empty where it was not measured."""

    @property
    def mean(self) -> float:
        """Mean over the folders."""
        return sum(self.miou.values()) / len(self.miou)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self) | {"mean": self.mean}


def ablate(
    base: Path,
    job: TrainingJob,
    measure: Sequence[Path],
    *,
    limit: int | None = None,
    rows: Sequence[Row] = TABLES["parts"],
) -> list[AblationRow]:
    """Train and measure every variant; each has a preset folder of its own.

    Args:
        base: Folder of the preset whose dino.txt and SAM every variant starts from: one like tiny, or an imported
            dinov3seg-l.
        job: Training data, length and output; `out` gets the folders, and unfinished ones are resumed.
        measure: Labelled folders, of which the held-out images are measured.
        limit: Largest number of images of each.
        rows: The variants.

    Raises:
        MaskwrightError: The base has no dino.txt and SAM that a variant can be trained on, or a folder has no images.
    """
    whole, imported = seg_config(base), imported_dinov3seg(base) is not None
    selection = ImageSelection(only_held_out=True, limit=limit, seed=job.seed)
    results = []
    for row in rows:
        folder, method = base, "dinotxt"
        if not row.zero_shot:
            method, trained = "dinov3seg", training_of(row)
            folder = job.out / _slug(trained)
            job.log(f"{trained}: training in {folder}")
            _copy_base(base, folder, without=() if imported else ("dinov3seg",))
            # imported parts are trained once; other runs end where they are
            if not imported or imported_dinov3seg(folder) is not None:
                train_dinov3seg(replace(job, out=folder), row.config(whole))
            if row.protocol:
                folder = _with_protocol(folder, job.out / _slug(row.name), row.protocol)
        engine = Engine.load(folder, job.device)
        scores = [evaluate_text(engine, data, method=method, selection=selection)[0] for data in measure]
        result = AblationRow(row.name, {data.name: score.miou for data, score in zip(measure, scores, strict=True)})
        job.log(f"{result.name}: {result.miou}")
        results.append(result)
    return results


def _slug(name: str) -> str:
    return name.replace(",", "").replace(" ", "-")


def ablate_ovs(
    base: Path, job: TrainingJob, measure: Sequence[Path], *, limit: int | None = None, config: OvsConfig | None = None
) -> list[AblationRow]:
    """Train and measure every variant of OVS-DINO: mIoU and boundary IoU on held-out images.

    Args:
        base: Folder of the preset with encoders and SAM that every variant starts from.
        job: As for `ablate`.
        measure: As for `ablate`.
        limit: As for `ablate`.
        config: Settings of the whole model; None: those for the base.

    Raises:
        MaskwrightError: The base has no encoders or no SAM, or a folder has no images or masks.
    """
    config = config or ovs_config(base)
    job = replace(job, maps=job.out / "maps")
    results: list[AblationRow] = []
    for name, (variant, settings) in _ovs_variants(config).items():
        folder = base
        if name == ZERO_SHOT:
            if "dinotxt" not in sections(base):
                continue
        else:
            folder = job.out / variant.replace(" ", "-")
            if OVS_DINO not in (sections(folder) if (folder / CONFIG).is_file() else {}):
                job.log(f"{variant}: training in {folder}")
                _copy_base(base, folder, without=(OVS_DINO,))
                if not train_ovs_dino(replace(job, out=folder), settings):
                    return results
        if name == AT_TEST:
            folder = _with_middle_of_sam(folder, job.out / name.replace(" ", "-"))
        engine = Engine.load(folder, job.device)
        method = "dinotxt" if name == ZERO_SHOT else OVS_DINO
        row = AblationRow(name, {}, {})
        for data in measure:
            selection = ImageSelection(only_held_out=True, limit=limit, seed=job.seed)
            edges = (PostProcessing(boundary=True),)
            (score,) = evaluate_text(engine, data, method=method, variants=edges, selection=selection)
            row.miou[data.name], row.boundary_iou[data.name] = score.miou, score.boundary_iou or 0.0
        job.log(f"{row.name}: mIoU {row.miou}, boundary IoU {row.boundary_iou}")
        results.append(row)
    return results


def _ovs_variants(config: OvsConfig) -> dict[str, tuple[str, OvsConfig]]:
    """By row: the name of the variant to train, and its settings."""
    heads = config.heads
    variants = {
        OVS_ALL: config,
        "without SAM alignment": replace(config, align=0.0),
        "without encoder": replace(config, align=0.0, middle="sam"),
        "without preservation gate": replace(config, heads=replace(heads, gate=False)),
        # (3, 6, 9) of twelve blocks, as the paper's row; every second of the taps elsewhere
        "fewer layers": replace(
            config, heads=replace(heads, taps=(3, 6, 9) if heads.taps == (2, 4, 6, 8, 10) else heads.taps[1::2])
        ),
        "frozen DINO": replace(config, trained_blocks=0),
    }
    if not config.trained_blocks:
        del variants["frozen DINO"]
    rows = {name: (name, settings) for name, settings in variants.items()}
    return {ZERO_SHOT: (ZERO_SHOT, config), **rows, AT_TEST: (OVS_ALL, config)}


def _with_middle_of_sam(folder: Path, into: Path) -> Path:
    """Copy of the preset whose decoder reads SAM's embedding instead of F_middle (Table 4)."""
    shutil.copytree(folder, into, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.pt", "maps"))
    write_part(into, OVS_DINO, {**sections(into)[OVS_DINO], "middle": "sam"})
    return into


def _copy_base(base: Path, folder: Path, without: tuple[str, ...] = ("dinov3seg",)) -> None:
    """Copy the parts of the base except the trained ones; parts that the folder has already are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    existing = sections(folder) if (folder / "config.json").exists() else {}
    for part, config in sections(base).items():
        if part not in (*without, *existing):
            for file in (config.get("weights"), config.get("tokenizer")):
                if file is not None:
                    shutil.copyfile(base / file, folder / file)
            write_part(folder, part, config)


def _with_protocol(folder: Path, into: Path, changes: Mapping[str, Any]) -> Path:
    """A preset with another protocol of dinov3.seg: a copy, or itself where `into` is its folder."""
    if into != folder:
        shutil.copytree(folder, into, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.pt"))
    settings = sections(into)["dinov3seg"]
    write_part(into, "dinov3seg", {**settings, "protocol": {**settings.get("protocol", {}), **changes}})
    return into


def as_table(rows: Sequence[AblationRow]) -> str:
    """The rows as a Markdown table; boundary IoU, where it was measured, follows mIoU behind a slash."""
    if not rows:
        return "No variant is finished; the same command resumes."
    names = list(rows[0].miou)

    def cell(row: AblationRow, name: str) -> str:
        edges = f" / {row.boundary_iou[name]:.3f}" if row.boundary_iou else ""
        return f"{row.miou[name]:.3f}{edges}"

    lines = [f"| | {' | '.join(names)} | mean |", "| --- |" + " --- |" * (len(names) + 1)]
    lines += [f"| {row.name} | {' | '.join(cell(row, name) for name in names)} | {row.mean:.3f} |" for row in rows]
    return "\n".join(lines)
