"""A project with a session, and the page in a process of its own."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from maskwright.project import Project
from maskwright.session import AnnotationSession
from maskwright_app.samples import samples

if TYPE_CHECKING:
    # both are slow to import, and the page's tests need neither
    from maskwright.engine import Engine
    from maskwright_app.api import Api


@pytest.fixture(scope="session")
def engine() -> Engine:
    from maskwright.engine import Engine

    return Engine.load("tiny", "cpu")


@pytest.fixture
def empty_project(tmp_path: Path) -> Iterator[Project]:
    with Project.open(tmp_path / "project", create=True) as project:
        yield project


@pytest.fixture
def session(empty_project: Project, engine: Engine) -> AnnotationSession:
    return AnnotationSession(lambda preset: engine, empty_project)


@pytest.fixture
def api(session: AnnotationSession) -> Api:
    from maskwright_app.api import Api

    return Api(session)


@pytest.fixture
def sample_path() -> Path:
    """A meadow with sky: the bundled model finds several of its classes."""
    return next(s.path for s in samples() if "tree" in s.class_names and "giraffe" in s.class_names)


class Page:
    """The running page."""

    def __init__(self, url: str, project: Path, process: subprocess.Popen[str]) -> None:
        self.url, self.project, self.process = url, project, process


@contextmanager
def served(project: Path, *options: str) -> Iterator[Page]:
    """`maskwright ui` as a user starts it."""
    program = Path(sys.executable).with_name("maskwright")
    process = subprocess.Popen(
        [program, "ui", "--project", str(project), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    lines = []
    assert process.stdout is not None
    for line in process.stdout:
        lines.append(line)
        if address := re.search(r"http://\S+", line):
            yield Page(address.group(), project, process)
            break
    else:
        pytest.fail("".join(lines))
    process.terminate()
    process.wait(timeout=20)
