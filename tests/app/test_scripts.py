"""The scripts of the page: eslint, the TypeScript checker over their JSDoc types, and their own unit tests."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
APP = ROOT / "app"
UNITS = sorted(str(path) for path in (ROOT / "tests/app/static").glob("*.test.mjs"))


def _missing(reason: str) -> None:
    """A computer may do without node, where changes are checked it is needed."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def _run(*command: str) -> None:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


@pytest.fixture(scope="module")
def tools() -> Path:
    """Folder of the checkers, installed as app/package-lock.json pins them."""
    if shutil.which("npm") is None:
        _missing("no npm; install it with `apt-get install nodejs npm`")
    folder = APP / "node_modules" / ".bin"
    lock, installed = APP / "package-lock.json", APP / "node_modules" / ".package-lock.json"
    if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
        command = ["npm", "ci", "--no-audit", "--no-fund"]
        done = subprocess.run(command, cwd=APP, capture_output=True, text=True, timeout=280)
        if done.returncode:
            _missing(f"npm could not install the checkers: {done.stderr[-500:]}")
    return folder


def test_units() -> None:
    if shutil.which("node") is None:
        _missing("no node; install it with `apt-get install nodejs`")
    assert UNITS
    _run("node", "--test", *UNITS)


def test_lint(tools: Path) -> None:
    config = str(APP / "eslint.config.js")
    _run(str(tools / "eslint"), "-c", config, "app/maskwright_app/static", "tests/app/static")


def test_types(tools: Path) -> None:
    _run(str(tools / "tsc"), "-p", str(APP / "jsconfig.json"))
