"""`maskwright train`, `finetune`, `runs` and `activate`."""

from __future__ import annotations

from pathlib import Path

from tests.core.cli.conftest import Run


def test_train_words(run: Run, home: Path) -> None:
    sentence = run("train", "data", "--out", "preset", "--background", "nuclei").sentence(2)
    assert sentence == "nuclei is none of the folders given: data."
    assert "no preset with" in run("train", "data", "--out", "preset", "--steps", "1").sentence()
    assert list(home.iterdir()) == []


# a better model


def test_labels_in_a_better_model_out_and_back(
    run: Run, two_class_project: Path, small_preset: Path, tmp_path: Path, home: Path
) -> None:
    run("export", two_class_project, two_class_project / "coco.json")
    done = run("import", "second", two_class_project / "coco.json", "--json")
    assert (done.status, done.json["masks"], done.json["images"]) == (0, 12, 6)
    assert run("import", "second", two_class_project / "coco.json").out.startswith(
        "Added 0 masks (0 as proposals) on 6 images (0 of them new), 12"
    )
    words = ["--base", small_preset, "--device", "cpu"]
    done = run("finetune", "second", *words, "--epochs", 30, "--json")
    assert done.status == 0
    answer = done.json
    assert answer["run"] == "run-1"
    assert Path(answer["checkpoint"]).is_absolute()
    assert answer["before"]["images"] == answer["after"]["images"] == 6
    assert "2 classes, 12 masks, 6 training images, each held out once in 3 parts" in done.err
    assert "IoU on a few held-out images after 0 steps" in done.err
    image_file = tmp_path / "m0.png"
    used = run(
        "segment", image_file, "--text", "meadow, air", "--preset", answer["checkpoint"], "--device", "cpu", "--json"
    )
    assert used.json["unfamiliar"] == []
    assert run("activate", "second", "run-1", "--json").json["checkpoint"] == answer["checkpoint"]
    (row,) = run("runs", "second", "--json").json
    assert (row["name"], row["state"], row["active"]) == ("run-1", "done", True)
    assert run("runs", "second").out.startswith("* run-1  done")
    assert run("activate", "second", "base", "--json").json == {"active": None, "checkpoint": None}
    assert "no run run-7" in run("activate", "second", "run-7").sentence()
    assert "nothing to resume" in run("finetune", "second", "--resume", "run-1").sentence()


def test_too_little_to_learn_from_is_one_sentence(run: Run, home: Path) -> None:
    run("project", "new", "empty")
    assert run("finetune", "empty").sentence().startswith("Training needs at least 2 annotated images; you have 0.")
    assert run("runs", "empty").out == "No runs yet.\n"
