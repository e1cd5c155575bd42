"""Any object can be classified as an error line or not, and any error response gives one ResponseError."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ostream.errors import CLAIMABLE_STATUSES
from ostream.protocol.error_lines import is_error, line_status, response_error, trusted_status
from ostream.protocol.http_errors import error_from_http_body
from ostream.protocol.ndjson import encode_line
from tests.fuzz.given import LINES, OBJECT


@given(OBJECT)
def test_error_lines_have_text_and_an_allowed_status(line: dict[str, Any]) -> None:
    assert is_error(line) in (True, False)
    assert trusted_status(line) in (None, *CLAIMABLE_STATUSES)
    assert line_status(line) in CLAIMABLE_STATUSES
    error = response_error(line)
    assert error.error and isinstance(error.error, str) and isinstance(error.signin_url, str)
    assert type(error.status_code) is int
    again = error.error_line()
    assert encode_line(again)
    assert is_error(again)
    assert trusted_status(again) == error.exit_status


@given(LINES | st.binary() | st.text("<title>/ a\n").map(str.encode), st.integers(100, 599))
def test_error_responses_give_one_error(body: bytes, status_code: int) -> None:
    error = error_from_http_body(status_code, body)
    assert error.status_code == status_code
    assert error.error and isinstance(f"{error} {error.advice}", str)
    assert error.exit_status in CLAIMABLE_STATUSES
    assert encode_line(error.error_line())
