#!/bin/sh
# ostream in ten seconds, on recordings of a real server: nothing is needed but python3.
here=$(cd "$(dirname "$0")/.." && pwd)
PATH=$here/bin:$PATH
export PATH

if [ "$1" != served ]; then
    exec replay --speed 0.1 "$here"/examples/recordings/*.ndjson -- sh "$0" served
fi
# For the files of the second example.
folder=$(mktemp -d) && trap 'rm -r "$folder"' EXIT && cd "$folder" || exit

bold='' plain=''
if [ -t 1 ] && [ -z "$NO_COLOR" ] && [ "$TERM" != dumb ]; then
    bold=$(printf '\033[1m') plain=$(printf '\033[0m')
fi
show() {
    printf '%s%s$ %s%s\n' "${1:+
# $1
}" "$bold" "$2" "$plain"
    eval "$2"
}

show 'An answer, as it comes.' \
    'send -m plain "Why is the sky blue?" | extract-content'

show 'One stream, peeled stage by stage: the thinking, the numbers, the answer.' \
    'send -m think --think "Why is the sky blue?" | extract-thinking -w thought | stats -w numbers | extract-content'
show '' 'cat thought'
show '' 'grep rate numbers'

show 'A request that fails: plain sh sees it, at the end of the pipe.' \
    'answer=$(send -m nope "Why is the sky blue?" | extract-content) || echo "no answer: status $?"'

show 'A stream that breaks off without a word. curl | jq exits with 0 here.' \
    'send -m repeat "Why is the sky blue?" | extract-content || echo "not whole: status $?"'
