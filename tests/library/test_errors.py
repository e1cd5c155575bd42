"""Errors: bases, attributes, exit statuses, error lines, and advice in tracebacks."""

from __future__ import annotations

import copy
import errno
import itertools
import json
import pickle
import traceback
from typing import Any, Callable

import pytest

from ostream import errors
from ostream.errors import (
    ConnectError,
    EmptyError,
    IncompleteStream,
    InputError,
    LengthError,
    NotNDJSON,
    OstreamError,
    OutputError,
    RequestError,
    ResponseError,
    StreamTimeout,
    explain,
    reason,
    worst,
)
from ostream.protocol.error_lines import line_status, trusted_status

CLASSES: list[tuple[type[OstreamError], tuple[type, ...], int]] = [
    # class, its builtin bases, exit status
    (OstreamError, (Exception,), 1),
    (ResponseError, (Exception,), 1),
    (LengthError, (Exception,), 4),
    (EmptyError, (Exception,), 5),
    (IncompleteStream, (Exception,), 3),
    (ConnectError, (ConnectionError, OSError), 69),
    (StreamTimeout, (TimeoutError, OSError), 75),
    (NotNDJSON, (ValueError,), 2),
    (RequestError, (ValueError,), 2),
    (InputError, (Exception,), 2),
    (OutputError, (Exception,), 1),
]


@pytest.mark.parametrize(("cls", "bases", "status"), CLASSES)
def test_each_class_has_its_bases_and_exit_status(
    cls: type[OstreamError], bases: tuple[type, ...], status: int
) -> None:
    error = cls("m: it broke")
    assert issubclass(cls, (OstreamError,))
    assert all(issubclass(cls, base) for base in bases)
    assert (str(error), error.error, error.advice, error.partial) == ("m: it broke", "m: it broke", "", None)
    assert error.exit_status == status
    assert error.retryable is False
    assert cls("x", advice="do y").advice == "do y"
    assert error.error_line() == {"error": "m: it broke", "exit_status": status}
    assert str(cls()) == cls().error == ""


def test_the_table_lists_all_classes() -> None:
    defined = {value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, OstreamError)}
    assert defined == {cls for cls, _, _ in CLASSES}


def changed(error: OstreamError, **attributes: Any) -> OstreamError:
    for name, value in attributes.items():
        setattr(error, name, value)
    return error


ERRORS = [
    OstreamError("x", advice="do y"),
    ResponseError("x", 404, signin_url="https://x", advice="do y"),
    changed(ResponseError("x", 503), retry_after="3", retryable=True),
    ResponseError("x"),
    LengthError("x"),
    EmptyError("x"),
    IncompleteStream("x", b'{"a', advice="do y"),
    IncompleteStream("x", {"message": {"content": "Hi"}}),
    changed(ConnectError("x", advice="do y"), retryable=True),
    StreamTimeout("x", "idle", advice="do y"),
    NotNDJSON("x", b"[1]\n", 3, advice="do y"),
    RequestError("x", advice="do y"),
    InputError("x"),
    changed(OutputError("x"), partial={"a": 1}),
]
COPIES: list[Callable[[Any], Any]] = [
    copy.copy,
    copy.deepcopy,
    *(lambda error, n=n: pickle.loads(pickle.dumps(error, n)) for n in range(pickle.HIGHEST_PROTOCOL + 1)),
]


@pytest.mark.parametrize("error", ERRORS, ids=repr)
def test_an_error_can_be_copied_and_pickled(error: OstreamError) -> None:
    for twin in (again(error) for again in COPIES):
        assert type(twin) is type(error)
        assert (str(twin), twin.args) == (str(error), error.args)
        assert vars(twin) == vars(error)
        assert twin.error_line() == error.error_line()
        for name in ("error", "advice", "exit_status", "retryable", "partial"):
            assert getattr(twin, name) == getattr(error, name)


