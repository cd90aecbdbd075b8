"""Errors E-1 to E-20 as a user reads them: each is provoked once, and its message checked.

E-7 (GPU out of memory) and E-20 (server busy) have no message of their own in this version.
"""

from __future__ import annotations

import errno
import json
import re
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from huggingface_hub.errors import GatedRepoError
from PIL import Image as Pillow

from maskwright.domain import TextPrompt
from maskwright.engine import Engine
from maskwright.errors import MaskwrightError
from maskwright.project import Project
from maskwright.session import AnnotationSession
from maskwright.store.db_errors import cannot_write
from tests.core.cli.conftest import Run


@dataclass(frozen=True)
class Machine:
    """What the errors are provoked with."""

    run: Run
    folder: Path
    image: Path
    preset: Path
    monkeypatch: pytest.MonkeyPatch

    def failure(self, *arguments: object, status: int = 1) -> str:
        """The message of a command that fails."""
        return self.run(*arguments).sentence(status)

    def prompt(self, command: str, *arguments: object) -> tuple[object, ...]:
        return command, self.image, *arguments, "--preset", self.preset, "--device", "cpu"

    def project(self) -> Path:
        with Project.open(self.folder / "streets", create=True) as project:
            project.add(self.image)
        return self.folder / "streets"

    def file(self, name: str, content: str = "Dear Sir or Madam") -> Path:
        (self.folder / name).write_text(content)
        return self.folder / name

    def mask(self, value: int) -> Path:
        Pillow.fromarray(np.full((40, 60), value, np.uint8)).save(self.folder / "mask.png")
        return self.folder / "mask.png"


