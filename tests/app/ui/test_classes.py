"""Classes through the routes."""

from __future__ import annotations

from typing import Any

from starlette.testclient import TestClient

from maskwright.domain.palette import PALETTE
from maskwright.project import Project
from tests.core.session.conftest import ScriptedEngine, box


def names(client: TestClient) -> list[str]:
    return [entry["name"] for entry in client.get("/ui/classes").json()["classes"]]


def by_name(answer: Any) -> dict[str, dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    return {entry["name"]: entry for entry in answer.json()["classes"]}


def test_add_change_order_and_undo(client: TestClient, project: Project) -> None:
    for name in ("cow", "sky", "草"):
        classes = by_name(client.post("/ui/classes", json={"name": name}))
    cow, sky = classes["cow"]["id"], classes["sky"]["id"]
    changed = by_name(
        client.patch(f"/ui/classes/{cow}", json={"name": "cattle", "hotkey": 3, "color": "#AABBCC", "synonyms": ["ox"]})
    )
    assert changed["cattle"] | {"order": 0} == {
        "id": cow, "name": "cattle", "color": "#aabbcc", "hotkey": 3, "order": 0, "synonyms": ["ox"], "masks": 0,
    }  # fmt: skip
    taken = by_name(client.patch(f"/ui/classes/{sky}", json={"hotkey": 3}))
    assert (taken["sky"]["hotkey"], taken["cattle"]["hotkey"]) == (3, None), "a key changes hands"
    assert by_name(client.patch(f"/ui/classes/{cow}", json={"hotkey": None}))["cattle"]["hotkey"] is None
    client.patch(f"/ui/classes/{cow}", json={"order": 2})
    assert names(client) == ["sky", "草", "cattle"]
    assert client.post("/ui/undo", json={"image": 1}).status_code == 200
    assert names(client) == ["cattle", "sky", "草"]
    for wrong in ({"name": ""}, {"name": "x" * 201}, {"name": "\0"}, {"name": " "}, {"name": 5}, {}):
        assert client.post("/ui/classes", json=wrong).status_code in (400, 422)
    for change in ({"hotkey": True}, {"hotkey": 10}, {"color": "red"}, {"synonyms": [1]}, {"hue": 1}):
        assert client.patch(f"/ui/classes/{cow}", json=change).status_code == 422
    assert client.patch("/ui/classes/99", json={"name": "x"}).status_code == 400
    assert names(client) == ["cattle", "sky", "草"]


def test_merge_and_what_happens_to_the_masks_of_a_deleted_class(client: TestClient, project: Project) -> None:
    for name in ("cow", "ox", "sky", "cloud"):
        project.accept(1, box(0, 10), name)
    key = {name: entry["id"] for name, entry in by_name(client.get("/ui/classes")).items()}
    by_name(client.post("/ui/classes/merge", json={"source": key["ox"], "target": key["cow"]}))
    assert client.delete(f"/ui/classes/{key['cloud']}").status_code == 400, "it has a mask"
    by_name(client.request("DELETE", f"/ui/classes/{key['cloud']}", json={"masks": {"move_to": key["sky"]}}))
    assert sorted(mask.category for mask in project.annotations(1)) == ["cow", "cow", "sky", "sky"]
    by_name(client.request("DELETE", f"/ui/classes/{key['sky']}", json={"masks": "delete"}))
    assert names(client) == ["cow"]
    assert len(project.annotations(1)) == 2
    client.post("/ui/undo", json={"image": 1})
    assert len(project.annotations(1)) == 4
    assert names(client) == ["cow", "sky"]


def test_colours_of_many_classes_differ(client: TestClient) -> None:
    for number in range(len(PALETTE)):
        classes = by_name(client.post("/ui/classes", json={"name": f"class {number}"}))
    assert len(PALETTE) >= 30
    assert len({entry["color"] for entry in classes.values()}) == len(PALETTE)
    first = classes["class 0"]
    by_name(client.request("DELETE", f"/ui/classes/{first['id']}", json={"masks": "delete"}))
    assert by_name(client.post("/ui/classes", json={"name": "class 0"}))["class 0"]["color"] == first["color"]


def test_synonyms_of_a_class_are_part_of_its_prompts(client: TestClient, engine: ScriptedEngine) -> None:
    (cow,) = by_name(client.post("/ui/classes", json={"name": "cow"})).values()
    client.patch(f"/ui/classes/{cow['id']}", json={"synonyms": ["cattle", "ox"]})
    seen = []
    plain = engine.segment
    engine.segment = lambda image, prompt, **more: (seen.append(prompt), plain(image, prompt))[1]  # type: ignore[method-assign]
    client.post("/ui/prompts/text", json={"image": 1, "words": "cow|bull, sky"})
    assert [named.synonyms for named in seen[0].classes] == [("cow", "bull", "cattle", "ox"), ("sky",)]
