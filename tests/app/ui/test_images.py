"""Images through the routes: upload, status, filters, deletion, pixels."""

from __future__ import annotations

import io
import stat
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow
from starlette.testclient import TestClient

from maskwright.domain import Image, rle
from maskwright.engine import Engine
from maskwright.errors import MaskwrightError
from maskwright.project import Project
from maskwright.session import AnnotationSession
from maskwright_app.samples import samples
from maskwright_app.server import page_app
from tests.app.ui.conftest import ADDRESS
from tests.core.session.conftest import ScriptedEngine, box


def png(seed: int, size: tuple[int, int] = (8, 6), **options: Any) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    file = io.BytesIO()
    Pillow.fromarray(pixels).save(file, options.pop("format", "PNG"), **options)
    return file.getvalue()


def archive(entries: dict[str, bytes], links: tuple[str, ...] = ()) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as target:
        for name, data in entries.items():
            target.writestr(name, data)
        for name in links:
            info = zipfile.ZipInfo(name)
            info.external_attr = (stat.S_IFLNK | 0o777) << 16
            target.writestr(info, "/etc/passwd")
    return file.getvalue()


def upload(client: TestClient, *files: tuple[str, bytes]) -> dict[str, Any]:
    response = client.post("/ui/images", files=[("files", file) for file in files])
    assert response.status_code == 200, response.text
    return response.json()


def listed(client: TestClient, **query: Any) -> dict[int, dict[str, Any]]:
    answer = client.get("/ui/images", params=query).json()
    assert answer["total"] == len(answer["items"])
    return {item["id"]: item for item in answer["items"]}


def test_files_and_archives_are_added_with_a_line_each(client: TestClient, project: Project) -> None:
    answer = upload(
        client,
        ("zuerst ü #1.png", png(1)),
        ("broken.jpg", b"no image"),
        ("all.zip", archive({"a/b/x.png": png(2), "notes.txt": b"", "__MACOSX/._x.png": b"", "bad.png": b"?"})),
    )
    assert [item["title"] for item in answer["images"]] == ["zuerst ü #1.png", "x.png"]
    errors = [line["error"] for line in answer["lines"]]
    assert [error is None for error in errors] == [True, False, True, False]
    assert "broken.jpg" in errors[1]
    assert len(project.images.all()) == 4
    assert upload(client, ("again.png", png(1)))["images"][0]["id"] == answer["images"][0]["id"], "same bytes"
    assert client.post("/ui/images", files=[]).status_code == 400


def test_an_archive_cannot_write_elsewhere_nor_fill_the_disk(
    client: TestClient, project: Project, tmp_path: Path
) -> None:
    entries = {"../../evil.png": png(3), "/abs.png": png(4), "c:\\x\\win.png": png(5), "..\\back.png": png(6)}
    lines = upload(client, ("slip.zip", archive(entries, links=("link.png",))))["lines"]
    assert all(line["error"] for line in lines)
    assert len(lines) == 5
    bomb = archive({f"{n}.png": bytes(1 << 20) for n in range(8)})
    assert len(bomb) < 1 << 16
    assert "zip archive" in upload(client, ("bomb.zip", bomb))["lines"][0]["error"]
    assert "zip archive" in upload(client, ("none.zip", b"PK nothing"))["lines"][0]["error"]
    assert len(project.images.all()) == 2
    assert not list(tmp_path.rglob("evil*"))


def test_no_file_of_an_archive_that_is_a_picture_goes_silently(client: TestClient) -> None:
    entries = {"a.png": png(7), "IMG_1.HEIC": b"\0\0\0\x18ftypheic" + bytes(40), "walk.gif": b"GIF89a" + bytes(40)}
    lines = upload(client, ("all.zip", archive(entries)))["lines"]
    assert [line["error"] is None for line in lines] == [True, False, False]
    assert "adds HEIC" in lines[1]["error"]
    assert "walk.gif: this file type is not supported" in lines[2]["error"]


def test_of_a_stack_the_first_page_or_every_page(client: TestClient) -> None:
    file = io.BytesIO()
    pages = [Pillow.fromarray(np.full((6, 8), value, np.uint8)) for value in (10, 90, 170)]
    pages[0].save(file, "TIFF", save_all=True, append_images=pages[1:])
    (line,) = upload(client, ("stack.tif", file.getvalue()))["lines"]
    assert (line["pages"], line["new"]) == (3, True)
    assert "the first is used" in line["notice"]
    answer = client.post("/ui/images", files=[("files", ("stack.tif", file.getvalue()))], data={"pages": "all"}).json()
    assert [line["name"] for line in answer["lines"]] == ["stack.tif"] * 3
    assert len({item["id"] for item in answer["images"]}) == 3


