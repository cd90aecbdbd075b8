"""What the documents say is so."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import typer.main

from maskwright import cli
from maskwright.presets.loading import bundled

ROOT = Path(__file__).parents[2]


def _commands() -> list[str]:
    root = typer.main.get_command(cli.app)
    found = []
    for name, command in root.commands.items():  # type: ignore[attr-defined]
        inner = getattr(command, "commands", None)
        found += [f"{name} {sub}" for sub in inner] if inner else [name]
    return found


@pytest.mark.parametrize("command", _commands())
def test_every_command_is_in_the_readme(command: str) -> None:
    group, _, sub = command.partition(" ")
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    if sub:
        assert re.search(rf"maskwright {group} [a-z|\\]*\b{sub}\b", text), command
    else:
        assert f"maskwright {command}" in text


def test_readme_is_short_and_its_pictures_exist() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 150
    for place in re.findall(r"\]\(((?!http)[^)#]+)\)", text):
        assert (ROOT / place).exists(), place


def test_model_card_names_the_weights_it_was_measured_on() -> None:
    folder = bundled() / "tiny"
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    card = (folder / "README.md").read_text(encoding="utf-8")
    for part in ("dinotxt", "sam", "dinov3seg", "talk2dino"):
        assert config[part]["sha256"] in card


def test_bundled_data_stay_under_forty_megabytes() -> None:
    assets = ROOT / "assets"
    assert sum(f.stat().st_size for f in assets.rglob("*") if f.is_file()) < 40e6


def test_no_file_of_ours_names_a_registry_or_a_machine() -> None:
    pattern = re.compile(r"(pypi\.org|pythonhosted\.org|registry\.npmjs|deb\.debian\.org|/work/|/home/\w+/)")
    for folder in ("app", "core", "plugins", "docs", ".ci"):
        for file in (ROOT / folder).rglob("*"):
            if file.suffix in {".py", ".md", ".yaml", ".toml", ".txt", ""} and file.is_file():
                assert not pattern.search(file.read_text(encoding="utf-8")), file
    for name in ("README.md", "launch.py", "pyproject.toml", "constraints.txt", "CHANGELOG.md", "CONTRIBUTING.md"):
        assert not pattern.search((ROOT / name).read_text(encoding="utf-8")), name
