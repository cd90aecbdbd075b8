"""Times: of a click, and of the parts that we made faster beside the way their authors compute them, in one run."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image as Pillow
from torch import Tensor

from maskwright.domain import Image, ModelRef
from maskwright.engine import Engine
from maskwright.errors import MaskwrightError
from maskwright.models import insid3
from maskwright.models.devices import choose_device
from maskwright.models.dinov3seg import SPECS as DINOV3SEG
from maskwright.models.dinov3seg import Dinov3Seg
from maskwright.models.insid3 import EncodedReference, Insid3Config, PatchFeatures
from maskwright.models.pamr import DILATIONS, ITERATIONS, pamr
from maskwright.models.tokenizer import Tokenizer
from maskwright.presets.config import DinoTxtSettings, Dinov3SegSettings
from maskwright.presets.loading import Loaded, Preset, bundled
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
    "published_size",
]

GRID = 64
CHANNELS = 1024
_COMPONENTS = 500
_REGIONS = 40


@dataclass(frozen=True, slots=True)
class ExampleBench:
    """Seconds per target after the encoder, the median of several rounds."""

    task: str
    grid: int
    channels: int
    rounds: int
    product: float
    """One dense product of all cells with all cells: the floor of either way."""
    ours: dict[str, float]
    """By stage"""
    ours_total: float
    authors: dict[str, float]
    """By stage, as the authors compute it: scikit-learn, the full similarity tensor, a loop over clusters"""
    authors_total: float
    ratio: float
    """authors_total / ours_total"""
    same_mask: bool
    same_clusters: bool
    device: str
    machine: dict[str, str | int]


@dataclass(frozen=True, slots=True)
class ClickBench:
    """Seconds of a click as a front end waits for it, from the coordinates to the masks in the image's pixels."""

    task: str
    preset: str
    longest: int
    """Pixels of the picture's longest side"""
    rounds: int
    first: float
    """The first click on a picture: encoder and decoder"""
    further: float
    """Median of the further ones"""
    slowest: float
    """Of the further ones"""
    encoder_calls: int
    """By all of them together"""
    device: str
    machine: dict[str, str | int]


@dataclass(frozen=True, slots=True)
class TextBench:
    """Seconds of a prompt by word as a front end waits for it, and what it takes of the memory."""

    task: str
    preset: str
    method: str
    size_hw: tuple[int, int]
    classes: int
    rounds: int
    first: float
    """The first prompt on a picture: encoders, words and comparison"""
    further: float
    """Median of further prompts with other words on the same picture"""
    encoder_calls: int
    """By all of them together"""
    peak_mb: float
    """Highest memory of the process so far, or of the GPU where one is used"""
    device: str
    machine: dict[str, str | int]


@dataclass(frozen=True, slots=True)
class RefineBench:
    """Seconds of PAMR, the median of several rounds, beside the formulation of its authors' module."""

    task: str
    size_hw: tuple[int, int]
    classes: int
    rounds: int
    ours: float
    authors: float
    """As the authors compute it: convolutions with one-hot kernels give all neighbours of all masks at once"""
    ratio: float
    """authors / ours"""
    peak_mb: float
    """Highest memory of the process with ours, or of the GPU where one is used"""
    authors_peak_mb: float
    largest_difference: float
    device: str
    machine: dict[str, str | int]


def bench_refine(
    *, rounds: int = 1, size_hw: tuple[int, int] = (1024, 1024), classes: int = 20, device: str = "cpu"
) -> RefineBench:
    """Time PAMR on a sample photograph and made-up scores."""
    where = torch.device(device)
    picture = np.array(_photograph().resize(size_hw[::-1]), np.float32)
    image = torch.from_numpy(picture).permute(2, 0, 1)[None].to(where)
    chance = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, classes, size_hw[0] // 16, size_hw[1] // 16, generator=chance).to(where)
    masks = F.interpolate(coarse, size_hw, mode="bilinear")
    spent: dict[str, list[float]] = {"ours": [], "authors": []}
    peaks, made = {}, {}
    for who, way in (("ours", pamr), ("authors", _authors_pamr)):
        if where.type == "cuda":
            torch.cuda.reset_peak_memory_stats(where)
        for _ in range(rounds):
            made[who], seconds = _timed({}, who, lambda way=way: way(image, masks))  # type: ignore[misc]
            spent[who].append(seconds)
        peaks[who] = _peak_mb(where)
    ours, authors = (statistics.median(spent[who]) for who in ("ours", "authors"))
    return RefineBench(
        "refine", size_hw, classes, rounds, ours, authors, authors / ours, peaks["ours"], peaks["authors"],
        float((made["ours"] - made["authors"]).abs().max()), device, machine(),
    )  # fmt: skip


