"""Which engine answers: those of the models that the project uses, each loaded when it is first needed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from maskwright.domain import Image, Mask, Prediction, Reference, TextPrompt
from maskwright.errors import PresetMissing
from maskwright.presets.config_io import sections
from maskwright.presets.folders import TASKS, find, tasks
from maskwright.presets.official import Task
from maskwright.progress import Progress
from maskwright.project import Project
from maskwright.remote import RemoteEngine
from maskwright.settings import Settings

if TYPE_CHECKING:
    # torch comes with the engine, and a window should open before it
    from maskwright.engine import Engine

__all__ = ["Engines", "PromptEngine", "Task"]

_BUNDLED = "tiny"
"""Answers the tasks that the first preset does not."""


class PromptEngine(Protocol):
    """What a session needs of an engine, of this computer or of a server; see `Engine`."""

    def segment(self, image: Image, prompt: TextPrompt, *, clicks: Any, progress: Progress) -> Prediction:
        """Segment by class names."""

    def segment_like(
        self,
        image: Image,
        references: Sequence[Reference],
        category: str | None = None,
        *,
        negative_references: Sequence[Reference],
        progress: Progress,
    ) -> Prediction:
        """Segment what references show."""

    def segment_click(
        self,
        image: Image,
        points: Sequence[Sequence[float]],
        labels: Sequence[float],
        box: Sequence[float] | None,
        *,
        start: Mask | None,
        category: str | None,
    ) -> Prediction:
        """Segment the object at points or in a box."""

    def segment_everything(self, image: Image, *, progress: Progress) -> Prediction:
        """Segment every object."""

    def suggest(self, image: Image, mask: Mask, categories: Sequence[str]) -> list[tuple[str, float]]:
        """Rank names for a mask."""

    def prepare_clicks(self, image: Image, *, progress: Progress) -> None:
        """Encode an image ahead of its first click."""


class Engines:
    """Loads engines by preset name or checkpoint folder; safe to share between threads."""

    def __init__(self, load: Callable[[str], Engine], project: Project, preset: str) -> None:
        """Take a function that loads an engine, the project, and the preset to use while it names no model."""
        self._load, self._project, self._preset = load, project, preset
        self._lock = threading.Lock()
        self._slots: dict[str, _Slot] = {}
        self._remote: RemoteEngine | None = None

    @property
    def server(self) -> str:
        """Address of the server that answers prompts, without its login; empty when this computer does."""
        return "" if self._remote is None else self._remote.address

    def use_server(self, address: str) -> str:
        """Let a running `maskwright ui` answer prompts; an empty address brings them back to this computer.

        Batches, search and fine-tuning stay here.

        Returns:
            A sentence on which models answer.

        Raises:
            UsageError: the address is none.
            Unreachable: the server does not answer; what answered before goes on.
            MaskwrightError: it needs another login, or it is another version.
        """
        if not address.strip():
            self._remote = None
            return f"This computer answers with {', '.join(dict.fromkeys(self.names().values()))}."
        remote = RemoteEngine(address)
        sentence = remote.connect()
        self._remote = remote
        return sentence

    def use_server_of_settings(self, address: str | None) -> str:
        """As `use_server`, for an address or, when that is None, the user's setting; without one nothing changes."""
        chosen = Settings.load().engine if address is None else address
        return self.use_server(chosen) if chosen else ""

    def names(self) -> dict[Task, str]:
        """Name of the preset, or of the fine-tuning run, that answers each kind of prompt on this computer."""
        return {task: Path(model).name for task, model in self.models().items()}

    def current(self, task: Task = "text") -> PromptEngine:
        """The engine that answers a kind of prompt: that of a server, if one was chosen."""
        self._project.runs.note_prompt()
        return self._remote or self.local(task)

    def local(self, task: Task = "text") -> Engine:
        """The engine of this computer that answers a kind of prompt.

        Another window may have changed the model: the new engine is built beside the old one, on which running prompts
        finish.
        """
        models = self.models()
        with self._lock:
            # engines that nothing uses any more give their memory back
            in_use = {*models.values(), self._preset, _BUNDLED}
            self._slots = {name: slot for name, slot in self._slots.items() if name in in_use}
        return self.load(models[task])

    def models(self) -> dict[Task, str]:
        """Preset name or checkpoint folder by kind of prompt.

        For text and examples: the active fine-tuning run, else the preset chosen for the project, else the preset that
        the front end was started with. For clicks a chosen preset comes before the run. A chosen preset that is not on
        this computer is passed over, and the bundled one answers what the first preset cannot.
        """
        run, chosen = self._project.runs.model(), self._project.runs.presets()
        first: dict[Task, str] = {}
        for task in TASKS:
            preset = chosen.get(task)
            usable = preset if preset is not None and answers(preset, task, missing=False) else None
            own = self._preset if answers(self._preset, task, missing=True) else _BUNDLED
            tuned = run if run is not None and answers(run, task, missing=True) else None
            first[task] = (usable or tuned or own) if task == "click" else (tuned or usable or own)
        return first

    def folder(self, task: Task) -> Path | None:
        """Folder of the model that answers a kind of prompt; None when it is not on this computer."""
        return _folder(self.models()[task])

    def load(self, name: str) -> Engine:
        """The engine of a preset or checkpoint folder, loaded once; errors as `Engine.load`."""
        with self._lock:
            slot = self._slots.setdefault(name, _Slot())
        # a click does not wait for the model of text
        with slot.lock:
            if slot.engine is None:
                slot.engine = self._load(name)
            return slot.engine

    def for_search(self) -> Engine:
        """The engine of text, or the preset's: a fine-tuned model no longer fits Talk2DINO's projection."""
        engine = self.local()
        return engine if "talk2dino" in engine.text_methods else self.load(self._preset)

    def for_suggestions(self) -> PromptEngine:
        """The engine of text where it has a dino.txt, which ranks names for a mask; else one that has."""
        if self._remote is not None:
            return self._remote
        text = self.models()["text"]
        return self.load(next(name for name in (text, self._preset, _BUNDLED) if _has_dinotxt(name)))

    def trainable(self) -> str:
        """The preset that fine-tuning starts from: the one of text where something of it learns, else the first."""
        name = self._project.runs.presets().get("text")
        return name if name is not None and tunable(name) else self._preset


class _Slot:
    """An engine, and the lock under which it is loaded."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.engine: Engine | None = None


def answers(name: str, task: str, *, missing: bool) -> bool:
    """Whether a preset answers a kind of prompt; `missing` is the answer for one that is not on this computer."""
    folder = _folder(name)
    return missing if folder is None else task in tasks(folder)


def tunable(name: str) -> bool:
    """Whether a preset that is on this computer has a text method that learns from accepted masks."""
    folder = _folder(name)
    return folder is not None and bool({"dinotxt", "talk2dino"} & sections(folder).keys())


def _has_dinotxt(name: str) -> bool:
    """Whether a preset answers text and examples, for which it needs a dino.txt, or is not on this computer."""
    return answers(name, "text", missing=True) and answers(name, "example", missing=True)


def _folder(name: str) -> Path | None:
    try:
        return find(name, Settings.load())
    except PresetMissing:
        return None
