#!/bin/sh
# A CI job that tests a script of yours without a model: a recording answers it, and also how it fails is tested.
#   sh examples/ci.sh
set -e
here=$(cd "$(dirname "$0")/.." && pwd)
PATH=$here/bin:$PATH

# The script under test. Yours would be a file of its own.
summarize() {
    send "In one line:" - | extract-content
}

if [ "$1" != served ]; then
    replay "$here/examples/recordings/sky.ndjson" -- sh "$0" served whole
    replay "$here/examples/recordings/cut.ndjson" -- sh "$0" served cut
    echo 'all tests passed'
    exit
fi

case $2 in
whole)
    summary=$(echo 'a long text' | summarize)
    [ -n "$summary" ]
    ;;
cut) # a stream that breaks off must not pass for a summary
    if summary=$(echo 'a long text' | summarize 2> /dev/null); then
        echo 'a cut answer passed for a whole one' >&2
        exit 1
    fi
    ;;
esac
