"""Who may talk to the server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from maskwright.errors import UsageError
from maskwright.files.logins import Logins, set_password
from maskwright.project import Project
from maskwright.session import AnnotationSession
from maskwright_app.server import page_app
from tests.app.ui.conftest import ADDRESS
from tests.core.session.conftest import box

EVIL = "http://evil.example.com"


def test_other_host_names_and_sites_are_refused(full_client: TestClient, project: Project) -> None:
    client = full_client
    for path in ("/", "/config", "/ui/state", "/gradio_api/info"):
        assert client.get(path).status_code == 200
        for host in ("evil.example.com", "evil.example.com:7860", "127.0.0.1.evil.example.com", "10.0.0.1", ""):
            refused = client.get(path, headers={"Host": host})
            assert refused.status_code == 421
            assert "access-control-allow-origin" not in refused.headers
        for host in ("localhost:7860", "127.0.0.1:7860", "[::1]:7860", "LOCALHOST"):
            assert client.get(path, headers={"Host": host}).status_code == 200
    mask = project.accept(1, box(0, 10), "cow")
    for origin in (EVIL, "null", "http://localhost:1234", "https://localhost.evil.example.com"):
        headers = {"Origin": origin}
        for attempt in (
            client.delete(f"/ui/masks/{mask.id}", headers=headers),
            client.post("/gradio_api/upload", files={"files": ("a.png", b"x")}, headers=headers),
            client.post("/gradio_api/call/delete", json={"data": [[mask.id]]}, headers=headers),
            client.get("/ui/state", headers=headers),
        ):
            assert attempt.status_code == 403
            assert "access-control-allow-origin" not in attempt.headers
    assert project.annotations(1) == [mask]
    assert client.get("/ui/state", headers={"Origin": ADDRESS}).status_code == 200


def test_a_body_without_end_is_refused(client: TestClient) -> None:
    refused = client.post("/ui/undo", content=b"x", headers={"Content-Length": str(1 << 40)})
    assert refused.status_code == 413


@pytest.fixture
def guarded(session: AnnotationSession, tmp_path: Path) -> Iterator[TestClient]:
    for name in ("ann", "bob"):
        set_password(tmp_path / "logins.txt", name, f"secret of {name}")
    app = page_app(session, logins=Logins.read(tmp_path / "logins.txt"))
    with TestClient(app, base_url=ADDRESS, follow_redirects=False) as client:
        yield client


def log_in(client: TestClient, name: str, password: str = "", **headers: str) -> int:
    form = {"username": name, "password": password or f"secret of {name}"}
    client.cookies.clear()
    return client.post("/login", data=form, headers=headers).status_code


def test_nothing_is_answered_without_a_login(guarded: TestClient) -> None:
    for path in ("/ui/state", "/config", "/gradio_api/info", "/file=/etc/passwd"):
        assert guarded.get(path).status_code == 401
    assert guarded.get("/", headers={"Accept": "text/html"}).headers["location"] == "/login"
    assert "Maskwright" in guarded.get("/login").text
    assert log_in(guarded, "ann", "wrong") == 401
    assert guarded.get("/ui/state").status_code == 401
    assert log_in(guarded, "ann") == 200
    assert guarded.get("/ui/state").json()["user"] == "ann"
    assert guarded.post("/logout").status_code == 303
    assert guarded.get("/ui/state").status_code == 401
    assert log_in(guarded, "ann", "secret of ann", Accept="text/html") == 303


def test_the_login_name_is_the_annotator_and_undo_is_of_each_person(guarded: TestClient, project: Project) -> None:
    from maskwright.domain import rle

    body = {"image": 1, "rle": rle.encode(box(0, 10)), "category": "cow"}
    for name in ("ann", "bob"):
        log_in(guarded, name)
        assert guarded.post("/ui/masks", json=body).status_code == 200
    assert [mask.annotator for mask in project.annotations(1)] == ["ann", "bob"]
    log_in(guarded, "ann")
    assert guarded.post("/ui/undo", json={"image": 1}).status_code == 200
    assert [mask.annotator for mask in project.annotations(1)] == ["bob"]
    assert " ann: " in guarded.get("/ui/masks/1/history").json()["history"][0]


def test_wrong_passwords_are_throttled(guarded: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("maskwright_app.security.time.monotonic", lambda: clock[0])
    assert [log_in(guarded, "ann", "wrong") for _ in range(5)] == [401] * 5
    assert log_in(guarded, "ann") == 429, "not even the right one"
    clock[0] += 3
    assert log_in(guarded, "ann") == 200
    assert log_in(guarded, "ann", "wrong") == 401, "counted from the start again"


def test_a_file_of_logins_holds_no_password(tmp_path: Path) -> None:
    file = tmp_path / "logins.txt"
    assert set_password(file, "ann", "correct horse")
    assert set_password(file, "bob ü", "battery staple")
    assert not set_password(file, "ann", "another one")
    text = file.read_text(encoding="utf-8")
    assert "horse" not in text
    assert file.stat().st_mode & 0o077 == 0
    logins = Logins.read(file)
    assert logins.accepts("bob ü", "battery staple")
    assert not logins.accepts("ann", "correct horse")
    assert not logins.accepts("eve", "another one")
    for name, password in (("a:b", "long enough"), ("", "long enough"), ("ann", "short")):
        with pytest.raises(UsageError):
            set_password(file, name, password)
    for content in ("", "ann:secret\n", "scrypt$1\n"):
        file.write_text(content, encoding="utf-8")
        with pytest.raises(UsageError):
            Logins.read(file)
