"""The same prompt gives the same masks in napari, browser, command line and Python, here and on a server."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uvicorn
from PIL import Image as Pillow
from starlette.testclient import TestClient
from typer.testing import CliRunner

import maskwright as mw
import maskwright_app
from maskwright.cli import app
from maskwright.domain import TextPrompt
from maskwright.engine import Engine
from maskwright.errors import Cancelled, MaskwrightError, Unreachable, UsageError
from maskwright.files.logins import Logins
from maskwright.progress import Progress
from maskwright.project import Project
from maskwright.remote import RemoteEngine
from maskwright.session import AnnotationSession
from maskwright_app.server import create_app, page_app
from napari_maskwright._controller import Controller
from tests.plugin.window import Window

pytestmark = pytest.mark.slow

WORDS, POINT, BOX = "cow, horse", (40.0, 30.0), (10.0, 8.0, 60.0, 40.0)


@pytest.fixture(scope="module")
def engine(talking_preset: Path) -> Engine:
    """Random weights: that masks are equal does not need good ones."""
    return Engine.load(talking_preset, "cpu")


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image file of squares in noise."""
    noise = np.random.default_rng(0)
    pixels = noise.integers(0, 256, (60, 90, 3), dtype=np.uint8) // 4
    for left in range(5, 80, 25):
        pixels[10:40, left : left + 18] += noise.integers(60, 190, 3, dtype=np.uint8)
    file = tmp_path_factory.mktemp("photo") / "foto ü.png"
    Pillow.fromarray(pixels).save(file)
    return file


@contextmanager
def running(session: AnnotationSession, logins: Logins | None = None) -> Iterator[str]:
    """The server of a session in a thread; yields its address."""
    with maskwright_app._listen("127.0.0.1", None) as listener:
        served = uvicorn.Server(
            uvicorn.Config(create_app(session, logins=logins), log_level="warning", ws="none", lifespan="on")
        )
        thread = threading.Thread(target=served.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        served.should_exit = True
        thread.join(timeout=20)


@pytest.fixture(scope="module")
def service(
    engine: Engine, talking_preset: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, AnnotationSession]]:
    """A server with a login on a project of its own: address with the login, and its session."""
    folder = tmp_path_factory.mktemp("server")
    with Project.open(folder / "projekt ü", create=True) as project:
        session = AnnotationSession(lambda name: engine, project, str(talking_preset))
        with running(session, Logins.of("ann", "a b@c")) as address:
            yield address.replace("://", "://ann:a%20b%40c@"), session


Rles = list[tuple[str, str]]
"""(category, run lengths) of each mask."""


def _python(engine: Engine, image: mw.Image) -> dict[str, Rles]:
    words = engine.segment_text(image, WORDS, instances=True)
    reference = words.masks()[0]
    answers = {
        "words": words,
        "click": engine.segment_click(image, [POINT]),
        "box": engine.segment_click(image, box=BOX),
        "example": engine.segment_like(image, [mw.Reference(image, reference)]),
    }
    return {name: [(str(m.category), m.rle["counts"]) for m in answer.masks()] for name, answer in answers.items()}


def _command_line(photo: Path, tmp_path: Path, reference: np.ndarray[Any, Any]) -> dict[str, Rles]:
    mask = tmp_path / "mask.png"
    Pillow.fromarray(reference.astype(np.uint8) * 255).save(mask)
    common = ["--device", "cpu", "--json", "--out", str(tmp_path)]
    commands = {
        "words": ["segment", str(photo), "--text", WORDS, "--instances"],
        "click": ["click", str(photo), "--point", "{:g},{:g}".format(*POINT)],
        "box": ["click", str(photo), "--box", ",".join(f"{value:g}" for value in BOX)],
        "example": ["like", str(photo), "--category", "cow", "--reference", str(photo), str(mask)],
    }  # fmt: skip
    found = {}
    for name, command in commands.items():
        done = CliRunner().invoke(app, [*command, *common])
        assert done.exit_code == 0, done.output
        masks = json.loads(done.stdout.strip().splitlines()[-1])["masks"]
        found[name] = [(mask["category"], mask["segmentation"]["counts"]) for mask in masks]
    return found


