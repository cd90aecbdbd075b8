"""One fine-tuning run from measuring the base to the checkpoint, in this process; and the registry."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from maskwright.domain import Run
from maskwright.engine import Engine
from maskwright.errors import MaskwrightError, UsageError
from maskwright.project import Project
from maskwright.project.finetune_bench import FinetuneTask, bench_finetune
from maskwright.project.finetune_runs import FinetuneOptions
from maskwright.project.finetune_worker import run_finetuning
from maskwright.session.engines import Engines
from maskwright.session.finetuning import Finetuning
from tests.core.training.conftest import labelled_folder  # noqa: F401 - a fixture

NAME = "run-1"


@pytest.fixture
def project(two_class_project: Path) -> Iterator[Project]:
    with Project.open(two_class_project) as project:
        yield project


def _done(project: Project, base: Path, options: FinetuneOptions) -> Run:
    assert project.runs.prepare(user="me", options=replace(options, base=str(base))) == NAME
    run_finetuning(str(project.folder), NAME)
    run = project.runs.get(NAME)
    assert run.state == "done", run.message
    return run


@pytest.mark.slow
def test_the_method_that_answers_is_measured_before_and_after_on_the_same_images(
    project: Project, segmenting_preset: Path
) -> None:
    (first, *_) = project.images.all()
    project.store.images.review(first.id, "complete", "me")
    logs = project.folder.parent / "logs"
    run = _done(project, segmenting_preset, FinetuneOptions(epochs=1, device="cpu", log_dir=logs))
    (events,) = (logs / NAME).iterdir()
    assert b"focal" in events.read_bytes()
    # of the last part: the result learns from all images, so none is left to watch
    assert run.progress.metrics == ()
    assert run.before is not None
    assert run.after is not None
    assert run.before.method == run.after.method == "dinov3seg"
    assert run.before.images == run.after.images == 6
    assert len(run.plan.folds) == 3
    assert run.plan.complete == (first.id,)
    for measure in (run.after.per_class, run.after.boundary, run.after.precision, run.after.recall):
        assert measure is not None
        assert measure.keys() == {"meadow", "air"}
    assert 0 <= (run.after.agreement or 0) <= 1
    folder = project.runs.folder_of(NAME)
    assert sorted(file.name for file in folder.iterdir()) == [
        "README.md", "answers.json", "config.json", "dinotxt.safetensors", "dinov3seg.safetensors", "run.json",
        "sam.safetensors", "tokenizer.json",
    ]  # fmt: skip
    assert Engine.load(folder, "cpu").text_model.sha256 == run.after.weights
    assert json.loads((folder / "run.json").read_text())["plan"]["folds"]

    finetuning = Finetuning(project, lambda: "tiny")
    images = finetuning.images(NAME)
    assert len(images) == 6
    assert [one.change for one in images] == sorted(one.change for one in images)
    masks = finetuning.masks(NAME, images[0].image_id)
    assert {mask.category for mask in masks.person} == {"meadow", "air"}
    assert {mask.category for mask in masks.after} <= {"meadow", "air"}
    with pytest.raises(MaskwrightError, match="was not measured on that image"):
        finetuning.masks(NAME, 99)

    finetuning.act_on("use", NAME)
    with pytest.raises(MaskwrightError, match="is in use"):
        finetuning.act_on("delete", NAME)
    finetuning.act_on("original", NAME)
    finetuning.act_on("delete", NAME)
    assert not folder.exists()
    assert project.runs.all() == []
    assert project.runs._new_name(project.store.runs.names()) == "run-2"


@pytest.mark.slow
def test_clicks_are_measured_with_simulated_clicks(project: Project, small_preset: Path) -> None:
    run = _done(project, small_preset, FinetuneOptions(task="click", epochs=1, device="cpu"))
    assert run.before is not None
    assert run.after is not None
    for scores in (run.before, run.after):
        assert scores.clicks is not None
        assert scores.clicks["objects"] == 12
        assert 1 <= scores.clicks["noc85"] <= 20
    folder = project.runs.folder_of(NAME)
    assert (folder / "dinotxt.safetensors").read_bytes() == (small_preset / "dinotxt.safetensors").read_bytes()
    assert (folder / "sam.safetensors").read_bytes() != (small_preset / "sam.safetensors").read_bytes()
    assert "clicks" in Finetuning(project, lambda: "tiny").judgement(run)


def test_options_that_do_not_go_together_are_refused() -> None:
    with pytest.raises(UsageError, match="no task walk"):
        FinetuneOptions(task="walk")
    with pytest.raises(UsageError, match="go with the task text"):
        FinetuneOptions(task="click", method="dinotxt")


@pytest.mark.slow
def test_the_benchmark_measures_images_that_the_project_does_not_have(
    labelled_folder: Path,  # noqa: F811 - the fixture
    small_preset: Path,
) -> None:
    task = FinetuneTask(data=labelled_folder, images=4, classes=("grass", "sky"), limit=2, retain=labelled_folder)
    result = bench_finetune(task, str(small_preset), FinetuneOptions(epochs=1, device="cpu"))
    assert (result.method, result.images, result.measured) == ("dinotxt", 4, 2)
    assert result.retained is not None
    assert all(0 <= value <= 1 for pair in (result.held_out, result.others, result.retained) for value in pair)


def test_a_run_waits_while_somebody_asks_a_model(project: Project) -> None:
    working = project.runs.working_folder(NAME)
    working.mkdir(parents=True)
    (working / "process.json").write_text("{}")
    asked = []

    def stop() -> bool:
        asked.append(True)
        return len(asked) > 3

    project.runs.wait_for_prompts(NAME, 60, stop)
    assert len(asked) == 1, "nobody has asked anything yet"
    Engines(lambda name: cast(Engine, name), project, "tiny").current("click")
    project.runs.wait_for_prompts(NAME, 60, stop)
    assert len(asked) == 4, "it waits until it is stopped"
    asked.clear()
    os.utime(working / "prompted", (0, 0))
    project.runs.wait_for_prompts(NAME, 60, stop)
    assert len(asked) == 1, "that was long ago"
