"""Talk2DINO's files in, preset out: a small model under the authors' and the hub's names, and what is wrong with it."""

from __future__ import annotations

import io
import itertools
import json
import os
import pickle
import warnings
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from maskwright.errors import BadWeights, MaskwrightError
from maskwright.models import clip_text, dinov2, dinov3
from maskwright.models.clip_text import ClipTextConfig
from maskwright.models.dinov2 import DinoV2, DinoV2Config
from maskwright.models.dinov3 import DinoV3Config
from maskwright.models.state_dict import check_exactly
from maskwright.models.talk2dino import SPECS, ProjectionConfig, Talk2Dino, Talk2DinoConfig, convert_official
from maskwright.presets.checkpoint_files import read_checkpoint
from maskwright.presets.convert import import_preset, import_talk2dino
from maskwright.presets.loading import load
from maskwright.presets.torchscript import is_archive, read_archive
from tests.conftest import SHARED

VOCABULARY = SHARED / "golden" / "clip_bpe" / "bpe_simple_vocab_16e6.txt.gz"
needs_vocabulary = pytest.mark.skipif(not VOCABULARY.is_file(), reason=f"no CLIP vocabulary in {VOCABULARY.parent}")
LAYOUTS = SHARED / "checkpoints"
needs_layouts = pytest.mark.skipif(not LAYOUTS.is_dir(), reason=f"no {LAYOUTS}")

V2 = Talk2DinoConfig(
    dinov2=DinoV2Config(width=16, depth=2, heads=2, grid=3),
    text=ClipTextConfig(width=8, depth=2, heads=2, out=12),
    projection=ProjectionConfig(12, 16, 20),
)
PLAIN = replace(V2, dinov2=DinoV2Config(width=16, depth=2, heads=2, grid=3, registers=0))
V3 = replace(V2, dinov2=None, dinov3=DinoV3Config(width=16, depth=2, heads=2))

State = dict[str, Tensor]


def _made(config: Talk2DinoConfig) -> Talk2Dino:
    """Random weights, no two tensors alike; CLIP's are in half precision, as they are published."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        made = Talk2Dino.build(config).eval().requires_grad_(False)
        for name, value in made.named_parameters():
            value.normal_()
            if config.dinov3 is not None and name.startswith("visual.") and name.endswith("k_proj.bias"):
                value.zero_()
    for value in made.text.parameters():
        value.copy_(value.half())
    return made


@pytest.fixture(scope="module")
def model() -> Talk2Dino:
    return _made(V2)


@pytest.fixture(scope="module")
def later() -> Talk2Dino:
    """The same on DINOv3."""
    return _made(V3)


def _part(model: nn.Module, prefix: str) -> State:
    return {k.removeprefix(prefix): v.clone() for k, v in model.state_dict().items() if k.startswith(prefix)}


def _fused(own: State, into: State, block: str, theirs: str, joint: str) -> None:
    """Queries, keys and values of one block as one tensor; `own` loses them."""
    for kind in ("weight", "bias"):
        into[f"{joint}{kind}"] = torch.cat([own.pop(f"{block}{theirs}.{n}_proj.{kind}") for n in "qkv"])


def _named(own: State, into: State, renamed: Mapping[str, str]) -> None:
    """Move what is left from our names, or their beginnings, to the authors'."""
    for name in list(own):
        ours = next(one for one in sorted(renamed, key=len, reverse=True) if name.startswith(one))
        into[renamed[ours] + name.removeprefix(ours)] = own.pop(name)


def official_dinov2(model: nn.Module) -> State:
    """The layout of checkpoints/dinov2_*.json."""
    own, out = _part(model, "visual.vit."), {}
    renamed = {
        "embeddings.cls_token": "cls_token",
        "embeddings.position_embeddings": "pos_embed",
        "embeddings.register_tokens": "register_tokens",
        "embeddings.mask_token": "mask_token",
        "embeddings.patch_embeddings.projection.": "patch_embed.proj.",
        "layernorm.": "norm.",
    }
    for index in range(2):
        ours, theirs = f"encoder.layer.{index}.", f"blocks.{index}."
        _fused(own, out, ours, "attention", f"{theirs}attn.qkv.")
        renamed |= {
            f"{ours}attention.o_proj.": f"{theirs}attn.proj.", f"{ours}mlp.": f"{theirs}mlp.",
            f"{ours}layer_scale1.lambda1": f"{theirs}ls1.gamma", f"{ours}layer_scale2.lambda1": f"{theirs}ls2.gamma",
            f"{ours}norm": f"{theirs}norm",
        }  # fmt: skip
    _named(own, out, renamed)
    if not out["register_tokens"].numel():
        del out["register_tokens"]
    return out


