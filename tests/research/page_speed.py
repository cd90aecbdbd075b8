"""How fast the page is in Chromium, against what the product promises.

    python -m tests.research.page_speed [--only clicks,accepts,pan,brush,start] [--json FILE]

It serves projects of its own with resized sample photographs and the bundled preset, acts with mouse and keys, and
measures inside the page: from the time of the input event to the end of the frame that shows its effect. The model's
own time is taken on the server and subtracted. The last column says whether the figure holds; the load of the machine
is printed beside it, because a software-rendered Chromium shares the cores with everything else.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from playwright.sync_api import sync_playwright
from scipy import ndimage

import maskwright as mw
from maskwright.engine import Engine
from maskwright.project import Project
from maskwright.session import AnnotationSession
from maskwright_app import _listen
from maskwright_app.samples import samples
from maskwright_app.server import create_app, serve
from tests.app.conftest import served
from tests.app.page.conftest import place, press
from tests.browser import CHROMIUM

SIZES = {"1 MP": (1200, 840), "12 MP": (4000, 3000)}
CLICK_MS = {"1 MP": 100.0, "12 MP": 250.0}
MASKS = 300
# the end of the frame in which something is drawn: after its animation callbacks and its paint comes the next task
AFTER_FRAME = """
window.afterFrame = (done) => requestAnimationFrame(() => {
    const channel = new MessageChannel();
    channel.port1.onmessage = () => done(performance.now());
    channel.port2.postMessage(0);
});
"""
CLICKS = """() => {
    window.times = [];
    let [pressed, effect] = [0, () => false];
    const begin = (event, shown) => ([pressed, effect] = [event.timeStamp, shown]);
    addEventListener('pointerup', (event) => begin(event, () => document.querySelector('#keep:not([disabled])')), true);
    addEventListener('keydown', (event) => {
        if (event.key === 'g') begin(event, () => document.querySelector('#action-bar').hidden);
    }, true);
    new MutationObserver(() => {
        if (!pressed || !effect()) return;
        const since = pressed;
        pressed = 0;
        afterFrame((now) => window.times.push(now - since));
    }).observe(document.querySelector('#action-bar'), { childList: true, subtree: true, attributes: true });
}"""
GESTURE = """async ({ zoom, frames }) => {
    const stage = document.querySelector('#stage');
    stage.setPointerCapture = () => {};
    const box = stage.getBoundingClientRect();
    const [x, y] = [box.left + box.width / 2, box.top + box.height / 2];
    const point = { pointerId: 1, pointerType: 'mouse', bubbles: true, button: 1, buttons: 4 };
    const move = (kind, dx, dy) =>
        stage.dispatchEvent(new PointerEvent(kind, { ...point, clientX: x + dx, clientY: y + dy }));
    if (!zoom) move('pointerdown', 0, 0);
    const times = [];
    for (let i = 0; i <= frames; i++) {
        times.push(await new Promise(requestAnimationFrame));
        if (zoom) {
            const deltaY = i % 40 < 20 ? -60 : 60;
            stage.dispatchEvent(new WheelEvent('wheel', { deltaY, clientX: x, clientY: y, cancelable: true }));
        } else move('pointermove', 240 * Math.sin(i / 12), 160 * Math.sin(i / 17));
    }
    if (!zoom) move('pointerup', 0, 0);
    return times.slice(1).map((now, i) => now - times[i]);
}"""
STROKES = """() => {
    window.times = [];
    let waiting = false;
    addEventListener('pointermove', (event) => {
        if (!event.buttons || waiting) return;
        waiting = true;
        const since = (event.getCoalescedEvents()[0] ?? event).timeStamp;
        afterFrame((now) => {
            waiting = false;
            window.times.push(now - since);
        });
    }, true);
}"""
FIRST_SCREEN = """() => new Promise((resolve) => {
    const look = () => {
        const shown = document.body?.dataset.ready && document.querySelector('#stage')?.dataset.loaded === 'yes';
        if (shown) afterFrame(resolve);
        else requestAnimationFrame(look);
    };
    look();
})"""


class TimedEngine:
    """The engine, with the seconds of each click."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.seconds: list[float] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def segment_click(self, *arguments: Any, **options: Any) -> mw.Prediction:
        """As the engine's."""
        began = time.perf_counter()
        answer = self._engine.segment_click(*arguments, **options)
        self.seconds.append(time.perf_counter() - began)
        return answer


def photograph(folder: Path, width: int, height: int) -> Path:
    """A sample photograph, resized."""
    source = next(sample.path for sample in samples() if "giraffe" in sample.class_names)
    file = folder / f"meadow {width}x{height}.jpg"
    with Pillow.open(source) as opened:
        opened.convert("RGB").resize((width, height), Pillow.Resampling.BICUBIC).save(file, quality=90)
    return file


