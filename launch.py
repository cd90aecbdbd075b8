#!/usr/bin/env python3
"""Start Maskwright with nothing but Python: make .venv, install the pinned packages, become `maskwright`.

    python3 launch.py                                          open the browser app
    python3 launch.py test [PYTEST ARGUMENTS]                  run the whole test suite, or what the arguments name
    python3 launch.py segment photo.jpg --text "road, car"     any other arguments go to `maskwright`
    python3 launch.py --no-napari [ARGUMENTS]                  the same, installed without napari and its window toolkit

Standard library only. The file must parse on Pythons that are too old, so that they get a sentence and not a
SyntaxError: no match statement, no walrus, no `from __future__ import annotations`.
"""

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, BinaryIO, Sequence, TextIO

OLDEST_PYTHON = (3, 11)


def check_python(version: "Sequence[Any]") -> None:
    """Exit with one sentence when this Python is too old."""
    if tuple(version[:2]) < OLDEST_PYTHON:
        sys.exit(
            "launch.py: Maskwright needs Python {}.{} or newer and this is {}.{}; install a newer Python and start "
            "again with it, for example `python3.12 launch.py`.".format(*OLDEST_PYTHON, *version[:2])
        )


check_python(sys.version_info)

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
STAMP = VENV / "installed.json"
LOG = VENV / "install.log"
WINDOWS = os.name == "nt"
PYTHON = "{}.{}".format(*sys.version_info)
WITHOUT_NAPARI = "--no-napari"
USER_EXTRAS = ("app", "napari")
TEST_EXTRAS = (*USER_EXTRAS, "test", "dev")
WORKERS = 4  # most processes of the test suite

NO_DISK = "No space left on device"
NOT_OFFERED = (
    "The package index has no fitting {} for Python {python} on {platform}; install another Python (3.11 or newer), or"
    " get a released copy of Maskwright,"
)
# Pattern in the output of pip or venv, and the message for it; the first match decides.
CAUSES = {
    rf"{NO_DISK}|Errno 28|WinError 112": "The disk is full; free several GB where {venv} lies, or let TMPDIR name a"
    " folder on a roomier disk,",
    r"ERROR: .*(?:Permission denied|Access is denied|Read-only file system|Operation not permitted)": "{venv} cannot be"
    " written to; close programs that use it and get the right to write there, or copy Maskwright to your own folder,",
    r"MemoryError|Cannot allocate memory|WinError 1455": "The memory is full; close other programs",
    r"satisfies the requirement (.+?) \(from versions: (?!none)": NOT_OFFERED,
    r"CERTIFICATE_VERIFY_FAILED|SSLError|problem confirming the ssl certificate": "The package index's certificate is"
    " not trusted; set the clock right, or let PIP_CERT name your network's certificate file,",
    r"after connection broken by|Could not fetch URL|Connect(?:ion|Timeout)Error|[Rr]ead ?[Tt]imed ?out|IncompleteRead"
    r"|ProxyError|HTTP error|Network is unreachable|getaddrinfo failed|name resolution": "The package index could not"
    " be reached; check the network, the proxy and `pip config list`",
    r"No matching distribution found for (.+)": NOT_OFFERED,
    r"The user requested \(constraint\) (.+)": NOT_OFFERED,  # so pip says it of a pin
}


class SetUpError(Exception):
    """A message with the cause and what to do about it."""


def main(words: list[str]) -> int:
    """Set up what is missing, then become the program; returns the exit status where the program never ran."""
    without_napari = words[:1] == [WITHOUT_NAPARI]
    first = ("app",) if without_napari else USER_EXTRAS
    words = words[1:] if without_napari else words
    testing = words[:1] == ["test"]
    # A forwarded command owns stdout (think of --json), so the steps go to stderr then.
    steps = sys.stderr if words and not testing else sys.stdout
    try:
        set_up(TEST_EXTRAS if testing else needed_by(words), first, steps)
        if testing:
            say("Running the tests ...", steps)
            os.chdir(ROOT)
            return become(pytest_command(words[1:], steps))
        if not words:
            say("Opening Maskwright ...", steps)
        return become([str(program("maskwright")), *(words or ["ui"])])
    except KeyboardInterrupt:
        print("launch.py: Interrupted; the next start continues from here.", file=sys.stderr)
        return 130
    except SetUpError as error:
        print(f"launch.py: {error}", file=sys.stderr)
    except OSError as error:
        print("launch.py: " + explain(f"ERROR: {error}", 1, "The start"), file=sys.stderr)
    return 1


