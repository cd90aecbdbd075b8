"""The napari manifest and its sample data."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from importlib.resources import files
from pathlib import Path

import pytest
import yaml

from maskwright.errors import MaskwrightError
from napari_maskwright import launch


def test_manifest_is_valid_and_its_samples_load() -> None:
    manifest = files("napari_maskwright") / "napari.yaml"
    done = subprocess.run([sys.executable, "-m", "npe2", "validate", str(manifest)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    contents = yaml.safe_load(manifest.read_text(encoding="utf-8"))
    assert contents["name"] == "maskwright"
    samples = {sample["command"] for sample in contents["contributions"]["sample_data"]}
    assert len(samples) == 2
    for command in contents["contributions"]["commands"]:
        assert command["id"].startswith("maskwright.")
        module, function = command["python_name"].split(":")
        if command["id"] not in samples:
            assert callable(getattr(import_module(module), function))
            continue
        ((pixels, options, kind),) = getattr(import_module(module), function)()
        assert pixels.ndim == 3
        assert options["name"]
        assert kind == "image"


def test_importing_the_plugin_does_not_import_torch() -> None:
    code = "import napari_maskwright, sys; assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_without_a_display_napari_is_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    with pytest.raises(MaskwrightError):
        launch(project=str(tmp_path / "p"))
    assert not (tmp_path / "p").exists()
