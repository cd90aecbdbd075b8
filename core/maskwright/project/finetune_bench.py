"""Benchmark of fine-tuning: a project of a labelled folder's first images, the default run, and the other images."""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from maskwright.domain import Mask, Scores
from maskwright.engine import Engine
from maskwright.errors import MaskwrightError
from maskwright.evaluation.clicks import evaluate_click
from maskwright.evaluation.protocol import ImageSelection
from maskwright.evaluation.text import evaluate_text
from maskwright.formats.labelled_folder import LabelledFolder, LabelledImage, read_coco
from maskwright.formats.segmentation import mask_of
from maskwright.presets.folders import find
from maskwright.progress import NO_PROGRESS, Progress
from maskwright.project import Project
from maskwright.project.finetune_runs import FinetuneOptions
from maskwright.project.finetune_worker import run_finetuning
from maskwright.settings import Settings

__all__ = ["FinetuneBench", "FinetuneTask", "bench_finetune"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetuneTask:
    """What is learned from, and what is measured."""

    data: Path
    """Labelled folder."""
    images: int = 40
    """Number of images that are accepted."""
    sequence: str = ""
    """Beginning of their file names; the images of other sequences are measured."""
    classes: tuple[str, ...] = ()
    """Classes that are accepted and measured; all where it is empty."""
    retain: Path | None = None
    """Another labelled folder, whose held-out images show what was forgotten."""
    limit: int | None = None
    """Largest number of images that are measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetuneBench:
    """Result of the benchmark."""

    task: str
    method: str
    seconds: float
    """Of the run with its own measurements."""
    held_out: tuple[float, float]
    """The run's own judgement before and after: mIoU, or clicks to IoU 0.85."""
    others: tuple[float, float]
    """The same on the images that the project does not have."""
    retained: tuple[float, float] | None
    """mIoU on the other folder."""
    images: int
    measured: int


def bench_finetune(
    task: FinetuneTask, preset: str, options: FinetuneOptions, progress: Progress = NO_PROGRESS
) -> FinetuneBench:
    """Accept the first images as a person would, fine-tune, and measure base and result.

    Args:
        task: Images to learn from and to measure.
        preset: To start from.
        options: Of the run.
        progress: Cancels between images that are measured.

    Raises:
        MaskwrightError: No labelled folder, or too few images; or the run failed.
    """
    data = LabelledFolder.read(task.data)
    rows = [row for row in data if row.file.name.startswith(task.sequence)]
    learned = rows[: task.images]
    others = [row for row in data if row not in (rows if task.sequence else learned)]
    if not learned or not others:
        raise MaskwrightError(f"{task.data} has too few images for this benchmark.", "Name fewer, or another folder.")
    with tempfile.TemporaryDirectory(prefix="maskwright-bench-") as place:
        folder = _subset(task, data, others, Path(place) / "others")
        with Project.open(Path(place) / "project", create=True) as project:
            for row in learned:
                _accept(project, data, row, task.classes)
            began = time.monotonic()
            name = project.runs.prepare(user="bench", options=replace(options, base=preset))
            run_finetuning(str(project.folder), name)
            seconds, run = time.monotonic() - began, project.runs.get(name)
            if run.state != "done" or run.before is None or run.after is None:
                raise MaskwrightError(run.message or "The run was cancelled.")
            models = find(preset, Settings.load()), project.runs.folder_of(name)
            engines = [Engine.load(model, options.device) for model in models]
            selection = ImageSelection(limit=task.limit)
            before, after = (_measure(one, folder, options, selection, progress) for one in engines)
            held_out = ImageSelection(only_held_out=True, limit=task.limit)
            retained = None
            if task.retain is not None:
                first, second = (evaluate_text(one, task.retain, selection=held_out)[0].miou for one in engines)
                retained = first, second
            return FinetuneBench(
                task=options.task, method=run.after.method, seconds=seconds, images=len(learned),
                measured=min(len(others), task.limit or len(others)),
                held_out=(_number(run.before), _number(run.after)), others=(before, after), retained=retained,
            )  # fmt: skip


def _measure(
    engine: Engine, folder: Path, options: FinetuneOptions, selection: ImageSelection, progress: Progress
) -> float:
    if options.task == "click":
        return evaluate_click(engine, folder, selection=selection, progress=progress).noc85
    return evaluate_text(engine, folder, method=options.method, selection=selection, progress=progress)[0].miou


def _number(scores: Scores) -> float:
    return scores.clicks["noc85"] if scores.clicks else scores.miou


def _accept(project: Project, data: LabelledFolder, row: LabelledImage, classes: tuple[str, ...]) -> None:
    (added,) = project.add(row.file)
    assert added.record is not None
    for annotation in row.annotations:
        name = data.categories[annotation["category_id"]]
        if (not classes or name in classes) and not annotation.get("iscrowd"):
            region = mask_of(annotation, row.size_hw)
            if region.any():
                project.accept(added.record.id, Mask.from_array(region), name)


def _subset(task: FinetuneTask, data: LabelledFolder, rows: list[LabelledImage], folder: Path) -> Path:
    """A labelled folder of some images and classes."""
    (folder / "images").mkdir(parents=True)
    content: dict[str, Any] = read_coco(task.data / "annotations.json")
    wanted = {key for key, name in data.categories.items() if not task.classes or name in task.classes}
    names = {row.file.name for row in rows}
    for row in rows:
        (folder / "images" / row.file.name).symlink_to(row.file.absolute())
    content["images"] = [image for image in content["images"] if image["file_name"] in names]
    ids = {image["id"] for image in content["images"]}
    content["categories"] = [row for row in content["categories"] if row["id"] in wanted]
    content["annotations"] = [
        row for row in content["annotations"] if row["image_id"] in ids and row["category_id"] in wanted
    ]
    (folder / "annotations.json").write_text(json.dumps(content), encoding="utf-8")
    return folder
