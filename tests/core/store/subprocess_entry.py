"""Entry points of test processes: `python subprocess_entry.py NAME PLACE`; results are lines on stdout."""

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
        image = store.images.add(NewImage("a" * 64, "images/a.png", 64, 64))
        while True:
            print(store.masks.add(NewAnnotation(image.id, "cow", MASK)).id, flush=True)


def accept_forty(address: str | Path) -> None:
    """Create or open the project together with other processes and accept one by one."""
    with Store.open(address, create=True) as store:
        image = store.images.add(NewImage("a" * 64, "images/a.png", 64, 64))
        for number in range(40):
            print(store.masks.add(NewAnnotation(image.id, f"class {number % 7}", MASK)).uid)


def accept_thousand(folder: Path) -> None:
    """One picture for all processes and ten of our own, through the project as a person's program does it."""
    pixels = np.random.default_rng(os.getpid())
    ours = [Image(pixels.integers(0, 256, (64, 64, 3), np.uint8)) for _ in range(10)]
    pictures = [Image(np.zeros((64, 64, 3), np.uint8)), *ours]
    with Project.open(folder, create=True) as project:
        for number in range(1000):
            kept = project.accept(pictures[number % 11], MASK, f"class {number % 7}")
            print(kept.id, kept.uid)


def delete_one(address: str | Path) -> None:
    """Delete the mask of the id in $MASK."""
    with Store.open(address) as store:
        store.masks.set_states({int(os.environ["MASK"]): None}, "deleted", "bob")[0]


def hold_open(file: Path) -> None:
    """Have a project open until a line comes in, then accept one more; wait to be killed when the line is "stay"."""
    with Store.open(file) as store:
        print("open", flush=True)
        wish = sys.stdin.readline()
        size = store.images.all()[0]
        store.masks.add(NewAnnotation(size.id, "cow", Mask.from_array(np.ones((size.height, size.width), bool))))
        print(len(store.masks.find()), "accepted", flush=True)
        if wish == "stay\n":
            sys.stdin.readline()


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
    _try(lambda: opened.images.register(Image(np.zeros((4, 4, 3), np.uint8))))
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
    image = store.images.add(NewImage("a" * 64, "images/a.png", 64, 64))
    confirmed = []
    try:
        while True:
            confirmed.append(store.masks.add(NewAnnotation(image.id, "cow", MASK)))
    except MaskwrightError as error:
        print(type(error).__name__, error)
    print(store.masks.find() == confirmed)
    (folder / "ballast").unlink()
    confirmed.append(store.masks.add(NewAnnotation(image.id, "cow", MASK)))
    store.close()
    print(len(confirmed) > 10, Store.open(folder / "project.db").masks.find() == confirmed)


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
    globals()[sys.argv[1]](sys.argv[2] if "://" in sys.argv[2] else Path(sys.argv[2]))
