#!/bin/sh
# How fast are these models here? The same prompts, one after the other, to each of them.
#   sh examples/compare.sh prompts.txt qwen3:4b qwen3:8b
set -e
here=$(cd "$(dirname "$0")/.." && pwd)
PATH=$here/bin:$PATH
prompts=$1
shift

for model; do
    # One at a time: requests that share the server slow each other down.
    batch -k -j 1 --lines -m "$model" "$prompts" > "answers.$(printf %s "$model" | tr / _)"
done
for model; do
    printf '\n%s\n' "$model"
    stats --plot "answers.$(printf %s "$model" | tr / _)"
done
