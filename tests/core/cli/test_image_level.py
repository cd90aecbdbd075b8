"""Whole images, and classes in three spaces, by command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image as Pillow

from tests.core.cli.conftest import Run


def _images(folder: Path, names: list[str]) -> None:
    folder.mkdir(parents=True)
    for number, name in enumerate(names):
        pixels = np.random.default_rng(number).integers(0, 256, (40, 50, 3), dtype=np.uint8)
        Pillow.fromarray(pixels).save(folder / name)


def test_images_are_named(run: Run, home: Path, small_preset: Path) -> None:
    for name in ("cow", "green_grass"):
        _images(home / "val" / name, ["a.png", "b.png"])
    words = ("evaluate", home / "val", "--task", "classify", "--preset", small_preset, "--device", "cpu")
    answer = run(*words, "--json").json
    assert (answer["task"], answer["method"], answer["images"]) == ("classify", "dinotxt", 4)
    assert answer["top5"] == 1.0
    assert set(answer["per_class"]) == {"cow", "green grass"}
    assert run(*words).out.startswith(f"top-1 {answer['top1']:.4f}, top-5 1.0000 of 2 classes, 4 images")
    assert "takes --method, --pooling" in run(*words, "--refine", "pamr").sentence(2)
    assert "--pooling is for Talk2DINO" in run(*words, "--pooling", "mean").sentence(2)
    text = ("evaluate", home / "val", "--task", "text", "--pooling", "mean")
    assert "goes with --task classify and retrieve" in run(*text).sentence(2)


def test_captions_find_images(run: Run, home: Path, talking_preset: Path) -> None:
    _images(home / "photos" / "images", ["1.png", "2.png", "3.png"])
    rows = [{"id": n, "file_name": f"{n}.png"} for n in (1, 2, 3)]
    captions = [
        {"image_id": n, "caption": text} for n, text in ((1, "a cow"), (2, "grass"), (3, "sky"), (3, "blue sky"))
    ]
    (home / "photos" / "captions.json").write_text(json.dumps({"images": rows, "annotations": captions}))
    words = ("evaluate", home / "photos", "--task", "retrieve", "--preset", talking_preset, "--device", "cpu", "--json")
    for more in ((), ("--method", "talk2dino"), ("--method", "talk2dino", "--pooling", "mean")):
        answer = run(*words, *more).json
        assert (answer["images"], answer["captions"]) == (3, 4)
        assert 1 <= answer["image_by_text"]["median_rank"] <= 3
        assert answer["text_by_image"]["r5"] == 1.0


def test_classes_are_analysed(run: Run, home: Path, labelled: Path, small_preset: Path) -> None:
    words = ("analyse", "classes", labelled, "--trained-on", labelled, "--out", home / "out", "--preset", small_preset)
    sentence = run(*words, "--size", 32, "--device", "cpu").sentence()
    assert "classes are too few for 5 folds" in sentence
    (home / "scores.json").write_text("[]")
    assert "has no IoU by class" in run(*words, "--scores", home / "scores.json").sentence()