def test_each_class_has_its_attributes() -> None:
    response = ResponseError("x", 401, signin_url="https://x")
    assert (response.status_code, response.signin_url, response.retry_after) == (401, "https://x", None)
    assert str(response) == "x (status code: 401)"
    assert (ResponseError("x").status_code, ResponseError("x").signin_url) == (-1, "")
    assert StreamTimeout("x", "idle").timeout == "idle"
    assert StreamTimeout("x").timeout == ""
    assert IncompleteStream("x", {"a": 1}).partial == {"a": 1}
    assert (NotNDJSON("x", b"[", 7).line, NotNDJSON("x", b"[", 7).lineno) == (b"[", 7)
    assert (NotNDJSON("x").line, NotNDJSON("x").lineno) == (b"", 0)


LINES: list[tuple[OstreamError, dict[str, Any]]] = [
    (ResponseError("gone", 404), {"error": "gone", "status_code": 404, "exit_status": 1}),
    (ResponseError("gone"), {"error": "gone", "exit_status": 1}),
    (
        ResponseError("who?", 401, signin_url="https://x"),
        {"error": "who?", "status_code": 401, "signin_url": "https://x", "exit_status": 1},
    ),
    (IncompleteStream("cut", b'{"a\xff'), {"error": "cut", "partial": '{"a\ufffd', "exit_status": 3}),
    (IncompleteStream("cut", {"message": {}}), {"error": "cut", "exit_status": 3}),
    (StreamTimeout("slow", "idle", advice="wait"), {"error": "slow", "exit_status": 75}),
]


@pytest.mark.parametrize(("error", "line"), LINES)
def test_the_error_line_of_a_failure(error: OstreamError, line: dict[str, Any]) -> None:
    assert error.error_line() == line
    assert list(error.error_line()) == list(line)
    assert json.loads(json.dumps(line)) == line


@pytest.mark.parametrize("cls", [cls for cls, _, _ in CLASSES])
def test_the_status_of_an_error_line_is_accepted(cls: type[OstreamError]) -> None:
    line = cls("x").error_line()
    assert trusted_status(line) == line_status(line) == cls("x").exit_status


WORST_FIRST = [70, 2, 1, 3, 69, 75, 4, 5, 10, 0]


def test_the_more_severe_status_wins() -> None:
    for a, b in itertools.product(WORST_FIRST, repeat=2):
        assert worst(a, b) == WORST_FIRST[min(WORST_FIRST.index(a), WORST_FIRST.index(b))]


REASONS = [
    (FileNotFoundError(errno.ENOENT, "No such file or directory", "x"), "No such file or directory"),
    (OSError("odd"), "odd"),
    (ValueError("embedded null byte"), "embedded null byte"),
    (ValueError(), "ValueError"),
    (OSError(), "OSError"),
    (ConnectError("refused"), "refused"),
]


@pytest.mark.parametrize(("error", "text"), REASONS)
def test_the_reason_is_the_systems_text(error: Exception, text: str) -> None:
    assert reason(error) == text


class OldError(OstreamError):
    """An error on a Python without notes."""

    add_note = None


ADVICE = {
    "allow more with --idle-timeout": "allow more with idle_timeout=",
    "--cacert FILE trusts an authority of your own": "cacert=FILE trusts an authority of your own",
    "set OLLAMA_HOST or --host; -- is kept": "set OLLAMA_HOST or host=; -- is kept",
    "use https": "use https",
}


@pytest.mark.parametrize(("command", "library"), ADVICE.items())
def test_advice_reaches_the_traceback_with_arguments_instead_of_options(command: str, library: str) -> None:
    error = explain(explain(RequestError("it broke", advice=command)))
    assert error.advice == library
    assert "".join(traceback.format_exception(None, error, None)).count(library) == 1
    assert str(explain(OldError("it broke", advice=command))) == f"it broke; {library}"
    assert str(explain(OldError("it broke"))) == "it broke"