def hub_dinov2(model: nn.Module) -> State:
    """The layout of facebook/dinov2-with-registers-base."""
    own, out = _part(model, "visual.vit."), {}
    renamed = {"embeddings.": "embeddings.", "layernorm.": "layernorm.", "encoder.": "encoder."}
    for index in range(2):
        block = f"encoder.layer.{index}.attention."
        for ours, theirs in (("q", "query"), ("k", "key"), ("v", "value")):
            renamed[f"{block}{ours}_proj."] = f"{block}attention.{theirs}."
        renamed[f"{block}o_proj."] = f"{block}output.dense."
    _named(own, out, renamed)
    return out


def official_dinov3(model: nn.Module) -> State:
    """The layout of checkpoints/dinov3_*.json, with NaN where the key bias is masked, as some releases store it."""
    own, out = _part(model, "visual.vit."), {}
    renamed = {
        "embeddings.cls_token": "cls_token",
        "embeddings.register_tokens": "storage_tokens",
        "embeddings.mask_token": "mask_token",
        "embeddings.patch_embeddings.": "patch_embed.proj.",
        "norm.": "norm.",
    }
    for index in range(2):
        ours, theirs = f"model.layer.{index}.", f"blocks.{index}."
        _fused(own, out, ours, "attention", f"{theirs}attn.qkv.")
        out[f"{theirs}attn.qkv.bias"][16:32] = torch.nan
        out[f"{theirs}attn.qkv.bias_mask"] = torch.ones(48).index_fill(0, torch.arange(16, 32), 0)
        renamed |= {
            f"{ours}attention.o_proj.": f"{theirs}attn.proj.", f"{ours}mlp.up_proj.": f"{theirs}mlp.fc1.",
            f"{ours}mlp.down_proj.": f"{theirs}mlp.fc2.", f"{ours}layer_scale1.lambda1": f"{theirs}ls1.gamma",
            f"{ours}layer_scale2.lambda1": f"{theirs}ls2.gamma", f"{ours}norm": f"{theirs}norm",
        }  # fmt: skip
    _named(own, out, renamed)
    out["mask_token"] = out["mask_token"].reshape(1, -1)
    return out | {"rope_embed.periods": torch.ones(2)}


def hub_dinov3(model: nn.Module) -> State:
    """The layout of facebook/dinov3-vitb16-pretrain-lvd1689m: no key biases."""
    own = _part(model, "visual.vit.")
    return {name.removeprefix("model."): value for name, value in own.items() if not name.endswith("k_proj.bias")}


def official_clip(model: nn.Module) -> State:
    """The layout of CLIP's own files, in half precision, with some of the image tower."""
    own, out = _part(model, "text.clip."), {}
    renamed = {
        "text_model.embeddings.token_embedding.": "token_embedding.",
        "text_model.embeddings.position_embedding.weight": "positional_embedding",
        "text_model.final_layer_norm.": "ln_final.",
        "text_projection.weight": "text_projection",
    }
    for index in range(2):
        ours, theirs = f"text_model.encoder.layers.{index}.", f"transformer.resblocks.{index}."
        _fused(own, out, ours, "self_attn", f"{theirs}attn.in_proj_")
        renamed |= {
            f"{ours}self_attn.out_proj.": f"{theirs}attn.out_proj.", f"{ours}layer_norm1.": f"{theirs}ln_1.",
            f"{ours}layer_norm2.": f"{theirs}ln_2.", f"{ours}mlp.fc1.": f"{theirs}mlp.c_fc.",
            f"{ours}mlp.fc2.": f"{theirs}mlp.c_proj.",
        }  # fmt: skip
    _named(own, out, renamed)
    out["text_projection"] = out["text_projection"].T.contiguous()
    out |= {
        "logit_scale": torch.tensor(4.6),
        "visual.class_embedding": torch.ones(4),
        "visual.conv1.weight": torch.ones(4, 3, 2, 2),
        "visual.transformer.resblocks.0.attn.in_proj_weight": torch.ones(12, 4),
    }
    return {name: value.half() for name, value in out.items()}


