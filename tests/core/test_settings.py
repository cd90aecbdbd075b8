"""Settings from the file, the environment and their defaults."""

from __future__ import annotations

from pathlib import Path

import pytest
from platformdirs import user_config_path

from maskwright.errors import MaskwrightError
from maskwright.settings import Settings


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The person's settings file, not there yet; the environment says nothing."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    for name in ("MAX_MEGAPIXELS", "CACHE_MB", "PROJECT", "PRESETS"):
        monkeypatch.delenv(f"MASKWRIGHT_{name}", raising=False)
    place = user_config_path("maskwright") / "config.toml"
    assert place.is_relative_to(tmp_path), "these tests must not touch the person's own file"
    place.parent.mkdir(parents=True)
    return place


def test_defaults(file: Path) -> None:
    assert Settings.load() == Settings()
    assert Settings().max_megapixels == 100


def test_file_then_environment(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text('max_megapixels = 7\ncache_mb = 64\nproject = "~/Bilder ü"\n', encoding="utf-8")
    monkeypatch.setenv("MASKWRIGHT_CACHE_MB", "32")
    monkeypatch.setenv("MASKWRIGHT_PRESETS", "/somewhere/presets")
    found = Settings.load()
    assert found == Settings(7.0, 32, Path("~/Bilder ü"), Path("/somewhere/presets"))
    assert isinstance(found.max_megapixels, float)


def test_unknown_keys_are_named(file: Path) -> None:
    file.write_text("cache_mb = 64\nmegapixels = 7\nzoom = 1\n")
    with pytest.raises(MaskwrightError, match=r"unknown keys: megapixels, zoom\. Remove them\."):
        Settings.load()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('max_megapixels = "many"', "max_megapixels must be a number, got 'many'"),
        ("max_megapixels = true", "max_megapixels must be a number, got True"),
        ("max_megapixels = nan", "must be positive"),
        ("max_megapixels = 0", "must be positive"),
        ("cache_mb = 1.5", "cache_mb must be a whole number, got 1.5"),
        ("cache_mb = inf", "cache_mb must be a whole number, got inf"),
        ("cache_mb = -1", "must be positive"),
        ("cache_mb = [1]", r"cache_mb must be a whole number, got \[1\]"),
        ("project = 3", "project must be the name of a folder, got 3"),
        ("cache_mb = ", "Cannot read the settings file .*Correct or remove it"),
        ("[cache_mb]", "cache_mb must be a whole number"),
    ],
)
def test_wrong_values(file: Path, line: str, words: str) -> None:
    file.write_text(line)
    with pytest.raises(MaskwrightError, match=words):
        Settings.load()


@pytest.mark.parametrize(("name", "value"), [("CACHE_MB", "lots"), ("CACHE_MB", "1.5"), ("MAX_MEGAPIXELS", "1e")])
def test_wrong_environment(file: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"MASKWRIGHT_{name}", value)
    with pytest.raises(MaskwrightError, match=f"{name.lower()} must be a .*number, got '{value}'"):
        Settings.load()


def test_a_file_that_is_no_text(file: Path) -> None:
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(MaskwrightError, match="Cannot read the settings file"):
        Settings.load()
