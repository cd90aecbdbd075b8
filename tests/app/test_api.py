"""The endpoints without a server."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import maskwright as mw
from maskwright.domain import rle
from maskwright.errors import BadPrompt, MaskwrightError, OtherImage, UsageError
from maskwright.project import Project
from maskwright.session import METHODS, AnnotationSession
from maskwright_app.api import Api
from maskwright_app.api_calls import _checked
from maskwright_app.api_page import api_page, documentation
from tests.app.batch import add_images, propose, region


@pytest.fixture
def image_id(session: AnnotationSession, sample_path: Path) -> int:
    return session.images.add(sample_path).id


def test_the_page_documents_every_argument_with_an_example_that_is_valid(api: Api) -> None:
    functions: list[Callable[..., object]] = [*api.endpoints, api.export_coco]
    text = api_page(functions, "/static/x", "http://localhost:7860/")
    for function in functions:
        description, sentences, example = documentation(function)
        assert description, function.__name__
        assert sentences.keys() == inspect.signature(function).parameters.keys()
        call = ast.parse(example).body[0].value  # type: ignore[attr-defined]
        values = [{"path": "x"} if isinstance(value, ast.Call) else ast.literal_eval(value) for value in call.args]
        _checked(inspect.signature(function), values, {})
        assert [ast.literal_eval(word.value) for word in call.keywords] == [f"/{function.__name__}"]
        assert f"<h2>/{function.__name__}</h2>" in text


def test_undo_redo_and_delete(api: Api, empty_project: Project) -> None:
    project = empty_project
    add_images(project, 2)
    stored = propose(project, 1, cow=region(5, 35), barn=region(45, 75))
    api.accept([f"stored:{row.id}" for row in stored])
    undone = api.undo(1)
    assert undone["image"] == 1
    assert undone["sentence"] == "Undone: accept of 2 masks."
    assert undone["change"] == project.store.change_number()
    assert "accept of 2 masks" in api.redo(1)["sentence"]
    ids = [row.id for row in project.annotations(1)]
    deleted = api.delete(ids)
    assert [(row["id"], row["state"]) for row in deleted["annotations"]] == [(key, "deleted") for key in ids]
    with pytest.raises(OtherImage) as error:
        api.undo(2)
    assert error.value.image_id == 1
    assert "image 1" in str(error.value)
    assert project.annotations(1) == []
    with pytest.raises(UsageError):
        api.undo(None)  # type: ignore[arg-type]
    with pytest.raises(MaskwrightError):
        api.redo(9)
    with pytest.raises(MaskwrightError):
        api.delete([99])
    api.undo(1)
    assert len(project.annotations(1)) == 2, "one step"


def test_all_masks_are_returned_whatever_was_accepted(api: Api, image_id: int) -> None:
    method = next(method for method in METHODS.values() if method)
    prompt: dict[str, Any] = {"words": "tree, giraffe, sky", "method": method}
    first = api.segment_text(image_id, **prompt)
    assert [mask["duplicate"] for mask in first["masks"]] == [False] * len(first["masks"])
    assert len(first["masks"]) > 1
    api.accept([first["masks"][0]["proposal"]])
    second = api.segment_text(image_id, **prompt)
    assert [mask["duplicate"] for mask in second["masks"]] == [True] + [False] * (len(first["masks"]) - 1)
    assert [mask["segmentation"] for mask in second["masks"]] == [mask["segmentation"] for mask in first["masks"]]
    assert second["notice"] == first["notice"]
    assert len(api.accept([second["masks"][0]["proposal"]])["annotations"]) == 1


def test_only_uploads_are_opened(api: Api, sample_path: Path) -> None:
    for image in ({"path": str(sample_path)}, str(sample_path), True, None, {"path": "../x"}):
        with pytest.raises(UsageError):
            api.segment_text(image, "cow")
    with pytest.raises(MaskwrightError):
        api.segment_text(99, "cow")


def test_proposals_are_decided_once(api: Api, image_id: int) -> None:
    masks = api.segment_text(image_id, "tree, giraffe, sky")["masks"]
    ids = [mask["proposal"] for mask in masks]
    assert len(ids) >= 2
    assert [row["state"] for row in api.accept(ids[:1])["annotations"]] == ["accepted"]
    assert [row["state"] for row in api.reject(ids[1:2])["annotations"]] == ["rejected"]
    with pytest.raises(MaskwrightError, match="no longer open"):
        api.accept(ids[:1])
    with pytest.raises(UsageError):
        api.accept(["none"])


def test_a_failed_write_keeps_proposals_open(
    api: Api, empty_project: Project, image_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [mask["proposal"] for mask in api.segment_text(image_id, "tree, sky")["masks"]]

    class DiskFull(MaskwrightError):
        pass

    def full(*rows: object, **more: object) -> None:
        raise DiskFull

    with monkeypatch.context() as broken:
        broken.setattr(empty_project.store.masks, "decide", full)
        with pytest.raises(DiskFull):
            api.accept(ids)
    assert len(api.accept(ids)["annotations"]) == len(ids)


def test_points_and_boxes_are_checked(api: Api, empty_project: Project) -> None:
    add_images(empty_project, 1)
    wrong: list[tuple[Any, Any]] = [
        ([["a", 6]], None),
        ([[1, 2, 3, 4]], None),
        ([[500, 6]], None),
        (None, [1, 1, 1, 1]),
        (None, None),
    ]
    for points, box in wrong:
        with pytest.raises(BadPrompt):
            api.segment_click(1, points, box)
    with pytest.raises(UsageError):
        api.segment_click(1, [[1, 1]], None, "none")


def test_the_export_holds_the_accepted_masks(api: Api, image_id: int) -> None:
    from pycocotools.coco import COCO

    answer = api.segment_text(image_id, "tree, sky")
    api.accept([mask["proposal"] for mask in answer["masks"]])
    coco = COCO(api.export_coco({"only_annotated": True}))
    rows = coco.loadAnns(coco.getAnnIds())
    assert len(rows) == len(answer["masks"]) >= 1
    for row, mask in zip(rows, answer["masks"], strict=True):
        assert np.array_equal(coco.annToMask(row).astype(bool), rle.decode(mask["segmentation"]))
    with pytest.raises(mw.MaskwrightError):
        api.export_coco({"shape": "round"})
