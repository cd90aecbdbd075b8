"""HTML of the list of masks: what each is, what can be done with it, and what happened to it."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from maskwright.session import MaskView

__all__ = ["Unfolded", "legend"]


@dataclass(frozen=True, slots=True)
class Unfolded:
    """What a list shows beside the masks themselves."""

    duplicates: bool = False
    """Proposals that repeat an accepted mask."""
    unsaved: Sequence[str] = ()
    """Ids of proposals that could not be written, which are marked."""
    history: Mapping[int, Sequence[str]] = field(default_factory=dict)
    """Sentences, by the id of the mask that they are of."""

    def shows(self, row: MaskView) -> bool:
        """Whether a mask is among those shown; what could not be written always is."""
        return self.duplicates or not row.duplicate or row.proposal in self.unsaved


def legend(
    rows: Sequence[MaskView],
    size_hw: tuple[int, int],
    looked_for: str | None = None,
    unfolded: Unfolded = Unfolded(),
) -> str:
    """HTML of the lines with colour, name, share and score.

    Open proposals have Accept and Reject buttons; an accepted mask can become a reference of its category, or of what
    the category that is looked for is not; it can be corrected and deleted, and has a history. Duplicates are hidden
    behind a switch.
    """
    total = size_hw[0] * size_hw[1]
    lines = [_line(row, total, looked_for, unfolded) for row in rows if unfolded.shows(row)]
    listed = f'<ul class="mw-legend">{"".join(lines)}</ul>' if lines else ""
    return _switch(rows, unfolded) + (listed or '<p class="mw-empty">No masks on this image yet.</p>')


def _switch(rows: Sequence[MaskView], unfolded: Unfolded) -> str:
    number = sum(row.duplicate for row in rows)
    if not number:
        return ""
    return (
        f'<button type="button" class="mw-switch" role="switch" data-act="duplicates"'
        f' aria-checked="{str(unfolded.duplicates).lower()}"><span class="mw-track"></span>'
        f"Show duplicates ({number})</button>"
    )


def _line(row: MaskView, total: int, looked_for: str | None, unfolded: Unfolded) -> str:
    name = html.escape(str(row.mask.category), quote=True)
    facts = f"{100 * row.mask.area / total:.1f} %"
    if row.cleaned:
        return (
            '<li class="mw-cleaned"><div class="mw-head"><span class="mw-swatch"></span>'
            f'<span class="mw-name">left unlabelled</span><span class="mw-facts">{facts}, by background cleaning</span>'
            "</div></li>"
        )
    if row.mask.score is not None:
        facts += f", score {row.mask.score:.2f}"
    state, kept = "mw-proposal", ""
    if row.proposal is None:
        state, kept = "mw-accepted", '<span class="mw-kept">accepted</span>'
        end = _choices(row, name, looked_for, unfolded.history)
    else:
        end = _acts(_button(act, row.proposal, act.capitalize(), f"{act} {name}") for act in ("accept", "reject"))
    return (
        f'<li class="{state}"><div class="mw-head"><span class="mw-swatch" style="background:{row.color}"></span>'
        f'<span class="mw-name">{name}{_hints(row, unfolded.unsaved)}</span><span class="mw-facts">{facts}</span>'
        f"{kept}</div>{end}</li>"
    )


def _hints(row: MaskView, unsaved: Sequence[str]) -> str:
    """Words behind the name of a proposal that is not as others are."""
    hints = [
        (row.proposal in unsaved, '<strong class="mw-unsaved">not saved</strong>'),
        (row.duplicate, '<abbr title="nearly the same as an accepted mask of this class">duplicate</abbr>'),
        (row.unfamiliar, '<abbr title="not among the words this model was taught">unfamiliar</abbr>'),
    ]
    return "".join(f" {text}" for told, text in hints if told)


def _choices(row: MaskView, name: str, looked_for: str | None, history: Mapping[int, Sequence[str]]) -> str:
    """What can be done with an accepted mask."""
    key = row.annotation or 0
    own = (str(row.mask.category), True) in row.speaks
    buttons = [
        _button("like", key, "Reference" if own else "Find like this", f"find masks like this {name}", pressed=own),
        _button("correct", key, "Correct", f"correct this {name} with clicks"),
    ]
    if looked_for is not None and looked_for != row.mask.category:
        other = html.escape(looked_for, quote=True)
        chosen = (looked_for, False) in row.speaks
        buttons.append(_button("not", key, f"Not {other}", f"this {name} is not {other}", pressed=chosen))
    told = history.get(key)
    buttons += [
        _button("history", key, "History", f"history of this {name}", unfolds=told is not None),
        _button("delete", key, "Delete", f"delete this {name}"),
    ]
    return _acts(buttons) + _history(told, name)


def _acts(buttons: Iterable[str]) -> str:
    return f'<div class="mw-acts">{"".join(buttons)}</div>'


def _history(sentences: Sequence[str] | None, name: str) -> str:
    if sentences is None:
        return ""
    lines = "".join(f"<li>{html.escape(sentence)}</li>" for sentence in sentences)
    return f'<div class="mw-history"><ol aria-label="history of this {name}">{lines}</ol>Times are in UTC.</div>'


def _button(
    act: str, key: int | str, text: str, label: str, *, pressed: bool | None = None, unfolds: bool | None = None
) -> str:
    states = (("pressed", pressed), ("expanded", unfolds))
    said = "".join(f' aria-{word}="{str(state).lower()}"' for word, state in states if state is not None)
    return f'<button type="button" data-act="{act}" data-id="{key}" aria-label="{label}"{said}>{text}</button>'
