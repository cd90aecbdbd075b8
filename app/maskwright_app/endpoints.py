"""The public endpoints for other programs, as a Gradio application without a page of its own."""

from __future__ import annotations

from typing import Any

import gradio as gr

from maskwright.session import AnnotationSession
from maskwright_app.api import Api
from maskwright_app.api_calls import endpoint

__all__ = ["build"]

_EXPLANATION = "These are the endpoints for other programs; the page for people is at [the root](/)."


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
    """The endpoints on one session, each with its types and description."""
    api = Api(session)
    with _Blocks(title="Maskwright: endpoints", analytics_enabled=False) as blocks:
        gr.Markdown(_EXPLANATION)
        for function in api.endpoints:
            gr.api(endpoint(function, lambda: blocks._queue), api_name=function.__name__)
        # gr.api cannot return a file
        options, file = gr.JSON(visible=False), gr.File(visible=False)
        gr.Button(visible=False).click(endpoint(api.export_coco), options, file, api_name="export_coco")
    return blocks
