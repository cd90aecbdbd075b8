"""Waiting for changes: a server says when there is one, a file is asked; what the two answer is the same."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from maskwright.errors import MaskwrightError
from maskwright.store import Store, listening
from tests.core.store.conftest import MakeAnnotation, changed, on_server, on_sqlite
from tests.core.store.test_changes import statements
from tests.core.store.test_processes import SUBPROCESS_ENTRY

NEVER = threading.Event()


@on_sqlite
def test_a_file_is_asked_after_every_wait(store: Store) -> None:
    began = time.monotonic()
    with store.listen() as listener:
        assert all(listener.wait(0.05, NEVER) for _ in range(2))
    assert time.monotonic() - began >= 0.1


@on_server
def test_a_server_is_asked_only_when_another_process_has_changed_something(
    store: Store, new: MakeAnnotation, address: str
) -> None:
    kept = store.masks.add(new())
    with store.listen() as listener:
        assert listener.wait(0.5, NEVER), "what was changed before it listened is not missed"
        with statements(store) as seen:
            assert [listener.wait(0.1, NEVER) for _ in range(3)] == [False] * 3
        assert seen == []
        words = [sys.executable, str(SUBPROCESS_ENTRY), "delete_one", address]
        with subprocess.Popen(words, env=os.environ | {"MASK": str(kept.id)}) as other:
            began = time.monotonic()
            assert any(listener.wait(1, NEVER) for _ in range(60))
            assert time.monotonic() - began < 60
            other.wait()
        assert store.masks.find() == []


@on_server
def test_the_answer_comes_at_once_and_many_changes_are_one(store: Store, new: MakeAnnotation, address: str) -> None:
    with store.listen() as listener, Store.open(address) as other:
        listener.wait(0.5, NEVER)
        for _ in range(5):
            other.masks.add(new())
        time.sleep(0.2)
        began = time.monotonic()
        assert listener.wait(10, NEVER)
        assert time.monotonic() - began < 5
        assert not listener.wait(0.1, NEVER)


@on_server
def test_a_write_that_fails_says_nothing(store: Store, new: MakeAnnotation) -> None:
    draft = new()
    with store.listen() as listener:
        listener.wait(0.5, NEVER)
        with pytest.raises(MaskwrightError, match="There is no image"):
            store.masks.add(new(image_id=99))
        assert not listener.wait(0.2, NEVER)
        store.masks.add(draft)
        assert listener.wait(5, NEVER)


@on_server
def test_it_listens_again_after_the_server_was_restarted(store: Store, new: MakeAnnotation) -> None:
    with store.listen() as listener:
        listener.wait(0.5, NEVER)
        others = "WHERE pid <> pg_backend_pid() AND datname = current_database()"
        changed(store, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity {others}")
        store.masks.add(new())
        assert listener.wait(0.3, NEVER), "what came while nobody listened is not missed"
        assert listener.wait(0.3, NEVER), "and nothing between the question and the new connection"
        assert not listener.wait(0.2, NEVER)
        store.masks.add(new())
        assert listener.wait(5, NEVER)


@on_server
def test_a_server_that_never_says_anything_is_asked_all_the_same(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """As behind a pooler, which gives every transaction another connection."""
    monkeypatch.setattr(listening, "_ASK", 0.3)
    with store.listen() as listener:
        assert listener.wait(0.1, NEVER)
        assert any(listener.wait(0.1, NEVER) for _ in range(20))


def test_waiting_ends_with_its_event(store: Store, address: str | Path) -> None:
    stop = threading.Event()
    with store.listen() as listener:
        listener.wait(0.01, NEVER)
        stop.set()
        began = time.monotonic()
        listener.wait(0.5, stop)
        assert time.monotonic() - began < 5
