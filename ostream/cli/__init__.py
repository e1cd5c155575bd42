"""Shared by the commands: their table, options, filter input, relaying, the tool loop and presentation."""

# Name: kind and description. A source, and a filter with -w, also writes its failures as error lines to stdout.
COMMANDS = {
    "send": ("source", "send a prompt to an Ollama server and print its NDJSON as it arrives"),
    "batch": ("source", "send many requests, several at a time, and print one answer line for each"),
    "extract-content": ("filter", "print the text of the answer"),
    "extract-thinking": ("filter", "print the text of the thinking"),
    "collect": ("filter", "fold each response into one complete object"),
    "stats": ("filter", "print counts, durations and rates"),
    "render": ("filter", "pretty-print thinking, answer and tool calls"),
    "run-tools": ("filter", "run the tools that an answer calls, and print message lines"),
    "record": ("wrapper", "record the traffic between a command and the server"),
    "replay": ("wrapper", "serve recordings as an Ollama server would"),
}
