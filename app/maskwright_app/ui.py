"""The browser page: widgets and what they emit; every decision is in `handlers`."""

from __future__ import annotations

import functools
import html
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import gradio as gr
from PIL import Image as Pillow
from PIL import ImageOps

from maskwright.errors import MaskwrightError
from maskwright.pictures import SUFFIXES
from maskwright_app.handlers import Handlers, View
from maskwright_app.samples import Sample, samples

__all__ = ["CSS", "HEAD", "THEME", "build"]

P = ParamSpec("P")
R = TypeVar("R")

THEME = gr.themes.Soft(primary_hue="blue", neutral_hue="slate", font=["system-ui", "sans-serif"])

CSS = """
.mw-picture { position: relative; margin: 0; line-height: 0; }
.mw-picture img { width: 100%; max-height: 72vh; object-fit: contain; }
.mw-overlay { position: absolute; inset: 0; height: 100%; opacity: var(--mw-opacity, .55);
  image-rendering: pixelated; }
.mw-legend { list-style: none; margin: 0; padding: 0; }
.mw-legend li { display: flex; align-items: center; gap: .5em; padding: .35em 0;
  border-bottom: 1px solid var(--border-color-primary); }
.mw-swatch { flex: none; width: 1.2em; height: 1.2em; border-radius: 3px; border: 2px dashed var(--body-text-color); }
.mw-accepted .mw-swatch { border-style: solid; }
.mw-name { font-weight: 600; overflow-wrap: anywhere; }
.mw-facts { color: var(--body-text-color-subdued); flex: 1; font-size: .85em; }
.mw-legend button { min-height: 44px; padding: 0 .7em; border-radius: 6px; cursor: pointer;
  border: 1px solid var(--border-color-primary); background: var(--button-secondary-background-fill);
  color: var(--body-text-color); }
.mw-legend button[data-act=accept] { border-color: #0072b2; border-width: 2px; font-weight: 600; }
.mw-legend button:focus-visible { outline: 3px solid #d55e00; }
.mw-improve button { min-height: 44px; padding: 0 .9em; margin: .2em .4em .2em 0; border-radius: 6px; cursor: pointer;
  border: 1px solid var(--border-color-primary); background: var(--button-secondary-background-fill);
  color: var(--body-text-color); }
.mw-improve button.mw-first { border-color: #0072b2; border-width: 2px; font-weight: 600; }
.mw-improve button:focus-visible { outline: 3px solid #d55e00; }
.mw-improve progress { width: 100%; height: .9em; accent-color: #0072b2; }
.mw-improve svg { width: 100%; max-height: 60px; }
.mw-kept { font-weight: 600; }
.mw-legend li { flex-wrap: wrap; }
.mw-legend button[aria-pressed=true] { border-color: #0072b2; border-width: 2px; font-weight: 600; }
.mw-like { display: flex; flex-wrap: wrap; align-items: center; gap: .5em; padding: .4em .8em;
  border-left: 4px solid #0072b2; }
.mw-like img { height: 56px; border-radius: 4px; }
.mw-like button { min-height: 44px; padding: 0 .9em; border-radius: 6px; cursor: pointer;
  border: 1px solid var(--border-color-primary); background: var(--button-secondary-background-fill);
  color: var(--body-text-color); }
.mw-like button:focus-visible { outline: 3px solid #d55e00; }
.mw-notice { border-left: 4px solid #d55e00; padding: .4em .8em; }
.mw-credit { font-size: .85em; color: var(--body-text-color-subdued); }
"""

HEAD = """
<script>
document.addEventListener("keydown", (event) => {
  if (event.target.closest("input, textarea, [contenteditable]") || event.ctrlKey || event.metaKey || event.altKey)
    return;
  const button = {g: "#mw-accept-all", u: "#mw-reject-all", q: "#mw-run", n: "#mw-next", N: "#mw-previous"}[event.key];
  if (button) { document.querySelector(button)?.click(); event.preventDefault(); }
});
</script>
"""

