"""The commands that know dinov3.seg: the method, its size, its training and what its parts are worth."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from maskwright.models.dinov3seg import SPECS
from maskwright.presets.folders import bundled
from maskwright.presets.loading import dinov3seg_settings
from maskwright.project.ablation import ROWS
from maskwright.project.dinov3seg_rows import TABLES
from maskwright.training import dinov3seg, recipes
from maskwright.training.config import TINY_SEG
from tests.core.cli.conftest import Run


def test_the_method_is_chosen_by_name(run: Run, image_file: Path, segmenting_preset: Path) -> None:
    words = ("segment", image_file, "--text", "grass, sky", "--preset", segmenting_preset, "--out", "out", "--json")
    answers = [run(*words, *more).json["masks"] for more in ((), ("--method", "dinov3seg"), ("--method", "dinotxt"))]
    assert answers[0] == answers[1] != answers[2]
    assert "procedure of dino.txt" in run(*words, "--method", "dinov3seg", "--high-resolution").sentence(2)


def test_untrained_parts_say_so(run: Run, image_file: Path, segmenting_preset: Path, home: Path) -> None:
    folder = shutil.copytree(segmenting_preset, home / "parts")
    told = json.loads((folder / "config.json").read_text())
    told["dinov3seg"]["trained"] = False
    (folder / "config.json").write_text(json.dumps(told))
    found = run("segment", image_file, "--text", "grass, sky", "--preset", folder, "--out", "out")
    assert "not trained yet" in found.err
    assert "until dinov3.seg is trained" in run("models", "info", folder).out
    assert "text prompts use dinov3.seg" in run("models", "info", segmenting_preset).out


def test_evaluate_says_which_method_answered(run: Run, labelled: Path, segmenting_preset: Path) -> None:
    words = ("evaluate", labelled, "--task", "text", "--preset", segmenting_preset, "--device", "cpu", "--json")
    assert run(*words).json["method"] == "dinov3seg"
    assert run(*words, "--method", "dinotxt").json["method"] == "dinotxt"


def test_count_prints_the_papers_size(run: Run, segmenting_preset: Path, small_preset: Path) -> None:
    found = run("models", "count", "--json").json
    assert found["parameters"]["dino.txt"] == 866_611_713
    assert found["parameters_total"] == 1_178_204_130
    # the paper reports 4,500.4 10^9 operations, and neither the sizes nor the way of counting
    assert 2_500 < found["operations_total"] < 2_900
    assert found["operations_total"] == pytest.approx(sum(found["operations"].values()))
    told = run("models", "count", segmenting_preset, "--classes", 3).out
    assert "96 pixels and 3 classes" in told
    assert "has no dinov3.seg" in run("models", "count", small_preset).sentence()


def test_training_adds_it_to_a_preset(run: Run, labelled: Path, small_preset: Path, home: Path) -> None:
    out = shutil.copytree(small_preset, home / "mine")
    done = run("train", labelled, "--out", out, "--steps", 2, "--device", "cpu", "--json")
    assert done.json == {"preset": str(out), "finished": True}
    assert dinov3seg_settings(out).trained
    assert dinov3seg_settings(out).model.aggregator.text == 32, "it fits the preset's encoders"
    sentence = run("train", labelled, "--out", home / "none", "--steps", 2).sentence()
    assert "no preset with" in sentence


@pytest.mark.slow
def test_ablation_prints_a_row_for_each_part(
    run: Run, labelled: Path, small_preset: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = replace(TINY_SEG, batch=2, crop=96, short_side=(96, 96))
    monkeypatch.setattr(recipes, "TINY_SEG", small)
    monkeypatch.setitem(dinov3seg.SETTINGS, "protocol", {"sides": [96], "window": 64, "stride": 32})
    words = ("ablate", labelled, "--measure", labelled, "--out", home / "ablation", "--base", small_preset)
    options = ("--steps", 2, "--limit", 2, "--device", "cpu")
    done = run(*words, *options)
    rows = [line.split("|")[1].strip() for line in done.out.splitlines()[2:]]
    assert rows == list(ROWS)
    again = run(*words, *options, "--json").json
    assert [row["name"] for row in again] == list(ROWS)
    variants = {file.name for file in (home / "ablation").iterdir()}
    assert variants >= {"dinov3.seg", "without-text-ensemble", "without-early-refinement", "without-aggregation"}
    told = dinov3seg_settings(home / "ablation" / "without-aggregation")
    assert told.protocol.aggregation == "catseg"
    assert dinov3seg_settings(home / "ablation" / "without-text-ensemble").model.aggregator.views == 1
    assert dinov3seg_settings(home / "ablation" / "without-early-refinement").model.anyup is None
    assert json.loads((home / "ablation" / "without-focal-and-dice" / "dinov3seg.json").read_text())["loss"] == "bce"
    # of other tables one row each of what the whole model does not have
    few = {"3": (1,), "4": (0,), "5": (1,), "12": (0,)}
    for table, chosen in few.items():
        monkeypatch.setitem(TABLES, table, tuple(TABLES[table][n] for n in chosen))  # type: ignore[arg-type]
        rows = run(*words, *options, "--table", table, "--json").json
        assert [row["name"] for row in rows] == [TABLES[table][0].name]
    baseline = dinov3seg_settings(home / "ablation" / "dino.txt-fine-tuned")
    assert (baseline.model.decoder, baseline.model.prior) == (False, "vlm")
    assert json.loads((home / "ablation" / "QV" / "dinov3seg.json").read_text())["tuned"] == "qv"
    both = dinov3seg_settings(home / "ablation" / "LGA-of-SAM").protocol
    assert (both.aggregation, both.prior) == ("global", "lga")
    assert "--table is for dinov3seg" in run(*words, "--table", "9").sentence(2)


@pytest.mark.parametrize("method", ["dinov3seg", "dinotxt"])
def test_prompts_are_timed(run: Run, segmenting_preset: Path, method: str) -> None:
    words = ("bench", "--task", "text", "--preset", segmenting_preset, "--method", method, "--rounds", 2)
    found = run(*words, "--json").json
    assert (found["method"], found["encoder_calls"], found["rounds"]) == (method, 1, 2)
    assert found["peak_mb"] > 100
    assert found["first"] > 0 < found["further"]
    assert "first prompt" in run(*words).out


@pytest.mark.slow
def test_the_published_size_is_timed_without_its_weights(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SPECS, "vitl16", dinov3seg_settings(bundled() / "tiny").model)
    words = ("bench", "--random-weights", "--rounds", 1, "--json")
    found = run(*words, "--task", "text").json
    assert (found["method"], found["classes"], found["encoder_calls"]) == ("dinov3seg", 20, 1)
    assert "are for --task text" in run(*words, "--task", "click").sentence(2)
