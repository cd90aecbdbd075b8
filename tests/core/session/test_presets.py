"""Get a stronger model: the list, fetches in the background, and the switch without a restart."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from maskwright.domain import FinetunePlan, TextPrompt
from maskwright.errors import AccessRefused, MaskwrightError, PresetMissing
from maskwright.presets.fetching import Fetched
from maskwright.progress import Progress
from maskwright.project import Project
from maskwright.session import AnnotationSession
from maskwright.settings import Settings
from maskwright.store import NewRun

from .conftest import ScriptedEngine, box


@pytest.fixture
def presets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder of presets; `make` puts one there that a scripted engine plays."""
    monkeypatch.setenv("MASKWRIGHT_PRESETS", str(tmp_path / "presets"))
    return tmp_path / "presets"


def make(presets: Path, name: str, *parts: str) -> None:
    (presets / name).mkdir(parents=True)
    (presets / name / "config.json").write_text(json.dumps({part: {} for part in parts}))


class Engines:
    """Loads an engine per name, and says which."""

    def __init__(self) -> None:
        self.loaded: list[str] = []
        self.last: dict[str, ScriptedEngine] = {}
        self.broken: set[str] = set()

    def __call__(self, name: str) -> ScriptedEngine:
        if name in self.broken:
            raise MaskwrightError("damaged")
        self.loaded.append(name)
        engine = ScriptedEngine(name)
        engine.regions = {"cow": box(0, 10)}
        self.last[name] = engine
        return engine


@pytest.fixture
def engines() -> Engines:
    return Engines()


@pytest.fixture
def session(project: Project, engines: Engines, presets: Path) -> AnnotationSession:
    return AnnotationSession(engines, project)  # type: ignore[arg-type]


def _text_model(session: AnnotationSession) -> str:
    return str(session.propose_text(1, TextPrompt.parse("cow")).all[0].provenance["preset"])


def _click_model(session: AnnotationSession) -> str:
    return str(session.propose_click(1, [(3, 3)]).all[0].provenance["preset"])


# the list


def test_every_official_preset_says_what_a_person_wants_to_know(session: AnnotationSession) -> None:
    infos = {info.name: info for info in session.presets.all()}
    assert infos["tiny"].state == "bundled"
    assert infos["tiny"].used_for == ("text", "example", "click")
    assert [infos[name].actions for name in ("tiny", "sam-b", "dinov3txt-l")] == [(), ("fetch",), ()]
    assert infos["sam-b"].size_text == "375 MB"
    assert infos["sam-l"].size_text == "1.2 GB"
    assert infos["talk2dino-b"].state == "fetchable"
    assert infos["talk2dino-dinov3-b"].state == "gated"
    assert infos["talk2dino-dinov3-b"].page == "https://huggingface.co/facebook/dinov3-vitb16-pretrain-lvd1689m"
    assert infos["dinov3txt-l"].state == "by_hand"
    for info in infos.values():
        assert info.title
        assert info.tasks
        assert info.improves.endswith(".")
        assert info.state == "bundled" or (info.size and info.licence and info.page.startswith("https://"))


def test_presets_on_this_computer_are_in_the_list(session: AnnotationSession, presets: Path) -> None:
    make(presets, "mine", "sam")
    make(presets, "sam-b", "sam")
    infos = {info.name: info for info in session.presets.all()}
    assert (infos["mine"].state, infos["mine"].tasks) == ("installed", ("click",))
    assert infos["sam-b"].state == "installed"
    assert len([info for info in session.presets.all() if info.name == "sam-b"]) == 1
    with pytest.raises(PresetMissing):
        session.presets.get("nosuch")


# the switch


def test_each_kind_of_prompt_is_answered_by_the_preset_chosen_for_it(
    session: AnnotationSession, presets: Path, engines: Engines
) -> None:
    make(presets, "talk2dino-b", "talk2dino")
    make(presets, "sam-b", "sam")
    assert (_text_model(session), _click_model(session)) == ("tiny", "tiny")
    assert session.presets.use("talk2dino-b").used_for == ("text",)
    assert (_text_model(session), _click_model(session)) == ("talk2dino-b", "tiny")
    session.presets.use("sam-b")
    assert (_text_model(session), _click_model(session)) == ("talk2dino-b", "sam-b")
    assert session.presets.get("tiny").used_for == ("example",)
    assert session.presets.get("tiny").actions == ("use",), "it could answer text and clicks again"
    assert session.presets.get("sam-b").actions == ()
    assert sorted(engines.loaded) == ["sam-b", "talk2dino-b", "tiny"], "each once"
    session.presets.use("tiny", tasks_only=["text"])
    assert (_text_model(session), _click_model(session)) == ("tiny", "sam-b")


