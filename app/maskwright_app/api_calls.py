"""Calls of the HTTP endpoints: strict arguments, errors as sentences, work that stops when the client goes."""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Annotated, Any

import gradio as gr
from pydantic import Field, TypeAdapter, ValidationError

from maskwright.session import NO_PROGRESS, MaskwrightError, Progress, UsageError
from maskwright_app.ui.bodies import Box, Id, Ids, Keys, Name, Point, References, Score

__all__ = ["Call", "current_call", "endpoint"]

log = logging.getLogger(__name__)

_Word = Annotated[str, Field(max_length=40)]
Examples = Annotated[list[dict[str, Any]], Field(max_length=32)]
_TYPES: dict[str, Any] = {
    "image": Id | dict[str, Any],
    "words": Annotated[str, Field(max_length=4000)],
    "method": _Word | None,
    "background": bool,
    "threshold": Score | None,
    "refine": _Word | None,
    "preset": Annotated[str, Field(max_length=1000)] | None,
    "cleaning": bool | None,
    "phrase": Annotated[str, Field(max_length=1000)],
    "limit": Annotated[int, Field(ge=1, le=100_000)],
    "high_resolution": bool,
    "instances": bool | Annotated[list[Name], Field(max_length=1000)],
    "synonyms": bool,
    "references": References | None,
    "not_this": References | None,
    "points": Annotated[list[Point], Field(max_length=1000)] | None,
    "box": Box | None,
    "previous": Annotated[str, Field(max_length=80)] | None,
    "examples": Examples | None,
    "counterexamples": Examples | None,
    "start": dict[str, Any] | None,
    "segmentation": dict[str, Any],
    "names": Annotated[list[Name], Field(min_length=1, max_length=1000)],
    "proposals": Keys,
    "category": Name | None,
    "annotations": Ids,
    "recipe": _Word,
    "job": Annotated[str, Field(min_length=1, max_length=200)],
    "options": dict[str, Any] | None,
}
_ARGUMENTS = {name: TypeAdapter[Any](kind) for name, kind in _TYPES.items()}
"""The strict type of each argument by its name, which means the same in every endpoint."""


class Call:
    """Who calls, and whether the caller still waits."""

    def __init__(self, user: str = "", progress: Progress = NO_PROGRESS) -> None:
        self.user, self.progress = user, progress


_CALL: ContextVar[Call] = ContextVar("call", default=Call())  # noqa: B039 - never changed


def current_call() -> Call:
    """The call that this thread answers."""
    return _CALL.get()


class _WhileConnected(Progress):
    """Cancels when Gradio's queue has seen the client go."""

    def __init__(self, queue: Any, session: str) -> None:
        self._queue, self._session = queue, session

    def cancelled(self) -> bool:
        """Whether the client's event is dead; an event that is not known counts as alive."""
        jobs = [job for jobs in self._queue.active_jobs for job in jobs or () if job.session_hash == self._session]
        return any(not job.alive for job in jobs)


def endpoint(function: Callable[..., Any], queue: Callable[[], Any] = lambda: None) -> Callable[..., Any]:
    """A function as an endpoint of Gradio.

    Args:
        function: its arguments are named in `_ARGUMENTS`; its docstring becomes the endpoint's.
        queue: returns Gradio's queue, which knows which clients are there.
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def answer(*arguments: Any, **named: Any) -> Any:
        values = [value for value in arguments if not isinstance(value, gr.Request)]
        request = next((value for value in arguments if isinstance(value, gr.Request)), None)
        try:
            with _called(request, queue()):
                return function(**_checked(signature, values, named))
        except MaskwrightError as error:
            raise gr.Error(str(error), print_exception=False) from error
        except Exception as error:
            log.exception("%s failed", function.__name__)
            raise gr.Error("Something went wrong on the server; its log says what.", print_exception=False) from error

    # Gradio reads the arguments of an endpoint from both, and passes the caller where it finds this type
    caller = inspect.Parameter("request", inspect.Parameter.POSITIONAL_OR_KEYWORD, default=None, annotation=gr.Request)
    answer.__signature__ = signature.replace(parameters=[*signature.parameters.values(), caller])  # type: ignore[attr-defined]
    answer.__annotations__ = {**function.__annotations__, "request": gr.Request}
    return answer


@contextmanager
def _called(request: Any, queue: Any) -> Iterator[None]:
    user = str(getattr(request, "username", None) or "")
    session = getattr(request, "session_hash", None)
    token = _CALL.set(Call(user, _WhileConnected(queue, session) if queue is not None and session else NO_PROGRESS))
    try:
        yield
    finally:
        _CALL.reset(token)


def _checked(signature: inspect.Signature, values: list[Any], named: dict[str, Any]) -> dict[str, Any]:
    """The arguments by name; raises UsageError for one that is missing or has the wrong type."""
    try:
        arguments = signature.bind(*values, **named).arguments
    except TypeError as error:
        names = ", ".join(signature.parameters)
        raise UsageError("The number of arguments is wrong.", f"The endpoint takes: {names}.") from error
    for name, value in arguments.items():
        try:
            _ARGUMENTS[name].validate_python(value, strict=True)
        except ValidationError as error:
            first = error.errors()[0]
            reason = str(first["msg"]).removeprefix("Value error, ")
            place = "".join(f"[{part}]" for part in first["loc"] if isinstance(part, int))
            raise UsageError(f"{name}{place}: {reason[:1].lower()}{reason[1:]}.", "Nothing was changed.") from error
    return arguments
