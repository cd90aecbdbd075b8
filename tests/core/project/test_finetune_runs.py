"""Fine-tuning runs as processes: watched, stopped, killed, resumed, used."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import maskwright as mw
from maskwright.domain import TextPrompt
from maskwright.engine import Engine
from maskwright.errors import Cancelled
from maskwright.project import Project, jobs
from maskwright.project import finetune_runs as runs_module
from maskwright.session import AnnotationSession
from maskwright.session.finetuning import Finetuning

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine a process needs more than 20 seconds to import torch and report for the first time."""
    monkeypatch.setattr(runs_module, "_SILENCE", 120.0)


@pytest.fixture
def project(two_class_project: Path) -> Iterator[Project]:
    with Project.open(two_class_project) as project:
        yield project


def _until(ready: Callable[[], Any], seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.05)


def _training(run: runs_module.FinetuneRun) -> Callable[[], bool]:
    return lambda: (run.status().progress.step or 0) >= 10


def test_a_run_from_start_to_use_and_back(project: Project, small_preset: Path) -> None:
    # long enough that whoever looks five times a second sees it train
    run = project.finetune(base=small_preset, epochs=150, device="cpu")
    told = []
    done = run.wait(lambda status: told.append(status.progress.phase))
    assert {"training"} <= set(told)
    assert done.state == "done"
    # of so few images each is held out once
    assert done.before.images == done.after.images == done.plan.measured == 6
    assert len(done.plan.folds) == 3
    assert done.after.miou > done.before.miou
    assert done.progress.curve[-1][0] == done.progress.steps
    assert sorted(f.name for f in run.checkpoint.iterdir()) == [
        "README.md", "answers.json", "config.json", "dinotxt.safetensors", "run.json", "sam.safetensors",
        "tokenizer.json",
    ]  # fmt: skip
    card = (run.checkpoint / "README.md").read_text(encoding="utf-8")
    assert f"{done.before.miou:.3f} before, {done.after.miou:.3f} after" in card
    record = json.loads((run.checkpoint / "run.json").read_text(encoding="utf-8"))
    assert record["after"] == done.after.to_dict()
    # a preset anywhere, and the numbers can be had again
    engine = Engine.load(run.checkpoint, "cpu")
    assert engine.model.sha256 == done.after.weights

    session = AnnotationSession(lambda name: Engine.load(name, "cpu"), project, str(small_preset))
    (first, *_) = project.images.all()
    before = session.propose_text(first.id, TextPrompt.parse("meadow, air"))
    assert session.finetuning.status().actions == ("use", "start")
    session.finetuning.act("use")
    assert project.runs.active() == "run-1"
    used = session.propose_text(first.id, TextPrompt.parse("meadow, air"))
    assert used.prediction.provenance["weights"] == done.after.weights
    assert "In use" in session.finetuning.status().message
    session.finetuning.act("back")
    again = session.propose_text(first.id, TextPrompt.parse("meadow, air"))
    assert [p.mask.rle for p in again.all] == [p.mask.rle for p in before.all]
    with pytest.raises(mw.MaskwrightError):
        session.finetuning.act("cancel")


@pytest.mark.alone
def test_cancel_is_quick_and_resume_ends_where_an_undisturbed_run_does(project: Project, small_preset: Path) -> None:
    whole = project.finetune(base=small_preset, epochs=150, device="cpu")
    whole.wait()
    run = project.finetune(base=small_preset, epochs=150, device="cpu")
    with pytest.raises(mw.MaskwrightError, match="still going on"):
        project.finetune(base=small_preset)
    _until(_training(run))
    began = time.monotonic()
    run.cancel()
    with pytest.raises(Cancelled):
        run.wait()
    assert time.monotonic() - began < 3
    assert not run.checkpoint.exists()
    with pytest.raises(mw.MaskwrightError, match="no model to use"):
        project.runs.activate(run.name, user="me")
    resumed = project.runs.resume(run.name, user="me")
    _until(lambda: resumed.status().progress.metrics)
    project.runs.pause(run.name)
    paused = run.wait()
    assert paused.state == "paused"
    assert Finetuning(project, lambda: "tiny").status().actions == ("resume", "start")
    with pytest.raises(mw.MaskwrightError, match="nothing to pause"):
        project.runs.pause(run.name)
    assert project.runs.resume(run.name, user="me").wait().state == "done"
    weights = [(one.checkpoint / "dinotxt.safetensors").read_bytes() for one in (whole, run)]
    assert weights[0] == weights[1]


