"""`export --format datasets --push`: the folder arrives on a hub file by file, through the hub's own client."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
from huggingface_hub import constants
from typer.testing import CliRunner

import maskwright as mw
from maskwright.cli import app
from maskwright.project import Project

_CREATED, _COMMITTED = "/api/repos/create", "/api/datasets/ann/streets/commit/main"


class _Hub(BaseHTTPRequestHandler):
    """What the client asks for when it uploads small files."""

    files: dict[str, bytes]
    created: list[dict[str, Any]]
    refuse: bool
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        if self.refuse or self.headers.get("authorization") != "Bearer mine":
            return self._answer({"error": "no"}, 403)
        if self.path == _CREATED:
            self.created.append(json.loads(body))
            return self._answer({"url": f"http://{self.headers['host']}/datasets/ann/streets"})
        if "/preupload/" in self.path:
            rows = [
                {"path": row["path"], "uploadMode": "regular", "shouldIgnore": False}
                for row in json.loads(body)["files"]
            ]
            return self._answer({"files": rows})
        if self.path.startswith(_COMMITTED):
            for row in map(json.loads, body.splitlines()):
                if row["key"] == "file":
                    self.files[row["value"]["path"]] = base64.b64decode(row["value"]["content"])
            return self._answer({"commitUrl": f"http://{self.headers['host']}/datasets/ann/streets", "commitOid": "c0"})
        return self._answer({}, 404)

    def do_GET(self) -> None:
        self._answer({"error": "not there"}, 404)

    def log_message(self, *args: Any) -> None:
        pass

    def _answer(self, value: dict[str, Any], status: int = 200) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[_Hub]]:
    handler = type("Handler", (_Hub,), {"files": {}, "created": [], "refuse": False})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_address[1]}")
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("HF_TOKEN", "mine")
        yield handler
        server.shutdown()
        thread.join()


@pytest.fixture
def project(tmp_path: Path, rng: np.random.Generator) -> Path:
    with Project.open(tmp_path / "streets", create=True) as project:
        mask = np.zeros((6, 8), bool)
        mask[1:4, 2:5] = True
        project.accept(mw.Image(rng.integers(0, 255, (6, 8, 3), dtype=np.uint8)), mask, "cow")
    return tmp_path / "streets"


def push(project: Path, out: Path) -> Any:
    return CliRunner().invoke(app, ["export", str(project), str(out), "--format", "datasets", "--push", "ann/streets"])


def test_every_file_of_the_folder_arrives(hub: type[_Hub], project: Path, tmp_path: Path) -> None:
    done = push(project, tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert f"Uploaded to {constants.ENDPOINT}/datasets/ann/streets." in done.output
    (made,) = hub.created
    assert (made["name"], made["organization"], made["type"], made["visibility"]) == (
        "streets",
        "ann",
        "dataset",
        "private",
    )
    written = {file.relative_to(tmp_path / "out").as_posix(): file for file in (tmp_path / "out").rglob("*.*")}
    assert "metadata.jsonl" in hub.files
    assert {name: file.read_bytes() for name, file in written.items()} == hub.files


def test_a_refusal_is_one_sentence_and_the_folder_stays(hub: type[_Hub], project: Path, tmp_path: Path) -> None:
    hub.refuse = True
    done = push(project, tmp_path / "out")
    assert done.exit_code == 1
    assert "has not given your account access to ann/streets" in str(done.exception or done.output)
    assert (tmp_path / "out" / "metadata.jsonl").is_file()
