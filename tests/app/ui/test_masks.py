"""Prompts, proposals and decisions through the routes of the page."""

from __future__ import annotations

from typing import Any

import numpy as np
from starlette.testclient import TestClient

from maskwright.domain import rle
from maskwright.project import Project
from maskwright.session import AnnotationSession
from tests.core.session.conftest import ScriptedEngine, box

COW, SKY = box(0, 10), box(10, 30)


def post(client: TestClient, path: str, status: int = 200, **body: Any) -> dict[str, Any]:
    response = client.post(f"/ui{path}", json=body)
    assert response.status_code == status, response.text
    return response.json()


def put(client: TestClient, mask: int, **body: Any) -> dict[str, Any]:
    response = client.put(f"/ui/masks/{mask}/reference", json=body)
    assert response.status_code == 200, response.text
    return response.json()


def find(client: TestClient, words: str = "cow, sky", image: int = 1) -> dict[str, dict[str, Any]]:
    masks = post(client, "/prompts/text", image=image, words=words)["masks"]
    return {mask["category"]: mask for mask in masks}


def on_image(client: TestClient, image: int = 1, **known: int) -> dict[str, dict[str, Any]]:
    masks = post(client, f"/images/{image}/masks", known={key.replace("_", ":"): n for key, n in known.items()})
    return {mask["key"]: mask for mask in masks["masks"]}


def test_proposals_of_words_are_stored_until_somebody_decides(
    client: TestClient, engine: ScriptedEngine, session: AnnotationSession
) -> None:
    engine.regions = {"cow": COW, "sky": SKY}
    answer = post(client, "/prompts/text", image=1, words="cow, sky, shoe, hat")
    assert [mask["state"] for mask in answer["masks"]] == ["proposed"] * 2
    assert [missing["name"] for missing in answer["missing"]] == ["shoe", "hat"]
    # another session is what a restarted server, another tab and napari have
    other = AnnotationSession(lambda name: engine, session.project, "scripted")  # type: ignore[arg-type,return-value]
    assert {mask.annotation.category for mask in other.masks.of_image(1)} == {"cow", "sky"}
    keys = [mask["key"] for mask in answer["masks"]]
    accepted = post(client, "/decisions", image=1, accept=keys[:1])
    assert [(mask["key"], mask["state"]) for mask in accepted["masks"]] == [(keys[0], "accepted")], "the key stays"
    assert post(client, "/decisions", image=1, reject=keys[1:])["removed"] == keys[1:]
    assert list(on_image(client)) == keys[:1]
    assert "accept" not in str(post(client, "/decisions", 400, image=1, accept=keys[1:]))


def test_a_prompt_replaces_its_own_proposals_only(client: TestClient, engine: ScriptedEngine) -> None:
    engine.regions = {"cow": COW, "sky": SKY}
    first = find(client)
    post(client, "/decisions", image=1, accept=[first["sky"]["key"]])
    engine.regions = {"cow": box(0, 5), "sky": SKY}
    second = find(client, "cow")
    masks = on_image(client)
    assert set(masks) == {first["sky"]["key"], second["cow"]["key"]}
    assert masks[second["cow"]["key"]]["area"] == 100
    post(client, "/undo", 409, image=2)
    assert post(client, "/undo", image=1)["sentence"] == "Undone: accept of 1 mask.", "proposing is no step"


def test_only_masks_that_the_page_does_not_know_carry_pixels(client: TestClient, engine: ScriptedEngine) -> None:
    engine.regions = {"cow": COW, "sky": SKY}
    cow, sky = find(client).values()
    assert np.array_equal(rle.decode(cow["rle"]), COW)
    known = on_image(client, stored_1=cow["revision"], stored_2=sky["revision"] + 1)
    assert ["rle" in mask for mask in known.values()] == [False, True]


def test_above_a_score_is_one_step_and_leaves_duplicates(client: TestClient, engine: ScriptedEngine) -> None:
    engine.regions = {"cow": COW, "sky": SKY}
    post(client, "/masks", image=1, rle=rle.encode(COW), category="cow")
    find(client)
    decided = post(client, "/decisions", image=1, above=0.5)
    assert [mask["category"] for mask in decided["masks"]] == ["sky"], "the cow repeats the one drawn"
    assert post(client, "/decisions", image=1, above=0.95)["decided"] == 0
    assert [mask["duplicate"] for mask in on_image(client).values()] == [False, True, False]
    post(client, "/undo", image=1)
    assert sorted(mask["state"] for mask in on_image(client).values()) == ["accepted", "proposed", "proposed"]


