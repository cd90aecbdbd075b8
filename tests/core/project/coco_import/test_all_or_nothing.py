"""An import that fails, is interrupted or is killed leaves the project as it was."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import maskwright as mw
from maskwright.domain import rle
from maskwright.errors import ProjectUnwritable
from maskwright.project import Project
from maskwright.project.image_folder import ImageFolder
from maskwright.store import history
from maskwright.store.imports import ImportStore
from tests.core.project.coco_import.conftest import REGIONS, Labels, draw, everything, write


class Breakdown(Exception):
    """Not one of ours."""


def fail_at(call: int, error: BaseException, real: Any) -> Any:
    """The function, which raises at a call, from 1."""
    calls = 0

    def failing(*args: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call:
            raise error
        return real(*args, **options)

    return failing


@pytest.mark.parametrize("error", [Breakdown(), KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_a_failure_at_the_last_image(
    project: Project, labels: Labels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    from maskwright.project import image_folder as picture_folder

    file = write(tmp_path, labels)
    before, number = everything(project), project.store.change_number()
    with monkeypatch.context() as patch:
        patch.setattr(picture_folder, "_copy", fail_at(2, error, picture_folder._copy))
        with pytest.raises(ProjectUnwritable if isinstance(error, OSError) else type(error)):
            project.exchange.import_coco(file)
    assert (everything(project), project.store.change_number()) == (before, number)
    # and the names are free again
    assert project.exchange.import_coco(file).masks == 5
    assert [one.file_name for one in project.images.all()] == ["images/more/ü b.png", "images/a.png"]


@pytest.mark.parametrize("name", ["add_masks", "add_boxes", "category"])
@pytest.mark.parametrize("error", [Breakdown(), KeyboardInterrupt(), mw.MaskwrightError("No.")])
def test_a_failure_in_the_transaction(
    project: Project,
    labels: Labels,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    error: BaseException,
) -> None:
    labels["annotations"].append({"id": 22, "image_id": 3, "category_id": 2, "bbox": [1, 2, 3, 4]})
    file = write(tmp_path, labels)
    (project.folder / "images" / "own.txt").write_text("of the person")
    before, number = everything(project), project.store.change_number()
    with monkeypatch.context() as patch:
        patch.setattr(history, name, fail_at(1 if name == "add_boxes" else 2, error, getattr(history, name)))
        if name == "add_masks":
            patch.setattr("maskwright.store.queries._BATCH_ROWS", 3)
        with pytest.raises(type(error)):
            project.exchange.import_coco(file)
    assert (everything(project), project.store.change_number()) == (before, number)
    done = project.exchange.import_coco(file)
    assert (done.masks, done.boxes, done.added) == (5, 1, 2)


def test_an_interruption_after_the_commit_keeps_the_images(
    project: Project, labels: Labels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = ImportStore.add

    def interrupted(*args: Any, **options: Any) -> Any:
        real(*args, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(ImportStore, "add", interrupted)
    with pytest.raises(KeyboardInterrupt):
        project.exchange.import_coco(write(tmp_path, labels))
    assert len(project.annotations()) == 5
    assert project.images.missing() == []


def test_an_image_that_changes_meanwhile(
    project: Project, labels: Labels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    real = ImageFolder.take

    def later(self: ImageFolder, source: Path, *args: Any) -> Any:
        if source.name == "a.png":
            draw(source, rng)
        return real(self, source, *args)

    monkeypatch.setattr(ImageFolder, "take", later)
    before = everything(project)
    # `a.png` is taken last
    labels["images"].reverse()
    with pytest.raises(mw.MaskwrightError, match=r"a\.png changed while it was being copied"):
        project.exchange.import_coco(write(tmp_path, labels))
    assert everything(project) == before


def test_another_process_that_was_faster_leaves_no_copy_behind(
    project: Project, labels: Labels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path, labels)
    real = ImportStore.add

    def second(store: Any, new: Any, **options: Any) -> Any:
        monkeypatch.undo()
        with Project.open(project.folder) as other:
            # it has found the reserved names not yet written
            for one in (project.folder / "images").rglob("*.png"):
                one.rename(one.with_suffix(".away"))
            other.exchange.import_coco(file)
            for one in (project.folder / "images").rglob("*.away"):
                one.rename(one.with_name(f"copy of {one.stem}.png"))
        return real(store, new, **options)

    monkeypatch.setattr(ImportStore, "add", second)
    monkeypatch.setattr(
        ImageFolder, "take", lambda self, source, wanted, digest, take=ImageFolder.take: _renamed(
            take(self, source, wanted, digest)
        )
    )  # fmt: skip
    done = project.exchange.import_coco(file)
    assert (done.masks, done.known) == (0, 5)
    files = sorted(one.name for one in (project.folder / "images").rglob("*") if one.is_file())
    assert files == ["a.png", "ü b.png"]
    assert project.images.missing() == []


def _renamed(taken: tuple[Path, bool]) -> tuple[Path, bool]:
    file, made = taken
    return file.with_name(f"copy of {file.name}"), made


CHILD = """
import sys
from maskwright.project import Project

with Project.open(sys.argv[1]) as project:
    print("ready", flush=True)
    project.exchange.import_coco(sys.argv[2])
    print("done", flush=True)
"""


@pytest.mark.slow
def test_a_killed_import_is_there_as_a_whole_or_not_at_all(tmp_path: Path, rng: np.random.Generator) -> None:
    images = [{"id": n, "file_name": f"p{n}.png", "width": 40, "height": 30} for n in range(1, 31)]
    for row in images:
        draw(tmp_path / "labels" / "images" / str(row["file_name"]), rng)
    shapes = [rle.encode(one) for one in REGIONS.values()]
    rows = [
        {"id": 4 * n + k, "image_id": n, "category_id": 1 + k, "segmentation": shape}
        for n in range(1, 31)
        for k, shape in enumerate(shapes)
    ]
    names = [{"id": 1 + k, "name": name} for k, name in enumerate(REGIONS)]
    file = write(tmp_path, {"images": images, "annotations": rows, "categories": names})
    outcomes = set()
    # from the first moment to beyond the end
    for number, delay in enumerate((0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 3.0)):
        folder = tmp_path / f"p{number}"
        Project.open(folder, create=True).close()
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(folder), str(file)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        try:
            child.wait(delay)
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGKILL)
        said = child.communicate()[0]
        with Project.open(folder) as project:
            found = project.status()
            numbers = (found.images, sum(found.accepted.values()), len(project.categories()))
            assert numbers in ((0, 0, 0), (30, 120, 4))
            assert numbers == (30, 120, 4) or "done" not in said
            outcomes.add(numbers)
            assert project.images.missing() == []
            done = project.exchange.import_coco(file)
            assert done.masks + done.known == 120
            assert len(project.annotations()) == 120
            assert project.images.missing() == []
    assert len(outcomes) == 2, "no child was killed in time, or all were"


def test_what_was_there_is_not_touched(project: Project, labels: Labels, tmp_path: Path) -> None:
    """A picture of the same name but other bytes stays, and the copy gets a number."""
    there = project.folder / "images" / "a.png"
    there.write_bytes(b"something else")
    project.exchange.import_coco(write(tmp_path, labels))
    assert there.read_bytes() == b"something else"
    assert project.store.images.get(7).file_name == "images/a-2.png"
    assert json.loads(project.export_coco(tmp_path / "o.json").read_text(encoding="utf-8"))["images"][1]["id"] == 7
