"""`maskwright evaluate` by text prompts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image as Pillow

from tests.core.cli.conftest import Run
from tests.core.formats.benchmarks.fakes import SIZE, WRITERS, label_maps, photograph


def test_evaluate(run: Run, labelled: Path, small_preset: Path) -> None:
    words = ("evaluate", labelled, "--task", "text", "--preset", small_preset, "--device", "cpu")
    answer = run(*words, "--json").json
    assert set(answer) >= {"task", "method", "preset", "images", "classes", "miou", "pixel_accuracy", "per_class"}
    assert (answer["task"], answer["method"], answer["preset"]) == ("text", "dinotxt", "small")
    assert (answer["images"], answer["classes"]) == (8, 1)
    assert list(answer["per_class"]) == ["cow", "Straße"]
    assert answer["per_class"]["Straße"] is None
    assert answer["miou"] == answer["per_class"]["cow"]
    assert run(*words, "--json", "--limit", 3, "--seed", 4, "--unlabelled", "background").json["images"] == 3
    told = run(*words, "--limit", 1).out.splitlines()
    assert told[0] == f"mIoU {answer['miou']:.3f} over 1 classes, pixel accuracy {answer['miou']:.3f}, 1 images"
    assert told[-1] == "-  Straße"
    held = run(*words, "--held-out", "--json")
    assert held.status == 1 or held.json["images"] < 8


def test_objects_are_scored_as_well(run: Run, labelled: Path, small_preset: Path) -> None:
    words = ("evaluate", labelled, "--preset", small_preset, "--device", "cpu", "--limit", 2)
    answer = run(*words, "--task", "text", "--instances", "--json").json
    assert set(answer) >= {"miou", "per_class", "instances"}
    assert set(answer["instances"]) == {"objects", "f1", "mean_iou", "pq", "per_class"}
    assert answer["instances"]["objects"] > 0
    assert set(answer["instances"]["per_class"]["cow"]) == {"f1", "mean_iou", "pq"}
    assert "PQ" in run(*words, "--task", "text", "--instances").out
    edges = run(*words, "--task", "text", "--boundary", "--json").json
    assert 0 <= edges["boundary_iou"] <= 1
    assert f"boundary IoU {edges['boundary_iou']:.3f}" in run(*words, "--task", "text", "--boundary").out
    assert "instances" not in run(*words, "--task", "text", "--json").json
    assert run(*words, "--task", "click", "--instances").status == 2


def test_evaluate_that_cannot_be(run: Run, home: Path, labelled: Path, small_preset: Path) -> None:
    words = ("--task", "text", "--preset", small_preset, "--device", "cpu")
    assert "is not a labelled folder" in run("evaluate", home, *words).sentence()
    assert "no text method magic" in run("evaluate", labelled, *words, "--method", "magic").sentence(2)
    (labelled / "annotations.json").write_text("{}")
    assert "not a COCO dataset: images is missing" in run("evaluate", labelled, *words).sentence()


def test_a_published_row_is_one_command(run: Run, tmp_path: Path) -> None:
    """VOC 2012 in its own layout with the bundled preset, as Talk2DINO's paper measures."""
    WRITERS["voc21"](tmp_path, label_maps(20, background=True))
    words = ("evaluate", tmp_path, "--benchmark", "voc21", "--device", "cpu")
    answer = run(*words, "--protocol", "talk2dino", "--json").json
    assert (answer["benchmark"], answer["protocol"], answer["method"]) == ("voc21", "talk2dino", "talk2dino")
    assert (answer["images"], answer["cleaning"], len(answer["per_class"])) == (3, True, 20)
    known = [value for value in answer["per_class"].values() if value is not None]
    assert answer["miou"] == np.mean([*known, answer["background"]])
    assert answer["classes"] == len(known) + 1


def test_a_published_few_shot_row_is_one_command(run: Run, tmp_path: Path, small_preset: Path) -> None:
    root = tmp_path / "LungSegmentation"
    (root / "masks").mkdir(parents=True)
    for number in range(3):
        photograph(root / "CXR_png" / f"MCUCXR_000{number}_0.png", number)
        mask = np.zeros(SIZE, np.uint8)
        mask[5:20, 10 * number : 10 * number + 15] = 255
        Pillow.fromarray(mask).save(root / "masks" / f"MCUCXR_000{number}_0.png")
    words = ("evaluate", tmp_path, "--benchmark", "lung", "--preset", small_preset, "--device", "cpu", "--limit", 4)
    answer = run(*words, "--shots", 2, "--json").json
    assert (answer["episodes"], answer["shots"], answer["fold"], answer["classes"]) == (4, 2, 0, 1)
    assert run(*words).out.splitlines()[0].startswith("lung: mIoU ")
    assert "folds 0 to 0" in run(*words, "--fold", 1).sentence(2)


def test_benchmarks_that_cannot_be(run: Run, tmp_path: Path, small_preset: Path) -> None:
    words = ("evaluate", tmp_path, "--preset", small_preset, "--device", "cpu")
    assert "no benchmark voc99. Choose one of: voc20" in run(*words, "--benchmark", "voc99").sentence(2)
    assert "does not hold PASCAL VOC 2012" in run(*words, "--benchmark", "voc20").sentence()
    assert "no protocol x" in run(*words, "--benchmark", "voc20", "--protocol", "x").sentence(2)
    assert "--benchmark says what is measured" in run(*words, "--benchmark", "voc20", "--task", "text").sentence(2)
    assert "go with few-shot benchmarks" in run(*words, "--benchmark", "voc20", "--shots", 5).sentence(2)
    assert "go with benchmarks of label maps" in run(*words, "--benchmark", "lung", "--method", "dinotxt").sentence(2)
    assert "--task text, example, click, classify or retrieve, or --benchmark" in run(*words).sentence(2)
    assert "go with --benchmark" in run(*words, "--task", "text", "--protocol", "talk2dino").sentence(2)
