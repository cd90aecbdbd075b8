"""What the tests run in processes of their own: `python child.py NAME FOLDER`; answers are lines on stdout."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from maskwright.domain import Image, Mask
from maskwright.errors import MaskwrightError
from maskwright.project import Project
from maskwright.store import NewAnnotation, NewImage, Store

MASK = Mask.from_array(np.random.default_rng(0).random((64, 64)) > 0.5)


def accept_for_ever(folder: Path) -> None:
    """Say each id only after the store has confirmed it."""
    with Store.open(folder / "project.db", create=True) as store:
        image = store.add_image(NewImage("a" * 64, "images/a.png", 64, 64))
        while True:
            print(store.add_annotation(NewAnnotation(image.id, "cow", MASK)).id, flush=True)


def accept_hundred(folder: Path) -> None:
    """Create or open the project together with other processes and accept one by one."""
    with Store.open(folder / "project.db", create=True) as store:
        image = store.add_image(NewImage("a" * 64, "images/a.png", 64, 64))
        for number in range(100):
            print(store.add_annotation(NewAnnotation(image.id, f"class {number % 7}", MASK)).uid)


def open_as_nobody(folder: Path) -> None:
    """Try everything that writes, in a folder of root, without root's rights."""
    _warm_up()
    opened = Project.open(folder / "mine")
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
    _try(lambda: Project.open(folder / "mine"))
    _try(lambda: Project.open(folder / "mine", create=True))
    _try(lambda: Project.open(folder / "new", create=True))
    _try(lambda: Project.open(folder / "hidden" / "project"))
    _try(lambda: opened.add_image(Image(np.zeros((4, 4, 3), np.uint8))))
    _try(lambda: opened.export_coco(folder / "coco.json"))


def open_read_only(folder: Path) -> None:
    """The same on a disk that is mounted read-only; needs a mount namespace of its own."""
    _warm_up()
    Project.open(folder / "mine", create=True).close()
    _mount("--bind", str(folder), str(folder))
    _mount("-o", "remount,ro,bind", str(folder))
    _try(lambda: Project.open(folder / "mine"))
    _try(lambda: Project.open(folder / "new", create=True))


def fill_the_disk(folder: Path) -> None:
    """Accept on a disk of 3 MB until it is full, free some room, and go on."""
    _mount("-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder))
    (folder / "ballast").write_bytes(bytes(1 << 20))
    store = Store.open(folder / "project.db", create=True)
    image = store.add_image(NewImage("a" * 64, "images/a.png", 64, 64))
    confirmed = []
    try:
        while True:
            confirmed.append(store.add_annotation(NewAnnotation(image.id, "cow", MASK)))
    except MaskwrightError as error:
        print(type(error).__name__, error)
    print(store.annotations() == confirmed)
    (folder / "ballast").unlink()
    confirmed.append(store.add_annotation(NewAnnotation(image.id, "cow", MASK)))
    store.close()
    print(len(confirmed) > 10, Store.open(folder / "project.db").annotations() == confirmed)


def _warm_up() -> None:
    """Load every module that opening a project needs: the interpreter may lie where only root can read."""
    with tempfile.TemporaryDirectory() as place, Project.open(place, create=True) as project:
        project.accept(Image(np.zeros((64, 64, 3), np.uint8)), MASK, "cow")
        project.export_coco(Path(place) / "coco.json")


def _mount(*words: str) -> None:
    subprocess.run(["mount", *words], check=True)


def _try(action: object) -> None:
    try:
        action()  # type: ignore[operator]
        print("no error")
    except MaskwrightError as error:
        print(type(error).__name__, error)


if __name__ == "__main__":
    globals()[sys.argv[1]](Path(sys.argv[2]))
