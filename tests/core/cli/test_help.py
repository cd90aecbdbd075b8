"""Help texts, examples and the list of commands."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from maskwright import __version__, cli
from tests.core.cli.conftest import Done, Run


def _commands() -> Iterator[tuple[str, typer.core.TyperCommand]]:
    def walk(words: str, command: Any) -> Iterator[tuple[str, Any]]:
        yield words, command
        for name, child in getattr(command, "commands", {}).items():
            yield from walk(f"{words} {name}".strip(), child)

    yield from walk("", typer.main.get_command(cli.app))


COMMANDS = dict(_commands())


def test_all_commands_of_this_version_are_there() -> None:
    wanted = {"segment", "project new", "project add", "project status", "project images", "export", "evaluate"}
    wanted |= {"import", "finetune", "runs", "activate", "napari", "like", "predict", "bench", "find", "click"}
    wanted |= {"train-projection", "ablate", "validate"}
    wanted |= {"project relink", "project backup", "project restore", "project purge"}
    wanted |= {"models list", "models info", "models fetch", "models import", "models verify", "ui", "doctor", "train"}
    assert wanted <= set(COMMANDS)


@pytest.mark.parametrize("words", COMMANDS)
def test_help_shows_an_example_that_parses(words: str) -> None:
    shown = CliRunner().invoke(cli.app, [*words.split(), "--help"], prog_name="maskwright")
    assert shown.exit_code == 0
    text = " ".join(shown.stdout.split())
    example = re.search(r"Example: (maskwright .*)$", text)
    assert example, text
    assert example.group(1).startswith(f"maskwright {words}".strip())
    first, *given = shlex.split(example.group(1))
    assert first == "maskwright"
    command, path = COMMANDS[""], []
    while hasattr(command, "commands"):
        path.append(given.pop(0))
        command = command.commands[path[-1]]
    # raises a usage error when a word is unknown or one is lacking
    command.make_context(" ".join(path), given)


@pytest.mark.parametrize(
    "words", [w for w, c in COMMANDS.items() if not hasattr(c, "commands") and w not in ("ui", "napari")]
)
def test_every_command_takes_json(words: str) -> None:
    assert "--json" in CliRunner().invoke(cli.app, [*words.split(), "-h"]).stdout


def test_version(run: Run) -> None:
    assert run("--version") == Done(0, f"{__version__}\n", "")
