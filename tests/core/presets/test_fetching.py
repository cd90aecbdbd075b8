"""`models fetch` against a model hub on this computer: small random models in the authors' layouts."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections import namedtuple
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import torch
from safetensors.torch import save
from torch import Tensor

from maskwright.errors import (
    AccessRefused,
    BadWeights,
    Cancelled,
    MaskwrightError,
    NoDiskSpace,
    Unreachable,
    UsageError,
)
from maskwright.models.sam import SPECS as SAM_SPECS
from maskwright.models.sam import Sam, SamConfig, official_name
from maskwright.models.talk2dino import SPECS, ProjectionConfig, Talk2Dino, Talk2DinoConfig, convert_official
from maskwright.models.tiny_vit import TinyVitConfig
from maskwright.models.tokenizer import read_merges
from maskwright.presets import transfer
from maskwright.presets.catalog import describe
from maskwright.presets.fetching import fetch, values_sha256
from maskwright.presets.folders import installed, tasks
from maskwright.presets.loading import load
from maskwright.presets.official import OFFICIAL
from maskwright.settings import Settings
from tests.core.models.test_sam import SMALL
from tests.core.presets.fake_hub import FakeHub, serving
from tests.core.presets.test_convert_talk2dino import (
    V2,
    V3,
    VOCABULARY,
    _made,
    hub_clip,
    hub_dinov2,
    hub_dinov3,
    needs_vocabulary,
    projection,
)
from tests.progress import Recorded

MOBILE = SamConfig(
    size=64, longest=64, out=32, mask_channels=4, decoder_heads=2, decoder_mlp=16, iou_hidden=16,
    tiny_vit=TinyVitConfig(
        widths=(8, 16, 16, 32), depths=(1, 1, 1, 1), heads=(1, 1, 1, 2), windows=(2, 2, 2, 2), out=32
    ),
)  # fmt: skip
LARGE = replace(V2, projection=ProjectionConfig(12, 16))
DINOV2, CLIP = "facebook/dinov2-with-registers-base", "openai/clip-vit-base-patch16"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """An empty hub, an empty cache, no token, and no waiting between attempts."""
    monkeypatch.setenv("HF_TOKEN", "")
    monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hf" / "hub"))
    monkeypatch.setattr(transfer, "_PAUSE", 0.0)
    with serving() as hub:
        template = hub.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", hub.endpoint)
        monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield hub


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(presets=tmp_path / "presets", cache=tmp_path / "computed")


def _merges() -> bytes:
    """The hub's `merges.txt`, with CLIP's own merges."""
    return ("#version: 0.2\n" + "\n".join(read_merges(VOCABULARY)) + "\n").encode()


def _saved(state: dict[str, Tensor]) -> bytes:
    return save({name: value.contiguous() for name, value in state.items()})


def _pickled(state: dict[str, Tensor], file: Path) -> bytes:
    torch.save(state, file)
    return file.read_bytes()


def _publish(
    hub: FakeHub, name: str, config: Talk2DinoConfig, monkeypatch: pytest.MonkeyPatch, file: Path
) -> Talk2Dino:
    """Put a small Talk2DINO on the hub under the authors' addresses; its sizes and hash are those of the preset."""
    model, official = _made(config), OFFICIAL[name]
    backbone, clip, between, merges = official.files
    layout = hub_dinov2 if config.dinov2 else hub_dinov3
    hub.files |= {
        f"{backbone.hub}/model.safetensors": _saved(layout(model)),
        f"{clip.hub}/pytorch_model.bin": _pickled(hub_clip(model), file),
        f"{merges.hub}/merges.txt": _merges(),
        f"raw/{between.name}": _pickled(projection(model), file),
    }
    known = values_sha256(convert_official(projection(model))) if between.values_sha256 else ""
    between = replace(between, addresses=(f"{hub.endpoint}/raw/{between.name}",), values_sha256=known)
    small = tuple(replace(f, size=1000) for f in (backbone, clip, between, merges))
    monkeypatch.setitem(OFFICIAL, name, replace(official, files=small))
    monkeypatch.setitem(SPECS, name.removeprefix("talk2dino-"), config)
    return model


