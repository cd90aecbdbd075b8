"""The command line in this process, as tests/core/cli has it."""

from __future__ import annotations

from tests.core.cli.conftest import home, image_file, run

__all__ = ["home", "image_file", "run"]
