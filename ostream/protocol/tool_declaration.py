"""Convert the declaration of a tool to the format that Ollama requires."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Mapping


def tool_declaration(declared: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a tool in the format {"type": "function", "function": {...}}.

    MCP servers declare a tool as {"name", "description", "inputSchema"}. Here, `inputSchema` becomes `parameters`,
    because Ollama would ignore it without an error. Any other declaration is returned unchanged.
    """
    function = declared.get("function", declared)
    if not isinstance(function, dict) or "inputSchema" not in function:
        return declared
    rest = {key: value for key, value in function.items() if key not in ("inputSchema", "outputSchema")}
    return {"type": "function", "function": {"parameters": function["inputSchema"], **rest}}
