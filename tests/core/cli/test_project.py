"""`maskwright project`, `export`, `import` and `validate`."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from maskwright.domain import Image, Mask
from maskwright.project import Project
from tests.core.cli.conftest import Done, Run, bad_image_files


def test_project_from_new_to_export(run: Run, image_file: Path, home: Path) -> None:
    bad_image_files(image_file.parent)
    assert run("project", "new", "streets", "--json").json == {"project": str(home / "streets")}
    assert run("project", "new", "streets").out == f"Project {home / 'streets'} is ready.\n", "an old one stays"

    added = run("project", "add", "streets", "photos", "nothere.png", "--json")
    assert added.status == 1, "some could not be read"
    assert added.json["added"] == 2
    assert added.json["known"] == 0
    assert len(added.json["problems"]) == 6
    assert all(sentence in added.err for sentence in added.json["problems"])
    again = run("project", "add", "streets", image_file, "--json")
    assert (again.status, again.json) == (0, {"added": 0, "known": 1, "problems": []})
    assert again.err == ""

    rows = run("project", "images", "streets", "--json").json
    fields = "id sha256 file_name address width height orientation captured plane accepted proposed"
    assert [set(row) for row in rows] == [set(fields.split())] * 2
    assert {row["file_name"] for row in rows} == {"images/street.png", "images/whole.jpg"}
    assert "images/street.png  60 x 40" in run("project", "images", "streets").out

    with Project.open(home / "streets") as project:
        project.accept(Image.open(image_file), Mask.from_array(np.eye(40, 60, dtype=bool)), "cow")
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
    assert "There are no images in that folder." in done.err


@pytest.mark.parametrize("words", ["project status p", "project images p", "project add p photos", "export p c.json"])
def test_no_project(run: Run, image_file: Path, home: Path, words: str) -> None:
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
    assert "nonsense" in run("export", "streets", "coco.json", "--states", "nonsense").sentence(2)
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
def test_folder_of_another_user(run: Run, image_file: Path, home: Path, words: str, sentence: str) -> None:
    # pytest's folders are closed to others; they stay open, because other workers share them
    for folder in [home, *home.parents]:
        if folder.stat().st_uid == os.getuid() and folder.stat().st_mode & 0o005 != 0o005:
            folder.chmod(folder.stat().st_mode | 0o055)
    image_file.chmod(0o600)
    run("project", "new", "streets")
    before = sorted(home.rglob("*"))
    given = words.format(home, home).split()
    done = subprocess.run([sys.executable, "-c", CHILD, *given], capture_output=True, text=True, cwd="/")
    assert re.search(sentence, Done(done.returncode, done.stdout, done.stderr).sentence())
    assert sorted(home.rglob("*")) == before
    secret = [sys.executable, "-c", CHILD, "segment", str(image_file), "--text", "cow"]
    done = subprocess.run(secret, capture_output=True, text=True, cwd="/")
    assert done.returncode == 2
    assert "street.png' is not readable." in done.stderr
    image_file.parent.chmod(0o700)
    done = subprocess.run(secret, capture_output=True, text=True, cwd="/")
    assert "street.png' is not readable. It belongs to another user" in done.stderr
    image_file.parent.chmod(0o755)


# a project with masks


@pytest.fixture
def streets(home: Path, rng: np.random.Generator) -> Path:
    """Three pictures; masks of two categories, one with a hole, one deleted and one rejected."""
    for number in range(3):
        file = home / "photos" / f"street {number}.png"
        file.parent.mkdir(exist_ok=True)
        Pillow.fromarray(rng.integers(0, 255, (30, 40, 3), dtype=np.uint8)).save(file)
    with Project.open(home / "streets", create=True) as project:
        project.add(home / "photos")
        for number, record in enumerate(project.images.all()):
            block = np.zeros((30, 40), bool)
            block[5 : 15 + number, 8:32] = True
            project.accept(record.id, block, "Straße")
            block[8:10, 12:16] = False
            project.accept(record.id, block, "label")
        project.delete([1])
        project.reject(2)
    return home / "streets"


def test_export_and_import_give_the_same_bytes(run: Run, streets: Path, home: Path) -> None:
    first = run("export", "streets", "out/coco.json", "--images", "--json").json
    assert (first["images"], first["masks"], first["notes"]) == (3, 4, [])
    assert run("validate", "out/coco.json", "--json").json == {
        "file": "out/coco.json", "valid": True, "faults": [], "warnings": [], "extras": []
    }  # fmt: skip

    told = run("import", "copy", "out/coco.json", "--dry-run", "--json").json
    assert (told["masks"], told["added"], told["dry_run"]) == (4, 3, True)
    assert not (home / "copy").exists()
    done = run("import", "copy", "out/coco.json", "--json").json
    assert done == told | {"dry_run": False}
    again = run("export", "copy", "again.json", "--json").json
    assert Path(again["file"]).read_bytes() == (home / "out" / "coco.json").read_bytes()
    assert (home / "again.provenance.jsonl").read_bytes() == (home / "out" / "coco.provenance.jsonl").read_bytes()
    assert run("import", "copy", "out/coco.json", "--json").json["masks"] == 0


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        pytest.param("--segmentation rle", dict, id="rle"),
        pytest.param("--segmentation rle-list", dict, id="runs"),
        pytest.param("--segmentation polygon --holes fill", list, id="filled"),
        pytest.param("--segmentation polygon --holes fill --simplify 1", list, id="simplified"),
    ],
)
def test_ways_to_write_a_mask(run: Run, streets: Path, words: str, kind: type) -> None:
    done = run("export", "streets", "coco.json", *words.split())
    rows = json.loads(Path("coco.json").read_text(encoding="utf-8"))["annotations"]
    assert {type(row["segmentation"]) for row in rows} == {kind}
    assert ("2 masks had holes, now filled." in done.err) == ("fill" in words)


def test_other_formats(run: Run, streets: Path, home: Path) -> None:
    assert "--split 0.2 sets some apart" in run("export", "streets", "yolo", "--format", "yolo").err
    assert len(list((home / "yolo" / "labels" / "train").glob("*.txt"))) == 3
    run("export", "streets", "hub", "--format", "datasets")
    assert len((home / "hub" / "metadata.jsonl").read_text(encoding="utf-8").splitlines()) == 3
    run("export", "streets", "png", "--format", "masks")
    assert json.loads((home / "png" / "classes.json").read_text(encoding="utf-8"))["1"]["name"] == "Straße"
    found = run("export", "streets", "results.json", "--format", "predictions", "--json").json
    assert (found["masks"], json.loads((home / "results.json").read_text())) == (0, []), "nothing waits for a decision"


def test_an_export_does_not_fall_on_the_projects_own_pictures(run: Run, streets: Path) -> None:
    before = {file.name: file.read_bytes() for file in (streets / "images").iterdir()}
    assert "the project's own images" in run("export", "streets", "streets/coco.json", "--images").sentence()
    assert {file.name: file.read_bytes() for file in (streets / "images").iterdir()} == before


def test_validate_names_the_faults(run: Run, streets: Path, home: Path) -> None:
    run("export", "streets", "coco.json")
    data = json.loads((home / "coco.json").read_text(encoding="utf-8"))
    data["annotations"][0]["area"] += 1
    data["annotations"][1] |= {"area": 9, "image_id": 99}
    del data["images"][0]["sha256"]
    (home / "coco.json").write_text(json.dumps(data))
    done = run("validate", "coco.json")
    assert done.status == 1
    assert "image_id is not in the file" in done.err
    assert done.out.startswith("1 faults. In 2 places it differs from Maskwright's own files")
    data["annotations"][1]["image_id"] = data["annotations"][0]["image_id"]
    (home / "coco.json").write_text(json.dumps(data))
    done = run("validate", "coco.json")
    assert done.status == 0
    assert "Warning: annotations" in done.err
    assert "1 warnings." in done.out
    for text, says in (("[]", "not a COCO dataset"), ("{", "not a JSON file"), ('{"images": [1]}', "missing")):
        (home / "other.json").write_text(text)
        assert says in run("validate", "other.json").err
    assert "There is no file" in run("validate", "none.json").sentence()


def test_import_options(run: Run, streets: Path, home: Path) -> None:
    run("export", "streets", "elsewhere/coco.json")
    done = run("import", "copy", "elsewhere/coco.json", "--images", "photos", "--as-proposals", "--json").json
    assert (done["added"], done["proposals"], done["missing"]) == (3, 4, [])
    assert run("project", "status", "copy", "--json").json["proposed"] == 4
    assert "There is no folder" in run("import", "copy", "elsewhere/coco.json", "--images", "nowhere").sentence()


def test_missing_pictures_are_listed_and_found_again(run: Run, streets: Path, home: Path) -> None:
    for file in (streets / "images").iterdir():
        file.unlink()
    assert len(run("project", "status", "streets", "--json").json["missing"]) == 3
    assert len(run("project", "images", "streets", "--missing", "--json").json) == 3
    moved = home / "moved" / "deep"
    (home / "photos").rename(home / "moved")
    moved.mkdir()
    first = next((home / "moved").glob("*0.png"))
    first.rename(moved / "renamed.png")
    last = next((home / "moved").glob("*2.png"))
    last.unlink()
    done = run("project", "relink", "streets", "moved")
    assert done.status == 1
    assert "street 2.png is still missing" in done.err
    assert done.out == "2 image files found, 1 still missing.\n"
    assert len(run("project", "images", "streets", "--missing", "--json").json) == 1
    assert run("project", "status", "streets", "--json").json["accepted"] == {"Straße": 2, "label": 2}


def test_a_picture_with_other_bytes_is_taken_by_path_and_told(run: Run, streets: Path, home: Path) -> None:
    (lost, *_) = sorted((streets / "images").iterdir())
    lost.unlink()
    (home / "new" / "images").mkdir(parents=True)
    Pillow.fromarray(np.zeros((30, 40, 3), np.uint8)).save(home / "new" / "images" / lost.name)
    done = run("project", "relink", "streets", "new", "--json")
    assert (done.status, done.json["by_path"]) == (0, [f"images/{lost.name}"])
    assert "the content differs" in done.err
    with Project.open(streets) as project:
        assert not project.images.open(1).pixels.any()


def test_pages_of_images(run: Run, streets: Path) -> None:
    (row,) = run("project", "images", "streets", "--after", "1", "--limit", "1", "--json").json
    assert (row["id"], row["accepted"], row["proposed"]) == (2, 2, 0)


def test_backup_damage_and_restore(run: Run, streets: Path) -> None:
    copy = Path(run("project", "backup", "streets", "--json").json["file"])
    assert copy.parent == streets / "backups"
    file = streets / "project.db"
    damaged = bytearray(file.read_bytes())
    damaged[200:] = b"\7" * (len(damaged) - 200)
    file.write_bytes(damaged)
    sentence = run("project", "status", "streets").sentence()
    assert "The project file is damaged. Restore the backup of " in sentence
    assert "(4 masks)" in sentence
    restored = run("project", "restore", "streets", "--json").json
    assert restored["masks"] == 4
    assert Path(restored["replaced"]).read_bytes() == damaged
    assert run("project", "status", "streets", "--json").json["accepted"] == {"Straße": 2, "label": 2}
    assert "There is no backup" in run("project", "restore", "streets", "none.db").sentence()


def test_restore_waits_for_other_windows_to_close(run: Run, streets: Path) -> None:
    run("project", "backup", "streets")
    with Project.open(streets) as open_elsewhere:
        open_elsewhere.accept(1, np.eye(30, 40, dtype=bool), "late")
        assert "Another program has" in run("project", "restore", "streets").sentence()
        assert "late" in {one.category for one in open_elsewhere.annotations()}
    assert run("project", "restore", "streets").status == 0


def test_purge_asks_and_keeps_a_copy(run: Run, streets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def no(text: str, **_: Any) -> bool:
        asked.append(text)
        return False

    monkeypatch.setattr("typer.confirm", no)
    assert run("project", "purge", "streets").sentence() == "Nothing was removed."
    assert asked == ["Remove 2 rejected and deleted masks for good?"]
    done = run("project", "purge", "streets", "--yes", "--json").json
    assert done["removed"] == 2
    with closing(sqlite3.connect(done["backup"])) as copy:
        assert copy.execute("SELECT count(*) FROM annotations").fetchone() == (6,)
    assert run("project", "purge", "streets", "--yes", "--json").json == {"removed": 0, "backup": None}
    status = run("project", "status", "streets", "--json").json
    assert (status["rejected"], status["deleted"]) == (0, 0)


def test_the_benchmark_of_the_store(run: Run, home: Path) -> None:
    done = run("bench", "--task", "store", "--masks", "10000", "--rounds", "3", "--json").json
    assert [size["masks"] // 100 for size in done["sizes"]] == [1, 10, 100]
    assert set(done["growth"]) >= {"open", "first_page", "counts", "accept_p95"}
    assert done["export_masks"] >= 10_000
    assert done["export_above_start_mb"] < 500
    assert all(size["accept_p95"] > 0 for size in done["sizes"])
    assert (done["writers"], done["writers_masks"], done["database"]) == (8, 120, "sqlite")


def test_images_are_deleted_excluded_and_replaced(run: Run, streets: Path, home: Path) -> None:
    rows = run("project", "images", "streets", "--json").json
    first = rows[1]
    assert run("project", "exclude", "streets", str(first["id"])).out == "1 images excluded.\n"
    assert first["id"] not in [row["id"] for row in _exported(run, home)]
    assert run("project", "include", "streets", first["file_name"]).out == "1 images included.\n"
    new = home / "sharper.png"
    Pillow.fromarray(np.full((first["height"], first["width"], 3), 9, np.uint8)).save(new)
    replaced = run("project", "replace", "streets", str(first["id"]), new, "--json").json
    assert (replaced["id"], replaced["file_name"]) == (first["id"], "images/sharper.png")
    assert (home / "streets" / first["file_name"]).is_file(), "old versions need the old file"
    assert run("project", "images", "streets", "--json").json[1]["accepted"] == first["accepted"] == 2
    Pillow.fromarray(np.zeros((3, 3, 3), np.uint8)).save(home / "small.png")
    assert "its masks would not fit" in run("project", "replace", "streets", "sharper.png", "small.png").sentence()
    assert "is image" in run("project", "replace", "streets", "sharper.png", new).sentence()
    gone = run("project", "delete", "streets", "sharper.png", "--json").json
    assert gone == {"deleted": [first["id"]], "masks": first["accepted"]}
    assert "has no image sharper.png" in run("project", "delete", "streets", "sharper.png").sentence()


def _exported(run: Run, home: Path, *words: str) -> list[dict[str, Any]]:
    done = run("export", "streets", "now.json", *words)
    assert done.status == 0, done.err
    found: list[dict[str, Any]] = json.loads((home / "now.json").read_text(encoding="utf-8"))["images"]
    return found


def test_a_frozen_version_stays_and_differences_are_counted_and_drawn(run: Run, streets: Path, home: Path) -> None:
    assert run("project", "freeze", "streets", "v1").status == 0
    run("export", "streets", "before.json", "--all-categories")
    with Project.open(home / "streets") as project:
        first = project.annotations()[0]
        image = project.images.open(first.image_id)
        block = np.zeros(image.size_hw, bool)
        block[2:9, 3:20] = True
        project.delete([first])
        project.accept(first.image_id, block, "cow")
        project.store.images.delete(project.images.all()[-1].id, "ann")
    done = run("project", "diff", "streets", "v1", "--draw", "changes", "--json").json
    assert (sum(done["added"].values()), done["added"]["cow"]) == (1, 1)
    assert done["removed"][first.category] >= 1
    assert len(done["images_removed"]) == 1
    assert Path(done["drawn"][0]).is_file()
    assert "masks added: cow 1" in run("project", "diff", "streets", "v1").out
    # the version is as it was, in every format
    run("export", "streets", "frozen.json", "--version", "v1", "--all-categories")
    before, frozen = (json.loads((home / name).read_text(encoding="utf-8")) for name in ("before.json", "frozen.json"))
    assert frozen == before
    assert run("export", "streets", "out", "--version", "v1", "--format", "yolo").status == 0
    assert "versions never change" in run("project", "freeze", "streets", "v1").sentence()
    assert "no version v2. Versions of this project: v1." in run("project", "diff", "streets", "v2").sentence()
    assert "is no name of a version" in run("project", "freeze", "streets", "../x").sentence(2)


def test_what_is_passed_over_and_further_pages_are_said(run: Run, home: Path) -> None:
    run("project", "new", "p")
    folder = home / "photos"
    folder.mkdir()
    pages = [Pillow.fromarray(np.full((4, 5), shade, np.uint8)) for shade in (10, 20, 30)]
    pages[0].save(folder / "stack.tif", save_all=True, append_images=pages[1:])
    Pillow.fromarray(np.full((4, 5, 3), 77, np.uint8)).save(folder / "b.jfif", "JPEG")
    (folder / "without ending").write_bytes((folder / "b.jfif").read_bytes() + b"x")
    (folder / "moving.gif").write_bytes(b"GIF89a")
    (folder / "notes.txt").write_text("x")
    done = run("project", "add", "p", "photos", "--json")
    assert done.json["added"] == 3
    assert [Path(path).name for path in done.json["passed_over"]] == ["notes.txt"]
    assert "moving.gif: this file type is not supported" in done.err
    assert "stack.tif has 3 pages" in done.err
    assert run("project", "add", "p", "photos/stack.tif", "--pages", "all", "--json").json["added"] == 3
    names = [row["file_name"] for row in run("project", "images", "p", "--json").json]
    assert names[-3:] == [f"images/stack page{number}.png" for number in (0, 1, 2)]


def test_options_of_a_split(run: Run, streets: Path) -> None:
    for words, sentence in (
        (["--split", "x"], "is no split"),
        (["--split", "1.5"], "leave images for training"),
        (["--subject", "a"], "Add --split 0.2"),
        (["--split", "0.2", "--subject", "("], "is not a regular expression"),
        (["--push", "me/set"], "Add --format datasets"),
    ):
        assert sentence in run("export", "streets", "x.json", *words).sentence(2)
