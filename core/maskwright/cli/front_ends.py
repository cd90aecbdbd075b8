"""The installed front ends, found by entry point."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from maskwright.errors import AppMissing

__all__ = ["front_end"]


def front_end(name: str, module: str = "", function: str = "launch") -> Callable[..., Any]:
    """A function of a front end; raises AppMissing where its extra is not installed.

    Args:
        name: of the front end.
        module: inside its package; empty for the package itself.
        function: to return.
    """
    for entry in entry_points(group="maskwright.frontends", name=name):
        try:
            found = import_module(f"{entry.module}.{module}" if module else entry.module)
        except ImportError as error:
            raise AppMissing(name) from error
        result: Callable[..., Any] = getattr(found, function)
        return result
    raise AppMissing(name)
