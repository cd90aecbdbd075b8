"""State dicts: compare keys and shapes, and load exactly."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from maskwright.errors import BadWeights

__all__ = ["check_exactly", "load_exactly"]


def load_exactly(module: nn.Module, state: Mapping[str, Tensor], *, what: str) -> None:
    """Load a state dict whose keys and shapes are exactly the module's; raises as `check_exactly` does."""
    check_exactly(module.state_dict(), state, what=what)
    module.load_state_dict(state)


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
