"""Read an answer with the library and return plain data. As a program, print it: library.py URL STREAM OPTIONS."""

from __future__ import annotations

import json
import sys
from typing import Any

from ostream import Client, OstreamError

MESSAGES = [{"role": "user", "content": "hi"}]


def ask(url: str, stream: bool, options: dict[str, Any], requests: int = 1) -> dict[str, Any]:
    """Make the requests. Return the `chunks` and the `response` of the last one.

    For an exception, also return its class name, message and status code.
    """
    result: dict[str, Any] = {"raised": "", "chunks": []}
    try:
        client = Client(url, **{name: value for name, value in options.items() if not name.startswith("fail_on")})
        for _ in range(requests):
            result["chunks"] = []
            if stream:
                answer = client.chat("m", MESSAGES, stream=True)
                for chunk in answer:
                    result["chunks"].append(chunk)
                result["response"] = answer.response
            else:
                result["response"] = client.chat("m", MESSAGES)
    except OstreamError as error:
        result.update(raised=type(error).__name__, message=str(error), code=getattr(error, "status_code", -1))
        result["response"] = error.partial if isinstance(error.partial, dict) else None
    except Exception as error:
        result.update(raised=f"{type(error).__name__}!", message=str(error), code=-1, response=None)
    return result


if __name__ == "__main__":
    print(json.dumps(ask(sys.argv[1], sys.argv[2] == "True", json.loads(sys.argv[3]))))
