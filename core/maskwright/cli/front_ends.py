"""The installed front ends, found by entry point."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points

from maskwright.errors import AppMissing

__all__ = ["front_end"]


def front_end(name: str) -> Callable[..., None]:
    """The `launch` function of a front end; raises AppMissing where its extra is not installed."""
    for entry in entry_points(group="maskwright.frontends", name=name):
        try:
            launch: Callable[..., None] = entry.load()
        except ImportError as error:
            raise AppMissing(name) from error
        return launch
    raise AppMissing(name)