def hub_clip(model: nn.Module) -> State:
    """The layout of openai/clip-vit-base-patch16."""
    strangers = {
        "logit_scale": torch.tensor(4.6),
        "text_model.embeddings.position_ids": torch.arange(77)[None],
        "vision_model.embeddings.class_embedding": torch.ones(4),
        "vision_model.encoder.layers.0.self_attn.q_proj.weight": torch.ones(4, 4),
        "visual_projection.weight": torch.ones(12, 4),
    }
    return _part(model, "text.clip.") | strangers


def projection(model: nn.Module, *, older: bool = False) -> State:
    """The layout of checkpoints/talk2dino_*.json, or the one before."""
    own = _part(model, "projection.")
    return {name.replace("hidden_layers.0.", "linear_layer2.") if older else name: v for name, v in own.items()}


def scripted(state: Mapping[str, Tensor]) -> torch.jit.ScriptModule:
    """A TorchScript module whose parameters have the names of `state`, as CLIP is published."""

    class Node(nn.Module):
        def forward(self, value: Tensor) -> Tensor:
            return value

    root = Node()
    for name, value in state.items():
        *path, leaf = name.split(".")
        place: nn.Module = root
        for step in path:
            if not hasattr(place, step):
                place.add_module(step, Node())
            place = getattr(place, step)
        place.register_parameter(leaf, nn.Parameter(value.clone(), requires_grad=False))
    root.register_buffer("input_resolution", torch.tensor(224))
    root.register_buffer("context_length", torch.tensor(77))
    root.register_buffer("vocab_size", torch.tensor(49408))
    with warnings.catch_warnings():
        # torch would rather have other formats, but CLIP is published in this one
        warnings.simplefilter("ignore", DeprecationWarning)
        return torch.jit.script(root)


def written(place: Path, backbone: State, text: State, between: State) -> list[Path]:
    """Backbone, CLIP, projection and vocabulary as files under names that say nothing."""
    place.mkdir(parents=True, exist_ok=True)
    for name, state in (("a", backbone), ("b", text), ("c", between)):
        torch.save(state, place / f"{name}.pth")
    return [place / "a.pth", place / "b.pth", place / "c.pth", VOCABULARY]


@pytest.fixture
def files(tmp_path: Path, model: Talk2Dino) -> list[Path]:
    return written(tmp_path / "downloads", official_dinov2(model), official_clip(model), projection(model))


def _same(folder: Path, model: Talk2Dino) -> None:
    loaded = load(folder).talk2dino
    assert loaded is not None
    found, wanted = loaded.model.state_dict(), model.state_dict()
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert found[name].dtype == torch.float32
        assert torch.equal(found[name], value), name


# what is read


@needs_vocabulary
@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1), (1, 3, 0, 2)])
def test_files_in_any_order(tmp_path: Path, files: list[Path], model: Talk2Dino, order: tuple[int, ...]) -> None:
    folder = import_talk2dino([files[n] for n in order], tmp_path / "presets" / "mine", V2)
    assert sorted(file.name for file in folder.iterdir()) == [VOCABULARY.name, "config.json", "talk2dino.safetensors"]
    _same(folder, model)
    told = json.loads((folder / "config.json").read_text())
    assert list(told) == ["talk2dino"]
    assert len(told["talk2dino"]["prompts"]) == 7
    assert told["talk2dino"]["tokenizer"] == VOCABULARY.name


@needs_vocabulary
@pytest.mark.parametrize(
    ("backbone", "text", "between"),
    [
        pytest.param(hub_dinov2, hub_clip, projection, id="the hub's backbone and text"),
        pytest.param(official_dinov2, hub_clip, projection, id="the hub's text"),
        pytest.param(hub_dinov2, official_clip, projection, id="the hub's backbone"),
        pytest.param(official_dinov2, official_clip, lambda m: projection(m, older=True), id="an older projection"),
    ],
)
def test_every_layout_gives_the_same_weights(
    tmp_path: Path,
    model: Talk2Dino,
    backbone: Callable[[nn.Module], State],
    text: Callable[[nn.Module], State],
    between: Callable[[nn.Module], State],
) -> None:
    given = written(tmp_path / "downloads", backbone(model), text(model), between(model))
    _same(import_talk2dino(given, tmp_path / "mine", V2), model)


