"""Jobs: processes that outlive the program that started them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["NOTE", "Job", "is_alive", "start"]

NOTE = "process.json"
"""File beside the log that says which process writes it."""


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
    note = {"pid": process.pid, "host": socket.gethostname()}
    (log.parent / NOTE).write_text(json.dumps(note), encoding="utf-8")
    with process.stdin as line:
        line.write(json.dumps(arguments).encode() + b"\n")
    return Job(process)


def is_alive(folder: Path) -> bool | None:
    """Whether the process lives that was started last with its log in this folder; None where that cannot be known."""
    try:
        note = json.loads((folder / NOTE).read_text(encoding="utf-8"))
        pid, here = int(note["pid"]), note["host"] == socket.gethostname()
    except (OSError, ValueError, KeyError, TypeError):
        return None
    # on Windows this call would end the process
    if not here or os.name != "posix":
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return None
    return _is_worker(pid)


def _is_worker(pid: int) -> bool | None:
    """Whether the process is one of ours: its number may have been given to another program since."""
    try:
        return b"maskwright" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return None
