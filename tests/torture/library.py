"""One answer through the library, as plain data. As a program: library.py URL STREAM OPTIONS, and JSON on stdout."""

from __future__ import annotations

import json
import sys
from typing import Any

from ostream import Client, OstreamError

MESSAGES = [{"role": "user", "content": "hi"}]


def ask(url: str, stream: bool, options: dict[str, Any]) -> dict[str, Any]:
    """What came: `chunks` or one `response`, and of a failure its class, its words and what it holds."""
    came: dict[str, Any] = {"raised": "", "chunks": []}
    try:
        client = Client(url, **options)
        if stream:
            answer = client.chat("m", MESSAGES, stream=True)
            for chunk in answer:
                came["chunks"].append(chunk)
            came["response"] = answer.response
        else:
            came["response"] = client.chat("m", MESSAGES)
    except OstreamError as error:
        came.update(raised=type(error).__name__, words=str(error), code=getattr(error, "status_code", -1))
        came["response"] = error.partial if isinstance(error.partial, dict) else None
    except Exception as error:
        came.update(raised=f"{type(error).__name__}!", words=str(error), code=-1, response=None)
    return came


if __name__ == "__main__":
    print(json.dumps(ask(sys.argv[1], sys.argv[2] == "True", json.loads(sys.argv[3]))))