@needs_vocabulary
def test_the_hubs_files_are_safetensors(tmp_path: Path, files: list[Path], model: Talk2Dino) -> None:
    save_file(hub_dinov2(model), tmp_path / "model.safetensors")
    save_file(hub_clip(model), tmp_path / "model (1).safetensors")
    given = [tmp_path / "model (1).safetensors", files[3], tmp_path / "model.safetensors", files[2]]
    _same(import_talk2dino(given, tmp_path / "mine", V2), model)


@needs_vocabulary
def test_a_backbone_without_registers(tmp_path: Path) -> None:
    plain = _made(PLAIN)
    state = official_dinov2(plain)
    assert "register_tokens" not in state
    given = written(tmp_path / "downloads", state, official_clip(plain), projection(plain))
    _same(import_talk2dino(given, tmp_path / "mine", PLAIN), plain)


@needs_vocabulary
@pytest.mark.parametrize("backbone", [pytest.param(official_dinov3, id="authors"), pytest.param(hub_dinov3, id="hub")])
def test_the_variant_on_dinov3(tmp_path: Path, later: Talk2Dino, backbone: Callable[[nn.Module], State]) -> None:
    given = written(tmp_path / "downloads", backbone(later), official_clip(later), projection(later))
    _same(import_talk2dino(given[::-1], tmp_path / "mine", V3), later)


@needs_vocabulary
def test_again_with_the_vocabulary_that_lies_there(tmp_path: Path, files: list[Path], model: Talk2Dino) -> None:
    folder = import_talk2dino(files, tmp_path / "mine", V2)
    assert import_talk2dino([*files[:3], folder / VOCABULARY.name], folder, V2) == folder
    _same(folder, model)


# CLIP's own file is a TorchScript archive


@pytest.fixture
def archive(tmp_path: Path, model: Talk2Dino) -> Path:
    file = tmp_path / "ViT-B-16.pt"
    scripted(official_clip(model)).save(str(file))
    return file


def rewritten(file: Path, change: Mapping[str, bytes | None]) -> None:
    """Replace members of an archive; None leaves one out. Names are without the archive's folder."""
    with zipfile.ZipFile(file) as old:
        members = {name: old.read(name) for name in old.namelist()}
    root = next(iter(members)).partition("/")[0]
    members |= {f"{root}/{name}": data for name, data in change.items() if data is not None}
    with zipfile.ZipFile(file, "w") as new:
        for name, data in members.items():
            if change.get(name.partition("/")[2], b"") is not None:
                new.writestr(name, data)


@needs_vocabulary
def test_clip_as_torchscript_is_read(tmp_path: Path, files: list[Path], archive: Path, model: Talk2Dino) -> None:
    assert is_archive(archive)
    assert not is_archive(files[1]), "what torch.save writes is none"
    _same(import_talk2dino([files[0], archive, *files[2:]], tmp_path / "mine", V2), model)


def test_every_tensor_of_an_archive_is_read_by_name(archive: Path, model: Talk2Dino) -> None:
    found, wanted = read_archive(archive), official_clip(model)
    assert found.keys() == wanted.keys() | {"input_resolution", "context_length", "vocab_size"}
    for name, value in wanted.items():
        assert found[name].dtype == torch.float16
        assert torch.equal(found[name], value), name


@pytest.mark.parametrize(
    "dtype",
    [torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.int32, torch.bool],
    ids=lambda dtype: str(dtype).removeprefix("torch."),
)
def test_types_of_tensors_in_an_archive(tmp_path: Path, dtype: torch.dtype) -> None:
    value = torch.arange(12).reshape(3, 4).T.to(dtype)
    scripted({"turned.0.weight": value, "part": value[1:3]}).save(str(tmp_path / "a.pt"))
    found = read_checkpoint(tmp_path / "a.pt")
    assert torch.equal(found["turned.0.weight"], value)
    assert torch.equal(found["part"], value[1:3])


class Harmful:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch harm",)


class Evaluated:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return eval, ("__import__('pathlib').Path('harm').touch()",)


def _names(module: str, name: str) -> bytes:
    """A pickle that calls something by name."""
    return b"\x80\x02c" + f"{module}\n{name}\n".encode() + b"X\x0a\x00\x00\x00touch harm\x85R."


