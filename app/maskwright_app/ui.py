"""The browser page: widgets and what they emit; every decision is in `handlers`."""

from __future__ import annotations

import functools
import html
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import gradio as gr
from PIL import Image as Pillow
from PIL import ImageOps

from maskwright.clicking import ClickPrompt
from maskwright.errors import Cancelled, MaskwrightError
from maskwright.pictures import SUFFIXES
from maskwright.session import CLEANING, METHODS
from maskwright_app.handlers import Handlers, View, Words
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
.mw-image { cursor: crosshair; touch-action: manipulation; user-select: none; }
.mw-overlay, .mw-marks { pointer-events: none; }
.mw-marks { position: absolute; inset: 0; width: 100%; height: 100%; }
.mw-marks path, .mw-marks circle, .mw-marks g rect { stroke: #fff; }
.mw-box { fill: none; stroke: #fff; stroke-dasharray: 1% 1%; }
.mw-drag { position: fixed; border: 2px dashed #fff; outline: 1px solid #000; pointer-events: none; z-index: 9; }
.mw-click { display: flex; flex-wrap: wrap; align-items: center; gap: .5em; padding: .2em 0; }
.mw-click button { min-height: 44px; padding: 0 .7em; border-radius: 6px; cursor: pointer;
  border: 1px solid var(--border-color-primary); background: var(--button-secondary-background-fill);
  color: var(--body-text-color); }
.mw-click button:focus-visible { outline: 3px solid #d55e00; }
.mw-legend { list-style: none; margin: 0; padding: 0; }
.mw-legend li { display: flex; align-items: center; gap: .5em; padding: .35em 0;
  border-bottom: 1px solid var(--border-color-primary); }
.mw-swatch { flex: none; width: 1.2em; height: 1.2em; border-radius: 3px; border: 2px dashed var(--body-text-color); }
.mw-accepted .mw-swatch { border-style: solid; }
.mw-cleaned .mw-swatch { border-style: none;
  background: repeating-linear-gradient(135deg, #808080 0 3px, #fff 3px 6px); }
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
  if (event.target.closest("input:not([type=radio]), textarea, [contenteditable]"))
    return;
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "k" || event.key === "w") {
    const tools = [...document.querySelectorAll("#mw-tool input")];
    const now = tools.findIndex((tool) => tool.checked);
    tools[event.key === "w" ? (now === 2 ? 0 : 2) : (now === 0 ? 1 : 0)]?.click();
    event.preventDefault();
    return;
  }
  const button = {
    g: "#mw-accept-all", u: "#mw-reject-all", q: "#mw-run", n: "#mw-next", N: "#mw-previous",
    j: "#mw-click-other", z: "#mw-click-undo", Escape: "#mw-click-clear",
  }[event.key];
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
_POINTED = """
// a place on the screen in pixels of the picture; the picture lies in the middle of its box
const place = (event) => {
  const image = element.querySelector("img.mw-image");
  if (!image) return null;
  const box = image.getBoundingClientRect(), width = +image.dataset.width, height = +image.dataset.height;
  const scale = Math.min(box.width / width, box.height / height);
  const x = (event.clientX - box.left - (box.width - width * scale) / 2) / scale;
  const y = (event.clientY - box.top - (box.height - height * scale) / 2) / scale;
  return {x: Math.min(Math.max(x, 0), width), y: Math.min(Math.max(y, 0), height), scale,
    inside: x >= 0 && y >= 0 && x <= width && y <= height, screen: [event.clientX, event.clientY]};
};
const tool = () => [...document.querySelectorAll("#mw-tool input")].findIndex((one) => one.checked);
let from = null, corner = null, frame = null;
const draw = (to) => {
  const [start, end] = [(corner || from).screen, to.screen];
  frame ||= document.body.appendChild(Object.assign(document.createElement("div"), {className: "mw-drag"}));
  Object.assign(frame.style, {left: Math.min(start[0], end[0]) + "px", top: Math.min(start[1], end[1]) + "px",
    width: Math.abs(start[0] - end[0]) + "px", height: Math.abs(start[1] - end[1]) + "px"});
};
const done = () => { frame?.remove(); from = corner = frame = null; };
const boxed = (start, end) => {
  done();
  trigger("click", {told: {box: [Math.min(start.x, end.x), Math.min(start.y, end.y), Math.max(start.x, end.x),
    Math.max(start.y, end.y)]}});
};
const far = (start, end) => Math.hypot(start.screen[0] - end.screen[0], start.screen[1] - end.screen[1]) > 6;
element.addEventListener("pointerdown", (event) => {
  if (event.button !== 0 || !event.target.closest("img.mw-image")) return;
  const at = place(event);
  if (at?.inside) from = at;
});
window.addEventListener("pointermove", (event) => {
  const at = (from || corner) && place(event);
  if (at && (corner || far(from, at))) draw(at);
});
window.addEventListener("pointerup", (event) => {
  const at = from && place(event);
  if (!at) return;
  if (far(from, at)) return boxed(from, at);
  if (tool() === 2) {
    if (corner) return boxed(corner, at);
    corner = at;
    from = null;
    return draw(at);
  }
  done();
  trigger("click", {told: {x: at.x, y: at.y, near: 8 / at.scale,
    sign: (tool() === 1) !== (event.shiftKey || event.altKey) ? 0 : 1}});
});
window.addEventListener("keydown", (event) => { if (event.key === "Escape") done(); });
"""
# The tick knows the picture it was sent from by its mark, and what it brings is shown only where that one still is:
# meanwhile the person may have turned to another picture, or asked for other masks.
_ASK_NEWS = """
(seen, picture, ...rest) => [seen, picture?.match(/data-view="(\\w+)"/)?.[1] ?? "", ...rest]
"""
_SHOW_NEWS = """
(news, seen, picture, legend, counts) => {
  const mark = picture?.match(/data-view="(\\w+)"/)?.[1] ?? "";
  if (!news || news.of !== mark) return [seen, picture, legend, counts];
  return [news.seen, news.picture ?? picture, news.legend ?? legend, news.counts ?? counts];
}
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
        self.seen = gr.JSON([-1, ""], visible=False)
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
        self.click_bar = gr.HTML(self.handlers.click_bar(None), elem_id="mw-click", js_on_load=_CLICKED, padding=False)
        self.like_bar = gr.HTML("", elem_id="mw-like", js_on_load=_CLICKED, padding=False)
        self.notice = gr.HTML("", elem_id="mw-notice", padding=False)
        self.picture = gr.HTML("", elem_id="mw-picture", js_on_load=_POINTED, padding=False)
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
        clicks = [self.prompt, self.click_bar]
        tab = [*state, self.like, self.prompt]
        page.load(_sentences(self._load), self.image_id, [self.image_id, self.images, *self.shown], **private)
        self._wire_pictures(state, clicks, private)
        self._wire_prompts(tab, clicks, private)
        self._wire_search(state, clicks)
        self._wire_decisions(tab, clicks, private)
        self.clock.tick(
            _sentences(self._refresh), [self.seen, self.picture, *tab], [self.news, self.improve, self.images],
            js=_ASK_NEWS, api_visibility="private", show_progress="hidden", trigger_mode="once",
        ).success(
            None, [self.news, self.seen, self.picture, self.legend, self.counts],
            [self.seen, self.picture, self.legend, self.counts], js=_SHOW_NEWS,
        )  # fmt: skip
        self.opacity.input(None, self.opacity, None, js=_OPACITY)

    def _wire_pictures(self, state: list[Any], clicks: list[Any], private: dict[str, Any]) -> None:
        self.gallery.select(
            _sentences(self._sample), None, [*state, *clicks, self.words, self.credit, self.images, *self.shown],
            **private,
        )  # fmt: skip
        self.upload.upload(
            _sentences(self._upload), [self.upload, *state],
            [*state, *clicks, self.upload, self.credit, self.images, *self.shown], **private,
        )  # fmt: skip
        turned = [*state, *clicks, self.credit, *self.shown]
        self.images.input(_sentences(self._open), [self.images, self.like], turned, **private)
        for button, by in ((self.previous, -1), (self.next, 1)):
            button.click(
                _sentences(functools.partial(self._step, by)), [self.image_id, self.like], [*turned, self.images],
                trigger_mode="always_last", **private,
            )  # fmt: skip

    def _wire_prompts(self, tab: list[Any], clicks: list[Any], private: dict[str, Any]) -> None:
        self.like_bar.click(
            _sentences(self._like), tab, [self.proposals, self.like, self.like_bar, *self.shown], **private
        )
        words = [
            self.image_id, self.like, self.prompt, self.words, self.method, self.background, self.clean, self.refine,
            self.threshold,
        ]  # fmt: skip
        for trigger in (
            self.run.click, self.words.submit, self.method.input, self.background.input, self.clean.input,
            self.refine.input, self.threshold.release,
        ):  # fmt: skip
            trigger(
                _sentences(self._propose), words, [self.proposals, *self.shown],
                trigger_mode="always_last", **private,
            )  # fmt: skip
        self.everything.click(
            _sentences(self._everything), [self.image_id, self.like], [self.proposals, *clicks, *self.shown],
            trigger_mode="once", **private,
        )  # fmt: skip
        self.picture.click(
            _sentences(self._click), tab, [*clicks, *self.shown], trigger_mode="always_last",
            api_visibility="private", show_progress="hidden",
        )  # fmt: skip
        self.click_bar.click(
            _sentences(self._click_bar), [*tab, self.name], [*clicks, self.name, *self.shown], **private
        )

    def _wire_search(self, state: list[Any], clicks: list[Any]) -> None:
        private: dict[str, Any] = {"api_visibility": "private", "show_progress_on": self.matches}
        for trigger in (self.find.click, self.phrase.submit):
            # a second search ends the first, so it must not wait for it
            trigger(_sentences(self._find), self.phrase, [self.matches, self.found], concurrency_limit=None, **private)
        self.stop_finding.click(self._stop_finding, None, None, **private)
        self.matches.select(
            _sentences(self._open_match), [self.found, self.like],
            [*state, *clicks, self.credit, *self.shown, self.images], **private,
        )  # fmt: skip

    def _wire_decisions(self, tab: list[Any], clicks: list[Any], private: dict[str, Any]) -> None:
        self.legend.click(
            _sentences(self._decide_one), [*tab, self.name], [*clicks, self.like, self.like_bar, *self.shown],
            **private,
        )  # fmt: skip
        for button, keep in ((self.accept_all, True), (self.reject_all, False)):
            button.click(
                _sentences(functools.partial(self._decide_all, keep)), [*tab, self.name], [*clicks, *self.shown],
                **private,
            )  # fmt: skip
        self.improve.click(_sentences(self._improve), None, self.improve, **private)
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

    def _fresh(self) -> tuple[None, str]:
        """No clicks, as an image begins with."""
        return None, self.handlers.click_bar(None)

    def _sample(self, event: gr.SelectData) -> tuple[Any, ...]:
        sample = self.samples[event.index]
        image_id = self.handlers.session.add_picture(sample.path).id
        credit = f'{sample.credit}, {sample.licence}, <a href="{sample.source}" rel="noreferrer">source</a>'
        view = self.handlers.view(image_id, [])
        return image_id, [], *self._fresh(), sample.words, credit, self._choices(image_id), *self._shown(view)

    def _upload(self, files: list[str] | None, image_id: int | None, proposals: list[str]) -> tuple[Any, ...]:
        added, problems = self.handlers.add_files(files or [])
        for problem in problems:
            gr.Warning(problem)
        if added is not None:
            image_id, proposals = added, []
        view = self.handlers.view(image_id, proposals)
        return image_id, proposals, *self._fresh(), None, "", self._choices(image_id), *self._shown(view)

    def _open(self, image_id: int | None, like: str | None) -> tuple[Any, ...]:
        """Turn to an image; while something is looked for by example, look for it there, too."""
        proposals: list[str] = []
        notice = ""
        if like is not None and self.handlers.wants_like(image_id, like):
            proposals, notice = self.handlers.propose_like(image_id, like)
        view = self.handlers.view(image_id, proposals, notice, like)
        return image_id, proposals, *self._fresh(), "", *self._shown(view)

    def _step(self, by: int, image_id: int | None, like: str | None) -> tuple[Any, ...]:
        turned = self.handlers.neighbour(image_id, by)
        if turned == image_id:
            gr.Info("That was the last picture." if by > 0 else "That was the first picture.")
            return (gr.skip(),) * 10
        return *self._open(turned, like), self._choices(turned)

    def _like(
        self,
        image_id: int | None,
        proposals: list[str],
        like: str | None,
        prompt: ClickPrompt | None,
        event: gr.EventData,
    ) -> tuple[Any, ...]:
        """Look for the references on this image, or stop looking."""
        notice = ""
        if event.act == "stop":
            like = None
        elif like is not None:
            proposals, notice = self.handlers.propose_like(image_id, like)
        view = self.handlers.view(image_id, proposals, notice, like, prompt)
        return proposals, like, self.handlers.like_bar(like), *self._shown(view)

    def _propose(
        self,
        image_id: int | None,
        like: str | None,
        prompt: ClickPrompt | None,
        *words: Any,
    ) -> tuple[Any, ...]:
        proposals, notice = self.handlers.propose(image_id, Words(*words))
        return proposals, *self._shown(self.handlers.view(image_id, proposals, notice, like, prompt))

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
                phrase, lambda done, total: progress((done, total), desc="Looking at pictures", unit="pictures"),
                cancelled=lambda: self._searches.get(tab) is not mine,
            )  # fmt: skip
        except Cancelled:
            return gr.skip(), gr.skip()
        if problem:
            gr.Warning(problem)
        if not shown:
            gr.Info("This project has no pictures yet.")
        return shown, ids

    def _stop_finding(self, request: gr.Request) -> None:
        self._searches.pop(str(request.session_hash), None)

    def _open_match(self, found: list[int], like: str | None, event: gr.SelectData) -> tuple[Any, ...]:
        image_id = found[event.index]
        return *self._open(image_id, like), self._choices(image_id)

    def _everything(self, image_id: int | None, like: str | None) -> tuple[Any, ...]:
        proposals, notice = self.handlers.propose_everything(image_id)
        return proposals, *self._fresh(), *self._shown(self.handlers.view(image_id, proposals, notice, like))

    def _click(
        self,
        image_id: int | None,
        proposals: list[str],
        like: str | None,
        prompt: ClickPrompt | None,
        event: gr.EventData,
    ) -> tuple[Any, ...]:
        """A click or a box on the picture."""
        prompt, notice = self.handlers.click(image_id, prompt, event.told)
        view = self.handlers.view(image_id, proposals, notice, like, prompt)
        return prompt, self.handlers.click_bar(prompt), *self._shown(view)

    def _click_bar(
        self,
        image_id: int | None,
        proposals: list[str],
        like: str | None,
        prompt: ClickPrompt | None,
        name: str,
        event: gr.EventData,
    ) -> tuple[Any, ...]:
        """Another answer, a name, one step back, or no clicks at all."""
        match event.act:
            case "other" if prompt:
                prompt = prompt.choosing(prompt.last.chosen + 1)
            case "undo":
                prompt = self.handlers.undo(prompt)
            case "clear":
                self.handlers.clear(prompt)
                prompt = None
            case "name":
                name = event.id
        bar = self.handlers.click_bar(prompt, suggest=event.act == "what")
        return prompt, bar, name, *self._shown(self.handlers.view(image_id, proposals, "", like, prompt))

    def _improve(self, event: gr.EventData) -> str:
        self.handlers.session.act(event.act)
        return self.handlers.improvement()

    def _refresh(
        self,
        seen: tuple[int, str],
        of: str,
        image_id: int | None,
        proposals: list[str],
        like: str | None,
        prompt: ClickPrompt | None,
    ) -> tuple[Any, ...]:
        """Once a second: what another window, or a run, has changed; nothing is sent when nothing has."""
        change, improve = self.handlers.session.change_number(), self.handlers.improvement()
        if [change, improve] == list(seen):
            return (gr.skip(),) * 3
        news: dict[str, Any] = {"of": of, "seen": [change, improve]}
        choices: Any = gr.skip()
        if change != seen[0]:
            view = self.handlers.view(image_id, proposals, looked_for=like, prompt=prompt)
            news |= {"picture": view.picture, "legend": view.legend, "counts": view.counts}
            choices = self._choices(image_id)
        return news, improve, choices

    def _decide_one(
        self,
        image_id: int,
        proposals: list[str],
        like: str | None,
        prompt: ClickPrompt | None,
        name: str,
        event: gr.EventData,
    ) -> tuple[Any, ...]:
        """A button of the list of masks."""
        if event.act in ("like", "not"):
            like = self.handlers.mark(int(event.id), like, shows=event.act == "like")
        elif event.act == "correct":
            self.handlers.clear(prompt)
            prompt = ClickPrompt(image_id, int(event.id))
        elif prompt is not None and event.id == prompt.proposal:
            self.handlers.session.decide_click(prompt, name, keep=event.act == "accept")
            prompt = None
        else:
            self.handlers.session.decide([event.id], name, keep=event.act == "accept")
        view = self.handlers.view(image_id, proposals, looked_for=like, prompt=prompt)
        bars = self.handlers.click_bar(prompt), like, self.handlers.like_bar(like)
        return prompt, *bars, *self._shown(view)

    def _decide_all(
        self,
        keep: bool,
        image_id: int | None,
        proposals: list[str],
        like: str | None,
        prompt: ClickPrompt | None,
        name: str,
    ) -> tuple[Any, ...]:
        """Accept or reject all that is open: the answer to the clicks under its name, the rest under their own."""
        self.handlers.decide_all(image_id, proposals, prompt, name, keep=keep)
        return *self._fresh(), *self._shown(self.handlers.view(image_id, proposals, looked_for=like))


def build(handlers: Handlers, title: str) -> gr.Blocks:
    """The page and its named endpoints."""
    with gr.Blocks(title="Maskwright", analytics_enabled=False) as page:
        _Page(handlers, title).wire(page)
        for endpoint in (
            handlers.segment_text, handlers.segment_like, handlers.segment_click, handlers.find_images,
            handlers.accept, handlers.reject, handlers.finetune, handlers.job_status, handlers.job_cancel,
        ):  # fmt: skip
            gr.api(_sentences(endpoint), api_name=endpoint.__name__)
        options, file = gr.JSON(visible=False), gr.File(visible=False)
        gr.Button(visible=False).click(_sentences(handlers.export_coco), options, file, api_name="export_coco")
    return page
