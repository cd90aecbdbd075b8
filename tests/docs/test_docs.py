"""What the documents say is so."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import typer.main

from maskwright import cli
from maskwright.presets.folders import bundled

ROOT = Path(__file__).parents[2]


def _commands() -> list[str]:
    root = typer.main.get_command(cli.app)
    found = []
    for name, command in root.commands.items():  # type: ignore[attr-defined]
        inner = getattr(command, "commands", None)
        found += [f"{name} {sub}" for sub in inner] if inner else [name]
    return found


@pytest.mark.parametrize("command", _commands())
def test_every_command_is_in_the_guide(command: str) -> None:
    group, _, sub = command.partition(" ")
    text = (ROOT / "docs" / "user" / "cli.md").read_text(encoding="utf-8")
    if sub:
        assert re.search(rf"maskwright {group} [a-z|\\]*\b{sub}\b", text), command
    else:
        assert f"maskwright {command}" in text


@pytest.mark.parametrize("name", ["README.md", "docs/architecture.md"])
def test_front_documents_are_short(name: str) -> None:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 150
    assert [line for line in lines if len(line) > 120] == []


@pytest.mark.parametrize(
    "document", sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
)
def test_links_lead_somewhere(document: Path) -> None:
    for place in re.findall(r"\]\(((?!http)[^)#]+)\)", document.read_text(encoding="utf-8")):
        assert (document.parent / place).exists(), place


def test_files_that_documents_name_exist() -> None:
    for document in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]:
        for place in re.findall(
            r"`((?:core|app|plugins|tests|docs)/[\w/.]+\.(?:py|md|js|css))`", document.read_text("utf-8")
        ):
            assert (ROOT / place).exists(), (document.name, place)


def test_model_card_names_the_weights_it_was_measured_on() -> None:
    folder = bundled() / "tiny"
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    card = (folder / "README.md").read_text(encoding="utf-8")
    for part in ("dinotxt", "sam", "dinov3seg", "talk2dino", "ovs-dino"):
        assert config[part]["sha256"] in card


@pytest.mark.parametrize(("preset", "megabytes"), [("tiny", 60)])
def test_bundled_presets_stay_small(preset: str, megabytes: int) -> None:
    assert sum(f.stat().st_size for f in (bundled() / preset).iterdir()) < megabytes * 1e6


def test_no_file_of_ours_names_a_registry_or_a_machine() -> None:
    pattern = re.compile(r"(pypi\.org|pythonhosted\.org|registry\.npmjs|deb\.debian\.org|/work/|/home/\w+/)")
    for folder in ("app", "core", "plugins", "docs", ".ci"):
        for file in (ROOT / folder).rglob("*"):
            # what `npm ci` installs for the checks of the page is not ours
            if "node_modules" in file.parts:
                continue
            if file.suffix in {".py", ".md", ".yaml", ".toml", ".txt", ""} and file.is_file():
                assert not pattern.search(file.read_text(encoding="utf-8")), file
    for name in ("README.md", "launch.py", "pyproject.toml", "constraints.txt", "CHANGELOG.md", "CONTRIBUTING.md"):
        assert not pattern.search((ROOT / name).read_text(encoding="utf-8")), name
