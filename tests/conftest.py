"""Options, the order of tests in parallel runs, the parity summary, and fixtures that several rooms use."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from tests.browser import CHROMIUM

if "PYTEST_XDIST_WORKER" in os.environ:
    # two workers on two cores: more threads would only wait for one another; processes that tests start inherit it
    os.environ.setdefault("OMP_NUM_THREADS", "1")

SHARED = Path(__file__).parents[2] / "shared"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--golden-dir", default=str(SHARED / "golden"), help="folder of golden cases")


def pytest_configure(config: pytest.Config) -> None:
    # a runner in the background ignores Ctrl+C, and would hand that down to the programs that are interrupted here
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """In a parallel run, group the tests of a file, of the browser and of napari's window, the longest groups first."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return
    ranks: dict[str, int] = {}
    for item in items:
        group = _group(item)
        item.add_marker(pytest.mark.xdist_group(group))
        rank = {"browser": 0, "window": 0, "alone": 3}.get(group, 1 if item.get_closest_marker("slow") else 2)
        ranks[group] = min(rank, ranks.get(group, rank))
    items.sort(key=lambda item: ranks[_group(item)])


def _group(item: pytest.Item) -> str:
    if chosen := item.get_closest_marker("xdist_group"):
        return str(chosen.args[0])
    if item.get_closest_marker("alone"):
        return "alone"
    if item.get_closest_marker("gui"):
        # one page takes the first free port, and one window the focus
        return "window" if "plugin" in item.path.parts else "browser"
    return item.path.relative_to(Path(__file__).parent).as_posix()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    lines = sorted(
        f"{name}: {value}"
        for report in terminalreporter.stats.get("passed", [])
        for name, value in report.user_properties
        if name.startswith("parity ")
    )
    if lines:
        terminalreporter.section("largest difference to the golden cases")
        for line in lines:
            terminalreporter.write_line(line.removeprefix("parity "))


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium, once for all tests: Playwright runs in one place of a process only."""
    from playwright.sync_api import sync_playwright

    if CHROMIUM is None:
        pytest.skip("no Chromium; install it with `apt-get install chromium`")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20260101)


@pytest.fixture
def two_class_project(tmp_path: Path, rng: np.random.Generator) -> Path:
    """A project of six pictures, green on the left and blue on the right, with both accepted."""
    from maskwright.domain import Image
    from maskwright.project import Project

    folder = tmp_path / "two_class_project ü"
    with Project.open(folder, create=True) as project:
        for number in range(6):
            edge = int(rng.integers(24, 40))
            pixels = rng.integers(0, 60, (64, 64, 3), dtype=np.uint8)
            pixels[:, :edge, 1] += 150
            pixels[:, edge:, 2] += 150
            file = tmp_path / f"m{number}.png"
            Pillow.fromarray(pixels).save(file)
            left = np.zeros((64, 64), bool)
            left[:, :edge] = True
            image = Image.open(file)
            project.accept(image, left, "meadow")
            project.accept(image, ~left, "air")
    return folder


@pytest.fixture(scope="session")
def small_preset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A preset folder of the real kind with random weights, for words, examples and clicks: nothing is good.

    It was taught grass, cow and sky; other words are unfamiliar.
    """
    return write_small_preset(tmp_path_factory.mktemp("presets") / "small")


