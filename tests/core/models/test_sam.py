"""SAM's files in, and its encoder at other sizes than its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from torch import Tensor

from maskwright.errors import BadWeights, MaskwrightError, ShapeError, UsageError
from maskwright.models.sam import SPECS, Sam, SamConfig, VitEncoder, convert_official, official_name
from maskwright.presets.catalog import describe
from maskwright.presets.convert import import_preset, import_sam
from maskwright.presets.folders import CONFIG
from maskwright.presets.loading import load, load_dinotxt
from maskwright.settings import Settings
from tests.conftest import SHARED

SMALL = SamConfig(
    size=64, longest=64, width=32, depth=2, heads=2, window=3, global_blocks=(1,), out=16, mask_channels=4,
    decoder_heads=2, decoder_mlp=16, iou_hidden=16,
)  # fmt: skip


def official(model: Sam) -> dict[str, Tensor]:
    """The weights under the authors' names."""
    return {official_name(name, 3): value.clone() for name, value in model.state_dict().items()}


@pytest.fixture(scope="module")
def model() -> Sam:
    with torch.random.fork_rng():
        torch.manual_seed(2)
        return Sam(SMALL).eval()


@pytest.mark.parametrize("name", ["b", "l"])
def test_names_and_shapes_are_those_of_the_published_files(name: str) -> None:
    layout = SHARED / "checkpoints" / f"sam_vit_{name}.json"
    if not layout.is_file():
        pytest.skip(f"no {layout}")
    theirs = {key: torch.empty(shape, device="meta") for key, (shape, _) in json.loads(layout.read_text()).items()}
    with torch.device("meta"):
        whole = Sam(SPECS[f"vit{name}"])
    ours, converted = whole.state_dict(), convert_official(theirs, whole)
    assert {key: value.shape for key, value in converted.items()} == {key: value.shape for key, value in ours.items()}
    assert sum(value.numel() for value in ours.values()) == {"b": 93_735_728, "l": 312_343_088}[name]


def test_the_authors_file_becomes_a_preset(tmp_path: Path, model: Sam) -> None:
    torch.save(official(model), tmp_path / "sam_vit_small.pth")
    folder = import_sam([tmp_path / "sam_vit_small.pth"], tmp_path / "small", SMALL)
    loaded = load(folder)
    assert loaded.sam is not None
    assert (loaded.dinotxt, loaded.insid3) == (None, None)
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.sam.model.state_dict()[name], value), name
    assert "segments by click" in describe(str(folder), Settings.load()).text
    with pytest.raises(MaskwrightError, match="no text model"):
        load_dinotxt(folder)


def test_the_hubs_file_as_well(tmp_path: Path, model: Sam) -> None:
    from safetensors.torch import save_file

    state = {name.replace("image_encoder.", "vision_encoder."): value for name, value in model.state_dict().items()}
    state["shared_image_embedding.positional_embedding"] = state.pop(
        "prompt_encoder.shared_embedding.positional_embedding"
    )
    save_file({name: value.contiguous() for name, value in state.items()}, tmp_path / "model.safetensors")
    loaded = load(import_sam([tmp_path / "model.safetensors"], tmp_path / "hub", SMALL)).sam
    assert loaded is not None
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[name], value), name


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param(
            lambda s: s.pop("image_encoder.blocks.1.norm2.weight"),
            "lacks image_encoder.blocks.1.norm2.weight",
            id="gone",
        ),
        pytest.param(lambda s: s.update(extra=torch.ones(1)), "has unknown extra", id="extra"),
        pytest.param(
            lambda s: s.update({"mask_decoder.iou_token.weight": torch.ones(1, 3)}),
            r"mask_decoder.iou_token.weight \(1, 3\)",
            id="misshapen",
        ),
        pytest.param(
            lambda s: [s.pop(name) for name in list(s) if name.startswith("mask_decoder")], "lacks mask_decoder",
            id="other",
        ),
    ],
)  # fmt: skip
def test_other_files_are_refused_by_the_keys_name(
    tmp_path: Path, model: Sam, change: Callable[[dict[str, Tensor]], object], words: str
) -> None:
    state = official(model)
    change(state)
    torch.save(state, tmp_path / "sam.pth")
    with pytest.raises(BadWeights, match=words):
        import_sam([tmp_path / "sam.pth"], tmp_path / "bad", SMALL)
    assert not (tmp_path / "bad" / CONFIG).exists()


def test_one_file_and_no_more(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        import_preset([tmp_path / "a", tmp_path / "b"], "sam-b", tmp_path)
    with pytest.raises(MaskwrightError, match="no file"):
        import_preset([tmp_path / "a"], "sam-l", tmp_path)


def test_the_encoder_takes_other_sizes_and_gives_its_blocks(model: Sam) -> None:
    encoder = model.image_encoder
    assert isinstance(encoder, VitEncoder)
    with torch.inference_mode():
        for height, width in ((64, 64), (96, 48)):
            embedding, (first, second) = encoder(torch.randn(2, 3, height, width), (0, 1))
            grid = height // 16, width // 16
            assert embedding.shape == (2, 16, *grid)
            assert first.shape == second.shape == (2, *grid, 32)
        # a larger picture of the same colour is seen as the smaller one is, but for its border
        small, large = (encoder(torch.ones(1, 3, n, n))[0].mean() for n in (64, 80))
    assert abs(float(small - large)) < 0.05
    with pytest.raises(ShapeError, match="multiples of 16"):
        encoder(torch.ones(1, 3, 65, 64))


def test_clicks_are_placed_alike_in_a_part_of_the_frame(model: Sam) -> None:
    whole = model.positions((4, 4))
    assert torch.equal(model.positions((2, 3), (1, 1)), whole[:, :, 1:3, 1:4])


def test_config_survives_json() -> None:
    assert json.loads(json.dumps(asdict(SMALL)))["global_blocks"] == [1]