def _authors_pamr(image: Tensor, masks: Tensor) -> Tensor:
    """PAMR in its authors' formulation, in our words."""
    places = [n for n in range(9) if n != 4]
    picks = F.one_hot(torch.tensor(places), 9).to(image).view(8, 1, 3, 3)
    centre = F.one_hot(torch.tensor(4), 9).to(image).view(1, 1, 3, 3)

    def around(planes: Tensor, kernels: Tensor) -> Tensor:
        flat = planes.flatten(0, 1)[:, None]
        found = [F.conv2d(F.pad(flat, (reach,) * 4, mode="replicate"), kernels, dilation=reach) for reach in DILATIONS]
        return torch.cat(found, dim=1).view(*planes.shape[:2], -1, *planes.shape[2:])

    spread = around(image, torch.cat([picks, centre])).std(dim=2, keepdim=True)
    alike = -around(image, picks - centre).abs() / (1e-8 + 0.1 * spread)
    weights = alike.mean(dim=1, keepdim=True).softmax(dim=2)
    for _ in range(ITERATIONS):
        masks = (around(masks, picks) * weights).sum(dim=2)
    return masks


def bench_text(
    engine: Engine,
    *,
    method: str | None = None,
    rounds: int = 5,
    size_hw: tuple[int, int] = (480, 640),
    classes: int = 20,
) -> TextBench:
    """Time prompts of so many words on a sample photograph of the given size."""
    image = Image(np.array(_photograph().resize(size_hw[::-1])))
    before, spent = engine.encoder_calls, []
    if engine.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(engine.device)
    for number in range(rounds + 1):
        words = [f"thing {number} {n}" for n in range(classes)]
        begun = time.perf_counter()
        engine.segment_text(image, words, method)
        spent.append(time.perf_counter() - begun)
    return TextBench(
        "text", engine.model.name, engine.text_method(method), size_hw, classes, rounds, spent[0],
        statistics.median(spent[1:]), engine.encoder_calls - before, _peak_mb(engine.device), str(engine.device),
        machine(),
    )  # fmt: skip


def published_size(device: str) -> Engine:
    """An engine on dinov3.seg of the published size; its random weights cost what trained ones do."""
    config = DINOV3SEG["vitl16"]
    model = Dinov3Seg(config).eval().requires_grad_(requires_grad=False)
    ref, folder = ModelRef("dinov3seg-l with random weights", ""), bundled() / "tiny"
    tokenizer = Tokenizer.load(folder / "tokenizer.json", context=config.vlm.text.context)
    text = DinoTxtSettings(config.vlm, weights="", sha256="", tokenizer="", prompts=("{}",))
    preset = Preset(
        ref, dinotxt=Loaded(ref, folder, text, model.vlm, tokenizer),
        dinov3seg=Loaded(ref, folder, Dinov3SegSettings(config, weights="", sha256=""), model, tokenizer),
    )  # fmt: skip
    return Engine(preset, choose_device(device), Settings.load())


def _peak_mb(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    try:
        import resource
    except ImportError:  # Windows
        return float("nan")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if platform.system() == "Darwin" else 2**10)


def _photograph() -> Pillow.Image:
    """The first of the gallery."""
    samples = (files("maskwright_assets") / "samples").iterdir()
    shown = min((file for file in samples if file.name.endswith(".jpg")), key=lambda file: file.name)
    with shown.open("rb") as stream, Pillow.open(stream) as opened:
        return opened.convert("RGB")


