"""`models fetch`: download the files of an official preset and make it, in one step."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from huggingface_hub.errors import HfHubHTTPError
from torch import Tensor

from maskwright.errors import BadWeights, MaskwrightError, NoDiskSpace, Unreachable, UsageError
from maskwright.models.talk2dino import SPECS, convert_official, find_projection
from maskwright.models.tokenizer import read_merges
from maskwright.presets.checkpoint_files import read_checkpoint
from maskwright.presets.convert import import_preset
from maskwright.presets.hub import HubFile, locate, save_tensors
from maskwright.presets.official import OFFICIAL, OfficialFile
from maskwright.presets.transfer import Remote, download
from maskwright.progress import NO_PROGRESS, Progress
from maskwright.settings import Settings

__all__ = ["Fetched", "fetch", "values_sha256"]


_ELSEWHERE = "Name another folder with MASKWRIGHT_PRESETS."


class Fetched(NamedTuple):
    """What `fetch` has done."""

    folder: Path | None
    """Of the preset; None while files are missing that a person must download."""
    paths: tuple[Path, ...]
    """Files that were downloaded, or were there."""
    by_hand: tuple[OfficialFile, ...]
    """Files that a person must download."""


def fetch(name: str, settings: Settings, *, progress: Progress = NO_PROGRESS) -> Fetched:
    """Make an official preset from files that are downloaded now, as far as they are not on this computer.

    Downloads continue where an earlier one stopped, and are checked before anything is made of them. The preset
    appears as a whole, in the place of an earlier one of that name.

    Args:
        name: of the preset.
        settings: for the folder of presets.
        progress: bytes so far and in total; cancels between two pieces of a file.

    Raises:
        UsageError: there is no such official preset.
        Cancelled: what has arrived is kept, and the next call continues there.
        AccessRefused: a licence must be accepted first; the message has the page.
        Unreachable: no network, or a server that does not answer.
        NoDiskSpace: there is not enough space for the files and the preset.
        BadWeights: a file is not the expected one; it is deleted.
    """
    if name not in OFFICIAL:
        raise UsageError(f"{name} is not an official preset. Known: {', '.join(OFFICIAL)}.")
    presets = settings.presets.expanduser()
    try:
        presets.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MaskwrightError(f"Cannot write to {presets}: {error.strerror}.", _ELSEWHERE) from error
    files = OFFICIAL[name].files
    by_hand = tuple(file for file in files if not file.fetchable)
    here = presets / ".downloads"
    downloads = [_Download.of(file, name, here) for file in files if file.fetchable]
    _require_space(name, downloads, presets, OFFICIAL[name].size)
    meter = _Meter(progress, sum(one.size for one in downloads))
    paths = tuple(one.get(meter) for one in downloads)
    if by_hand:
        return Fetched(None, paths, by_hand)
    meter.stage("Making the preset")
    with TemporaryDirectory(dir=presets, prefix=".fetch-") as place:
        made = import_preset(paths, name, Path(place))
        progress.check()
        folder = presets / name
        if folder.exists():
            folder.replace(Path(place) / "earlier")
        made.replace(folder)
    # the hub's files stay in its cache, where other programs look for them as well
    for one, path in zip(downloads, paths, strict=True):
        if one.hub is None:
            path.unlink(missing_ok=True)
    return Fetched(folder, paths, ())


class _Meter:
    """Counts the bytes of several downloads."""

    def __init__(self, progress: Progress, total: int) -> None:
        self.progress, self._total, self._done, self._stage = progress, max(total, 1), 0, ""

    def stage(self, title: str) -> None:
        """Report the next step."""
        self._stage = title
        self.add(0)

    def add(self, count: int) -> None:
        """Count bytes, and report the sum."""
        self._done += count
        self.progress.report(min(max(self._done, 0), self._total), self._total, self._stage)


@dataclass(frozen=True, slots=True)
class _Download:
    """One file of a preset, on its way."""

    file: OfficialFile
    preset: str
    target: Path
    """Where a file goes that is not the hub's."""
    hub: HubFile | None = None

    @classmethod
    def of(cls, file: OfficialFile, preset: str, folder: Path) -> _Download:
        """Find out where a file is; errors as `hub.locate`."""
        hub = locate(file.hub, file.hub_names) if file.hub else None
        return cls(file, preset, folder / file.name, hub)

    @property
    def size(self) -> int:
        """Bytes of the whole download."""
        if self.hub is None:
            return self.file.size
        return 0 if self.hub.remote is None else self.hub.remote.size or 0

    @property
    def missing(self) -> int:
        """Bytes that are still to come."""
        return self.hub.size if self.hub is not None else self.file.size

    @property
    def folder(self) -> Path:
        """Where they go."""
        return self.hub.folder if self.hub is not None else self.target.parent

    def get(self, meter: _Meter) -> Path:
        """Download and check the file; returns its path."""
        meter.stage(f"Downloading {self.file.what.partition(',')[0]}")
        if self.hub is not None:
            path = self.hub.get(progress=meter.progress, on_bytes=meter.add)
        else:
            path = self._published(meter)
        self._check(path)
        return path

    def _published(self, meter: _Meter) -> Path:
        """From the first of its addresses that has it, or else out of a larger model on the hub."""
        reasons: list[MaskwrightError] = []
        for address in self.file.addresses:
            remote = Remote(address, self.file.name, self.file.sha256, self.file.size if self.file.sha256 else None)
            try:
                lock = self.target.with_name(f"{self.target.name}.lock")
                download(remote, self.target, lock, progress=meter.progress, on_bytes=meter.add)
                self._check(self.target)
                return self.target
            except HfHubHTTPError as error:
                status = error.response.status_code
                reasons.append(
                    Unreachable(f"{address} is not there any more ({status}).", f"Look at {self.file.page}.")
                )
            except (BadWeights, Unreachable) as error:
                reasons.append(error)
        if self.file.within is None:
            raise reasons[-1]
        config = SPECS[self.preset.removeprefix("talk2dino-")].projection

        def choose(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, str]:
            chosen = find_projection(shapes, config)
            if not chosen:
                raise BadWeights(f"{self.file.within} holds no projection of these sizes. Look at {self.file.page}.")
            return chosen

        try:
            path = save_tensors(self.file.within, self.target.with_suffix(".safetensors"), choose)
        except MaskwrightError as error:
            # the address is where it should have been
            raise (reasons[0] if isinstance(error, Unreachable) else error) from error
        return path

    def _check(self, path: Path) -> None:
        """Raise BadWeights, and delete the file, when its values are not the known ones."""
        if not self.file.values_sha256:
            return
        if self.file.part == "vocabulary":
            found = hashlib.sha256("\n".join(read_merges(path)).encode()).hexdigest()
        else:
            found = values_sha256(convert_official(read_checkpoint(path)))
        if found != self.file.values_sha256:
            path.unlink()
            raise BadWeights(
                f"The file for {self.file.what} is not the expected one (SHA-256 of its values differs). It was "
                f"deleted; look at {self.file.page}."
            )


def values_sha256(state: Mapping[str, Tensor]) -> str:
    """SHA-256 of names and values of tensors in the order of their names, whatever the kind of file."""
    found = hashlib.sha256()
    for name in sorted(state):
        found.update(name.encode())
        found.update(state[name].detach().contiguous().numpy().tobytes())
    return found.hexdigest()


# space


def _require_space(name: str, downloads: list[_Download], presets: Path, made: int) -> None:
    """Raise NoDiskSpace unless the downloads and the preset made of them have room."""
    needed: dict[int, tuple[int, Path]] = {}
    for folder, size in [*((one.folder, one.missing) for one in downloads), (presets, made)]:
        device = _existing(folder).stat().st_dev
        needed[device] = (needed.get(device, (0, folder))[0] + size, folder)
    for size, folder in needed.values():
        free = shutil.disk_usage(_existing(folder)).free
        if free < size:
            raise NoDiskSpace(name, folder, size, free)


def _existing(folder: Path) -> Path:
    return next(place for place in (folder, *folder.parents) if place.exists())
