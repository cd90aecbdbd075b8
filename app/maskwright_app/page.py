"""The browser page: three columns, updates once a second, export and fine-tuning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

from maskwright.session import AnnotationSession
from maskwright_app.api import Api
from maskwright_app.api_calls import endpoint as endpoint_of
from maskwright_app.handlers import Handlers
from maskwright_app.image_panel import ImagePanel
from maskwright_app.images_panel import ImagesPanel
from maskwright_app.masks_panel import MasksPanel
from maskwright_app.screen import NO_UPDATE, Screen, Update, Values, errors_as_toasts
from maskwright_app.static import ASK_NEWS, BUTTONS, DOWNLOAD, SHOW_NEWS

__all__ = ["build"]


class _Page:
    def __init__(self, handlers: Handlers, title: str) -> None:
        self.handlers = handlers
        self.screen = Screen(handlers, title)
        self.seen = gr.JSON({"change": 0, "finetuning": "", "newest": 0}, visible=False)
        """What the tab shows: number of the newest change, fine-tuning panel, newest image."""
        self.news = gr.JSON(None, visible=False)
        self.clock = gr.Timer(1.0)
        gr.Markdown(f"# Maskwright\n{title}", elem_id="mw-title")
        with gr.Row():
            with gr.Column(scale=2, min_width=260):
                self.images = ImagesPanel(self.screen)
            with gr.Column(scale=6, min_width=340):
                self.image = ImagePanel(self.screen)
            with gr.Column(scale=3, min_width=280):
                self.masks = MasksPanel(self.screen)
                self.export = gr.Button("Download COCO", elem_id="mw-export")
                self.coco = gr.File(label="COCO file", elem_id="mw-coco", interactive=False, visible=False)
                gr.Markdown("### Fine-tune")
                self.finetuning = gr.HTML("", elem_id="mw-finetune", js_on_load=BUTTONS)

    def wire(self, page: gr.Blocks) -> None:
        """Connect the widgets."""
        screen = self.screen
        screen.listen(page.load, self._load, outputs=[self.seen])
        for panel in (self.images, self.image, self.masks):
            panel.wire()
        private: dict[str, Any] = {"api_visibility": "private"}
        self.finetuning.click(
            errors_as_toasts(self._act), None, [self.finetuning], show_progress_on=self.finetuning, **private
        )
        self.export.click(errors_as_toasts(self._export), None, [self.coco], **private).success(
            None, None, None, js=DOWNLOAD
        )
        drawn = [screen.figure, screen.mask_list, screen.counts]
        self.clock.tick(
            errors_as_toasts(self._refresh), {self.seen, screen.figure, *screen.state.values()},
            [self.news, self.finetuning, screen.images],
            js=ASK_NEWS, show_progress="hidden", trigger_mode="once", **private,
        ).success(None, [self.news, self.seen, *drawn], [self.seen, *drawn], js=SHOW_NEWS)  # fmt: skip

    def _load(self, values: Values) -> Update:
        """Restore the image that the tab had open."""
        # read first: the first update draws whatever changes from now on
        change = self.handlers.session.change_number()
        tab = self.screen.tab(values)
        after = self.handlers.restore(tab)
        choices = self.handlers.image_choices()
        return self.screen.update(tab, after) | {
            self.screen.images: gr.Dropdown(choices=choices, value=after.image_id),
            self.seen: {"change": change, "finetuning": "", "newest": _newest(choices)},
        }

    def _export(self) -> Update:
        return {self.coco: gr.File(str(self.handlers.session.export_coco()), visible=True)}

    def _act(self, event: gr.EventData) -> Update:
        """A button of the fine-tuning panel."""
        self.handlers.session.finetuning.act(event.act)
        return {self.finetuning: self.handlers.finetune_panel()}

    def _refresh(self, values: Values) -> Update:
        """Once a second: what other windows and fine-tuning have changed; sends nothing when nothing has."""
        tab, seen, view = self.screen.tab(values), values[self.seen], values[self.screen.figure]
        news = self.handlers.news(seen["change"], seen["newest"], tab.image_id, view)
        panel = self.handlers.finetune_panel()
        if news.change == seen["change"] and panel == seen["finetuning"] and not news.figure:
            return NO_UPDATE
        newest, update = seen["newest"], {}
        if news.images:
            choices = self.handlers.image_choices()
            newest = _newest(choices)
            update[self.screen.images] = gr.Dropdown(choices=choices, value=tab.image_id)
        # what changes with the view is shown by SHOW_NEWS, if the view is still on screen
        drawn: dict[str, Any] = {"counts": self.handlers.counts()}
        if news.figure:
            fresh = self.handlers.view(tab)
            drawn |= {"figure": fresh.figure, "masks": fresh.masks}
        seen = {"change": news.change, "finetuning": panel, "newest": newest}
        return update | {self.news: {"view": view, "seen": seen, **drawn}, self.finetuning: panel}


def _newest(choices: Sequence[tuple[str, int]]) -> int:
    return max((image_id for _, image_id in choices), default=0)


class _Blocks(gr.Blocks):
    """Blocks that refuse a wrong number of arguments in one sentence."""

    def validate_inputs(self, block_fn: Any, inputs: list[Any]) -> None:
        """Raise gr.Error for too few arguments."""
        if len(inputs) < len(block_fn.inputs):
            name = block_fn.api_name or "this event"
            raise gr.Error(
                f"{name} takes {len(block_fn.inputs)} arguments, not {len(inputs)}; the page of the API lists them.",
                print_exception=False,
            )


def build(session: AnnotationSession) -> gr.Blocks:
    """The page and its HTTP endpoints."""
    api = Api(session)
    with _Blocks(title="Maskwright", analytics_enabled=False) as page:
        _Page(Handlers(session), str(session.folder)).wire(page)
        for endpoint in api.endpoints:
            gr.api(endpoint_of(endpoint, lambda: page._queue), api_name=endpoint.__name__)
        # gr.api cannot return a file
        options, file = gr.JSON(visible=False), gr.File(visible=False)
        gr.Button(visible=False).click(endpoint_of(api.export_coco), options, file, api_name="export_coco")
    return page
