"""What the page does with a browser tab, without widgets: prompts, images, search and views."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image as Pillow

from maskwright.domain import TextPrompt
from maskwright.domain.click_prompt import ClickPrompt
from maskwright.session import CLEANING, METHODS, NO_IMAGE, AnnotationSession, MaskwrightError, Progress
from maskwright_app.decisions import Decisions
from maskwright_app.html.elements import escape
from maskwright_app.html.figure import figure, image_of_view
from maskwright_app.html.finetuning import finetune_panel
from maskwright_app.html.mask_list import mask_list
from maskwright_app.html.prompts import click_bar, reference_bar
from maskwright_app.tab import Tab

__all__ = ["Gallery", "Handlers", "News", "TextQuery", "View"]

_SUGGESTED_NAMES = 5
_SEARCH_RESULTS = 24
_THUMBNAIL = 200
"""Pixels of a search result's longer side."""
_PROBLEMS = 3
"""Images that a search could not read, of which the toast says so."""
_NO_IMAGE_VIEW = '<p class="mw-empty">Choose a sample, open an image of the project, or upload one.</p>'


@dataclass(frozen=True, slots=True)
class View:
    """HTML of what a tab shows of its image."""

    figure: str
    masks: str
    counts: str
    notice: str = ""


class News(NamedTuple):
    """What a tab should draw again after a change by any window."""

    change: int
    """Number of the newest change; ask for later ones next time."""
    figure: bool
    """The image with its masks."""
    images: bool
    """The list of images."""


class TextQuery(NamedTuple):
    """A text prompt in terms of the page's widgets."""

    class_names: str
    method: str = "Automatic"
    """A key of METHODS."""
    background: bool = True
    cleaning: str = "Automatic"
    """A key of CLEANING."""
    refine: bool = False
    threshold: float = 0.5

    def prompt(self) -> TextPrompt:
        """The prompt; threshold and cleaning count only with a background class."""
        return TextPrompt.parse(
            self.class_names,
            method=METHODS[self.method],
            background=self.background,
            threshold=self.threshold if self.background else None,
            cleaning=CLEANING[self.cleaning] if self.background else None,
            refine="pamr" if self.refine else None,
        )


@dataclass(frozen=True, slots=True)
class Gallery:
    """Images for a phrase, the best first."""

    thumbnails: list[tuple[Pillow.Image, str]]
    """With a caption of score and file name."""
    image_ids: list[int]
    problem: str
    """What went wrong, or empty."""


