"""Options, fixtures and what is skipped where."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

SHARED = Path(__file__).parents[2] / "shared"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--golden-dir", default=str(SHARED / "golden"), help="folder of golden cases")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[PARITY] = {}


PARITY = pytest.StashKey[dict[str, str]]()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if config.stash[PARITY]:
        terminalreporter.section("largest difference to the golden cases")
        for name, line in sorted(config.stash[PARITY].items()):
            terminalreporter.write_line(f"{name}: {line}")


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20260101)
