"""Files on the Hugging Face hub: its cache, its metadata, and single tensors of a larger file."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from huggingface_hub import HfApi, constants, get_hf_file_metadata, hf_hub_download, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import (  # type: ignore[attr-defined]
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
)
from huggingface_hub.file_download import repo_folder_name
from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

from maskwright.errors import AccessRefused, MaskwrightError, Unreachable
from maskwright.files.atomic import replacing
from maskwright.presets.transfer import Remote, download, has_digest, read_range, unreachable
from maskwright.progress import Progress

__all__ = ["HubFile", "locate", "push_dataset", "save_tensors"]

_HEADER_LENGTH = 8
"""Bytes at the beginning of a safetensors file that hold the length of its header."""
_LONGEST_HEADER = 1 << 24


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file of a repository on the hub."""

    repository: str
    name: str
    cached: Path | None
    """Where the hub's cache has it already."""
    remote: Remote | None = None
    """Where it is on the hub; None when it is in the cache."""

    @property
    def size(self) -> int:
        """Bytes still to be downloaded, without those of an interrupted download."""
        if self.remote is None:
            return 0
        part = self._blob.with_name(f"{self._blob.name}.part")
        return max(0, (self.remote.size or 0) - (part.stat().st_size if part.exists() else 0))

    @property
    def folder(self) -> Path:
        """The hub's cache."""
        return Path(constants.HF_HUB_CACHE).expanduser()

    @property
    def _blob(self) -> Path:
        """Where the cache keeps the content: under its hash."""
        assert self.remote is not None
        name = self.remote.digest or re.sub(r"\W", "-", self.name)
        return self.folder / self._home / "blobs" / name

    @property
    def _home(self) -> str:
        return repo_folder_name(repo_id=self.repository, repo_type="model")

    def get(self, *, progress: Progress, on_bytes: Callable[[int], None]) -> Path:
        """Download it into the hub's cache, or take it from there; see `transfer.download` for the errors.

        Other programs that use the hub find it there as well.
        """
        if self.remote is None:
            assert self.cached is not None
            return self.cached
        # the hub's own client starts an interrupted download anew, so the content is put where the client looks first
        try:
            lock = self.folder / ".locks" / self._home / f"{self._blob.name}.lock"
            download(self.remote, self._blob, lock, progress=progress, on_bytes=on_bytes)
            return Path(hf_hub_download(self.repository, self.name))
        except (HfHubHTTPError, FileNotFoundError) as error:
            raise _refused(self.repository, error) from error


def locate(repository: str, names: tuple[str, ...]) -> HubFile:
    """The first of the names that a repository has, in the hub's cache or on the hub.

    A damaged file in the cache is removed from it.

    Raises:
        AccessRefused: the repository is gated; the message has its page.
        Unreachable: no network, or offline mode, and nothing in the cache.
        MaskwrightError: the repository or all of the files do not exist.
    """
    for name in names:
        cached = try_to_load_from_cache(repository, name)
        if isinstance(cached, str) and _is_intact(Path(cached)):
            return HubFile(repository, name, Path(cached))
    for name in names:
        try:
            return HubFile(repository, name, None, _remote(repository, name))
        except RemoteEntryNotFoundError:
            continue
        except (HTTPError, OfflineModeIsEnabled) as error:
            raise _refused(repository, error) from error
    raise MaskwrightError(f"The hub's repository {repository} has no {' and no '.join(names)} any more.")


def _remote(repository: str, name: str) -> Remote:
    url = hf_hub_url(repository, name)
    metadata = get_hf_file_metadata(url)
    headers = build_hf_headers()
    if urlsplit(metadata.location).netloc != urlsplit(url).netloc:
        # the token is for the hub, not for the store behind it
        headers.pop("authorization", None)
    return Remote(metadata.location, f"{repository}/{name}", metadata.etag or "", metadata.size, headers)


