"""Get a stronger model: the presets that there are, fetch one in the background, use one without a restart."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from maskwright.errors import Cancelled, MaskwrightError
from maskwright.presets.folders import bundled, find, installed, tasks
from maskwright.presets.official import OFFICIAL, Task
from maskwright.progress import Progress
from maskwright.project import Project, user_name
from maskwright.session.choices import Choice, text_methods, vocabulary
from maskwright.session.engines import Engines
from maskwright.settings import Settings

__all__ = ["PRESET_ACTIONS", "PresetInfo", "SessionPresets"]

PRESET_ACTIONS = {"use": "Use", "fetch": "Get it", "cancel": "Cancel"}
"""Button labels of the actions in `PresetInfo.actions`."""

PresetState = Literal["bundled", "installed", "fetchable", "gated", "by_hand", "fetching"]
_QUIET = 0.25
"""Seconds between two reports of a download to `SessionPresets.on_change`."""
_DESCRIPTIONS = {
    "tiny": ("tiny", "Comes with Maskwright: text, examples and clicks, offline and on a CPU."),
}
"""Title, and what improves, of the bundled presets."""


@dataclass(frozen=True, slots=True)
class PresetInfo:
    """A preset as a front end shows it."""

    name: str
    title: str
    tasks: tuple[str, ...]
    """Kinds of prompts that it answers: text, example, click."""
    size: int
    """Bytes on this computer, or about the bytes to download."""
    licence: str
    """Empty when it is not known, as for presets that were trained here."""
    page: str
    """Address of the licence, or where access is asked for; empty when there is none."""
    improves: str
    """What improves, in one sentence of published or measured facts."""
    state: PresetState
    """bundled, installed (on this computer), fetchable, gated (fetchable once access was asked for at `page`), by_hand
    (some files must be downloaded by a person: `maskwright models info NAME`), or fetching."""
    used_for: tuple[str, ...] = ()
    """Kinds of prompts that it answers in this session now."""
    share: float | None = None
    """How much of a running fetch is done, 0 to 1."""
    message: str = ""
    """What a fetch is doing, or why the last one failed."""

    @property
    def size_text(self) -> str:
        """Such as "949 MB"."""
        return f"{self.size / 1e9:.1f} GB" if self.size >= 1e9 else f"{self.size / 1e6:,.0f} MB"

    @property
    def actions(self) -> tuple[str, ...]:
        """Of use, fetch, cancel: what makes sense now. "use" is there while another preset answers a kind it could."""
        match self.state:
            case "fetching":
                return ("cancel",)
            case "fetchable" | "gated":
                return ("fetch",)
            case "bundled" | "installed":
                return ("use",) if set(self.tasks) - set(self.used_for) else ()
            case _:
                return ()


class SessionPresets:
    """Presets of one session; safe to share between threads.

    A front end draws `all`, offers `fetch` and `cancel` or `use` by the state of each, and draws again when `on_change`
    is called or a call returns.
    """

    def __init__(self, project: Project, engines: Engines) -> None:
        self._project, self._engines = project, engines
        self._lock = threading.Lock()
        self._jobs: dict[str, _Job] = {}
        self.on_change: Callable[[PresetInfo], None] = lambda info: None
        """Called from the fetching thread, at most four times a second, and when it has ended."""

    def all(self) -> list[PresetInfo]:
        """Bundled presets, then official ones in the order of recommendation, then others on this computer."""
        here = installed(Settings.load())
        own = [name for name, folder in here.items() if folder.parent == bundled()]
        others = [name for name in here if name not in own and name not in OFFICIAL]
        used = self._engines.models()
        # parts that answer nothing before their training are no choice in a window
        official = [name for name, preset in OFFICIAL.items() if preset.tasks or name in here]
        return [self._info(name, here, used) for name in [*own, *official, *others]]

    def get(self, name: str) -> PresetInfo:
        """One of them; raises PresetMissing."""
        here = installed(Settings.load())
        if name not in here and name not in OFFICIAL:
            here = {**here, name: find(name, Settings.load())}
        return self._info(name, here, self._engines.models())

    def used(self, task: Task) -> str:
        """Name of the preset, or of the fine-tuning run, that answers a kind of prompt now."""
        return self._engines.names()[task]

    def text_methods(self) -> list[Choice]:
        """Methods of the model that answers text prompts, the automatic choice first; loads nothing."""
        folder = self._engines.folder("text")
        return [] if folder is None else text_methods(folder)

    def vocabulary(self) -> list[str]:
        """Class names that the model which answers text was trained on; none when it takes any words."""
        folder = self._engines.folder("text")
        return [] if folder is None else vocabulary(folder)

    def use(self, name: str, *, tasks_only: Sequence[str] | None = None, user: str = "") -> PresetInfo:
        """Answer prompts by a preset from now on, in every window on this project; returns its info.

        It answers the kinds of prompts that it can; the other kinds are answered as before, so that a preset for text
        and one for clicks work side by side. It is loaded first, which takes seconds, and when that fails nothing
        changes. Prompts that are running finish on the model that they started on, and open proposals keep the
        provenance of the model that made them. A preset for text or examples takes the place of a fine-tuned model.

        Args:
            name: of a preset on this computer.
            tasks_only: use it for these kinds of prompts only.
            user: recorded in the history; by default the user of this computer.

        Raises:
            PresetMissing: it is not on this computer; the message says how to get it.
            MaskwrightError: it answers none of `tasks_only`.
            BadWeights: its files are damaged.
        """
        able = tasks(find(name, Settings.load()))
        chosen = [task for task in able if tasks_only is None or task in tasks_only]
        if not chosen:
            raise MaskwrightError(f"{name} answers {' and '.join(able) or 'nothing'} only. Choose another preset.")
        self._engines.load(name)
        self._project.runs.use_preset(name, chosen, user=user or user_name())
        return self.get(name)

    def fetch(self, name: str) -> PresetInfo:
        """Start to fetch an official preset in the background; returns at once.

        One that is on this computer, or on its way, is left alone. An interrupted fetch continues where it stopped, in
        this session or in a later one.

        Raises:
            MaskwrightError: it cannot be fetched; the message says how to get it.
        """
        if name in installed(Settings.load()):
            return self.get(name)
        official = OFFICIAL.get(name)
        if official is None or not official.fetchable:
            raise MaskwrightError(
                f"{name} cannot be fetched in one step.", f"Run `maskwright models info {name}` to see how to get it."
            )
        with self._lock:
            running = self._jobs.get(name)
            if running is None or running.done:
                self._jobs[name] = _Job(name, lambda: self.on_change(self.get(name)))
        return self.get(name)

    def cancel(self, name: str) -> PresetInfo:
        """Stop a fetch, which ends within seconds; what has arrived is kept for the next one."""
        with self._lock:
            job = self._jobs.get(name)
        if job is not None:
            job.cancel()
        return self.get(name)

    def wait(self, name: str, timeout: float | None = None) -> PresetInfo:
        """Wait until a fetch has ended; for scripts and tests."""
        with self._lock:
            job = self._jobs.get(name)
        if job is not None:
            job.thread.join(timeout)
        return self.get(name)

    def _info(self, name: str, here: dict[str, Path], used: dict[Task, str]) -> PresetInfo:
        official, folder = OFFICIAL.get(name), here.get(name)
        with self._lock:
            job = self._jobs.get(name)
        title, improves = (official.title, official.improves) if official else _DESCRIPTIONS.get(name, (name, ""))
        running = job is not None and not job.done
        size = official.size if official else 0
        if folder is not None:
            size = sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
        return PresetInfo(
            name,
            title,
            official.tasks if official and folder is None else tasks(folder) if folder else (),
            size,
            official.licence if official else "",
            official.page if official else "",
            improves,
            "fetching" if running else _state(name, folder),
            tuple(task for task, model in used.items() if model == name),
            job.share if job is not None and running else None,
            job.message if job is not None and folder is None else "",
        )


def _state(name: str, folder: Path | None) -> PresetState:
    if folder is not None:
        return "bundled" if folder.parent == bundled() else "installed"
    official = OFFICIAL[name]
    return "by_hand" if not official.fetchable else "gated" if official.gated else "fetchable"


class _Job(Progress):
    """A fetch in a thread of its own."""

    def __init__(self, name: str, changed: Callable[[], None]) -> None:
        self._name, self._changed = name, changed
        self._stop = threading.Event()
        self._last = 0.0
        self.share, self.message, self.done = 0.0, "Looking for the files", False
        # a program that ends does not wait for it: what has arrived is kept
        self.thread = threading.Thread(target=self._run, name=f"fetch {name}", daemon=True)
        self.thread.start()

    def cancel(self) -> None:
        """Ask it to stop."""
        if not self.done:
            self.message = "Stopping"
            self._stop.set()

    def report(self, done: int, total: int, stage: str = "") -> None:
        self.share, self.message = done / total, f"{stage}: {done / 1e6:,.0f} of {total / 1e6:,.0f} MB"
        if time.monotonic() - self._last > _QUIET:
            self._last = time.monotonic()
            self._changed()

    def cancelled(self) -> bool:
        return self._stop.is_set()

    def _run(self) -> None:
        message = ""
        try:
            # torch comes with it
            from maskwright.presets.fetching import fetch

            fetch(self._name, Settings.load(), progress=self)
        except Cancelled:
            message = "Cancelled; what has arrived is kept for the next time."
        except MaskwrightError as error:
            message = str(error)
        except Exception as error:  # shown where the download was started, and nobody else would see it
            message = f"Unexpected failure: {error!r}. Please report it."
        self.message, self.done = message, True
        self._changed()
