"""TensorBoard's event files: scalars by step, as records of protocol buffers with checksums.

Sources of the format: the comments of TensorFlow's `record_writer.h`, `event.proto` and `summary.proto`.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Mapping
from pathlib import Path

__all__ = ["EventFile", "crc32c"]


class EventFile:
    """Appends scalars to a new file, which TensorBoard may read at the same time."""

    def __init__(self, folder: Path) -> None:
        """Create the file; raises OSError when the folder cannot be written."""
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"events.out.tfevents.{time.time_ns() // 10**9}.{socket.gethostname()}.{time.time_ns()}"
        self._append(_text(3, "brain.Event:2"), step=0)

    def add(self, step: int, scalars: Mapping[str, float]) -> None:
        """Append the values of a step, by name."""
        values = (_text(1, name) + b"\x15" + struct.pack("<f", value) for name, value in scalars.items())
        self._append(_bytes(5, b"".join(_bytes(1, value) for value in values)), step=step)

    def _append(self, content: bytes, *, step: int) -> None:
        event = b"\x09" + struct.pack("<d", time.time()) + b"\x10" + _varint(step) + content
        length = struct.pack("<Q", len(event))
        with self.path.open("ab") as file:
            file.write(length + _checksum(length) + event + _checksum(event))


def crc32c(data: bytes) -> int:
    """Castagnoli's cyclic redundancy check."""
    value = 0xFFFFFFFF
    for byte in data:
        value = _TABLE[(value ^ byte) & 0xFF] ^ value >> 8
    return value ^ 0xFFFFFFFF


def _table() -> list[int]:
    rows = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        rows.append(value)
    return rows


_TABLE = _table()


def _checksum(data: bytes) -> bytes:
    """The check as it is stored: rotated and shifted, so that data with checks in it is not mistaken for one."""
    value = crc32c(data)
    return struct.pack("<I", ((value >> 15 | value << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def _varint(value: int) -> bytes:
    parts = []
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])


def _bytes(field: int, data: bytes) -> bytes:
    return bytes([field << 3 | 2]) + _varint(len(data)) + data


def _text(field: int, text: str) -> bytes:
    return _bytes(field, text.encode())
