"""Images that stay where they are: listed, read, cached with a bound, and never an address from a browser."""

from __future__ import annotations

import io
import threading
import zipfile
from collections.abc import Iterator
from fnmatch import fnmatch
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import fsspec
import numpy as np
import pytest
from PIL import Image as Pillow

from maskwright.errors import MaskwrightError, UsageError
from maskwright.files.hashing import sha256_of
from maskwright.project import Project, addresses
from maskwright.project.addresses import AddressCache, images_at, name_of
from maskwright.project.uploads import Upload, add_uploads
from maskwright.session import AnnotationSession

pytest.importorskip("obstore")
pytest.importorskip("aiohttp")


def _png(value: int) -> bytes:
    file = io.BytesIO()
    Pillow.fromarray(np.full((6, 8, 3), value, np.uint8)).save(file, "PNG")
    return file.getvalue()


def _zip() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("in/c.png", _png(3))
        archive.writestr("notes.txt", "no image")
    return file.getvalue()


class _Bucket(BaseHTTPRequestHandler):
    """A web server with an index page, which also answers as S3 does."""

    files: dict[str, bytes]
    read: list[str]

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if "list-type" in url.query:
            self._answer(self._listing(parse_qs(url.query).get("prefix", [""])[0]), "application/xml")
        elif url.path == "/bucket/photos/":
            links = "".join(f'<a href="/{name}">x</a>' for name in self.files if "/photos/" in name)
            self._answer(links.encode(), "text/html")
        elif url.path[1:] in self.files:
            if self.command == "GET":
                self.read.append(url.path[1:])
            self._answer(self.files[url.path[1:]], "application/octet-stream")
        else:
            self.send_error(404)

    def _listing(self, prefix: str) -> bytes:
        rows = (
            f"<Contents><Key>{name.removeprefix('bucket/')}</Key><Size>{len(data)}</Size>"
            "<LastModified>2026-01-01T00:00:00Z</LastModified></Contents>"
            for name, data in self.files.items()
            if name.startswith(f"bucket/{prefix}")
        )
        return f"<ListBucketResult><IsTruncated>false</IsTruncated>{''.join(rows)}</ListBucketResult>".encode()

    def _answer(self, data: bytes, kind: str) -> None:
        asked = self.headers.get("Range", "").removeprefix("bytes=")
        first, _, last = asked.partition("-")
        part = data[int(first) : int(last or len(data)) + 1] if first else data
        self.send_response(206 if first else 200)
        if first:
            self.send_header("Content-Range", f"bytes {first}-{int(first) + len(part) - 1}/{len(data)}")
        for name, value in (
            ("Content-Type", kind), ("Content-Length", str(len(part))), ("Accept-Ranges", "bytes"), ("ETag", '"1"'),
            ("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT"),
        ):  # fmt: skip
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(part)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[_Bucket]]:
    class Bucket(_Bucket):
        pass

    Bucket.files = {"bucket/photos/a.png": _png(1), "bucket/photos/b.png": _png(2), "bucket/photos/readme.txt": b"no",
                    "bucket/all.zip": _zip()}  # fmt: skip
    Bucket.read = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Bucket)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    Bucket.address = f"http://127.0.0.1:{server.server_port}"  # type: ignore[attr-defined]
    for name, value in {"ENDPOINT_URL": Bucket.address, "ALLOW_HTTP": "true", "ACCESS_KEY_ID": "a",  # type: ignore[attr-defined]
                        "SECRET_ACCESS_KEY": "b", "REGION": "us-east-1"}.items():  # fmt: skip
        monkeypatch.setenv(f"AWS_{name}", value)
    # what is known of another test's server
    addresses._register()
    for scheme in ("s3", "http"):
        fsspec.get_filesystem_class(scheme).clear_instance_cache()
    yield Bucket
    server.shutdown()
    server.server_close()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    monkeypatch.setenv("MASKWRIGHT_CACHE", str(tmp_path / "cache"))
    with Project.open(tmp_path / "project", create=True) as project:
        yield project


