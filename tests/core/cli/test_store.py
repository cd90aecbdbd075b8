"""A project kept safe, and exchanged with other tools, from the command line."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from maskwright.project import Project
from tests.core.cli.test_cli import Run, home, picture, run

__all__ = ["home", "picture", "run"]


@pytest.fixture
def streets(home: Path, rng: np.random.Generator) -> Path:
    """Three pictures; masks of two categories, one with a hole, one deleted and one rejected."""
    for number in range(3):
        file = home / "photos" / f"street {number}.png"
        file.parent.mkdir(exist_ok=True)
        Pillow.fromarray(rng.integers(0, 255, (30, 40, 3), dtype=np.uint8)).save(file)
    with Project.open(home / "streets", create=True) as project:
        project.add(home / "photos")
        for number, record in enumerate(project.images()):
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
    assert run("validate", "out/coco.json", "--json").json == {"file": "out/coco.json", "valid": True, "faults": []}

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
    assert "had holes, now filled" in run("export", "streets", "yolo", "--format", "yolo").err
    assert len(list((home / "yolo" / "labels").glob("*.txt"))) == 3
    run("export", "streets", "hub", "--format", "datasets")
    assert len((home / "hub" / "metadata.jsonl").read_text(encoding="utf-8").splitlines()) == 3
    run("export", "streets", "png", "--format", "masks")
    assert json.loads((home / "png" / "classes.json").read_text(encoding="utf-8"))["1"]["name"] == "Straße"
    found = run("export", "streets", "results.json", "--format", "predictions", "--json").json
    assert (found["masks"], json.loads((home / "results.json").read_text())) == (0, []), "nothing waits for a decision"


def test_an_export_does_not_fall_on_the_projects_own_pictures(run: Run, streets: Path) -> None:
    before = {file.name: file.read_bytes() for file in (streets / "images").iterdir()}
    assert "the project's own pictures" in run("export", "streets", "streets/coco.json", "--images").sentence()
    assert {file.name: file.read_bytes() for file in (streets / "images").iterdir()} == before


def test_validate_names_the_faults(run: Run, streets: Path, home: Path) -> None:
    run("export", "streets", "coco.json")
    data = json.loads((home / "coco.json").read_text(encoding="utf-8"))
    data["annotations"][0]["area"] += 1
    (home / "coco.json").write_text(json.dumps(data))
    done = run("validate", "coco.json")
    assert done.status == 1
    assert "area must be" in done.err
    assert done.out == "1 faults.\n"
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
    assert done.out == "2 pictures found, 1 still missing.\n"
    assert len(run("project", "images", "streets", "--missing", "--json").json) == 1
    assert run("project", "status", "streets", "--json").json["accepted"] == {"Straße": 2, "label": 2}


def test_a_picture_with_other_bytes_is_taken_by_path_and_told(run: Run, streets: Path, home: Path) -> None:
    (lost, *_) = sorted((streets / "images").iterdir())
    lost.unlink()
    (home / "new" / "images").mkdir(parents=True)
    Pillow.fromarray(np.zeros((30, 40, 3), np.uint8)).save(home / "new" / "images" / lost.name)
    done = run("project", "relink", "streets", "new", "--json")
    assert (done.status, done.json["by_path"]) == (0, [f"images/{lost.name}"])
    assert "the bytes are not" in done.err
    with Project.open(streets) as project:
        assert not project.image(1).pixels.any()


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
