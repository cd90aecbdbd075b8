"""The browser page: widgets and what they emit; every decision is in `handlers`, the list of masks in `masks_panel`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr
from PIL import Image as Pillow
from PIL import ImageOps

from maskwright.errors import Cancelled
from maskwright.imaging.reading import SUFFIXES
from maskwright.progress import Progress
from maskwright.session import CLEANING, METHODS
from maskwright_app.handlers import Handlers, Words
from maskwright_app.masks_panel import MasksPanel
from maskwright_app.render import shown_in
from maskwright_app.samples import Sample, samples
from maskwright_app.scripts import ASK_NEWS, CLICKED, DOWNLOAD, OPACITY, POINTED, SHOW_NEWS
from maskwright_app.tab import Tab, fresh, sentences

__all__ = ["build"]


_TAB = len(Tab._fields)


def _thumbnail(sample: Sample) -> Pillow.Image:
    with Pillow.open(sample.path) as opened:
        return ImageOps.fit(opened.convert("RGB"), (176, 132))


class SearchProgress(Progress):
    """Gradio's progress bar; cancels when the tab wants the search no longer."""

    def __init__(self, bar: gr.Progress, cancelled: Callable[[], bool]) -> None:
        self._bar, self._cancelled = bar, cancelled

    def cancelled(self) -> bool:
        """Whether another search of this tab has begun, or Stop was pressed."""
        return self._cancelled()

    def report(self, done: int, total: int, stage: str = "") -> None:
        """Show how many pictures are done."""
        self._bar((done, total), desc=stage or "Searching images", unit="images")


