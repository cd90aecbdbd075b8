"""The server as a program: its port, its address, who may listen, and how it stops."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import maskwright_app
from maskwright.domain import rle
from maskwright.errors import MaskwrightError
from tests.app.conftest import served

pytestmark = pytest.mark.slow


def test_a_taken_port_an_open_address_and_a_missing_preset_are_one_sentence(tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("maskwright")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        command = [str(program), "ui", "--project", str(tmp_path / "p"), "--port", port]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    (sentence,) = done.stderr.strip().splitlines()
    assert port in sentence
    for options, status in ((["--host", "0.0.0.0"], 2), (["--preset", "nothing", "--project", str(tmp_path / "p")], 1)):
        done = subprocess.run([str(program), "ui", *options], capture_output=True, text=True, timeout=120)
        assert done.returncode == status
        assert len(done.stderr.strip().splitlines()) == 1
        assert "ready" not in done.stdout
    assert not (tmp_path / "p").exists()


def test_two_servers_that_start_at_once_get_different_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    with maskwright_app._listen("127.0.0.1", None) as first, maskwright_app._listen("127.0.0.1", None) as second:
        ports = [listener.getsockname()[1] for listener in (first, second)]
        assert ports[1] > ports[0] >= 7860
        with pytest.raises(MaskwrightError, match=str(ports[0])):
            maskwright_app._listen("127.0.0.1", ports[0])
        monkeypatch.setattr(maskwright_app, "_FIRST_PORT", ports[0])
        monkeypatch.setattr(maskwright_app, "_PORTS", 1)
        with pytest.raises(MaskwrightError):
            maskwright_app._listen("127.0.0.1", None)


def test_a_page_that_is_opened_at_once_comes_before_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = threading.Event()

    def serve(app: object, listener: object, ready: Callable[[], None]) -> None:
        ready()
        assert not loaded.wait(0.2)
        assert loaded.wait(20)

    monkeypatch.setattr("maskwright_app.server.create_app", lambda *_, **__: None)
    monkeypatch.setattr("maskwright_app.server.serve", serve)
    monkeypatch.setattr(maskwright_app, "_warm_up", lambda session: loaded.set())
    monkeypatch.setattr(maskwright_app, "_WARM_UP_SECONDS", 0.5)
    maskwright_app.launch(project=str(tmp_path / "p"))


@pytest.mark.parametrize(
    ("host", "name"), [("127.0.0.1", "127.0.0.1"), ("::1", "[::1]"), ("0.0.0.0", socket.gethostname())]
)
def test_the_address_that_is_printed_can_be_opened(host: str, name: str) -> None:
    assert maskwright_app._url_host(host) == name


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_it_stops_at_once_with_an_open_page_and_loses_nothing(tmp_path: Path, how: signal.Signals) -> None:
    region = np.zeros((300, 451), bool)
    region[10:15, 10:20] = True
    body = {"image": 1, "rle": rle.encode(region), "category": "cat"}
    with served(tmp_path / "p", "--device", "cpu") as page:

        def post(path: str, body: object) -> dict[str, object]:
            request = urllib.request.Request(page.url + path, json.dumps(body).encode(), method="POST")
            request.add_header("Content-Type", "application/json")
            return json.loads(urllib.request.urlopen(request, timeout=60).read())  # type: ignore[no-any-return]

        post("ui/images/samples", None)
        post("ui/masks", body)
        stream = urllib.request.urlopen(page.url + "ui/events", timeout=60)
        assert stream.readline().startswith(b"event: change")
        began = time.monotonic()
        page.process.send_signal(how)
        page.process.wait(30)
        assert time.monotonic() - began < 15
    with served(tmp_path / "p", "--device", "cpu") as page:
        masks = json.loads(post_masks(page.url))["masks"]
    assert [(mask["category"], mask["area"]) for mask in masks] == [("cat", 50)]


def post_masks(url: str) -> bytes:
    request = urllib.request.Request(f"{url}ui/images/1/masks", b"{}", {"Content-Type": "application/json"})
    return bytes(urllib.request.urlopen(request, timeout=60).read())
