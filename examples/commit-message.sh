#!/bin/sh
# Write a commit message for the staged changes: message=$(sh examples/commit-message.sh) && git commit -e -m "$message"
PATH=$(cd "$(dirname "$0")/../bin" && pwd):$PATH
git rev-parse --git-dir > /dev/null || exit # not a repository
if git diff --cached --quiet; then
    echo 'commit-message: nothing is staged; git add first' >&2
    exit 1
fi
git diff --cached | send -o temperature=0 'Write a commit message for this diff: a summary of at most 72 characters,' \
    'a blank line, then why the change is made. Only the message.' - | extract-content --think-tags
