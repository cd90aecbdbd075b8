"""Speed and memory of prompts, and of the stages of INSID3 and PAMR."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image as Pillow
from torch import Tensor

from maskwright.domain import Image, ModelRef
from maskwright.engine import Engine
from maskwright.models import insid3
from maskwright.models.devices import choose_device
from maskwright.models.dinov3seg import SPECS as DINOV3SEG
from maskwright.models.dinov3seg import Dinov3Seg
from maskwright.models.insid3 import EncodedReference, Insid3Config, PatchFeatures
from maskwright.models.pamr import pamr
from maskwright.models.tokenizer import Tokenizer
from maskwright.presets.config import DinoTxtSettings, Dinov3SegSettings
from maskwright.presets.folders import bundled
from maskwright.presets.loading import Loaded, Preset
from maskwright.settings import Settings

__all__ = [
    "ClickBench",
    "ExampleBench",
    "RefineBench",
    "TextBench",
    "bench_click",
    "bench_example",
    "bench_refine",
    "bench_text",
    "centre_mask",
    "published_size",
    "refine_input",
    "synthetic_features",
]

GRID = 64
CHANNELS = 1024
_COMPONENTS = 500
_REGIONS = 40


@dataclass(frozen=True, slots=True)
class ExampleBench:
    """Seconds per target image of INSID3 after the encoder; medians over rounds."""

    task: str
    grid: int
    """Patches along each side of the image."""
    channels: int
    rounds: int
    product: float
    """One matrix product of all patches with all patches, as a lower bound."""
    stages: dict[str, float]
    total: float
    device: str
    machine: dict[str, str | int]


@dataclass(frozen=True, slots=True)
class ClickBench:
    """Seconds of a click prompt, from coordinates to masks at image size."""

    task: str
    preset: str
    longest: int
    """Longest side of the image in pixels."""
    rounds: int
    first: float
    """First click on an image: encoder and decoder."""
    further: float
    """Median of the further clicks."""
    slowest: float
    """Slowest of the further clicks."""
    encoder_calls: int
    """Encoder passes of all prompts together."""
    device: str
    machine: dict[str, str | int]


@dataclass(frozen=True, slots=True)
class TextBench:
    """Seconds and memory of a text prompt, from class names to the label map."""

    task: str
    preset: str
    method: str
    size_hw: tuple[int, int]
    classes: int
    rounds: int
    first: float
    """First prompt on an image: image encoders, text tower and decoder."""
    further: float
    """Median of further prompts with new class names on the same image."""
    encoder_calls: int
    """Encoder passes of all prompts together."""
    peak_mb: float
    """Peak memory of the process so far, or of the GPU if one is used."""
    device: str
    machine: dict[str, str | int]


@dataclass(frozen=True, slots=True)
class RefineBench:
    """Seconds and memory of PAMR; the median over rounds."""

    task: str
    size_hw: tuple[int, int]
    classes: int
    rounds: int
    seconds: float
    peak_mb: float
    """Peak memory of the process so far, or of the GPU if one is used."""
    device: str
    machine: dict[str, str | int]


def bench_refine(
    *, rounds: int = 1, size_hw: tuple[int, int] = (1024, 1024), classes: int = 20, device: str = "cpu"
) -> RefineBench:
    """Time PAMR on a sample photograph and random scores."""
    where = torch.device(device)
    image, scores = refine_input(size_hw, classes, where)
    _reset_peak(where)
    seconds = statistics.median(_timed(lambda: pamr(image, scores), where)[1] for _ in range(rounds))
    return RefineBench("refine", size_hw, classes, rounds, seconds, _peak_mb(where), device, machine())


def refine_input(size_hw: tuple[int, int], classes: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """(1, 3, H, W) sample photograph and (1, classes, H, W) smooth random scores."""
    pixels = np.array(_photograph().resize(size_hw[::-1]), np.float32)
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, classes, size_hw[0] // 16, size_hw[1] // 16, generator=generator)
    scores = F.interpolate(coarse, size_hw, mode="bilinear")
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].to(device), scores.to(device)


def bench_text(
    engine: Engine,
    *,
    method: str | None = None,
    rounds: int = 5,
    size_hw: tuple[int, int] = (480, 640),
    classes: int = 20,
) -> TextBench:
    """Time text prompts on a sample photograph.

    Args:
        engine: Engine of the preset to time.
        method: Text method; None is the preset's default.
        rounds: Number of further prompts.
        size_hw: Height and width of the image in pixels.
        classes: Class names per prompt.
    """
    image = Image(np.array(_photograph().resize(size_hw[::-1])))
    before, seconds = engine.encoder_calls, []
    _reset_peak(engine.device)
    for number in range(rounds + 1):
        names = [f"thing {number} {n}" for n in range(classes)]
        seconds.append(_timed(lambda names=names: engine.segment_text(image, names, method), engine.device)[1])  # type: ignore[misc]
    return TextBench(
        "text", engine.model.name, engine.text_method(method), size_hw, classes, rounds, seconds[0],
        statistics.median(seconds[1:]), engine.encoder_calls - before, _peak_mb(engine.device), str(engine.device),
        machine(),
    )  # fmt: skip


def published_size(device: str) -> Engine:
    """Engine on dinov3.seg of the published size with random weights, which take as long as trained ones."""
    config = DINOV3SEG["vitl16"]
    model = Dinov3Seg(config).eval().requires_grad_(requires_grad=False)
    ref, folder = ModelRef("dinov3seg-l with random weights", ""), bundled() / "tiny"
    tokenizer = Tokenizer.load(folder / "tokenizer.json", context=config.vlm.text.context)
    text = DinoTxtSettings(config.vlm, weights="", sha256="", tokenizer="", prompts=("{}",))
    seg = Dinov3SegSettings(config, weights="", sha256="", class_pooling=(1, 1))
    preset = Preset(
        ref, dinotxt=Loaded(ref, folder, text, model.vlm, tokenizer),
        dinov3seg=Loaded(ref, folder, seg, model, tokenizer),
    )  # fmt: skip
    return Engine(preset, choose_device(device), Settings.load())


def _photograph() -> Pillow.Image:
    """First photograph of the sample gallery."""
    samples = (files("maskwright_assets") / "samples").iterdir()
    first = min((file for file in samples if file.name.endswith(".jpg")), key=lambda file: file.name)
    with first.open("rb") as stream, Pillow.open(stream) as opened:
        return opened.convert("RGB")


def bench_click(engine: Engine, *, rounds: int = 50, longest: int = 1024, seed: int = 0) -> ClickBench:
    """Time clicks at random places of a sample photograph, each correcting the previous mask.

    Args:
        engine: Engine of the preset to time.
        rounds: Number of further clicks.
        longest: Longest side of the image in pixels.
        seed: Seed of the places.
    """
    photograph = _photograph()
    scale = longest / max(photograph.size)
    size = round(photograph.width * scale), round(photograph.height * scale)
    image, rng = Image(np.array(photograph.resize(size))), np.random.default_rng(seed)
    before, seconds = engine.encoder_calls, []
    points: list[tuple[float, float]] = []
    start = None
    for _ in range(rounds + 1):
        points = [*points[-4:], (float(rng.uniform(0, size[0])), float(rng.uniform(0, size[1])))]
        began = time.perf_counter()
        masks = engine.segment_click(image, points, start=start).masks()
        seconds.append(time.perf_counter() - began)
        start = masks[0] if masks else None
    return ClickBench(
        "click", engine.model.name, longest, rounds, seconds[0], statistics.median(seconds[1:]), max(seconds[1:]),
        engine.encoder_calls - before, str(engine.device), machine(),
    )  # fmt: skip


def bench_example(*, rounds: int = 5, device: str = "cpu", seed: int = 0) -> ExampleBench:
    """Time the stages of INSID3 on synthetic features.

    Args:
        rounds: Number of timed rounds, after one to warm up.
        device: torch device.
        seed: Seed of the features.
    """
    where, config = torch.device(device), Insid3Config(components=_COMPONENTS)
    positional, reference, target = (synthetic_features(seed + n).to(where) for n in range(3))
    complement = insid3.complement_of(insid3.positional_basis(positional, config.components))
    encoded = insid3.encode(reference, complement)
    example = insid3.encode_reference(encoded, centre_mask().to(where))
    patches = insid3.encode(target, complement)
    runs = [_insid3_stages(patches, example, config, where) for _ in range(rounds + 1)][1:]
    products = [_timed(lambda: patches.original @ encoded.original.T, where)[1] for _ in range(rounds)]
    return ExampleBench(
        task="example", grid=GRID, channels=CHANNELS, rounds=rounds, product=statistics.median(products),
        stages={name: statistics.median(run[name] for run in runs) for name in runs[0]},
        total=statistics.median(sum(run.values()) for run in runs), device=device, machine=machine(),
    )  # fmt: skip


def _insid3_stages(
    target: PatchFeatures, example: EncodedReference, config: Insid3Config, device: torch.device
) -> dict[str, float]:
    """Seconds of each stage of one segmentation."""
    prototype = insid3.prototype([example])
    forward = insid3.forward_similarity(target, prototype)
    candidates, matching = _timed(lambda: insid3.candidates(target, [example], forward), device)
    clusters, clustering = _timed(lambda: insid3.cluster(target, config.tau), device)

    def merge() -> Tensor:
        seed = insid3.select_seed(clusters, candidates, prototype)
        return (insid3.aggregate(clusters, seed, candidates, forward).combined > config.merge)[clusters.labels]

    _, aggregation = _timed(merge, device)
    return {"candidates": matching, "clustering": clustering, "seed and aggregation": aggregation}


def machine() -> dict[str, str | int]:
    """Description of the machine, for the results."""
    return {
        "processor": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "system": platform.system(),
    }


def synthetic_features(seed: int) -> Tensor:
    """(C, h, w) features with regions, soft gradients and noise, as an image has them."""
    generator = torch.Generator().manual_seed(seed)
    prototypes = torch.randn(_REGIONS, CHANNELS, generator=torch.Generator().manual_seed(0))
    soft = F.interpolate(
        torch.randn(1, CHANNELS, GRID // 8, GRID // 8, generator=generator), (GRID, GRID), mode="bilinear"
    )
    centres = torch.rand(_REGIONS, 2, generator=generator)
    ys, xs = torch.meshgrid(torch.linspace(0, 1, GRID), torch.linspace(0, 1, GRID), indexing="ij")
    owner = torch.cdist(torch.stack([ys, xs], dim=-1).reshape(-1, 2), centres).argmin(dim=1)
    regions = prototypes[owner].T.reshape(CHANNELS, GRID, GRID)
    return regions + 0.6 * soft[0] + 0.5 * torch.randn(CHANNELS, GRID, GRID, generator=generator)


def centre_mask() -> Tensor:
    """(h * w,) reference mask: the middle quarter of the image."""
    mask = torch.zeros(GRID, GRID, dtype=torch.bool)
    mask[GRID // 4 : 3 * GRID // 4, GRID // 4 : 3 * GRID // 4] = True
    return mask.flatten()


T = TypeVar("T")


def _timed(work: Callable[[], T], device: torch.device) -> tuple[T, float]:
    """Result and seconds of a computation, including what a GPU still has queued."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    began = time.perf_counter()
    result = work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return result, time.perf_counter() - began


def _reset_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def _peak_mb(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    try:
        import resource
    except ImportError:  # Windows
        return float("nan")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if platform.system() == "Darwin" else 2**10)
