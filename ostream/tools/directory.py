"""A folder of tools: which of them may be run, and running one.

- The declaration is the allow-list: DIR/NAME.json declares the executable DIR/NAME, and nothing else is ever run.
- What a model asks for is data: the arguments go to standard input, never onto a command line, and no shell is there.
- Whatever goes wrong with a tool is an answer for the model.
"""

from __future__ import annotations

import os
import re
import stat

from ostream.errors import NotNDJSON, RequestError, reason
from ostream.protocol.accumulator import NO_ARGUMENTS, NO_SUCH_TOOL, parse_tool_call, tool_message
from ostream.protocol.ndjson import encode_line
from ostream.protocol.request import parse_json
from ostream.tools.process import BYTES, TIME_S, run_tool

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

_NAME = re.compile(r"[A-Za-z0-9_-]+")


class ToolDirectory:
    """The tools of a folder. `schemas` are what a model is offered; `note` is told what a tool says on stderr.

    Raises RequestError for a folder, or a tool in it, that somebody else could have put there.
    """

    def __init__(self, folder: str, note: Callable[[str], None], time_s: float = TIME_S, limit: int = BYTES) -> None:
        self._folder = folder
        self._note = note
        self._time_s = time_s
        self._limit = limit
        try:
            names = sorted(name[: -len(".json")] for name in os.listdir(folder) if name.endswith(".json"))
            self._tools = {name: self._declared(name) for name in names}
        except (OSError, ValueError) as error:
            if isinstance(error, RequestError):
                raise
            raise RequestError(f"{folder}: {reason(error)}", advice="-t names a folder of tools") from None
        if not names:
            raise RequestError(f"{folder}: no tools there", advice="NAME.json declares the executable NAME beside it")

    @property
    def schemas(self) -> list[dict[str, Any]]:
        return list(self._tools.values())

    def _declared(self, name: str) -> dict[str, Any]:
        if not _NAME.fullmatch(name):
            raise RequestError(f"{self._folder}/{name}.json: not a name for a tool: letters, digits, _ and - only")
        self.executable(name)
        path = os.path.join(self._folder, f"{name}.json")
        with open(path, "rb") as file:
            return _tool(parse_json(file.read(), path), name, path)

    def executable(self, name: str) -> str:
        """The real path of a tool, after all checks. Raises RequestError, OSError."""
        folder = os.path.realpath(self._folder)
        _check(folder, stat.S_ISDIR, "a folder")
        for path in (os.path.join(folder, f"{name}.json"), os.path.join(folder, name)):
            real = os.path.realpath(path)
            if os.path.dirname(real) != folder:
                raise RequestError(f"{path}: leads out of the folder")
            _check(real, stat.S_ISREG, "a regular file")
        if not os.access(real, os.X_OK):
            raise RequestError(f"{real}: not executable")
        return real

    def answer(self, call: dict[str, Any]) -> dict[str, Any]:
        """Run the tool that is called; the message with what it wrote, or with what went wrong."""
        name, arguments = parse_tool_call(call)
        if name not in self._tools:
            content = NO_SUCH_TOOL
        elif not isinstance(arguments, dict):
            content = NO_ARGUMENTS
        else:
            content = self._run(name, arguments)
        return tool_message(call, content)

    def _run(self, name: str, arguments: dict[str, Any]) -> str:
        try:
            done = run_tool(self.executable(name), encode_line(arguments), self._time_s, self._limit)
        except NotNDJSON as error:
            return f"error: the arguments are {error}"
        except (OSError, RequestError) as error:
            self._note(f"{name}: {reason(error)}")
            return "error: the tool can't be run"
        for line in done.stderr.splitlines():
            self._note(f"{name}: {line}")
        return done.answer


def _check(path: str, is_kind: Callable[[int], bool], kind: str) -> None:
    try:
        mode = os.lstat(path).st_mode
    except OSError as error:
        raise RequestError(f"{path}: {reason(error)}") from None
    if not is_kind(mode):
        raise RequestError(f"{path}: not {kind}")
    if mode & stat.S_IWOTH:
        raise RequestError(f"{path}: anybody may write to it", advice=f"chmod o-w {path}")


def _tool(value: Any, name: str, where: str) -> dict[str, Any]:
    """A declaration as the server wants it: the whole tool, or only its function; the name may be left out."""
    function = value.get("function", value) if isinstance(value, dict) else None
    if not isinstance(function, dict):
        raise RequestError(f"{where}: not a tool: an object with description and parameters")
    if function.get("name", name) != name:
        raise RequestError(f"{where}: names its tool {function['name']!r}; the file must have the name of the tool")
    return {"type": "function", "function": {"name": name, **function}}