_OPACITY = "(share) => document.documentElement.style.setProperty('--mw-opacity', share / 100)"
_CLICKED = """
element.addEventListener("click", (event) => {
  const button = event.target.closest("[data-act]");
  if (!button) return;
  // a double click is one decision; after a failure the button works again
  button.disabled = true;
  setTimeout(() => { button.disabled = false; }, 3000);
  trigger("click", {act: button.dataset.act, id: button.dataset.id});
});
"""
_DOWNLOAD = """
() => setTimeout(() => document.querySelector("#mw-coco a[download], #mw-coco a[href*='coco.json']")?.click(), 300)
"""


def _sentences(handler: Callable[P, R]) -> Callable[P, R]:
    """Show what a person can mend as a toast of one sentence; anything else surfaces in the log."""

    @functools.wraps(handler)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return handler(*args, **kwargs)
        except MaskwrightError as error:
            raise gr.Error(str(error), print_exception=False) from error

    return wrapped


def _thumbnail(sample: Sample) -> Pillow.Image:
    with Pillow.open(sample.path) as opened:
        return ImageOps.fit(opened.convert("RGB"), (176, 132))


class _Page:
    """Widgets of the page and the wiring between them; per tab it keeps an image id and open proposal ids."""

    def __init__(self, handlers: Handlers, title: str) -> None:
        self.handlers = handlers
        self.samples = samples()
        self.image_id = gr.BrowserState(None, storage_key=f"maskwright {title}", secret="maskwright")
        self.proposals = gr.State([])
        self.seen = gr.State((-1, ""))
        self.like = gr.State(None)
        self.clock = gr.Timer(1.0)
        gr.Markdown(f"# Maskwright\n{title}", elem_id="mw-title")
        with gr.Row():
            with gr.Column(scale=2, min_width=260):
                self._sources()
            with gr.Column(scale=5, min_width=340):
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

    def _canvas(self) -> None:
        self.words = gr.Textbox(
            label="Class names", placeholder="grass, cow, sky", elem_id="mw-words", autofocus=True, max_lines=2,
            info='Separate with commas; synonyms of one class with "|".', submit_btn=False,
        )  # fmt: skip
        with gr.Row():
            self.run = gr.Button("Find masks (Q)", variant="primary", elem_id="mw-run")
            self.background = gr.Checkbox(
                True, label="Leave what I did not name unlabelled", elem_id="mw-background", min_width=200
            )
        self.threshold = gr.Slider(
            0.05, 0.95, 0.5, step=0.05, label="Threshold: how sure a class must be", elem_id="mw-threshold"
        )
        with gr.Row():
            self.previous = gr.Button("Previous picture (Shift+N)", elem_id="mw-previous", min_width=120)
            self.next = gr.Button("Next picture (N)", elem_id="mw-next", min_width=120)
        self.like_bar = gr.HTML("", elem_id="mw-like", js_on_load=_CLICKED)
        self.notice = gr.HTML("", elem_id="mw-notice")
        self.picture = gr.HTML("", elem_id="mw-picture")
        self.opacity = gr.Slider(0, 100, 55, step=5, label="Opacity of masks in %", elem_id="mw-opacity")
        self.credit = gr.HTML("", elem_classes="mw-credit", elem_id="mw-credit")

    def _decisions(self) -> None:
        with gr.Row():
            self.accept_all = gr.Button("Accept all (G)", elem_id="mw-accept-all", min_width=120)
            self.reject_all = gr.Button("Reject all (U)", elem_id="mw-reject-all", min_width=120)
        self.legend = gr.HTML("", elem_id="mw-legend", js_on_load=_CLICKED)
        self.counts = gr.HTML("", elem_id="mw-counts")
        self.export = gr.Button("Download COCO", elem_id="mw-export")
        self.coco = gr.File(label="COCO file", elem_id="mw-coco", interactive=False, visible=False)
        gr.Markdown("### A better model")
        self.improve = gr.HTML("", elem_id="mw-improve", js_on_load=_CLICKED)

    @property
    def shown(self) -> list[Any]:
        """Components that show one image."""
        return [self.picture, self.legend, self.counts, self.notice]

    def wire(self, page: gr.Blocks) -> None:
        """Connect the widgets; none of these is part of the API."""
        private: dict[str, Any] = {"api_visibility": "private", "show_progress_on": self.picture}
        state = [self.image_id, self.proposals]
        page.load(_sentences(self._load), self.image_id, [self.image_id, self.images, *self.shown], **private)
        self.gallery.select(
            _sentences(self._sample), None, [*state, self.words, self.credit, self.images, *self.shown], **private
        )
        self.upload.upload(
            _sentences(self._upload), [self.upload, *state],
            [*state, self.upload, self.credit, self.images, *self.shown], **private,
        )  # fmt: skip
        turned = [*state, self.credit, *self.shown]
        self.images.input(_sentences(self._open), [self.images, self.like], turned, **private)
        for button, by in ((self.previous, -1), (self.next, 1)):
            button.click(
                _sentences(functools.partial(self._step, by)), [self.image_id, self.like], [*turned, self.images],
                trigger_mode="always_last", **private,
            )  # fmt: skip
        self.like_bar.click(
            _sentences(self._like), [*state, self.like], [self.proposals, self.like, self.like_bar, *self.shown],
            **private,
        )  # fmt: skip
        prompt = [self.image_id, self.words, self.background, self.threshold, self.like]
        for trigger in (self.run.click, self.words.submit, self.background.input, self.threshold.release):
            trigger(
                _sentences(self._propose), prompt, [self.proposals, *self.shown],
                trigger_mode="always_last", **private,
            )  # fmt: skip
        decided = [*state, self.like]
        self.legend.click(_sentences(self._decide_one), decided, [self.like, self.like_bar, *self.shown], **private)
        self.accept_all.click(_sentences(self._accept_all), decided, self.shown, **private)
        self.reject_all.click(_sentences(self._reject_all), decided, self.shown, **private)
        self.improve.click(_sentences(self._improve), None, self.improve, **private)
        self.clock.tick(
            _sentences(self._refresh), [self.seen, *state, self.like],
            [self.seen, self.improve, self.images, self.picture, self.legend, self.counts],
            api_visibility="private", show_progress="hidden", trigger_mode="once",
        )  # fmt: skip
        self.opacity.input(None, self.opacity, None, js=_OPACITY)
        self.export.click(
            _sentences(lambda: gr.File(self.handlers.export_coco(), visible=True)),
            None,
            self.coco,
            api_visibility="private",
        ).success(None, None, None, js=_DOWNLOAD)

    def _shown(self, view: View) -> tuple[str, str, str, str]:
        notice = f'<p class="mw-notice" role="status">{html.escape(view.notice)}</p>' if view.notice else ""
        return view.picture, view.legend, view.counts, notice

    def _choices(self, selected: int | None) -> Any:
        return gr.Dropdown(choices=self.handlers.choices(), value=selected)

    def _load(self, image_id: int | None) -> tuple[Any, ...]:
        image_id = self.handlers.still_there(image_id)
        return image_id, self._choices(image_id), *self._shown(self.handlers.view(image_id, []))

    def _sample(self, event: gr.SelectData) -> tuple[Any, ...]:
        sample = self.samples[event.index]
        image_id = self.handlers.session.add_picture(sample.path).id
        credit = f'{sample.credit}, {sample.licence}, <a href="{sample.source}" rel="noreferrer">source</a>'
        view = self.handlers.view(image_id, [])
        return image_id, [], sample.words, credit, self._choices(image_id), *self._shown(view)

    def _upload(self, files: list[str] | None, image_id: int | None, proposals: list[str]) -> tuple[Any, ...]:
        added, problems = self.handlers.add_files(files or [])
        for problem in problems:
            gr.Warning(problem)
        if added is not None:
            image_id, proposals = added, []
        view = self.handlers.view(image_id, proposals)
        return image_id, proposals, None, "", self._choices(image_id), *self._shown(view)

    def _open(self, image_id: int | None, like: str | None) -> tuple[Any, ...]:
        """Turn to an image; while something is looked for by example, look for it there, too."""
        proposals: list[str] = []
        notice = ""
        if like is not None and self.handlers.wants_like(image_id, like):
            proposals, notice = self.handlers.propose_like(image_id, like)
        return image_id, proposals, "", *self._shown(self.handlers.view(image_id, proposals, notice, like))

    def _step(self, by: int, image_id: int | None, like: str | None) -> tuple[Any, ...]:
        turned = self.handlers.neighbour(image_id, by)
        if turned == image_id:
            gr.Info("That was the last picture." if by > 0 else "That was the first picture.")
            return (gr.skip(),) * 8
        return *self._open(turned, like), self._choices(turned)

    def _like(
        self, image_id: int | None, proposals: list[str], like: str | None, event: gr.EventData
    ) -> tuple[Any, ...]:
        """Look for the references on this image, or stop looking."""
        notice = ""
        if event.act == "stop":
            like = None
        elif like is not None:
            proposals, notice = self.handlers.propose_like(image_id, like)
        view = self.handlers.view(image_id, proposals, notice, like)
        return proposals, like, self.handlers.like_bar(like), *self._shown(view)

    def _propose(
        self, image_id: int | None, words: str, background: bool, threshold: float, like: str | None
    ) -> tuple[Any, ...]:
        proposals, notice = self.handlers.propose(image_id, words, background, threshold)
        return proposals, *self._shown(self.handlers.view(image_id, proposals, notice, like))

    def _improve(self, event: gr.EventData) -> str:
        self.handlers.session.act(event.act)
        return self.handlers.improvement()

    def _refresh(
        self, seen: tuple[int, str], image_id: int | None, proposals: list[str], like: str | None
    ) -> tuple[Any, ...]:
        """Once a second: what another window, or a run, has changed; nothing is sent when nothing has."""
        change, improve = self.handlers.session.change_number(), self.handlers.improvement()
        if (change, improve) == tuple(seen):
            return (gr.skip(),) * 6
        shown: tuple[Any, ...] = (gr.skip(),) * 4
        if change != seen[0]:
            view = self.handlers.view(image_id, proposals, looked_for=like)
            shown = self._choices(image_id), view.picture, view.legend, view.counts
        return (change, improve), improve, *shown

    def _decide_one(
        self, image_id: int, proposals: list[str], like: str | None, event: gr.EventData
    ) -> tuple[Any, ...]:
        if event.act in ("like", "not"):
            like = self.handlers.mark(int(event.id), like, shows=event.act == "like")
        else:
            decide = {"accept": self.handlers.accept, "reject": self.handlers.reject}[event.act]
            decide([event.id])
        view = self.handlers.view(image_id, proposals, looked_for=like)
        return like, self.handlers.like_bar(like), *self._shown(view)

    def _accept_all(self, image_id: int | None, proposals: list[str], like: str | None) -> tuple[Any, ...]:
        self.handlers.accept(self.handlers.still_open(image_id, proposals))
        return self._shown(self.handlers.view(image_id, proposals, looked_for=like))

    def _reject_all(self, image_id: int | None, proposals: list[str], like: str | None) -> tuple[Any, ...]:
        self.handlers.reject(self.handlers.still_open(image_id, proposals))
        return self._shown(self.handlers.view(image_id, proposals, looked_for=like))


def build(handlers: Handlers, title: str) -> gr.Blocks:
    """The page and its named endpoints."""
    with gr.Blocks(title="Maskwright", analytics_enabled=False) as page:
        _Page(handlers, title).wire(page)
        for endpoint in (
            handlers.segment_text, handlers.segment_like, handlers.accept, handlers.reject, handlers.finetune,
            handlers.job_status, handlers.job_cancel,
        ):  # fmt: skip
            gr.api(_sentences(endpoint), api_name=endpoint.__name__)
        options, file = gr.JSON(visible=False), gr.File(visible=False)
        gr.Button(visible=False).click(_sentences(handlers.export_coco), options, file, api_name="export_coco")
    return page