def test_a_click_stays_in_memory_until_it_is_accepted_under_the_name_given(
    client: TestClient, engine: ScriptedEngine
) -> None:
    (mask,) = post(client, "/prompts/click", image=1, points=[[3, 3, 1]], category="mug")["masks"]
    assert (mask["state"], mask["category"]) == ("click", "mug")
    assert on_image(client) == {}
    accepted = post(client, "/decisions", image=1, accept=[mask["key"]])
    assert accepted["removed"] == [mask["key"]]
    assert [row["category"] for row in accepted["masks"]] == ["mug"]


def test_a_name_given_to_a_click_labels_nothing_else(client: TestClient, engine: ScriptedEngine) -> None:
    """A name left in the field labelled six masks of everything in another image "cow"."""
    (clicked,) = post(client, "/prompts/click", image=1, points=[[3, 3, 1]])["masks"]
    refused = post(client, "/decisions", 400, image=1, accept=[clicked["key"]])
    assert refused["error"] == "A mask without a name cannot be kept. Name its category."
    post(client, "/decisions", image=1, accept=[clicked["key"]], category="cow")
    engine.candidates = [box(0, 5), box(10, 20), box(22, 26)]
    found = post(client, "/prompts/everything", image=2)["masks"]
    assert [mask["category"] for mask in found] == ["", "", ""], "nobody has named them"
    names = [entry["name"] for entry in client.get("/ui/classes").json()["classes"]]
    assert names == ["cow"], "what has no name is no class"
    one, two, three = (mask["key"] for mask in found)
    assert "without a name" in post(client, "/decisions", 400, image=2, accept=[one])["error"]
    assert "without a name" in post(client, "/decisions", 400, image=2, above=0)["error"]
    named = client.patch(f"/ui/masks/{found[0]['annotation']}", json={"category": "mug"}).json()["masks"]
    assert [mask["category"] for mask in named] == ["mug"]
    accepted = post(client, "/decisions", image=2, accept=[two, three], category="cup")["masks"]
    assert [mask["category"] for mask in accepted] == ["cup", "cup"]
    assert {key: mask["category"] for key, mask in on_image(client, 2).items()} == {
        one: "mug",
        two: "cup",
        three: "cup",
    }
    again = post(client, "/prompts/everything", image=2)["masks"]
    assert [mask["duplicate"] for mask in again] == [False, True, True], "whatever the accepted ones are called"


def test_what_the_model_was_not_taught_is_known_after_a_reload(client: TestClient, engine: ScriptedEngine) -> None:
    engine.regions, engine.unknown = {"cow": COW, "yak": SKY}, ("yak",)
    found = find(client, "cow, yak")
    for masks in (found.values(), on_image(client).values()):
        assert {mask["category"]: mask["out_of_vocabulary"] for mask in masks} == {"cow": False, "yak": True}


def test_the_model_suggests_names_for_clicks_and_proposals(client: TestClient, engine: ScriptedEngine) -> None:
    (clicked,) = post(client, "/prompts/click", image=1, points=[[3, 3, 1]])["masks"]
    refused = client.post("/ui/prompts/names", json={"image": 1, "proposal": clicked["key"]})
    assert (refused.status_code, refused.json()["error"]) == (
        400, "This project has no category yet. Type a name for the first one."
    )  # fmt: skip
    client.post("/ui/classes", json={"name": "cow"})
    (found,) = post(client, "/prompts/everything", image=1)["masks"]
    for mask in (clicked, found):
        answer = post(client, "/prompts/names", image=1, proposal=mask["key"])
        assert answer["names"] == [{"name": "cow", "probability": 1.0}]
    assert client.post("/ui/prompts/names", json={"image": 1, "proposal": "open:gone"}).status_code == 400


