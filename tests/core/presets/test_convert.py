"""Authors' files in, preset out: a small model written under the official key names, and everything wrong with it."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import maskwright as mw
from maskwright.engine import Engine
from maskwright.errors import BadWeights, MaskwrightError
from maskwright.models.anyup import AnyUp, AnyUpConfig
from maskwright.models.cost_aggregation import AggregatorConfig
from maskwright.models.dinotxt import DinoTxt, DinoTxtConfig, HeadConfig, TextConfig
from maskwright.models.dinov3 import DinoV3Config
from maskwright.models.dinov3seg import Dinov3SegConfig
from maskwright.models.sam import Sam, SamConfig, official_name
from maskwright.presets.convert import import_dinotxt, import_dinov3seg, import_preset
from maskwright.presets.loading import dinov3seg_settings
from maskwright.training.config import SegConfig
from maskwright.training.dinov3seg import initial_model
from tests.conftest import SHARED

VOCABULARY = SHARED / "golden" / "clip_bpe" / "bpe_simple_vocab_16e6.txt.gz"
needs_vocabulary = pytest.mark.skipif(not VOCABULARY.is_file(), reason=f"no CLIP vocabulary in {VOCABULARY.parent}")

CONFIG = DinoTxtConfig(
    DinoV3Config(width=32, depth=2, heads=2), HeadConfig(blocks=1, heads=2), TextConfig(width=8, depth=1, heads=2)
)
BACKBONE, VIT = "visual_model.backbone.", "visual_model.backbone.vit."

Change = Callable[[dict[str, Tensor], dict[str, Tensor]], object]


@pytest.fixture(scope="module")
def model() -> DinoTxt:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        made = DinoTxt(CONFIG).eval()
        with torch.no_grad():
            for name, value in made.named_parameters():
                if "key" not in name and value.ndim == 1:
                    value.normal_()
                if name.endswith("k_proj.bias"):
                    value.zero_()
    return made


def official_backbone(model: DinoTxt) -> dict[str, Tensor]:
    """The mapping of models/dinov3.py backwards, from the authors' layout."""
    own = {k.removeprefix(VIT): v.clone() for k, v in model.state_dict().items() if k.startswith(VIT)}
    out = {
        "cls_token": own["embeddings.cls_token"],
        "storage_tokens": own["embeddings.register_tokens"],
        "mask_token": own["embeddings.mask_token"].reshape(1, -1),
        "rope_embed.periods": torch.ones(4),
        "patch_embed.proj.weight": own["embeddings.patch_embeddings.weight"],
        "patch_embed.proj.bias": own["embeddings.patch_embeddings.bias"],
        "norm.weight": own["norm.weight"],
        "norm.bias": own["norm.bias"],
    }
    for index in range(CONFIG.backbone.depth):
        block, ours = f"blocks.{index}.", f"model.layer.{index}."
        for kind in ("weight", "bias"):
            out[f"{block}attn.qkv.{kind}"] = torch.cat([own[f"{ours}attention.{n}_proj.{kind}"] for n in "qkv"])
        mask = torch.ones(96)
        mask[32:64] = 0
        out[f"{block}attn.qkv.bias_mask"] = mask
        out[f"{block}attn.qkv.bias"][32:64] = torch.nan
        for theirs, mine in {
            "attn.proj": "attention.o_proj", "mlp.fc1": "mlp.up_proj", "mlp.fc2": "mlp.down_proj",
            "norm1": "norm1", "norm2": "norm2",
        }.items():  # fmt: skip
            for kind in ("weight", "bias"):
                out[f"{block}{theirs}.{kind}"] = own[f"{ours}{mine}.{kind}"]
        for number in "12":
            out[f"{block}ls{number}.gamma"] = own[f"{ours}layer_scale{number}.lambda1"]
    return out


