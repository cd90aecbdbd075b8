"""Batches, exchange, fine-tuning and comparison through the routes."""

from __future__ import annotations

import io
import json
import time
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco
from starlette.testclient import TestClient

from maskwright.domain import Image, ModelRef, Prediction, RunProgress, rle
from maskwright.project import Project
from maskwright.session import AnnotationSession
from maskwright.store import NewRun
from tests.core.session.conftest import SIZE_HW, ScriptedEngine, box

COW = box(0, 10)


@pytest.fixture
def many(project: Project, engine: ScriptedEngine) -> Project:
    """Ten images, and an engine that finds a cow on each."""
    for seed in range(8):
        pixels = np.random.default_rng(seed).integers(0, 255, (*SIZE_HW, 3), dtype=np.uint8)
        project.images.register(Image(pixels, f"more-{seed}"))
    engine.regions = {"cow": COW}
    engine.model = engine.text_model = ModelRef("scripted", "0" * 64)  # type: ignore[attr-defined]
    return project


def jobs(client: TestClient) -> dict[str, dict[str, Any]]:
    return {job["id"]: job for job in client.get("/ui/jobs").json()["jobs"]}


def until(ready: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end
        time.sleep(0.02)


def start(client: TestClient, status: int = 200, **body: Any) -> str:
    answer = client.post("/ui/jobs/predict", json=body)
    assert answer.status_code == status, answer.text
    return str(answer.json().get("job"))


def test_a_batch_leaves_proposals_on_the_images_of_the_filter(client: TestClient, many: Project) -> None:
    many.accept(1, COW, "cow")
    client.post("/ui/images/2", json={"excluded": True})
    job = start(client, words="cow", filter={"status": "none"}, accept_above=None)
    until(lambda: jobs(client)[job]["state"] == "done")
    assert jobs(client)[job] | {"seconds_left": None} == {
        "id": job, "kind": "predict", "title": "cow", "state": "done", "done": 8, "total": 8,
        "message": "8 masks proposed.", "notes": [], "seconds_left": None, "user": "",
    }  # fmt: skip
    proposed = many.annotations(states=["proposed"])
    assert sorted({mask.image_id for mask in proposed}) == list(range(3, 11))
    again = start(client, words="cow", images=[3, 4], accept_above=0.5)
    until(lambda: jobs(client)[again]["state"] == "done")
    assert len(many.annotations(states=["proposed"])) == 6
    assert len(many.annotations()) == 3
    refused: tuple[dict[str, Any], ...] = (
        {}, {"words": " "}, {"words": "a", "category": "cow"}, {"words": "a", "filter": {"class": "nothing"}},
    )  # fmt: skip
    for body in refused:
        start(client, 400, **body)
    malformed: tuple[dict[str, Any], ...] = (
        {"words": "a", "images": [1, 1]}, {"words": "a", "accept_above": True}, {"words": 1},
    )  # fmt: skip
    for body in malformed:
        start(client, 422, **body)
    assert client.post("/ui/jobs/predict-9/pause").status_code == 400
    assert client.post(f"/ui/jobs/{job}/explode").status_code == 400


def test_a_batch_is_paused_continued_after_a_restart_and_cancelled(
    client: TestClient, many: Project, engine: ScriptedEngine, session: AnnotationSession
) -> None:
    plain = engine.segment

    def slow(image: Image, prompt: Any, **more: Any) -> Prediction:
        time.sleep(0.1)
        return plain(image, prompt, **more)

    engine.segment = slow  # type: ignore[method-assign]
    job = start(client, words="cow")
    start(client, 400, words="cow")
    until(lambda: jobs(client)[job]["done"] >= 2)
    assert client.post(f"/ui/jobs/{job}/pause").json()["jobs"][0]["state"] == "paused"
    done = len(many.annotations(states=["proposed"]))
    assert 2 <= done < 10
    # a session of its own is what a restarted server has
    restarted = AnnotationSession(lambda name: engine, many, "scripted")  # type: ignore[arg-type,return-value]
    assert restarted.batches.get(job).state == "paused"
    restarted.batches.resume(job)
    until(lambda: restarted.batches.get(job).state == "done")
    assert len(many.annotations(states=["proposed"])) == 10
    assert len({mask.image_id for mask in many.annotations(states=["proposed"])}) == 10, "none twice"
    other = start(client, words="cow, sky")
    assert client.post(f"/ui/jobs/{other}/cancel").json()["jobs"][0]["state"] in ("cancelled", "done")
    assert client.post(f"/ui/jobs/{other}/resume").status_code == 400


def test_the_export_equals_the_store_in_every_format(client: TestClient, project: Project) -> None:
    cow = project.accept(1, COW, "=cow")
    project.accept(2, box(10, 30), "草", annotator="ann")

    def export(**body: Any) -> Any:
        answer = client.post("/ui/export", json=body)
        assert answer.status_code == 200, answer.text
        return answer

    answer = export(format="coco")
    assert "filename*=utf-8''project.json" in answer.headers["content-disposition"]
    rows = answer.json()["annotations"]
    assert [coco.decode(row["segmentation"]).sum() for row in rows] == [200, 400]
    table = export(format="csv").text.splitlines()
    assert len(table) == 3
    assert f"1,{project.images.all()[0].file_name},30,20,{cow.id},'=cow,200," in table[1]
    contents = {
        name: zipfile.ZipFile(io.BytesIO(export(format=name, images=images).content)).namelist()
        for name, images in (("coco", True), ("yolo", False), ("masks", True), ("csv", True), ("overlays", False))
    }
    for name, ending in (("coco", "project.json"), ("yolo", ".txt"), ("masks", "classes.json"), ("csv", "project.csv")):
        assert any(entry.endswith(ending) for entry in contents[name])
        assert sum(entry.endswith(".png") for entry in contents[name]) == (4 if name == "masks" else 2)
    assert [entry[-4:] for entry in contents["overlays"]] == [".jpg", ".jpg"]
    assert client.post("/ui/export", json={"format": "nonsense"}).status_code == 400


def test_an_import_is_reported_before_anything_is_written(client: TestClient, project: Project) -> None:
    project.accept(1, COW, "cow")
    file = client.post("/ui/export", json={"format": "coco"}).content
    data = json.loads(file)
    data["annotations"][0] |= {"segmentation": dict(rle.encode(box(20, 30))), "attributes": {}}

    def send(content: bytes, dry_run: str) -> Any:
        return client.post("/ui/import", files={"file": ("coco ü.json", content)}, data={"dry_run": dry_run})

    changed = json.dumps(data).encode()
    number = project.store.change_number()
    dry = send(changed, "true").json()
    assert (dry["masks"], dry["dry_run"], project.store.change_number()) == (1, True, number)
    done = send(changed, "false").json()
    assert done["lines"] == dry["lines"]
    assert len(project.annotations(1)) == 2
    assert send(changed, "false").json()["masks"] == 0
    assert send(b"[]", "true").status_code == 400
    assert send(file, "maybe").status_code == 400


def test_models_are_compared_without_storing_anything(client: TestClient, many: Project) -> None:
    number = many.store.change_number()
    answer = client.post("/ui/compare", json={"image": 1, "words": "cow, sky", "presets": ["tiny", "scripted"]}).json()
    assert [side["preset"] for side in answer["sides"]] == ["tiny", "scripted"]
    for side in answer["sides"]:
        assert [mask["category"] for mask in side["masks"]] == ["cow"]
        assert "sky" in side["notice"]
    assert many.store.change_number() == number


def test_fine_tuning_says_what_is_missing_and_what_would_be_learned(client: TestClient, project: Project) -> None:
    answer = client.get("/ui/finetune").json()
    assert answer["runs"] == []
    assert "annotated images" in answer["plan"]["reason"]
    for image in (1, 2):
        for left in (0, 10, 20):
            project.accept(image, box(left, left + 5), "cow")
    plan = client.get("/ui/finetune").json()["plan"]
    assert (plan["reason"], plan["classes"]) == (None, [{"name": "cow", "masks": 6}])
    # of two images each is held out once
    assert (plan["images"], plan["validation"], plan["parts"], plan["judged_by"]) == (2, 2, 2, 6)
    assert plan["recipes"][0]["name"] == "decoder"
    assert client.get("/ui/finetune/run-7/images").status_code == 400
    assert client.post("/ui/finetune", json={"act": "use", "run": "run-7"}).status_code == 400
    assert client.post("/ui/finetune", json={"act": "use"}).status_code == 400
    assert client.post("/ui/finetune", json={"act": "explode"}).status_code == 422


def test_a_run_shows_its_curves_and_is_paused(client: TestClient, project: Project) -> None:
    for image in (1, 2):
        for left in (0, 10, 20):
            project.accept(image, box(left, left + 5), "cow")
    learners = client.get("/ui/finetune").json()["plan"]["learners"]
    assert learners == [{"task": "text", "method": None, "title": "words"}], "the preset of this test has no folder"
    project.store.runs.add(NewRun("run-1", "decoder", "tiny", project.runs.plan(), "ann"))
    project.store.runs.report("run-1", RunProgress(curve=((10, 2.0), (20, 1.0)), metrics=((0, 0.25),)))
    (run,) = client.get("/ui/finetune").json()["runs"]
    assert (run["curve"], run["metrics"], run["can"]) == ([[10, 2.0], [20, 1.0]], [[0, 0.25]], ["pause", "cancel"])
    (run,) = client.post("/ui/finetune", json={"act": "pause", "run": "run-1"}).json()["runs"]
    assert (run["state"], run["can"]) == ("pausing", ["cancel"])
    assert project.store.runs.report("run-1", RunProgress()), "its process is told to stop"


def test_every_format_that_is_offered_can_be_exported_and_a_zip_archive_comes_back(
    client: TestClient, project: Project
) -> None:
    project.accept(1, COW, "cow")
    formats = client.get("/ui/state").json()["formats"]
    names = [form["name"] for form in formats]
    assert names[:2] == ["coco", "yolo"]
    assert all(form["label"] and form["sentence"].endswith(".") for form in formats)
    archives = {name: client.post("/ui/export", json={"format": name}) for name in names}
    assert {answer.status_code for answer in archives.values()} == {200}

    def send(data: bytes, **flags: str) -> Any:
        files = {"file": ("labels.zip", data, "application/zip")}
        return client.post("/ui/import", files=files, data={"dry_run": "true", **flags})

    # the images of the project are known by their pixels, and their masks are in it already
    assert send(archives["cvat"].content).json()["lines"][0].startswith("0 masks on 2 images, 0 of them new")
    assert send(archives["voc"].content, update="true").json()["masks"] == 0
    outside = io.BytesIO()
    with zipfile.ZipFile(outside, "w") as archive:
        archive.writestr("../evil.json", "{}")
    for data, sentence in ((b"no zip", "not a zip archive"), (outside.getvalue(), "points outside the archive")):
        refused = send(data)
        assert refused.status_code == 400
        assert sentence in refused.text
