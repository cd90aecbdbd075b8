"""Files are there as a whole or as before."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from maskwright.errors import MaskwrightError
from maskwright.files.atomic import atomic_save, replacing, write_json, write_text


def names(folder: Path) -> list[str]:
    return [file.name for file in folder.iterdir()]


def test_bytes_as_they_should_be(tmp_path: Path) -> None:
    file = tmp_path / "new folder" / f"草 #1 %41 {'n' * 200}.json"
    write_json(file, {"b": "é<&>", "a": [1, 0.1, True, None]})
    assert file.read_bytes() == '{"b":"é<&>","a":[1,0.1,true,null]}\n'.encode()
    assert names(file.parent) == [file.name]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_json_has_not_are_refused(tmp_path: Path, value: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "x.json", [value])
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path) -> None:
    file = tmp_path / "x.txt"
    write_text(file, "old")

    def interrupted() -> None:
        with replacing(file) as handle:
            handle.write(b"half of the n")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert file.read_text() == "old"
    assert names(tmp_path) == ["x.txt"]


def test_the_new_bytes_are_on_disk_before_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    fsync, rename = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: (order.append("fsync"), fsync(descriptor))[1])
    monkeypatch.setattr(Path, "replace", lambda a, b: (order.append("rename"), rename(a, b))[1])
    write_text(tmp_path / "x.txt", "new")
    assert order == ["fsync", "rename", "fsync"]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("", id="folder"),
        pytest.param("file/below.json", id="below-a-file"),
        pytest.param("n" * 300, id="too-long"),
    ],
)
def test_a_place_that_cannot_be_written(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(MaskwrightError, match=r"^Cannot write ") as caught:
        write_text(tmp_path / name, "text")
    assert "\n" not in str(caught.value)
    assert names(tmp_path) == ["file"]


def test_a_full_disk(tmp_path: Path) -> None:
    device = Path("/dev/full")
    if not device.exists():
        pytest.skip("no /dev/full here")
    (tmp_path / "x.txt").write_text("old")
    real = Path.open

    def full(self: Path, *args: Any, **others: Any) -> object:
        return real(device if self.suffix == ".tmp" else self, "wb" if self.suffix == ".tmp" else args[0])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "open", full)
        with pytest.raises(MaskwrightError, match="No space left on device"):
            write_text(tmp_path / "x.txt", "new")
    assert (tmp_path / "x.txt").read_text() == "old"


def test_a_library_saves_to_a_path(tmp_path: Path) -> None:
    file = tmp_path / "x.bin"
    atomic_save(file, lambda temporary: temporary.write_bytes(b"whole"))
    assert file.read_bytes() == b"whole"

    def broken(temporary: Path) -> None:
        temporary.write_bytes(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        atomic_save(file, broken)
    assert file.read_bytes() == b"whole"
    assert names(tmp_path) == ["x.bin"]


def test_weights_can_be_read_by_the_same_people_as_other_files(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "plain.safetensors")
    atomic_save(tmp_path / "x.safetensors", lambda temporary: save_file({"a": torch.zeros(1)}, temporary))
    (tmp_path / "text").write_text("")
    modes = {file.name: file.stat().st_mode for file in tmp_path.iterdir()}
    assert modes["x.safetensors"] == modes["text"]