def write_small_preset(folder: Path) -> Path:
    """Make the preset of `small_preset`."""
    import torch

    from maskwright.models.dinotxt import DinoTxt, DinoTxtConfig, HeadConfig, TextConfig
    from maskwright.models.dinov3 import DinoV3Config
    from maskwright.models.sam import Sam, SamConfig
    from maskwright.models.tiny_vit import TinyVitConfig
    from maskwright.models.tokenizer import train_tokenizer
    from maskwright.presets.weights import save_part, write_part

    folder.mkdir()
    words = ["grass", "cow", "sky"]
    train_tokenizer([f"a photo of a {word}." for word in words], vocabulary=300).save(str(folder / "tokenizer.json"))
    config = DinoTxtConfig(
        DinoV3Config(width=32, depth=1, heads=2, layer_scale=1.0),
        HeadConfig(blocks=1, heads=2, layer_scale=1.0),
        TextConfig(vocabulary=300, context=24, width=32, depth=1, heads=2),
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = DinoTxt(config)
    with torch.no_grad():
        # untrained words all point the same way; louder weights tell them apart
        for weights in model.text_model.parameters():
            weights.mul_(8 if weights.ndim > 1 else 1)
    told = {
        "model": asdict(config),
        "tokenizer": "tokenizer.json",
        "prompts": ["{}", "a photo of a {}."],
        "protocol": {"short_sides": [64], "window": 64, "stride": 32},
        "high_resolution": {"areas": [0.25, 1.0], "visits": [1, 1], "grid_short_side": 16, "clusters": 8},
        "sharpness": 20.0,
        "scale": 20.0,
        "threshold": 0.05,
        "familiar": words,
    }
    save_part(folder, "dinotxt", model.state_dict(), told, dtype=torch.float16)
    method = {"size": 128, "components": 4, "tau": 0.9, "merge": 0.1}
    write_part(folder, "insid3", {"method": method, "position": 0.3})
    encoder = TinyVitConfig(widths=(8, 16, 16, 32), depths=(1,) * 4, heads=(1, 2, 2, 2), windows=(4,) * 4, out=32)
    click = SamConfig(size=128, longest=128, tiny_vit=encoder, out=32, decoder_heads=2, decoder_mlp=64)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        sam = Sam(click)
    save_part(folder, "sam", sam.state_dict(), {"model": asdict(click), "connected": True}, dtype=torch.float16)
    return folder


@pytest.fixture(scope="session")
def segmenting_preset(small_preset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`small_preset` with a dinov3.seg of random weights on top of its text model and its promptable model."""
    import torch

    from maskwright.models.anyup import AnyUpConfig
    from maskwright.models.cost_aggregation import AggregatorConfig
    from maskwright.models.dinov3seg import Dinov3Seg, Dinov3SegConfig
    from maskwright.presets.loading import load
    from maskwright.presets.saving import save_dinov3seg

    folder = tmp_path_factory.mktemp("presets") / "segmenting"
    shutil.copytree(small_preset, folder)
    base = load(folder)
    assert base.dinotxt is not None
    assert base.sam is not None
    config = Dinov3SegConfig(
        vlm=base.dinotxt.settings.model, spe=base.sam.settings.model, taps=(3, 2), anyup=AnyUpConfig(width=8, heads=2),
        aggregator=AggregatorConfig(
            text=32, appearance=32, taps=(16, 8), hidden=24, heads=2, window=4, text_guidance=8, appearance_guidance=8,
            decoder=(16, 16), decoder_guidance=(8, 8), padding=0,
        ),
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Dinov3Seg(config)
    model.vlm.load_state_dict(base.dinotxt.model.state_dict())
    model.spe.encoder.load_state_dict(base.sam.model.image_encoder.state_dict())
    save_dinov3seg(folder, model, {"protocol": {"sides": [96], "window": 64, "stride": 32}}, dtype=torch.float16)
    return folder


@pytest.fixture(scope="session")
def talking_preset(small_preset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`small_preset` with a Talk2DINO of random weights between the encoders of its text model.

    Its dino.txt still answers words by default. Classes differ; of noise some pixels are none of them.
    """
    import torch

    from maskwright.models.talk2dino import Projection, ProjectionConfig
    from maskwright.presets.config_io import sections
    from maskwright.presets.loading import load_dinotxt
    from maskwright.presets.saving import save_projection
    from maskwright.presets.weights import write_part

    folder = tmp_path_factory.mktemp("presets") / "talking"
    shutil.copytree(small_preset, folder)
    # dino.txt's words have two halves: one for the image, one for its patches
    config = ProjectionConfig(text=64, width=32, hidden=16)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        projection = Projection(config)
    with torch.no_grad():
        # untrained, the second map's bias outweighs the words, which come out alike; a louder map tells them apart
        projection.hidden_layers[0].weight.mul_(8)
    save_projection(folder, projection, config, load_dinotxt(folder), size=64)
    told = sections(folder)["talk2dino"]
    protocol = {"short_side": 64, "longest": 256, "window": 64, "stride": 32}
    # cosines of random weights lie around 0, where the score is 0.5
    write_part(folder, "talk2dino", {**told, "protocol": protocol, "threshold": 0.505})
    return folder
