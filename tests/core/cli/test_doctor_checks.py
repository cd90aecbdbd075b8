"""What `maskwright doctor` says of a sound machine and of what is broken."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from maskwright.cli.doctor_checks import Check, diagnose
from maskwright.presets.official import OFFICIAL
from maskwright.project import Project


@pytest.fixture(autouse=True)
def presets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of its own: no settings file, no project, no presets but the bundled ones."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("MASKWRIGHT_PRESETS", str(tmp_path / "presets"))
    monkeypatch.setenv("MASKWRIGHT_PROJECT", str(tmp_path / "project"))
    return tmp_path / "presets"


def _lines(project: Path | None = None) -> dict[str, Check]:
    return {line.subject: line for line in diagnose(project)}


def test_sound_machine(tmp_path: Path) -> None:
    lines = _lines()
    assert all(line.ok for line in lines.values() if line.needed)
    assert {"maskwright", "python", "disk", "torch", "devices", "gradio", "napari", "model tiny", "project"} <= set(
        lines
    )
    assert lines["devices"].found.endswith("cpu")
    assert lines["project"].found == f"none yet in {tmp_path / 'project'}"
    for name, official in OFFICIAL.items():
        way = f"maskwright models {'fetch' if official.fetchable else 'info'} {name} (licence: {official.page})"
        assert lines[f"model {name}"] == Check(f"model {name}", ok=False, found="missing", mend=way, needed=False)
    assert all(line.mend for line in lines.values() if not line.ok), "what is missing has its mend"


def test_damaged_presets_are_named(presets: Path, small_preset: Path) -> None:
    shutil.copytree(small_preset, presets / "sound")
    for name in ("cut", "gone", "odd"):
        shutil.copytree(small_preset, presets / name)
    with (presets / "cut" / "dinotxt.safetensors").open("r+b") as file:
        file.truncate(1000)
    (presets / "gone" / "dinotxt.safetensors").unlink()
    (presets / "odd" / "config.json").write_text("{")
    (presets / "no preset").mkdir()
    lines = _lines()
    assert lines["model sound"].ok
    for name in ("cut", "gone", "odd"):
        line = lines[f"model {name}"]
        assert not line.ok
        assert not line.needed
        assert "install the preset again" in line.mend
    assert "model no preset" not in lines


def test_project(tmp_path: Path) -> None:
    Project.open(tmp_path / "project", create=True).close()
    assert _lines()["project"].found == f"{tmp_path / 'project'}: 0 images, 0 masks"
    missing = _lines(tmp_path / "nowhere")["project"]
    assert (missing.ok, missing.needed) == (False, True)
    assert "There is no project" in missing.found
    (tmp_path / "project" / "project.db").write_bytes(b"no database at all" * 100)
    damaged = _lines()["project"]
    assert (damaged.ok, damaged.needed) == (False, False)
    assert "damaged" in damaged.found