def hub_backbone(model: DinoTxt) -> dict[str, Tensor]:
    """As transformers publishes it: without key biases."""
    own = {k.removeprefix(VIT): v.clone() for k, v in model.state_dict().items() if k.startswith(VIT)}
    return {k.removeprefix("model."): v for k, v in own.items() if not k.endswith("k_proj.bias")}


def head(model: DinoTxt) -> dict[str, Tensor]:
    return {k: v.clone() for k, v in model.state_dict().items() if not k.startswith(BACKBONE)}


@pytest.fixture
def files(tmp_path: Path, model: DinoTxt) -> list[Path]:
    """Backbone, head and vocabulary, under names of their own."""
    place = tmp_path / "downloads"
    place.mkdir()
    torch.save(official_backbone(model), place / "backbone.pth")
    torch.save(head(model), place / "head.pth")
    return [place / "backbone.pth", place / "head.pth", VOCABULARY]


def _same(folder: Path, model: DinoTxt) -> None:
    from maskwright.presets.loading import load_dinotxt

    loaded = load_dinotxt(folder).model.state_dict()
    wanted = model.state_dict()
    assert set(loaded) == set(wanted)
    for name, value in wanted.items():
        assert torch.equal(loaded[name], value), name


@needs_vocabulary
def test_official_files_in_any_order(tmp_path: Path, files: list[Path], model: DinoTxt) -> None:
    folder = import_dinotxt(files[::-1], tmp_path / "presets" / "mine", CONFIG)
    assert sorted(file.name for file in folder.iterdir()) == [VOCABULARY.name, "config.json", "dinotxt.safetensors"]
    _same(folder, model)
    told = json.loads((folder / "config.json").read_text())["dinotxt"]
    assert len(told["prompts"]) == 80
    image = mw.Image(np.random.default_rng(0).integers(0, 256, (24, 40, 3), dtype=np.uint8))
    found = Engine.load(folder, "cpu").segment_text(image, "cow, Kuh")
    assert found.label_map.shape == (24, 40)
    assert found.out_of_vocabulary == (), "it has seen too many words to list"


@needs_vocabulary
def test_hub_backbone_and_nested_head(tmp_path: Path, files: list[Path], model: DinoTxt) -> None:
    save_file(hub_backbone(model), tmp_path / "model.safetensors")
    torch.save({"model": head(model)}, files[1])
    folder = import_dinotxt([tmp_path / "model.safetensors", *files[1:]], tmp_path / "mine", CONFIG)
    _same(folder, model)


@needs_vocabulary
def test_again_with_the_vocabulary_that_lies_there(tmp_path: Path, files: list[Path], model: DinoTxt) -> None:
    folder = import_dinotxt(files, tmp_path / "mine", CONFIG)
    assert import_dinotxt([*files[:2], folder / VOCABULARY.name], folder, CONFIG) == folder
    _same(folder, model)


def _rename(state: dict[str, Tensor], old: str, new: str) -> None:
    state[new] = state.pop(old)


