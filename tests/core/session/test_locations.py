"""What is at a place that a user names, before anything is created there."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image as Pillow

from maskwright.project import Project
from maskwright.session import LocationKind, ProjectLocation


def _with_project(folder: Path) -> None:
    Project.open(folder, create=True).close()


def _with_images(folder: Path) -> None:
    folder.mkdir()
    for name in ("a.png", "b.png"):
        Pillow.new("RGB", (4, 4)).save(folder / name)


def _with_files(folder: Path) -> None:
    folder.mkdir()
    (folder / "letter.txt").touch()


@pytest.mark.parametrize(
    ("make", "kind", "says"),
    [
        pytest.param(_with_project, LocationKind.PROJECT, "", id="project"),
        pytest.param(Path.mkdir, LocationKind.NEW, "no project", id="empty folder"),
        pytest.param(lambda folder: None, LocationKind.NEW, "no project", id="nothing"),
        pytest.param(_with_images, LocationKind.IMAGES, "2 images", id="images"),
        pytest.param(_with_files, LocationKind.NEW, "other files", id="other files"),
        pytest.param(Path.touch, LocationKind.OTHER, "is a file", id="file"),
    ],
)
def test_a_folder_is_told_apart_and_left_as_it_is(make: object, kind: LocationKind, says: str, tmp_path: Path) -> None:
    folder = tmp_path / "straßen"
    make(folder)  # type: ignore[operator]
    before = sorted(tmp_path.rglob("*"))
    place = ProjectLocation.inspect(f" {folder} ")
    assert place.kind is kind
    assert says in place.message
    assert place.location == str(folder)
    assert sorted(tmp_path.rglob("*")) == before


def test_no_name_and_an_address() -> None:
    assert ProjectLocation.inspect("  ").kind is LocationKind.OTHER
    assert ProjectLocation.inspect("postgresql://host/project").kind is LocationKind.PROJECT
