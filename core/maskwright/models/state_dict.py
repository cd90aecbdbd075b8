"""State dicts: build modules without initial weights, compare keys and shapes, and load exactly."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from maskwright.errors import BadWeights

__all__ = ["check_exactly", "load_exactly", "without_initialization"]


@contextmanager
def without_initialization() -> Iterator[None]:
    """Context in which this thread builds modules whose parameters have shapes and no values, for `load_exactly`.

    Drawing random weights that a file then replaces would take longer than reading the file. Buffers have their
    values: those that no file holds, such as rotary frequencies, are computed when the module is built.
    """
    _building.depth = getattr(_building, "depth", 0) + 1
    try:
        yield
    finally:
        _building.depth -= 1


_building = threading.local()
"""Depth of `without_initialization` in this thread."""


def _without_values(_module: nn.Module, _name: str, parameter: nn.Parameter | None) -> nn.Parameter | None:
    if parameter is None or not getattr(_building, "depth", 0):
        return None
    return nn.Parameter(parameter.to("meta"), requires_grad=parameter.requires_grad)


# Once and for all threads: torch walks over its hooks whenever any thread builds a module, which fails when one comes
# or goes meanwhile. It types the hook as returning None; it documents that what it returns is taken.
register_module_parameter_registration_hook(_without_values)  # type: ignore[arg-type]


def load_exactly(module: nn.Module, state: Mapping[str, Tensor], *, what: str) -> None:
    """Give a module copies of the tensors of a state dict whose keys and shapes are exactly its own.

    Args:
        module: may be built `without_initialization`.
        state: of the file.
        what: the model, for the message.

    Raises:
        BadWeights: as `check_exactly` does.
    """
    own = module.state_dict()
    check_exactly(own, state, what=what)
    copies = {
        name: state[name].to(value.dtype, copy=True, memory_format=torch.contiguous_format)
        for name, value in own.items()
    }
    module.load_state_dict(copies, assign=True)


def check_exactly(expected: Mapping[str, Tensor], state: Mapping[str, Tensor], *, what: str) -> None:
    """Compare the keys and shapes of two state dicts.

    Args:
        expected: of the model.
        state: of the file.
        what: the model, for the message.

    Raises:
        BadWeights: keys are missing, unknown or misshapen; the message has up to three of each.
    """
    problems = {
        "lacks": [k for k in expected if k not in state],
        "has unknown": [k for k in state if k not in expected],
        "has misshapen": [
            f"{k} {tuple(state[k].shape)} instead of {tuple(expected[k].shape)}"
            for k in expected
            if k in state and state[k].shape != expected[k].shape
        ],
    }
    parts = [
        f"{kind} {', '.join(keys[:3])}{f' and {len(keys) - 3} more' if len(keys) > 3 else ''}"
        for kind, keys in problems.items()
        if keys
    ]
    if parts:
        raise BadWeights(f"The weights of {what} do not fit: the file {'; '.join(parts)}.")
