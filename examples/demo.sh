#!/bin/sh
# Show what ostream does, in fifteen seconds, with recorded responses. Only python3 is needed.
here=$(cd "$(dirname "$0")/.." && pwd)
PATH=$here/bin:$PATH
export PATH

if [ "$1" != served ]; then
    recordings=$here/examples/recordings
    exec replay -q --speed 1 "$recordings/water.ndjson" "$recordings/thinking.ndjson" "$recordings/capitals.ndjson" \
        "$recordings/cut.ndjson" "$recordings/cut.ndjson" -- sh "$0" served
fi
export OLLAMA_MODEL=smollm2:135m
directory=$(mktemp -d) && trap 'rm -r "$directory"' EXIT && cd "$directory" || exit
cp "$here/examples/prompts.txt" .

bold='' plain=''
if [ -t 1 ] && [ -z "$NO_COLOR" ] && [ "$TERM" != dumb ]; then
    bold=$(printf '\033[1m') plain=$(printf '\033[0m')
fi
explain() { printf '\n# %s\n' "$1"; }
run() {
    printf '%s$ %s%s\n' "$bold" "$1" "$plain"
    eval "$1"
}

echo '# Recorded answers at their real pace. (The model is small and often wrong.)'
explain '1. An answer appears as the model writes it.'
run 'send -o temperature=0 "What is the boiling point of water in Celsius?" | extract-content'

explain '2. The thinking goes to a file, the answer to the terminal. (Scripted model.)'
run 'send -m thinker --think "What is 17 × 23?" | extract-thinking -w thinking.txt | extract-content'
run 'cat thinking.txt'

explain '3. Ten prompts, four at a time. The first rows of the table of answers:'
run 'batch -k --lines -q --option temperature=0 prompts.txt | extract-content --csv > answers.csv; head -n 8 answers.csv'

explain '4. The server is killed during the answer. The pipeline exits with status 3.'
run 'send -o temperature=0 "Why is the sky blue?" | extract-content; echo "status $?"'

explain '5. The same stream through curl and jq stops there too, but with status 0.'
if command -v curl > /dev/null && command -v jq > /dev/null; then
    body='{"model":"smollm2:135m","messages":[{"role":"user","content":"Why is the sky blue?"}],"options":{"temperature":0}}'
    run 'curl -sN "$OLLAMA_HOST/api/chat" -d "$body" | jq --unbuffered -j .message.content; printf "\nstatus $?\n"'
else
    echo '(left out: curl or jq is not installed)'
fi
