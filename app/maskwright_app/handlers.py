"""What the page does, without a widget in sight: each method takes plain values and gives plain values."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image as Pillow

from maskwright.domain import TextPrompt
from maskwright.domain.click_prompt import ClickPrompt
from maskwright.errors import MaskwrightError
from maskwright.progress import Progress
from maskwright.session import CLEANING, METHODS, AnnotationSession
from maskwright_app.api import Endpoints
from maskwright_app.decisions import Decisions, Panel
from maskwright_app.mask_list import legend
from maskwright_app.render import click_bar, improvement, like_bar, picture

__all__ = ["Handlers", "News", "View", "Words"]


@dataclass(frozen=True, slots=True)
class View:
    """What one browser tab shows of one image."""

    picture: str
    legend: str
    counts: str
    notice: str = ""


class News(NamedTuple):
    """What a tab should read again, after something was changed anywhere."""

    number: int
    """The newest change; ask for what comes after it next time."""
    picture: bool
    """The picture that is shown, with its masks."""
    pictures: bool
    """The list of pictures."""


class Words(NamedTuple):
    """A prompt by word as the page takes it."""

    words: str
    method: str = "Automatic"
    """One of METHODS"""
    background: bool = True
    clean: str = "Automatic"
    """One of CLEANING"""
    refine: bool = False
    threshold: float = 0.5


_NAMES = 5
"""So many suggestions are shown."""
_MATCHES = 24
_SMALL = 200
"""Pixels of the longest side of a found image."""
_PROBLEMS = 3
_EMPTY = View('<p class="mw-empty">Choose a sample, open a picture of the project, or upload one.</p>', "", "", "")


class Handlers(Decisions, Endpoints):
    """The logic of page and endpoints on one session."""

    def __init__(self, session: AnnotationSession) -> None:
        self.session = session

    def view(
        self,
        image_id: int | None,
        proposals: Sequence[str],
        notice: str = "",
        looked_for: str | None = None,
        prompt: ClickPrompt | None = None,
        panel: Panel = Panel(),  # noqa: B008  # it cannot change
    ) -> View:
        """The picture with accepted masks and with those proposals that are still open.

        Args:
            image_id: of the picture.
            proposals: ids of proposals of words or examples, duplicates too.
            notice: one sentence to show.
            looked_for: category that is looked for by example.
            prompt: the clicks on the picture, of whose answers one is shown.
            panel: what the list of masks has open.
        """
        if image_id is None:
            return View(_EMPTY.picture, "", self.counts())
        image = self.session.image(image_id)
        rows, prompt = self.rows(image_id, proposals, prompt, panel)
        history = {key: self.session.history(key) for key in {row.annotation for row in rows} & {panel.chosen} if key}
        unfolded = panel.unfolded(image_id, history)
        return View(
            picture(image.pixels, [row for row in rows if unfolded.shows(row)], image.name, prompt, image_id),
            legend(rows, image.size_hw, looked_for, unfolded),
            self.counts(),
            notice,
        )

    def news(self, after: int, newest: int, image_id: int | None, shown: int | None) -> News:
        """What to read again.

        Args:
            after: the newest change that the tab knows of.
            newest: the highest id of a picture in its list.
            image_id: of the picture that it is on.
            shown: of the picture that is drawn. Another one, when an answer came after the tab had turned away; without
                a picture there is nothing to mend.
        """
        changes = self.session.changes(after)
        late = shown is not None and shown != image_id
        return News(
            changes.number,
            late or not changes.complete or changes.others or image_id in changes.images,
            # pictures are only ever added
            not changes.complete or any(key > newest for key in changes.images),
        )

    def click(
        self, image_id: int | None, prompt: ClickPrompt | None, told: Mapping[str, Any]
    ) -> tuple[ClickPrompt | None, str]:
        """The prompt after a click or a box on the picture, and what a person should know of the answer.

        Args:
            image_id: of the picture.
            prompt: what was clicked on it before.
            told: by the browser: "box", or "x", "y", "sign" and the distance "near" that still hits a point.
        """
        if image_id is None:
            raise MaskwrightError("Open or select an image first.")
        if prompt is None or prompt.image_id != image_id:
            prompt = ClickPrompt(image_id)
        if told.get("box"):
            step = prompt.with_box(_four(told["box"]))
        else:
            spot = float(told["x"]), float(told["y"])
            found = prompt.toggle_point(*spot, int(told["sign"]), radius=float(told.get("near", 0)))
            if found is None:
                self.clear(prompt)
                return None, ""
            step = found
        return self.session.ask(prompt, step)

    def click_bar(self, prompt: ClickPrompt | None, *, suggest: bool = False) -> str:
        """HTML of what can be done with the clicks, with names that the mask may have when they are asked for."""
        opened = self.session.open_proposals([prompt.proposal]) if prompt and prompt.proposal else []
        score = opened[0].mask.score if opened else None
        names = self.session.suggest(opened[0].id)[:_NAMES] if suggest and opened else []
        return click_bar(prompt, score, names)

    def counts(self) -> str:
        """HTML line: images, and accepted masks per category."""
        return f'<p class="mw-counts">{html.escape(self.session.counts())}</p>'

    def improvement(self) -> str:
        """HTML of where fine-tuning stands."""
        return improvement(self.session.improvement())

    def propose(self, image_id: int | None, asked: Words) -> tuple[list[str], str]:
        """Ids of the new proposals and of what cleaning left unlabelled, and what a person should know of them."""
        if image_id is None:
            raise MaskwrightError("Open or select an image first.")
        prompt = TextPrompt.parse(
            asked.words, method=METHODS[asked.method], background=asked.background,
            threshold=asked.threshold if asked.background else None, refine="pamr" if asked.refine else None,
            cleaning=CLEANING[asked.clean] if asked.background else None,
        )  # fmt: skip
        found = self.session.propose_text(image_id, prompt)
        return found.ids + found.hidden_ids, found.notice

    def find(self, phrase: str, progress: Progress) -> tuple[list[tuple[Pillow.Image, str]], list[int], str]:
        """Images that show what a phrase says, as small pictures with a line each; their ids; and what went wrong."""
        matches = self.session.find(phrase, limit=_MATCHES, progress=progress)
        shown = [
            (self._small(one.record.id), f"{one.score:.2f}  {Path(one.record.file_name).name}") for one in matches.found
        ]
        return shown, [one.record.id for one in matches.found], " ".join(matches.problems[:_PROBLEMS])

    def _small(self, image_id: int) -> Pillow.Image:
        small = Pillow.fromarray(self.session.image(image_id).pixels)
        small.thumbnail((_SMALL, _SMALL))
        return small

    def propose_like(self, image_id: int | None, category: str) -> tuple[list[str], str]:
        """Ids of the proposals like a category's references, and what a person should know of them."""
        if image_id is None:
            raise MaskwrightError("Open or select an image first.")
        found = self.session.propose_like(image_id, category)
        return found.ids + found.hidden_ids, found.notice

    def propose_everything(self, image_id: int | None) -> tuple[list[str], str]:
        """Ids of the proposals for all things, and what a person should know of them."""
        if image_id is None:
            raise MaskwrightError("Open or select an image first.")
        found = self.session.propose_everything(image_id)
        return found.ids + found.hidden_ids, found.notice

    def wants_like(self, image_id: int | None, category: str | None) -> bool:
        """Whether to look for a category on an image that is turned to: not where it has a mask of it already."""
        if image_id is None or category is None:
            return False
        rows = self.session.shown(image_id)
        return all(row.mask.category != category for row in rows)

    def mark(self, annotation: int, looked_for: str | None, *, shows: bool) -> str:
        """Choose an accepted mask as a reference, or take the choice back; gives the category to look for.

        Args:
            annotation: its id.
            looked_for: the category looked for at present.
            shows: it shows its own category; else it is what `looked_for` is not.
        """
        one = self.session.project.store.masks.get(annotation)
        category = one.category if shows else looked_for
        if category is None:
            raise MaskwrightError("Choose a mask with Find like this first.")
        marks = self.session.project.store.references.all()
        again = any((m.annotation_id, m.category, m.shows) == (annotation, category, shows) for m in marks)
        # while it is not looked for, a second click on a reference looks for it; then it takes the choice back
        if not again or category == looked_for:
            self.session.project.mark_reference(one, shows=None if again else shows, category=category)
        return category

    def like_bar(self, category: str | None) -> str:
        """HTML of what is looked for, with the references in small."""
        if category is None:
            return ""
        shows, not_this = self.session.project.references(category)
        return like_bar(category, shows, not_this)

    def neighbour(self, image_id: int | None, by: int) -> int | None:
        """The next image of the project (1) or the one before (-1); the same at the ends."""
        ids = [key for _, key in self.session.choices()]
        if image_id not in ids:
            return ids[0] if ids else None
        return ids[min(len(ids) - 1, max(0, ids.index(image_id) + by))]

    def choices(self) -> list[tuple[str, int]]:
        """(name, id) of the project's images, newest first."""
        return self.session.choices()[::-1]

    def still_there(self, image_id: int | None) -> int | None:
        """The image a tab had open, else the newest of the project, else None."""
        ids = [record.id for record in self.session.project.images.all()]
        return image_id if image_id in ids else max(ids, default=None)

    def add_files(self, paths: Sequence[str]) -> tuple[int | None, list[str]]:
        """Add uploads; gives the last image's id and one line for each file that could not be added."""
        last, problems = None, []
        for path in paths:
            try:
                last = self.session.add_picture(Path(path)).id
            except MaskwrightError as error:
                problems.append(str(error))
        return last, problems


def _four(box: Any) -> tuple[float, float, float, float]:
    left, top, right, bottom = (float(value) for value in box)
    return left, top, right, bottom
