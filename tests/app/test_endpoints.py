"""The endpoints from another program, by Gradio's client, with the bundled model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from pycocotools.coco import COCO

from maskwright.domain import rle
from maskwright.files.logins import set_password
from maskwright.project import Project
from maskwright_app.samples import samples
from tests.app.conftest import Page, served

pytestmark = pytest.mark.slow
# a busy machine needs longer than httpx waits by itself
PATIENT = {"timeout": 120}
MEADOW = next(sample.path for sample in samples() if "giraffe" in sample.class_names)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """A server with logins, on a project whose first image is a meadow."""
    folder = tmp_path_factory.mktemp("endpoints")
    set_password(folder / "logins.txt", "ann", "correct horse")
    with served(folder / "projekt ü #1", "--device", "cpu", "--auth-file", str(folder / "logins.txt")) as page:
        yield page


@pytest.fixture(scope="module")
def client(server: Page) -> Client:
    with pytest.raises(ValueError, match="login"):
        Client(server.url, verbose=False, httpx_kwargs=dict(PATIENT))
    return Client(server.url, verbose=False, auth=("ann", "correct horse"), httpx_kwargs=dict(PATIENT))


@pytest.fixture(scope="module")
def image(client: Client) -> int:
    return int(client.predict(handle_file(MEADOW), "tree, giraffe", api_name="/segment_text")["image"])


def test_words_accept_reject_and_export(client: Client, image: int) -> None:
    endpoints = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    assert set(endpoints) == {
        "/about", "/segment_text", "/segment_like", "/segment_click", "/segment_everything", "/suggest_names",
        "/find_images", "/accept", "/reject", "/export_coco", "/delete", "/undo", "/redo", "/finetune", "/job_status",
        "/job_cancel",
    }  # fmt: skip
    found = client.predict(image, "tree, giraffe", api_name="/segment_text")
    assert found["categories"] == ["tree", "giraffe"]
    ids = [mask["proposal"] for mask in found["masks"]]
    accepted = client.predict(ids, "Baum/ü", api_name="/accept")
    assert accepted["change"] > found["change"]
    assert {row["category"] for row in accepted["annotations"]} == {"Baum/ü"}
    again = client.predict(image, "tree", None, True, 0.2, api_name="/segment_text")
    if again["masks"]:
        turned = client.predict([again["masks"][0]["proposal"]], api_name="/reject")
        assert turned["annotations"][0]["state"] == "rejected"
    coco = COCO(client.predict({}, api_name="/export_coco"))
    rows = [row for row in coco.anns.values() if row["id"] in {r["id"] for r in accepted["annotations"]}]
    shown = {mask["area"]: mask["segmentation"] for mask in found["masks"]}
    assert rows
    for row in rows:
        assert np.array_equal(coco.annToMask(row).astype(bool), rle.decode(shown[row["area"]]))
        assert row["attributes"]["annotator"] == "ann", "the login name"
    with pytest.raises(AppError):
        client.predict(image, "", api_name="/segment_text")


def test_clicks(client: Client, image: int) -> None:
    answer = client.predict(image, [[100, 60, 1]], api_name="/segment_click")
    assert answer["image"] == image
    assert 1 <= len(answer["masks"]) <= 3
    assert all(mask["duplicate"] is False for mask in answer["masks"])
    first = answer["masks"][0]["proposal"]
    again = client.predict(image, [[100, 60, 1], [10, 10, 0]], None, first, api_name="/segment_click")
    assert len(again["masks"]) <= 1
    boxed = client.predict(image, None, [70, 30, 130, 90], api_name="/segment_click")
    assert boxed["masks"][0]["segmentation"]["size"]
    with pytest.raises(AppError, match="outside"):
        client.predict(image, [[50000, 60]], api_name="/segment_click")


def test_examples_steps_and_searching(client: Client, server: Page, image: int) -> None:
    with Project.open(server.project) as project:
        grass = np.zeros((project.images.open(image).size_hw), bool)
        grass[-60:, :80] = True
        reference = project.accept(image, grass, "box <1>", annotator="ann").id
    answer = client.predict(image, [reference], api_name="/segment_like")
    assert (answer["image"], answer["categories"]) == (image, ["box <1>"])
    for references in ([9999], []):
        with pytest.raises(AppError):
            client.predict(image, references, api_name="/segment_like")
    deleted = client.predict([reference], api_name="/delete")
    assert [(row["id"], row["state"]) for row in deleted["annotations"]] == [(reference, "deleted")]
    back = client.predict(image, api_name="/undo")
    assert back == {"image": image, "change": back["change"], "sentence": "Undone: deletion of 1 mask."}
    assert client.predict(image, api_name="/redo")["sentence"] == "Redone: deletion of 1 mask."
    cleaned = client.predict(
        image, "giraffe, tree", "talk2dino", True, None, "pamr", None, True, api_name="/segment_text"
    )
    assert cleaned["categories"] == ["giraffe", "tree"]
    found = client.predict("a giraffe", 50, api_name="/find_images")
    assert found["problems"] == []
    assert image in {row["image"] for row in found["images"]}


def test_the_example_of_the_readme_runs(server: Page, image: int) -> None:
    text = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    code = next(block for block in text.split("```python\n")[1:] if "gradio_client" in block).partition("```")[0]
    connect, name = 'Client("http://127.0.0.1:7860")', '"meadow.jpg"'
    assert connect in code
    assert name in code
    mine = f'Client("{server.url}", auth=("ann", "correct horse"), verbose=False, httpx_kwargs={PATIENT})'
    values: dict[str, object] = {}
    exec(code.replace(connect, mine).replace(name, f'"{MEADOW}"'), values)
    assert Path(str(values["coco"])).is_file()
    assert values["found"]["image"] == image


def test_without_a_login_nothing_is_told(server: Page) -> None:
    with pytest.raises(ValueError, match="credentials"):
        Client(server.url, verbose=False, auth=("ann", "wrong"), httpx_kwargs=dict(PATIENT))
    assert Path(server.project).is_dir()
