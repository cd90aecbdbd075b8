"""launch.py as its users meet it: started as a program in a small checkout, with a real or a scripted pip."""

from __future__ import annotations

import ast
import errno
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
LAUNCH = REPOSITORY / "launch.py"
VERSION = "{}.{}".format(*sys.version_info)

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the scripted programs are POSIX scripts")

# A build backend inside the tree, so that the real pip can install the real way with no index at all.
BACKEND = """
import os, pathlib, zipfile

def build_editable(folder, config_settings=None, metadata_directory=None):
    wants = pathlib.Path("wants.txt").read_text()
    files = {
        "maskwright.pth": os.path.join(os.getcwd(), "core"),
        "maskwright-1.dist-info/METADATA": "Metadata-Version: 2.1\\nName: maskwright\\nVersion: 1\\n"
        + "".join(f"Provides-Extra: {e}\\n" for e in ("app", "napari", "test", "dev")) + wants,
        "maskwright-1.dist-info/WHEEL": "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
        "maskwright-1.dist-info/entry_points.txt": "[console_scripts]\\nmaskwright=echo:main\\npytest=echo:main\\n",
    }
    with zipfile.ZipFile(os.path.join(folder, "maskwright-1-py3-none-any.whl"), "w") as wheel:
        for name, text in files.items():
            wheel.writestr(name, text)
        wheel.writestr("maskwright-1.dist-info/RECORD", "".join(f"{name},,\\n" for name in files))
    return "maskwright-1-py3-none-any.whl"
"""
PYPROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
"""
ECHO = """
import json, os, sys

def main():
    print(json.dumps([os.path.basename(sys.argv[0]), *sys.argv[1:]]))
    return int(os.environ.get("ECHO_STATUS", "0"))
"""
# The scripted pip notes each call and then does what `pip-does.py` in the checkout says.
FAKE_PIP = """
import json, os, pathlib, sys
checkout = pathlib.Path(sys.prefix).parent
with open(checkout / "pip-calls", "a") as calls:
    calls.write(json.dumps(sys.argv[1:]) + "\\n")
for name in ("maskwright", "pytest"):
    script = pathlib.Path(sys.prefix, "bin", name)
    script.write_text(f"#!{sys.executable}\\nimport sys\\nsys.path.insert(0, {str(checkout / 'core')!r})\\n"
                      "from echo import main\\nsys.exit(main())\\n")
    script.chmod(0o755)
