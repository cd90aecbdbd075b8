"""State dicts: compare names and shapes, load exactly."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from maskwright.errors import BadWeights

__all__ = ["check_exactly", "load_exactly"]


def load_exactly(module: nn.Module, state: Mapping[str, Tensor], *, what: str) -> None:
    """Load `state` into `module`, refusing missing, left-over and misshapen keys by name; raises BadWeights."""
    check_exactly(module.state_dict(), state, what=what)
    module.load_state_dict(state)


def check_exactly(wanted: Mapping[str, Tensor], state: Mapping[str, Tensor], *, what: str) -> None:
    """Compare names and shapes.

    Raises:
        BadWeights: with up to three of the offending keys.
    """
    problems = {
        "lacks": [k for k in wanted if k not in state],
        "has unknown": [k for k in state if k not in wanted],
        "has misshapen": [
            f"{k} {tuple(state[k].shape)} instead of {tuple(wanted[k].shape)}"
            for k in wanted
            if k in state and state[k].shape != wanted[k].shape
        ],
    }
    found = [
        f"{kind} {', '.join(keys[:3])}{f' and {len(keys) - 3} more' if len(keys) > 3 else ''}"
        for kind, keys in problems.items()
        if keys
    ]
    if found:
        raise BadWeights(f"The weights of {what} do not fit: the file {'; '.join(found)}.")
