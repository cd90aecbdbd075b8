"""`maskwright evaluate` by text prompts."""

from __future__ import annotations

from pathlib import Path

from tests.core.cli.conftest import Run


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
