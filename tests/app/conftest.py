"""A project with a session, and the page in a process of its own."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from maskwright.engine import Engine
from maskwright.project import Project
from maskwright.session import AnnotationSession
from maskwright_app.handlers import Handlers
from maskwright_app.samples import samples
from tests.browser import tab

__all__ = ["tab"]


@pytest.fixture(scope="session")
def engine() -> Engine:
    return Engine.load("tiny", "cpu")


@pytest.fixture
def handlers(tmp_path: Path, engine: Engine) -> Iterator[Handlers]:
    with Project.open(tmp_path / "project", create=True) as project:
        yield Handlers(AnnotationSession(lambda preset: engine, project))


@pytest.fixture
def sample_path() -> Path:
    """A meadow with sky: the bundled model finds several of its classes."""
    return next(sample.path for sample in samples() if "tree" in sample.words and "giraffe" in sample.words)


class Page:
    """The running page."""

    def __init__(self, url: str, project: Path, process: subprocess.Popen[str]) -> None:
        self.url, self.project, self.process = url, project, process


@contextmanager
def served(project: Path, *words: str) -> Iterator[Page]:
    """`maskwright ui` as a person starts it."""
    program = Path(sys.executable).with_name("maskwright")
    process = subprocess.Popen(
        [program, "ui", "--project", str(project), *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    lines = []
    assert process.stdout is not None
    for line in process.stdout:
        lines.append(line)
        if found := re.search(r"http://\S+", line):
            yield Page(found.group(), project, process)
            break
    else:
        pytest.fail("".join(lines))
    process.terminate()
    process.wait(timeout=20)


@pytest.fixture(scope="module")
def page_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """The page on an empty project, with the bundled preset."""
    with served(tmp_path_factory.mktemp("served") / "projekt ü #1") as page:
        yield page