class Handlers:
    """The page's logic on one session; takes tabs and returns tabs with a notice for the user."""

    def __init__(self, session: AnnotationSession) -> None:
        self.session = session
        self.decisions = Decisions(session)

    # views

    def view(self, tab: Tab, notice: str = "") -> View:
        """The image of a tab with accepted masks and open proposals, below a notice."""
        line = f'<p class="mw-notice" role="status">{escape(notice)}</p>' if notice else ""
        if tab.image_id is None:
            return View(_NO_IMAGE_VIEW, "", self.counts(), line)
        image = self.session.images.get(tab.image_id)
        masks = self.session.view(tab.image_id, tab.proposals, prompt=tab.prompt, pending=tab.pending)
        unfolded = tab.history_of is not None and any(mask.annotation == tab.history_of for mask in masks)
        history = self.session.history(tab.history_of) if unfolded and tab.history_of is not None else []
        prompt = tab.prompt if tab.prompt is not None and tab.prompt.image_id == tab.image_id else None
        return View(
            figure(image, tab.visible(masks), prompt, tab.image_id),
            mask_list(masks, image.size_hw, tab, history),
            self.counts(),
            line,
        )

    def counts(self) -> str:
        """HTML line: images, and accepted masks per category."""
        return f'<p class="mw-counts">{escape(self.session.counts())}</p>'

    def finetune_panel(self) -> str:
        """HTML of where fine-tuning stands."""
        return finetune_panel(self.session.finetuning.status())

    def click_bar(self, prompt: ClickPrompt | None, *, suggest: bool = False) -> str:
        """HTML of the clicks, with category suggestions when asked."""
        proposal = prompt.proposal if prompt is not None else None
        opened = self.session.open_proposals([proposal]) if proposal is not None else []
        iou = opened[0].mask.score if opened else None
        names = self.session.suggest_names(opened[0].id)[:_SUGGESTED_NAMES] if suggest and opened else []
        return click_bar(prompt, iou, names)

    def reference_bar(self, category: str | None) -> str:
        """HTML of the category that is searched for, with its references; empty for None."""
        return reference_bar(category, *self.session.references.of(category)) if category is not None else ""

    def news(self, after: int, newest: int, image_id: int | None, view: str) -> News:
        """What to draw again.

        Args:
            after: number of the newest change that the tab has drawn.
            newest: highest image id in its list.
            image_id: its image.
            view: `data-view` of the figure on screen. It shows another image when an answer arrived after the tab had
                left that image.
        """
        changes = self.session.changes(after)
        drawn = image_of_view(view)
        outdated = drawn is not None and drawn != image_id
        return News(
            changes.number,
            outdated or not changes.complete or changes.others or image_id in changes.images,
            # images are never removed
            not changes.complete or any(changed > newest for changed in changes.images),
        )

    # images

    def image_choices(self) -> list[tuple[str, int]]:
        """(title, id) of all images, the newest first."""
        return self.session.images.titles()[::-1]

    def restore(self, tab: Tab) -> Tab:
        """The tab on its image if that still exists, else on the newest image."""
        ids = [image_id for _, image_id in self.session.images.titles()]
        return tab if tab.image_id in ids else replace(tab, image_id=max(ids, default=None))

    def add_files(self, paths: Sequence[str]) -> tuple[int | None, list[str]]:
        """Add image files to the project; returns the last id, and a sentence for each file that was not added."""
        last, problems = None, []
        for path in paths:
            try:
                last = self.session.images.add(Path(path)).id
            except MaskwrightError as error:
                problems.append(str(error))
        return last, problems

    def open_image(self, tab: Tab, image_id: int | None) -> tuple[Tab, str]:
        """Turn to an image, and find the searched category there unless it has a mask already."""
        tab = tab.with_image(image_id)
        if image_id is None or tab.search_category is None:
            return tab, ""
        if any(mask.mask.category == tab.search_category for mask in self.session.view(image_id)):
            return tab, ""
        return self.propose_references(tab)

    def search(self, phrase: str, progress: Progress) -> Gallery:
        """Images that show what a phrase says."""
        matches = self.session.find(phrase, limit=_SEARCH_RESULTS, progress=progress)
        records = [match.record for match in matches.hits]
        captions = [f"{match.score:.2f}  {Path(match.record.file_name).name}" for match in matches.hits]
        thumbnails = [self._thumbnail(record.id) for record in records]
        return Gallery(
            list(zip(thumbnails, captions, strict=True)),
            [record.id for record in records],
            " ".join(matches.problems[:_PROBLEMS]),
        )

    def _thumbnail(self, image_id: int) -> Pillow.Image:
        image = Pillow.fromarray(self.session.images.get(image_id).pixels)
        image.thumbnail((_THUMBNAIL, _THUMBNAIL))
        return image

    # prompts

    def propose_text(self, tab: Tab, query: TextQuery) -> tuple[Tab, str]:
        """Find masks for class names."""
        answer = self.session.propose_text(_image_of(tab), query.prompt())
        return replace(tab, proposals=answer.ids), answer.notice

    def propose_references(self, tab: Tab) -> tuple[Tab, str]:
        """Find the searched category by its references."""
        if tab.search_category is None:
            return tab, ""
        answer = self.session.propose_like(_image_of(tab), tab.search_category)
        return replace(tab, proposals=answer.ids), answer.notice

    def propose_everything(self, tab: Tab) -> tuple[Tab, str]:
        """Segment the whole image."""
        answer = self.session.propose_everything(_image_of(tab))
        return replace(tab, proposals=answer.ids, prompt=None), answer.notice

    def click(self, tab: Tab, step: Mapping[str, Any]) -> tuple[Tab, str]:
        """Add a point or a box to the clicks, or remove the point that was clicked on.

        Args:
            tab: state of the browser tab.
            step: from the browser, in pixels of the image: `box` (left, top, right, bottom), or `x`, `y`, `label` (1
                positive, 0 negative) and `near`, the distance at which a click hits an earlier point.
        """
        image_id = _image_of(tab)
        prompt = tab.prompt if tab.prompt is not None and tab.prompt.image_id == image_id else ClickPrompt(image_id)
        if step.get("box"):
            left, top, right, bottom = (float(value) for value in step["box"])
            after = prompt.with_box((left, top, right, bottom))
        else:
            x, y, near = float(step["x"]), float(step["y"]), float(step.get("near", 0))
            clicked = prompt.toggle_point(x, y, int(step["label"]), radius=near)
            if clicked is None:
                return self.decisions.drop_clicks(tab), ""
            after = clicked
        prompt, notice = self.session.propose_click_step(prompt, after)
        return replace(tab, prompt=prompt), notice

    def correct(self, tab: Tab, annotation_id: int) -> Tab:
        """Let the next clicks correct an accepted mask."""
        return replace(self.decisions.drop_clicks(tab), prompt=ClickPrompt(_image_of(tab), annotation_id))

    def toggle_reference(self, tab: Tab, annotation_id: int, *, negative: bool = False) -> Tab:
        """Choose an accepted mask as a reference and search for its category, or take the choice back."""
        category = self.session.references.toggle(annotation_id, tab.search_category, negative=negative)
        return replace(tab, search_category=category)


def _image_of(tab: Tab) -> int:
    if tab.image_id is None:
        raise MaskwrightError(NO_IMAGE)
    return tab.image_id