@needs_vocabulary
@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param(
            lambda b, h: b.pop("blocks.1.norm2.weight"), "lacks .*layer.1.norm2.weight", id="backbone key missing"
        ),
        pytest.param(
            lambda b, h: h.pop("visual_model.head.ln_final.bias"),
            "lacks visual_model.head.ln_final.bias",
            id="head key missing",
        ),
        pytest.param(lambda b, h: b.pop("cls_token"), r"lacks .*embeddings\.cls_token", id="no class token"),
        pytest.param(
            lambda b, h: b.update({"norm.weight": torch.ones(31)}),
            r"misshapen .*norm.weight \(31,\) instead of \(32,\)",
            id="backbone key misshapen",
        ),
        pytest.param(
            lambda b, h: h.update({"logit_scale": torch.ones(2)}),
            r"misshapen logit_scale \(2,\) instead of \(1,\)",
            id="head key misshapen",
        ),
        pytest.param(
            lambda b, h: b.update({"blocks.0.attn.qkv.weight": torch.ones(1, 32)}),
            "backbone.pth holds a misshapen key",
            id="qkv that cannot be cut in three",
        ),
        pytest.param(
            lambda b, h: b.update({"blocks.0.attn.qkv.bias_mask": torch.ones(5)}),
            "backbone.pth holds a misshapen key",
            id="mask of another length",
        ),
        pytest.param(lambda b, h: b.pop("blocks.0.attn.qkv.bias_mask"), "lacks the key .*bias_mask", id="no mask"),
        pytest.param(lambda b, h: b.update(extra=torch.ones(1)), "does not know: extra", id="backbone key left over"),
        pytest.param(
            lambda b, h: b.update({"blocks.0.attn.rotary": torch.ones(1)}),
            "does not know: blocks.0.attn.rotary",
            id="block key left over",
        ),
        pytest.param(lambda b, h: h.update(extra=torch.ones(1)), "unknown extra", id="head key left over"),
        pytest.param(
            lambda b, h: _rename(h, "logit_scale", "scale"), "lacks logit_scale; has unknown scale", id="renamed"
        ),
        pytest.param(lambda b, h: h.clear(), "lacks logit_scale.* and .* more", id="nothing in it"),
    ],
)
def test_keys_are_refused_by_name(
    tmp_path: Path, files: list[Path], model: DinoTxt, change: Change, words: str
) -> None:
    backbone, rest = official_backbone(model), head(model)
    change(backbone, rest)
    torch.save(backbone, files[0])
    torch.save(rest, files[1])
    with pytest.raises(BadWeights, match=words) as caught:
        import_dinotxt(files, tmp_path / "mine", CONFIG)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "mine").exists()


@needs_vocabulary
def test_files_that_are_missing(tmp_path: Path, files: list[Path]) -> None:
    into = tmp_path / "mine"
    for given, words in (
        (files[:2], "vocabulary bpe_simple_vocab_16e6.txt.gz is missing"),
        (files[1:], r"lacks visual_model\.backbone"),
        ([files[0], files[2]], r"lacks logit_scale"),
        ([*files, tmp_path / "nowhere.pth"], "There is no file .*nowhere.pth"),
    ):
        with pytest.raises(MaskwrightError, match=words):
            import_dinotxt(given, into, CONFIG)
    assert not into.exists()


class Harmful:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (Path("harm"),))  # type: ignore[return-value]


