"""The napari manifest and its sample data."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from importlib.resources import files

import yaml


def test_manifest_is_valid_and_its_samples_load() -> None:
    manifest = files("napari_maskwright") / "napari.yaml"
    done = subprocess.run([sys.executable, "-m", "npe2", "validate", str(manifest)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    told = yaml.safe_load(manifest.read_text(encoding="utf-8"))
    assert told["name"] == "maskwright"
    for command in told["contributions"]["commands"]:
        assert command["id"].startswith("maskwright.")
        module, function = command["python_name"].split(":")
        ((pixels, options, kind),) = getattr(import_module(module), function)()
        assert pixels.ndim == 3
        assert options["name"]
        assert kind == "image"


def test_importing_the_plugin_does_not_import_torch() -> None:
    code = "import napari_maskwright, sys; assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