@pytest.mark.parametrize(
    ("where", "names"),
    [
        pytest.param("s3://bucket/photos", ["a.png", "b.png"], id="bucket"),
        pytest.param("s3://bucket/photos/b.png", ["b.png"], id="object"),
        pytest.param("{web}/bucket/photos/", ["a-*.png", "b-*.png"], id="index"),
        pytest.param("{web}/bucket/photos/a.png?signature=secret", ["a-*.png"], id="file"),
        pytest.param("zip://in::{web}/bucket/all.zip", ["c-*.png"], id="archive"),
        pytest.param("memory://photos", ["d.png"], id="memory"),
    ],
)
def test_images_are_read_where_they_are(
    project: Project, bucket: type[_Bucket], where: str, names: list[str], tmp_path: Path
) -> None:
    fsspec.filesystem("memory").pipe("/photos/d.png", _png(4))
    where = where.format(web=bucket.address)  # type: ignore[attr-defined]
    added = project.add(where)
    assert [one.problem for one in added] == [""] * len(names)
    for one, name in zip(added, names, strict=True):
        assert one.record is not None
        assert fnmatch(one.record.file_name, f"images/*/{name}")
        assert "secret" not in one.record.file_name
        assert one.record.address == one.path
        assert project.images.open(one.record.id).size_hw == (6, 8)
    assert list((project.folder / "images").iterdir()) == [], "nothing was copied"
    assert project.images.missing() == []

    bucket.read.clear()
    assert not any(one.new for one in project.add(where)), "known"
    project.images.open(1)
    assert not [name for name in bucket.read if name.endswith(".png")], "known addresses are not read again"
    project.exchange.copy_images(tmp_path / "out")
    assert len(list((tmp_path / "out").rglob("*.png"))) == len(names)


def test_files_are_copied_when_asked(project: Project, bucket: type[_Bucket]) -> None:
    (first, _) = project.add("s3://bucket/photos", copy=True)
    assert first.record is not None
    assert (first.record.file_name, first.record.address) == ("images/a.png", "")
    bucket.files.clear()
    assert project.images.open(first.record.id).sha256 == first.record.sha256


def test_what_cannot_be_read_is_a_sentence(project: Project, bucket: type[_Bucket]) -> None:
    bucket.files["bucket/photos/b.png"] = b"damaged"
    (_, damaged) = project.add("s3://bucket/photos")
    assert (damaged.path, damaged.record) == ("s3://bucket/photos/b.png", None)
    assert "b.png" in damaged.problem
    bucket.files["bucket/photos/a.png"] = _png(9)
    for file in (project.folder.parent / "cache").rglob("file-*"):
        file.write_bytes(b"damaged, too")
    with pytest.raises(MaskwrightError, match="changed"):
        project.images.open(1)
    del bucket.files["bucket/photos/a.png"]
    with pytest.raises(MaskwrightError, match=r"no images/bucket/photos/a\.png"):
        project.images.open(1)
    with pytest.raises(MaskwrightError, match="remote-files"):
        project.add("dropbox://photos")
    with pytest.raises(UsageError):
        project.add("file:///etc")


def test_the_cache_keeps_what_was_used_last(tmp_path: Path, bucket: type[_Bucket]) -> None:
    size = len(_png(0))
    for value in range(10):
        bucket.files[f"bucket/{value}.png"] = _png(value)
    cache = AddressCache(tmp_path / "cache", int(4.5 * size))
    sha256 = [cache.fetch(f"s3://bucket/{value}.png", "x")[1] for value in range(4)]
    bucket.read.clear()
    cache.file("s3://bucket/0.png", sha256[0], "x")
    assert not bucket.read
    for value in range(4, 7):
        cache.fetch(f"s3://bucket/{value}.png", "x")
    here = {sha256_of(file) for file in (tmp_path / "cache").glob("*/*")}
    assert len(here) <= 4
    assert sha256[0] in here, "it was used after the others"
    assert cache.file("s3://bucket/1.png", sha256[1], "x").read_bytes() == _png(1), "it is read again"


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("s3://bucket/photos/a.jpg", "images/bucket/photos/a.jpg"),
        ("https://user:key@host/../../etc/a.jpg", "images/host/etc/a-*.jpg"),
        ("https://host/a%2F..%2Fb.jpg?token=1", "images/host/a/b-*.jpg"),
        ("zip://in/a.jpg::s3://bucket/b.zip", "images/bucket/b.zip/in/a-*.jpg"),
        (f"s3://bucket/{'x' * 400}.jpg", "images/bucket/x*-*.jpg"),
    ],
)
def test_names_stand_for_addresses_and_stay_inside(address: str, name: str) -> None:
    found = Path(name_of(address))
    assert fnmatch(str(found), name)
    assert found.parts[0] == "images"
    assert ".." not in found.parts
    assert max(map(len, found.parts)) <= 255


def test_no_address_comes_from_a_browser(
    project: Project, bucket: type[_Bucket], small_preset: Path, tmp_path: Path
) -> None:
    address = f"{bucket.address}/bucket/photos/a.png"  # type: ignore[attr-defined]
    session = AnnotationSession(lambda name: None, project, str(small_preset))  # type: ignore[arg-type, return-value]
    empty = tmp_path / "upload"
    empty.write_bytes(b"")
    assert [one.record for one in add_uploads(project.images, [Upload(address, empty)])] == [None]
    session.images.add_folder(Path(address))
    assert not bucket.read
    assert project.images.all() == []
    assert images_at("s3://bucket/photos/a.png") == ["s3://bucket/photos/a.png"]
