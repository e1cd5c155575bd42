"""Bring the declaration of a tool, however it is written, into the form that the server reads."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Mapping


def tool_declaration(declared: Mapping[str, Any]) -> Mapping[str, Any]:
    """The tool as {"type": "function", "function": {...}}.

    MCP servers declare {"name", "description", "inputSchema"}; Ollama would drop such parameters without an error.
    What is not a tool in any known form is returned as it is.
    """
    function = declared.get("function", declared)
    if not isinstance(function, dict) or "inputSchema" not in function:
        return declared
    rest = {key: value for key, value in function.items() if key not in ("inputSchema", "outputSchema")}
    return {"type": "function", "function": {"parameters": function["inputSchema"], **rest}}