def needed_by(words: list[str]) -> tuple[str, ...]:
    """The extras without which a command cannot run; what the first start left out comes when it is needed."""
    return (
        "app",
        *(["napari"] if words[:1] == ["napari"] else []),
        *(["postgres"] if any("postgresql" in word.partition("://")[0] for word in words if "://" in word) else []),
    )


def set_up(extras: tuple[str, ...], first: tuple[str, ...], steps: TextIO) -> None:
    """Make .venv and install into it whatever the stamp does not show as done; `first` is for a first start."""
    if is_done(extras):
        return
    with Path(__file__).open("rb") as turn:
        take_turn(turn, steps)
        if is_done(extras):
            return
        if not is_usable():
            make_venv(steps)
        stamp = read_stamp()
        there = stamp.get("extras", first) if stamp.get("folder") == str(ROOT) else first
        install(tuple(dict.fromkeys([*there, *extras])), turn, steps)


def is_done(extras: tuple[str, ...]) -> bool:
    """Whether the last complete installation covers these extras; reads files only, so it costs next to nothing."""
    stamp = read_stamp()
    covered = set(stamp.pop("extras", ())) >= set(extras) and stamp == identity()
    return covered and program("python").exists() and program("maskwright").exists()


def identity() -> dict[str, str]:
    """What an installation depends on; scripts in .venv hold the folder's name, so a moved one is made anew."""
    pins = (ROOT / "pyproject.toml").read_bytes() + b"\0" + (ROOT / "constraints.txt").read_bytes()
    return {"folder": str(ROOT), "python": PYTHON, "pins": hashlib.sha256(pins).hexdigest()}


def read_stamp() -> dict[str, Any]:
    """The stamp as it was written; empty when there is none that can be read."""
    try:
        stamp = json.loads(STAMP.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) else {}


