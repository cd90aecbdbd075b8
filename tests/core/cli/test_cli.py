"""The command line as people and scripts meet it: files, JSON, messages, exit statuses."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import typer
from PIL import Image as Pillow
from pycocotools import mask as coco
from typer.testing import CliRunner

from maskwright import __version__, cli
from maskwright.domain import Image, Mask
from maskwright.project import Project

PROGRAM = Path(sys.executable).with_name("maskwright")
ANSWER = {"label_map", "overlay", "categories", "unfamiliar", "masks"}
"""Keys that contracts.md promises."""


class Done(NamedTuple):
    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    def sentence(self, status: int = 1) -> str:
        """The one line of a failure; nothing else was said, and nothing on stdout."""
        assert self.status == status, self
        assert self.out == ""
        (*before, line) = self.err.splitlines()
        assert all(other.startswith("Running ") for other in before), self.err
        assert line.startswith("maskwright: ")
        assert line.rstrip().endswith((".", ".)"))
        assert "Traceback" not in self.err
        assert not re.search(r"\b[A-Z]\w+Error\b|Unexpected failure", line)
        return line.removeprefix("maskwright: ")


Run = Callable[..., Done]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of its own: no settings, no project, no presets but the bundled ones; work is done in a folder."""
    for name in ("MAX_MEGAPIXELS", "CACHE_MB"):
        monkeypatch.delenv(f"MASKWRIGHT_{name}", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("MASKWRIGHT_PRESETS", str(tmp_path / "presets"))
    monkeypatch.setenv("MASKWRIGHT_CACHE", str(tmp_path / "computed"))
    monkeypatch.setenv("MASKWRIGHT_PROJECT", str(tmp_path / "default project"))
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """The program in this process, through its real entry."""

    def call(*words: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["maskwright", *map(str, words)])
        capsys.readouterr()
        try:
            cli.main()
            status: Any = 0
        except SystemExit as stop:
            status = stop.code or 0
        return Done(status, *capsys.readouterr())

    return call


def process(*words: object, **options: Any) -> Done:
    """The installed program, in a process of its own."""
    done = subprocess.run([PROGRAM, *map(str, words)], capture_output=True, text=True, timeout=120, **options)
    return Done(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def picture(home: Path, rng: np.random.Generator) -> Path:
    """60 x 40 pixels: noise over three stripes."""
    pixels = rng.integers(0, 90, (40, 60, 3), dtype=np.uint8)
    for stripe in range(3):
        pixels[:, 20 * stripe : 20 * stripe + 20, stripe] += 150
    file = home / "photos" / "street.png"
    file.parent.mkdir()
    Pillow.fromarray(pixels).save(file)
    return file


@pytest.fixture
def segment(run: Run, small_preset: Path) -> Run:
    return lambda *words: run("segment", "--preset", small_preset, "--device", "cpu", *words)


# help


def _commands() -> Iterator[tuple[str, typer.core.TyperCommand]]:
    def walk(words: str, command: Any) -> Iterator[tuple[str, Any]]:
        yield words, command
        for name, child in getattr(command, "commands", {}).items():
            yield from walk(f"{words} {name}".strip(), child)

    yield from walk("", typer.main.get_command(cli.app))


COMMANDS = dict(_commands())


def test_all_commands_of_this_version_are_there() -> None:
    wanted = {"segment", "project new", "project add", "project status", "project images", "export", "evaluate"}
    wanted |= {"import", "finetune", "runs", "activate", "napari", "like", "predict", "bench", "find", "click"}
    wanted |= {"train-projection", "ablate", "validate"}
    wanted |= {"project relink", "project backup", "project restore", "project purge"}
    wanted |= {"models list", "models info", "models fetch", "models import", "models verify", "ui", "doctor", "train"}
    assert wanted <= set(COMMANDS)


@pytest.mark.parametrize("words", COMMANDS)
def test_help_shows_an_example_that_parses(words: str) -> None:
    shown = CliRunner().invoke(cli.app, [*words.split(), "--help"], prog_name="maskwright")
    assert shown.exit_code == 0
    text = " ".join(shown.stdout.split())
    example = re.search(r"Example: (maskwright .*)$", text)
    assert example, text
    assert example.group(1).startswith(f"maskwright {words}".strip())
    first, *given = shlex.split(example.group(1))
    assert first == "maskwright"
    command, path = COMMANDS[""], []
    while hasattr(command, "commands"):
        path.append(given.pop(0))
        command = command.commands[path[-1]]
    # raises a usage error when a word is unknown or one is lacking
    command.make_context(" ".join(path), given)


@pytest.mark.parametrize(
    "words", [w for w, c in COMMANDS.items() if not hasattr(c, "commands") and w not in ("ui", "napari")]
)
def test_every_command_takes_json(words: str) -> None:
    assert "--json" in CliRunner().invoke(cli.app, [*words.split(), "-h"]).stdout


def test_version(run: Run) -> None:
    assert run("--version") == Done(0, f"{__version__}\n", "")


@pytest.mark.parametrize(
    "words",
    [
        "",
        "frobnicate",
        "segment",
        "segment a.png",
        "segment a.png --text cow --zoom 3",
        "segment a.png --text cow --threshold high",
        "project",
        "project frob",
        "export p",
        "export p out.json --format tiff",
        "export p out.json --segmentation box",
        "evaluate data",
        "evaluate data --task guess",
        "evaluate data --task text --limit 0",
        "evaluate data --task text --unlabelled sky",
        "models import",
        "models info",
        "ui --port 99999",
        "train data --out x --weight data=much",
        "finetune",
        "finetune p --recipe lava",
        "finetune p --epochs 0",
        "activate p",
        "import p",
        "find p",
        "find p cow --limit 0",
        "train-projection data",
        "train-projection data --out x --pooling best",
        "train-projection data --out x --batch 1",
    ],
)
def test_wrong_usage_is_status_2(run: Run, words: str) -> None:
    done = run(*words.split())
    assert done.status == 2
    assert "Traceback" not in done.err + done.out
    assert done.err.strip() or not words or words == "project"


# segment


def test_segment_writes_what_it_says(segment: Run, picture: Path, home: Path) -> None:
    done = segment(picture, "--text", "grass|meadow, cow, floccus", "--out", "masks", "--json")
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
    assert "This model was not taught: floccus" in done.err

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


def test_segment_for_people(segment: Run, picture: Path, home: Path) -> None:
    done = segment(picture, "--text", "grass, cow")
    assert done.status == 0
    assert done.out.splitlines()[-3:] == [
        str(home / f"street.{end}") for end in ("labels.png", "overlay.png", "masks.json")
    ]
    assert re.search(r"^(grass|cow): \d+\.\d % of the picture$", done.out, re.MULTILINE)


def test_segment_again_gives_the_same_bytes(segment: Run, picture: Path, home: Path) -> None:
    segment(picture, "--text", "grass, cow", "--out", "masks")
    first = {file: file.read_bytes() for file in (home / "masks").iterdir()}
    segment(picture, "--text", "grass, cow", "--out", "masks")
    assert {file: file.read_bytes() for file in (home / "masks").iterdir()} == first


def test_background_and_threshold(segment: Run, picture: Path) -> None:
    whole = segment(picture, "--text", "cow", "--json")
    assert "the class covers the whole picture" in whole.err
    assert whole.json["masks"][0]["area"] == 40 * 60
    none = segment(picture, "--text", "cow", "--threshold", "1", "--json")
    assert none.json["masks"] == []
    assert "whole picture" not in none.err
    assert not np.asarray(Pillow.open(none.json["label_map"])).any()
    assert segment(picture, "--text", "cow, sky", "--background", "--high-resolution").status == 0


def test_prompts(segment: Run, picture: Path) -> None:
    """Repeated names once; words of any script; many classes."""
    assert segment(picture, "--text", "cow, Cow,cow, sky ,", "--json").json["categories"] == ["cow", "sky"]
    odd = ["Straße", "牛", "🐄", "<b>&amp;</b>", "{}", "a" * 500]
    found = segment(picture, "--text", ", ".join(odd), "--json").json
    assert found["categories"] == found["unfamiliar"] == odd


def test_more_classes_than_a_byte_holds(segment: Run, picture: Path) -> None:
    many = [f"thing {n}" for n in range(260)]
    found = segment(picture, "--text", ",".join(many), "--json").json
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
def test_file_names(segment: Run, picture: Path, home: Path, name: str) -> None:
    try:
        shutil.copy(picture, home / name)
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
        (["--text", ""], "Type at least one class name"),
        (["--text", " ,, ,"], "Type at least one class name"),
        (["--text", "cow", "--method", "magic"], "no text method magic .*Known: dinov3seg, dinotxt, talk2dino"),
        (["--text", "cow", "--refine", "crf"], "refined by pamr, not by crf"),
        (["--text", "cow", "--threshold", "1.5"], "threshold must lie between 0 and 1, got 1.5"),
        (["--text", "cow", "--threshold", "nan"], "threshold must lie between 0 and 1"),
        (["--text", "cow", "--device", "cuda:7"], "no device cuda:7. Use one of: .*cpu"),
        (["--text", "cow", "--device", "gpu"], "no device gpu"),
        (["--text", "cow", "--preset", "nosuch"], "Model nosuch is not on this computer .*models info nosuch"),
        (["--text", "cow", "--preset", "photos"], "Model photos is not on this computer"),
        (["--text", "cow, sky", "--out", "photos/street.png"], "Cannot write to .*Name another folder with --out"),
        (["--text", "cow, sky", "--out", "photos/street.png/x"], "Cannot write to "),
    ],
)
def test_wishes_that_cannot_be_met(segment: Run, picture: Path, home: Path, words: list[str], sentence: str) -> None:
    assert re.search(sentence, segment(picture, *words).sentence())
    assert [file.name for file in home.rglob("*") if file.is_file()] == ["street.png"], "no partial files"