def test_a_mask_is_split_into_its_parts_in_one_step(client: TestClient, project: Project) -> None:
    parts = [box(0, 10), box(12, 15), box(20, 28)]
    (drawn,) = post(client, "/masks", image=1, rle=rle.encode(np.any(parts, axis=0)), category="cow")["masks"]
    path = f"/masks/{drawn['annotation']}/split"
    masks = post(client, path, revision=1)["masks"]
    assert [(mask["category"], mask["state"], mask["area"]) for mask in masks] == [
        ("cow", "accepted", 200), ("cow", "accepted", 160), ("cow", "accepted", 60)
    ]  # fmt: skip
    assert masks[0]["key"] == drawn["key"]
    post(client, path, 400, revision=2)
    post(client, path.replace(str(drawn["annotation"]), str(masks[1]["annotation"])), 400, revision=1)
    post(client, "/undo", image=1)
    (mask,) = on_image(client).values()
    assert (mask["key"], mask["area"]) == (drawn["key"], 420)


def test_examples_are_kept_by_the_project(client: TestClient, project: Project) -> None:
    cow, other = (project.accept(1, region, "cow").id for region in (COW, SKY))
    put(client, cow, shows=True)
    answer = put(client, other, shows=False, category="cow")
    marks = [
        {"annotation": cow, "category": "cow", "shows": True},
        {"annotation": other, "category": "cow", "shows": False},
    ]
    assert answer["references"] == client.get("/ui/state").json()["references"] == marks
    assert on_image(client)[f"stored:{cow}"]["reference_of"] == ["cow"]
    assert put(client, cow, shows=None)["references"] == marks[1:]
    client.delete(f"/ui/masks/{other}")
    assert client.get("/ui/state").json()["references"] == []
    assert client.put(f"/ui/masks/{other}/reference", json={"shows": True}).status_code == 400, "it is not accepted"


def test_everything_replaces_only_what_everything_found(client: TestClient, engine: ScriptedEngine) -> None:
    engine.regions = {"object": COW}
    word = find(client, "object")["object"]
    engine.candidates = [box(10, 15)]
    (first,) = post(client, "/prompts/everything", image=1)["masks"]
    engine.candidates = []
    answer = post(client, "/prompts/everything", image=1)
    assert answer["masks"] == []
    assert "there" not in answer["notice"], "nobody clicked anywhere"
    assert list(on_image(client)) == [word["key"]], f"{first['key']} is gone"


def test_a_brush_correction_is_a_revision_and_a_conflict_shows_both(client: TestClient, project: Project) -> None:
    (drawn,) = post(client, "/masks", image=1, rle=rle.encode(COW), category="cow")["masks"]
    assert drawn["source"] == "manual"
    path = f"/ui/masks/{drawn['annotation']}"
    edited = client.put(path, json={"revision": 1, "rle": rle.encode(SKY)}).json()
    assert [(mask["revision"], mask["area"]) for mask in edited["masks"]] == [(2, 400)]
    conflict = client.put(path, json={"revision": 1, "rle": rle.encode(COW)})
    assert conflict.status_code == 409
    assert (conflict.json()["mask"]["revision"], conflict.json()["mask"]["area"]) == (2, 400)
    assert np.array_equal(project.annotations(1)[0].mask.to_array(), SKY), "nothing was overwritten"
    assert client.patch(path, json={"category": "sky"}).json()["masks"][0]["category"] == "sky"
    assert len(client.get(f"{path}/history").json()["history"]) == 3
    assert client.delete(path).json()["removed"] == [drawn["key"]]
    assert on_image(client) == {}
    for wrong in ({"size": [20, 30], "counts": "!"}, {"size": [2, 2], "counts": "4"}, rle.encode(box(0, 0))):
        assert client.post("/ui/masks", json={"image": 1, "rle": wrong, "category": "x"}).status_code == 400


def test_a_proposal_can_be_corrected_before_it_is_accepted(client: TestClient, engine: ScriptedEngine) -> None:
    engine.regions = {"cow": COW}
    cow = find(client, "cow")["cow"]
    path = f"/ui/masks/{cow['annotation']}"
    (edited,) = client.put(path, json={"revision": cow["revision"], "rle": rle.encode(SKY)}).json()["masks"]
    assert (edited["state"], edited["area"], edited["score"]) == ("proposed", 400, None)
