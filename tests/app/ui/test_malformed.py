"""Malformed requests: each is refused with a sentence and changes nothing."""

from __future__ import annotations

import json
import resource
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from maskwright.domain import ModelRef, rle
from maskwright.project import Project
from tests.core.session.conftest import ScriptedEngine, box

WRONG: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    10**30,
    1.5,
    "x",
    "",
    [],
    {},
    [None],
    [True],
    [1, 1],
    {"a": 1},
    "\0",
    [10**30],
)
RLE = rle.encode(box(0, 10))
VALID: dict[tuple[str, str], dict[str, Any]] = {
    ("POST", "/ui/prompts/text"): {"image": 1, "words": "cow"},
    ("POST", "/ui/prompts/like"): {"image": 1, "references": [1]},
    ("POST", "/ui/prompts/everything"): {"image": 1},
    ("POST", "/ui/prompts/names"): {"image": 1, "proposal": "stored:1"},
    ("POST", "/ui/masks/1/split"): {"revision": 1},
    ("PUT", "/ui/masks/1/reference"): {"shows": True, "category": "cow"},
    ("POST", "/ui/prompts/click"): {"image": 1, "points": [[1, 1, 1]], "box": [1, 1, 5, 5]},
    ("POST", "/ui/decisions"): {"image": 1, "accept": ["stored:2"]},
    ("POST", "/ui/masks"): {"image": 1, "rle": RLE, "category": "cow"},
    ("PUT", "/ui/masks/1"): {"revision": 1, "rle": RLE},
    ("PATCH", "/ui/masks/1"): {"category": "ox"},
    ("POST", "/ui/undo"): {"image": 1},
    ("POST", "/ui/images/1/masks"): {"known": {"stored:1": 1}},
    ("POST", "/ui/images/1"): {"complete": True},
    ("PATCH", "/ui/classes/1"): {"name": "ox", "color": "#000000", "hotkey": 1, "order": 0, "synonyms": ["a"]},
    ("POST", "/ui/classes/merge"): {"source": 1, "target": 2},
}
MAY_BE = {
    # wrong in general, right for one field
    "words": ("x",), "category": (None, "x"), "name": ("x",), "hotkey": (None,), "order": (0,),
    "synonyms": ([],), "known": ({},), "box": (None,), "points": ([],), "revision": (None,), "references": ([],),
    "accept": (None,), "shows": (None, True), "complete": (None, True), "rle": (None,),
}  # fmt: skip


def cases() -> Iterator[tuple[str, str, Any]]:
    """(method, address, body) of requests with one field that is wrong, missing or unknown."""
    for (method, path), body in VALID.items():
        for name in body:
            for value in WRONG:
                allowed = any(type(value) is type(fine) and value == fine for fine in MAY_BE.get(name, ()))
                if not allowed:
                    yield method, path, {**body, name: value}
        if "accept" in body:
            for key in ("stored:9" * 9, "stored:99999999999999999999", "stored:-1", "open:", "open:x", "other:1"):
                yield method, path, {**body, "accept": [key]}
        yield method, path, {**body, "surprise": 1}
        for whole in (None, 5, [], "x", [body]):
            yield method, path, whole


def calls() -> Iterator[tuple[str, list[Any]]]:
    """(endpoint, arguments) that were answered with `null`, or even taken, before."""
    rest: list[Any] = [None, False, None, None, None, None]
    for image in (10**30, True, None, "x", [1], {"path": "/etc/passwd"}, -1):
        yield "segment_text", [image, "cow", *rest]
    for words in (None, 5, [], {}):
        yield "segment_text", [1, words, *rest]
    yield "segment_text", [1, "cow", None, "yes", None, None, None, None]
    yield "segment_text", [1, "cow", None, False, "x", None, None, None]
    yield "segment_text", []
    for box_ in (["a", 1, 2, 3], {}, [1, 2], [True, 1, 2, 3]):
        yield "segment_click", [1, [[1, 1, 1]], box_, None, None]
    for references in (None, "x", [None], [True], [1] * 100_000, [], [1, 1]):
        yield "segment_like", [1, references, None, None]
    for proposals in (None, [None], [5], "stored:2"):
        yield "accept", [proposals, None]
    for masks in ([True], None, 5, [1, 1], [1.0], ["1"]):
        yield "delete", [masks]
    for step in (True, None, "1", 1.5):
        yield "undo", [step]
    for job in ([], {}, 5, None):
        yield "job_status", [job]
    limits: tuple[Any, ...] = ("x", 1.5, -1, True)
    for limit in limits:
        yield "find_images", ["cow", limit]
    for options in (5, {"simplify": "a"}, {"states": 5}, {"only_annotated": "maybe"}, {"description": ["a"]}, {"x": 1}):
        yield "export_coco", [options]
    yield "no_such_endpoint", [1]


def message(client: TestClient, name: str, data: list[Any]) -> Any:
    answer = client.post(f"/gradio_api/call/{name}", json={"data": data})
    if answer.status_code != 200:
        assert answer.status_code < 500
        return answer.json()["error"]
    text = client.get(f"/gradio_api/call/{name}/{answer.json()['event_id']}").text
    assert text.startswith("event: error"), f"{name} took {str(data)[:80]}"
    return json.loads(text.partition("data: ")[2])["error"]


@pytest.mark.slow
def test_malformed_requests_are_refused_with_a_sentence_and_change_nothing(
    full_client: TestClient, project: Project, engine: ScriptedEngine
) -> None:
    client, number = full_client, 0
    engine.model = ModelRef("scripted", "0" * 64)  # type: ignore[attr-defined]
    engine.regions = {"cow": box(20, 25)}
    project.accept(1, box(0, 10), "cow")
    client.post("/ui/prompts/text", json={"image": 1, "words": "cow"})
    client.post("/ui/classes", json={"name": "sky"})
    change, memory = project.store.change_number(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for method, path, body in cases():
        answer = client.request(method, path, content=json.dumps(body), headers={"Content-Type": "application/json"})
        assert 400 <= answer.status_code < 500, (
            f"{method} {path} {str(body)[:200]}: {answer.status_code} {answer.text[:200]}"
        )
        assert " " in answer.json()["error"], f"{method} {path} {body}"
        number += 1
    for name, data in calls():
        sentence = message(client, name, data)
        assert isinstance(sentence, str)
        assert " " in sentence
        assert len(sentence) < 500
        number += 1
    for address in ("images/{}", "images/{}/pixels", "masks/{}/history", "images?offset={}", "images/next?after={}"):
        for value in (10**30, -1, "x", "1.5", "%00", "true"):
            answer = client.get(f"/ui/{address.format(value)}")
            assert 400 <= answer.status_code < 500, answer.text
            assert " " in answer.json()["error"]
            number += 1
    for content in (b"", b"{", b"\xff\xfe", b"NaN", b'{"image": 1, "image": 2', b"[" * 5000):
        for path in ("/ui/undo", "/gradio_api/call/undo"):
            answer = client.post(path, content=content, headers={"Content-Type": "application/json"})
            assert 400 <= answer.status_code < 500
            assert answer.json()["error"]
            number += 1
    assert number >= 500
    assert project.store.change_number() == change, "nothing was changed"
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory
    assert grown < 200 << 10, "kilobytes"
