"""The installed program in a process of its own: streams, signals, exit statuses."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image as Pillow

from maskwright.cli import output
from tests.core.cli.conftest import ANSWER, PROGRAM, Done, Run, bad_image_files, process


@pytest.mark.slow
def test_process_keeps_stdout_for_json(image_file: Path, small_preset: Path, home: Path) -> None:
    done = process("segment", image_file, "--text", "grass, cow", "--preset", small_preset, "--out", "masks", "--json")
    assert done.status == 0, done
    assert set(done.json) >= ANSWER
    assert re.match(r"Running small on (cpu|cuda:0|mps)\.\n$", done.err), "messages, and no warnings of others"


def test_process_statuses(home: Path) -> None:
    bad_image_files(home)
    assert process("segment", "cut.jpg", "--text", "cow").sentence().startswith("Cannot read cut.jpg")
    assert process("segment", "cut.jpg").status == 2
    assert process("--help").status == 0
    debug = process("segment", "cut.jpg", "--text", "cow", "--debug")
    assert debug.status == 1
    assert "Traceback" in debug.err


def test_what_nobody_expected(monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    """The last line of defence."""
    code = "import sys; from maskwright import cli; cli.app = lambda: 1 / 0; sys.argv[0] = 'maskwright'; cli.main()"
    quiet, loud = (
        subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)
        for words in ([], ["--debug"])
    )
    assert (quiet.returncode, loud.returncode) == (1, 1)
    assert quiet.stderr == (
        "maskwright: Unexpected failure (ZeroDivisionError: division by zero). "
        "Run it again with --debug and report it.\n"
    )
    assert loud.stderr.startswith("Traceback")
    assert loud.stderr.endswith("ZeroDivisionError: division by zero\n")


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_interrupt(small_preset: Path, home: Path) -> None:
    """Ctrl+C in the middle of a long encoding: one line, status 130, no files."""
    slow = shutil.copytree(small_preset, home / "slow")
    told = json.loads((slow / "config.json").read_text())
    told["dinotxt"]["high_resolution"] = {"visits": [400, 400, 400]}
    (slow / "config.json").write_text(json.dumps(told))
    Pillow.effect_noise((2400, 1600), 60).save("large.png")
    words = ["segment", "large.png", "--text", "cow", "--preset", str(slow), "--high-resolution", "--out", "masks"]
    with subprocess.Popen([PROGRAM, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        assert running.stderr.readline().startswith("Running slow on ")
        time.sleep(0.3)
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=60)
    assert Done(running.returncode, out, err) == Done(130, "", "maskwright: Interrupted; nothing half-done was kept.\n")
    assert not (home / "masks").exists()


def test_closed_pipe_is_silent(home: Path) -> None:
    with subprocess.Popen(
        [PROGRAM, "project", "new", "p"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout is not None
        running.stdout.close()
        assert running.stderr is not None
        err = running.stderr.read()
    assert "Traceback" not in err


def test_a_run_that_nobody_watches_says_how_far_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with output.progress_bar("Images") as bar:
        for done in range(0, 601, 100):
            bar.report(done, 2000)
            now[0] += 25
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "Images: 300 of 2,000, 4.00 a second, 7 min left",
        "Images: 600 of 2,000, 4.00 a second, 6 min left",
    ]