def _is_intact(cached: Path) -> bool:
    """Whether a file in the cache has the hash that the cache calls its content by; removes it when not."""
    content = cached.resolve()
    if has_digest(content, content.name):
        return True
    cached.unlink()
    content.unlink(missing_ok=True)
    return False


def _refused(repository: str, error: Exception) -> MaskwrightError:
    """What the hub's refusal means for the user."""
    page = f"{constants.ENDPOINT}/{repository}"
    if isinstance(error, GatedRepoError):
        return AccessRefused(repository, page)
    if isinstance(error, RepositoryNotFoundError):
        return MaskwrightError(
            f"The model hub has no repository {repository}, or the token in use is not valid.",
            f"Look at {page}, or log in again with `hf auth login`.",
        )
    if isinstance(error, HfHubHTTPError):
        return Unreachable(f"The model hub refused {repository} ({error.response.status_code}). Try again later.")
    return unreachable(constants.ENDPOINT, error)


# A few tensors of a large file


def save_tensors(
    repository: str, file: Path, choose: Callable[[Mapping[str, tuple[int, ...]]], Mapping[str, str]]
) -> Path:
    """Download some tensors of a repository's safetensors file into a small safetensors file.

    Args:
        repository: on the hub.
        file: to write.
        choose: names that the tensors get, by their names in the large file, from the shapes of all of them.

    Returns:
        `file`.

    Raises:
        AccessRefused, Unreachable: as `locate`.
        MaskwrightError: the file has no such tensors, or is no safetensors file.
    """
    found = locate(repository, ("model.safetensors",))
    read = _reader(found)
    length = int.from_bytes(read(0, _HEADER_LENGTH), "little")
    if not 0 < length <= _LONGEST_HEADER:
        raise MaskwrightError(f"{repository}/{found.name} is no safetensors file.")
    first = _HEADER_LENGTH + length
    entries: dict[str, Any] = json.loads(read(_HEADER_LENGTH, first))
    entries.pop("__metadata__", None)
    chosen = choose({name: tuple(entry["shape"]) for name, entry in entries.items()})
    header, content = {}, b""
    for name, own in chosen.items():
        start, stop = entries[name]["data_offsets"]
        header[own] = {**entries[name], "data_offsets": [len(content), len(content) + stop - start]}
        content += read(first + start, first + stop)
    table = json.dumps(header).encode()
    file.parent.mkdir(parents=True, exist_ok=True)
    with replacing(file) as stream:
        stream.write(len(table).to_bytes(_HEADER_LENGTH, "little") + table + content)
    return file


def _reader(found: HubFile) -> Callable[[int, int], bytes]:
    if found.remote is not None:
        remote = found.remote
        return lambda start, stop: read_range(remote, start, stop)
    cached = found.cached
    assert cached is not None

    def read(start: int, stop: int) -> bytes:
        with cached.open("rb") as stream:
            stream.seek(start)
            return stream.read(stop - start)

    return read


def push_dataset(folder: Path, repository: str) -> str:
    """Upload a folder as a dataset of the hub, which is made as a private one where there is none.

    Args:
        folder: with all its files.
        repository: such as "name/streets".

    Returns:
        Its address.

    Raises:
        AccessRefused: nobody is logged in, or the account may not write there.
        Unreachable: the hub does not answer.
    """
    api = HfApi()
    try:
        api.create_repo(repository, repo_type="dataset", private=True, exist_ok=True)
        api.upload_folder(repo_id=repository, repo_type="dataset", folder_path=folder)
    except (HfHubHTTPError, HFValidationError) as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status in (401, 403):
            raise AccessRefused(repository, f"{constants.ENDPOINT}/datasets/{repository}") from error
        raise Unreachable(f"The hub refused {repository}: {str(error).splitlines()[0]}") from error
    except (HTTPError, OfflineModeIsEnabled, OSError) as error:
        raise unreachable(constants.ENDPOINT, error) from error
    return f"{constants.ENDPOINT}/datasets/{repository}"
