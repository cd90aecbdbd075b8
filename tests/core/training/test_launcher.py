"""`python -m maskwright.training`, alone and started twice by torchrun."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from maskwright.formats.labelled_folder import held_out
from maskwright.presets.config_io import sections
from maskwright.presets.weights import read_weights
from maskwright.training.__main__ import main
from tests.core.training.conftest import labelled_folder  # noqa: F401 - a fixture


def _losses(printed: str) -> list[float]:
    return [float(loss) for loss in re.findall(r"loss ([0-9.]+)", printed)]


def _run(*command: str | Path) -> list[float]:
    done = subprocess.run(
        [sys.executable, *map(str, command)], capture_output=True, text=True, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return _losses(done.stdout)


@pytest.mark.slow
def test_two_processes_give_the_model_of_one(
    labelled_folder: Path,  # noqa: F811 - the fixture
    segmenting_preset: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "few"
    (folder / "images").mkdir(parents=True)
    content = json.loads((labelled_folder / "annotations.json").read_text())
    content["images"] = [row for row in content["images"] if not held_out(row["file_name"])][:2]
    for row in content["images"]:
        (folder / "images" / row["file_name"]).symlink_to(labelled_folder / "images" / row["file_name"])
    (folder / "annotations.json").write_text(json.dumps(content))
    words: list[str | Path] = [folder, "--base", segmenting_preset, "--epochs", "8", "--device", "cpu", "--out"]
    main([folder], tmp_path / "one", str(segmenting_preset), epochs=8, device="cpu", log_dir=tmp_path / "logs")
    alone = _losses(capsys.readouterr().out)
    assert [file.name for file in (tmp_path / "logs").iterdir()] != []
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
    both = _run(*launch, "maskwright.training", *words, tmp_path / "two")
    assert len(alone) == 1
    assert both == pytest.approx(alone, rel=1e-3)
    first, second = (
        read_weights(tmp_path / name / (entry := sections(tmp_path / name)["dinov3seg"])["weights"], entry["sha256"])
        for name in ("one", "two")
    )
    base = sections(segmenting_preset)["dinov3seg"]
    before = read_weights(segmenting_preset / base["weights"], base["sha256"])
    changed = [name for name in first if not torch.equal(first[name], before[name])]
    assert any(name.startswith("aggregator.") for name in changed)
    for name in changed:
        torch.testing.assert_close(second[name].float(), first[name].float(), rtol=1e-2, atol=1e-3)