def test_a_missing_file_comes_back_by_its_content(client: TestClient, project: Project) -> None:
    item = upload(client, ("cow.png", png(8)))["images"][0]
    file = project.folder / project.images.all()[-1].file_name
    file.unlink()
    answer = client.get(item["pixels"])
    assert answer.status_code >= 400
    assert "is missing from" in answer.json()["error"]
    (line,) = upload(client, ("other name.png", png(8)))["lines"]
    assert (line["new"], line["error"]) == (False, None)
    assert f"is the missing file of image {item['id']}" in line["notice"]
    assert client.get(item["pixels"]).status_code == 200


def test_status_filters_and_the_next_unreviewed(client: TestClient, engine: ScriptedEngine, project: Project) -> None:
    upload(client, ("c.png", png(1, (30, 20))), ("d.png", png(2, (30, 20))))
    engine.regions = {"cow": box(0, 10)}
    client.post("/ui/prompts/text", json={"image": 2, "words": "cow"})
    client.post("/ui/masks", json={"image": 3, "rle": rle.encode(box(0, 10)), "category": "sky"})
    assert {key: item["status"] for key, item in listed(client).items()} == {
        1: "none", 2: "proposed", 3: "done", 4: "none",
    }  # fmt: skip
    assert client.post("/ui/images/3", json={"complete": True}).json()["status"] == "complete"
    assert client.post("/ui/images/4", json={"excluded": True}).json()["status"] == "excluded"
    assert list(listed(client, status="proposed")) == [2]
    assert list(listed(client, **{"class": "sky"})) == [3]
    assert listed(client, status="done") == {}
    assert client.get("/ui/images", params={"status": "odd"}).status_code == 400
    assert [client.get("/ui/images/next", params={"after": n}).json()["id"] for n in (0, 1, 2, 4)] == [1, 2, 1, 1]
    counts = client.get("/ui/state").json()["project"]["counts"]
    assert counts == {
        "images": 4, "none": 1, "proposed": 1, "done": 0, "complete": 1, "excluded": 1, "masks": 1, "proposals": 1,
    }  # fmt: skip
    assert client.post("/ui/images/3", json={"complete": False}).json()["status"] == "done"
    assert client.post("/ui/images/3", json={}).status_code == 400


def test_an_excluded_image_takes_no_part_in_exports_and_training(client: TestClient, project: Project) -> None:
    mask = project.accept(1, box(0, 10), "cow")
    project.accept(2, box(0, 10), "cow")
    client.post("/ui/images/1", json={"excluded": True})
    with project.store.dataset() as dataset:
        assert [record.id for record in dataset.images()] == [2]
        assert [row.image_id for row in dataset.annotations()] == [2]
        assert dataset.number() == 1
    assert [key.image_id for key in project.store.masks.accepted_keys()] == [2]
    client.post("/ui/images/1", json={"excluded": False})
    assert project.annotations(1) == [mask]


def test_a_deleted_image_comes_back_by_undo_and_by_adding_it_again(client: TestClient, project: Project) -> None:
    project.accept(1, box(0, 10), "cow", annotator="ann")
    (added,) = upload(client, ("c.png", png(1, (30, 20))))["images"]
    assert client.delete("/ui/images/1").json()["masks"] == 1
    assert list(listed(client)) == [2, added["id"]]
    assert project.annotations() == []
    for path in ("/ui/images/1", "/ui/images/1/pixels", "/ui/images/1/thumbnail"):
        assert client.get(path).status_code == 400
    with pytest.raises(MaskwrightError):
        project.images.open(1)
    assert "image" in client.post("/ui/undo", json={"image": 2}).json()["sentence"], "from any other image"
    assert [mask.image_id for mask in project.annotations()] == [1]
    assert client.post("/ui/redo", json={"image": 2}).status_code == 200
    assert list(listed(client)) == [2, added["id"]]
    client.delete(f"/ui/images/{added['id']}")
    assert upload(client, ("renamed.png", png(1, (30, 20))))["images"][0]["id"] == added["id"]
    assert len(list((project.folder / "images").glob("*c.png"))) == 1