def _process_of(project: Project) -> int:
    """The one process that works in this project's folder, by its open log."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if b"maskwright.project.finetune_worker" in words and str(project.folder) in str(
                    (entry / "fd" / "1").readlink()
                ):
                    return int(entry.name)
            except OSError:
                continue
    raise AssertionError("no process")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="finds the process through /proc, which this system lacks")
def test_a_killed_run_is_interrupted_leaves_no_checkpoint_and_can_be_resumed(
    project: Project, small_preset: Path
) -> None:
    run = project.finetune(base=small_preset, epochs=150, device="cpu")
    _until(_training(run))
    os.kill(_process_of(project), signal.SIGKILL)
    _until(lambda: run.status().state == "interrupted", 10)
    assert not run.checkpoint.exists()
    assert [entry.name for entry in (project.folder / "checkpoints").iterdir()] == [".run-1"]
    with pytest.raises(mw.MaskwrightError, match="Resume it"):
        run.wait()
    again = project.runs.resume(run.name, user="me")
    _until(_training(again))
    again.cancel()
    with pytest.raises(Cancelled):
        again.wait()


def test_a_run_whose_process_lives_is_never_called_interrupted(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A busy machine may leave a process no time to report for minutes."""
    (tmp_path / "maskwright_sleeper.py").write_text("import time; time.sleep(100)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    start = jobs.start
    monkeypatch.setattr(jobs, "start", lambda module, *more: start("maskwright_sleeper", *more))
    monkeypatch.setattr(runs_module, "_SILENCE", 0.0)
    monkeypatch.setattr(runs_module, "_START", 0.0)
    run = project.finetune()
    session = Finetuning(project, lambda: "tiny")
    with Project.open(project.folder) as other:
        for runs in (project.runs, other.runs):
            assert runs.get(run.name).state == "running"
        assert session.status().actions == ("pause", "cancel")
        note = json.loads((project.runs.working_folder(run.name) / "process.json").read_text())
        os.kill(note["pid"], signal.SIGKILL)
        _until(lambda: project.runs.get(run.name).state == "interrupted", 10)
        _until(lambda: other.runs.get(run.name).state == "interrupted", 10)
        assert "resume" in session.status().actions
        project.store.runs.resume(run.name, "me")
        monkeypatch.setattr(runs_module, "_START", 60.0)
        assert session.status().actions != (), "not cached"


def test_another_process_sees_a_silent_run_as_interrupted(
    project: Project, small_preset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = project.finetune(base=small_preset, epochs=2000, device="cpu")
    _until(_training(run))
    with Project.open(project.folder) as other:
        assert other.runs.get(run.name).state == "running"
        os.kill(_process_of(project), signal.SIGKILL)
        monkeypatch.setattr(runs_module, "_SILENCE", 1.0)
        _until(lambda: other.runs.get(run.name).state == "interrupted", 10)


def test_the_run_outlives_the_one_who_started_it_and_measures_a_folder(
    project: Project, small_preset: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "others"
    (folder / "images").mkdir(parents=True)
    project.export_coco(folder / "annotations.json")
    data = json.loads((folder / "annotations.json").read_text())
    for row in data["images"]:
        row["file_name"] = Path(row["file_name"]).name
        (folder / "images" / row["file_name"]).write_bytes((project.folder / "images" / row["file_name"]).read_bytes())
    (folder / "annotations.json").write_text(json.dumps(data))
    with Project.open(project.folder) as other:
        name = other.finetune(base=small_preset, epochs=20, measure_on=folder, device="cpu").name
    _until(lambda: project.runs.get(name).state != "running")
    done = project.runs.get(name)
    assert done.state == "done", done.message
    assert done.plan.validation == ()
    assert len(done.plan.train) == done.after.images == 6


def test_a_run_that_cannot_begin_says_why(project: Project, tmp_path: Path) -> None:
    run = project.finetune(base="nonesuch", device="cpu")
    with pytest.raises(mw.MaskwrightError, match="Model nonesuch is not on this computer"):
        run.wait()
    assert project.runs.get(run.name).state == "failed"
    with pytest.raises(mw.MaskwrightError, match="is not a labelled folder"):
        project.finetune(measure_on=tmp_path / "nowhere")
    with pytest.raises(mw.MaskwrightError, match="no recipe lava"):
        project.finetune(recipe="lava")
    with pytest.raises(mw.MaskwrightError, match="no run run-9"):
        project.runs.get("run-9")


def test_too_little_is_told_before_anything_starts(tmp_path: Path) -> None:
    with Project.open(tmp_path / "empty", create=True) as empty:
        with pytest.raises(mw.MaskwrightError, match="at least 2 annotated images; you have 0"):
            empty.finetune()
        assert empty.runs.all() == []
        session = AnnotationSession(lambda name: Engine.load(name, "cpu"), empty)
        assert session.finetuning.status().actions == ()