def test_open_proposals_keep_the_model_that_made_them(session: AnnotationSession, presets: Path) -> None:
    make(presets, "talk2dino-b", "talk2dino")
    proposal = session.propose_text(1, TextPrompt.parse("cow")).all[0]
    session.presets.use("talk2dino-b")
    (annotation,) = session.accept([proposal.id])
    assert annotation.provenance["preset"] == "tiny"
    assert np.array_equal(annotation.mask.to_array(), proposal.mask.to_array())


def test_the_choice_holds_in_other_windows_and_after_a_restart(
    session: AnnotationSession, presets: Path, engines: Engines, project: Project
) -> None:
    other = AnnotationSession(engines, project)  # type: ignore[arg-type]
    make(presets, "talk2dino-b", "talk2dino")
    session.presets.use("talk2dino-b")
    assert _text_model(other) == "talk2dino-b"
    with Project.open(project.folder) as reopened:
        assert _text_model(AnnotationSession(engines, reopened)) == "talk2dino-b"  # type: ignore[arg-type]


def test_a_chosen_preset_that_is_gone_is_passed_over(session: AnnotationSession, presets: Path) -> None:
    make(presets, "talk2dino-b", "talk2dino")
    session.presets.use("talk2dino-b")
    (presets / "talk2dino-b" / "config.json").unlink()
    assert _text_model(session) == "tiny"


def test_a_preset_that_does_not_load_changes_nothing(
    session: AnnotationSession, presets: Path, engines: Engines
) -> None:
    make(presets, "talk2dino-b", "talk2dino")
    engines.broken.add("talk2dino-b")
    with pytest.raises(MaskwrightError, match="damaged"):
        session.presets.use("talk2dino-b")
    assert _text_model(session) == "tiny"
    with pytest.raises(PresetMissing, match="models fetch sam-b"):
        session.presets.use("sam-b")
    with pytest.raises(MaskwrightError, match="answers text only"):
        session.presets.use("talk2dino-b", tasks_only=["click"])


def test_a_front_end_started_with_a_preset_for_clicks_still_answers_text(
    project: Project, presets: Path, engines: Engines
) -> None:
    make(presets, "sam-b", "sam")
    session = AnnotationSession(engines, project, "sam-b")  # type: ignore[arg-type]
    assert (_text_model(session), _click_model(session)) == ("tiny", "sam-b")


def test_names_are_suggested_by_a_preset_with_a_dinotxt(
    session: AnnotationSession, presets: Path, engines: Engines
) -> None:
    make(presets, "talk2dino-b", "talk2dino")
    session.presets.use("talk2dino-b")
    session.accept([session.propose_text(1, TextPrompt.parse("cow")).all[0].id])
    assert session.suggest_names(session.propose_click(1, [(3, 3)]).all[0].id) == [("cow", 1.0)]
    assert engines.last["tiny"].suggested == [["cow"]]
    assert not engines.last["talk2dino-b"].suggested


def test_presets_and_a_fine_tuned_model(session: AnnotationSession, presets: Path, project: Project) -> None:
    """The run answers text and examples; a preset for text takes its place, one for clicks does not."""
    make(presets, "talk2dino-b", "talk2dino")
    make(presets, "sam-b", "sam")
    plan = FinetunePlan(categories=(), train=(), masks=())
    project.store.runs.add(NewRun("run-1", "full", "tiny", plan, "ann"))
    project.store.runs.end("run-1", "done")
    make(project.folder / "checkpoints", "run-1", "dinotxt", "sam")
    session.presets.use("talk2dino-b")
    project.runs.activate("run-1", user="ann")
    assert [session.presets.used(task) for task in ("text", "example", "click")] == ["run-1"] * 3
    session.presets.use("sam-b")
    assert [session.presets.used(task) for task in ("text", "click")] == ["run-1", "sam-b"]
    project.runs.activate(None, user="ann")
    assert [session.presets.used(task) for task in ("text", "click")] == ["talk2dino-b", "sam-b"], "as before the run"
    project.runs.activate("run-1", user="ann")
    session.presets.use("talk2dino-b")
    assert [session.presets.used(task) for task in ("text", "example")] == ["talk2dino-b", "tiny"]
    assert project.runs.active() is None


