"""A directory of tools. Each tool is an executable with a declaration.

- The declarations are the allow-list: DIR/NAME.json declares the executable DIR/NAME. Nothing else is executed.
- Arguments from a model are data. They are passed on standard input, never on a command line or through a shell.
- If a tool fails, the failure is the tool's answer to the model, and not an error of the command.
- Only the user and root can change what is executed (see ownership.py).
"""

from __future__ import annotations

import os
import re

from ostream.errors import NotNDJSON, RequestError, reason
from ostream.protocol.accumulator import NO_ARGUMENTS, parse_tool_call, tool_message
from ostream.protocol.ndjson import encode_line
from ostream.protocol.request import parse_json
from ostream.protocol.tool_declaration import tool_declaration
from ostream.tools.names import unknown_tool
from ostream.tools.ownership import check_directory, check_file
from ostream.tools.process import BYTES, TIME_S, run_tool

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

_NAME = re.compile(r"[A-Za-z0-9_-]+")


class ToolDirectory:
    """The tools in a directory.

    Arguments:
        path: the directory.
        note: called with each line that a tool writes to stderr, and with the reason if a tool can't be run.
        time_s: the maximum running time of a tool, in seconds.
        limit: the maximum size of a tool's output, in bytes.

    Raises RequestError if the directory can't be read or has no tools, if a declaration is invalid, or if another user
    could have changed the directory or a file.
    """

    def __init__(self, path: str, note: Callable[[str], None], time_s: float = TIME_S, limit: int = BYTES) -> None:
        self._note = note
        self._time_s = time_s
        self._limit = limit
        try:
            # Resolve symbolic links only once, because they may be changed later.
            self._path = os.path.realpath(path)
            files = sorted(os.listdir(path))
            # A hidden file is not a declaration: macOS may create ._NAME.json in addition to NAME.json.
            names = [file[: -len(".json")] for file in files if file.endswith(".json") and not file.startswith(".")]
            self._declarations = {name: self._read_declaration(name) for name in names}
        except (OSError, ValueError) as error:
            if isinstance(error, RequestError):
                raise
            raise RequestError(f"{path}: {reason(error)}", advice="-t needs a directory of tools") from None
        if not names:
            raise RequestError(
                f"{path}: contains no tools", advice="a tool is an executable NAME with a declaration NAME.json"
            )

    @property
    def names(self) -> list[str]:
        return list(self._declarations)

    @property
    def schemas(self) -> list[dict[str, Any]]:
        """The declarations of all tools, in the form for the `tools` field of a request."""
        return list(self._declarations.values())

    def _read_declaration(self, name: str) -> dict[str, Any]:
        path = os.path.join(self._path, f"{name}.json")
        if not _NAME.fullmatch(name):
            raise RequestError(f"{path}: invalid tool name", advice="use letters, digits, _ and - only")
        if not os.path.lexists(path[: -len(".json")]):
            raise RequestError(
                f"{path}: declares a tool that does not exist", advice=f"name its executable {name}, without extension"
            )
        self.executable(name)
        with open(path, "rb") as file:
            return _declaration(parse_json(file.read(), path), name, path)

    def executable(self, name: str) -> str:
        """Check a tool's files, and return the path of its executable with all symbolic links resolved.

        Raises RequestError if a check fails, and OSError if a file can't be examined.
        """
        check_directory(self._path)
        for file in (f"{name}.json", name):
            path = os.path.join(self._path, file)
            real = os.path.realpath(path)
            if os.path.dirname(real) != self._path:
                raise RequestError(f"{path} is a symlink out of the directory")
            check_file(real)
        if not os.access(real, os.X_OK):
            from shlex import quote

            raise RequestError(f"{real}: not executable", advice=f"run chmod +x {quote(real)}")
        return real

    def answer(self, call: dict[str, Any]) -> dict[str, Any]:
        """Run the tool that `call` names, and return the tool message: the tool's output, or what went wrong."""
        name, arguments = parse_tool_call(call)
        if name not in self._declarations:
            content = unknown_tool(name, self._declarations)
        elif not isinstance(arguments, dict):
            content = NO_ARGUMENTS
        else:
            content = self._run(name, arguments)
        return tool_message(call, content)

    def _run(self, name: str, arguments: dict[str, Any]) -> str:
        try:
            result = run_tool(self.executable(name), encode_line(arguments), self._time_s, self._limit)
        except NotNDJSON as error:
            return f"error: the arguments are {error}"
        except (OSError, RequestError) as error:
            self._note(f"{name}: {reason(error)}")
            return "error: the tool can't be run"
        for line in result.stderr.splitlines():
            self._note(f"{name}: {line}")
        return result.answer


def _declaration(value: Any, name: str, path: str) -> dict[str, Any]:
    """Return a declaration in the form that the server reads.

    `value` is the JSON of the file `path`. It may be a tool or only the tool's function, and may omit the name. Raises
    RequestError if it is anything else, or if its name is not `name`.
    """
    declared = tool_declaration(value) if isinstance(value, dict) else {}
    function = declared.get("function", declared)
    if not isinstance(function, dict) or not isinstance(value, dict):
        raise RequestError(
            f"{path}: not a tool declaration", advice="write a JSON object with description and parameters"
        )
    if function.get("name", name) != name:
        raise RequestError(
            f"{path}: declares the name {function['name']!r}", advice=f"name the file {function['name']}.json"
        )
    return {"type": "function", "function": {"name": name, **function}}
