"""Recipes: what a training job is made of."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from maskwright.errors import MaskwrightError
from maskwright.models import devices
from maskwright.presets.config_io import sections
from maskwright.presets.folders import bundled
from maskwright.presets.weights import write_part
from maskwright.training import recipes
from maskwright.training.config import TINY_SEG_STAGES, ClickConfig, TrainConfig
from maskwright.training.recipes import TrainingJob


@pytest.mark.parametrize(
    ("recipe", "trainer"),
    [
        (recipes.train_text, "text.train"),
        (recipes.train_clicks, "clicks.train"),
        (recipes.train_dinov3seg, "dinov3seg.train"),
    ],
)
@pytest.mark.parametrize(("named", "used"), [("cuda:1", "cuda:1"), ("auto", "cuda:0"), ("cpu", "cpu")])
def test_the_named_device_is_trained_on(
    recipe: Callable[[TrainingJob], bool], trainer: str, named: str, used: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def record(*arguments: Any) -> bool:
        seen.append(arguments[-1].device)
        return True

    seen: list[str] = []
    monkeypatch.setattr(devices, "devices", lambda: ["cuda:0", "cuda:1", "cpu"])
    monkeypatch.setattr(f"maskwright.training.{trainer}", record)
    monkeypatch.setattr(TrainingJob, "labelled", lambda self, **options: ([], None))
    monkeypatch.setattr(TrainingJob, "objects", lambda self: [])
    assert recipe(TrainingJob(folders=[], out=bundled() / "tiny", device=named))
    assert seen == [used]


def test_records_of_the_bundled_preset_are_the_default_settings() -> None:
    settings = {"training": TrainConfig(), "clicks": ClickConfig(), "dinov3seg": TINY_SEG_STAGES}
    for name, config in settings.items():
        stored = json.loads((bundled() / "tiny" / f"{name}.json").read_text(encoding="utf-8"))
        assert stored == json.loads(json.dumps(config.record()))


@pytest.mark.parametrize("recipe", [recipes.train_text, recipes.train_clicks, recipes.train_dinov3seg])
@pytest.mark.parametrize("published", ["dinotxt", "sam"])
def test_published_weights_are_refused(
    recipe: Callable[[TrainingJob], bool],
    published: str,
    segmenting_preset: Path,
    labelled_folder: Path,
    tmp_path: Path,
) -> None:
    out = Path(shutil.copytree(segmenting_preset, tmp_path / "preset"))
    parts = sections(out)
    if published == "dinotxt":
        del parts["dinotxt"]["familiar"]
    else:
        parts["sam"]["model"] |= {"backbone": None}
    write_part(out, published, parts[published])
    before = {file.name: file.read_bytes() for file in out.iterdir()}
    with pytest.raises(MaskwrightError) as caught:
        recipe(TrainingJob(folders=[labelled_folder], out=out, steps=1))
    assert "published" in str(caught.value)
    assert {file.name: file.read_bytes() for file in out.iterdir()} == before
