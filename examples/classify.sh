#!/bin/sh
# Classify a column of a CSV file: each row gets a label, which a JSON schema keeps to the ones there are.
#   sh examples/classify.sh tickets.csv text > labelled.csv
# Run again after an interruption, it asks only for what is missing: the answers are in tickets.csv.ndjson.
set -e
here=$(cd "$(dirname "$0")/.." && pwd)
PATH=$here/bin:$PATH
file=${1:?'usage: classify.sh FILE.csv COLUMN'} column=${2:?'usage: classify.sh FILE.csv COLUMN'}
[ -r "$file" ] || { echo "classify.sh: $file: can't be read" >&2; exit 2; }

schema='{"type":"object","properties":{"label":{"enum":["bug","question","praise"]}},"required":["label"]}'

python3 -c '
import csv, json, sys
rows = csv.DictReader(open(sys.argv[1], newline=""))
if sys.argv[2] not in rows.fieldnames:
    sys.exit(f"classify.sh: {sys.argv[1]}: has no column {sys.argv[2]}; it has {rows.fieldnames}")
for number, row in enumerate(rows):
    print(json.dumps({"id": number, "messages": [{"role": "user", "content": row[sys.argv[2]]}]}))
' "$file" "$column" > "$file.requests"
batch -o "$file.ndjson" --resume --format "$schema" -s 'What is this: a bug, a question or praise?' "$file.requests"

extract-content --json "$file.ndjson" | python3 -c '
import csv, json, sys
labels = {line["id"]: json.loads(line["content"]).get("label") for line in map(json.loads, sys.stdin)}
rows = csv.DictReader(open(sys.argv[1], newline=""))
out = csv.DictWriter(sys.stdout, [*rows.fieldnames, "label"], lineterminator="\n")
out.writeheader()
for number, row in enumerate(rows):
    out.writerow({**row, "label": labels[number]})
' "$file"
