"""Exit statuses of wrong usage: 2, whatever the model, image or project."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from maskwright.project import Project
from tests.core.cli.conftest import Run

WRONG = {
    "no command": "",
    "unknown command": "frobnicate",
    "group without command": "project",
    "unknown command in a group": "project frob",
    # segment
    "segment: no image": "segment",
    "segment: no text": "segment image.png",
    "segment: empty text": "segment image.png --text ''",
    "segment: only separators": "segment image.png --text ' ,, ,'",
    "segment: empty text, missing image": "segment missing.png --text ''",
    "segment: unknown option": "segment image.png --text cow --zoom 3",
    "segment: threshold no number": "segment image.png --text cow --threshold high",
    "segment: threshold too large": "segment image.png --text cow --threshold 1.5",
    "segment: threshold negative": "segment image.png --text cow --threshold -0.1",
    "segment: threshold NaN": "segment image.png --text cow --threshold nan",
    "segment: unknown method": "segment image.png --text cow --method magic",
    "segment: unknown refinement": "segment image.png --text cow --refine magic",
    "segment: no such kind of device": "segment image.png --text cow --device gpu",
    "segment: malformed device": "segment image.png --text cow --device cuda:one",
    "segment: cleaning without background": "segment image.png --text cow --cleaning",
    "segment: high resolution of another method": ("segment image.png --text cow --method talk2dino --high-resolution"),
    # like
    "like: no reference": "like image.png",
    "like: reference without mask": "like image.png --reference image.png",
    "like: unknown refinement": "like image.png --reference image.png mask.png --refine magic",
    "like: empty category": "like image.png --reference image.png mask.png --category ' '",
    "like: malformed device": "like image.png --reference image.png mask.png --device gpu",
    # click
    "click: neither point nor box": "click image.png",
    "click: everything and a point": "click image.png --everything --point 1,1",
    "click: everything and a box": "click image.png --everything --box 1,1,4,4",
    "click: point no numbers": "click image.png --point a,b",
    "click: half a point": "click image.png --point 1",
    "click: unknown label": "click image.png --point 1,2,3",
    "click: three corners": "click image.png --box 1,2,3",
    "click: point NaN": "click image.png --point nan,1 --device cpu",
    "click: point outside": "click image.png --point 61,5 --preset small",
    "click: empty box": "click image.png --box 5,5,5,9 --preset small",
    "click: empty category": "click image.png --point 1,1 --category ''",
    "click: malformed device": "click image.png --point 1,1 --device tpu",
    # predict
    "predict: no prompt": "predict project",
    "predict: two prompts": "predict project --text cow --like-category cow",
    "predict: refined text": "predict project --text cow --refine pamr",
    "predict: threshold without text": "predict project --like-category cow --threshold 0.5",
    "predict: empty text": "predict project --text ' '",
    "predict: empty text, missing project": "predict nowhere --text ' '",
    "predict: threshold too large": "predict project --text cow --threshold 2",
    "predict: accept above 1": "predict project --text cow --accept-above 1.5",
    "predict: accept above NaN": "predict project --text cow --accept-above nan",
    "predict: unknown refinement": "predict project --like-category cow --refine magic",
    "predict: malformed device": "predict project --text cow --device gpu",
    # find
    "find: no phrase": "find project",
    "find: empty phrase": "find project ' '",
    "find: empty phrase, missing project": "find nowhere ' '",
    "find: limit 0": "find project cow --limit 0",
    "find: malformed device": "find project cow --device gpu",
    # project
    "project images: negative id": "project images project --after -1",
    "project images: limit 0": "project images project --limit 0",
    "project add: no files": "project add project",
    "project relink: no folder": "project relink project",
    # export, import, validate
    "export: no file": "export project",
    "export: unknown format": "export project out.json --format tiff",
    "export: unknown segmentation": "export project out.json --segmentation box",
    "export: unknown holes": "export project out.json --holes drill",
    "export: unknown state": "export project out.json --states nonsense",
    "export: negative tolerance": "export project out.json --simplify -1",
    "export: tolerance NaN": "export project out.json --simplify nan",
    "import: no file": "import project",
    "validate: no file": "validate",
    # evaluate
    "evaluate: no task": "evaluate data",
    "evaluate: unknown task": "evaluate data --task guess",
    "evaluate: limit 0": "evaluate data --task text --limit 0",
    "evaluate: unknown score": "evaluate data --task text --unlabelled sky",
    "evaluate: unknown method": "evaluate data --task text --method magic --preset small",
    "evaluate: unknown refinement": "evaluate data --task text --refine magic --preset small",
    "evaluate: unknown refinement of examples": "evaluate data --task example --refine magic --preset small",
    "evaluate: method of examples": "evaluate data --task example --method dinotxt",
    "evaluate: background of clicks": "evaluate data --task click --unlabelled background",
    "evaluate: cleaned examples": "evaluate data --task example --cleaning",
    "evaluate: things by example": "evaluate data --task example --things",
    "evaluate: clicks without cleaning": "evaluate data --task click --no-cleaning",
    "evaluate: table of examples": "evaluate data --task example --table",
    "evaluate: table and cleaning": "evaluate data --task text --table --cleaning",
    "evaluate: table without cleaning": "evaluate data --task text --table --no-cleaning",
    "evaluate: refined clicks": "evaluate data --task click --refine pamr",
    "evaluate: table of clicks": "evaluate data --task click --table",
    "evaluate: table and refinement": "evaluate data --task text --table --refine pamr",
    "evaluate: cleaning without background": "evaluate data --task text --cleaning",
    "evaluate: malformed device": "evaluate data --task text --device gpu",
    # models
    "models info: no name": "models info",
    "models import: no files": "models import",
    "models import: no such official preset": "models import weights.pth --as nosuch",
    "models fetch: no such official preset": "models fetch nosuch",
    "models count: no classes": "models count --classes 0",
    # training and benchmarks
    "train: no output folder": "train data",
    "train: weight no number": "train data --out preset --weight data=much",
    "train: weight of another folder": "train data --out preset --weight other=2",
    "train: background of another folder": "train data --out preset --background other",
    "train: background of clicks": "train data --out preset --task click --background data",
    "train: malformed device": "train data --out preset --device gpu",
    "train-projection: no output folder": "train-projection data",
    "train-projection: unknown pooling": "train-projection data --out preset --pooling best",
    "train-projection: batch of 1": "train-projection data --out preset --batch 1",
    "ablate: nothing to measure": "ablate data --out ablation",
    "ablate: weight of another folder": "ablate data --measure data --out ablation --weight other=2",
    "finetune: no project": "finetune",
    "finetune: unknown recipe": "finetune project --recipe lava",
    "finetune: no epochs": "finetune project --epochs 0",
    "activate: no run": "activate project",
    "bench: unknown task": "bench --task speed",
    "bench: random weights of clicks": "bench --task click --random-weights",
    "bench: no rounds": "bench --rounds 0",
    # front ends
    "ui: port too large": "ui --port 99999",
    "ui: malformed login": "ui --auth ann",
    "ui: login without a user": "ui --auth :secret",
    "ui: open address without login": "ui --host 0.0.0.0",
    "ui: malformed device": "ui --device gpu",
    "napari: malformed device": "napari --device gpu",
}


@pytest.fixture
def arguments_exist(home: Path, image_file: Path, labelled: Path, small_preset: Path) -> None:
    """What the commands name: an image, its mask, a project, a labelled folder and a preset."""
    image_file.rename(home / "image.png")
    (home / "mask.png").write_bytes((home / "image.png").read_bytes())
    (home / "weights.pth").touch()
    (home / "small").symlink_to(small_preset)
    with Project.open(home / "project", create=True) as project:
        project.add(home / "image.png")


@pytest.mark.usefixtures("arguments_exist")
@pytest.mark.parametrize("command", WRONG.values(), ids=WRONG.keys())
def test_wrong_usage_exits_2(run: Run, command: str) -> None:
    done = run(*shlex.split(command))
    assert done.status == 2, done
    assert "Traceback" not in done.err + done.out
    assert done.err.strip() or command in ("", "project")


FAILED = {
    "missing image": "segment missing.png --text cow",
    "missing preset": "segment image.png --text cow --preset nosuch",
    "missing device": "segment image.png --text cow --device cuda:99",
    "missing project": "project status nowhere",
    "missing category": "predict project --like-category nosuch --preset small",
    "missing run": "activate project run-7",
    "no labelled folder": "evaluate project --task text --preset small",
    "no COCO file": "validate missing.json",
    "no official files": "models import weights.pth --as dinov3txt-l",
}
"""Right usage that this machine or this data cannot serve."""


@pytest.mark.usefixtures("arguments_exist")
@pytest.mark.parametrize("command", FAILED.values(), ids=FAILED.keys())
def test_a_failure_exits_1_with_one_line(run: Run, command: str) -> None:
    run(*shlex.split(command)).sentence(1)
