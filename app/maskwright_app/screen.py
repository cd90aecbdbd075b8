"""The Gradio components that hold a browser tab and show it, shared by the panels of the page."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from typing import Any, ParamSpec, TypeVar

import gradio as gr
from gradio.components import Component

from maskwright.session import MaskwrightError
from maskwright_app.handlers import Handlers
from maskwright_app.static import BUTTONS, POINTER, STATUS
from maskwright_app.tab import Tab

__all__ = ["NO_UPDATE", "Screen", "Update", "Values", "errors_as_toasts"]

P = ParamSpec("P")
R = TypeVar("R")
Values = Mapping[Component, Any]
"""Values of the components that an event reads."""
Update = dict[Component, Any]
"""New values of components; the others stay as they are."""
NO_UPDATE: Update = gr.skip()
"""All components stay as they are."""


class Screen:
    """Components that several panels read or write; a panel places them with `render`."""

    def __init__(self, handlers: Handlers, title: str) -> None:
        """Make the components; `title` keeps the browser's memory of two projects apart."""
        self.handlers = handlers
        self.state: dict[str, Component] = {
            "image_id": gr.BrowserState(None, storage_key=f"maskwright {title}", secret="maskwright"),
            **{field.name: gr.State(getattr(Tab(), field.name)) for field in fields(Tab) if field.name != "image_id"},
        }
        self.images = gr.Dropdown(
            label="Images of this project", choices=[], elem_id="mw-images", interactive=True, render=False
        )
        self.class_names = gr.Textbox(
            label='Class names; synonyms with "|"', placeholder="grass, cow, sky", elem_id="mw-classes", max_lines=2,
            autofocus=True, submit_btn=False, scale=4, render=False,
        )  # fmt: skip
        self.name = gr.Textbox(
            label="Category of the object", placeholder="object", elem_id="mw-name", min_width=160,
            max_lines=1, scale=2, render=False,
        )  # fmt: skip
        bar: dict[str, Any] = {"padding": False, "render": False}
        self.click_bar = gr.HTML(handlers.click_bar(None), elem_id="mw-click", js_on_load=BUTTONS, **bar)
        self.reference_bar = gr.HTML("", elem_id="mw-references", js_on_load=BUTTONS, **bar)
        self.notice = gr.HTML("", elem_id="mw-notice", **bar)
        self.figure = gr.HTML("", elem_id="mw-figure", js_on_load=POINTER, **bar)
        self.credit = gr.HTML("", elem_id="mw-credit", elem_classes="mw-credit", render=False)
        self.status = gr.HTML("", elem_id="mw-status", js_on_load=STATUS, **bar)
        self.mask_list = gr.HTML("", elem_id="mw-masks", js_on_load=BUTTONS, render=False)
        self.counts = gr.HTML("", elem_id="mw-counts", render=False)

    @property
    def components(self) -> list[Component]:
        """What `listen` lets every handler write."""
        return [
            *self.state.values(), self.images, self.class_names, self.name, self.click_bar, self.reference_bar,
            self.notice, self.figure, self.credit, self.status, self.mask_list, self.counts,
        ]  # fmt: skip

    def listen(
        self,
        trigger: Callable[..., Any],
        handler: Callable[..., Update],
        inputs: Iterable[Component] = (),
        outputs: Iterable[Component] = (),
        **options: Any,
    ) -> None:
        """Connect an event that is no part of the API.

        Args:
            trigger: such as `button.click`.
            handler: takes `Values`, and event data where it declares them.
            inputs: components to read beside the tab's state.
            outputs: components to write beside those of the screen.
            options: of the trigger.
        """
        trigger(
            errors_as_toasts(handler),
            {*self.state.values(), *inputs},
            [*self.components, *outputs],
            **{"api_visibility": "private", "show_progress_on": self.figure} | options,
        )

    def tab(self, values: Values) -> Tab:
        """The state of the browser tab that an event comes from."""
        return Tab(**{name: values[component] for name, component in self.state.items()})

    def update(self, before: Tab, after: Tab, notice: str = "") -> Update:
        """Keep what has changed in a tab, and draw its image."""
        view = self.handlers.view(after, notice)
        update: Update = {
            component: getattr(after, name)
            for name, component in self.state.items()
            if getattr(after, name) != getattr(before, name)
        }
        if after.prompt != before.prompt:
            update[self.click_bar] = self.handlers.click_bar(after.prompt)
        return update | {
            self.figure: view.figure,
            self.mask_list: view.masks,
            self.counts: view.counts,
            self.notice: view.notice,
        }

    def open_image(self, tab: Tab, image_id: int | None) -> Update:
        """Show another image, and select it in the list."""
        after, notice = self.handlers.open_image(tab, image_id)
        return self.update(tab, after, notice) | {self.credit: "", self.images: self.list_images(image_id)}

    def list_images(self, selected: int | None) -> gr.Dropdown:
        """Update of the list of images."""
        return gr.Dropdown(choices=self.handlers.image_choices(), value=selected)


def errors_as_toasts(handler: Callable[P, R]) -> Callable[P, R]:
    """Show an error that the user can mend as a toast; any other surfaces in the log."""

    @functools.wraps(handler)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return handler(*args, **kwargs)
        except MaskwrightError as error:
            raise gr.Error(str(error), print_exception=False) from error

    return wrapped