def bench_click(engine: Engine, *, rounds: int = 50, longest: int = 1024, seed: int = 0) -> ClickBench:
    """Time clicks at random places on a sample photograph, each correcting the answer before."""
    shown = _photograph()
    scale = longest / max(shown.size)
    size = round(shown.width * scale), round(shown.height * scale)
    image = Image(np.array(shown.resize(size)))
    draw = np.random.default_rng(seed)
    before, spent = engine.encoder_calls, []
    points: list[tuple[float, float]] = []
    start = None
    for _ in range(rounds + 1):
        points = [*points[-4:], (float(draw.uniform(0, size[0])), float(draw.uniform(0, size[1])))]
        begun = time.perf_counter()
        found = engine.segment_click(image, points, start=start).masks()
        spent.append(time.perf_counter() - begun)
        start = found[0] if found else None
    return ClickBench(
        "click", engine.model.name, longest, rounds, spent[0], statistics.median(spent[1:]), max(spent[1:]),
        engine.encoder_calls - before, str(engine.device), machine(),
    )  # fmt: skip


def bench_example(*, rounds: int = 5, device: str = "cpu", seed: int = 0) -> ExampleBench:
    """Time INSID3's stages on made-up features with regions, gradients and noise, as a picture has them.

    Raises:
        MaskwrightError: scikit-learn is not installed.
    """
    try:
        import sklearn.cluster  # noqa: F401
    except ImportError as error:
        raise MaskwrightError("The comparison needs scikit-learn. Run `pip install scikit-learn`.") from error
    config = Insid3Config(components=_COMPONENTS)
    black, shown, target = (features(seed + n, device) for n in range(3))
    basis = insid3.positional_basis(black, config.components)
    complement = insid3.complement_of(basis)
    reference = insid3.encode(shown, complement)
    # a quarter of the picture, as an object is
    inside = torch.zeros(GRID, GRID, dtype=torch.bool, device=device)
    inside[GRID // 4 : 3 * GRID // 4, GRID // 4 : 3 * GRID // 4] = True
    one = insid3.encode_reference(reference, inside.flatten())
    cells = insid3.encode(target, complement)
    # the authors keep all coordinates
    theirs = cells._replace(debiased=insid3.debias(cells.original, basis))
    their_one = insid3.encode_reference(
        reference._replace(debiased=insid3.debias(reference.original, basis)), one.foreground
    )
    runs: dict[str, list[tuple[dict[str, float], Tensor, Tensor]]] = {"ours": [], "authors": []}
    products = []
    for number in range(rounds + 1):
        found = {"ours": _ours(cells, one, config), "authors": _authors(theirs, their_one, config)}
        product = _timed({}, "product", lambda: cells.original @ reference.original.T)[1]
        if number:
            # the first round warms caches and memory up
            products.append(product)
            for who, run in found.items():
                runs[who].append(run)
    stages = {
        who: {name: statistics.median(run[0][name] for run in done) for name in done[0][0]}
        for who, done in runs.items()
    }
    totals = {who: statistics.median(sum(run[0].values()) for run in done) for who, done in runs.items()}
    (_, our_mask, our_labels), (_, their_mask, their_labels) = runs["ours"][-1], runs["authors"][-1]
    return ExampleBench(
        task="example", grid=GRID, channels=CHANNELS, rounds=rounds, product=statistics.median(products),
        ours=stages["ours"], ours_total=totals["ours"], authors=stages["authors"], authors_total=totals["authors"],
        ratio=totals["authors"] / totals["ours"], same_mask=torch.equal(our_mask, their_mask),
        same_clusters=_same(our_labels, their_labels), device=device, machine=machine(),
    )  # fmt: skip


def machine() -> dict[str, str | int]:
    """What the numbers were measured on."""
    return {
        "processor": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "system": platform.system(),
    }


def features(seed: int, device: str) -> Tensor:
    """(C, h, w) features of a made-up picture: regions, soft gradients, noise."""
    chance = torch.Generator().manual_seed(seed)
    prototypes = torch.randn(_REGIONS, CHANNELS, generator=torch.Generator().manual_seed(0))
    soft = F.interpolate(
        torch.randn(1, CHANNELS, GRID // 8, GRID // 8, generator=chance), (GRID, GRID), mode="bilinear"
    )
    centres = torch.rand(_REGIONS, 2, generator=chance)
    ys, xs = torch.meshgrid(torch.linspace(0, 1, GRID), torch.linspace(0, 1, GRID), indexing="ij")
    owner = torch.cdist(torch.stack([ys, xs], dim=-1).reshape(-1, 2), centres).argmin(dim=1)
    regions = prototypes[owner].T.reshape(CHANNELS, GRID, GRID)
    return (regions + 0.6 * soft[0] + 0.5 * torch.randn(CHANNELS, GRID, GRID, generator=chance)).to(device)


def _timed(into: dict[str, float], name: str, work: Callable[[], Tensor]) -> tuple[Tensor, float]:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    began = time.perf_counter()
    value = work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    into[name] = time.perf_counter() - began
    return value, into[name]


def _ours(
    target: PatchFeatures, one: EncodedReference, config: Insid3Config
) -> tuple[dict[str, float], Tensor, Tensor]:
    spent: dict[str, float] = {}
    ref_prototype = insid3.prototype([one])
    forward = insid3.forward_similarity(target, ref_prototype)
    candidate_mask, _ = _timed(spent, "candidates", lambda: insid3.candidates(target, [one], forward))
    kept: list[insid3.Clusters] = []

    def cluster() -> Tensor:
        kept.append(insid3.cluster(target, config.tau))
        return kept[0].labels

    labels, _ = _timed(spent, "clustering", cluster)

    def merge() -> Tensor:
        seed = insid3.select_seed(kept[0], candidate_mask, ref_prototype)
        return (insid3.aggregate(kept[0], seed, candidate_mask, forward).combined > config.merge)[labels]

    mask, _ = _timed(spent, "seed and aggregation", merge)
    return spent, mask, labels


def _authors(
    target: PatchFeatures, one: EncodedReference, config: Insid3Config
) -> tuple[dict[str, float], Tensor, Tensor]:
    """The same stages as their authors' code computes them, in our words."""
    from sklearn.cluster import AgglomerativeClustering

    spent: dict[str, float] = {}
    ref_prototype = insid3.prototype([one])
    forward = insid3.forward_similarity(target, ref_prototype)

    def match() -> Tensor:
        similarity = target.debiased @ one.debiased.T
        return one.foreground[similarity.argmax(dim=1)] & (forward > 0)

    candidate_mask, _ = _timed(spent, "candidates", match)

    def cluster() -> Tensor:
        distance = (1 - target.original @ target.original.T).clamp_min(0).fill_diagonal_(0)
        model = AgglomerativeClustering(
            n_clusters=None, metric="precomputed", linkage="average", distance_threshold=1 - config.tau
        )
        return torch.from_numpy(model.fit_predict(distance.cpu().numpy())).to(distance.device)

    labels, _ = _timed(spent, "clustering", cluster)

    def merge() -> Tensor:
        members = [labels == k for k in range(int(labels.max()) + 1)]
        debiased = [F.normalize(target.debiased[cells].mean(dim=0), dim=0) for cells in members]
        original = [F.normalize(target.original[cells].mean(dim=0), dim=0) for cells in members]
        seed = max(
            (k for k, cells in enumerate(members) if candidate_mask[cells].any()),
            key=lambda k: float(debiased[k] @ ref_prototype),
        )
        mask = torch.zeros_like(candidate_mask)
        for k, cells in enumerate(members):
            share = 1.0 if k == seed else float(candidate_mask[cells].float().mean())
            if float(forward[cells].mean()) * float(original[k] @ original[seed]) * share > config.merge:
                mask |= cells
        return mask

    mask, _ = _timed(spent, "seed and aggregation", merge)
    return spent, mask, labels


def _same(first: Tensor, second: Tensor) -> bool:
    """Whether two labellings are one partition."""
    pairs = torch.unique(torch.stack([first.cpu().long(), second.cpu().long()]), dim=1).shape[1]
    return bool(pairs == len(torch.unique(first)) == len(torch.unique(second)))
