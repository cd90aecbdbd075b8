"""The left column: upload, samples, the project's images, and search by a phrase."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr
from PIL import Image as Pillow
from PIL import ImageOps

from maskwright.session import IMAGE_SUFFIXES, Cancelled, Progress
from maskwright_app.html.elements import escape
from maskwright_app.samples import Sample, samples
from maskwright_app.screen import NO_UPDATE, Screen, Update, Values, errors_as_toasts

__all__ = ["ImagesPanel"]


class ImagesPanel:
    """Widgets that choose the image of a tab."""

    def __init__(self, screen: Screen) -> None:
        """Make the widgets in the column that is open."""
        self.screen, self.handlers = screen, screen.handlers
        self.samples = samples()
        self._searches: dict[str, object] = {}
        """The running search of each tab, by its Gradio session."""
        self.upload = gr.File(
            label="Add images", file_count="multiple", file_types=list(IMAGE_SUFFIXES), elem_id="mw-upload", height=120
        )
        with gr.Tab("Samples"):
            self.gallery = _gallery(
                "Sample images", "mw-samples", 520, [(_thumbnail(s), s.class_names) for s in self.samples]
            )
        with gr.Tab("Project"):
            screen.images.render()
        with gr.Tab("Search"):
            self.phrase = gr.Textbox(
                label="Search this project's images", placeholder="a zebra in the grass", elem_id="mw-phrase",
                max_lines=2,
            )  # fmt: skip
            with gr.Row():
                self.search = gr.Button("Search", elem_id="mw-search", min_width=100)
                self.stop = gr.Button("Stop", elem_id="mw-search-stop", min_width=60)
            self.matches = _gallery("Best match first", "mw-matches", 420)
            self.match_ids = gr.State([])

    def wire(self) -> None:
        """Connect the widgets."""
        listen = self.screen.listen
        listen(self.gallery.select, self._open_sample)
        listen(self.upload.upload, self._upload, [self.upload], [self.upload])
        listen(self.screen.images.input, self._open_listed, [self.screen.images])
        listen(self.matches.select, self._open_match, [self.match_ids], show_progress_on=self.matches)
        private: dict[str, Any] = {"api_visibility": "private", "show_progress_on": self.matches}
        for trigger in (self.search.click, self.phrase.submit):
            # a second search cancels the first, so it must not wait for it
            trigger(
                errors_as_toasts(self._search), {self.phrase}, [self.matches, self.match_ids], concurrency_limit=None,
                **private,
            )  # fmt: skip
        self.stop.click(self._stop, None, None, **private)

    def _open_sample(self, values: Values, event: gr.SelectData) -> Update:
        tab, sample = self.screen.tab(values), self.samples[event.index]
        after = tab.with_image(self.handlers.session.images.add(sample.path).id)
        return self.screen.update(tab, after) | {
            self.screen.class_names: sample.class_names,
            self.screen.credit: _credit(sample),
            self.screen.images: self.screen.list_images(after.image_id),
        }

    def _upload(self, values: Values) -> Update:
        tab = self.screen.tab(values)
        added, problems = self.handlers.add_files(values[self.upload] or [])
        for problem in problems:
            gr.Warning(problem)
        after = tab if added is None else tab.with_image(added)
        return self.screen.update(tab, after) | {
            self.upload: None,
            self.screen.credit: "",
            self.screen.images: self.screen.list_images(after.image_id),
        }

    def _open_listed(self, values: Values) -> Update:
        return self.screen.open_image(self.screen.tab(values), values[self.screen.images])

    def _open_match(self, values: Values, event: gr.SelectData) -> Update:
        return self.screen.open_image(self.screen.tab(values), values[self.match_ids][event.index])

    def _search(
        self,
        values: Values,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008  # Gradio recognizes it by its default
    ) -> Update:
        """Search until another search of this tab begins or Stop is pressed."""
        session = str(request.session_hash)
        search = self._searches[session] = object()
        bar = _SearchProgress(progress, lambda: self._searches.get(session) is not search)
        try:
            result = self.handlers.search(values[self.phrase], bar)
        except Cancelled:
            return NO_UPDATE
        if result.problem:
            gr.Warning(result.problem)
        if not result.image_ids:
            gr.Info("This project has no images yet.")
        return {self.matches: result.thumbnails, self.match_ids: result.image_ids}

    def _stop(self, request: gr.Request) -> None:
        self._searches.pop(str(request.session_hash), None)


class _SearchProgress(Progress):
    """Gradio's progress bar."""

    def __init__(self, bar: gr.Progress, cancelled: Callable[[], bool]) -> None:
        self._bar, self._cancelled = bar, cancelled

    def cancelled(self) -> bool:
        return self._cancelled()

    def report(self, done: int, total: int, stage: str = "") -> None:
        self._bar((done, total), desc=stage or "Searching images", unit="images")


def _gallery(label: str, elem_id: str, height: int, images: list[tuple[Pillow.Image, str]] | None = None) -> gr.Gallery:
    return gr.Gallery(
        images, label=label, columns=2, height=height, allow_preview=False, elem_id=elem_id, interactive=False
    )


def _thumbnail(sample: Sample) -> Pillow.Image:
    with Pillow.open(sample.path) as opened:
        return ImageOps.fit(opened.convert("RGB"), (176, 132))


def _credit(sample: Sample) -> str:
    link = f'<a href="{escape(sample.source)}" rel="noreferrer">source</a>'
    return f"{escape(sample.credit)}, {escape(sample.licence)}, {link}"