def take_turn(turn: BinaryIO, steps: TextIO) -> None:
    """Lock this file against another start; pip inherits the lock, so it also outlasts a killed launch.py."""
    try:
        import fcntl
    except ImportError:  # Windows: two first starts at once are not guarded
        return
    try:
        fcntl.flock(turn, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say("Waiting for another start of launch.py to finish installing ...", steps)
        fcntl.flock(turn, fcntl.LOCK_EX)
    except OSError:  # a file system without locks
        return


def is_usable() -> bool:
    """Whether .venv is whole, belongs to this folder and has this Python and a working pip."""
    if read_stamp().get("folder", str(ROOT)) != str(ROOT):
        return False
    probe = "import sys, pip._internal.commands.install; print('{}.{}'.format(*sys.version_info))"
    command = [str(program("python")), "-I", "-c", probe]
    try:
        answer = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return answer.returncode == 0 and answer.stdout.strip() == PYTHON


def make_venv(steps: TextIO) -> None:
    """Make .venv anew; whatever half-made one lies there is cleared."""
    try:
        import ensurepip  # noqa: F401 - Debian packs it apart from Python
        import venv  # noqa: F401
    except ImportError:
        raise SetUpError(
            "This Python lacks its venv module; install it (Debian and Ubuntu: "
            f"`sudo apt install python{PYTHON}-venv`) and start again."
        ) from None
    say(f"{'Rebuilding' if VENV.exists() else 'Making'} .venv with Python {PYTHON} ...", steps)
    command = [sys.executable, "-m", "venv", "--clear", str(VENV)]
    made = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if made.returncode:
        output = made.stdout.decode("utf-8", "replace").replace("Error:", "ERROR:")
        raise SetUpError(explain(output, made.returncode, "Making .venv"))


def install(extras: tuple[str, ...], turn: BinaryIO, steps: TextIO) -> None:
    """Run pip with its output in the log; the stamp is taken away first and written last."""
    stamp = dict(identity(), extras=extras)
    STAMP.unlink(missing_ok=True)
    say("Installing the pinned packages (the first time takes minutes) ...", steps)
    # -I: packages that PYTHONPATH or the current folder offer must not count as installed.
    pip = [str(program("python")), "-I", "-m", "pip", "install", "--no-input", "--progress-bar", "off"]
    with LOG.open("wb") as log:
        process = subprocess.Popen(
            [*pip, "-c", "constraints.txt", "-e", ".[{}]".format(",".join(extras))],
            cwd=ROOT,
            env=dict(os.environ, PIP_USER="0", PIP_DISABLE_PIP_VERSION_CHECK="1"),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            pass_fds=() if WINDOWS else (turn.fileno(),),
        )
    status = wait_for(process, steps)
    if status:
        output = LOG.read_text(encoding="utf-8", errors="replace")
        raise SetUpError(explain(output, status, "pip", f" (full log: {LOG})"))
    unfinished = STAMP.with_suffix(".new")
    unfinished.write_text(json.dumps(stamp), encoding="utf-8")
    unfinished.replace(STAMP)
    say("Installed.", steps)


def wait_for(process: "subprocess.Popen[bytes]", steps: TextIO) -> int:
    """The process's exit status; meanwhile one line of a terminal shows what pip is at and for how long."""
    started = time.monotonic()
    width = shutil.get_terminal_size().columns - 1
    try:
        while True:
            try:
                return process.wait(timeout=0.5)
            except subprocess.TimeoutExpired:
                if steps.isatty():
                    line = f"  {time.monotonic() - started:4.0f} s  {latest_step()}"
                    print("\r" + line[:width].ljust(width), end="\r", file=steps, flush=True)
    except KeyboardInterrupt:
        process.terminate()
        process.wait()
        raise
    finally:
        if steps.isatty():
            print("\r" + " " * width, end="\r", file=steps, flush=True)


def latest_step() -> str:
    """The last thing that pip's log says it began, for example `Downloading torch-...whl`."""
    with LOG.open("rb") as log:
        log.seek(max(0, LOG.stat().st_size - 20_000))
        tail = log.read().decode("ascii", "ignore")
    begun = re.findall(r"^ *((?:Collecting|Downloading|Installing|Building) .*)", tail, re.M)
    return begun[-1].strip() if begun else ""


def explain(output: str, status: int, step: str, log: str = "") -> str:
    """One sentence for a failed pip or venv, from its exit status and what it printed."""
    if status < 0:
        return f"{step} was killed by signal {-status}, often for want of memory; close other programs and start again."
    if shutil.disk_usage(ROOT).free < 20_000_000:  # then the reason itself may not have been written
        output = NO_DISK
    for pattern, sentence in CAUSES.items():
        match = re.search(pattern, output)
        if match:
            facts = {"venv": VENV, "python": PYTHON, "platform": f"{platform.system()} {platform.machine()}"}
            return sentence.format(*match.groups(), **facts) + f" and start again{log}."
    errors = re.findall(r"^(?:ERROR|error): *(.*\S)", output, re.M) or output.split() or [f"exit status {status}"]
    return f"{step} failed ({errors[-1].rstrip('.')}); mend that, or remove {VENV}, and start again{log}."


def pytest_command(words: list[str], steps: TextIO) -> list[str]:
    """Pytest over all markers (a `-m` among the arguments still wins), under Xvfb where Linux has no display.

    The whole suite runs in parallel and prints its slowest tests; tests/conftest.py groups what cannot run at once.
    """
    command = [str(program("pytest")), "-m", ""]
    workers = min(WORKERS, os.cpu_count() or 1)
    if words:
        command += words
    elif workers == 1:
        command += ["--durations=15"]
    else:
        command += ["--durations=15", "-n", str(workers), "--dist", "loadgroup", "--no-loadscope-reorder"]
        # a worker that crashed takes its group along, and the others would wait for it
        command += ["--max-worker-restart", "0"]
    if not sys.platform.startswith("linux") or os.environ.get("DISPLAY"):
        return command
    if shutil.which("xvfb-run"):
        return ["xvfb-run", "-a", *command]
    say("There is no display and no xvfb-run (Debian: `sudo apt install xvfb`), so no window can open.", steps)
    return command


def program(name: str) -> Path:
    """Where .venv keeps this program."""
    return VENV / "Scripts" / f"{name}.exe" if WINDOWS else VENV / "bin" / name


def become(command: list[str]) -> int:
    """Hand over to the command: for good on POSIX, on Windows until it ends."""
    try:
        if not WINDOWS:
            os.execvp(command[0], command)
        process = subprocess.Popen(command)
    except OSError as error:
        raise SetUpError(f"{command[0]} cannot be run ({error.strerror}); remove {VENV} and start again.") from error
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:  # Ctrl+C reached the program too; it says how it ends
            continue


def say(text: str, steps: TextIO) -> None:
    """One line for one step, at once also through a pipe."""
    print(text, file=steps, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