def test_pixels_are_upright_and_as_the_core_reads_them(client: TestClient, project: Project) -> None:
    exif = Pillow.Exif()
    exif[0x0112] = 6
    sixteen, file = np.arange(48, dtype=np.uint16).reshape(6, 8) * 1000, io.BytesIO()
    Pillow.fromarray(sixteen).save(file, "PNG")
    alpha = io.BytesIO()
    Pillow.fromarray(np.full((6, 8, 4), (200, 10, 10, 0), np.uint8)).save(alpha, "PNG")
    plain = png(1)
    items = upload(
        client,
        ("plain.png", plain),
        ("turned.jpg", png(2, (80, 60), format="JPEG", exif=exif)),
        ("sixteen.png", file.getvalue()),
        ("alpha.png", alpha.getvalue()),
        ("scan.tiff", png(3, format="TIFF")),
    )["images"]
    for item in items:
        response = client.get(item["pixels"])
        shown = np.asarray(Pillow.open(io.BytesIO(response.content)).convert("RGB"), int)
        pixels = project.images.open(item["id"]).pixels
        assert shown.shape == pixels.shape == (item["height"], item["width"], 3)
        assert np.abs(shown - pixels).mean() < 8
        assert "immutable" in response.headers["cache-control"]
        again = client.get(item["pixels"], headers={"If-None-Match": response.headers["etag"]})
        assert again.status_code == 304
    assert client.get(items[0]["pixels"]).content == plain
    encodings = [client.get(path).headers.get("content-encoding") for path in ("/ui/images", items[0]["pixels"])]
    assert encodings == ["gzip", None], "what is compressed already is sent as it is"
    assert items[1]["width"] == 60
    small = Pillow.open(io.BytesIO(client.get(items[1]["thumbnail"]).content))
    assert small.size == (60, 80)


def test_a_large_thumbnail_is_small_and_made_once(client: TestClient, project: Project) -> None:
    (item,) = upload(client, ("large.jpg", png(1, (1200, 600), format="JPEG")))["images"]
    first = client.get(item["thumbnail"]).content
    assert Pillow.open(io.BytesIO(first)).size == (256, 128)
    (project.folder / "images" / "large.jpg").unlink()
    assert client.get(item["thumbnail"]).content == first
    missing = client.get(item["pixels"])
    assert missing.status_code == 400
    assert "large.jpg" in missing.json()["error"]


def test_the_samples_come_with_words_and_go_again(client: TestClient, project: Project) -> None:
    mine = [record.id for record in project.images.all()]
    added = client.post("/ui/images/samples").json()
    assert added["words"] == samples()[0].class_names
    assert len(added["ids"]) == len(samples())
    assert client.delete("/ui/images/samples").json()["removed"] == len(samples())
    assert client.get("/ui/images").json()["total"] == len(mine)
    assert client.delete("/ui/images/samples").json()["removed"] == 0
    client.post("/ui/undo", json={"image": mine[0]})
    assert client.get("/ui/images").json()["total"] == len(mine) + 1


def test_images_are_listed_by_a_phrase_and_as_what_to_label_next(project: Project, talking_preset: Path) -> None:
    for seed in range(3):
        project.images.register(Image.open(_saved(project.folder.parent / f"{seed}.png", png(seed))))
    session = AnnotationSession(lambda name: Engine.load(talking_preset, "cpu"), project, str(talking_preset))
    every = [record.id for record in project.images.all()]
    with TestClient(page_app(session), base_url=ADDRESS) as client:
        ranked = client.get("/ui/images", params={"phrase": "a cow"}).json()
        assert ranked["total"] == len(every)
        assert sorted(item["id"] for item in ranked["items"]) == every
        scores = [item["score"] for item in ranked["items"]]
        assert scores == sorted(scores, reverse=True)
        page = client.get("/ui/images", params={"phrase": "a cow", "offset": 1, "limit": 2}).json()
        assert page == {"total": len(every), "items": ranked["items"][1:3]}
        project.accept(1, np.ones(project.images.open(1).size_hw, bool), "cow")
        done = client.get("/ui/images", params={"phrase": "a cow", "status": "done"}).json()
        assert [item["id"] for item in done["items"]] == [1]
        following = client.get("/ui/images", params={"status": "next"}).json()
        assert sorted(item["id"] for item in following["items"]) == every[1:]
        distances = [item["score"] for item in following["items"]]
        assert distances == sorted(distances, reverse=True)


def _saved(file: Path, data: bytes) -> Path:
    file.write_bytes(data)
    return file