@pytest.fixture
def machine(run: Run, home: Path, image_file: Path, small_preset: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(run, home, image_file, small_preset, monkeypatch)


def _unreadable(machine: Machine) -> str:
    return machine.failure("segment", machine.file("photo.jpg"), "--text", "cow")


def _unsupported(machine: Machine) -> str:
    return machine.failure("segment", machine.file("photo.heic"), "--text", "cow")


def _too_large(machine: Machine) -> str:
    Pillow.new("1", (1100, 1000)).save(machine.folder / "large.png")
    machine.monkeypatch.setenv("MASKWRIGHT_MAX_MEGAPIXELS", "1")
    return machine.failure("segment", "large.png", "--text", "cow")


def _preset_missing(machine: Machine) -> str:
    return machine.failure("segment", machine.image, "--text", "cow", "--preset", "dinov3txt-l")


def _access_refused(machine: Machine) -> str:
    def refuse(url: str) -> None:
        raise GatedRepoError.__new__(GatedRepoError)

    machine.monkeypatch.setattr("maskwright.presets.hub.get_hf_file_metadata", refuse)
    machine.monkeypatch.setattr("maskwright.presets.hub.try_to_load_from_cache", lambda repository, name: None)
    return machine.failure("models", "fetch", "talk2dino-dinov3-b")


def _damaged_weights(machine: Machine) -> str:
    folder = shutil.copytree(machine.preset, machine.folder / "damaged")
    with (folder / "dinotxt.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x7f")
    return machine.failure("models", "verify", folder)


def _empty_prompt(machine: Machine) -> str:
    return machine.failure(*machine.prompt("segment", "--text", " , "), status=2)


def _nothing_found(machine: Machine) -> str:
    with Project.open(machine.project()) as project:
        session = AnnotationSession(lambda preset: Engine.load(preset, "cpu"), project, str(machine.preset))
        return session.propose_text(1, TextPrompt.parse("cow", threshold=1.0)).notice


def _empty_reference(machine: Machine) -> str:
    return machine.failure(*machine.prompt("like", "--reference", machine.image, machine.mask(0)))


def _whole_reference(machine: Machine) -> str:
    return machine.failure(*machine.prompt("like", "--reference", machine.image, machine.mask(255)))


def _click_outside(machine: Machine) -> str:
    return machine.failure(*machine.prompt("click", "--point", "61,5"), status=2)


def _read_only(machine: Machine) -> str:
    return str(cannot_write(machine.project(), PermissionError(errno.EACCES, "Permission denied")))


def _disk_full(machine: Machine) -> str:
    return str(cannot_write(machine.project(), OSError(errno.ENOSPC, "No space left on device")))


def _newer_project(machine: Machine) -> str:
    folder = machine.project()
    with closing(sqlite3.connect(folder / "project.db")) as database, database:
        database.execute("UPDATE alembic_version SET version_num = '3.1_planes'")
    return machine.failure("project", "status", folder)


def _damaged_project(machine: Machine) -> str:
    folder = machine.project()
    machine.run("project", "backup", folder)
    (folder / "project.db").write_bytes(b"no database at all" * 100)
    return machine.failure("project", "status", folder)


def _not_coco(machine: Machine) -> str:
    return machine.failure("import", machine.project(), machine.file("coco.json", "{}"))


def _images_missing(machine: Machine) -> str:
    images = [{"id": number, "file_name": f"{number}.png", "width": 60, "height": 40} for number in range(1, 4)]
    data = {"images": images, "annotations": [], "categories": [{"id": 1, "name": "cow"}]}
    return machine.failure("import", machine.project(), machine.file("coco.json", json.dumps(data)))


def _too_little_to_train(machine: Machine) -> str:
    return machine.failure("finetune", machine.project())


class Case(NamedTuple):
    """An error, the fact that its message must state, and what it must tell the user to do."""

    number: str
    provoke: Callable[[Machine], str]
    fact: str
    advice: str


CASES = [
    Case("E-1", _unreadable, r"Cannot read photo\.jpg: the file is damaged or not an image", "choose another file"),
    Case("E-2", _unsupported, r"photo\.heic: this file type is not supported", r"Supported: .*\.png"),
    Case("E-3", _too_large, r"large\.png has 1 megapixels; the limit is 1", "MASKWRIGHT_MAX_MEGAPIXELS"),
    Case("E-4", _preset_missing, "Model dinov3txt-l is not on this computer", "`maskwright models info dinov3txt-l`"),
    Case("E-5", _access_refused, "has not given your account access to facebook/", "Ask at https://huggingface.co/"),
    Case("E-6", _damaged_weights, r"dinotxt\.safetensors .*is not the expected one \(SHA-256 differs\)", "again"),
    Case("E-8", _empty_prompt, "Type at least one class name", 'for example "grass, cow, sky"'),
    Case("E-9", _nothing_found, r"No cow found above 1\.00; the best score is 0\.\d\d", "Lower the threshold"),
    Case("E-10 empty", _empty_reference, "The reference mask is empty", "Mark "),
    Case("E-10 whole", _whole_reference, "The reference mask covers the whole image", "mark only the object"),
    Case("E-11", _click_outside, "That point is outside the image", "Nothing changed"),
    Case("E-13", _read_only, "Cannot save: .* is read-only or belongs to another user", "(?i)choose|copy|ask"),
    Case("E-14", _disk_full, "The disk is full; nothing was lost", "Free 200 MB"),
    Case("E-15", _newer_project, r"This project was made by version 3\.1; you have \d", "Update Maskwright"),
    Case("E-16", _damaged_project, "The project file is damaged", r"Restore the backup of .* \(\d+ masks\)"),
    Case("E-17", _not_coco, "This JSON is not a COCO dataset: images is missing", "Choose another file"),
    Case("E-18", _images_missing, "3 of 3 images were not found", "--images"),
    Case(
        "E-19", _too_little_to_train, "Training needs at least 2 annotated images; you have 0", "Accept masks on more"
    ),
]


@pytest.mark.parametrize("case", CASES, ids=[case.number for case in CASES])
def test_message_states_the_cause_and_what_to_do(machine: Machine, case: Case) -> None:
    message = case.provoke(machine)
    assert re.search(case.fact, message)
    assert re.search(case.advice, message)
    assert not re.search(r"Traceback|Error\b|\[Errno|Exception|None\b|\b0x[0-9a-f]+|\n", message), message
    assert message.endswith((".", "?", ")"))


def test_every_error_class_has_a_sentence_of_its_own_meaning() -> None:
    """No class of errors without a docstring that says when it is raised."""
    classes = [MaskwrightError]
    for one in classes:
        classes += one.__subclasses__()
    assert all(one.__doc__ for one in classes if one.__module__.startswith("maskwright"))
