"""Long work in a process of its own, which outlives the window that started it."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["Job", "start"]


class Job:
    """A started process; nobody needs to hold on to it."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        # collect its exit status whenever it comes, so that it never lingers as a zombie
        threading.Thread(target=process.wait, daemon=True).start()

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None


def start(module: str, told: Mapping[str, Any], log: Path) -> Job:
    """Run `python -m module` with `told` as one line of JSON on its input; what it prints is appended to `log`.

    It is a process group of its own: Ctrl+C in the terminal of the one that starts it does not reach it.
    """
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", module], stdin=subprocess.PIPE, stdout=output, stderr=output, start_new_session=True
        )
    assert process.stdin is not None
    with process.stdin as line:
        line.write(json.dumps(told).encode() + b"\n")
    return Job(process)
