"""Scripts of the page are JavaScript, and styles name classes that the page has."""

from __future__ import annotations

import re
import shutil
import subprocess
from importlib.resources import as_file, files
from pathlib import Path

import pytest

import maskwright_app
from maskwright_app.static import CSS

SCRIPTS = [file.name for file in (files("maskwright_app") / "static").iterdir() if file.name.endswith(".js")]


@pytest.mark.skipif(shutil.which("node") is None, reason="no node")
@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_parse(name: str) -> None:
    with as_file(files("maskwright_app") / "static" / name) as path:
        checked = subprocess.run(["node", "--check", path], capture_output=True, text=True, timeout=30)
    assert checked.returncode == 0, checked.stderr


def test_styles_and_shortcuts_name_what_the_page_has() -> None:
    folder = Path(str(files(maskwright_app)))
    code = "".join(path.read_text(encoding="utf-8") for path in folder.rglob("*.py"))
    scripts = "".join((folder / "static" / name).read_text(encoding="utf-8") for name in SCRIPTS)
    names = set(re.findall(r"[.#](mw-[a-z-]+)", CSS + scripts)) - {"mw-drag"}
    assert {name for name in names if name not in code} == set()
