"""Any request fields or options are encoded as equivalent JSON, or raise RequestError."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ostream.errors import RequestError
from ostream.net.host import parse_host
from ostream.protocol.request import FIELDS, chat_body, encode_body, generate_body
from tests.fuzz.given import JSON, OBJECT, TEXT

ODD = JSON | st.binary(max_size=4) | st.just(object()) | st.sets(st.integers(), max_size=2) | st.complex_numbers()
FIELDS = st.dictionaries(
    st.sampled_from([field.name for field in FIELDS if field.generate and field.name not in ("model", "images")]),
    ODD,
    max_size=4,
)


@given(TEXT, st.lists(OBJECT | ODD, max_size=3), FIELDS, st.lists(ODD, max_size=2))
def test_a_body(model: str, messages: list[Any], fields: dict[str, Any], images: list[Any]) -> None:
    for make in (
        lambda: chat_body(model, messages),
        lambda: generate_body(model, **{"prompt": "", **fields}),
        lambda: generate_body(model, "", images=images),
    ):
        try:
            body = make()
            data = encode_body(body)
        except RequestError as error:
            assert str(error)
        else:
            json.loads(data)
            assert data.count(b"\n") == 0


@given(TEXT | st.text("htps:/[]1.@?#%a \r\n\u0660\udcff"))
def test_host(text: str) -> None:
    try:
        host = parse_host(text)
    except RequestError as error:
        assert str(error).startswith("host ")
    else:
        assert parse_host(host.url).url == host.url
        assert host.url.isascii() and host.url.isprintable() and " " not in host.url
        assert 0 < host.port < 65536
        assert host.accepts_credentials in (True, False)
