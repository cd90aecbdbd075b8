"""The commands that know OVS-DINO: masks of captions, training on them, and the method."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from maskwright.presets.config_io import sections
from maskwright.project.ablation import OVS_ROWS
from maskwright.training import recipes
from maskwright.training.config import TINY_OVS
from maskwright.training.recipes import ovs_config
from tests.core.cli.conftest import Run


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    small = replace(TINY_OVS, batch=2, size=64, teacher_size=128, mask_side=32)
    monkeypatch.setattr(recipes, "TINY_OVS", small)


def test_captions_become_masks_become_a_method(run: Run, labelled: Path, small_preset: Path, home: Path) -> None:
    words = ("--preset", small_preset, "--device", "cpu")
    made = run("pseudo-masks", labelled, "--out", "masks", "--least-captions", 1, "--threshold", 0, *words, "--json")
    counts = made.json
    assert counts["masks"] > 0 == counts["unreadable"]
    assert len(json.loads((home / "masks" / "annotations.json").read_text())["annotations"]) == counts["masks"]
    told = run("pseudo-masks", labelled, "--out", "again", "--least-captions", 1, "--threshold", 0, *words).out
    assert f"{counts['masks']} masks of {counts['nouns']} nouns" in told
    out = shutil.copytree(small_preset, home / "mine")
    train = ("train", "masks", "--task", "ovs", "--out", out, "--steps", 2, "--device", "cpu")
    assert run(*train, "--json").json == {"preset": str(out), "finished": True}
    assert ovs_config(out).heads.width == 32, "it fits the preset's encoders"
    scores = run("evaluate", labelled, "--task", "text", "--method", "ovs-dino", "--preset", out, "--json").json
    assert scores["method"] == "ovs-dino"
    assert "ovs-dino" in run("models", "info", out).out
    assert "--weight and --augment are for dinov3seg" in run(*train, "--weight", "masks=2").sentence(2)
    sentence = run("train", "masks", "--task", "ovs", "--out", home / "none").sentence()
    assert "no preset with SAM" in sentence


def test_layers_are_measured_and_drawn(run: Run, labelled: Path, small_preset: Path, home: Path) -> None:
    words = ("analyse", "layers", labelled / "images", "--preset", small_preset, "--size", 64, "--device", "cpu")
    found = run(*words, "--out", "layers", "--limit", 2, "--json").json
    assert (found["images"], len(found["ratio"]), found["backbone_layers"]) == (2, 1, [1])
    assert found["sam_layers"] == ["quarter", "eighth", "sixteenth", "embedding"]
    assert all(-0.1 <= value <= 1 for value in found["cka"][0])
    assert json.loads((home / "layers" / "layers.json").read_text())["ratio"] == found["ratio"]
    assert [Path(chart).name for chart in found["charts"]] == ["components.png", "frequency.png", "cka.png"]
    assert all(Path(chart).stat().st_size > 100 for chart in found["charts"])
    assert "CKA with SAM" in run(*words, "--out", "layers", "--limit", 1).out
    assert "There is no folder" in run("analyse", "layers", "nowhere", "--out", "layers").sentence()
    (home / "empty").mkdir()
    assert "no image to analyse" in run("analyse", "layers", "empty", *words[3:], "--out", "layers").sentence()


@pytest.mark.slow
def test_ablation_prints_a_row_for_each_part(run: Run, labelled: Path, small_preset: Path, home: Path) -> None:
    words = ("ablate", labelled, "--paper", "ovs-dino", "--measure", labelled, "--out", home / "ablation")
    options = ("--base", small_preset, "--steps", 2, "--limit", 2, "--device", "cpu")
    rows = run(*words, *options, "--json").json
    wanted = [name for name in OVS_ROWS if name != "frozen DINO"]
    assert [row["name"] for row in rows] == wanted, "this DINO is frozen anyway"
    assert all(0 <= row["boundary_iou"][labelled.name] <= 1 for row in rows)
    table = run(*words, *options).out.splitlines()
    assert [line.split("|")[1].strip() for line in table[2:]] == wanted, "what is trained is measured again"
    assert " / " in table[2]
    variants = {
        folder.name: sections(folder)["ovs-dino"]
        for folder in (home / "ablation").iterdir()
        if (folder / "config.json").exists()
    }
    assert variants["without-preservation-gate"]["heads"]["gate"] is False
    assert {name for name, own in variants.items() if own["middle"] == "sam"} == {"without-encoder", "SAM-at-test"}
    assert variants["SAM-at-test"]["sha256"] == variants["OVS-DINO"]["sha256"], "the same weights"
