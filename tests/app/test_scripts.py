"""The scripts of the page: eslint, the TypeScript checker over their JSDoc types, and their own unit tests."""

from __future__ import annotations

import shutil
import subprocess

from tests.app.node import APP, missing, node_modules

ROOT = APP.parent
UNITS = sorted(str(path) for path in (ROOT / "tests/app/static").glob("*.test.mjs"))


def _said(*command: str) -> str:
    """What a checker has to say: nothing when all is well."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    return "" if done.returncode == 0 else done.stdout[-4000:] + done.stderr[-2000:] + f"exit status {done.returncode}"


def _tool(name: str) -> str:
    return str(node_modules() / ".bin" / name)


def test_units() -> None:
    if shutil.which("node") is None:
        missing("no node; install it with `apt-get install nodejs`")
    assert UNITS
    assert _said("node", "--test", *UNITS) == ""


def test_lint() -> None:
    config = str(APP / "eslint.config.js")
    assert _said(_tool("eslint"), "-c", config, "app/maskwright_app/static", "tests/app/static") == ""


def test_types() -> None:
    assert _said(_tool("tsc"), "-p", str(APP / "jsconfig.json")) == ""
