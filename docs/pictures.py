"""Make the pictures of the browser page from the real page: the animated one of the README, and screenshots.

    .venv/bin/python docs/pictures.py                 writes docs/page.webp
    .venv/bin/python docs/pictures.py --screens DIR   writes screenshots of each state, size and theme into DIR

It starts the page on a project of its own with the bundled samples, and acts on it with mouse and keys in Chromium.
"""

from __future__ import annotations

import argparse
import io
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image as Pillow
from PIL import ImageDraw
from playwright.sync_api import sync_playwright

HERE = Path(__file__).parent
PRESET = "tiny"
ADDRESS = ""
WORDS, PHOTO = "giraffe, tree", "000000000072.jpg"
SIZE = {"width": 1280, "height": 800}
SHOWN = (960, 600)
"""Pixels of the animated picture."""


@contextmanager
def server(project: Path) -> Iterator[str]:
    """The page of a new project; yields its address."""
    program = Path(sys.executable).with_name("maskwright")
    command = [str(program), "ui", "--project", str(project), "--preset", PRESET, "--device", "cpu"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield next(found.group() for line in process.stdout if (found := re.search(r"http://\S+", line)))
        finally:
            process.terminate()


class Film:
    """Frames of the page with a pointer."""

    def __init__(self, tab: Any) -> None:
        self.tab = tab
        self.frames: list[Pillow.Image] = []
        self.durations: list[int] = []
        self.pointer = (640.0, 400.0)

    def take(self, milliseconds: int = 120) -> None:
        """Add what the page shows now."""
        frame = Pillow.open(io.BytesIO(self.tab.screenshot())).convert("RGB").resize(SHOWN, Pillow.Resampling.LANCZOS)
        x, y = self.pointer[0] * SHOWN[0] / SIZE["width"], self.pointer[1] * SHOWN[1] / SIZE["height"]
        arrow = [(x, y), (x, y + 15), (x + 4, y + 11.5), (x + 10, y + 11)]
        ImageDraw.Draw(frame).polygon(arrow, fill="white", outline="black")
        self.frames.append(frame)
        self.durations.append(milliseconds)

    def move(self, x: float, y: float, steps: int = 4) -> None:
        """Move the pointer to a place of the window."""
        left, top = self.pointer
        for step in range(1, steps + 1):
            self.pointer = (left + (x - left) * step / steps, top + (y - top) * step / steps)
            self.tab.mouse.move(*self.pointer)
            self.take(60)

    def save(self, path: Path) -> None:
        """Write an animated WebP file."""
        first, *others = self.frames
        first.save(path, save_all=True, append_images=others, duration=self.durations, loop=0, quality=62, method=4)


def place(tab: Any, x: float, y: float) -> tuple[float, float]:
    """Where a place of the image, from 0 to 1, lies in the window."""
    scale, dx, dy = map(float, tab.get_attribute("#stage", "data-view").split())
    box = tab.locator("#stage").bounding_box()
    width, height = map(int, re.findall(r"(\d+) × (\d+)", tab.inner_text("#image-name"))[0])
    return box["x"] + x * width * scale + dx, box["y"] + y * height * scale + dy


def begin(browser: Any, address: str, **options: Any) -> Any:
    """A tab on the sample photograph."""
    context = browser.new_context(**{"viewport": SIZE, "color_scheme": "dark"} | options)
    context.add_init_script("localStorage.setItem('walked', 'yes'); localStorage.setItem('words', '[]')")
    tab = context.new_page()
    tab.set_default_timeout(180_000)
    tab.goto(address + ADDRESS)
    tab.wait_for_selector("body[data-ready]")
    if tab.locator("#start-samples").is_visible():
        tab.click("#start-samples")
        tab.wait_for_selector("#stage[data-loaded=yes]")
        if tab.locator("#walk-skip").count():
            tab.click("#walk-skip")
    number = tab.evaluate(
        "name => fetch('/ui/images?limit=200').then(r => r.json()).then(a => a.items.find(i => i.title === name).id)",
        PHOTO,
    )
    tab.goto(f"{address}{ADDRESS}#{number}")
    tab.reload()
    tab.wait_for_selector("body[data-ready] #stage[data-loaded=yes]")
    return tab


def find(tab: Any) -> None:
    """Type the words and wait for the masks."""
    tab.click("#words-input")
    tab.keyboard.type(WORDS)
    tab.keyboard.press("Enter")
    tab.wait_for_selector("#masks .mask-row")
    tab.wait_for_selector("#busy:not(.on)", state="attached")
    tab.wait_for_timeout(800)


def animate(browser: Any, address: str) -> None:
    """Words, decisions, the brush and clicks, as README shows them."""
    tab = begin(browser, address)
    film = Film(tab)
    film.take(600)
    film.move(400, 24)
    tab.click("#words-input")
    for letter in WORDS:
        tab.keyboard.type(letter)
        film.take(70)
    tab.keyboard.press("Enter")
    film.take(300)
    tab.wait_for_selector("#masks .mask-row")
    tab.wait_for_selector("#busy:not(.on)", state="attached")
    tab.wait_for_timeout(800)
    film.take(1200)
    tab.keyboard.press("j")
    tab.wait_for_timeout(300)
    film.take(900)
    tab.keyboard.press("g")
    tab.wait_for_timeout(900)
    film.take(900)
    tab.locator("#masks .mask-row .swatch:not(.dashed)").first.click()
    tab.keyboard.press("b")
    tab.wait_for_timeout(300)
    film.move(*place(tab, 0.3, 0.8))
    tab.mouse.down()
    for step in range(6):
        film.move(*place(tab, 0.3 + 0.01 * step, 0.8 - 0.04 * step), steps=1)
    tab.mouse.up()
    tab.wait_for_timeout(900)
    film.take(900)
    tab.keyboard.press("Escape")
    tab.keyboard.press("c")
    film.move(*place(tab, 0.2, 0.3))
    tab.mouse.click(*film.pointer)
    film.take(300)
    tab.wait_for_selector("#keep:not([disabled])")
    tab.wait_for_timeout(400)
    film.take(1400)
    film.save(HERE / "page.webp")
    tab.context.close()


def screens(browser: Any, address: str, folder: Path) -> None:
    """Screenshots of each state, at three sizes, dark and light."""
    folder.mkdir(parents=True, exist_ok=True)
    sizes = {"1440": (1440, 900), "1024": (1024, 768), "390": (390, 844)}
    for name, (width, height) in sizes.items():
        for scheme in ("dark", "light"):
            phone: dict[str, Any] = {"has_touch": True, "is_mobile": True} if width < 500 else {}
            tab = begin(browser, address, viewport={"width": width, "height": height}, color_scheme=scheme, **phone)

            def shoot(state: str, tab: Any = tab, start: str = f"{name}-{scheme}") -> None:
                tab.wait_for_timeout(500)
                tab.screenshot(path=folder / f"{start}-{state}.png")

            if not tab.locator("#masks .mask-row").count():
                find(tab)
            shoot("masks")
            if width < 500:
                for panel in ("tools", "classes", "masks", "images"):
                    tab.tap(f"#tabs [data-tab={panel}]")
                    shoot(panel)
            tab.keyboard.press("j")
            shoot("selected")
            tab.keyboard.press("t")
            shoot("outline")
            for panel in ("settings", "batch", "files", "finetune", "compare"):
                tab.keyboard.press("Escape")
                if tab.locator(f"#open-{panel}").is_visible():
                    tab.click(f"#open-{panel}")
                    shoot(panel)
            for state in further_states(tab):
                shoot(state)
            tab.context.close()


def further_states(tab: Any) -> Iterator[str]:
    """Put the page into one state after the other; yields their names."""
    for _ in range(3):
        tab.keyboard.press("Escape")
    tab.keyboard.press("c")
    tab.mouse.click(*place(tab, 0.2, 0.3))
    tab.wait_for_selector("#keep:not([disabled])")
    yield "clicks"
    tab.keyboard.press("Escape")
    tab.keyboard.press("b")
    tab.mouse.move(*place(tab, 0.2, 0.3))
    tab.mouse.down()
    tab.mouse.move(*place(tab, 0.4, 0.5), steps=5)
    tab.mouse.up()
    yield "drawing"
    tab.keyboard.press("Enter")
    yield "no-name"
    tab.keyboard.press("Escape")
    tab.keyboard.press("o")
    yield "busy"
    tab.click("#stop")
    tab.keyboard.press("m")
    yield "names"
    tab.keyboard.press("?")
    yield "keys"
    tab.keyboard.press("Escape")
    tab.evaluate("document.querySelector('.class-row .edit').click()")
    yield "class"
    tab.keyboard.press("Escape")
    tab.keyboard.press("m")


def main() -> None:
    """Make what the arguments name."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--screens", type=Path, help="folder for screenshots, in place of the animated picture")
    chosen = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    with tempfile.TemporaryDirectory() as folder, server(Path(folder) / "meadow") as address, sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        if chosen.screens:
            screens(browser, address, chosen.screens)
        else:
            animate(browser, address)
        browser.close()


if __name__ == "__main__":
    main()
