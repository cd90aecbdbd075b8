"""Content hashes."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from maskwright.files.hashing import sha256_of


def test_it_is_the_hash_of_the_bytes(tmp_path: Path) -> None:
    data = bytes(range(256)) * 10_000
    (tmp_path / "x").write_bytes(data)
    assert sha256_of(tmp_path / "x") == hashlib.sha256(data).hexdigest()
    with pytest.raises(FileNotFoundError):
        sha256_of(tmp_path / "y")
