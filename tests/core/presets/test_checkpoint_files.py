"""Weights as training tools and hubs write them, and a sentence for what is none."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from maskwright.errors import BadWeights
from maskwright.presets.checkpoint_files import read_checkpoint, weight_files

TABLE = {"cls_token": torch.ones(1, 1, 4), "blocks.0.attn.qkv.weight": torch.arange(6.0).reshape(2, 3)}


def under(prefix: str) -> dict[str, Tensor]:
    return {f"{prefix}{key}": value for key, value in TABLE.items()}


HEAD = {"dino_head.mlp.weight": torch.zeros(2)}
OPTIMIZER = {"state": {0: {"step": torch.tensor(3.0), "exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 1.0}]}


@pytest.mark.parametrize(
    ("content", "left_out"),
    [
        pytest.param(TABLE, (), id="plain"),
        pytest.param({"model": TABLE}, (), id="model"),
        pytest.param({"state_dict": under("model."), "epoch": 3, "optimizer_states": [OPTIMIZER]}, (), id="lightning"),
        pytest.param({"model_state": TABLE, "optimizer_state": OPTIMIZER}, (), id="model_state"),
        pytest.param({"model_state_dict": under("module."), "loss": torch.tensor(1.0)}, (), id="data parallel"),
        pytest.param({"net": under("_orig_mod.module."), "acc": 0.9}, (), id="compiled"),
        pytest.param(
            {"teacher": under("backbone.") | HEAD, "student": under("x.")}, ("student", "dino_head"), id="teacher"
        ),
        pytest.param({"checkpoint": {"weights": TABLE}}, (), id="two levels"),
        pytest.param({**TABLE, "decoder_state": {"a": torch.zeros(2)}}, ("decoder_state",), id="table beside"),
        pytest.param({"model": TABLE, "args": argparse.Namespace(lr=1, sizes=[1, 2])}, (), id="options"),
    ],
)
def test_the_table_is_taken_from_a_checkpoint(tmp_path: Path, content: Any, left_out: tuple[str, ...]) -> None:
    torch.save(content, tmp_path / "last.ckpt")
    found = read_checkpoint(tmp_path / "last.ckpt")
    assert found.keys() == TABLE.keys()
    assert all(torch.equal(found[key], value) for key, value in TABLE.items())
    assert set(found.left_out) == set(left_out)
    assert all(name in found.note for name in left_out)
    assert ("the weights of" in found.note) == (content is not TABLE and not {"model", "decoder_state"} & set(content))


def test_safetensors_under_any_name_and_in_shards(tmp_path: Path) -> None:
    save_file(TABLE, tmp_path / "named.pth")
    assert read_checkpoint(tmp_path / "named.pth").keys() == TABLE.keys()
    names = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    for name, (key, value) in zip(names, TABLE.items(), strict=True):
        save_file({key: value}, tmp_path / name)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": dict(zip(TABLE, names, strict=True))}))
    for file in (index, tmp_path / names[1]):
        assert read_checkpoint(file).keys() == TABLE.keys()
    # a folder, and every shard named, are the same
    assert weight_files([tmp_path]) == [index]
    assert weight_files([tmp_path / name for name in names]) == [tmp_path / names[0]]
    (tmp_path / names[1]).unlink()
    for file in (index, tmp_path / names[0]):
        with pytest.raises(BadWeights, match=r"model-00002-of-00002\.safetensors is not beside it"):
            read_checkpoint(file)


def _module(file: Path) -> None:
    torch.save(nn.Linear(2, 2), file)


def _cut(file: Path) -> None:
    torch.save(TABLE, file)
    file.write_bytes(file.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("write", "sentence"),
    [
        (_module, r"holds a whole module \(torch.nn.modules.linear.Linear\), not its weights"),
        (lambda file: torch.save({"model": TABLE, "path": Path("x")}, file), "beside the weights, and reading that"),
        (lambda file: file.write_text("<!DOCTYPE html><title>Access denied</title>"), "is a web page, not weights"),
        (lambda file: file.write_text("version https://git-lfs.github.com/spec/v1\noid x"), "is a pointer of Git LFS"),
        (lambda file: file.write_text('{"error": "gated"}'), "is JSON, not weights"),
        (lambda file: file.write_bytes(b"\x1f\x8b\x08 packed"), "is a packed archive"),
        (lambda file: file.write_bytes(b"\x89HDF\r\n\x1a\n"), "of another framework"),
        (lambda file: file.write_bytes(b"\x00\x01\x02nothing"), "is damaged, or no file of weights"),
        (_cut, "is cut short"),
        (
            lambda file: torch.save({"epoch": 3, "optimizer": OPTIMIZER}, file),
            "holds no table of weights, but epoch, op",
        ),
        (lambda file: torch.save([1, 2], file), "holds no table of weights, but a list"),
    ],
)
def test_what_is_no_file_of_weights_is_said_in_a_sentence(
    tmp_path: Path, write: Callable[[Path], object], sentence: str
) -> None:
    file = tmp_path / "weights.pth"
    write(file)
    with pytest.raises(BadWeights, match=sentence) as caught:
        read_checkpoint(file)
    said = str(caught.value)
    assert "\x1b" not in said
    assert "\n" not in said
    assert "weights_only" not in said


def test_a_folder_without_weights_is_said(tmp_path: Path) -> None:
    with pytest.raises(BadWeights, match="holds no file of weights"):
        weight_files([tmp_path])
