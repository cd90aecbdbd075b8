"""Jobs: processes that outlive the program that started them."""

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
    """A running process; it needs no reference to stay alive."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        # collects the exit status, so that no zombie remains
        threading.Thread(target=process.wait, daemon=True).start()

    @property
    def alive(self) -> bool:
        """Whether the process is running."""
        return self._process.poll() is None


def start(module: str, arguments: Mapping[str, Any], log: Path) -> Job:
    """Run `python -m module` with the arguments as one line of JSON on stdin, and append its output to `log`.

    The process has its own session: Ctrl+C in the terminal does not reach it.
    """
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", module], stdin=subprocess.PIPE, stdout=output, stderr=output, start_new_session=True
        )
    assert process.stdin is not None
    with process.stdin as line:
        line.write(json.dumps(arguments).encode() + b"\n")
    return Job(process)
