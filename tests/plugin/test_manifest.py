"""The napari manifest and its sample data."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import import_module
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import yaml

from maskwright.errors import MaskwrightError, Unreachable
from maskwright.project import Project
from napari_maskwright import _files, _samples, launch

MANIFEST = files("napari_maskwright") / "napari.yaml"


def test_the_manifest_is_valid_by_file_and_by_name_and_all_that_it_names_is_there() -> None:
    from npe2 import PluginManifest

    for name in (str(MANIFEST), "maskwright"):
        assert PluginManifest._from_package_or_name(name).name == "maskwright"
    contents = yaml.safe_load(MANIFEST.read_text(encoding="utf-8"))
    assert (files("napari_maskwright") / contents["icon"].partition(":")[2]).is_file()
    contributions = contents["contributions"]
    commands = {}
    for command in contributions["commands"]:
        assert command["id"].startswith("maskwright.")
        module, function = command["python_name"].split(":")
        commands[command["id"]] = getattr(import_module(module), function)
        assert callable(commands[command["id"]])
    menus = [item["command"] for menu in contributions["menus"].values() for item in menu]
    kinds = ("widgets", "readers", "writers", "sample_data")
    used = [item["command"] for kind in kinds for item in contributions[kind]]
    assert set(menus + used) == set(commands), "each command is in a menu, or is a widget, a reader, a writer, a sample"
    assert "napari/layers/segment" in contributions["menus"]


def test_samples_are_a_picture_a_stack_and_channels() -> None:
    from napari.layers import Layer

    shapes = {}
    for command in yaml.safe_load(MANIFEST.read_text(encoding="utf-8"))["contributions"]["sample_data"]:
        ((pixels, options, kind),) = getattr(_samples, command["key"])()
        layer = Layer.create(pixels, options, kind)
        assert layer.name
        shapes[command["key"]] = (layer.ndim, layer.rgb, str(pixels.dtype))
    assert shapes == {
        "cat": (2, True, "uint8"), "nuclei": (2, True, "uint8"), "stack": (3, False, "uint16"),
        "channels": (3, False, "uint8"),
    }  # fmt: skip


def test_projects_and_coco_files_are_read_and_written_as_layers(two_class_project: Path, tmp_path: Path) -> None:
    with Project.open(two_class_project) as project:
        coco = project.export_coco(two_class_project / "coco.json")
        masks = {row.id: row for record in project.images.all() for row in project.annotations(record.id)}
    opened = {}
    for reader, path in ((_files.read_project, two_class_project), (_files.read_coco, coco)):
        layers = reader(str(path))(str(path))  # type: ignore[misc]
        opened[str(path)] = layers
        kinds = [kind for _, _, kind in layers]
        assert kinds.count("labels") == kinds.count("image") == len({row.image_id for row in masks.values()})
        classes = [name for _, options, kind in layers if kind == "labels" for name in options["features"]["class"]]
        assert sorted(classes) == sorted(row.category for row in masks.values())
    assert _files.read_project(str(coco)) is None
    assert _files.read_coco(str(two_class_project)) is None
    assert _files.read_project(str(tmp_path)) is None
    layers = opened[str(coco)][:2]
    written = _files.write_coco(str(tmp_path / "written.json"), layers)
    assert written == [str(tmp_path / "written.json")]
    rows = json.loads((tmp_path / "written.json").read_text(encoding="utf-8"))["annotations"]
    assert len(rows) == len(layers[1][1]["features"]["index"])
    assert {row["area"] for row in rows} == set(layers[1][1]["features"]["area"])
    # labels alone, of a stack, into a project: a mask for each label of each plane
    labels = np.zeros((2, 6, 8), np.uint8)
    labels[0, 1:3, 1:4], labels[0, 4:, 5:], labels[1, :2, :2] = 1, 7, 7
    (file,) = _files.write_project(str(tmp_path / "new.db"), [(labels, {"name": "cells"}, "labels")])
    assert file == str(tmp_path / "new" / "project.db")
    with Project.open(tmp_path / "new") as project:
        assert sorted(row.mask.area for row in project.annotations()) == [4, 6, 6]
        assert {row.category for row in project.annotations()} == {"object"}
        assert len(project.images.all()) == 2
    with pytest.raises(MaskwrightError):
        _files.write_coco(str(tmp_path / "none.json"), [(labels * 0, {}, "labels")])


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


def test_a_server_that_does_not_answer_is_one_sentence_before_any_window(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")
    monkeypatch.setattr("napari.Viewer", lambda **_: pytest.fail("a window opened"))
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1:9 does not answer"):
        launch(project=str(tmp_path / "p"), engine="127.0.0.1:9")
