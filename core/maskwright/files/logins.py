"""Names and passwords of the people who may log in; a file of them holds scrypt hashes only."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path

from maskwright.errors import MaskwrightError, UsageError
from maskwright.files.atomic import write_text

__all__ = ["Logins", "hash_password", "set_password"]

_COST, _BLOCK, _PARALLEL = 1 << 14, 8, 1
"""Parameters of scrypt (RFC 7914, Sec. 2): 16 MB and some 50 ms for each attempt."""
_HASH = re.compile(r"scrypt\$(\d{1,7})\$(\d{1,2})\$(\d{1,2})\$([\w+/=]{8,})\$([\w+/=]{20,})")
_SHORTEST = 8


class Logins:
    """Who may log in: names with hashes of their passwords."""

    def __init__(self, hashes: Mapping[str, str]) -> None:
        """Take hashes by name, as `hash_password` makes them."""
        self._hashes = dict(hashes)
        # an unknown name takes as long as a wrong password
        self._nobody = hash_password(secrets.token_hex(16))

    @classmethod
    def of(cls, name: str, password: str) -> Logins:
        """A single person."""
        return cls({_checked_name(name): hash_password(password)})

    @classmethod
    def read(cls, file: Path) -> Logins:
        """The people of a file with a line `name:hash` each.

        Raises:
            UsageError: the file cannot be read, is empty, or a line is not a name and a hash.
        """
        try:
            lines = file.expanduser().read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(
                f"Cannot read the logins in {file}.",
                f"Add somebody with `maskwright ui --auth-file {file} --add-user NAME`.",
            ) from error
        hashes = {}
        for number, line in enumerate(lines, start=1):
            if not line.strip() or line.startswith("#"):
                continue
            name, _, hashed = line.strip().rpartition(":")
            if not name or not _HASH.fullmatch(hashed):
                raise UsageError(
                    f"Line {number} of {file} is not a name and a password hash.",
                    f"Write it with `maskwright ui --auth-file {file} --add-user NAME`.",
                )
            hashes[name] = hashed
        if not hashes:
            raise UsageError(
                f"{file} names nobody who may log in.",
                f"Add somebody with `maskwright ui --auth-file {file} --add-user NAME`.",
            )
        return cls(hashes)

    def accepts(self, name: str, password: str) -> bool:
        """Whether this is the password of this person; it takes the same time whatever is wrong."""
        known = name in self._hashes
        return _fits(password, self._hashes.get(name, self._nobody)) and known


def hash_password(password: str) -> str:
    """The hash of a password as a file holds it, with a salt of its own."""
    salt = os.urandom(16)
    return "$".join(
        ["scrypt", str(_COST), str(_BLOCK), str(_PARALLEL), _text(salt), _text(_derive(password, salt, _COST, _BLOCK))]
    )


def set_password(file: Path, name: str, password: str) -> bool:
    """Add a person to a file of logins, or change the password; the file is readable by its owner only.

    Returns:
        Whether the person is new.

    Raises:
        UsageError: a name or password that cannot be used, or the file is something else.
        MaskwrightError: the file cannot be written.
    """
    file = file.expanduser()
    _checked_name(name)
    if len(password) < _SHORTEST:
        raise UsageError(f"The password is shorter than {_SHORTEST} characters.", "Choose a longer one.")
    hashes = Logins.read(file)._hashes if file.is_file() and file.stat().st_size else {}
    new = name not in hashes
    hashes[name] = hash_password(password)
    write_text(file, "".join(f"{person}:{hashed}\n" for person, hashed in hashes.items()))
    try:
        file.chmod(0o600)
    except OSError as error:
        raise MaskwrightError(f"{file} stays readable by others: {error.strerror}.") from error
    return new


def _fits(password: str, hashed: str) -> bool:
    match = _HASH.fullmatch(hashed)
    if match is None:
        return False
    cost, block = int(match[1]), int(match[2])
    derived = _derive(password, base64.b64decode(match[4]), cost, block)
    return hmac.compare_digest(derived, base64.b64decode(match[5]))


def _derive(password: str, salt: bytes, cost: int, block: int) -> bytes:
    limit = 2 * 128 * cost * block
    return hashlib.scrypt(password.encode(), salt=salt, n=cost, r=block, p=_PARALLEL, maxmem=limit, dklen=32)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _checked_name(name: str) -> str:
    if not name or not name.isprintable() or ":" in name or name != name.strip() or len(name) > 100:
        raise UsageError("A login name is 1 to 100 printable characters without a colon.", "Choose another one.")
    return name
