#!/bin/sh
# A chat that remembers: sh examples/chat.sh [FILE]. What was said is in FILE, a line for each message; Ctrl-D ends it.
PATH=$(cd "$(dirname "$0")/../bin" && pwd):$PATH
chat=${1:-chat.ndjson}
[ ! -s "$chat" ] || render "$chat"
while printf '> ' && IFS= read -r line; do
    [ -z "$line" ] || printf '%s\n' "$line" | send -c "$chat" | render || echo "(status $?: not remembered)"
done
echo
