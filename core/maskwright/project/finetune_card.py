"""Record and model card of a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from maskwright import __version__
from maskwright.domain import Run, Scores
from maskwright.files.atomic import atomic_save
from maskwright.presets.weights import save_record
from maskwright.project.finetune_runs import ANSWERS

__all__ = ["RECORD", "write_card"]

RECORD = "run.json"


def write_card(folder: Path, run: Run, before: Scores, after: Scores, answers: Mapping[str, Any]) -> None:
    """Write the model card, `run.json` and `answers.json`: training data, settings and scores of the checkpoint."""
    plan = run.plan
    record = {
        "run": run.name, "recipe": run.recipe, "base": run.base, "version": __version__, "created_at": run.created_at,
        "plan": plan.to_dict(), "before": before.to_dict(), "after": after.to_dict(),
    }  # fmt: skip
    save_record(folder / RECORD, record)
    save_record(folder / ANSWERS, answers)
    where = "images of the project held out"
    if plan.measure_on:
        where = f"images of `{Path(plan.measure_on).name}`"
    elif plan.folds:
        where = f"images of the project, each held out once ({len(plan.folds)} parts)"
    notes = "\n".join(f"- {note}" for note in (*plan.notes, *(run.progress.notes or ())))
    card = f"""# {run.name}

Fine-tuned by Maskwright {__version__} on {run.created_at[:10]} from `{run.base}` (weights {before.weights}), recipe
`{run.recipe}`, method {after.method}, seed {plan.seed}, on {len(plan.train)} images with {len(plan.masks)} accepted
masks of {len(plan.categories)} classes. It is trained for these classes; it may have forgotten others that the base
knew. The licence is that of the base, and of the training images.

{_measured(before, after, where)}
{notes}

{_table(before, after)}
"""
    atomic_save(folder / "README.md", lambda file: file.write_text(card, encoding="utf-8"))


def _measured(before: Scores, after: Scores, where: str) -> str:
    if before.clicks and after.clicks:
        return (
            f"Measured on {after.images} {where}: {before.clicks['noc85']:.1f} clicks to IoU 0.85 before, "
            f"{after.clicks['noc85']:.1f} after."
        )
    text = f"Measured on {after.images} {where}: mIoU {before.miou:.3f} before, {after.miou:.3f} after."
    if after.agreement is not None:
        text += (
            f" On photographs of other things it answers as its base on {100 * after.agreement:.0f} % of the pixels."
        )
    return text


def _table(before: Scores, after: Scores) -> str:
    measures = {"IoU": "per_class", "boundary IoU": "boundary", "precision": "precision", "recall": "recall"}
    used = {title: key for title, key in measures.items() if getattr(after, key) is not None}
    lines = [
        f"| class | {' | '.join(f'{title} before | after' for title in used)} |",
        "| --- |" + " --- |" * (2 * len(used)),
    ]
    for name in after.per_class:
        cells = [_cell(getattr(scores, key) or {}, name) for key in used.values() for scores in (before, after)]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(values: Mapping[str, float | None], name: str) -> str:
    value = values.get(name)
    return "-" if value is None else f"{value:.3f}"