@pytest.mark.parametrize(
    ("data", "named"),
    [
        pytest.param(pickle.dumps(Harmful(), 2), f"{os.system.__module__}.system", id="os.system"),
        pytest.param(pickle.dumps({"weight": [Harmful()]}, 2), f"{os.system.__module__}.system", id="deep inside"),
        pytest.param(pickle.dumps(Harmful(), 4), f"{os.system.__module__}.system", id="newer protocol"),
        pytest.param(pickle.dumps(Evaluated(), 2), "__builtin__.eval", id="eval"),
        pytest.param(_names("os", "system"), "os.system", id="by its other name"),
        pytest.param(_names("torch", "os.system"), "torch.os.system", id="through torch"),
        pytest.param(_names("torch._utils", "os.system"), "torch._utils.os.system", id="through a known module"),
        pytest.param(_names("subprocess", "getoutput"), "subprocess.getoutput", id="subprocess"),
    ],
)
def test_an_archive_that_names_programs_is_refused_and_nothing_runs(
    tmp_path: Path, archive: Path, data: bytes, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rewritten(archive, {"data.pkl": data})
    with pytest.raises(BadWeights, match=r"ViT-B-16\.pt") as caught:
        read_checkpoint(archive)
    assert f"it names {named}" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "harm").exists()


@needs_vocabulary
@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"data.pkl": None}, id="no table"),
        pytest.param({"data.pkl": b""}, id="empty table"),
        pytest.param({"data.pkl": b"Dear Sir or Madam"}, id="text as table"),
        pytest.param({"data/0": None}, id="a tensor lacks its data"),
        pytest.param({"data/0": b"\0\0"}, id="a tensor is cut short"),
        pytest.param({"data/0": b""}, id="a tensor is empty"),
        pytest.param({"data.pkl": pickle.dumps(3)}, id="a number"),
        pytest.param({"data.pkl": pickle.dumps([])}, id="nothing in it"),
    ],
)
def test_damaged_archives_are_one_sentence(
    tmp_path: Path, files: list[Path], archive: Path, change: dict[str, bytes | None]
) -> None:
    rewritten(archive, change)
    with pytest.raises(BadWeights) as caught:
        import_talk2dino([files[0], archive, *files[2:]], tmp_path / "mine", V2)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(
        ("Cannot read ViT-B-16.pt", "ViT-B-16.pt holds no table", "The weights of mine do not fit")
    )
    assert not (tmp_path / "mine").exists()


def test_a_cut_download_of_an_archive_is_one_sentence(archive: Path) -> None:
    archive.write_bytes(archive.read_bytes()[:-200])
    with pytest.raises(BadWeights, match=r"ViT-B-16\.pt") as caught:
        read_checkpoint(archive)
    assert "\n" not in str(caught.value)


# what is refused


def _without(name: str) -> Callable[[State], object]:
    return lambda state: state.pop(name)


def _with(name: str, *shape: int) -> Callable[[State], object]:
    return lambda state: state.update({name: torch.ones(shape)})


