"""Recipes: what a training job is made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from maskwright.models import devices
from maskwright.presets.loading import bundled
from maskwright.training import recipes
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
