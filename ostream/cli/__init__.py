"""Shared by the commands: their table, options, filter input, relaying, the tool loop and presentation."""

# name: (kind, what it does). A source's failures are error lines on its stdout too, and those of a filter with -w.
COMMANDS = {
    "send": ("source", "send a prompt to an Ollama server and print its NDJSON, line by line"),
    "batch": ("source", "send many requests, some at a time, and print one answer line for each"),
    "extract-content": ("filter", "print the answer's text"),
    "extract-thinking": ("filter", "print the reasoning's text"),
    "collect": ("filter", "fold each response into one complete object"),
    "stats": ("filter", "print counts, durations and rates"),
    "render": ("filter", "show thinking, answer and tool calls to a person"),
    "run-tools": ("filter", "run the tools that an answer calls, and print message lines"),
    "record": ("wrapper", "write down what a command and the server say to each other"),
    "replay": ("wrapper", "serve recordings as an Ollama server would, to a command or until interrupted"),
}
