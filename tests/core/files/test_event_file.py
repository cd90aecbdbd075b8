"""TensorBoard's event files."""

from __future__ import annotations

import struct
from pathlib import Path

from maskwright.files.event_file import EventFile, crc32c


def _records(file: Path) -> list[bytes]:
    data, records = file.read_bytes(), []
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        event = data[12 : 12 + length]
        for part, stored in ((data[:8], data[8:12]), (event, data[12 + length : 16 + length])):
            value = crc32c(part)
            assert struct.unpack("<I", stored)[0] == ((value >> 15 | value << 17) + 0xA282EAD8) & 0xFFFFFFFF
        records.append(event)
        data = data[16 + length :]
    return records


def test_the_checksum_is_castagnolis() -> None:
    assert crc32c(b"123456789") == 0xE3069283


def test_scalars_are_records_with_step_name_and_value(tmp_path: Path) -> None:
    events = EventFile(tmp_path / "runs")
    events.add(300, {"loss": 0.5, "dice": 0.25})
    version, scalars = _records(events.path)
    assert b"brain.Event:2" in version
    # wall time, then the step 300 as two bytes of seven bits
    assert scalars[9:12] == b"\x10\xac\x02"
    for name, value in ((b"loss", 0.5), (b"dice", 0.25)):
        assert name + b"\x15" + struct.pack("<f", value) in scalars
