#!/bin/sh
# Run an agent with two tools as a loop of pipelines: sh examples/agent.sh 'What is 17 × 23?'
# A single pipeline can do the same: send --run-tools -t examples/tools 'What is 17 × 23?' | render
here=$(cd "$(dirname "$0")" && pwd)
PATH=$here/../bin:$PATH
[ $# -gt 0 ] || {
    echo "usage: sh $0 PROMPT" >&2
    exit 2
}
chat=$(mktemp) && trap 'rm -f "$chat"' EXIT

python3 -c 'import json, sys; print(json.dumps({"role": "user", "content": sys.argv[1]}))' "$*" > "$chat"
turns=0 status=0
while [ $status = 0 ] && [ $((turns += 1)) -le 8 ]; do
    send --messages "$chat" -t "$here/tools" | run-tools -t "$here/tools" --status >> "$chat"
    status=$?
done
[ $status = 10 ] || exit $status
render "$chat"
