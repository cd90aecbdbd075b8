"""Views, images, text prompts and news, without a browser."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import maskwright as mw
from maskwright.domain.proposal_id import ProposalId
from maskwright.project import Project
from maskwright.session import NO_IMAGE, Changes, MaskView
from maskwright_app.handlers import Handlers, TextQuery
from maskwright_app.html.figure import figure
from maskwright_app.html.mask_list import mask_list
from maskwright_app.samples import samples
from maskwright_app.tab import Tab
from tests.app.batch import add_images, region


@pytest.fixture
def opened(handlers: Handlers, sample_path: Path) -> Tab:
    image_id, problems = handlers.add_files([str(sample_path)])
    assert problems == []
    return Tab(image_id)


def test_text_proposals_are_accepted_and_rejected(handlers: Handlers, empty_project: Project, opened: Tab) -> None:
    tab, _ = handlers.propose_text(opened, TextQuery("tree, giraffe, sky", background=False))
    assert len(tab.proposals) >= 2
    assert handlers.view(tab).masks.count('data-act="accept"') == len(tab.proposals)
    handlers.session.accept(tab.proposals[:1])
    handlers.session.reject(tab.proposals[1:2])
    view = handlers.view(tab)
    assert view.masks.count('data-act="accept"') == len(tab.proposals) - 2
    assert view.masks.count("mw-state") == 1
    assert "1 accepted mask:" in view.counts
    assert empty_project.status().rejected == 1


def test_a_new_prompt_leaves_accepted_masks_alone(handlers: Handlers, empty_project: Project, opened: Tab) -> None:
    query = TextQuery("tree, sky", background=False)
    tab, _ = handlers.propose_text(opened, query)
    handlers.session.accept(tab.proposals)
    before = empty_project.annotations(opened.image_id)
    tab, _ = handlers.propose_text(Tab(opened.image_id, show_duplicates=True), query)
    assert empty_project.annotations(opened.image_id) == before
    assert handlers.view(tab).masks.count("<li") == len(before) + len(tab.proposals)


def test_the_notice_names_unknown_and_missing_classes(handlers: Handlers, opened: Tab) -> None:
    _, notice = handlers.propose_text(opened, TextQuery("tree, gobbledygook", background=False))
    assert "gobbledygook" in notice
    tab, notice = handlers.propose_text(opened, TextQuery("giraffe", threshold=0.95))
    assert tab.proposals == ()
    assert "giraffe" in notice
    assert "0.95" in notice
    assert notice in handlers.view(tab, notice).notice


def test_every_bad_upload_is_named(handlers: Handlers, tmp_path: Path, sample_path: Path) -> None:
    empty, text = tmp_path / "empty.png", tmp_path / "text.jpg"
    empty.write_bytes(b"")
    text.write_text("no image")
    last, problems = handlers.add_files([str(empty), str(sample_path), str(text)])
    assert last is not None
    assert [file.name in problem for file, problem in zip((empty, text), problems, strict=True)] == [True, True]


def test_prompts_need_an_image(handlers: Handlers) -> None:
    prompts: list[Callable[[], object]] = [
        lambda: handlers.propose_text(Tab(), TextQuery("cow")),
        lambda: handlers.propose_everything(Tab()),
        lambda: handlers.propose_references(Tab(search_category="cow")),
        lambda: handlers.click(Tab(), {"x": 1, "y": 1, "label": 1}),
    ]
    for prompt in prompts:
        with pytest.raises(mw.MaskwrightError) as error:
            prompt()
        assert str(error.value) == NO_IMAGE
    assert "0 images" in handlers.view(Tab()).counts


def test_names_are_escaped_everywhere() -> None:
    mask = mw.Mask.from_array(np.ones((4, 4), bool), category="<img src=x onerror=alert(1)>", score=0.5)
    image = mw.Image(np.zeros((4, 4, 3), np.uint8), name='"><script>')
    for markup in (
        mask_list([MaskView(mask, "#0072b2", ProposalId.new())], (4, 4), Tab()),
        mask_list([MaskView(mask, "#0072b2", annotation=1)], (4, 4), Tab(search_category='"><script>')),
        figure(image, [MaskView(mask, "#0072b2")]),
    ):
        assert "<img src=x" not in markup
        assert "<script>" not in markup
        assert "&lt;img src=x" in markup


def test_a_large_image_is_sent_small() -> None:
    image = mw.Image(np.zeros((3000, 4000, 3), np.uint8))
    mask = mw.Mask.from_array(np.eye(3000, 4000, dtype=bool) | (np.arange(4000) < 900), category="left")
    assert len(figure(image, [MaskView(mask, "#0072b2")])) < 1_000_000


def test_samples_are_readable_and_attributed() -> None:
    found = samples()
    assert len(found) >= 25
    for sample in found:
        assert mw.Image.open(sample.path).size_hw[0] > 100
        assert sample.licence
        assert sample.credit
        assert sample.source.startswith("http")


def test_news_are_what_has_changed(handlers: Handlers, empty_project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project = empty_project
    add_images(project, 2)
    project.accept(1, region(0, 9), "cow")
    number = project.store.change_number()
    assert handlers.news(number, 2, 1, "1-ab") == (number, False, False), "nothing happened"
    assert handlers.news(number, 2, 1, "") == (number, False, False), "nothing is drawn yet"
    assert handlers.news(number, 2, 1, "2-ab") == (number, True, False), "another image is drawn"
    project.accept(1, region(9, 19), "cow")
    here, there = (handlers.news(number, 2, image_id, f"{image_id}-ab") for image_id in (1, 2))
    assert (here.figure, there.figure) == (True, False)
    assert here.change == there.change > number
    assert not here.images
    assert handlers.news(here.change, 2, 1, "1-ab") == (here.change, False, False), "only once"
    add_images(project, 3)
    assert handlers.news(here.change, 2, 1, "1-ab")[1:] == (False, True)
    number = project.store.change_number()
    project.accept(2, region(0, 9), "a new class")
    assert handlers.news(number, 3, 1, "1-ab").figure, "a new class may change colours on every image"
    monkeypatch.setattr(
        handlers.session, "changes", lambda after: Changes(9, frozenset(), others=False, complete=False)
    )
    assert handlers.news(0, 3, 1, "1-ab") == (9, True, True)


def test_a_tab_opens_its_image_again_or_the_newest(handlers: Handlers, empty_project: Project) -> None:
    assert handlers.restore(Tab(7)).image_id is None
    add_images(empty_project, 2)
    assert handlers.restore(Tab(1)).image_id == 1
    assert handlers.restore(Tab(7)).image_id == 2