@needs_vocabulary
@pytest.mark.parametrize(
    ("which", "change", "words"),
    [
        pytest.param(0, _without("blocks.1.norm2.weight"), "lacks visual.*layer.1.norm2.weight", id="backbone lacks"),
        pytest.param(0, _without("register_tokens"), r"register_tokens \(1, 0, 16\) instead", id="no registers"),
        pytest.param(0, _without("cls_token"), "lacks visual.*cls_token", id="no class token"),
        pytest.param(0, _without("blocks.0.attn.qkv.bias"), "lacks .*[qv]_proj.bias", id="no bias"),
        pytest.param(
            0, _with("norm.weight", 15), r"misshapen visual\S*norm.weight \(15,\) instead of \(16,\)", id="misshapen"
        ),
        pytest.param(0, _with("pos_embed", 1, 5, 16), "misshapen .*position_embeddings", id="more positions"),
        pytest.param(0, _with("blocks.0.attn.qkv.weight", 2, 16), "a.pth holds a misshapen key", id="uncuttable"),
        pytest.param(0, _with("extra", 1), "DINOv2 file holds .* does not know: extra", id="backbone has more"),
        pytest.param(0, _with("blocks.0.attn.rotary", 1), "does not know: blocks.0.attn.rotary", id="block has more"),
        pytest.param(0, _with("blocks.2.norm1.weight", 16), "unknown .*layer.2.norm1.weight", id="a third block"),
        pytest.param(1, _without("ln_final.bias"), "lacks text.*final_layer_norm.bias", id="text lacks"),
        pytest.param(1, _without("token_embedding.weight"), "lacks text.*unknown", id="no words"),
        pytest.param(1, _without("text_projection"), r"lacks text\.clip\.text_projection\.weight", id="no projection"),
        pytest.param(
            1, _with("text_projection", 8, 13), r"text_projection.weight \(13, 8\) instead of \(12, 8\)", id="too wide"
        ),
        pytest.param(
            1, _with("transformer.resblocks.0.attn.in_proj_weight", 5, 8), "misshapen", id="uncuttable attention"
        ),
        pytest.param(1, _with("extra", 1), "CLIP file holds .* does not know: extra", id="text has more"),
        pytest.param(1, _with("transformer.resblocks.0.attn.gate", 1), "does not know: transformer.*gate", id="gated"),
        pytest.param(2, _without("linear_layer.bias"), r"lacks projection\.linear_layer\.bias", id="projection lacks"),
        pytest.param(2, _without("linear_layer.weight"), r"lacks projection\.", id="projection unrecognised"),
        pytest.param(
            2, _with("hidden_layers.0.weight", 16, 19), r"misshapen projection.*\(16, 19\)", id="projection misshapen"
        ),
        pytest.param(2, _with("hidden_layers.1.bias", 16), "unknown projection.hidden_layers.1.bias", id="a third map"),
        pytest.param(2, lambda state: state.clear(), "lacks projection.* and .* more", id="nothing in it"),
    ],
)
def test_keys_are_refused_by_name(
    tmp_path: Path, files: list[Path], which: int, change: Callable[[State], object], words: str
) -> None:
    state = torch.load(files[which], weights_only=True)
    change(state)
    torch.save(state, files[which])
    with pytest.raises(BadWeights, match=words) as caught:
        import_talk2dino(files, tmp_path / "mine", V2)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "mine").exists()


@needs_vocabulary
@pytest.mark.parametrize(
    ("given", "words"),
    [
        pytest.param((0, 1, 2), "vocabulary bpe_simple_vocab_16e6.txt.gz is missing", id="no vocabulary"),
        pytest.param((1, 2, 3), r"lacks visual\.", id="no backbone"),
        pytest.param((0, 2, 3), r"lacks text\.", id="no text"),
        pytest.param((0, 1, 3), r"lacks projection\.", id="no projection"),
        pytest.param((), "vocabulary", id="nothing"),
    ],
)
def test_a_missing_file_is_named(tmp_path: Path, files: list[Path], given: tuple[int, ...], words: str) -> None:
    with pytest.raises(MaskwrightError, match=words):
        import_talk2dino([files[n] for n in given], tmp_path / "mine", V2)
    assert not (tmp_path / "mine").exists()


@needs_vocabulary
def test_a_backbone_of_the_other_family_is_refused(tmp_path: Path, files: list[Path], later: Talk2Dino) -> None:
    torch.save(official_dinov3(later), files[0])
    with pytest.raises(BadWeights, match=r"lacks visual.* has unknown visual"):
        import_talk2dino(files, tmp_path / "mine", V2)
    with pytest.raises(MaskwrightError, match="There is no file"):
        import_talk2dino([*files, tmp_path / "nowhere.pth"], tmp_path / "mine", V2)


@needs_vocabulary
@pytest.mark.parametrize("kind", [pytest.param(k, id=k) for k in ("weight", "bias")])
@pytest.mark.parametrize("which", [pytest.param(w, id=w) for w in ("query", "key", "value")])
def test_a_hub_backbone_that_lacks_a_part_of_its_attention_is_refused(
    tmp_path: Path, model: Talk2Dino, which: str, kind: str
) -> None:
    state = hub_dinov2(model)
    del state[f"encoder.layer.1.attention.attention.{which}.{kind}"]
    given = written(tmp_path / "downloads", state, official_clip(model), projection(model))
    with pytest.raises(BadWeights, match=rf"lacks visual\S*layer\.1\.attention\.{which[0]}_proj\.{kind}"):
        import_talk2dino(given, tmp_path / "mine", V2)


