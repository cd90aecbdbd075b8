"""What takes time: cancellation by leaving, the event stream, and what a click and an accept cost beyond the model."""

from __future__ import annotations

import asyncio
import json
import statistics
import threading
import time
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
import pytest
from starlette.testclient import TestClient

from maskwright.domain import Image, Prediction
from maskwright.errors import Cancelled
from maskwright.progress import Progress
from maskwright.project import Project
from maskwright.session import AnnotationSession
from maskwright_app.server import page_app
from maskwright_app.ui.events import Events
from maskwright_app.ui.site import Site
from tests.app.ui.conftest import ADDRESS
from tests.core.session.conftest import ScriptedEngine, box

T = TypeVar("T")


def _run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in a thread: an open Playwright browser keeps a loop running in the main one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()


def test_a_client_that_leaves_stops_the_model_within_a_second(
    session: AnnotationSession, engine: ScriptedEngine, project: Project
) -> None:
    started, stopped = [], []

    def segment(image: Image, prompt: Any, *, progress: Progress, **_: Any) -> Prediction:
        started.append(time.monotonic())
        while not progress.cancelled():
            assert time.monotonic() - started[0] < 20
            time.sleep(0.01)
        stopped.append(time.monotonic())
        raise Cancelled

    engine.segment = segment  # type: ignore[method-assign,assignment]
    body = json.dumps({"image": 1, "words": "cow"}).encode()
    scope = {
        "type": "http", "http_version": "1.1", "method": "POST", "path": "/ui/prompts/text", "raw_path": b"",
        "query_string": b"", "root_path": "", "scheme": "http", "client": ("127.0.0.1", 1),
        "server": ("localhost", 7860),
        "headers": [(b"host", b"localhost:7860"), (b"content-type", b"application/json")],
    }  # fmt: skip
    left = []

    async def visit() -> None:
        sent = False

        async def receive() -> dict[str, Any]:
            nonlocal sent
            if not sent:
                sent = True
                return {"type": "http.request", "body": body, "more_body": False}
            while not started:
                await asyncio.sleep(0.01)
            left.append(time.monotonic())
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            pass

        await page_app(session)(scope, receive, send)

    _run(visit())
    assert stopped[0] - left[0] < 1
    assert project.annotations(1, ["proposed"]) == []


def test_changes_by_anybody_and_progress_arrive_as_events(session: AnnotationSession, project: Project) -> None:
    events = Events(session)

    async def listen() -> list[tuple[str, Any]]:
        stream, seen = events.stream(), []
        async for text in stream:
            if text.startswith(":"):
                continue
            kind, _, data = text.removeprefix("event: ").partition("\ndata: ")
            seen.append((kind, json.loads(data)))
            if len(seen) == 1:
                # by another program
                await asyncio.to_thread(project.accept, 2, box(0, 10), "cow")
            elif any(name == "change" and data["images"] for name, data in seen) and kind == "change":
                events.publish("progress", {"request": "mine", "done": 1, "total": 2, "stage": ""})
            elif kind == "progress":
                events.close()
        return seen

    seen = _run(asyncio.wait_for(listen(), 60))
    kinds = [kind for kind, _ in seen]
    assert kinds[0] == "change"
    assert (
        "change",
        {"change": project.store.change_number(), "images": [2], "others": True, "complete": True},
    ) in seen
    # one of the fine-tuning may come between
    assert "progress" in kinds


def test_a_prompt_that_waits_learns_its_place_in_line(session: AnnotationSession) -> None:
    site, published = Site(session), list[Any]()
    site.events.publish = lambda event, data: published.append((event, data))  # type: ignore[method-assign]

    class Present:
        async def is_disconnected(self) -> bool:
            return False

    async def wait_in_line() -> None:
        tasks = []
        for name in ("first", "second"):
            gate = threading.Event()

            def work(_: Progress, gate: threading.Event = gate) -> bool:
                return gate.wait(30)

            tasks.append((gate, asyncio.create_task(site.run(Present(), name, work))))  # type: ignore[arg-type]
            await asyncio.sleep(0)
        for gate, task in tasks:
            gate.set()
            await task

    _run(wait_in_line())
    assert published == [("progress", {"request": "second", "waiting": place}) for place in (1, 0)]


@pytest.fixture
def photograph(project: Project, engine: ScriptedEngine) -> int:
    """An image of 0.8 megapixels, and an engine that answers each click with a round mask of its own."""
    pixels = np.random.default_rng(0).integers(0, 255, (768, 1024, 3), dtype=np.uint8)
    return project.images.register(Image(pixels, "photo")).id


def disc(number: int) -> Any:
    y, x = np.mgrid[:768, :1024]
    return (x - 60 - 90 * (number % 10)) ** 2 + (y - 40 - 70 * (number // 10)) ** 2 < 35**2


@pytest.mark.alone
def test_a_click_costs_little_and_the_hundredth_accept_as_much_as_the_fifth(
    session: AnnotationSession, engine: ScriptedEngine, photograph: int
) -> None:
    clicks, accepts, sizes = [], [], []
    with TestClient(page_app(session), base_url=ADDRESS) as client:

        def cost(times: list[float], path: str, **body: Any) -> Any:
            # processor time: other programs on the machine do not count
            began = time.process_time()
            answer = client.post(path, json=body)
            times.append(time.process_time() - began)
            assert answer.status_code == 200, answer.text
            return answer

        for number in range(100):
            engine.candidates = [disc(number), disc(number) & disc(number)]
            points = [[60 + 90 * (number % 10), 40 + 70 * (number // 10), 1]]
            answer = cost(clicks, "/ui/prompts/click", image=photograph, points=points)
            sizes.append(len(answer.content))
            keys = [answer.json()["masks"][0]["key"]]
            answer = cost(accepts, "/ui/decisions", image=photograph, accept=keys, category="cow")
            sizes.append(len(answer.content))
    assert len(session.masks.of_image(photograph)) == 100
    # what encoding the masks of the scripted engine costs is the model's time in reality
    assert statistics.quantiles(clicks, n=20)[-1] < 0.05
    assert max(sizes) < 100_000
    # the least of some: what disturbs a measurement only adds to it
    assert min(accepts[-20:]) < 1.2 * min(accepts[2:22])
