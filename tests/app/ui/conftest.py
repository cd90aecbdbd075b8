"""The server on a project of two small images, with an engine that answers as the test says; no browser, no port."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from maskwright.session import AnnotationSession
from maskwright_app.server import create_app, page_app
from tests.core.session.conftest import ScriptedEngine, engine, project

__all__ = ["engine", "project"]

ADDRESS = "http://localhost:7860"


@pytest.fixture
def session(project: object, engine: ScriptedEngine) -> AnnotationSession:
    return AnnotationSession(lambda name: engine, project, "scripted")  # type: ignore[arg-type,return-value]


@pytest.fixture
def client(session: AnnotationSession) -> Iterator[TestClient]:
    with TestClient(page_app(session), base_url=ADDRESS, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def full_client(session: AnnotationSession) -> Iterator[TestClient]:
    """With Gradio's endpoints, which take seconds to build."""
    with TestClient(create_app(session), base_url=ADDRESS, raise_server_exceptions=False) as client:
        yield client
