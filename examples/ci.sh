#!/bin/sh
# A CI job that tests a script without a model: a recording answers the script's requests. The job also tests the script
# with a busy server and with a truncated answer. See docs/testing.md.
#   sh examples/ci.sh
set -e
here=$(cd "$(dirname "$0")/.." && pwd)
PATH=$here/bin:$PATH
export OLLAMA_MODEL=smollm2:135m # the model of the recording

# The script under test. In your project, the script is a separate file.
explain() {
    send --retry 1 -o temperature=0 "Why is $1 blue?" | extract-content
}

if [ "$1" != served ]; then
    recording=$here/examples/recordings/sky.ndjson
    replay "$recording" -- sh "$0" served complete
    replay --fault status:503@1 "$recording" -- sh "$0" served complete 2> /dev/null
    replay --fault eof:3 "$recording" -- sh "$0" served truncated
    echo 'all tests passed'
    exit
fi

case $2 in
complete)
    answer=$(explain 'the sky')
    [ -n "$answer" ]
    ;;
truncated) # the script must not accept a truncated answer
    if answer=$(explain 'the sky' 2> /dev/null); then
        echo 'a truncated answer passed as complete' >&2
        exit 1
    fi
    ;;
esac