def blobs(width: int, height: int, count: int) -> Iterator[NDArray[np.bool_]]:
    """Masks with the ragged outlines that models draw, about as large as objects are."""
    rng = np.random.default_rng(5)
    for _ in range(count):
        side = int(rng.uniform(0.04, 0.14) * width)
        rows, columns = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
        noise = ndimage.gaussian_filter(rng.standard_normal((side, side)), side / 12)
        shape = np.hypot(rows, columns) + 0.25 * noise / np.abs(noise).max() < 0.7
        left, top = rng.integers(0, width - side), rng.integers(0, height - side)
        mask = np.zeros((height, width), bool)
        mask[top : top + side, left : left + side] = shape
        yield mask


class Bench:
    """A served project in this process, and a browser on it."""

    def __init__(self, project: Project, engine: TimedEngine, url: str, browser: Any) -> None:
        self.project, self.engine, self.url, self.browser = project, engine, url, browser
        self.folder = Path(tempfile.mkdtemp(dir=project.folder))
        self._images: dict[tuple[int, int, int], int] = {}

    def image(self, size: tuple[int, int], masks: int = 0) -> int:
        """Id of an image of a size that has so many accepted masks."""
        key = (*size, masks)
        if key not in self._images:
            width, height = size[0], size[1] - len(self._images)
            added = self.project.add(photograph(self.folder, width, height))[0].record.id
            for number, mask in enumerate(blobs(width, height, masks)):
                self.project.accept(added, mask, category=f"class {number % 12}")
            self._images[key] = added
        return self._images[key]

    @contextmanager
    def tab(self, image: int) -> Iterator[Any]:
        """The page on an image, its masks drawn and the image encoded for clicks."""
        context = self.browser.new_context(viewport={"width": 1440, "height": 900})
        context.add_init_script("localStorage.setItem('walked', 'yes')")
        context.add_init_script(AFTER_FRAME)
        tab = context.new_page()
        tab.set_default_timeout(120_000)
        tab.goto(f"{self.url}#{image}")
        tab.wait_for_selector("body[data-ready] #stage[data-loaded=yes]")
        tab.wait_for_timeout(1500)
        yield tab
        context.close()


@contextmanager
def bench() -> Iterator[Bench]:
    """Everything that is measured but the first screen."""
    engine = TimedEngine(Engine.load("tiny", "cpu"))
    with tempfile.TemporaryDirectory() as folder, Project.open(Path(folder) / "p", create=True) as project:
        session = AnnotationSession(lambda _: engine, project)  # type: ignore[arg-type,return-value]
        ready = threading.Event()
        listener = _listen("127.0.0.1", None)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        threading.Thread(target=serve, args=(create_app(session), listener, ready.set), daemon=True).start()
        ready.wait(60)
        with chromium() as browser:
            yield Bench(project, engine, url, browser)


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


def p95(values: list[float]) -> float:
    """The value that 95 % stay below."""
    return statistics.quantiles(values, n=20)[-1]


def _next_time(tab: Any, number: int) -> float:
    tab.wait_for_function("number => window.times.length >= number", arg=number)
    return float(tab.evaluate("window.times.at(-1)"))


