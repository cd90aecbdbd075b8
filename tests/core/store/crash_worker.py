"""A process that has loaded everything and forks workers which it kills: `python crash_worker.py`.

It says how many seconds creating a project takes here, then opening it. Then each line on stdin is SECONDS SEED FOLDER:
a worker opens, creates or upgrades the project there, works as fast as it can and is killed after so many seconds. What
it has been told is kept comes out as lines of JSON, then "dead" or the reason why it died before.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np

from maskwright.domain import Annotation, Image, Mask
from maskwright.errors import MaskwrightError
from maskwright.project import Project
from maskwright.store import STATES, Correction, NewAnnotation

SIZE = (12, 16)
ME = "worker"


class Worker:
    """Does at random what people do, and says after each action which masks are how."""

    def __init__(self, folder: Path, seed: int, say: Callable[[str], None]) -> None:
        self._random, self._pixels, self._say = random.Random(seed), np.random.default_rng(seed), say
        self._project = Project.open(folder, create=True)
        self._store = self._project.store
        # few, so that the same masks are changed again and again
        self._mine: list[Annotation] = self._project.annotations(states=STATES)[-12:]

    def work(self) -> None:
        """For ever."""
        actions = [self.new_picture] * 2 + [self.known_picture, self.proposal, self.states, self.correction]
        actions += [self.take_back] * 3 + [self.bulk, self.other_category]
        while True:
            action = self._random.choice(actions)
            number = self._store.change_number()
            try:
                action()
            except MaskwrightError:
                # nothing to undo, or it was changed since
                continue
            images = self._store.changes(number).images
            kept = [one for image in images for one in self._store.masks.find(image, STATES)]
            self._mine = [*self._mine, *kept][-12:]
            self._say(json.dumps({"number": self._store.change_number(), "masks": [fingerprint(one) for one in kept]}))

    def mask(self) -> Mask:
        pixels = self._pixels.random(SIZE) > 0.6
        return Mask.from_array(pixels, score=self._random.choice([None, 0.5]))

    def category(self) -> str:
        return f"class {self._random.randrange(5)}"

    def picture(self) -> int:
        return self._random.choice(self._mine).image_id if self._mine else self.new_picture()

    def new_picture(self) -> int:
        image = Image(self._pixels.integers(0, 256, (*SIZE, 3), np.uint8))
        return self._project.accept(image, self.mask(), self.category(), annotator=ME).image_id

    def known_picture(self) -> None:
        self._project.accept(self.picture(), self.mask(), self.category(), annotator=ME, source="text")

    def proposal(self) -> None:
        drafts = [self.draft(self.picture(), "proposed") for _ in range(2)]
        first, second = self._store.masks.add_many(drafts)
        new = [self.draft(first.image_id, "accepted")]
        self._store.masks.decide("accepted", ME, new=new, stored=[first.id, second.id], category=self.category())

    def bulk(self) -> None:
        image = self.picture()
        self._store.masks.add_many(self.draft(image, "accepted") for _ in range(6))

    def draft(self, image: int, state: str) -> NewAnnotation:
        return NewAnnotation(image, self.category(), self.mask(), "text", {"prompt": "x"}, ME, state)

    def states(self) -> None:
        chosen = self._random.sample(self._mine, min(3, len(self._mine)))
        self._store.masks.set_states({one.id: None for one in chosen}, self._random.choice(STATES), ME)

    def other_category(self) -> None:
        chosen = self._random.sample(self._mine, min(3, len(self._mine)))
        self._store.masks.reclassify({one.id: None for one in chosen}, self.category(), ME)

    def correction(self) -> None:
        one = self._store.masks.get(self._random.choice(self._mine).id) if self._mine else None
        if one is not None:
            self._store.masks.decide(
                "accepted", ME, corrections=[Correction(one.id, one.revision, self.mask_like(one), {"source": "click"})]
            )[0]

    def mask_like(self, one: Annotation) -> Mask:
        height, width = one.mask.rle["size"]
        return Mask.from_array(self._pixels.random((height, width)) > 0.4)

    def take_back(self) -> None:
        masks = self._store.masks
        self._random.choice([masks.undo, masks.undo, masks.redo])(ME)


def fingerprint(one: Annotation) -> list[object]:
    """What must be the same after the crash."""
    return [one.id, one.revision, one.state, one.category, one.mask.rle["counts"]]


def say(line: str) -> None:
    os.write(1, f"{line}\n".encode())


def life(seconds: float, seed: int, folder: Path) -> None:
    """One worker, from its birth to its death."""
    assert threading.active_count() == 1, "a fork would take over locks that nobody will ever release"
    child = os.fork()
    if child == 0:
        try:
            Worker(folder, seed, say).work()
        except BaseException:
            say(f"failed {json.dumps(traceback.format_exc())}")
        finally:
            os._exit(1)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    say("dead" if os.WIFSIGNALED(status) else "died before")


def use(folder: Path) -> float:
    """Use a project in every way, which imports what a fork needs; returns the seconds that it took."""
    began = time.monotonic()
    with Project.open(folder, create=True) as project:
        kept = project.accept(Image(np.zeros((*SIZE, 3), np.uint8)), np.ones(SIZE, bool), "x", annotator=ME)
        project.delete([kept], annotator=ME)
        project.undo(annotator=ME)
    return time.monotonic() - began


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        use(Path(place) / "first")
        for _ in range(2):
            say(str(use(Path(place) / "second")))
    for line in sys.stdin:
        words = line.rstrip("\n").split(" ", 2)
        life(float(words[0]), int(words[1]), Path(words[2]))