@needs_vocabulary
@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("empty.pth", b""),
        ("text.pth", b"Dear Sir or Madam"),
        ("text.safetensors", b"Dear Sir or Madam"),
        ("page.gz", b"<html>Sign in</html>"),
        ("harm.pth", pickle.dumps(Harmful(), 2)),
        ("numbers.pth", None),
    ],
    ids=["empty", "text", "text as safetensors", "page as vocabulary", "harmful pickle", "numbers"],
)
def test_files_that_are_no_weights(
    tmp_path: Path, files: list[Path], name: str, data: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if data is None:
        torch.save({"cls_token": 3}, tmp_path / name)
    else:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(BadWeights, match=name.partition(".")[0]):
        import_dinotxt([*files, tmp_path / name], tmp_path / "mine", CONFIG)
    assert not (tmp_path / "harm").exists()
    assert not (tmp_path / "mine").exists()


@needs_vocabulary
def test_a_place_that_cannot_be_written(tmp_path: Path, files: list[Path]) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(MaskwrightError, match="MASKWRIGHT_PRESETS"):
        import_dinotxt(files, tmp_path / "file" / "mine", CONFIG)


def test_unknown_official_preset(tmp_path: Path) -> None:
    with pytest.raises(MaskwrightError, match=r"nosuch.* sam-b, .*dinov3seg-l"):
        import_preset([], "nosuch", tmp_path)


@needs_vocabulary
def test_small_files_are_not_the_official_model(tmp_path: Path, files: list[Path]) -> None:
    """The real command's sizes are checked on the meta device, so that this costs no gigabytes."""
    shutil.copy(files[0], tmp_path / "dinov3.pth")
    with torch.device("meta"), pytest.raises(BadWeights, match=r"lacks .* has misshapen"):
        import_preset(files, "dinov3txt-l", tmp_path / "presets")


SEG = Dinov3SegConfig(
    vlm=CONFIG,
    spe=SamConfig(size=64, longest=64, width=16, depth=2, heads=2, window=2, global_blocks=(1,), out=32),
    taps=(0, 1),
    anyup=AnyUpConfig(width=8, heads=2),
    aggregator=AggregatorConfig(text=32, appearance=32, taps=(16, 16)),
)


@pytest.fixture
def parts(tmp_path: Path, files: list[Path]) -> list[Path]:
    """The files of `files`, SAM's and AnyUp's."""
    with torch.random.fork_rng():
        torch.manual_seed(2)
        early, sam = AnyUp(AnyUpConfig(width=8, heads=2)), Sam(SEG.spe)
    place = tmp_path / "downloads"
    torch.save(early.state_dict(), place / "anyup_paper.pth")
    own = sam.state_dict()
    depth = {name: SEG.spe.iou_depth if "iou_prediction_head" in name else 3 for name in own}
    torch.save({official_name(name, depth[name]): value for name, value in own.items()}, place / "sam.pth")
    return [*files, place / "sam.pth", place / "anyup_paper.pth"]


@needs_vocabulary
def test_parts_of_dinov3seg_answer_until_they_are_trained(tmp_path: Path, parts: list[Path], model: DinoTxt) -> None:
    folder = import_dinov3seg(parts[::-1], tmp_path / "presets" / "dinov3seg-l", SEG)
    _same(folder, model)
    assert not dinov3seg_settings(folder).trained
    assert [file.name for file in folder.parent.iterdir()] == ["dinov3seg-l"], "nothing is left beside it"
    engine = Engine.load(folder, "cpu")
    image = mw.Image(np.random.default_rng(0).integers(0, 256, (24, 40, 3), dtype=np.uint8))
    found = engine.segment_text(image, "cow, Kuh")
    assert found.provenance["method"] == "dinotxt"
    assert "not trained yet" in found.note
    assert engine.segment_click(image, [(10, 10)]).provenance["method"] == "sam"
    started_from, _ = initial_model(SegConfig(model=SEG), folder)
    state = torch.load(parts[-1], weights_only=True)
    assert all(torch.equal(started_from.anyup.state_dict()[name], value) for name, value in state.items())  # type: ignore[union-attr]
    again = import_dinov3seg(parts, folder, SEG)
    assert again == folder


@needs_vocabulary
@pytest.mark.parametrize("missing", ["anyup_paper.pth", "sam.pth", "head.pth"])
def test_a_missing_part_is_named_and_nothing_is_written(tmp_path: Path, parts: list[Path], missing: str) -> None:
    given = [path for path in parts if path.name != missing]
    what = {"anyup_paper.pth": "one file of AnyUp; 0 were given", "sam.pth": "one file of SAM; 0 were given"}
    with pytest.raises(MaskwrightError, match=what.get(missing, "lacks")):
        import_dinov3seg(given, tmp_path / "presets" / "mine", SEG)
    assert not (tmp_path / "presets" / "mine").exists()


@needs_vocabulary
@pytest.mark.parametrize("change", ["missing", "unknown", "misshapen"])
def test_an_anyup_file_that_does_not_fit_is_refused_by_name(tmp_path: Path, parts: list[Path], change: str) -> None:
    state = torch.load(parts[-1], weights_only=True)
    name = "aggregation.0.weight"
    if change == "missing":
        del state[name]
    elif change == "unknown":
        name = "aggregation.9.weight"
        state[name] = torch.zeros(1)
    else:
        state[name] = torch.zeros(3)
    torch.save(state, parts[-1])
    with pytest.raises(BadWeights, match=name):
        import_dinov3seg(parts, tmp_path / "mine", SEG)
    assert not (tmp_path / "mine").exists()
