"""The list of masks: name, share of the image and score, with buttons and histories."""

from __future__ import annotations

from collections.abc import Sequence

from maskwright.session import MaskView
from maskwright_app.html.elements import button, escape
from maskwright_app.tab import Tab

__all__ = ["mask_list"]


def mask_list(masks: Sequence[MaskView], size_hw: tuple[int, int], tab: Tab, history: Sequence[str] = ()) -> str:
    """The masks of an image.

    Proposals can be accepted and rejected. Accepted masks can be corrected and deleted, have a history, and can become
    references of their category or negative references of the category that is searched for. Duplicates are hidden
    behind a switch.

    Args:
        masks: all masks of the image.
        size_hw: height and width of the image in pixels.
        tab: state of the browser tab.
        history: sentences about the mask `tab.history_of`.
    """
    pixels = size_hw[0] * size_hw[1]
    lines = "".join(_line(mask, pixels, tab, history) for mask in tab.visible(masks))
    body = f'<ul class="mw-masks">{lines}</ul>' if lines else '<p class="mw-empty">No masks on this image yet.</p>'
    return _switch(sum(mask.duplicate for mask in masks), visible=tab.show_duplicates) + body


def _switch(duplicates: int, *, visible: bool) -> str:
    if not duplicates:
        return ""
    return (
        '<button type="button" class="mw-switch" role="switch" data-act="duplicates"'
        f' aria-checked="{str(visible).lower()}"><span class="mw-track"></span>Show duplicates ({duplicates})</button>'
    )


def _line(mask: MaskView, pixels: int, tab: Tab, history: Sequence[str]) -> str:
    share = f"{100 * mask.mask.area / pixels:.1f} %"
    if mask.cleaning_preview:
        head = _head("", escape("left unlabelled"), f"{share}, by background cleaning")
        return f'<li class="mw-cleaning">{head}</li>'
    name = str(mask.mask.category)
    score = "" if mask.mask.score is None else f", score {mask.mask.score:.2f}"
    swatch = f' style="background:{mask.color}"'
    if mask.proposal is None:
        head = _head(swatch, escape(name), share + score, '<span class="mw-state">accepted</span>')
        return f'<li class="mw-accepted">{head}{_accepted_actions(mask, name, tab, history)}</li>'
    actions = (
        button(act, act.capitalize(), str(mask.proposal), aria_label=f"{act} {name}") for act in ("accept", "reject")
    )
    head = _head(swatch, escape(name) + _hints(mask, tab), share + score)
    return f'<li class="mw-proposal">{head}<div class="mw-actions">{"".join(actions)}</div></li>'


def _head(swatch: str, name: str, facts: str, state: str = "") -> str:
    return (
        f'<div class="mw-head"><span class="mw-swatch"{swatch}></span><span class="mw-name">{name}</span>'
        f'<span class="mw-facts">{facts}</span>{state}</div>'
    )


def _hints(mask: MaskView, tab: Tab) -> str:
    hints = [
        (mask.proposal in tab.pending.ids(tab.image_id), '<strong class="mw-unwritten">not saved</strong>'),
        (mask.duplicate, '<abbr title="nearly the same as an accepted mask of this class">duplicate</abbr>'),
        (
            mask.out_of_vocabulary,
            '<abbr title="the model was not trained on this class name">out of vocabulary</abbr>',
        ),
    ]
    return "".join(f" {hint}" for applies, hint in hints if applies)


def _accepted_actions(mask: MaskView, name: str, tab: Tab, history: Sequence[str]) -> str:
    key, searched = mask.annotation, tab.search_category
    is_reference = name in mask.reference_of
    unfolded = key == tab.history_of
    buttons = [
        button(
            "reference", "Reference" if is_reference else "Find like this", key,
            aria_label=f"find masks like this {name}", aria_pressed=is_reference,
        ),
        button("correct", "Correct", key, aria_label=f"correct this {name} with clicks"),
        button("history", "History", key, aria_label=f"history of this {name}", aria_expanded=unfolded),
        button("delete", "Delete", key, aria_label=f"delete this {name}"),
    ]  # fmt: skip
    if searched is not None and searched != name:
        negative = button(
            "negative", f"Not {searched}", key, aria_label=f"this {name} is not {searched}",
            aria_pressed=searched in mask.negative_reference_of,
        )  # fmt: skip
        buttons.insert(2, negative)
    folded = _history(history, name) if unfolded else ""
    return f'<div class="mw-actions">{"".join(buttons)}</div>{folded}'


def _history(sentences: Sequence[str], name: str) -> str:
    lines = "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences)
    label = escape(f"history of this {name}")
    return f'<div class="mw-history"><ol aria-label="{label}">{lines}</ol>Times are in UTC.</div>'