def test_a_tuned_model_answers_what_its_base_could(session: AnnotationSession, presets: Path, project: Project) -> None:
    """Talk2DINO alone takes words, and learns from masks; examples and clicks stay with the bundled preset."""
    make(presets, "talk2dino-b", "talk2dino")
    make(presets, "sam-b", "sam")
    session.presets.use("sam-b")
    assert session.engines.trainable() == "tiny"
    session.presets.use("talk2dino-b")
    assert session.engines.trainable() == "talk2dino-b"
    plan = FinetunePlan(categories=(), train=(), masks=())
    project.store.runs.add(NewRun("run-1", "decoder", "talk2dino-b", plan, "ann"))
    project.store.runs.end("run-1", "done")
    make(project.folder / "checkpoints", "run-1", "talk2dino")
    project.runs.activate("run-1", user="ann")
    assert [session.presets.used(task) for task in ("text", "example", "click")] == ["run-1", "tiny", "sam-b"]


# fetches


Behaviour = Callable[[str, Settings, Progress], Fetched]


@pytest.fixture
def fetching(monkeypatch: pytest.MonkeyPatch) -> Callable[[Behaviour], None]:
    def replace(behaviour: Behaviour) -> None:
        monkeypatch.setattr(
            "maskwright.presets.fetching.fetch", lambda name, settings, *, progress: behaviour(name, settings, progress)
        )

    return replace


def test_a_fetch_reports_and_ends_with_a_preset_to_use(
    session: AnnotationSession, presets: Path, fetching: Callable[[Behaviour], None]
) -> None:
    reported, go = threading.Event(), threading.Event()

    def behaviour(name: str, settings: Settings, progress: Progress) -> Fetched:
        progress.report(30_000_000, 120_000_000, "Downloading DINOv2")
        reported.set()
        assert go.wait(10)
        make(presets, name, "talk2dino")
        return Fetched(presets / name, (), ())

    fetching(behaviour)
    changes: list[str] = []
    session.presets.on_change = lambda info: changes.append(info.state)
    assert session.presets.fetch("talk2dino-b").state == "fetching"
    assert reported.wait(10)
    info = session.presets.fetch("talk2dino-b")
    assert (info.state, info.share, info.actions) == ("fetching", 0.25, ("cancel",))
    assert "30 of 120 MB" in info.message
    go.set()
    assert session.presets.wait("talk2dino-b", 10).state == "installed"
    assert changes == ["fetching", "installed"]
    assert session.presets.fetch("talk2dino-b").state == "installed", "nothing is fetched twice"
    assert session.presets.use("talk2dino-b").used_for == ("text",)


def test_a_cancelled_fetch_can_be_started_again(
    session: AnnotationSession, fetching: Callable[[Behaviour], None]
) -> None:
    def behaviour(name: str, settings: Settings, progress: Progress) -> Fetched:
        while True:
            progress.check()
            threading.Event().wait(0.01)

    fetching(behaviour)
    for _ in range(2):
        assert session.presets.fetch("sam-b").state == "fetching"
        session.presets.cancel("sam-b")
        info = session.presets.wait("sam-b", 10)
        assert info.state == "fetchable"
        assert "Cancelled" in info.message


@pytest.mark.parametrize(
    ("error", "fact"),
    [(AccessRefused("facebook/x", "https://page"), "https://page"), (RuntimeError("odd"), "Unexpected failure")],
)
def test_a_failed_fetch_says_why(
    session: AnnotationSession, fetching: Callable[[Behaviour], None], error: Exception, fact: str
) -> None:
    def behaviour(name: str, settings: Settings, progress: Progress) -> Fetched:
        raise error

    fetching(behaviour)
    session.presets.fetch("talk2dino-dinov3-b")
    info = session.presets.wait("talk2dino-dinov3-b", 10)
    assert info.state == "gated"
    assert fact in info.message


def test_what_cannot_be_fetched_says_how_to_get_it(session: AnnotationSession) -> None:
    for name in ("dinov3txt-l", "nosuch"):
        with pytest.raises(MaskwrightError, match=f"models info {name}"):
            session.presets.fetch(name)
