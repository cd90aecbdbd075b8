"""The fine-tuning panel and its endpoints, with a server that may be killed."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError

from maskwright.project import Project
from tests.app.conftest import Page, served
from tests.browser import needs_chromium

pytestmark = [pytest.mark.gui, pytest.mark.slow]


@pytest.fixture
def page_server(two_class_project: Path, small_preset: Path) -> Iterator[Page]:
    with served(two_class_project, "--preset", str(small_preset), "--device", "cpu") as page:
        yield page


@needs_chromium
def test_fine_tune_watch_use_and_go_back(page_server: Page, tab: Any) -> None:
    tab.wait_for_selector("#mw-finetune [data-act=start]")
    assert "Learns 2 classes (meadow, air) from 5 images, and is measured on 1 more." in tab.inner_text("#mw-finetune")
    tab.click("#mw-finetune [data-act=start]")
    tab.wait_for_selector("#mw-finetune progress")
    tab.wait_for_selector("#mw-finetune polyline", timeout=120_000)
    tab.wait_for_selector("#mw-finetune [data-act=use]", timeout=280_000)
    line = tab.inner_text("#mw-finetune [role=status]")
    before, after = map(float, re.findall(r"(\d\.\d+) (?:before|after)", line))
    assert after > before
    tab.click("#mw-finetune [data-act=use]")
    tab.wait_for_selector("text=In use: run-1")
    with Project.open(page_server.project) as project:
        assert project.runs.active() == "run-1"
    tab.click("#mw-finetune [data-act=back]")
    tab.wait_for_selector("#mw-finetune [data-act=use]")
    with Project.open(page_server.project) as project:
        assert project.runs.active() is None


def test_jobs_by_endpoint_and_a_killed_server(page_server: Page) -> None:
    client = Client(page_server.url, verbose=False)
    job = client.predict("full", api_name="/finetune")["job"]
    with pytest.raises(AppError):
        client.predict("full", api_name="/finetune")
    end = time.monotonic() + 60
    while not (told := client.predict(job, api_name="/job_status"))["progress"].get("step"):
        assert time.monotonic() < end, told
    assert told["state"] == "running"
    page_server.process.kill()
    with Project.open(page_server.project) as project:
        # the run is a process of its own; nothing is half done, and anyone may stop it
        assert project.runs.get(job).state == "running"
        assert not project.runs.folder_of(job).exists()
        project.runs.cancel(job)
        while project.runs.get(job).state == "running":
            assert time.monotonic() < end
        assert project.runs.get(job).state == "cancelled"
        assert project.status().accepted == {"meadow": 6, "air": 6}
