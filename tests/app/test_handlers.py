"""What the page does, without a browser."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import maskwright as mw
from maskwright.domain import rle
from maskwright.session import MaskView
from maskwright.store import Changes
from maskwright_app.decisions import Panel
from maskwright_app.handlers import Handlers, Words
from maskwright_app.mask_list import legend
from maskwright_app.render import picture
from maskwright_app.samples import samples
from tests.app.batch import add_pictures, region


def _opened(handlers: Handlers, path: Path) -> int:
    image_id, problems = handlers.add_files([str(path)])
    assert problems == []
    assert image_id is not None
    return image_id


def test_words_proposals_accept_and_reject(handlers: Handlers, sample_path: Path) -> None:
    image_id = _opened(handlers, sample_path)
    ids, _ = handlers.propose(image_id, Words("tree, giraffe, sky", background=False))
    assert len(ids) >= 2
    view = handlers.view(image_id, ids)
    assert view.legend.count('data-act="accept"') == len(ids)
    handlers.accept(ids[:1])
    handlers.reject(ids[1:2])
    view = handlers.view(image_id, ids)
    assert view.legend.count('data-act="accept"') == len(ids) - 2
    assert view.legend.count("mw-kept") == 1
    assert "1 accepted mask:" in view.counts
    assert handlers.session.project.status().rejected == 1
    with pytest.raises(mw.MaskwrightError, match="no longer open"):
        handlers.accept(ids[:1])


def test_a_new_prompt_leaves_accepted_masks_alone(handlers: Handlers, sample_path: Path) -> None:
    image_id = _opened(handlers, sample_path)
    ids, _ = handlers.propose(image_id, Words("tree, sky", background=False))
    handlers.accept(ids)
    before = handlers.session.project.annotations(image_id)
    ids, _ = handlers.propose(image_id, Words("tree, sky", background=False))
    assert handlers.session.project.annotations(image_id) == before
    view = handlers.view(image_id, ids, panel=Panel(duplicates=True))
    assert view.legend.count("<li") == len(before) + len(ids)


def test_failed_write_keeps_the_proposals_open(
    handlers: Handlers, sample_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image_id = _opened(handlers, sample_path)
    ids, _ = handlers.propose(image_id, Words("tree, sky", background=False))
    with monkeypatch.context() as broken:

        def full(*rows: object, **more: object) -> None:
            raise mw.MaskwrightError("The disk is full; nothing was lost.")

        broken.setattr(handlers.session.project.store.masks, "decide", full)
        with pytest.raises(mw.MaskwrightError, match="disk is full"):
            handlers.accept(ids)
    assert [proposal.id for proposal in handlers.session.open_proposals(ids)] == ids
    assert len(handlers.accept(ids)["annotations"]) == len(ids)


def test_unfamiliar_and_missing_names_are_told(handlers: Handlers, sample_path: Path) -> None:
    image_id = _opened(handlers, sample_path)
    ids, notice = handlers.propose(image_id, Words("tree, gobbledygook", background=False))
    assert 'not taught "gobbledygook"' in notice
    ids, notice = handlers.propose(image_id, Words("giraffe", threshold=0.95))
    assert ids == []
    assert notice.startswith("No giraffe found above 0.95; the best score is 0.")


def test_bad_uploads_are_named_one_by_one(handlers: Handlers, tmp_path: Path, sample_path: Path) -> None:
    empty, text = tmp_path / "empty.png", tmp_path / "text.jpg"
    empty.write_bytes(b"")
    text.write_text("no picture")
    last, problems = handlers.add_files([str(empty), str(sample_path), str(text)])
    assert last is not None
    assert [problem.split(":")[0] for problem in problems] == ["Cannot read empty.png", "Cannot read text.jpg"]


def test_nothing_is_open(handlers: Handlers) -> None:
    with pytest.raises(mw.MaskwrightError, match="Open or select an image first"):
        handlers.propose(None, Words("cow"))
    with pytest.raises(mw.MaskwrightError, match="no open mask"):
        handlers.decide_all(None, [], None, "", keep=True)
    assert "0 images" in handlers.view(None, []).counts


def test_only_uploads_are_opened(handlers: Handlers, sample_path: Path) -> None:
    for image in ({"path": str(sample_path)}, str(sample_path), True, None, {"path": "../x"}):
        with pytest.raises(mw.MaskwrightError, match="by its number, or upload"):
            handlers.segment_text(image, "cow")
    with pytest.raises(mw.MaskwrightError, match="no image"):
        handlers.segment_text(99, "cow")


def test_names_are_text_everywhere() -> None:
    mask = mw.Mask.from_array(np.ones((4, 4), bool), category="<img src=x onerror=alert(1)>", score=0.5)
    for markup in (
        legend([MaskView(mask, "#0072b2", "id")], (4, 4)),
        picture(np.zeros((4, 4, 3), np.uint8), [MaskView(mask, "#0072b2")], '"><script>'),
    ):
        assert "<img src=x" not in markup
        assert "<script>" not in markup
        assert "&lt;img src=x" in markup


def test_a_large_picture_is_sent_small() -> None:
    pixels = np.zeros((3000, 4000, 3), np.uint8)
    mask = mw.Mask.from_array(np.eye(3000, 4000, dtype=bool) | (np.arange(4000) < 900), category="left")
    assert len(picture(pixels, [MaskView(mask, "#0072b2")], "large")) < 1_000_000


def test_samples_are_readable_and_attributed() -> None:
    found = samples()
    assert len(found) >= 25
    for sample in found:
        assert mw.Image.open(sample.path).size_hw[0] > 100
        assert sample.licence
        assert sample.credit
        assert sample.source.startswith("http")


def test_news_tell_what_to_read_again(handlers: Handlers, monkeypatch: pytest.MonkeyPatch) -> None:
    project = handlers.session.project
    add_pictures(project, 2)
    project.accept(1, region(0, 9), "cow")
    number = project.store.change_number()
    assert handlers.news(number, 2, 1, 1) == (number, False, False), "nothing happened"
    assert handlers.news(number, 2, 1, None) == (number, False, False), "nothing is drawn yet"
    assert handlers.news(number, 2, 1, 2) == (number, True, False), "another one is drawn"
    project.accept(1, region(9, 19), "cow")
    here, there = (handlers.news(number, 2, image_id, image_id) for image_id in (1, 2))
    assert (here.picture, there.picture) == (True, False)
    assert here.number == there.number > number
    assert not here.pictures
    assert handlers.news(here.number, 2, 1, 1) == (here.number, False, False), "told once"
    add_pictures(project, 3)
    assert handlers.news(here.number, 2, 1, 1)[1:] == (False, True)
    number = project.store.change_number()
    project.accept(2, region(0, 9), "a new class")
    assert handlers.news(number, 3, 1, 1).picture, "a class is everywhere"
    monkeypatch.setattr(
        handlers.session, "changes", lambda after: Changes(9, frozenset(), others=False, complete=False)
    )
    assert handlers.news(0, 3, 1, 1) == (9, True, True)


def test_export_holds_what_the_endpoint_gave(handlers: Handlers, sample_path: Path) -> None:
    image_id = _opened(handlers, sample_path)
    answer = handlers.segment_text(image_id, "tree, sky", background=False)
    handlers.accept([mask["proposal"] for mask in answer["masks"]])
    from pycocotools.coco import COCO

    coco = COCO(handlers.export_coco({"only_annotated": True}))
    rows = coco.loadAnns(coco.getAnnIds())
    assert len(rows) == len(answer["masks"]) >= 1
    for row, mask in zip(rows, answer["masks"], strict=True):
        assert np.array_equal(coco.annToMask(row).astype(bool), rle.decode(mask["segmentation"]))
    with pytest.raises(mw.MaskwrightError, match="no export option"):
        handlers.export_coco({"shape": "round"})
