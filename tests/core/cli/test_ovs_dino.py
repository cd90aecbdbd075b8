"""The commands that know OVS-DINO: masks of captions, training on them, and the method."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

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
    assert "--weight is for dinov3seg" in run(*train, "--weight", "masks=2").sentence(2)
    sentence = run("train", "masks", "--task", "ovs", "--out", home / "none").sentence()
    assert "no preset with SAM" in sentence
