"""A display for tests that open real windows: the one that is there, else an Xvfb of our own."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from importlib.util import find_spec

import pytest


@pytest.fixture(scope="session")
def display() -> Iterator[None]:
    if find_spec("napari") is None:
        pytest.skip("napari is not installed; `pip install 'maskwright[napari]'`")
    if os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        yield
        return
    if shutil.which("Xvfb") is None:
        pytest.skip("no display; `apt-get install xvfb`, and the xcb libraries that .ci/run lists")
    reader, writer = os.pipe()
    words = ["Xvfb", "-displayfd", str(writer), "-screen", "0", "1400x900x24", "-nolisten", "tcp", "-terminate"]
    process = subprocess.Popen(words, pass_fds=[writer], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.close(writer)
    with os.fdopen(reader) as told:
        number = told.readline().strip()
    os.environ["DISPLAY"] = f":{number}"
    yield
    from qtpy.QtWidgets import QApplication

    # Qt ends its process when its display goes away, so the display goes away with its last window
    if QApplication.instance() is None:
        process.terminate()
