"""Ablations on imported parts of dinov3.seg, which are trained with the paper's settings."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from maskwright.presets.loading import dinov3seg_settings
from maskwright.project.ablation import ablate
from maskwright.project.dinov3seg_rows import TABLES
from maskwright.training.recipes import TrainingJob
from tests.core.training.conftest import labelled_folder

__all__ = ["labelled_folder"]


@pytest.mark.slow
def test_rows_on_imported_parts(segmenting_preset: Path, labelled_folder: Path, tmp_path: Path) -> None:
    """Without early refinement AnyUp's weights are left out; a finished training is not repeated."""
    base = shutil.copytree(segmenting_preset, tmp_path / "base")
    told = json.loads((base / "config.json").read_text())
    told["dinov3seg"]["trained"] = False
    (base / "config.json").write_text(json.dumps(told))
    job = TrainingJob(folders=[labelled_folder], out=tmp_path / "out", steps=1)
    rows = [row for row in TABLES["3"] if row.name in ("I", "IV", "V")]
    results = ablate(base, job, [labelled_folder], limit=1, rows=rows)
    assert [row.name for row in results] == ["I", "IV", "V"]
    assert {folder.name for folder in (tmp_path / "out").iterdir()} == {"I", "dinov3.seg", "IV", "V"}
    first, last = (dinov3seg_settings(tmp_path / "out" / name) for name in ("I", "V"))
    assert (first.trained, first.model.anyup, first.protocol.aggregation) == (True, None, "catseg")
    assert (last.model.anyup is not None, last.protocol.aggregation) == (True, "lga")
    record = json.loads((tmp_path / "out" / "I" / "dinov3seg.json").read_text())
    assert (record["loss"], record["augment"], record["betas"]) == ("bce", "catseg", [0.9, 0.999])
    assert not dinov3seg_settings(base).trained, "the base stays as it was"
    before = (tmp_path / "out" / "I" / "dinov3seg.safetensors").stat().st_mtime_ns
    again = ablate(base, job, [labelled_folder], limit=1, rows=rows[:1])
    assert again == results[:1]
    assert (tmp_path / "out" / "I" / "dinov3seg.safetensors").stat().st_mtime_ns == before
