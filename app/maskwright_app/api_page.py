"""The page of the API: every endpoint with its arguments, their types and an example."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from html import escape
from typing import Any

__all__ = ["api_page", "documentation"]

_SECTION = re.compile(r"^(Args|Raises):$", re.MULTILINE)
_MASKS = "notice, masks: [{proposal, category, score, bbox, area, segmentation, duplicate}]"
_EXAMPLES = {
    "about": ("", "version, models: {text, example, click}"),
    "segment_text": ('handle_file("meadow.jpg"), "cow, grass|lawn", None, True, 0.4', f"categories, {_MASKS}"),
    "segment_like": ("2, [7]", f"categories, {_MASKS}"),
    "segment_click": ("1, [[320, 200, 1], [40, 40, 0]]", _MASKS),
    "segment_everything": ("1", _MASKS),
    "suggest_names": ('1, {"size": [480, 640], "counts": "PQT91"}, ["cow", "sheep"]', "names: [[name, probability]]"),
    "find_images": ('"a zebra in the grass", 5', "images: [{image, file, score}], problems"),
    "accept": ('["open:8c1f", "stored:12"], "cow"', "annotations: [{id, uid, category, state}]"),
    "reject": ('["stored:12"]', "annotations, as from /accept"),
    "delete": ("[7, 8]", "annotations, as from /accept"),
    "undo": ("1", 'sentence, such as "Undone: accept of 2 masks."'),
    "redo": ("1", "sentence"),
    "export_coco": ('{"segmentation": "polygon", "only_annotated": True}', "the file, on your computer"),
    "finetune": ('"full"', 'job, such as "run-1"'),
    "job_status": ('"run-1"', "job, state, progress, metrics: {before, after}, message"),
    "job_cancel": ('"run-1"', "as /job_status"),
}
"""Arguments of a call by endpoint, and what the answer has beside `image` and `change`."""
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Maskwright: endpoints</title><link rel="stylesheet" href="{static}/css/theme.css">
<style>html, body {{ overflow: auto; height: auto }} main {{ max-width: 860px; margin: 0 auto; padding: 20px }}
h1 {{ font-size: 20px }} h2 {{ font: 600 15px ui-monospace, monospace; color: var(--text); padding-top: 22px }}
table {{ border-collapse: collapse; width: 100% }} th, td {{ text-align: left; vertical-align: top; padding: 4px 12px
4px 0; border-bottom: 1px solid var(--line) }} code, pre {{ font: 12px/1.5 ui-monospace, monospace }} pre {{ padding:
10px; border-radius: 6px; background: var(--raised); overflow: auto }} a {{ color: var(--accent) }}</style></head>
<body><main><h1>Endpoints for other programs</h1>
<p>The page for people is at <a href="/">/</a>. In Python, <code>pip install gradio_client</code>, then:</p>
<pre>from gradio_client import Client, handle_file

client = Client("{address}")  # with a login: Client(address, auth=("name", "password"))</pre>
<p>An <code>image</code> is the number of an image of the project, or <code>handle_file("meadow.jpg")</code>, which adds
it. Every answer is JSON with <code>image</code>, the project's <code>change</code> number and what stands below; masks
are COCO run lengths. A wrong argument is refused with a sentence, and nothing changes.</p>
{endpoints}
</main></body></html>
"""


def documentation(function: Callable[..., Any]) -> tuple[str, dict[str, str], str]:
    """The description of an endpoint, a sentence for each argument, and an example in Python."""
    parts = _SECTION.split(inspect.getdoc(function) or "")
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    arguments = re.findall(r"^    (\w+): (.*(?:\n        .*)*)", sections.get("Args", ""), re.MULTILINE)
    sentences = {name: " ".join(text.split()) for name, text in arguments}
    values, answer = _EXAMPLES[function.__name__]
    call = f'client.predict({values}{", " if values else ""}api_name="/{function.__name__}")'
    return " ".join(parts[0].split()), sentences, f"{call}\n# {answer}"


def api_page(functions: Sequence[Callable[..., Any]], static: str, address: str) -> str:
    """The page as HTML.

    Args:
        functions: the endpoints, each named as its address.
        static: where the page's style sheets are.
        address: of this server.
    """
    return _PAGE.format(static=static, address=escape(address), endpoints="\n".join(map(_endpoint, functions)))


def _endpoint(function: Callable[..., Any]) -> str:
    description, sentences, example = documentation(function)
    rows = []
    for name, parameter in inspect.signature(function).parameters.items():
        default = "" if parameter.default is inspect.Parameter.empty else f" = {parameter.default!r}"
        # an upload is a value of Gradio's that has no type of its own
        annotation = "int | file" if parameter.annotation == "Any" else parameter.annotation
        kind = escape(f"{annotation}{default}")
        rows.append(
            f"<tr><td><code>{name}</code></td><td><code>{kind}</code></td><td>{escape(sentences[name])}</td></tr>"
        )
    head = "<tr><th>argument</th><th>type</th><th>what it is</th></tr>"
    table = f"<table>{head}{''.join(rows)}</table>" if rows else ""
    return f"<h2>/{function.__name__}</h2><p>{escape(description)}</p>{table}<pre>{escape(example)}</pre>"
