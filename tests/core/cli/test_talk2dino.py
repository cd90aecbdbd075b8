"""The commands that know Talk2DINO: words, cleaning and refinement, search, the projection's training, measuring."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from maskwright.domain import Image
from maskwright.presets.config_io import sections
from maskwright.project import Project
from tests.core.cli.conftest import Run
from tests.core.training.test_projection import TAUGHT, captioned, named


@pytest.fixture
def words(talking_preset: Path) -> tuple[object, ...]:
    return "--preset", talking_preset, "--device", "cpu"


# masks of words


def test_the_method_is_chosen_by_name(run: Run, image_file: Path, words: tuple[object, ...]) -> None:
    given = ("segment", image_file, "--text", "grass, sky, cow", *words, "--out", "out", "--json")
    found = {method: run(*given, "--method", method).json["masks"] for method in ("dinotxt", "talk2dino")}
    assert found["talk2dino"] != found["dinotxt"] == run(*given).json["masks"]
    assert "procedure of dino.txt" in run(*given, "--method", "talk2dino", "--high-resolution").sentence(2)


def test_a_preset_without_it_is_one_sentence(run: Run, image_file: Path, small_preset: Path, home: Path) -> None:
    given = ("segment", image_file, "--text", "sky", "--preset", small_preset, "--device", "cpu", "--out", "out")
    assert run(*given, "--method", "talk2dino").sentence().startswith("The preset small has no Talk2DINO.")
    assert not (home / "out").exists()


def test_cleaning_says_what_it_left(run: Run, image_file: Path, words: tuple[object, ...]) -> None:
    given = ("segment", image_file, "--text", "grass, sky, cow", "--method", "talk2dino", *words, "--out", "out")

    def labels(*options: str) -> tuple[np.ndarray, str, object]:
        done = run(*given, *options, "--json")
        kept = json.loads(Path(done.json["masks_file"]).read_text(encoding="utf-8"))["provenance"]["parameters"]
        return np.asarray(Pillow.open(done.json["label_map"])), done.err, kept["cleaning"]

    plain, silent, weight = labels("--background", "--no-cleaning")
    assert "cleaning" not in silent
    assert weight == 0
    cleaned, told, weight = labels("--background", "--cleaning")
    assert weight == 0.2
    share = ((plain > 0) & (cleaned == 0)).mean()
    assert f"Background cleaning removed the class of {100 * share:.1f} % of the image." in told
    assert share > 0
    left, told, weight = labels("--background")
    assert np.array_equal(left, cleaned), "the preset's way"


def test_refinement_is_chosen_by_name(run: Run, image_file: Path, words: tuple[object, ...]) -> None:
    given = ("segment", image_file, "--text", "grass, sky", "--method", "talk2dino", *words, "--out", "out", "--json")
    found = {name: run(*given, "--refine", name).json["masks"] for name in ("none", "pamr", "crf")}
    assert run(*given).json["masks"] == found["none"]
    assert found["none"] != found["pamr"] != found["crf"] != found["none"]


# search


@pytest.fixture
def streets(home: Path, image_file: Path) -> Path:
    """A project of three pictures."""
    with Project.open(home / "streets", create=True) as project:
        project.images.register(Image.open(image_file))
        for number in range(2):
            pixels = np.random.default_rng(number).integers(0, 256, (30, 40, 3), dtype=np.uint8)
            Pillow.fromarray(pixels).save(home / f"noise {number}.png")
            project.images.register(Image.open(home / f"noise {number}.png"))
    return home / "streets"


def test_images_are_found_by_a_phrase(run: Run, streets: Path, words: tuple[object, ...]) -> None:
    done = run("find", streets, "a cow in the grass", *words, "--json")
    assert done.status == 0
    assert done.out.count("\n") == 1
    assert set(done.json) == {"phrase", "images", "problems"}
    assert (done.json["phrase"], done.json["problems"]) == ("a cow in the grass", [])
    rows = done.json["images"]
    assert [set(row) for row in rows] == [{"image", "file", "score"}] * 3
    assert {row["image"] for row in rows} == {1, 2, 3}
    assert [row["score"] for row in rows] == sorted((row["score"] for row in rows), reverse=True)
    told = run("find", streets, "a cow in the grass", *words, "--limit", 2).out.splitlines()
    assert [line.split("  ")[1] for line in told] == [f"{r['image']}: {Path(r['file']).name}" for r in rows[:2]]
    assert [float(line.split()[0]) for line in told] == [pytest.approx(row["score"], abs=6e-4) for row in rows[:2]]


def test_what_cannot_be_looked_at_is_told(run: Run, streets: Path, words: tuple[object, ...]) -> None:
    with Project.open(streets) as project:
        gone = streets / project.images.all()[1].file_name
    gone.unlink()
    done = run("find", streets, "sky", *words, "--json")
    assert done.status == 1
    assert [row["image"] for row in done.json["images"]] in ([1, 3], [3, 1])
    (problem,) = done.json["problems"]
    assert problem.startswith(f"The image file images/{gone.name} is missing")
    assert problem in done.err


def test_searches_that_cannot_be(run: Run, streets: Path, small_preset: Path, words: tuple[object, ...]) -> None:
    sentence = run("find", streets, "sky", "--preset", small_preset, "--device", "cpu").sentence()
    assert sentence.startswith("The preset small does not compare words with whole images.")
    assert "There is no project in " in run("find", "nowhere", "sky", *words).sentence()
    run("project", "new", "empty")
    assert run("find", "empty", "sky", *words).out == "This project has no images yet.\n"
    assert run("find", "empty", "--label-next", *words).out == "Every image of this project has masks.\n"
    for wrong in ((), ("sky", "--duplicates"), ("--duplicates", "--label-next")):
        assert run("find", "empty", *wrong, *words).status == 2


def test_near_duplicates_and_what_to_label_next_are_found(run: Run, streets: Path, words: tuple[object, ...]) -> None:
    with Project.open(streets) as project:
        first = project.images.open(1)
        project.accept(1, np.ones(first.size_hw, bool), "cow")
        again = first.pixels.copy()
        again[0, 0] ^= 1
        copy = project.images.register(Image(again))
    groups = run("find", streets, "--duplicates", *words, "--json").json["groups"]
    assert any({1, copy.id} <= {row["image"] for row in group} for group in groups)
    following = run("find", streets, "--label-next", *words, "--json").json["images"]
    assert sorted(row["image"] for row in following) == [2, 3, copy.id]
    assert following[-1]["image"] == copy.id, "it is like one that has a mask"
    assert run("find", streets, "--label-next", "--limit", 1, *words).out.startswith(f"{following[0]['score']:.3f}  ")


# training


def test_a_projection_is_trained_and_used(run: Run, home: Path, image_file: Path, small_preset: Path) -> None:
    data = captioned(home / "photos-with-captions")
    given = ("train-projection", data, "--out", "mine", "--preset", small_preset, "--device", "cpu", "--json")
    done = run(*given, "--epochs", 3, "--batch", 4, "--rate", 0.01)
    assert done.status == 0, done
    answer = done.json
    assert answer["preset"] == str(home / "mine")
    assert (answer["pictures"], answer["captions"], answer["pooling"]) == (8, 12, "max_head")
    assert len(answer["losses"]) == 3
    assert done.err.splitlines() == ["Encoding images", "Encoding texts", "Training"]
    used = ("--preset", "mine", "--device", "cpu", "--json")
    assert run("segment", image_file, "--text", "red, blue", "--method", "talk2dino", *used).status == 0
    assert run("models", "verify", "mine").status == 0
    again = run(*given, "--epochs", 3, "--batch", 4, "--rate", 0.01).json
    assert again["losses"] == answer["losses"], "the same seed"
    other = run(*given, "--epochs", 3, "--batch", 4, "--rate", 0.01, "--pooling", "cls").json
    assert other["pooling"] == "cls"
    assert other["losses"] != answer["losses"]


def test_training_for_people(run: Run, home: Path, small_preset: Path) -> None:
    folders = captioned(home / "one", TAUGHT[:3]), named(home / "two", TAUGHT[3:6])
    done = run("train-projection", *folders, "--out", "mine", "--preset", small_preset, "--epochs", 1)
    assert re.fullmatch(r"Trained on 6 images with \d+ captions; loss \d+\.\d\d to \d+\.\d\d: mine\n", done.out), done


def test_training_that_cannot_be(run: Run, home: Path, small_preset: Path) -> None:
    given = ("--preset", small_preset, "--device", "cpu", "--epochs", 1)
    assert "has no captions" in run("train-projection", home, "--out", "mine", *given).sentence()
    one = captioned(home / "one", TAUGHT[:1])
    assert "at least two captioned images" in run("train-projection", one, "--out", "mine", *given).sentence()
    assert "is not on this computer" in run("train-projection", one, "--out", "mine", "--preset", "nosuch").sentence()
    data = captioned(home / "data")
    (data / "images" / TAUGHT[0]).write_text("Dear Sir or Madam")
    done = run("train-projection", data, "--out", "mine", *given)
    assert (done.status, done.out) == (1, "")
    phase, sentence = done.err.splitlines()
    assert phase == "Encoding images"
    assert sentence.startswith(f"maskwright: Cannot read {TAUGHT[0]}")
    other = shutil.copytree(small_preset, home / "other")
    told = sections(other)
    told["dinotxt"]["sha256"] = "0" * 64
    (other / "config.json").write_text(json.dumps(told))
    assert "holds another preset than small" in run("train-projection", data, "--out", "other", *given).sentence()
    assert not (home / "mine" / "config.json").exists()


# measuring


def test_the_table_of_cleaning_and_refinement(run: Run, labelled: Path, words: tuple[object, ...]) -> None:
    given = ("evaluate", labelled, "--task", "text", "--method", "talk2dino", *words, "--limit", 2)
    rows = run(*given, "--table", "--json").json
    assert [(row["cleaning"], row["refine"]) for row in rows] == [
        (False, None), (True, None), (False, "pamr"), (True, "pamr"),
    ]  # fmt: skip
    assert all(row["background"] is not None and row["images"] == 2 for row in rows)
    head, *lines = run(*given, "--table").out.splitlines()
    assert head.split() == ["cleaning", "pamr", "background", "mIoU"]
    assert [line.split() for line in lines] == [
        [
            "yes" if row["cleaning"] else "no", "yes" if row["refine"] else "no", f"{row['background']:.3f}",
            f"{row['miou']:.4f}",
        ]
        for row in rows
    ]  # fmt: skip
    options: tuple[tuple[str, ...], ...] = (("--no-cleaning",), ("--cleaning",), ("--no-cleaning", "--refine", "pamr"))
    for row, way in zip(rows, options, strict=False):
        assert run(*given, "--unlabelled", "background", *way, "--json").json == row


def test_background_is_told_where_it_is_scored(run: Run, labelled: Path, words: tuple[object, ...]) -> None:
    given = ("evaluate", labelled, "--task", "text", "--method", "talk2dino", *words, "--limit", 1)
    scores = run(*given, "--unlabelled", "background", "--json").json
    told = run(*given, "--unlabelled", "background").out.splitlines()[0]
    assert told.endswith(f", background {scores['background']:.3f}, 1 images")
    assert run(*given, "--json").json["background"] is None
    assert "background" not in run(*given).out


def test_things_alone_are_measured(run: Run, labelled: Path, words: tuple[object, ...]) -> None:
    given = ("evaluate", labelled, "--task", "text", *words, "--limit", 1, "--things", "--json")
    assert "marks no category as a thing" in run(*given).sentence()
    data = json.loads((labelled / "annotations.json").read_text(encoding="utf-8"))
    data["categories"][0]["supercategory"] = "thing"
    (labelled / "annotations.json").write_text(json.dumps(data), encoding="utf-8")
    scores = run(*given).json
    assert list(scores["per_class"]) == ["cow"]
    assert scores["background"] is not None


def test_refinement_none_is_none(run: Run, labelled: Path, words: tuple[object, ...]) -> None:
    given = ("evaluate", labelled, "--task", "text", "--method", "talk2dino", *words, "--limit", 1, "--json")
    assert run(*given, "--refine", "none").json == run(*given).json
    assert run(*given, "--refine", "pamr").json["refine"] == "pamr"


# presets


def test_what_a_preset_says_of_itself(run: Run, talking_preset: Path, home: Path) -> None:
    told = run("models", "info", talking_preset).out
    assert "segments by text and by example and by click" in told
    assert "Talk2DINO" in told
    bad = shutil.copytree(talking_preset, home / "bad")
    (bad / "talk2dino.safetensors").write_bytes(b"")
    assert "DAMAGED" in run("models", "info", bad).out
    assert "not the expected one" in run("models", "verify", bad).sentence()


@pytest.mark.parametrize("name", ["talk2dino-b", "talk2dino-dinov3-b"])
def test_the_official_presets_name_their_files(run: Run, name: str) -> None:
    files = run("models", "info", name, "--json").json["files"]
    assert [file["part"] for file in files] == ["backbone", "text", "projection", "vocabulary"]
    assert all(file["page"].startswith("https://") and file["licence"] for file in files)
    assert f"maskwright models import FILE... --as {name}" in run("models", "info", name).out
    assert name in run("models", "import", "x.pth", "--as", "nosuch").sentence(2)
