"""The fine-tuning panel: message, progress bar, loss curve and buttons."""

from __future__ import annotations

from maskwright.session import FINETUNE_ACTIONS, FinetuneStatus
from maskwright_app.html.elements import button, escape

__all__ = ["finetune_panel"]

_WIDTH, _HEIGHT = 240, 48


def finetune_panel(status: FinetuneStatus) -> str:
    """Where fine-tuning stands, with a button for each possible action, the recommended one first."""
    bar = ""
    if status.share is not None:
        bar = f'<progress max="1" value="{status.share:.3f}" aria-label="progress of the run"></progress>'
    buttons = "".join(
        button(action, FINETUNE_ACTIONS[action], class_="mw-other" if number else "mw-first")
        for number, action in enumerate(status.actions)
    )
    return f'<div class="mw-finetune"><p role="status">{escape(status.message)}</p>{bar}{_curve(status)}{buttons}</div>'


def _curve(status: FinetuneStatus) -> str:
    """The training loss so far as a line."""
    if len(status.curve) < 2:
        return ""
    first, last = status.curve[0][0], status.curve[-1][0]
    losses = [loss for _, loss in status.curve]
    low, high = min(losses), max(losses)
    points = " ".join(
        f"{_WIDTH * (step - first) / (last - first):.1f},{_HEIGHT - _HEIGHT * (loss - low) / ((high - low) or 1):.1f}"
        for step, loss in status.curve
    )
    return (
        f'<svg viewBox="-2 -2 {_WIDTH + 4} {_HEIGHT + 4}" role="img" aria-label="loss from {losses[0]:.2f} to '
        f'{losses[-1]:.2f}"><polyline points="{points}" fill="none" stroke="#0072b2" stroke-width="2"/></svg>'
    )
