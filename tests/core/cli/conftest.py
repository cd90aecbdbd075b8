"""The command line as users and scripts call it, in this process or in another."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image as Pillow

from maskwright import cli

PROGRAM = Path(sys.executable).with_name("maskwright")
ANSWER = {"label_map", "overlay", "categories", "unfamiliar", "masks"}
"""Keys that contracts.md promises."""


class Done(NamedTuple):
    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    def sentence(self, status: int = 1) -> str:
        """The one line of a failure; nothing else was said, and nothing on stdout."""
        assert self.status == status, self
        assert self.out == ""
        (*before, line) = self.err.splitlines()
        assert all(other.startswith("Running ") for other in before), self.err
        assert line.startswith("maskwright: ")
        assert line.rstrip().endswith((".", ".)"))
        assert "Traceback" not in self.err
        assert not re.search(r"\b[A-Z]\w+Error\b|Unexpected failure", line)
        return line.removeprefix("maskwright: ")


Run = Callable[..., Done]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of its own: no settings, no project, no presets but the bundled ones; work is done in a folder."""
    for name in ("MAX_MEGAPIXELS", "CACHE_MB"):
        monkeypatch.delenv(f"MASKWRIGHT_{name}", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("MASKWRIGHT_PRESETS", str(tmp_path / "presets"))
    monkeypatch.setenv("MASKWRIGHT_CACHE", str(tmp_path / "computed"))
    monkeypatch.setenv("MASKWRIGHT_PROJECT", str(tmp_path / "default project"))
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """The program in this process, through its real entry."""

    def call(*words: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["maskwright", *map(str, words)])
        capsys.readouterr()
        try:
            cli.main()
            status: Any = 0
        except SystemExit as stop:
            status = stop.code or 0
        return Done(status, *capsys.readouterr())

    return call


def process(*words: object, **options: Any) -> Done:
    """The installed program, in a process of its own."""
    done = subprocess.run([PROGRAM, *map(str, words)], capture_output=True, text=True, timeout=120, **options)
    return Done(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def image_file(home: Path, rng: np.random.Generator) -> Path:
    """60 x 40 pixels: noise over three stripes."""
    pixels = rng.integers(0, 90, (40, 60, 3), dtype=np.uint8)
    for stripe in range(3):
        pixels[:, 20 * stripe : 20 * stripe + 20, stripe] += 150
    file = home / "photos" / "street.png"
    file.parent.mkdir()
    Pillow.fromarray(pixels).save(file)
    return file


@pytest.fixture
def segment(run: Run, small_preset: Path) -> Run:
    return lambda *words: run("segment", "--preset", small_preset, "--device", "cpu", *words)


def bad_image_files(folder: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Pillow.fromarray(noise).save(folder / "whole.jpg")
    (folder / "cut.jpg").write_bytes((folder / "whole.jpg").read_bytes()[:3000])
    (folder / "text.jpg").write_text("Dear Sir or Madam")
    (folder / "empty.png").touch()
    (folder / "cow.heic").write_bytes(b"\0\0\0\x18ftypheic")
    Pillow.fromarray(noise).save(folder / "moving.gif")
    (folder / "folder.png").mkdir()


@pytest.fixture
def labelled(home: Path, image_file: Path) -> Path:
    folder = home / "data"
    (folder / "images").mkdir(parents=True)
    rows, annotations = [], []
    for number in range(1, 9):
        shutil.copy(image_file, folder / "images" / f"n{number}.png")
        rows.append({"id": number, "file_name": f"n{number}.png", "width": 60, "height": 40})
        box = [0, 0, 20, 0, 20, 40, 0, 40]
        annotations.append({"id": number, "image_id": number, "category_id": 5, "iscrowd": 0, "segmentation": [box]})
    categories = [{"id": 5, "name": "cow"}, {"id": 2, "name": "Straße"}]
    data = {"images": rows, "annotations": annotations, "categories": categories}
    (folder / "annotations.json").write_text(json.dumps(data), encoding="utf-8")
    return folder
