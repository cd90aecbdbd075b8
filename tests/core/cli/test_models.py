"""`maskwright models` and `maskwright doctor`."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest

from tests.core.cli.conftest import Run, process


def test_models_list(run: Run, tmp_path: Path, small_preset: Path) -> None:
    shutil.copytree(small_preset, tmp_path / "presets" / "mine")
    rows = {row["name"]: row for row in run("models", "list", "--json").json}
    assert rows["tiny"]["installed"]
    assert rows["mine"] == {"name": "mine", "installed": True, "folder": str(tmp_path / "presets" / "mine")}
    assert rows["dinov3txt-l"] == {"name": "dinov3txt-l", "installed": False, "folder": None, "fetchable": False}
    assert rows["talk2dino-b"]["fetchable"]
    listed = run("models", "list").out
    assert "dinov3txt-l  not on this computer (some files by hand; accept its licence first)" in listed
    assert "sam-mobile  not on this computer (fetch, 41 MB)" in listed


def test_models_info(run: Run, tmp_path: Path, small_preset: Path, home: Path) -> None:
    official = run("models", "info", "dinov3txt-l", "--json").json
    assert [file["part"] for file in official["files"]] == ["backbone", "head", "vocabulary"]
    for file in official["files"]:
        assert file["page"].startswith("https://")
        assert file["licence"]
    told = run("models", "info", "dinov3txt-l").out
    assert "download it by hand" in told
    assert "maskwright models import FILE... --as dinov3txt-l" in told
    # a folder of downloads with that name, as people make it
    (home / "dinov3txt-l").mkdir()
    assert run("models", "info", "dinov3txt-l").out == told
    here = run("models", "info", small_preset, "--json").json
    assert (here["whole"], here["installed"]) == (True, str(small_preset))
    assert "Model nosuch is not on this computer" in run("models", "info", "nosuch").sentence()


def test_models_verify(run: Run, home: Path, small_preset: Path) -> None:
    done = run("models", "verify", small_preset, "--json")
    assert (done.status, done.json["folder"]) == (0, str(small_preset))
    assert re.fullmatch(r"[0-9a-f]{64}", done.json["sha256"])
    bad = shutil.copytree(small_preset, home / "bad")
    with (bad / "dinotxt.safetensors").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\x7f")
    assert "not the expected one (SHA-256 differs)" in run("models", "verify", bad).sentence()
    assert "DAMAGED" in run("models", "info", bad).out
    (bad / "dinotxt.safetensors").unlink()
    assert "Cannot read the weights" in run("models", "verify", bad).sentence()
    assert run("models", "info", bad, "--json").json["whole"] is False
    (bad / "config.json").write_text('{"dinotxt": {"zoom": 3}}')
    assert "unknown keys zoom" in run("models", "verify", bad).sentence()
    assert "Model nosuch is not on this computer" in run("models", "verify", "nosuch").sentence()


def test_models_import_refuses(run: Run, tmp_path: Path, home: Path) -> None:
    (home / "head.pth").write_text("not weights")
    assert "Known: talk2dino-b, talk2dino-l" in run("models", "import", "head.pth", "--as", "nosuch").sentence(2)
    assert "There is no file nothere.pth" in run("models", "import", "nothere.pth", "--as", "dinov3txt-l").sentence()
    assert "Cannot read head.pth" in run("models", "import", "head.pth", "--as", "dinov3txt-l").sentence()
    assert not (tmp_path / "presets").exists()


def test_models_fetch_without_network(run: Run, tmp_path: Path) -> None:
    assert "not an official preset" in run("models", "fetch", "nosuch").sentence(2)
    offline = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hub")}
    assert "offline" in process("models", "fetch", "sam-b", env=offline).sentence()


def test_doctor(run: Run, tmp_path: Path) -> None:
    done = run("doctor", "--json")
    assert done.status == 0, done.err
    assert [set(line) for line in done.json] == [{"subject", "ok", "found", "mend", "needed"}] * len(done.json)
    assert {"python", "torch", "devices", "model tiny", "project"} <= {line["subject"] for line in done.json}
    told = run("doctor", "--project", tmp_path / "nowhere")
    assert told.status == 1
    assert re.search(r"^NO +project +There is no project in ", told.out, re.MULTILINE)


def test_broken_settings_are_one_sentence(run: Run, image_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASKWRIGHT_CACHE_MB", "lots")
    for words in ("models list", "doctor", f"segment {image_file} --text cow"):
        assert run(*words.split()).sentence() == "The setting cache_mb must be a whole number, got 'lots'. Correct it."