def _bad_pictures(folder: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Pillow.fromarray(noise).save(folder / "whole.jpg")
    (folder / "cut.jpg").write_bytes((folder / "whole.jpg").read_bytes()[:3000])
    (folder / "text.jpg").write_text("Dear Sir or Madam")
    (folder / "empty.png").touch()
    (folder / "cow.heic").write_bytes(b"\0\0\0\x18ftypheic")
    Pillow.fromarray(noise).save(folder / "moving.gif")
    (folder / "folder.png").mkdir()


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("nothere.jpg", r"There is no file nothere\.jpg\. Check the name\."),
        ("folder.png", r"folder\.png is a folder, not a picture\."),
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
    _bad_pictures(home)
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


# processes of their own


@pytest.mark.slow
def test_process_keeps_stdout_for_json(picture: Path, small_preset: Path, home: Path) -> None:
    done = process("segment", picture, "--text", "grass, cow", "--preset", small_preset, "--out", "masks", "--json")
    assert done.status == 0, done
    assert set(done.json) >= ANSWER
    assert re.match(r"Running small on (cpu|cuda:0|mps)\.\n$", done.err), "messages, and no warnings of others"


def test_process_statuses(home: Path) -> None:
    _bad_pictures(home)
    assert process("segment", "cut.jpg", "--text", "cow").sentence().startswith("Cannot read cut.jpg")
    assert process("segment", "cut.jpg").status == 2
    assert process("--help").status == 0
    debug = process("segment", "cut.jpg", "--text", "cow", "--debug")
    assert debug.status == 1
    assert "Traceback" in debug.err


def test_what_nobody_expected(monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    """The last line of defence."""
    code = "import sys; from maskwright import cli; cli.app = lambda: 1 / 0; sys.argv[0] = 'maskwright'; cli.main()"
    quiet, loud = (
        subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)
        for words in ([], ["--debug"])
    )
    assert (quiet.returncode, loud.returncode) == (1, 1)
    assert quiet.stderr == (
        "maskwright: Unexpected failure (ZeroDivisionError: division by zero). "
        "Run it again with --debug and report it.\n"
    )
    assert loud.stderr.startswith("Traceback")
    assert loud.stderr.endswith("ZeroDivisionError: division by zero\n")


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_interrupt(small_preset: Path, home: Path) -> None:
    """Ctrl+C in the middle of a long encoding: one line, status 130, no files."""
    slow = shutil.copytree(small_preset, home / "slow")
    told = json.loads((slow / "config.json").read_text())
    told["dinotxt"]["high_resolution"] = {"visits": [400, 400, 400]}
    (slow / "config.json").write_text(json.dumps(told))
    Pillow.effect_noise((2400, 1600), 60).save("large.png")
    words = ["segment", "large.png", "--text", "cow", "--preset", str(slow), "--high-resolution", "--out", "masks"]
    with subprocess.Popen([PROGRAM, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        assert running.stderr.readline().startswith("Running slow on ")
        time.sleep(0.3)
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=60)
    assert Done(running.returncode, out, err) == Done(130, "", "maskwright: Interrupted; nothing half-done was kept.\n")
    assert not (home / "masks").exists()


def test_closed_pipe_is_silent(home: Path) -> None:
    with subprocess.Popen(
        [PROGRAM, "project", "new", "p"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout is not None
        running.stdout.close()
        assert running.stderr is not None
        err = running.stderr.read()
    assert "Traceback" not in err


# projects


def test_project_from_new_to_export(run: Run, picture: Path, home: Path) -> None:
    _bad_pictures(picture.parent)
    assert run("project", "new", "streets", "--json").json == {"project": str(home / "streets")}
    assert run("project", "new", "streets").out == f"Project {home / 'streets'} is ready.\n", "an old one stays"

    added = run("project", "add", "streets", "photos", "nothere.png", "--json")
    assert added.status == 1, "some could not be read"
    assert added.json["added"] == 2
    assert added.json["known"] == 0
    assert len(added.json["problems"]) == 4
    assert all(sentence in added.err for sentence in added.json["problems"])
    again = run("project", "add", "streets", picture, "--json")
    assert (again.status, again.json) == (0, {"added": 0, "known": 1, "problems": []})
    assert again.err == ""

    rows = run("project", "images", "streets", "--json").json
    assert [set(row) for row in rows] == [
        {"id", "sha256", "file_name", "width", "height", "orientation", "captured", "accepted", "proposed"}
    ] * 2
    assert {row["file_name"] for row in rows} == {"images/street.png", "images/whole.jpg"}
    assert "images/street.png  60 x 40" in run("project", "images", "streets").out

    with Project.open(home / "streets") as project:
        project.accept(Image.open(picture), Mask.from_array(np.eye(40, 60, dtype=bool)), "cow")
    status = run("project", "status", "streets", "--json").json
    counted = {"images": 2, "annotated_images": 1, "accepted": {"cow": 1}, "rejected": 0, "proposed": 0, "deleted": 0}
    assert {key: status[key] for key in counted} == counted
    assert status["missing"] == status["checkpoints"] == []
    told = run("project", "status", "streets").out
    assert told.startswith("2 images, 1 with accepted masks\ncow: 1\n0 proposed, 0 rejected, 0 deleted\n")

    done = run("export", "streets", "out/coco.json", "--json")
    assert done.status == 0
    assert done.json["format"] == "coco"
    assert done.json["images"] == 2
    data = json.loads(Path(done.json["file"]).read_text(encoding="utf-8"))
    assert len(data["images"]) == 2
    assert [row["area"] for row in data["annotations"]] == [40]
    polygons = run("export", "streets", "poly.json", "--segmentation", "polygon", "--only-annotated", "--json")
    data = json.loads(Path(polygons.json["file"]).read_text(encoding="utf-8"))
    assert len(data["images"]) == 1
    assert isinstance(data["annotations"][0]["segmentation"], list)


def test_nothing_to_add(run: Run, home: Path) -> None:
    run("project", "new", "streets")
    (home / "bare").mkdir()
    done = run("project", "add", "streets", "bare")
    assert done.status == 1
    assert "No pictures were found there. Check the folder." in done.err


@pytest.mark.parametrize("words", ["project status p", "project images p", "project add p photos", "export p c.json"])
def test_no_project(run: Run, picture: Path, home: Path, words: str) -> None:
    sentence = run(*words.split()).sentence()
    assert sentence == f"There is no project in {home / 'p'}. Create one with `maskwright project new {home / 'p'}`."
    (home / "p").write_text("mine")
    assert "in the way" in run(*words.split()).sentence()
    assert (home / "p").read_text() == "mine"


def test_file_in_the_way_of_a_project(run: Run, home: Path) -> None:
    (home / "p").write_text("mine")
    for where in ("p", "p/streets"):
        assert "in the way" in run("project", "new", where).sentence()
    assert [file.name for file in home.iterdir()] == ["p"]


def test_export_that_cannot_be(run: Run, home: Path) -> None:
    run("project", "new", "streets")
    (home / "file").write_text("mine")
    assert run("export", "streets", "file/coco.json").sentence().startswith("Cannot write ")
    assert "nonsense" in run("export", "streets", "coco.json", "--states", "nonsense").sentence()
    assert not (home / "coco.json").exists()


CHILD = """
import os, sys, tempfile
import numpy as np
import maskwright.cli as cli
from maskwright.domain import Image, Mask
from maskwright.project import Project
with tempfile.TemporaryDirectory() as place, Project.open(place, create=True) as project:
    # load every module first: the interpreter may lie where only root can read
    project.accept(Image(np.zeros((8, 8, 3), np.uint8)), Mask.from_array(np.ones((8, 8), bool)), "cow")
    project.export_coco(place + "/coco.json")
os.setgroups([]); os.setgid(65534); os.setuid(65534)
sys.argv[0] = "maskwright"
cli.main()
"""


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="needs root, to become somebody else")
@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("project add {}/streets {}/photos", "is read-only or belongs to another user"),
        ("project new {}/other", "is read-only or belongs to another user"),
        ("export {}/streets {}/coco.json", "read-only|Cannot write"),
    ],
)
def test_folder_of_another_user(run: Run, picture: Path, home: Path, words: str, sentence: str) -> None:
    with contextlib.ExitStack() as stack:
        # pytest's folders are closed to others
        for folder in [home, *home.parents]:
            if folder.stat().st_uid == os.getuid() and folder.stat().st_mode & 0o005 != 0o005:
                stack.callback(folder.chmod, folder.stat().st_mode & 0o777)
                folder.chmod(folder.stat().st_mode | 0o055)
        picture.chmod(0o600)
        run("project", "new", "streets")
        before = sorted(home.rglob("*"))
        given = words.format(home, home).split()
        done = subprocess.run([sys.executable, "-c", CHILD, *given], capture_output=True, text=True, cwd="/")
        assert re.search(sentence, Done(done.returncode, done.stdout, done.stderr).sentence())
        assert sorted(home.rglob("*")) == before
        secret = [sys.executable, "-c", CHILD, "segment", str(picture), "--text", "cow"]
        done = subprocess.run(secret, capture_output=True, text=True, cwd="/")
        assert done.returncode == 2
        assert "street.png' is not readable." in done.stderr


# evaluate


@pytest.fixture
def labelled(home: Path, picture: Path) -> Path:
    folder = home / "data"
    (folder / "images").mkdir(parents=True)
    rows, annotations = [], []
    for number in range(1, 9):
        shutil.copy(picture, folder / "images" / f"n{number}.png")
        rows.append({"id": number, "file_name": f"n{number}.png", "width": 60, "height": 40})
        box = [0, 0, 20, 0, 20, 40, 0, 40]
        annotations.append({"id": number, "image_id": number, "category_id": 5, "iscrowd": 0, "segmentation": [box]})
    categories = [{"id": 5, "name": "cow"}, {"id": 2, "name": "Straße"}]
    data = {"images": rows, "annotations": annotations, "categories": categories}
    (folder / "annotations.json").write_text(json.dumps(data), encoding="utf-8")
    return folder


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


def test_evaluate_that_cannot_be(run: Run, home: Path, labelled: Path, small_preset: Path) -> None:
    words = ("--task", "text", "--preset", small_preset, "--device", "cpu")
    assert "is not a labelled folder" in run("evaluate", home, *words).sentence()
    assert "no text method magic" in run("evaluate", labelled, *words, "--method", "magic").sentence()
    (labelled / "annotations.json").write_text("{}")
    assert "not a COCO dataset: images is missing" in run("evaluate", labelled, *words).sentence()


# models and doctor


def test_models_list(run: Run, tmp_path: Path, small_preset: Path) -> None:
    shutil.copytree(small_preset, tmp_path / "presets" / "mine")
    rows = {row["name"]: row for row in run("models", "list", "--json").json}
    assert rows["tiny"]["installed"]
    assert rows["mine"] == {"name": "mine", "installed": True, "folder": str(tmp_path / "presets" / "mine")}
    assert rows["dinov3txt-l"] == {"name": "dinov3txt-l", "installed": False, "folder": None}
    assert "dinov3txt-l  not on this computer" in run("models", "list").out


def test_models_info(run: Run, tmp_path: Path, small_preset: Path, home: Path) -> None:
    official = run("models", "info", "dinov3txt-l", "--json").json
    assert [file["part"] for file in official["files"]] == ["backbone", "head", "vocabulary"]
    for file in official["files"]:
        assert file["page"].startswith("https://")
        assert file["licence"]
    told = run("models", "info", "dinov3txt-l").out
    assert "download it by hand" in told
    assert "maskwright models import FILE... --as dinov3txt-l" in told
    # a folder of downloads with that name, as people make it
    (home / "dinov3txt-l").mkdir()
    assert run("models", "info", "dinov3txt-l").out == told
    here = run("models", "info", small_preset, "--json").json
    assert (here["whole"], here["installed"]) == (True, str(small_preset))
    assert "Model nosuch is not on this computer" in run("models", "info", "nosuch").sentence()


def test_models_verify(run: Run, home: Path, small_preset: Path) -> None:
    done = run("models", "verify", small_preset, "--json")
    assert (done.status, done.json["folder"]) == (0, str(small_preset))
    assert re.fullmatch(r"[0-9a-f]{64}", done.json["sha256"])
    bad = shutil.copytree(small_preset, home / "bad")
    with (bad / "dinotxt.safetensors").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\x7f")
    assert "not the expected one (SHA-256 differs)" in run("models", "verify", bad).sentence()
    assert "DAMAGED" in run("models", "info", bad).out
    (bad / "dinotxt.safetensors").unlink()
    assert "Cannot read the weights" in run("models", "verify", bad).sentence()
    assert run("models", "info", bad, "--json").json["whole"] is False
    (bad / "config.json").write_text('{"dinotxt": {"zoom": 3}}')
    assert "unknown keys zoom" in run("models", "verify", bad).sentence()
    assert "Model nosuch is not on this computer" in run("models", "verify", "nosuch").sentence()


def test_models_import_refuses(run: Run, tmp_path: Path, home: Path) -> None:
    (home / "head.pth").write_text("not weights")
    assert "Known: dinov3seg-l, dinov3txt-l" in run("models", "import", "head.pth", "--as", "nosuch").sentence()
    assert "There is no file nothere.pth" in run("models", "import", "nothere.pth", "--as", "dinov3txt-l").sentence()
    assert "Cannot read head.pth" in run("models", "import", "head.pth", "--as", "dinov3txt-l").sentence()
    assert not (tmp_path / "presets").exists()


@pytest.mark.slow
def test_models_fetch_without_network(run: Run, tmp_path: Path) -> None:
    assert "not an official preset" in run("models", "fetch", "nosuch").sentence()
    offline = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hub")}
    sentence = process("models", "fetch", "dinov3txt-l", env=offline).sentence()
    assert "https://huggingface.co/facebook/dinov3-vitl16-pretrain-lvd1689m by hand" in sentence


def test_doctor(run: Run, tmp_path: Path) -> None:
    done = run("doctor", "--json")
    assert done.status == 0, done.err
    assert [set(line) for line in done.json] == [{"subject", "ok", "found", "mend", "needed"}] * len(done.json)
    assert {"python", "torch", "devices", "model tiny", "project"} <= {line["subject"] for line in done.json}
    told = run("doctor", "--project", tmp_path / "nowhere")
    assert told.status == 1
    assert re.search(r"^NO +project +There is no project in ", told.out, re.MULTILINE)


def test_broken_settings_are_one_sentence(run: Run, picture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASKWRIGHT_CACHE_MB", "lots")
    for words in ("models list", "doctor", f"segment {picture} --text cow"):
        assert run(*words.split()).sentence() == "The setting cache_mb must be a whole number, got 'lots'. Correct it."


def test_train_words(run: Run, home: Path) -> None:
    sentence = run("train", "data", "--out", "preset", "--background", "nuclei").sentence()
    assert sentence == "nuclei is none of the folders given: data."
    assert "is not a labelled folder" in run("train", "data", "--out", "preset", "--steps", "1").sentence()
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
    assert answer["before"]["images"] == answer["after"]["images"] == 1
    assert "2 classes, 12 masks, 5 images to learn from, 1 to measure on" in done.err
    picture = tmp_path / "m0.png"
    used = run(
        "segment", picture, "--text", "meadow, air", "--preset", answer["checkpoint"], "--device", "cpu", "--json"
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
