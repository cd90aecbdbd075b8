"""Batch prediction: resumed, cancelled, decided on, and never over accepted masks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import maskwright as mw
from maskwright.domain import TextPrompt
from maskwright.domain.proposal_id import ProposalId
from maskwright.engine import Engine
from maskwright.errors import Cancelled, MaskwrightError
from maskwright.project import Project
from maskwright.project.prelabel import BatchOptions, ImagePrediction, predict_like, predict_text
from maskwright.session import AnnotationSession
from tests.progress import Recorded

MEADOW = TextPrompt.parse("grass, meadow", background=True, threshold=0.01)


@pytest.fixture
def engine(small_preset: Path) -> Engine:
    return Engine.load(small_preset, "cpu")


@pytest.fixture
def project(tmp_path: Path, rng: np.random.Generator) -> Iterator[Project]:
    """Five pictures, green left and blue right; the meadow of the first is accepted."""
    with Project.open(tmp_path / "project", create=True) as project:
        for number in range(5):
            pixels = rng.integers(0, 60, (64, 64, 3), dtype=np.uint8)
            pixels[:, : 24 + 4 * number, 1] += 150
            pixels[:, 24 + 4 * number :, 2] += 150
            image = mw.Image(pixels)
            project.images.register(image)
            if number == 0:
                project.accept(image, pixels[..., 1] > 100, "meadow")
        yield project


def _found(results: Iterator[ImagePrediction]) -> list[ImagePrediction]:
    return list(results)


def test_images_with_the_category_are_left_alone_and_a_second_run_does_nothing(
    project: Project, engine: Engine
) -> None:
    results = _found(predict_like(project, engine, "meadow"))
    assert [row.record.id for row in results] == [2, 3, 4, 5]
    proposed = project.annotations(states=("proposed",))
    assert len(proposed) == sum(row.proposed for row in results)
    assert project.status().proposed == len(proposed)
    assert {one.source for one in proposed} <= {"reference"}
    assert len(project.annotations()) == 1, "nothing was accepted by itself"
    assert _found(predict_like(project, engine, "meadow")) == []
    again = _found(predict_like(project, engine, "meadow", BatchOptions(again=True)))
    assert len(again) == 4
    assert project.status().proposed == len(proposed), "a proposal is replaced by its successor"


def test_a_stopped_batch_goes_on_where_it_stopped(project: Project, engine: Engine) -> None:
    asked: list[int] = []
    stopped = predict_like(project, engine, "meadow", progress=Recorded(lambda: bool(_prompts(project))))
    with pytest.raises(Cancelled):
        asked.extend(row.record.id for row in stopped)
    done = len(project.store.predictions.images_done(_prompts(project)[0]))
    assert 1 <= done < 4
    rest = [row.record.id for row in predict_like(project, engine, "meadow")]
    assert rest == [2, 3, 4, 5][done:]


def _prompts(project: Project) -> list[str]:
    from sqlalchemy import text

    with project.store._transactions.engine.connect() as db:
        rows = db.execute(text("SELECT DISTINCT json_extract(after, '$.prompt') FROM events WHERE kind = 'predicted'"))
        return [row[0] for row in rows]


def test_a_new_reference_is_a_new_prompt(project: Project, engine: Engine) -> None:
    _found(predict_like(project, engine, "meadow"))
    image = project.images.open(2)
    project.accept(image, image.pixels[..., 1] > 100, "meadow")
    assert [row.record.id for row in predict_like(project, engine, "meadow")] == [3, 4, 5]


def test_accept_above(project: Project, engine: Engine) -> None:
    results = _found(predict_like(project, engine, "meadow", BatchOptions(accept_above=0.0)))
    assert sum(row.accepted for row in results) == sum(row.score > 0 for row in results) > 0
    assert project.status().proposed == 0
    assert all(one.source == "reference" for one in project.annotations()[1:])


def test_a_missing_image_is_reported_and_skipped(project: Project, engine: Engine) -> None:
    (project.folder / project.images.all()[2].file_name).unlink()
    results = _found(predict_like(project, engine, "meadow"))
    assert ["missing" in row.problem for row in results] == [False, True, False, False]


def test_words(project: Project, engine: Engine) -> None:
    results = _found(predict_text(project, engine, MEADOW))
    assert [row.record.id for row in results] == [1, 2, 3, 4, 5]
    on_first = [one.category for one in project.annotations(1, ("proposed",))]
    assert "meadow" not in on_first, "it has an accepted one"
    assert _found(predict_text(project, engine, MEADOW)) == []


def test_nothing_to_go_by(project: Project, engine: Engine) -> None:
    with pytest.raises(MaskwrightError, match="no category"):
        predict_like(project, engine, "cow")
    project.reject(project.annotations()[0])
    with pytest.raises(MaskwrightError, match="no accepted mask of meadow"):
        predict_like(project, engine, "meadow")


def test_references_are_chosen_and_taken_back(project: Project) -> None:
    (own,) = project.annotations()
    image = project.images.open(3)
    sky = project.accept(image, image.pixels[..., 2] > 100, "sky")
    larger = project.accept(image, image.pixels[..., 1] > 100, "meadow")
    shows, negative = project.references("meadow")
    assert [one.annotation_uid for one in shows] == [larger.uid, own.uid], "the largest on each image"
    project.mark_reference(own)
    project.mark_reference(sky, shows=False, category="meadow")
    shows, negative = project.references("meadow")
    assert ([one.annotation_uid for one in shows], [one.annotation_uid for one in negative]) == ([own.uid], [sky.uid])
    project.reject(sky)
    assert project.references("meadow")[1] == [], "a mask that is no longer accepted says nothing"
    project.mark_reference(own, shows=None)
    assert len(project.references("meadow")[0]) == 2
    with pytest.raises(MaskwrightError, match="rejected"):
        project.reference(sky.id)


def test_a_batch_is_decided_on_in_a_window(project: Project, engine: Engine, small_preset: Path) -> None:
    _found(predict_like(project, engine, "meadow"))
    session = AnnotationSession(lambda name: engine, project, str(small_preset))
    waiting = {a.image_id: a for a in project.annotations(states=("proposed",))}
    assert len(waiting) >= 2
    (first, accepted), (second, rejected) = list(waiting.items())[:2]
    (view,) = session.view(first)
    assert view.proposal == ProposalId.of_annotation(accepted.id)
    assert "proposed" in session.counts()
    (annotation,) = session.accept([view.proposal], category="lawn", annotator="ann")
    assert (annotation.id, annotation.category, annotation.state) == (accepted.id, "lawn", "accepted")
    assert annotation.annotator == "ann"
    with pytest.raises(MaskwrightError):
        session.accept([view.proposal])
    session.reject([view.proposal for view in session.view(second) if view.proposal])
    assert project.store.masks.get(rejected.id).state == "rejected"


def test_like_an_accepted_mask_in_a_window(project: Project, engine: Engine, small_preset: Path) -> None:
    session = AnnotationSession(lambda name: engine, project, str(small_preset))
    (own,) = project.annotations()
    answer = session.propose_reference(2, [own.id])
    assert answer.prediction.provenance["prompt"] == [{"image": project.images.open(1).sha256, "mask": own.uid}]
    same = session.propose_like(2, "meadow")
    assert [p.mask.rle for p in same.all] == [p.mask.rle for p in answer.all]
    if answer.all:
        (accepted,) = session.accept([answer.all[0].id])
        assert (accepted.category, accepted.source) == ("meadow", "reference")
    else:
        assert "meadow" in answer.notice