@needs_vocabulary
def test_small_files_are_not_the_official_model(tmp_path: Path, files: list[Path]) -> None:
    """The real command's sizes are checked on the meta device, so that this costs no gigabytes."""
    with torch.device("meta"), pytest.raises(BadWeights, match=r"talk2dino-b do not fit.* lacks .* has misshapen"):
        import_preset(files, "talk2dino-b", tmp_path / "presets")
    assert not (tmp_path / "presets").exists()


def test_clips_half_precision_is_undone(model: Talk2Dino) -> None:
    state = official_clip(model)
    assert {value.dtype for value in state.values()} == {torch.float16}
    assert {value.dtype for value in clip_text.convert_official(state).values()} == {torch.float32}
    half = {name: value.half() for name, value in hub_clip(model).items()}
    assert {value.dtype for value in clip_text.convert_hub(half).values()} == {torch.float32}


# the published layouts


def _layout(name: str) -> State:
    rows = json.loads((LAYOUTS / f"{name}.json").read_text(encoding="utf-8"))
    return {key: torch.empty(shape, device="meta") for key, (shape, _) in rows.items()}


def _clip_b16() -> State:
    """The text side of CLIP ViT-B/16, by the names and shapes of its file."""
    shapes: dict[str, tuple[int, ...]] = {
        "positional_embedding": (77, 512),
        "text_projection": (512, 512),
        "token_embedding.weight": (49408, 512),
        "ln_final.weight": (512,),
        "ln_final.bias": (512,),
        "logit_scale": (),
        "visual.proj": (768, 512),
    }
    for block, (name, shape) in itertools.product(
        range(12),
        {
            "attn.in_proj_weight": (1536, 512), "attn.in_proj_bias": (1536,), "attn.out_proj.weight": (512, 512),
            "attn.out_proj.bias": (512,), "ln_1.weight": (512,), "ln_1.bias": (512,), "mlp.c_fc.weight": (2048, 512),
            "mlp.c_fc.bias": (2048,), "mlp.c_proj.weight": (512, 2048), "mlp.c_proj.bias": (512,),
            "ln_2.weight": (512,), "ln_2.bias": (512,),
        }.items(),
    ):  # fmt: skip
        shapes[f"transformer.resblocks.{block}.{name}"] = shape
    return {name: torch.empty(shape, device="meta", dtype=torch.float16) for name, shape in shapes.items()}


@needs_layouts
@pytest.mark.parametrize(
    ("name", "backbone", "between"),
    [
        pytest.param("b", "dinov2_vitb14_reg", "talk2dino_vitb", id="talk2dino-b"),
        pytest.param("dinov3-b", "dinov3_vitb16", "talk2dino_dinov3_vitb", id="talk2dino-dinov3-b"),
    ],
)
def test_the_published_files_fit(name: str, backbone: str, between: str) -> None:
    convert = dinov2.convert_official if SPECS[name].dinov2 else dinov3.convert_official
    state = {f"visual.{key}": value for key, value in convert(_layout(backbone)).items()}
    state |= {f"text.{key}": value for key, value in clip_text.convert_official(_clip_b16()).items()}
    state |= {f"projection.{key}": value for key, value in convert_official(_layout(between)).items()}
    with torch.device("meta"):
        wanted = Talk2Dino.build(SPECS[name]).state_dict()
    check_exactly(wanted, state, what=name)
    del state["visual.vit.embeddings.cls_token"]
    with pytest.raises(BadWeights, match=r"lacks visual\.vit\.embeddings\.cls_token"):
        check_exactly(wanted, state, what=name)


@needs_layouts
def test_the_published_backbone_without_registers_fits() -> None:
    with torch.device("meta"):
        wanted = DinoV2(dinov2.SPECS["vitb14"]).state_dict()
    check_exactly(wanted, dinov2.convert_official(_layout("dinov2_vitb14")), what="vitb14")


def test_a_pickle_that_is_no_archive_is_still_read_in_the_safe_mode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    stream = io.BytesIO()
    torch.save({"cls_token": Harmful()}, stream)
    (tmp_path / "plain.pt").write_bytes(stream.getvalue())
    with pytest.raises(BadWeights, match=r"plain\.pt"):
        read_checkpoint(tmp_path / "plain.pt")
    assert not (tmp_path / "harm").exists()
