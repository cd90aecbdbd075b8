"""Rules about the sources that no linter holds: sizes, declared dependencies, and words."""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PRODUCT = sorted(
    path
    for room in ("core", "app", "plugins")
    for path in (ROOT / room).rglob("*.py")
    if "node_modules" not in path.parts
)
OWN = {"maskwright", "maskwright_app", "maskwright_assets", "napari_maskwright"}
MOST_LINES, MOST_LINES_OF_A_FUNCTION = 400, 60


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", PRODUCT, ids=_name)
def test_files_and_functions_are_short(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    assert len(source.splitlines()) <= MOST_LINES
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
            first = node.body[0]
            docstring = ast.get_docstring(node) is not None and first.end_lineno is not None
            described = first.end_lineno - first.lineno + 1 if docstring and first.end_lineno else 0
            lines = node.end_lineno - node.lineno + 1 - described
            assert lines <= MOST_LINES_OF_A_FUNCTION, f"{node.name} has {lines} lines without its docstring"


# dependencies


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def _declared(*extras: str) -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [*project["dependencies"], *(line for extra in extras for line in project["optional-dependencies"][extra])]
    return {_canonical(re.split(r"[\[>=<~! ]", line)[0]) for line in lines}


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize(
    ("folder", "extras"),
    [("core", ["heic", "test", "train-tiny"]), ("app", ["app"]), ("plugins", ["napari"])],
    ids=lambda value: str(value),
)
def test_third_party_imports_are_declared(folder: str, extras: list[str]) -> None:
    distributions = packages_distributions()
    imported = {name for path in PRODUCT if path.is_relative_to(ROOT / folder) for name in _imports(path)}
    third_party = imported - set(sys.stdlib_module_names) - OWN
    declared = _declared(*extras)
    missing = {
        name
        for name in third_party
        if not {_canonical(distribution) for distribution in distributions.get(name, [name])} & declared
    }
    assert not missing


# words

IDENTIFIERS = {
    "asked", "chance", "foretell", "kept", "ledger", "picture", "pictures", "rehearse", "robot", "sharpness", "told",
    "whence", "who",
}  # fmt: skip
"""Names that had a meaning of their own here; the standard word stands in their place."""
PHRASES = {
    r"\brobot\b": "simulated clicks",
    r"\bintake\b": "import",
    r"\b(foretell|rehearse)": "count, dry run",
    r"\bledger\b": "history",
    r"\b(pictures?|Pictures?)\b": "image",
    r"\bwhence\b": "source",
    r"\bOn the thing\b|\bBeside it\b": "Add, Subtract",
    r"Leave what I did not name": "Background class",
    r"\b[Bb]etter model\b": "Fine-tune",
    r"\b(least_score|least_stability)\b": "pred_iou_thresh, stability_score_thresh",
    r"\bunfamiliar\b": "out of vocabulary",
    r"\bcertainty\b": "confidence",
    r"\btallies\b": "counts",
}
KEYS = (
    "unfamiliar", "sharpness", "not_this", "pictures", "tallies", "least_score", "least_stability", "without a picture",
    "dino.txt, whole picture",
)  # fmt: skip
PUBLIC = re.compile(rf"""["'](?:{"|".join(map(re.escape, KEYS))})["']|\bunfamiliar=|(?:FROM|INTO) tallies""")
"""Keys and names that files, presets, databases and scripts of users hold: they stay."""


@pytest.mark.parametrize("path", [*PRODUCT, ROOT / "launch.py"], ids=_name)
def test_words_are_those_of_the_field(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    lines = source.splitlines()
    names = {
        (token.start[0], token.string)
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.NAME and token.string in IDENTIFIERS
    }
    assert not {(line, name) for line, name in names if not PUBLIC.search(lines[line - 1])}
    for pattern, standard in PHRASES.items():
        wrong = [f"{n}: {line}" for n, line in enumerate(lines, start=1) if re.search(pattern, line)]
        assert not [line for line in wrong if not PUBLIC.search(line)], f"say: {standard}"
