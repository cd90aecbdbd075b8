"""The commands for clicks: masks of one image_file, the measure, the benchmark, the training."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from maskwright.domain import rle
from tests.core.cli.conftest import ANSWER, Run


@pytest.fixture
def click(run: Run, small_preset: Path, image_file: Path) -> Run:
    return lambda *words: run("click", image_file, *words, "--preset", small_preset, "--device", "cpu")


def test_masks_of_a_point_the_best_first(click: Run, home: Path) -> None:
    answer = click("--point", "10,20", "--category", "Straße", "--out", "out", "--json").json
    assert set(answer) >= ANSWER
    assert answer["categories"] == ["Straße"]
    assert 1 <= len(answer["masks"]) <= 3
    labels = np.asarray(Pillow.open(answer["label_map"]))
    assert np.array_equal(rle.decode(answer["masks"][0]["segmentation"]), labels == 1)
    scores = [mask["score"] for mask in answer["masks"]]
    assert scores == sorted(scores, reverse=True)
    kept = json.loads((home / "out" / "street.masks.json").read_text())
    assert kept["provenance"]["prompt"]["points"] == [[10, 20, 1]]


def test_points_with_signs_and_a_box_together(click: Run) -> None:
    answer = click("--point", "10,20", "--point", "50,20,0", "--box", "2,2,20,38", "--json").json
    assert len(answer["masks"]) <= 1


@pytest.mark.slow
def test_everything(run: Run) -> None:
    from maskwright_app.samples import samples

    nuclei = next(sample.path for sample in samples() if "nucle" in sample.class_names)
    answer = run("click", nuclei, "--everything", "--category", "cell", "--device", "cpu", "--json").json
    assert answer["categories"] == ["cell"]
    assert len(answer["masks"]) > 3
    overlay = np.asarray(Pillow.open(answer["overlay"]).convert("RGB"), int)
    assert (np.asarray(Pillow.open(answer["label_map"])) == 1).any()
    assert overlay.shape == (*answer["masks"][0]["segmentation"]["size"], 3)


def test_mistakes(click: Run) -> None:
    assert "outside the image" in click("--point", "61,5").sentence(2)
    assert "empty or outside" in click("--box", "5,5,5,9").sentence(2)
    assert "--point" in click().sentence(2)
    for words in (("--point", "a,b"), ("--point", "1"), ("--point", "1,2,3"), ("--box", "1,2,3")):
        done = click(*words)
        assert done.status == 2
        assert "should be like" in done.err or "not made of numbers" in done.err


def test_evaluate_by_click(run: Run, labelled: Path, small_preset: Path) -> None:
    words = ("evaluate", labelled, "--task", "click", "--preset", small_preset, "--device", "cpu", "--limit", 2)
    answer = run(*words, "--json").json
    assert set(answer) >= {"task", "method", "preset", "images", "classes", "miou", "pixel_accuracy", "per_class"}
    assert set(answer) >= {"iou_1click", "iou_5click", "noc85"}
    assert (answer["task"], answer["method"]) == ("click", "sam")
    assert "after five" in run(*words).out


def test_bench_of_clicks(run: Run) -> None:
    answer = run("bench", "--task", "click", "--rounds", 3, "--json").json
    assert (answer["longest"], answer["rounds"], answer["encoder_calls"]) == (1024, 3, 1)
    assert 0 < answer["further"] <= answer["slowest"]
    assert "1 encoder call" in run("bench", "--task", "click", "--rounds", 1).out
