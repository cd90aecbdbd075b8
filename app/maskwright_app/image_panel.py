"""The middle column: prompts and the image."""

from __future__ import annotations

import functools
from dataclasses import replace

import gradio as gr

from maskwright.session import CLEANING, METHODS
from maskwright_app.handlers import TextQuery
from maskwright_app.screen import NO_UPDATE, Screen, Update, Values
from maskwright_app.static import OPACITY

__all__ = ["ImagePanel"]


class ImagePanel:
    """Widgets that prompt for masks on the image of a tab."""

    def __init__(self, screen: Screen) -> None:
        """Make the widgets in the column that is open."""
        self.screen, self.handlers = screen, screen.handlers
        with gr.Row(equal_height=True):
            screen.class_names.render()
            self.run = gr.Button("Find masks (Q)", variant="primary", elem_id="mw-run", min_width=110)
            self.everything = gr.Button("Segment all", elem_id="mw-everything", min_width=100)
        with gr.Row(equal_height=True):
            self.tool = gr.Radio(
                ["Add", "Subtract", "Box"], value="Add", elem_id="mw-tool", label="Click tool (K; W: box)",
                min_width=300, scale=3, interactive=True,
            )  # fmt: skip
            screen.name.render()
        for component in (screen.click_bar, screen.reference_bar, screen.notice, screen.figure):
            component.render()
        with gr.Row():
            self.previous = gr.Button("Previous image (Shift+N)", elem_id="mw-previous", min_width=120)
            self.next = gr.Button("Next image (N)", elem_id="mw-next", min_width=120)
        self.opacity = gr.Slider(0, 100, 55, step=5, label="Mask opacity in %", elem_id="mw-opacity")
        with gr.Row():
            self.background = gr.Checkbox(value=True, label="Background class", elem_id="mw-background", min_width=200)
            self.threshold = gr.Slider(
                0.05, 0.95, 0.5, step=0.05, label="Threshold (probability)", elem_id="mw-threshold"
            )
        with gr.Row():
            self.method = gr.Dropdown(
                list(METHODS), value="Automatic", label="Text method", elem_id="mw-method", min_width=170
            )
            self.cleaning = gr.Dropdown(
                list(CLEANING), value="Automatic", label="Background cleaning", elem_id="mw-clean", min_width=170
            )
            self.refine = gr.Checkbox(value=False, label="Refine contours (PAMR)", elem_id="mw-refine", min_width=170)
        screen.credit.render()

    def wire(self) -> None:
        """Connect the widgets."""
        screen = self.screen
        query = [
            screen.class_names, self.method, self.background, self.cleaning, self.refine, self.threshold,
        ]  # fmt: skip
        for trigger in (
            self.run.click, screen.class_names.submit, self.method.input, self.background.input, self.cleaning.input,
            self.refine.input, self.threshold.release,
        ):  # fmt: skip
            screen.listen(trigger, self._propose_text, query, trigger_mode="always_last")
        screen.listen(self.everything.click, self._propose_everything, trigger_mode="once")
        screen.listen(screen.figure.click, self._click, trigger_mode="always_last", show_progress="hidden")
        screen.listen(screen.click_bar.click, self._on_click_bar)
        screen.listen(screen.reference_bar.click, self._on_reference_bar)
        for button, step in ((self.previous, -1), (self.next, 1)):
            screen.listen(button.click, functools.partial(self._turn, step), trigger_mode="always_last")
        self.opacity.input(None, self.opacity, None, js=OPACITY)

    def _propose_text(self, values: Values) -> Update:
        tab = self.screen.tab(values)
        query = TextQuery(
            values[self.screen.class_names],
            method=values[self.method],
            background=values[self.background],
            cleaning=values[self.cleaning],
            refine=values[self.refine],
            threshold=values[self.threshold],
        )
        return self.screen.update(tab, *self.handlers.propose_text(tab, query))

    def _propose_everything(self, values: Values) -> Update:
        tab = self.screen.tab(values)
        return self.screen.update(tab, *self.handlers.propose_everything(tab))

    def _click(self, values: Values, event: gr.EventData) -> Update:
        """A point or a box on the image."""
        tab = self.screen.tab(values)
        return self.screen.update(tab, *self.handlers.click(tab, event.step))

    def _on_click_bar(self, values: Values, event: gr.EventData) -> Update:
        """The next mask, name suggestions, a name, one click less, or no clicks at all."""
        tab = after = self.screen.tab(values)
        match event.act:
            case "other" if tab.prompt:
                after = replace(tab, prompt=tab.prompt.select(tab.prompt.last.selected + 1))
            case "undo" if tab.prompt and tab.prompt.steps:
                after, _ = self.handlers.decisions.undo(tab)
            case "clear":
                after = self.handlers.decisions.drop_clicks(tab)
        bar = self.handlers.click_bar(after.prompt, suggest=event.act == "suggest")
        name: Update = {self.screen.name: event.id} if event.act == "name" else {}
        return self.screen.update(tab, after) | {self.screen.click_bar: bar} | name

    def _on_reference_bar(self, values: Values, event: gr.EventData) -> Update:
        """Search the image for the references, or stop searching."""
        tab, notice = self.screen.tab(values), ""
        if event.act == "stop":
            after = replace(tab, search_category=None)
        else:
            after, notice = self.handlers.propose_references(tab)
        bar = self.handlers.reference_bar(after.search_category)
        return self.screen.update(tab, after, notice) | {self.screen.reference_bar: bar}

    def _turn(self, step: int, values: Values) -> Update:
        """Turn to the next or the previous image."""
        tab = self.screen.tab(values)
        image_id = self.handlers.session.images.neighbor(tab.image_id, step)
        if image_id is None:
            gr.Info("This is the last image." if step > 0 else "This is the first image.")
            return NO_UPDATE
        return self.screen.open_image(tab, image_id)
