"""The checkers of the page, installed as app/package-lock.json pins them."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import pytest
from filelock import FileLock

APP = Path(__file__).parents[2] / "app"


def missing(reason: str) -> None:
    """A computer may do without node, where changes are checked it is needed."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@cache
def node_modules() -> Path:
    """Folder of the packages; tests that run beside each other install them once."""
    if shutil.which("npm") is None:
        missing("no npm; install it with `apt-get install nodejs npm`")
    folder = APP / "node_modules"
    lock, installed = APP / "package-lock.json", folder / ".package-lock.json"
    with FileLock(Path(tempfile.gettempdir()) / "maskwright-npm.lock", timeout=280):
        if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
            command = ["npm", "ci", "--no-audit", "--no-fund"]
            done = subprocess.run(command, cwd=APP, capture_output=True, text=True, timeout=280)
            if done.returncode:
                missing(f"npm could not install the checkers: {done.stderr[-500:]}")
    return folder