def _browser(session: AnnotationSession, image_id: int, reference: int) -> dict[str, Rles]:
    bodies: dict[str, dict[str, Any]] = {
        "words": {"words": WORDS, "instances": True, "background": False},
        "click": {"points": [POINT]},
        "box": {"box": BOX},
        "example": {"references": [reference]},
    }
    routes = {"words": "text", "click": "click", "box": "click", "example": "like"}
    found = {}
    with TestClient(page_app(session), base_url="http://localhost:7860") as client:
        for name, body in bodies.items():
            answer = client.post(f"/ui/prompts/{routes[name]}", json={"image": image_id} | body).json()
            found[name] = [(mask["category"], mask["rle"]["counts"]) for mask in answer["masks"]]
    return found


def _napari(session: AnnotationSession, reference: int) -> dict[str, Rles]:
    """By the actions of the dock, on the first image of the project."""
    window = Window()
    controller = Controller(session, window.view)
    window.until(lambda: controller.image_id)

    def candidates() -> Rles:
        opened = session.open_proposals(controller.prompt.candidates)  # type: ignore[union-attr]
        return [(str(p.mask.category), p.mask.rle["counts"]) for p in opened]

    controller.show_duplicates(visible=True)
    prompt = TextPrompt.parse(WORDS, instances=True)
    controller.prompts.text(prompt)
    window.until(lambda: window.proposals)
    found = {"words": _with_duplicates(session, controller.image_id)}
    clicks: dict[str, Callable[[], None]] = {
        "click": lambda: controller.click(*POINT, 1), "box": lambda: controller.box(BOX)
    }  # fmt: skip
    for name, click in clicks.items():
        click()
        window.until(lambda: controller.prompt is not None and controller.prompt.candidates)
        found[name] = candidates()
        controller.clear_clicks()
        window.until(lambda: controller.prompt is None)
    controller.decide(accept=False)
    window.until(lambda: not window.proposals)
    controller.prompts.like([reference])
    window.until(lambda: [v for v in session.view(controller.image_id) if v.proposal])  # type: ignore[arg-type]
    found["example"] = _with_duplicates(session, controller.image_id)
    controller.close()
    return found


def _with_duplicates(session: AnnotationSession, image_id: int | None) -> Rles:
    assert image_id is not None
    views = [view for view in session.view(image_id) if view.proposal]
    return [(str(view.mask.category), view.mask.rle["counts"]) for view in views]


def _forbidden(name: str) -> Engine:
    raise AssertionError("this computer loads no model")


