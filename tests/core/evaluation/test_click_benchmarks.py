"""Click benchmarks: files, clicks, and the choice among candidates, each found again by a plain search."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from maskwright.domain import Image, Mask, ModelRef
from maskwright.errors import MaskwrightError
from maskwright.evaluation.benchmarks import BenchmarkRun, evaluate_benchmark
from maskwright.evaluation.click_benchmarks import click_on, summary
from maskwright.formats.benchmarks.clicks import CLICKS, click_files, read_object
from maskwright.formats.benchmarks.episodes import MaskedImage
from tests.core.formats.benchmarks.fakes import SIZE, photograph


class Clicked:
    """Answers a click with what it was told: the worse candidate is predicted to be better."""

    model = ModelRef("known", "0" * 64)

    def __init__(self, *answers: list[np.ndarray[Any, Any]]) -> None:
        self.answers = iter(answers)
        self.points: list[list[tuple[float, float]]] = []
        self.labels: list[list[int]] = []

    def segment_click(self, image: Image, points: Any, labels: Any, start: Mask | None) -> Any:
        self.points.append(list(points))
        self.labels.append(list(labels))
        masks = [Mask.from_array(mask) for mask in next(self.answers)]
        return type("Answer", (), {"masks": lambda self: masks})()


def _box(left: int, top: int, right: int, bottom: int) -> np.ndarray[Any, Any]:
    mask = np.zeros(SIZE, bool)
    mask[top:bottom, left:right] = True
    return mask


def _deepest(region: np.ndarray[Any, Any]) -> float:
    """Distance of the deepest pixel to the next one outside, the border included, by trying all."""
    outside = np.argwhere(~np.pad(region, 1)) - 1
    return max(np.hypot(*(outside - pixel).T).min() for pixel in np.argwhere(region))


@pytest.mark.parametrize("name", CLICKS)
def test_objects_of_each_layout(name: str, tmp_path: Path) -> None:
    images, masks, home = CLICKS[name]
    for number in range(3):
        photograph(tmp_path / home / images / f"a{number}.png", number)
        values = np.where(_box(5, 5, 20, 20), 255, 0).astype(np.uint8)
        values[0] = 128
        if name == "davis":
            values = np.stack([values, values * 0, values * 0], axis=-1)
        (tmp_path / home / masks).mkdir(exist_ok=True)
        Pillow.fromarray(values).save(tmp_path / home / masks / f"a{number}.png")
    files = click_files(tmp_path, name)
    assert [image.name for image, _ in files] == ["a0.png", "a1.png", "a2.png"]
    shown = read_object(*files[0], name)
    assert shown.ignored is not None
    # DAVIS has no unsure pixels: any color is an object
    assert np.array_equal(shown.mask, _box(5, 5, 20, 20) | (_box(0, 0, 40, 1) if name == "davis" else False))
    assert np.array_equal(shown.ignored, _box(0, 0, 40, 1) & (name != "davis"))
    with pytest.raises(MaskwrightError, match="does not hold"):
        click_files(tmp_path / home / masks, name)


def test_each_click_falls_into_the_deepest_error_and_the_oracle_keeps_the_best() -> None:
    true, first = _box(5, 5, 25, 25), _box(5, 5, 25, 12) | _box(30, 2, 36, 28)
    better = _box(5, 5, 25, 22)
    unsure = _box(0, 29, 40, 30)
    shown = MaskedImage(Image(np.zeros((*SIZE, 3), np.uint8)), true, unsure)
    for oracle, chosen in ((False, first), (True, better)):
        engine = Clicked([first, better], [true | unsure])
        ious = click_on(engine, shown, oracle=oracle)  # type: ignore[arg-type]
        assert ious == [pytest.approx((chosen & true).sum() / (chosen | true).sum()), 1.0]
        # the first click in the middle, the next where the chosen mask is wrong
        (x, y), (u, v) = engine.points[-1]
        assert engine.labels[-1] == [1, 1]
        for (a, b), region in (((x, y), true), ((u, v), true & ~chosen)):
            row, column = int(b), int(a)
            outside = np.argwhere(~np.pad(region, 1)) - 1
            assert np.hypot(*(outside - (row, column)).T).min() == pytest.approx(_deepest(region))


def test_clicks_end_after_twenty_and_never_repeat() -> None:
    engine = Clicked(*[[_box(0, 0, 1, 1)]] * 20)
    shown = MaskedImage(Image(np.zeros((*SIZE, 3), np.uint8)), _box(5, 5, 25, 25))
    ious = click_on(engine, shown, oracle=False)  # type: ignore[arg-type]
    assert len(ious) == len(set(engine.points[-1])) == 20


def test_means_over_objects() -> None:
    scores = summary([[0.5, 0.86, 0.7, 0.91, 0.92], [0.9], [0.1] * 20])
    assert scores == {
        "iou_1click": pytest.approx(0.5), "iou_3click": pytest.approx((0.7 + 0.9 + 0.1) / 3),
        "iou_5click": pytest.approx((0.92 + 0.9 + 0.1) / 3), "noc85": pytest.approx((2 + 1 + 20) / 3),
        "noc90": pytest.approx((4 + 1 + 20) / 3),
    }  # fmt: skip


def test_a_folder_is_measured(tmp_path: Path) -> None:
    photograph(tmp_path / "img" / "a.png", 0)
    (tmp_path / "gt").mkdir()
    Pillow.fromarray(np.where(_box(5, 5, 20, 20), 255, 0).astype(np.uint8)).save(tmp_path / "gt" / "a.png")
    engine = Clicked([_box(5, 5, 20, 20)], [_box(5, 5, 20, 20)])
    scores = evaluate_benchmark(engine, BenchmarkRun(benchmark="davis", folder=tmp_path))  # type: ignore[arg-type]
    assert scores.to_dict()["predicted"] == scores.to_dict()["oracle"]
    assert scores.to_dict()["oracle"]["noc90"] == 1