@pytest.fixture
def talk2dino(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Talk2Dino:
    return _publish(hub, "talk2dino-b", V2, monkeypatch, tmp_path / "file")


def _same(folder: Path | None, model: Talk2Dino, threshold: float = 0.55) -> None:
    assert folder is not None
    loaded = load(folder).talk2dino
    assert loaded is not None
    assert loaded.settings.threshold == threshold
    found = loaded.model.state_dict()
    assert all(torch.equal(found[name], value) for name, value in model.state_dict().items())
    assert loaded.tokenizer(["a cow"])[0, :4].tolist() == [49406, 320, 9706, 49407]


# what is made


@needs_vocabulary
def test_talk2dino_is_ready_after_one_call(hub: FakeHub, settings: Settings, talk2dino: Talk2Dino) -> None:
    progress = Recorded()
    fetched = fetch("talk2dino-b", settings, progress=progress)
    _same(fetched.folder, talk2dino)
    assert fetched.folder == settings.presets / "talk2dino-b"
    assert fetched.by_hand == ()
    assert tasks(fetched.folder) == ("text",)
    done = [done for done, _ in progress.reports]
    assert done == sorted(done)
    assert progress.reports[-1][0] > 0.9 * progress.reports[-1][1]
    card = (fetched.folder / "README.md").read_text()
    assert "Talk2DINO's projection: none stated" in card
    assert list((settings.presets / ".downloads").glob("*.pth*")) in (
        [],
        [*(settings.presets / ".downloads").glob("*.lock")],
    )
    told = describe("talk2dino-b", settings)
    assert told.values["whole"]
    # a second time everything is in the hub's cache, where other programs find it as well
    before = len(hub.downloads())
    _same(fetch("talk2dino-b", settings).folder, talk2dino)
    assert [request.path for request in hub.downloads()[before:]] == ["raw/vitb_mlp_infonce.pth"]


@needs_vocabulary
@pytest.mark.parametrize(
    ("name", "config", "threshold"),
    [
        ("talk2dino-l", LARGE, 0.54),
        ("talk2dino-dinov3-b", V3, 0.55),
        ("talk2dino-dinov3-l", replace(V3, projection=ProjectionConfig(12, 16)), 0.54),
    ],
)
def test_the_variants(
    hub: FakeHub,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    config: Talk2DinoConfig,
    threshold: float,
) -> None:
    model = _publish(hub, name, config, monkeypatch, tmp_path / "file")
    _same(fetch(name, settings).folder, model, threshold)


@needs_vocabulary
@pytest.mark.parametrize("prefix", ["proj.", ""])
def test_a_projection_that_is_only_inside_the_hubs_whole_model(
    hub: FakeHub, settings: Settings, talk2dino: Talk2Dino, prefix: str
) -> None:
    del hub.files["raw/vitb_mlp_infonce.pth"]
    whole = {f"{prefix}{name}": value for name, value in projection(talk2dino).items()}
    whole |= {"model.head.linear_layer.weight": torch.ones(3, 5), "a.large.one": torch.ones(500, 500)}
    hub.files["lorebianchi98/Talk2DINO-ViTB/model.safetensors"] = _saved(whole)
    _same(fetch("talk2dino-b", settings).folder, talk2dino)
    parts = [request for request in hub.downloads() if "Talk2DINO" in request.path]
    assert parts
    assert all(request.range for request in parts), "the large model is not downloaded"


@needs_vocabulary
def test_a_projection_that_is_nowhere(hub: FakeHub, settings: Settings, talk2dino: Talk2Dino) -> None:
    del hub.files["raw/vitb_mlp_infonce.pth"]
    with pytest.raises(MaskwrightError, match="Talk2DINO"):
        fetch("talk2dino-b", settings)
    hub.files["lorebianchi98/Talk2DINO-ViTB/model.safetensors"] = _saved({"other": torch.ones(2)})
    with pytest.raises(BadWeights, match="holds no projection"):
        fetch("talk2dino-b", settings)
    assert "talk2dino-b" not in installed(settings)


def _mobile(hub: FakeHub, monkeypatch: pytest.MonkeyPatch, file: Path) -> Sam:
    """A small `mobile_sam.pt` with batch norms, the unused classifier and index tables."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        model = Sam(MOBILE).eval()
        state: dict[str, Tensor] = {}
        for name, value in model.state_dict().items():
            stem = name.removesuffix("c.bias")
            if not name.startswith("image_encoder."):
                state[official_name(name, 3)] = value.clone()
            elif name.endswith(".c.bias"):
                scale, mean, variance = (
                    torch.rand(len(value)) + 0.5,
                    torch.randn(len(value)),
                    torch.rand(len(value)) + 0.5,
                )
                factor = scale / (variance + 1e-5).sqrt()
                state |= {
                    f"{stem}c.weight": model.state_dict()[f"{stem}c.weight"] / factor[:, None, None, None],
                    f"{stem}bn.weight": scale, f"{stem}bn.bias": value + mean * factor, f"{stem}bn.running_mean": mean,
                    f"{stem}bn.running_var": variance, f"{stem}bn.num_batches_tracked": torch.tensor(7),
                }  # fmt: skip
            elif not name.endswith(".c.weight"):
                state[name] = value.clone()
    state |= {"image_encoder.head.weight": torch.ones(10, 32), "image_encoder.norm_head.bias": torch.ones(32)}
    state["image_encoder.layers.1.blocks.0.attn.attention_bias_idxs"] = torch.zeros(4, 4, dtype=torch.int64)
    content = _pickled(state, file)
    hub.files["raw/mobile_sam.pt"] = content
    official = OFFICIAL["sam-mobile"]
    (published,) = official.files
    published = replace(
        published, addresses=(f"{hub.endpoint}/raw/mobile_sam.pt",), sha256=hashlib.sha256(content).hexdigest(),
        size=len(content),
    )  # fmt: skip
    monkeypatch.setitem(OFFICIAL, "sam-mobile", replace(official, files=(published,)))
    monkeypatch.setitem(SAM_SPECS, "mobile", MOBILE)
    return model


def _close(folder: Path | None, model: Sam) -> None:
    assert folder is not None
    loaded = load(folder).sam
    assert loaded is not None
    found = loaded.model.state_dict()
    assert all(torch.allclose(found[name], value, atol=1e-5) for name, value in model.state_dict().items())


def test_mobile_sam_with_its_batch_norms_folded(
    hub: FakeHub, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = _mobile(hub, monkeypatch, tmp_path / "file")
    _close(fetch("sam-mobile", settings).folder, model)


def _sam(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> Sam:
    with torch.random.fork_rng():
        torch.manual_seed(2)
        model = Sam(SMALL).eval()
    state = {name.replace("image_encoder.", "vision_encoder."): value for name, value in model.state_dict().items()}
    twin = "prompt_encoder.shared_embedding.positional_embedding"
    state["shared_image_embedding.positional_embedding"] = state.pop(twin)
    hub.files["facebook/sam-vit-base/model.safetensors"] = _saved(state)
    monkeypatch.setitem(SAM_SPECS, "vitb", SMALL)
    (file,) = OFFICIAL["sam-b"].files
    monkeypatch.setitem(OFFICIAL, "sam-b", replace(OFFICIAL["sam-b"], files=(replace(file, size=1000),)))
    return model


def test_sam_from_the_hub_takes_the_place_of_an_earlier_one(
    hub: FakeHub, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = _sam(hub, monkeypatch)
    (settings.presets / "sam-b").mkdir(parents=True)
    (settings.presets / "sam-b" / "config.json").write_text("{}")
    _close(fetch("sam-b", settings).folder, model)
    assert [path.name for path in settings.presets.iterdir() if path.name != ".downloads"] == ["sam-b"]


def test_files_that_a_person_must_download(hub: FakeHub, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.files[f"{CLIP}/merges.txt"] = b"#version: 0.2\na b\n"
    files = tuple(replace(file, values_sha256="") for file in OFFICIAL["dinov3txt-l"].files if file.part != "backbone")
    monkeypatch.setitem(OFFICIAL, "dinov3txt-l", replace(OFFICIAL["dinov3txt-l"], files=files))
    fetched = fetch("dinov3txt-l", settings)
    assert fetched.folder is None
    assert [path.name for path in fetched.paths] == ["merges.txt"]
    assert [file.part for file in fetched.by_hand] == ["head"]
    with pytest.raises(UsageError, match="not an official preset"):
        fetch("nosuch", settings)


# interruptions


def test_a_broken_connection_is_continued(hub: FakeHub, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    model = _sam(hub, monkeypatch)
    hub.cut = [5000, 3000]
    progress = Recorded()
    _close(fetch("sam-b", settings, progress=progress).folder, model)
    assert [request.range for request in hub.downloads()] == [None, "bytes=5000-", "bytes=8000-"]
    assert all(done <= total for done, total in progress.reports)


def test_a_server_without_ranges_starts_anew(hub: FakeHub, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    model = _sam(hub, monkeypatch)
    hub.cut, hub.ignore_ranges = [5000], True
    progress = Recorded()
    _close(fetch("sam-b", settings, progress=progress).folder, model)
    assert progress.reports[-1][0] == progress.reports[-1][1]


def test_a_cancelled_fetch_continues_where_it_stopped(
    hub: FakeHub, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = _sam(hub, monkeypatch)
    hub.slow = threading.Event()
    progress = Recorded()
    progress._cancelled = lambda: any(done > 0 for done, _ in progress.reports)
    with pytest.raises(Cancelled):
        fetch("sam-b", settings, progress=progress)
    hub.slow.set()
    assert "sam-b" not in installed(settings)
    cache = Path(huggingface_hub.constants.HF_HUB_CACHE)
    assert not list(cache.glob("models--facebook--sam-vit-base/snapshots/*/*")), "nothing looks complete"
    (part,) = cache.glob("models--facebook--sam-vit-base/blobs/*")
    arrived = part.stat().st_size
    _close(fetch("sam-b", settings).folder, model)
    assert hub.downloads()[-1].range == f"bytes={arrived}-"


PROGRAM = """
from dataclasses import replace
from pathlib import Path
from maskwright.presets import convert
from maskwright.presets.fetching import fetch
from maskwright.presets.official import OFFICIAL
from maskwright.settings import Settings
from tests.core.models.test_sam import SMALL
convert.SAM_SPECS["vitb"] = SMALL
(file,) = OFFICIAL["sam-b"].files
OFFICIAL["sam-b"] = replace(OFFICIAL["sam-b"], files=(replace(file, size=1000),))
print(fetch("sam-b", Settings.load()).folder)
"""


@pytest.mark.slow
def test_a_killed_program_is_continued_by_the_next(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a process of its own, where HF_ENDPOINT, HF_HOME and MASKWRIGHT_PRESETS are read as users set them."""
    model = _sam(hub, monkeypatch)
    environment = {
        **os.environ, "HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "home"),
        "MASKWRIGHT_PRESETS": str(tmp_path / "presets"),
    }  # fmt: skip
    hub.slow = threading.Event()
    command = [sys.executable, "-c", PROGRAM]
    with subprocess.Popen(command, env=environment, cwd=Path(__file__).parents[3]) as first:
        assert hub.started.wait(60)
        # what has arrived is on its way to the disk
        parts = tmp_path / "home" / "hub" / "models--facebook--sam-vit-base" / "blobs"
        _until(lambda: any(part.stat().st_size for part in parts.glob("*.part")))
        first.send_signal(signal.SIGKILL)
    assert not (tmp_path / "presets" / "sam-b").exists()
    hub.slow.set()
    second = subprocess.run(
        command, env=environment, cwd=Path(__file__).parents[3], capture_output=True, text=True, timeout=120
    )
    assert second.returncode == 0, second.stderr
    assert hub.downloads()[-1].range is not None
    _close(Path(second.stdout.strip()), model)


def _until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_two_fetches_at_once_download_once(hub: FakeHub, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    model = _sam(hub, monkeypatch)
    hub.slow = threading.Event()
    results: list[Path | None] = []
    threads = [threading.Thread(target=lambda: results.append(fetch("sam-b", settings).folder)) for _ in range(2)]
    threads[0].start()
    assert hub.started.wait(30)
    threads[1].start()
    hub.slow.set()
    for thread in threads:
        thread.join(60)
    assert len(results) == 2
    _close(results[0], model)
    assert len(hub.downloads()) == 1


# what can be wrong


def test_a_file_with_another_hash_is_deleted(hub: FakeHub, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    model = _sam(hub, monkeypatch)
    hub.corrupt.add("facebook/sam-vit-base/model.safetensors")
    with pytest.raises(BadWeights, match=r"sam-vit-base/model\.safetensors is not the expected one \(SHA-256"):
        fetch("sam-b", settings)
    assert "sam-b" not in installed(settings)
    hub.corrupt.clear()
    _close(fetch("sam-b", settings).folder, model)
    assert hub.downloads()[-1].range is None, "the damaged part is not continued"


@needs_vocabulary
def test_a_projection_with_other_values(hub: FakeHub, settings: Settings, talk2dino: Talk2Dino, tmp_path: Path) -> None:
    other = {name: value + 1 for name, value in projection(talk2dino).items()}
    hub.files["raw/vitb_mlp_infonce.pth"] = _pickled(other, tmp_path / "file")
    hub.files["lorebianchi98/Talk2DINO-ViTB/model.safetensors"] = _saved(other)
    with pytest.raises(BadWeights, match=r"projection is not the expected one \(SHA-256"):
        fetch("talk2dino-b", settings)
    assert "talk2dino-b" not in installed(settings)


@needs_vocabulary
def test_a_vocabulary_with_other_merges(hub: FakeHub, settings: Settings, talk2dino: Talk2Dino) -> None:
    hub.files[f"{CLIP}/merges.txt"] = b"#version: 0.2\n" + b"a b\n" * 48894
    with pytest.raises(BadWeights, match="vocabulary is not the expected one"):
        fetch("talk2dino-b", settings)


def test_a_damaged_file_in_the_hubs_cache_is_replaced(
    hub: FakeHub, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = _sam(hub, monkeypatch)
    (path,) = fetch("sam-b", settings).paths
    path.resolve().write_bytes(path.read_bytes()[:-1] + b"?")
    _close(fetch("sam-b", settings).folder, model)
    assert len(hub.downloads()) == 2


@pytest.mark.parametrize("token", ["", "refused", "granted"])
def test_a_gated_repository(
    hub: FakeHub, settings: Settings, monkeypatch: pytest.MonkeyPatch, token: str, tmp_path: Path
) -> None:
    """Also with a token that was saved by logging in; the store behind the hub never sees it."""
    model = _sam(hub, monkeypatch)
    hub.gated.add("facebook/sam-vit-base")
    (tmp_path / "token").write_text(token)
    if token == "granted":
        _close(fetch("sam-b", settings).folder, model)
        assert all(request.token is None for request in hub.requests if request.path.startswith("store/"))
        return
    with pytest.raises(AccessRefused, match="has not given your account access to facebook/sam-vit-base") as refused:
        fetch("sam-b", settings)
    assert refused.value.page == f"{hub.endpoint}/facebook/sam-vit-base"
    assert not hub.downloads()


def test_too_little_space_is_said_before_anything_is_downloaded(
    hub: FakeHub, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    _sam(hub, monkeypatch)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage(10**9, 10**9 - 5000, 5000))
    with pytest.raises(NoDiskSpace, match=r"sam-b needs 0\.\d\d GB in .*, where 0\.00 GB are free.*HF_HOME"):
        fetch("sam-b", settings)
    assert not hub.downloads()


def test_a_disk_that_fills_up_keeps_what_has_arrived(
    hub: FakeHub, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = _sam(hub, monkeypatch)
    opened = Path.open

    def full(path: Path, *arguments: Any, **options: Any) -> object:
        if path.suffix == ".part":
            raise OSError(28, "No space left on device")
        return opened(path, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", full)
        with pytest.raises(NoDiskSpace):
            fetch("sam-b", settings)
    _close(fetch("sam-b", settings).folder, model)


def test_offline_is_one_sentence_and_the_cache_is_used(
    hub: FakeHub, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = _sam(hub, monkeypatch)
    with monkeypatch.context() as patch:
        patch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
        with pytest.raises(Unreachable, match=r"set to work offline.*HF_HUB_OFFLINE"):
            fetch("sam-b", settings)
    fetch("sam-b", settings)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    before = len(hub.requests)
    _close(fetch("sam-b", settings).folder, model)
    assert len(hub.requests) == before


def test_no_server(hub: FakeHub, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    _mobile(hub, monkeypatch, settings.presets.parent / "file")
    (file,) = OFFICIAL["sam-mobile"].files
    nowhere = replace(file, addresses=("http://127.0.0.1:9/mobile_sam.pt",))
    monkeypatch.setitem(OFFICIAL, "sam-mobile", replace(OFFICIAL["sam-mobile"], files=(nowhere,)))
    with pytest.raises(Unreachable, match=r"Cannot reach 127\.0\.0\.1:9"):
        fetch("sam-mobile", settings)
    with pytest.raises(MaskwrightError, match="has no repository facebook/sam-vit-base"):
        fetch("sam-b", settings)


def test_a_file_whose_layout_does_not_fit_leaves_no_preset(
    hub: FakeHub, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    _sam(hub, monkeypatch)
    hub.files["facebook/sam-vit-base/model.safetensors"] = _saved({"vision_encoder.pos_embed": torch.ones(2)})
    with pytest.raises(BadWeights, match="do not fit"):
        fetch("sam-b", settings)
    assert "sam-b" not in installed(settings)