def test_the_same_prompt_gives_the_same_masks_everywhere(
    engine: Engine,
    talking_preset: Path,
    photo: Path,
    service: tuple[str, AnnotationSession],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # each command would load the model and encode the image anew
    monkeypatch.setattr(Engine, "load", lambda *_, **__: engine)
    image = mw.Image.open(photo)
    expected = _python(engine, image)
    assert all(expected.values())
    first = engine.segment_text(image, WORDS, instances=True).masks()[0]
    assert _command_line(photo, tmp_path, first.to_array()) == expected
    found: dict[str, dict[str, Rles]] = {}
    for name in ("browser", "napari", "napari, remote"):
        with Project.open(tmp_path / name, create=True) as project:
            reference = project.accept(image, first).id
            session = AnnotationSession(
                _forbidden if "remote" in name else lambda _: engine, project, str(talking_preset)
            )
            if "remote" in name:
                assert talking_preset.name in session.engines.use_server(service[0])
                assert "ann" not in session.engines.server
            found[name] = _browser(session, 1, reference) if name == "browser" else _napari(session, reference)
    for name, masks in found.items():
        # a list of masks has an order of its own
        assert {key: sorted(value) for key, value in _renamed(masks).items()} == {
            key: sorted(value) for key, value in _renamed(expected).items()
        }, name


def _renamed(found: dict[str, Rles]) -> dict[str, Rles]:
    """A clicked mask has no name until somebody gives it one."""
    return {
        name: [("", counts) for _, counts in masks] if name in ("click", "box") else masks
        for name, masks in found.items()
    }


def test_a_remote_prediction_is_the_local_one(
    engine: Engine, photo: Path, service: tuple[str, AnnotationSession]
) -> None:
    remote, image = RemoteEngine(service[0]), mw.Image.open(photo)
    prompt = TextPrompt.parse("cow|animal, unicorn", threshold=0.3, method="talk2dino", cleaning=True)
    here, there = engine.segment(image, prompt), remote.segment(image, prompt)
    assert there.provenance.to_dict() == here.provenance.to_dict()
    assert (there.categories, there.out_of_vocabulary) == (here.categories, here.out_of_vocabulary)
    assert there.max_scores == pytest.approx(here.max_scores)
    assert np.array_equal(there.label_map, here.label_map)
    assert here.unlabelled_by_cleaning is not None
    assert np.array_equal(there.unlabelled_by_cleaning, here.unlabelled_by_cleaning)  # type: ignore[arg-type]
    start, same = (e.segment_click(image, [POINT]).masks()[0] for e in (engine, remote))
    assert start == same
    clicks = ([(*POINT,), (10.0, 10.0)], [1, 0])
    corrected = [e.segment_click(image, *clicks, start=start).masks()[0] for e in (engine, remote)]
    assert corrected[0].rle == corrected[1].rle
    reference = mw.Reference(image, start, annotation_uid="u1")
    other = mw.Reference(image, engine.segment_click(image, [(10.0, 10.0)]).masks()[0])
    likes = [e.segment_like(image, [reference], negative_references=[other]) for e in (engine, remote)]
    assert [mask.rle for mask in likes[0].masks()] == [mask.rle for mask in likes[1].masks()]
    assert likes[0].provenance.to_dict() == likes[1].provenance.to_dict()
    names = ["cow", "grass"]
    assert dict(remote.suggest(image, start, names)) == pytest.approx(dict(engine.suggest(image, start, names)))
    # it was sent once
    sent = len(service[1].images.titles())
    remote.segment_click(image, [POINT])
    assert len(service[1].images.titles()) == sent
    # the server has lost it: it is sent again
    service[1].images.delete(sent)
    assert remote.segment_click(image, [POINT]).masks()[0].rle == start.rle


def test_a_server_that_cannot_answer_is_one_sentence(
    service: tuple[str, AnnotationSession], photo: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    address, _ = service
    plain = address.replace("ann:a%20b%40c@", "")
    for wrong in ("", "ftp://here", "http://", "http://a:b:c"):
        with pytest.raises(UsageError):
            RemoteEngine(wrong)
    with pytest.raises(MaskwrightError, match="login"):
        RemoteEngine(plain).connect()
    with pytest.raises(MaskwrightError, match="password"):
        RemoteEngine(plain.replace("://", "://ann:wrong@")).connect()
    with maskwright_app._listen("127.0.0.1", None) as nobody:
        gone = f"127.0.0.1:{nobody.getsockname()[1]}"
    with pytest.raises(Unreachable, match=gone):
        RemoteEngine(gone).connect()
    remote = RemoteEngine(address)
    with pytest.raises(MaskwrightError, match="outside"):
        remote.segment_click(mw.Image.open(photo), [(5000.0, 5.0)])
    with Project.open(tmp_path / "p", create=True) as project:
        session = AnnotationSession(_forbidden, project)
        with pytest.raises(Unreachable):
            session.engines.use_server(gone)
        assert session.engines.server == "", "what answered before goes on"
    monkeypatch.setattr("maskwright.remote.engine.__version__", "0.0.1")
    with pytest.raises(MaskwrightError, match=r"0\.0\.1"):
        remote.connect()


def test_cancelling_a_remote_prompt_ends_it_here_and_there(
    service: tuple[str, AnnotationSession], photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, ended = threading.Event(), threading.Event()

    class Waiting(Progress):
        def cancelled(self) -> bool:
            return began.is_set()

    def slow(image_id: int, *, progress: Progress) -> Any:
        began.set()
        for _ in range(100):
            if progress.cancelled():
                ended.set()
                progress.check()
            threading.Event().wait(0.1)

    monkeypatch.setattr(service[1], "propose_everything", slow)
    with pytest.raises(Cancelled):
        RemoteEngine(service[0]).segment_everything(mw.Image.open(photo), progress=Waiting())
    assert ended.wait(15), "the server works for nobody"
