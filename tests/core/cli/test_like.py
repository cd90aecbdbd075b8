"""The commands for masks by example: pictures, a project, the measure and the benchmark."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from maskwright.domain import rle
from tests.core.cli.conftest import ANSWER, Run, process


@pytest.fixture
def mask(image_file: Path) -> Path:
    """A mask of the image's left third."""
    shown = np.zeros((40, 60), bool)
    shown[:, :20] = True
    file = image_file.with_name("mask of street.png")
    Pillow.fromarray(shown).save(file)
    return file


@pytest.fixture
def like(run: Run, small_preset: Path, image_file: Path, mask: Path) -> Run:
    words = ["--preset", small_preset, "--device", "cpu", "--reference", image_file, mask]
    return lambda *more: run("like", *more, *words)


def test_one_picture(like: Run, image_file: Path, home: Path) -> None:
    answer = like(image_file, "--category", "Straße", "--out", home / "out", "--json").json
    assert set(answer) >= ANSWER
    assert answer["categories"] == ["Straße"]
    labels = np.asarray(Pillow.open(answer["label_map"]))
    for found in answer["masks"]:
        assert np.array_equal(rle.decode(found["segmentation"]), labels == 1)
        assert found["area"] == (labels == 1).sum()
    kept = json.loads((home / "out" / "street.masks.json").read_text())
    assert kept["provenance"]["source"] == "reference"


def test_folders_keep_their_shape_and_a_second_run_does_nothing(like: Run, image_file: Path, home: Path) -> None:
    for name in ("a/one.png", "a/b/one.png", "a/b/broken.png"):
        file = home / "many" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"no image" if "broken" in name else image_file.read_bytes())
    done = like(home / "many", "--out", "out")
    assert done.status == 1
    assert "broken.png: the file is damaged" in done.err
    assert len(done.out.splitlines()) == 2
    written = sorted(file.relative_to(home / "out").as_posix() for file in (home / "out").rglob("*.json"))
    assert written == ["a/b/one.masks.json", "a/one.masks.json"]
    (home / "many" / "a" / "b" / "broken.png").unlink()
    overlay = home / "out" / "a" / "one.overlay.png"
    before = overlay.stat().st_mtime_ns
    again = like(home / "many", "--out", "out", "--json")
    assert again.status == 0
    assert [json.loads(line)["categories"] for line in again.out.splitlines()] == [["object"]] * 2
    assert overlay.stat().st_mtime_ns == before
    like(home / "many", "--out", "out", "--refine", "none")
    assert overlay.stat().st_mtime_ns > before, "another question is asked anew"
    before = overlay.stat().st_mtime_ns
    like(home / "many", "--out", "out", "--refine", "none", "--force")
    assert overlay.stat().st_mtime_ns > before


def test_scores_come_first_the_most_certain(like: Run, image_file: Path, home: Path) -> None:
    grey = home / "photos" / "grey.png"
    Pillow.new("RGB", (60, 40), (90, 90, 90)).save(grey)
    scores = [float(line.split()[0]) for line in like(grey, image_file, "--out", "out").out.splitlines()]
    assert scores == sorted(scores, reverse=True)


def test_mistakes(like: Run, run: Run, image_file: Path, mask: Path, home: Path) -> None:
    assert "nowhere.png" in like("nowhere.png").sentence()
    Pillow.fromarray(np.zeros((40, 60), np.uint8)).save(home / "black.png")
    Pillow.fromarray(np.zeros((4, 6), np.uint8)).save(home / "small.png")
    options = ["--device", "cpu", "--reference", image_file]
    assert "mask is empty" in run("like", image_file, *options, "black.png").sentence()
    assert "another size" in run("like", image_file, *options, "small.png").sentence()
    assert "no file nomask.png" in run("like", image_file, *options, "nomask.png").sentence()
    (home / "text.png").write_text("text")
    assert "not an image" in run("like", image_file, *options, "text.png").sentence()


@pytest.mark.slow
def test_a_project(run: Run, small_preset: Path, two_class_project: Path) -> None:
    from maskwright.project import Project

    with Project.open(two_class_project) as project:
        for one in project.annotations():
            if one.category == "air" and one.image_id > 2:
                project.reject(one)
    words = ["predict", two_class_project, "--like-category", "air", "--preset", small_preset, "--device", "cpu"]
    answer = run(*words, "--json").json
    assert (answer["images"], answer["problems"]) == (4, [])
    assert answer["proposed"] == sum(row["proposed"] for row in answer["results"])
    assert [row["score"] for row in answer["results"]] == sorted(
        (row["score"] for row in answer["results"]), reverse=True
    )
    assert run(*words).out.startswith("0 images, 0 masks proposed, 0 accepted")
    assert run(*words, "--force", "--accept-above", 0, "--json").json["accepted"] == answer["proposed"]
    told = run("predict", two_class_project, "--like-category", "cow", "--device", "cpu").sentence()
    assert "no category 'cow'" in told
    text = run(
        "predict", two_class_project, "--text", "cow", "--threshold", 0.01, "--preset", small_preset, "--json"
    ).json
    assert text["images"] == 6


def test_evaluate_by_example(run: Run, labelled: Path, small_preset: Path) -> None:
    words = ("evaluate", labelled, "--task", "example", "--preset", small_preset, "--device", "cpu")
    answer = run(*words, "--limit", 6, "--seed", 5, "--json").json
    assert set(answer) >= {"task", "method", "preset", "images", "classes", "miou", "pixel_accuracy", "per_class"}
    assert (answer["task"], answer["method"], answer["episodes"], answer["seed"]) == ("example", "insid3", 6, 5)
    assert answer["per_class"]["Straße"] is None
    assert answer["miou"] == pytest.approx(answer["per_class"]["cow"])
    told = run(*words, "--limit", 2, "--refine", "none").out
    assert told.startswith("mean IoU ")
    assert "2 episodes of 1 classes, seed 0" in told
    other = ("evaluate", labelled, "--task", "text", "--preset", small_preset, "--refine", "crf")
    assert run(*other, "--limit", 1).status == 0, "text prompts take it as well"


def test_bench(run: Run) -> None:
    answer = run("bench", "--task", "example", "--rounds", 1, "--json").json
    assert (answer["grid"], answer["channels"]) == (64, 1024)
    assert answer["stages"].keys() == {"candidates", "clustering", "seed and aggregation"}
    assert answer["total"] == pytest.approx(sum(answer["stages"].values()))
    assert answer["product"] > 0
    assert "speed" in run("bench", "--task", "speed").sentence(2)


@pytest.mark.slow
def test_the_process_keeps_stdout_for_json(image_file: Path, mask: Path, small_preset: Path, home: Path) -> None:
    words = [
        "like",
        image_file,
        "--reference",
        image_file,
        mask,
        "--preset",
        small_preset,
        "--out",
        home / "o",
        "--json",
    ]
    done = process(*words)
    assert done.status == 0
    assert set(done.json) >= ANSWER
