"""How fast batches are on a Ray cluster of this computer, and how much memory a long one takes.

    python -m tests.research.batch_speed workers [--workers 1 2 4] [--images 48]
    python -m tests.research.batch_speed memory [--images 10000] [--ray]
    python -m tests.research.batch_speed writing [--images 20000]

`workers` runs `tiny` on resized sample photographs, counted from the first result on, so that starting the workers is
left out. `memory` runs `maskwright predict` itself on small images with a small preset of random weights, and reads the
resident memory of its process from outside. `writing` has no model: how many images a second the driver can write.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np
import psutil
from PIL import Image as Pillow

import maskwright as mw
from maskwright.domain import ImageRecord, Mask, TextPrompt
from maskwright.engine import Engine
from maskwright.project import Project
from maskwright.project.outcomes import Outcome
from maskwright.project.prelabel import batch_settings, predict, predict_text
from maskwright.project.ray_workers import RayWorkers
from maskwright_app.samples import samples
from tests.conftest import write_small_preset

PROMPT = TextPrompt.parse("grass, tree, sky", background=True)
BATCH = 16


def photographs(folder: Path, count: int) -> Project:
    """A project of different parts of the sample photographs, 320 x 240 pixels each."""
    project, rng = Project.open(folder, create=True), np.random.default_rng(0)
    sources = [np.asarray(Pillow.open(sample.path).convert("RGB")) for sample in samples()]
    for number in range(count):
        source = sources[number % len(sources)]
        top, left = (rng.integers(0, max(1, size - part)) for size, part in zip(source.shape, (240, 320), strict=False))
        project.images.register(mw.Image(np.ascontiguousarray(source[top : top + 240, left : left + 320])))
    return project


def workers(home: Path, counts: list[int], images: int) -> None:
    """Print images a second by number of workers, and of this process alone."""
    import ray

    engine = Engine.load("tiny", "cpu", settings=batch_settings())
    for count in (0, *counts):
        with photographs(home / f"project-{count}", images) as project:
            cluster = RayWorkers("local", preset="tiny", device="cpu", workers=count) if count else None
            times = [time.perf_counter() for _ in predict_text(project, engine, PROMPT, workers=cluster)]
            # the images of one transaction come at once
            first = next(place for place, at in enumerate(times) if at - times[0] > 0.05)
            rate = (len(times) - first) / (times[-1] - times[0])
            print(json.dumps({"workers": count, "images": len(times), "a_second": round(rate, 2)}), flush=True)
        if count:
            ray.shutdown()


def memory(home: Path, images: int, *, cluster: bool) -> None:
    """Print the memory of `maskwright predict` as it goes on."""
    preset, rng = write_small_preset(home / "small"), np.random.default_rng(0)
    with Project.open(home / "project", create=True) as project:
        for _ in range(images):
            project.images.register(mw.Image(rng.integers(0, 255, (48, 64, 3), dtype=np.uint8)))
    command = [
        sys.executable,
        "-c",
        "from maskwright.cli import main; main()",
        "predict",
        str(home / "project"),
        "--json",
    ]
    command += ["--text", "grass, sky", "--preset", str(preset), "--device", "cpu"]
    command += ["--ray", "local", "--workers", "1"] if cluster else []
    started = time.perf_counter()
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    process, shown = psutil.Process(running.pid), -1
    while running.poll() is None:
        time.sleep(0.2)
        with closing(sqlite3.connect(f"file:{home / 'project' / 'project.db'}?mode=ro", uri=True)) as db:
            done = db.execute("SELECT count(*) FROM events WHERE kind = 'predicted'").fetchone()[0]
        if done * 10 // images > shown:
            shown = done * 10 // images
            megabytes, seconds = process.memory_info().rss / 2**20, time.perf_counter() - started
            print(json.dumps({"done": done, "mb": round(megabytes), "seconds": round(seconds)}), flush=True)
    print(json.dumps({"status": running.returncode, "seconds": round(time.perf_counter() - started)}))


def given(parts: list[list[Outcome]], _: Sequence[ImageRecord]) -> Generator[Sequence[Outcome], None, None]:
    """A runner that has the outcomes already."""
    yield from parts


def writing(home: Path, images: int) -> None:
    """Print how many images a second are written, with three masks each of 40 runs."""
    pixels = np.zeros((96, 96), bool)
    pixels[::4] = True
    masks = tuple(Mask.from_array(np.roll(pixels, shift), category=name) for shift, name in enumerate(PROMPT.names))
    for size in (1, BATCH):
        with Project.open(home / f"project-{size}", create=True) as project:
            for number in range(images):
                pixels = np.full((96, 96, 4), number, np.uint32).view(np.uint8)[:, :96, :3]
                project.images.register(mw.Image(np.ascontiguousarray(pixels)))
            outcomes = [Outcome(one.id, masks, "text", {"source": "text"}) for one in project.images.all()]
            parts = [outcomes[start : start + size] for start in range(0, images, size)]
            started, used = time.perf_counter(), time.process_time()
            done = len(list(predict(project, partial(given, parts), PROMPT.names, "key")))
            rate, cost = done / (time.perf_counter() - started), 1000 * (time.process_time() - used) / done
            print(json.dumps({"images": done, "at_once": size, "a_second": round(rate), "cpu_ms": round(cost, 2)}))


def main() -> None:
    """Run what the arguments name."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["workers", "memory", "writing"])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--images", type=int)
    parser.add_argument("--ray", action="store_true")
    chosen = parser.parse_args()
    print(json.dumps({"cores": os.cpu_count(), "load": os.getloadavg()}), flush=True)
    with tempfile.TemporaryDirectory(prefix="maskwright-") as home:
        if chosen.what == "workers":
            workers(Path(home), chosen.workers, chosen.images or 48)
        elif chosen.what == "memory":
            memory(Path(home), chosen.images or 10_000, cluster=chosen.ray)
        else:
            writing(Path(home), chosen.images or 20_000)


if __name__ == "__main__":
    main()