exec((checkout / "pip-does.py").read_text())
"""


def make_checkout(folder: Path) -> Path:
    for name, text in {
        "pyproject.toml": PYPROJECT,
        "constraints.txt": "torch==2.13.0\n",
        "backend.py": BACKEND,
        "wants.txt": "",
        "core/echo.py": ECHO,
        "pip-does.py": "",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    shutil.copy(LAUNCH, folder)
    return folder


def add_fake_venv(checkout: Path) -> None:
    """A virtual environment made by hand (in no time), whose pip is the scripted one."""
    base = Path(sys._base_executable)  # type: ignore[attr-defined]
    venv = checkout / ".venv"
    pip = venv / "lib" / f"python{VERSION}" / "site-packages" / "pip"
    (pip / "_internal/commands").mkdir(parents=True)
    (venv / "bin").mkdir()
    (venv / "bin/python").symlink_to(base)
    (venv / "pyvenv.cfg").write_text(f"home = {base.parent}\ninclude-system-site-packages = false\n")
    for name in ("__init__.py", "_internal/__init__.py", "_internal/commands/__init__.py"):
        (pip / name).touch()
    (pip / "_internal/commands/install.py").touch()
    (pip / "__main__.py").write_text(FAKE_PIP)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = make_checkout(tmp_path / "checkout")
    add_fake_venv(folder)
    return folder


def environment(**changes: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PIP_", "PYTHON")) and k != "DISPLAY"}
    return {**kept, "DISPLAY": ":7", "PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", **changes}


def start(checkout: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(checkout / "launch.py"), *words]
    done = subprocess.run(command, env=environment(**env), capture_output=True, text=True, timeout=120)
    assert "Traceback" not in done.stdout + done.stderr
    return done


def failure(done: subprocess.CompletedProcess[str]) -> str:
    """The one sentence of a failed start."""
    assert done.returncode == 1, done
    sentence = done.stderr.strip()
    assert re.fullmatch(r"launch\.py: [^\n]+\.", sentence), sentence
    return sentence


def pip_calls(checkout: Path) -> list[list[str]]:
    calls = checkout / "pip-calls"
    return [json.loads(line) for line in calls.read_text().splitlines()] if calls.exists() else []


def wait_until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("launch_under_test", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    folder = make_checkout(tmp_path_factory.mktemp("real") / "a checkout")  # the space is meant
    (folder / ".venv/bin").mkdir(parents=True)  # left by a start that was killed
    (folder / ".venv/bin/python").symlink_to("/nowhere/python")
    return folder, start(folder, "segment", "my photo.jpg", "--text", "road, car", ECHO_STATUS="2")


@pytest.mark.slow
class TestRealPip:
    """A first start with nothing faked but the package: real venv, real pip, real console scripts; no network."""

    def test_first_start_rebuilds_installs_and_forwards(
        self, real: tuple[Path, subprocess.CompletedProcess[str]]
    ) -> None:
        folder, first = real
        assert json.loads(first.stdout) == ["maskwright", "segment", "my photo.jpg", "--text", "road, car"]
        assert first.returncode == 2, first.stderr
        assert first.stderr.splitlines() == [
            f"Rebuilding .venv with Python {VERSION} ...",
            "Installing the pinned packages (the first time takes minutes) ...",
            "Installed.",
        ]
        assert "Successfully installed maskwright-1" in (folder / ".venv/install.log").read_text()

    def test_second_start_runs_no_pip_and_is_quick(self, real: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
        folder, _ = real
        log = (folder / ".venv/install.log").stat()

        def seconds(command: list[str]) -> float:
            started = time.perf_counter()
            subprocess.run(command, env=environment(), stdout=subprocess.PIPE, check=True)
            return time.perf_counter() - started

        launched = min(seconds([sys.executable, str(folder / "launch.py"), "doctor"]) for _ in range(3))
        direct = min(seconds([str(folder / ".venv/bin/maskwright"), "doctor"]) for _ in range(3))
        assert launched - direct < 0.3
        assert (folder / ".venv/install.log").stat() == log

    def test_network_and_missing_package(self, real: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
        folder, _ = real
        (folder / "wants.txt").write_text("Requires-Dist: surely-absent==1\n")
        (folder / "constraints.txt").write_text("surely-absent==1\n")
        unreachable = {"PIP_NO_INDEX": "0", "PIP_INDEX_URL": "http://127.0.0.1:9/", "PIP_RETRIES": "1"}
        sentence = failure(start(folder, **unreachable))
        assert "could not be reached; check the network" in sentence
        assert str(folder / ".venv/install.log") in sentence
        assert f"has no fitting surely-absent==1 for Python {VERSION} on" in failure(start(folder))


class TestSteps:
    def test_no_words_open_the_browser_app(self, checkout: Path) -> None:
        done = start(checkout)
        assert done.returncode == 0
        steps = [
            "Installing the pinned packages (the first time takes minutes) ...",
            "Installed.",
            "Opening Maskwright ...",
        ]
        assert done.stdout.splitlines() == [*steps, '["maskwright", "ui"]']
        assert start(checkout).stdout.splitlines() == ["Opening Maskwright ...", '["maskwright", "ui"]']
        assert [call[-5:] for call in pip_calls(checkout)] == [["off", "-c", "constraints.txt", "-e", ".[app,napari]"]]

    def test_tests_bring_their_extras_once_and_return_the_status(self, checkout: Path) -> None:
        start(checkout)
        done = start(checkout, "test", "-k", "rle", ECHO_STATUS="5")
        assert done.returncode == 5
        assert done.stdout.splitlines()[-2:] == ["Running the tests ...", '["pytest", "-m", "", "-k", "rle"]']
        start(checkout, "test")
        start(checkout, "ui")
        assert [call[-1] for call in pip_calls(checkout)] == [".[app,napari]", ".[app,napari,test,dev]"]

    def test_napari_may_be_left_out_until_it_is_asked_for(self, checkout: Path) -> None:
        assert start(checkout, "--no-napari").stdout.splitlines()[-1] == '["maskwright", "ui"]'
        start(checkout)
        assert start(checkout, "--no-napari", "doctor").stdout == '["maskwright", "doctor"]\n'
        start(checkout, "napari")
        assert [call[-1] for call in pip_calls(checkout)] == [".[app]", ".[app,napari]"]

    def test_an_address_of_a_server_brings_its_driver(self, checkout: Path) -> None:
        start(checkout)
        for address in ("postgresql://me@host/streets", "postgresql+psycopg://me@host/streets"):
            start(checkout, "ui", "--project", address)
        start(checkout, "models", "fetch", "https://host/postgresql")
        assert [call[-1] for call in pip_calls(checkout)] == [".[app,napari]", ".[app,napari,postgres]"]

    def test_without_display_tests_run_under_xvfb(self, checkout: Path, tmp_path: Path) -> None:
        xvfb = tmp_path / "xvfb-run"
        xvfb.write_text('#!/bin/sh\necho "xvfb $1"\nshift\nexec "$@"\n')
        xvfb.chmod(0o755)
        done = start(checkout, "test", DISPLAY="", PATH=f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
        if sys.platform.startswith("linux"):
            display, command = done.stdout.splitlines()[-2:]
            assert display == "xvfb -a"
            assert json.loads(command)[:4] == ["pytest", "-m", "", "--durations=15"]
            assert ("-n" in json.loads(command)) == (os.cpu_count() != 1)
            bare = start(checkout, "test", DISPLAY="", PATH=os.devnull)
            assert "no display and no xvfb-run" in bare.stdout
            assert bare.returncode == 0

    @pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
    def test_changed_pins_are_installed(self, checkout: Path, name: str) -> None:
        start(checkout)
        with (checkout / name).open("a") as file:
            file.write("\n# changed\n")
        start(checkout)
        start(checkout)
        assert len(pip_calls(checkout)) == 2

    def test_lost_program_and_broken_stamp_are_repaired(self, checkout: Path) -> None:
        start(checkout)
        (checkout / ".venv/bin/maskwright").unlink()
        assert start(checkout, "doctor").stdout == '["maskwright", "doctor"]\n'
        (checkout / ".venv/installed.json").write_bytes(b'{"extras": \xff')
        assert start(checkout, "doctor").returncode == 0
        assert len(pip_calls(checkout)) == 3

    def test_pythonpath_does_not_count_as_installed(self, checkout: Path, tmp_path: Path) -> None:
        (checkout / "pip-does.py").write_text(f"assert {str(tmp_path)!r} not in sys.path and '' not in sys.path")
        assert start(checkout, PYTHONPATH=str(tmp_path)).returncode == 0

    def test_terminal_shows_what_pip_is_at(self, checkout: Path) -> None:
        import pty

        (checkout / "pip-does.py").write_text("import time\nprint('Collecting torch', flush=True)\ntime.sleep(0.8)")
        master, slave = pty.openpty()
        command = [sys.executable, str(checkout / "launch.py")]
        process = subprocess.Popen(command, env=environment(), stdout=slave, stderr=slave)
        os.close(slave)
        shown = b""
        try:
            while piece := os.read(master, 4096):
                shown += piece
        except OSError:  # Linux tells the end of a terminal this way
            pass
        assert process.wait() == 0
        assert re.search(rb"\r +\d+ s  Collecting torch", shown)


class TestFailures:
    @pytest.mark.parametrize(
        ("printed", "told"),
        [
            pytest.param("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device",
                         "The disk is full; free several GB", id="disk"),
            pytest.param("ERROR: Could not install packages due to an OSError: [Errno 13] Permission denied: '/x'",
                         "cannot be written to", id="rights"),
            pytest.param("WARNING: Retrying (Retry(total=0)) after connection broken by 'NewConnectionError'\n"
                         "ERROR: Could not find a version that satisfies the requirement torch==2.13.0"
" (from versions: none)\n"
                         "ERROR: No matching distribution found for torch==2.13.0",
                         "could not be reached; check the network", id="network"),
            pytest.param("WARNING: Retrying after connection broken by 'ReadTimeoutError'\n"
                         "ERROR: Could not find a version that satisfies the requirement torch==2.13.0"
" (from versions: 2.7, 2.8)\n"
                         "ERROR: No matching distribution found for torch==2.13.0",
                         f"has no fitting torch==2.13.0 for Python {VERSION} on", id="no such version"),
            pytest.param("Could not fetch URL: SSLError(SSLCertVerificationError(1, 'CERTIFICATE_VERIFY_FAILED'))",
                         "let PIP_CERT name", id="certificate"),
            pytest.param("The conflict is caused by:\n    maskwright 1 depends on torch>=2.7\n"
                         "    The user requested (constraint) torch==2.13.0\n\nERROR: ResolutionImpossible: for help",
                         "has no fitting torch==2.13.0 for", id="pin"),
            pytest.param("  error: subprocess-exited-with-error\nTraceback (most recent call last):\n"
                         "ERROR: Failed to build 'pycocotools' when getting requirements to build wheel",
                         "pip failed (Failed to build 'pycocotools' when", id="compiler"),
            pytest.param("", "pip failed (exit status 1)", id="silent"),
        ],
    )  # fmt: skip
    def test_pip_fails(self, checkout: Path, printed: str, told: str) -> None:
        (checkout / "pip-does.py").write_text(f"print({printed!r})\nsys.exit(1)")
        sentence = failure(start(checkout))
        assert told in sentence
        assert str(checkout / ".venv/install.log") in sentence
        (checkout / "pip-does.py").write_text("")
        assert start(checkout).returncode == 0
        assert len(pip_calls(checkout)) == 2

    def test_pip_is_killed(self, checkout: Path) -> None:
        (checkout / "pip-does.py").write_text("os.kill(os.getpid(), 9)")
        assert "pip was killed by signal 9, often for want of memory" in failure(start(checkout))

    def test_python_without_venv(self, tmp_path: Path) -> None:
        folder = make_checkout(tmp_path)
        block = "import sys\nsys.modules['ensurepip'] = None\n"
        (folder / "sitecustomize.py").write_text(block)
        sentence = failure(start(folder, PYTHONPATH=str(folder)))
        assert f"`sudo apt install python{VERSION}-venv`" in sentence
        assert not (folder / ".venv").exists()

    def test_venv_cannot_be_made(self, tmp_path: Path) -> None:
        folder = make_checkout(tmp_path)
        (folder / ".venv").write_text("a file in the way")
        assert "Making .venv failed (" in failure(start(folder))

    def test_broken_checkout(self, checkout: Path) -> None:
        (checkout / "constraints.txt").unlink()
        assert "constraints.txt" in failure(start(checkout))

    def test_program_that_was_not_installed(self, checkout: Path) -> None:
        (checkout / "pip-does.py").write_text("pathlib.Path(sys.prefix, 'bin', 'maskwright').unlink()")
        assert "maskwright cannot be run (No such file or directory); remove" in failure(start(checkout))

    @pytest.mark.parametrize(
        ("code", "told"),
        [(errno.ENOSPC, "The disk is full"), (errno.EROFS, "written to"), (errno.EACCES, "written to")],
    )
    def test_system_refuses(
        self, checkout: Path, code: int, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        launch = load(checkout / "launch.py")

        def refuse(*_: object) -> None:
            raise OSError(code, os.strerror(code), "/a/file")

        monkeypatch.setattr(launch, "install", refuse)
        assert launch.main([]) == 1
        assert told in capsys.readouterr().err

    def test_full_disk_that_swallowed_the_reason(self, checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        launch = load(checkout / "launch.py")
        monkeypatch.setattr(launch.shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
        assert "The disk is full" in launch.explain(
            "Error: ensurepip returned non-zero exit status 1.", 1, "Making .venv"
        )


class TestInterruption:
    def launch_until_pip_runs(self, checkout: Path) -> subprocess.Popen[str]:
        code = "import time\n(checkout / 'pip-pid').write_text(str(os.getpid()))\n"
        code += "while not (checkout / 'go').exists():\n    time.sleep(0.02)\n"
        (checkout / "pip-does.py").write_text(code)
        command = [sys.executable, str(checkout / "launch.py")]
        pipe = subprocess.PIPE
        process = subprocess.Popen(
            command, env=environment(), stdout=pipe, stderr=pipe, text=True, start_new_session=True
        )
        wait_until(lambda: (checkout / "pip-pid").exists() and (checkout / "pip-pid").read_text())
        return process

    def test_ctrl_c_then_the_next_start_continues(self, checkout: Path) -> None:
        process = self.launch_until_pip_runs(checkout)
        pip_process = int((checkout / "pip-pid").read_text())
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
        assert process.returncode == 130
        assert errors == "launch.py: Interrupted; the next start continues from here.\n"
        with pytest.raises(ProcessLookupError):
            os.kill(pip_process, 0)
        (checkout / "go").touch()
        assert start(checkout).returncode == 0

    def test_after_a_kill_the_next_start_waits_for_the_orphaned_pip(self, checkout: Path) -> None:
        process = self.launch_until_pip_runs(checkout)
        process.kill()
        process.wait()
        second = subprocess.Popen(
            [sys.executable, str(checkout / "launch.py")], env=environment(), stdout=subprocess.PIPE, text=True
        )
        assert second.stdout is not None
        assert second.stdout.readline() == "Waiting for another start of launch.py to finish installing ...\n"
        assert len(pip_calls(checkout)) == 1
        (checkout / "go").touch()
        assert second.communicate(timeout=20)[0].endswith('["maskwright", "ui"]\n')
        assert second.returncode == 0
        assert len(pip_calls(checkout)) == 2


class TestUsable:
    def test_whole(self, checkout: Path) -> None:
        assert load(checkout / "launch.py").is_usable()

    @pytest.mark.parametrize("gone", ["bin/python", f"lib/python{VERSION}/site-packages/pip/_internal/commands"])
    def test_half_made(self, checkout: Path, gone: str) -> None:
        path = checkout / ".venv" / gone
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        assert not load(checkout / "launch.py").is_usable()

    def test_moved_folder(self, checkout: Path, tmp_path: Path) -> None:
        start(checkout)
        moved = checkout.rename(tmp_path / "moved")
        launch = load(moved / "launch.py")
        assert not launch.is_done(("app",))
        assert not launch.is_usable()

    def test_other_python(self, checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        launch = load(checkout / "launch.py")
        monkeypatch.setattr(launch, "PYTHON", "3.99")
        assert not launch.is_usable()


def test_old_pythons_get_a_sentence() -> None:
    source = LAUNCH.read_text()
    tree = ast.parse(source, feature_version=(3, 7))
    assert "__future__" not in {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    check = next(i for i, node in enumerate(tree.body) if ast.unparse(node) == "check_python(sys.version_info)")
    before = [node for node in tree.body[:check] if isinstance(node, ast.FunctionDef)]
    assert [node.name for node in before] == ["check_python"]  # nothing else runs on an old Python
    launch = load(LAUNCH)
    launch.check_python((3, 11, 0, "final", 0))
    with pytest.raises(SystemExit, match=r"needs Python 3\.11 or newer and this is 3\.6; install a newer Python"):
        launch.check_python((3, 6, 15, "final", 0))


def test_real_old_pythons_of_this_machine() -> None:
    found = {version: shutil.which(f"python{version}") for version in ("3.6", "3.7", "3.8", "3.9", "3.10")}
    # A version manager's shim may exist without its Python.
    works = {v: p for v, p in found.items() if p and not subprocess.run([p, "-c", ""], capture_output=True).returncode}
    if not works:
        pytest.skip("no Python from 3.6 to 3.10 here")
    for version, python in works.items():
        done = subprocess.run([python, str(LAUNCH)], capture_output=True, text=True)
        assert f"this is {version}; install a newer Python" in failure(done)


def test_no_registry_is_named() -> None:
    assert not re.search(r"https?:|index-url|find-links|trusted-host", LAUNCH.read_text())


def test_ci_runs_the_suite() -> None:
    script = REPOSITORY / ".ci/run"
    assert os.access(script, os.X_OK)
    assert subprocess.run(["bash", "-n", str(script)]).returncode == 0
    assert script.read_text().rstrip().endswith("\npython3 launch.py test")
