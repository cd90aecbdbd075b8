"""`maskwright segment`: files, JSON, messages."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow
from pycocotools import mask as coco

from tests.core.cli.conftest import ANSWER, Run, bad_image_files, process


def test_segment_writes_what_it_says(segment: Run, image_file: Path, home: Path) -> None:
    done = segment(image_file, "--text", "grass|meadow, cow, floccus", "--out", "masks", "--json")
    assert done.status == 0
    assert done.out.count("\n") == 1, "one object, one line"
    answer = done.json
    assert set(answer) == ANSWER | {"masks_file"}
    assert answer["label_map"] == str(home / "masks" / "street.labels.png")
    assert answer["overlay"] == str(home / "masks" / "street.overlay.png")
    assert sorted(file.name for file in (home / "masks").iterdir()) == [
        "street.labels.png", "street.masks.json", "street.overlay.png",
    ]  # fmt: skip
    assert answer["categories"] == ["grass", "cow", "floccus"]
    assert answer["unfamiliar"] == ["floccus"]
    assert "floccus" in done.err

    labels = np.asarray(Pillow.open(answer["label_map"]))
    assert labels.shape == (40, 60)
    assert set(np.unique(labels)) <= {1, 2, 3}
    assert Pillow.open(answer["overlay"]).size == (60, 40)
    assert [mask["category"] for mask in answer["masks"]] == [
        name for index, name in enumerate(answer["categories"], start=1) if (labels == index).any()
    ], "one mask a category, in prompt order"
    for mask in answer["masks"]:
        assert set(mask) == {"category", "score", "bbox", "area", "segmentation"}
        region = labels == answer["categories"].index(mask["category"]) + 1
        assert np.array_equal(coco.decode(mask["segmentation"]).astype(bool), region)
        assert mask["area"] == region.sum()
        rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
        box = [columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1]
        assert mask["bbox"] == [int(v) for v in box]
        assert 0 <= mask["score"] <= 1

    written = json.loads(Path(answer["masks_file"]).read_text(encoding="utf-8"))
    provenance = written.pop("provenance")
    assert written == answer
    assert provenance["preset"] == "small"
    assert provenance["prompt"] == "grass|meadow, cow, floccus"


def test_segment_for_people(segment: Run, image_file: Path, home: Path) -> None:
    done = segment(image_file, "--text", "grass, cow")
    assert done.status == 0
    assert done.out.splitlines()[-3:] == [
        str(home / f"street.{end}") for end in ("labels.png", "overlay.png", "masks.json")
    ]
    assert re.search(r"^(grass|cow): \d+\.\d % of the image$", done.out, re.MULTILINE)


def test_segment_again_gives_the_same_bytes(segment: Run, image_file: Path, home: Path) -> None:
    segment(image_file, "--text", "grass, cow", "--out", "masks")
    first = {file: file.read_bytes() for file in (home / "masks").iterdir()}
    segment(image_file, "--text", "grass, cow", "--out", "masks")
    assert {file: file.read_bytes() for file in (home / "masks").iterdir()} == first


def test_background_and_threshold(segment: Run, image_file: Path) -> None:
    whole = segment(image_file, "--text", "cow", "--json")
    assert "the class covers the whole image" in whole.err
    assert whole.json["masks"][0]["area"] == 40 * 60
    none = segment(image_file, "--text", "cow", "--threshold", "1", "--json")
    assert none.json["masks"] == []
    assert "whole image" not in none.err
    assert not np.asarray(Pillow.open(none.json["label_map"])).any()
    assert segment(image_file, "--text", "cow, sky", "--background", "--high-resolution").status == 0


def test_prompts(segment: Run, image_file: Path) -> None:
    """Repeated names once; words of any script; many classes."""
    assert segment(image_file, "--text", "cow, Cow,cow, sky ,", "--json").json["categories"] == ["cow", "sky"]
    odd = ["Straße", "牛", "🐄", "<b>&amp;</b>", "{}", "a" * 500]
    found = segment(image_file, "--text", ", ".join(odd), "--json").json
    assert found["categories"] == found["unfamiliar"] == odd


@pytest.mark.slow
def test_more_classes_than_a_byte_holds(segment: Run, image_file: Path) -> None:
    many = [f"thing {n}" for n in range(260)]
    found = segment(image_file, "--text", ",".join(many), "--json").json
    assert found["categories"] == many
    assert sum(mask["area"] for mask in found["masks"]) == 40 * 60
    labels = np.asarray(Pillow.open(found["label_map"]))
    for mask in found["masks"]:
        assert (labels == found["categories"].index(mask["category"]) + 1).sum() == mask["area"]


@pytest.mark.parametrize("size", [(1, 1), (300, 1), (1, 300), (2, 3)])
def test_odd_sizes(segment: Run, home: Path, size: tuple[int, int]) -> None:
    Pillow.new("RGB", size, "green").save("thin.png")
    done = segment("thin.png", "--text", "cow, sky", "--json")
    assert done.status == 0
    assert Pillow.open(done.json["label_map"]).size == size
    assert sum(mask["area"] for mask in done.json["masks"]) == size[0] * size[1]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("a" * 200 + ".png", id="200 letters"),
        pytest.param("b" * 251 + ".png", id="as long as the disk allows"),
        pytest.param("é" * 125 + ".png", id="as long in UTF-8"),
        pytest.param("Straße 牛 🐄 #1%.png", id="not ASCII"),
        pytest.param(os.fsdecode(b"caf\xe9.png"), id="no UTF-8"),
        pytest.param("two\nlines.png", id="line end"),
        pytest.param("-dash.png", id="dash"),
    ],
)
def test_file_names(segment: Run, image_file: Path, home: Path, name: str) -> None:
    try:
        shutil.copy(image_file, home / name)
    except OSError:
        pytest.skip("this disk does not take the name")
    done = segment("--text", "cow, sky", "--out", "masks", "--json", "--", name)
    assert done.status == 0, done
    for key in ("label_map", "overlay", "masks_file"):
        assert Path(done.json[key]).is_file()
    assert json.loads(Path(done.json["masks_file"]).read_text(encoding="utf-8"))["label_map"] == done.json["label_map"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--text", "cow", "--device", "cuda:7"], "no device cuda:7. Use one of: .*cpu"),
        (["--text", "cow", "--preset", "nosuch"], "Model nosuch is not on this computer .*models info nosuch"),
        (["--text", "cow", "--preset", "photos"], "Model photos is not on this computer"),
        (["--text", "cow, sky", "--out", "photos/street.png"], "Cannot write to .*Name another folder with --out"),
        (["--text", "cow, sky", "--out", "photos/street.png/x"], "Cannot write to "),
    ],
)
def test_what_cannot_be_done_leaves_no_files(
    segment: Run, image_file: Path, home: Path, words: list[str], sentence: str
) -> None:
    assert re.search(sentence, segment(image_file, *words).sentence())
    assert [file.name for file in home.rglob("*") if file.is_file()] == ["street.png"], "no partial files"


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("nothere.jpg", r"There is no file nothere\.jpg\. Check the name\."),
        ("folder.png", r"folder\.png is a folder, not an? \w+\."),
        ("text.jpg", r"Cannot read text\.jpg: the file is damaged or not an image\."),
        ("empty.png", r"Cannot read empty\.png: the file is damaged or not an image\."),
        ("cut.jpg", r"Cannot read cut\.jpg: the file is damaged or not an image\."),
        ("text.jpg/cow.jpg", r"Cannot read cow\.jpg"),
        ("cow.heic", r"cow\.heic: this file type is not supported\. Supported: \.png"),
        ("moving.gif", r"moving\.gif: this file type is not supported"),
        ("n" * 300 + ".jpg", "Cannot read nnn"),
    ],
)
def test_pictures_that_cannot_be_read(segment: Run, home: Path, name: str, sentence: str) -> None:
    bad_image_files(home)
    before = sorted(home.rglob("*"))
    assert re.match(sentence, segment(name, "--text", "cow", "--out", "masks").sentence())
    assert sorted(home.rglob("*")) == before


def test_too_many_megapixels_fail_at_once(home: Path) -> None:
    Pillow.new("1", (10100, 10000)).save("big.png")
    began = time.monotonic()
    done = process("segment", "big.png", "--text", "cow", "--json")
    assert done.sentence().startswith("big.png has 101 megapixels; the limit is 100. Raise it with MASKWRIGHT_MAX_MEG")
    assert time.monotonic() - began < 10
    assert [file.name for file in home.iterdir()] == ["big.png"]


def test_one_mask_per_object(segment: Run, image_file: Path) -> None:
    words = ("--text", "grass, cow", "--background", "--threshold", "0.3", "--out", "masks", "--json")
    plain, answer = segment(image_file, *words).json, segment(image_file, *words, "--instances").json
    assert set(answer) == set(plain)
    assert "grass" in {mask["category"] for mask in answer["masks"]}
    for name in ("grass", "cow"):
        planes = [coco.decode(mask["segmentation"]) for mask in answer["masks"] if mask["category"] == name]
        assert not planes or np.sum(planes, axis=0).max() <= 1, "objects of a class share no pixel"
    provenance = json.loads(Path(answer["masks_file"]).read_text(encoding="utf-8"))["provenance"]
    assert provenance["parameters"]["instances"]["classes"] == ["grass", "cow"]
