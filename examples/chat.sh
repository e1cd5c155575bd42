#!/bin/sh
# Start a chat: sh examples/chat.sh [FILE]. FILE keeps the conversation, one message per line. Ctrl-D ends the chat.
PATH=$(cd "$(dirname "$0")/../bin" && pwd):$PATH
chat=${1:-chat.ndjson}
[ ! -s "$chat" ] || render "$chat"
while printf '> ' && IFS= read -r line; do
    [ -z "$line" ] || printf '%s\n' "$line" | send -c "$chat" | render || echo "(status $?: not saved)"
done
echo
