"""Settings: limits and folders, from `config.toml` in the user's configuration folder and from the environment."""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path, user_config_path

from maskwright.errors import MaskwrightError

__all__ = ["Settings"]

_WORDS: dict[type, str] = {float: "a number", int: "a whole number", Path: "the name of a folder", str: "a text"}


@dataclass(frozen=True, slots=True)
class Settings:
    """Limits and folders that the user may change.

    The environment variable MASKWRIGHT_<NAME> takes precedence over `config.toml`, and that over the default.
    """

    max_megapixels: float = 100.0
    """Images with more pixels are refused before they are decoded."""
    cache_mb: int = 1024
    """Memory for image embeddings, in MB."""
    project: Path = Path("~/maskwright-project")
    """Folder of the project that front ends open when none is named."""
    presets: Path = user_cache_path("maskwright") / "presets"
    """Folder of imported presets."""
    cache: Path = user_cache_path("maskwright") / "computed"
    """Folder of results that can be computed again."""
    engine: str = ""
    """Address of a running `maskwright ui` that answers the prompts of napari; empty for this computer."""
    remote_images_mb: int = 10_240
    """Disk space for images that are read from an address, in MB."""

    @classmethod
    def load(cls) -> Settings:
        """Read the configuration file and the environment.

        Raises:
            MaskwrightError: the file cannot be read, has an unknown key, or a value is not valid.
        """
        file = user_config_path("maskwright") / "config.toml"
        values: dict[str, object] = {}
        if file.is_file():
            try:
                values = tomllib.loads(file.read_text(encoding="utf-8"))
            except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
                raise MaskwrightError(
                    f"Cannot read the settings file {file}: {error}. Correct or remove it."
                ) from error
        kinds = {field.name: type(getattr(cls(), field.name)) for field in fields(cls)}
        unknown = sorted(set(values) - set(kinds))
        if unknown:
            raise MaskwrightError(f"The settings file {file} has unknown keys: {', '.join(unknown)}. Remove them.")
        for name in kinds:
            from_environment = os.environ.get(f"MASKWRIGHT_{name.upper()}")
            if from_environment is not None:
                values[name] = from_environment
        settings = cls(**{name: _value(name, kinds[name], value) for name, value in values.items()})
        # written so that NaN does not pass
        if not settings.max_megapixels > 0 or settings.cache_mb < 0 or settings.remote_images_mb < 0:
            names = "max_megapixels, cache_mb and remote_images_mb"
            raise MaskwrightError(f"The settings {names} must be positive numbers.")
        return settings


def _value(name: str, kind: type, value: object) -> Any:
    """A value in the type of its setting, from the text of the environment or from TOML; raises MaskwrightError."""
    kind, word = next((kind_, word) for kind_, word in _WORDS.items() if issubclass(kind, kind_))
    # TOML's true and 1.5 would pass as 1
    exact = isinstance(value, str) or (kind is float and type(value) is int) or type(value) is kind
    try:
        if exact:
            return kind(value)
    except ValueError:
        pass
    raise MaskwrightError(f"The setting {name} must be {word}, got {value!r}. Correct it.")