def clicks(bench: Bench, report: Report) -> None:
    """From the press to the visible mask, and the bytes that travel."""
    for name, size in SIZES.items():
        with bench.tab(bench.image(size)) as tab:
            press(tab, "c")
            beyond, bytes_ = [], []
            sent = [0]
            network = tab.context.new_cdp_session(tab)
            network.send("Network.enable")

            def count(event: Any, sent: list[int] = sent) -> None:
                sent[0] += event["encodedDataLength"]

            network.on("Network.loadingFinished", count)
            tab.evaluate(CLICKS)
            for number in range(42):
                sent[0] = 0
                x, y = size[0] * (0.1 + 0.8 * (number % 7) / 7), size[1] * (0.1 + 0.8 * (number // 7) / 6)
                tab.mouse.click(*place(tab, x, y))
                whole = _next_time(tab, number + 1)
                beyond.append(whole - 1000 * bench.engine.seconds[-1])
                press(tab, "Escape")
                tab.wait_for_timeout(60)
                bytes_.append(sent[0])
            # the first finds the image not encoded, which is the model's
            report.add(f"click to visible mask beyond the model, {name}, p95", p95(beyond[2:]), CLICK_MS[name], "ms")
            report.add(f"bytes for a click, {name}, most", max(bytes_) / 1000, 100, "kB")


def accepts(bench: Bench, report: Report) -> None:
    """From the key to the accepted mask on screen, with 4 and with 99 masks before."""
    medians = []
    for masks in (4, 99):
        with bench.tab(bench.image(SIZES["1 MP"], masks)) as tab:
            times = []
            tab.evaluate(CLICKS)
            tab.fill("#new-class", "accepted")
            tab.press("#new-class", "Enter")
            tab.locator("#next-name strong", has_text="accepted").wait_for()
            tab.focus("#stage")
            press(tab, "c")
            for number in range(12):
                tab.mouse.click(*place(tab, 150 + 80 * (number % 4), 150 + 80 * (number // 4)))
                _next_time(tab, 2 * number + 1)
                press(tab, "g")
                times.append(_next_time(tab, 2 * number + 2))
                press(tab, "Control+z")
                tab.wait_for_timeout(700)
            medians.append(statistics.median(times[2:]))
    report.add("accept with 4 masks before", medians[0], None, "ms")
    report.add("accept with 99 masks before, times that", medians[1] / medians[0], 1.2, "")


def pan(bench: Bench, report: Report) -> None:
    """Frames in a second while the image moves."""
    with bench.tab(bench.image(SIZES["12 MP"], MASKS)) as tab:
        for name, keys in (("whole image", ["0"]), ("1:1", ["Shift+0"])):
            press(tab, *keys)
            tab.wait_for_timeout(500)
            for zoom in (False, True):
                frames = tab.evaluate(GESTURE, {"zoom": zoom, "frames": 120})
                rate = 1000 / statistics.mean(frames)
                report.add(f"{'zoom' if zoom else 'pan'}, {name}, frames a second", rate, 30, "", most=False)
                report.add("  p95 of a frame", p95(frames), None, "ms")
                tab.wait_for_timeout(300)


def brush(bench: Bench, report: Report) -> None:
    """From the pointer to the painted stroke."""
    size = SIZES["12 MP"]
    with bench.tab(bench.image(size, MASKS)) as tab:
        tab.locator("#masks .mask-row").first.click()
        press(tab, "0", "b")
        tab.evaluate(STROKES)
        for name, radius in (("small", 0), ("large", 14)):
            press(tab, *["]"] * radius)
            tab.evaluate("window.times.length = 0")
            for line in range(4):
                y = size[1] * (0.2 + 0.15 * line)
                tab.mouse.move(*place(tab, size[0] * 0.15, y))
                tab.mouse.down()
                tab.mouse.move(*place(tab, size[0] * 0.85, y + size[1] * 0.1), steps=50)
                tab.mouse.up()
                tab.wait_for_timeout(900)
            report.add(f"stroke of a {name} brush, p95", p95(tab.evaluate("window.times")), 50, "ms")


def start(report: Report) -> None:
    """From the address to the first screen of a server that has just come up."""
    with tempfile.TemporaryDirectory() as folder:
        with Project.open(Path(folder) / "p", create=True) as project:
            for sample in samples():
                project.add(sample.path)
        times = []
        for _ in range(3):
            with chromium() as browser:
                context = browser.new_context(viewport={"width": 1440, "height": 900})
                context.add_init_script(AFTER_FRAME)
                tab = context.new_page()
                with served(Path(folder) / "p", "--device", "cpu") as page:
                    tab.goto(page.url, wait_until="commit")
                    times.append(float(tab.evaluate(FIRST_SCREEN)))
        report.add("first screen of a new server, median", statistics.median(times), 1000, "ms")


class Report:
    """Figures with what was promised."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def add(self, name: str, value: float, floor: float | None, unit: str, *, most: bool = True) -> None:
        """Print a figure and keep it."""
        holds = None if floor is None else value <= floor if most else value >= floor
        load = os.getloadavg()[0]
        self.rows.append({"name": name, "value": round(value, 2), "floor": floor, "holds": holds, "load": load})
        promised = "" if floor is None else f"{'at most' if most else 'at least'} {floor:g} {unit}"
        verdict = {None: "", True: "holds", False: "FAILS"}[holds]
        print(f"{name:58} {value:8.1f} {unit:3} {promised:18} {verdict:6} load {load:.1f}", flush=True)


def main() -> None:
    """Measure what the arguments name; exit status 1 when a figure does not hold."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parts: dict[str, Callable[[Bench, Report], None]] = {
        "clicks": clicks, "accepts": accepts, "pan": pan, "brush": brush
    }  # fmt: skip
    parser.add_argument("--only", default=",".join([*parts, "start"]), help="parts, separated by commas")
    parser.add_argument("--json", type=Path, help="file for the figures")
    chosen = parser.parse_args()
    names = chosen.only.split(",")
    report = Report()
    if any(name in parts for name in names):
        with bench() as served_bench:
            for name in names:
                if name in parts:
                    parts[name](served_bench, report)
    if "start" in names:
        start(report)
    if chosen.json:
        chosen.json.write_text(
            json.dumps({"cores": os.cpu_count(), "figures": report.rows}, indent=1), encoding="utf-8"
        )
    sys.exit(any(row["holds"] is False for row in report.rows))


if __name__ == "__main__":
    main()
