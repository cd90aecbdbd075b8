"""Names of files of which no two share their path without its ending (rule X-5)."""

from __future__ import annotations

from pathlib import PurePosixPath

__all__ = ["DistinctNames"]


class DistinctNames:
    """Gives out names; some disks do not tell capitals apart, some readers do not look at endings."""

    def __init__(self) -> None:
        self._stems: set[str] = set()

    def free(self, wanted: str) -> str:
        """The path, or one with a number when its stem is taken."""
        path, number = PurePosixPath(wanted), 1
        while str(path.with_suffix("")).casefold() in self._stems:
            number += 1
            path = PurePosixPath(wanted).with_stem(f"{PurePosixPath(wanted).stem}-{number}")
        self._stems.add(str(path.with_suffix("")).casefold())
        return str(path)
