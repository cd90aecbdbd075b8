"""Which engine answers: that of the model the project uses, loaded when it is first needed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from maskwright.project import Project

if TYPE_CHECKING:
    # torch comes with the engine, and a window should open before it
    from maskwright.engine import Engine

__all__ = ["Engines"]


class Engines:
    """Loads engines by preset name or checkpoint folder; safe to share between threads."""

    def __init__(self, load: Callable[[str], Engine], project: Project, preset: str) -> None:
        """Take a function that loads an engine, the project, and the preset to use while it names no model."""
        self._load, self._project, self._preset = load, project, preset
        self._lock = threading.Lock()
        self._current: tuple[str, Engine] | None = None
        self._preset_engine: Engine | None = None

    def current(self) -> Engine:
        """The engine of the model that the project uses.

        Another window may have changed the model: the new engine is built beside the old one, on which running prompts
        finish.
        """
        model = self._project.runs.model() or self._preset
        with self._lock:
            if self._current is None or self._current[0] != model:
                self._current = model, self._load(model)
            return self._current[1]

    def for_search(self) -> Engine:
        """The current engine, or the preset's: a fine-tuned model no longer fits Talk2DINO's projection."""
        engine = self.current()
        if "talk2dino" in engine.text_methods or (self._current and self._current[0] == self._preset):
            return engine
        with self._lock:
            self._preset_engine = self._preset_engine or self._load(self._preset)
            return self._preset_engine