class _Page:
    """Widgets of the page and the wiring between them; per tab it keeps an image id and open proposal ids."""

    def __init__(self, handlers: Handlers, title: str) -> None:
        self.handlers = handlers
        self.samples = samples()
        self.image_id = gr.BrowserState(None, storage_key=f"maskwright {title}", secret="maskwright")
        self.proposals = gr.State([])
        self.seen = gr.JSON([0, "", 0], visible=False)
        self.news = gr.JSON(None, visible=False)
        self.like = gr.State(None)
        self.prompt = gr.State(None)
        self.found = gr.State([])
        self._searches: dict[str, object] = {}
        self.clock = gr.Timer(1.0)
        gr.Markdown(f"# Maskwright\n{title}", elem_id="mw-title")
        with gr.Row():
            with gr.Column(scale=2, min_width=260):
                self._sources()
            with gr.Column(scale=6, min_width=340):
                self._canvas()
            with gr.Column(scale=3, min_width=280):
                self._decisions()

    def _sources(self) -> None:
        self.upload = gr.File(
            label="Add pictures", file_count="multiple", file_types=list(SUFFIXES), elem_id="mw-upload", height=120
        )
        with gr.Tab("Samples"):
            self.gallery = gr.Gallery(
                [(_thumbnail(s), s.words) for s in self.samples],
                label="Sample photographs", columns=2, height=520, allow_preview=False, elem_id="mw-samples",
                interactive=False,
            )  # fmt: skip
        with gr.Tab("Project") as self.project_tab:
            self.images = gr.Dropdown(
                label="Pictures of this project", choices=[], elem_id="mw-images", interactive=True
            )
        with gr.Tab("Find"):
            self.phrase = gr.Textbox(
                label="Find pictures of this project by what they show", placeholder="a zebra in the grass",
                elem_id="mw-phrase", max_lines=2,
            )  # fmt: skip
            with gr.Row():
                self.find = gr.Button("Find pictures", elem_id="mw-find", min_width=100)
                self.stop_finding = gr.Button("Stop", elem_id="mw-find-stop", min_width=60)
            self.matches = gr.Gallery(
                label="Best first", columns=2, height=420, allow_preview=False, elem_id="mw-matches",
                interactive=False,
            )  # fmt: skip

    def _canvas(self) -> None:
        with gr.Row(equal_height=True):
            self.words = gr.Textbox(
                label='Class names; synonyms with "|"', placeholder="grass, cow, sky", elem_id="mw-words",
                autofocus=True, max_lines=2, submit_btn=False, scale=4,
            )  # fmt: skip
            self.run = gr.Button("Find masks (Q)", variant="primary", elem_id="mw-run", min_width=110)
            self.everything = gr.Button("Segment all", elem_id="mw-everything", min_width=100)
        with gr.Row(equal_height=True):
            self.tool = gr.Radio(
                ["On the thing", "Beside it", "Box"], value="On the thing", elem_id="mw-tool",
                label="A click is (K; W: box)", min_width=300, scale=3, interactive=True,
            )  # fmt: skip
            self.name = gr.Textbox(
                label="Name of what is clicked", placeholder="object", elem_id="mw-name", min_width=160, max_lines=1,
                scale=2,
            )  # fmt: skip
        self.click_bar = gr.HTML(self.handlers.click_bar(None), elem_id="mw-click", js_on_load=CLICKED, padding=False)
        self.like_bar = gr.HTML("", elem_id="mw-like", js_on_load=CLICKED, padding=False)
        self.notice = gr.HTML("", elem_id="mw-notice", padding=False)
        self.picture = gr.HTML("", elem_id="mw-picture", js_on_load=POINTED, padding=False)
        with gr.Row():
            self.previous = gr.Button("Previous picture (Shift+N)", elem_id="mw-previous", min_width=120)
            self.next = gr.Button("Next picture (N)", elem_id="mw-next", min_width=120)
        self.opacity = gr.Slider(0, 100, 55, step=5, label="Opacity of masks in %", elem_id="mw-opacity")
        with gr.Row():
            self.background = gr.Checkbox(
                True, label="Leave what I did not name unlabelled", elem_id="mw-background", min_width=200
            )
            self.threshold = gr.Slider(
                0.05, 0.95, 0.5, step=0.05, label="Threshold: how sure a class must be", elem_id="mw-threshold"
            )
        with gr.Row():
            self.method = gr.Dropdown(
                list(METHODS), value="Automatic", label="Method for words", elem_id="mw-method", min_width=170
            )
            self.clean = gr.Dropdown(
                list(CLEANING), value="Automatic", label="Background cleaning", elem_id="mw-clean",
                min_width=170,
            )  # fmt: skip
            self.refine = gr.Checkbox(False, label="Refine contours (PAMR)", elem_id="mw-refine", min_width=170)
        self.credit = gr.HTML("", elem_classes="mw-credit", elem_id="mw-credit")

    def _decisions(self) -> None:
        self.masks = MasksPanel(self.handlers)
        self.export = gr.Button("Download COCO", elem_id="mw-export")
        self.coco = gr.File(label="COCO file", elem_id="mw-coco", interactive=False, visible=False)
        gr.Markdown("### A better model")
        self.improve = gr.HTML("", elem_id="mw-improve", js_on_load=CLICKED)

    @property
    def shown(self) -> list[Any]:
        """Components that show one image."""
        return [self.picture, self.masks.legend, self.masks.counts, self.notice]

    def wire(self, page: gr.Blocks) -> None:
        """Connect the widgets; none of these is part of the API."""
        private: dict[str, Any] = {"api_visibility": "private", "show_progress_on": self.picture}
        tab = [self.image_id, self.proposals, self.like, self.prompt, self.masks.panel]
        clicks = [self.prompt, self.click_bar]
        page.load(sentences(self._load), tab, [self.seen, self.image_id, self.images, *self.shown], **private)
        self._wire_pictures(tab, clicks, private)
        self._wire_prompts(tab, clicks, private)
        self._wire_search(tab, clicks)
        self.masks.wire(tab, self.name, [*clicks, self.like, self.like_bar], self.shown)
        self._wire_project()
        self.clock.tick(
            sentences(self._refresh), [self.seen, self.picture, *tab], [self.news, self.improve, self.images],
            js=ASK_NEWS, api_visibility="private", show_progress="hidden", trigger_mode="once",
        ).success(
            None, [self.news, self.seen, *self.shown[:3]], [self.seen, *self.shown[:3]], js=SHOW_NEWS,
        )  # fmt: skip
        self.opacity.input(None, self.opacity, None, js=OPACITY)

    def _wire_pictures(self, tab: list[Any], clicks: list[Any], private: dict[str, Any]) -> None:
        state = tab[:2]
        self.gallery.select(
            sentences(self._sample), tab, [*state, *clicks, self.words, self.credit, self.images, *self.shown],
            **private,
        )  # fmt: skip
        self.upload.upload(
            sentences(self._upload), [self.upload, *tab],
            [*state, *clicks, self.upload, self.credit, self.images, *self.shown], **private,
        )  # fmt: skip
        turned = [*state, *clicks, self.credit, *self.shown]
        self.images.input(sentences(self._open), [self.images, *tab], turned, **private)
        for button, by in ((self.previous, -1), (self.next, 1)):
            button.click(
                sentences(functools.partial(self._step, by)), tab, [*turned, self.images],
                trigger_mode="always_last", **private,
            )  # fmt: skip
        self.masks.status.click(sentences(self._go), tab, [self.masks.status, *turned, self.images], **private)

    def _wire_prompts(self, tab: list[Any], clicks: list[Any], private: dict[str, Any]) -> None:
        self.like_bar.click(
            sentences(self._like), tab, [self.proposals, self.like, self.like_bar, *self.shown], **private
        )
        words = [self.words, self.method, self.background, self.clean, self.refine, self.threshold]
        for trigger in (
            self.run.click, self.words.submit, self.method.input, self.background.input, self.clean.input,
            self.refine.input, self.threshold.release,
        ):  # fmt: skip
            trigger(
                sentences(self._propose), [*tab, *words], [self.proposals, *self.shown],
                trigger_mode="always_last", **private,
            )  # fmt: skip
        self.everything.click(
            sentences(self._everything), tab, [self.proposals, *clicks, *self.shown],
            trigger_mode="once", **private,
        )  # fmt: skip
        self.picture.click(
            sentences(self._click), tab, [*clicks, *self.shown], trigger_mode="always_last",
            api_visibility="private", show_progress="hidden",
        )  # fmt: skip
        self.click_bar.click(
            sentences(self._click_bar), [self.name, *tab], [*clicks, self.name, *self.shown], **private
        )

    def _wire_search(self, tab: list[Any], clicks: list[Any]) -> None:
        private: dict[str, Any] = {"api_visibility": "private", "show_progress_on": self.matches}
        for trigger in (self.find.click, self.phrase.submit):
            # a second search ends the first, so it must not wait for it
            trigger(sentences(self._find), self.phrase, [self.matches, self.found], concurrency_limit=None, **private)
        self.stop_finding.click(self._stop_finding, None, None, **private)
        self.matches.select(
            sentences(self._open_match), [self.found, *tab],
            [*tab[:2], *clicks, self.credit, *self.shown, self.images], **private,
        )  # fmt: skip

    def _wire_project(self) -> None:
        self.improve.click(
            sentences(self._improve), None, self.improve, api_visibility="private", show_progress_on=self.improve
        )
        self.export.click(
            sentences(lambda: gr.File(self.handlers.export_coco(), visible=True)),
            None,
            self.coco,
            api_visibility="private",
        ).success(None, None, None, js=DOWNLOAD)

    def _choices(self, selected: int | None) -> Any:
        return gr.Dropdown(choices=self.handlers.choices(), value=selected)

    def _load(self, *values: Any) -> tuple[Any, ...]:
        tab = Tab(*values)
        # before anything is read: what changes meanwhile is read again by the first tick
        change, choices = self.handlers.session.change_number(), self.handlers.choices()
        tab = tab._replace(image_id=self.handlers.still_there(tab.image_id))
        images = gr.Dropdown(choices=choices, value=tab.image_id)
        return [change, "", _newest(choices)], tab.image_id, images, *tab.drawn(self.handlers)

    def _turned(self, tab: Tab, image_id: int | None, proposals: Sequence[str] = ()) -> Tab:
        """The tab on another image, where nothing was clicked yet."""
        return tab._replace(image_id=image_id, proposals=list(proposals), prompt=None)

    def _sample(self, event: gr.SelectData, *values: Any) -> tuple[Any, ...]:
        sample = self.samples[event.index]
        tab = self._turned(Tab(*values), self.handlers.session.add_picture(sample.path).id)
        credit = f'{sample.credit}, {sample.licence}, <a href="{sample.source}" rel="noreferrer">source</a>'
        drawn = tab.drawn(self.handlers)
        return *tab[:2], *fresh(self.handlers), sample.words, credit, self._choices(tab.image_id), *drawn

    def _upload(self, files: list[str] | None, *values: Any) -> tuple[Any, ...]:
        tab = Tab(*values)
        added, problems = self.handlers.add_files(files or [])
        for problem in problems:
            gr.Warning(problem)
        tab = self._turned(tab, tab.image_id, tab.proposals) if added is None else self._turned(tab, added)
        drawn = tab.drawn(self.handlers)
        return *tab[:2], *fresh(self.handlers), None, "", self._choices(tab.image_id), *drawn

    def _open(self, image_id: int | None, *values: Any) -> tuple[Any, ...]:
        """Turn to an image; while something is looked for by example, look for it there, too."""
        tab = self._turned(Tab(*values), image_id)
        notice = ""
        if tab.like is not None and self.handlers.wants_like(image_id, tab.like):
            proposals, notice = self.handlers.propose_like(image_id, tab.like)
            tab = tab._replace(proposals=proposals)
        return *tab[:2], *fresh(self.handlers), "", *tab.drawn(self.handlers, notice)

    def _step(self, by: int, *values: Any) -> tuple[Any, ...]:
        shown = Tab(*values).image_id
        turned = self.handlers.neighbour(shown, by)
        if turned == shown:
            gr.Info("That was the last picture." if by > 0 else "That was the first picture.")
            return (gr.skip(),) * 10
        return *self._open(turned, *values), self._choices(turned)

    def _go(self, event: gr.EventData, *values: Any) -> tuple[Any, ...]:
        """Turn to the image that the status line names."""
        if event.act != "go":
            return (gr.skip(),) * 11
        image_id = int(event.id)
        return "", *self._open(image_id, *values), self._choices(image_id)

    def _like(self, event: gr.EventData, *values: Any) -> tuple[Any, ...]:
        """Look for the references on this image, or stop looking."""
        tab, notice = Tab(*values), ""
        if event.act == "stop":
            tab = tab._replace(like=None)
        elif tab.like is not None:
            proposals, notice = self.handlers.propose_like(tab.image_id, tab.like)
            tab = tab._replace(proposals=proposals)
        return tab.proposals, tab.like, self.handlers.like_bar(tab.like), *tab.drawn(self.handlers, notice)

    def _propose(self, *values: Any) -> tuple[Any, ...]:
        tab, words = Tab(*values[:_TAB]), Words(*values[_TAB:])
        proposals, notice = self.handlers.propose(tab.image_id, words)
        return proposals, *tab._replace(proposals=proposals).drawn(self.handlers, notice)

    def _find(
        self,
        phrase: str,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008  # Gradio finds it by its default
    ) -> tuple[Any, ...]:
        """Look for pictures, until another search of this tab begins or Stop is pressed."""
        tab = str(request.session_hash)
        mine = self._searches[tab] = object()
        try:
            shown, ids, problem = self.handlers.find(
                phrase, SearchProgress(progress, lambda: self._searches.get(tab) is not mine)
            )
        except Cancelled:
            return gr.skip(), gr.skip()
        if problem:
            gr.Warning(problem)
        if not shown:
            gr.Info("This project has no pictures yet.")
        return shown, ids

    def _stop_finding(self, request: gr.Request) -> None:
        self._searches.pop(str(request.session_hash), None)

    def _open_match(self, event: gr.SelectData, found: list[int], *values: Any) -> tuple[Any, ...]:
        image_id = found[event.index]
        return *self._open(image_id, *values), self._choices(image_id)

    def _everything(self, *values: Any) -> tuple[Any, ...]:
        tab = Tab(*values)
        proposals, notice = self.handlers.propose_everything(tab.image_id)
        tab = self._turned(tab, tab.image_id, proposals)
        return proposals, *fresh(self.handlers), *tab.drawn(self.handlers, notice)

    def _click(self, event: gr.EventData, *values: Any) -> tuple[Any, ...]:
        """A click or a box on the picture."""
        tab = Tab(*values)
        prompt, notice = self.handlers.click(tab.image_id, tab.prompt, event.told)
        return prompt, self.handlers.click_bar(prompt), *tab._replace(prompt=prompt).drawn(self.handlers, notice)

    def _click_bar(self, event: gr.EventData, name: str, *values: Any) -> tuple[Any, ...]:
        """Another answer, a name, one step back, or no clicks at all."""
        tab = Tab(*values)
        prompt = tab.prompt
        match event.act:
            case "other" if prompt:
                prompt = prompt.select(prompt.last.selected + 1)
            case "undo":
                prompt = self.handlers.undo_click(prompt)
            case "clear":
                self.handlers.clear(prompt)
                prompt = None
            case "name":
                name = event.id
        bar = self.handlers.click_bar(prompt, suggest=event.act == "what")
        return prompt, bar, name, *tab._replace(prompt=prompt).drawn(self.handlers)

    def _improve(self, event: gr.EventData) -> str:
        self.handlers.session.act(event.act)
        return self.handlers.improvement()

    def _refresh(self, seen: tuple[int, str, int], of: str, *values: Any) -> tuple[Any, ...]:
        """Once a second: what another window, or a run, has changed; nothing is sent when nothing has."""
        tab = Tab(*values)
        number, told, newest = seen
        found = self.handlers.news(number, newest, tab.image_id, shown_in(of))
        improve = self.handlers.improvement()
        if (found.number, improve) == (number, told) and not found.picture:
            return (gr.skip(),) * 3
        images: Any = gr.skip()
        if found.pictures:
            choices = self.handlers.choices()
            images, newest = gr.Dropdown(choices=choices, value=tab.image_id), _newest(choices)
        news: dict[str, Any] = {"of": of, "seen": [found.number, improve, newest]}
        if found.picture:
            drawn = tab.drawn(self.handlers)
            news |= {"picture": drawn.picture, "legend": drawn.legend}
        return news | {"counts": self.handlers.counts()}, improve, images


def _newest(choices: Sequence[tuple[str, int]]) -> int:
    """The highest id of a picture that is listed."""
    return max((key for _, key in choices), default=0)


def build(handlers: Handlers, title: str) -> gr.Blocks:
    """The page and its named endpoints."""
    with gr.Blocks(title="Maskwright", analytics_enabled=False) as page:
        _Page(handlers, title).wire(page)
        for endpoint in (
            handlers.segment_text, handlers.segment_like, handlers.segment_click, handlers.find_images,
            handlers.accept, handlers.reject, handlers.delete, handlers.undo, handlers.redo, handlers.finetune,
            handlers.job_status, handlers.job_cancel,
        ):  # fmt: skip
            gr.api(sentences(endpoint), api_name=endpoint.__name__)
        options, file = gr.JSON(visible=False), gr.File(visible=False)
        gr.Button(visible=False).click(sentences(handlers.export_coco), options, file, api_name="export_coco")
    return page
