#!/bin/sh
# Check that this commit can be released, and build the files to publish in dist/: release.sh PYTHON
# PYTHON must have the packages `build` and `flit_core`. The command in $CHECK runs first (default: make check demo
# fault-matrix). Nothing is published.
set -eu
python=$1
check=${CHECK:-make check demo fault-matrix}
cd "$(dirname "$0")/.."

fail() {
    printf 'release: %s\n' "$1" >&2
    exit 1
}
clean() {
    [ -z "$(git status --porcelain)" ] || fail "$1"
}

version=$(bin/ostream --version | sed 's/^ostream //')
clean 'the tree is not clean; commit or remove what "git status" shows'
grep -Eq "^## \[?$version\]? - [0-9]{4}-[0-9]{2}-[0-9]{2}\$" CHANGELOG.md ||
    fail "CHANGELOG.md: no line '## $version - YYYY-MM-DD'; add it"
! git rev-parse -q --verify "refs/tags/v$version" > /dev/null || fail "v$version: is already released; raise __version__"

$check
clean 'the checks changed files; commit them and try again'

# Build twice, from clean copies in different directories. The files of both builds must be identical.
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
for copy in "$scratch/a" "$scratch/another place"; do
    mkdir -p "$copy/source" "$copy/dist"
    git archive HEAD | tar -x -C "$copy/source"
    # PROJECT_URL is the address of the repository, such as https://example.org/ostream.
    [ -z "${PROJECT_URL:-}" ] || "$python" "$copy/source/scripts/project_url.py" "$copy/source" "$PROJECT_URL" "$version"
    "$python" "$copy/source/scripts/pyz.py" "$copy/dist/ostream.pyz"
    "$python" -m build --no-isolation --outdir "$copy/dist" "$copy/source" > "$scratch/log" 2>&1 || {
        cat "$scratch/log" >&2
        fail 'the package could not be built'
    }
done
diff -r "$scratch/a/dist" "$scratch/another place/dist" || fail 'two builds of one commit differ'

# Check that the built files work without the checkout.
work=$scratch/work
mkdir "$work"
tar -xzf "$scratch/a/dist/ollama_ostream-$version.tar.gz" -C "$work"
make -C "$work/ollama_ostream-$version" demo > "$scratch/log" 2>&1 || {
    cat "$scratch/log" >&2
    fail 'the demo in the source distribution failed'
}
"$python" -m venv --without-pip "$work/venv"
"$python" -m pip --python "$work/venv/bin/python" install -q --no-index --no-deps --disable-pip-version-check \
    "$scratch/a/dist/ollama_ostream-$version-py3-none-any.whl"
for program in "$work/venv/bin/ostream" "$scratch/a/dist/ostream.pyz"; do
    [ "$(cd "$work" && "$program" --version)" = "ostream $version" ] || fail "$program: is not version $version"
done

rm -rf dist
cp -R "$scratch/a/dist" dist
(cd dist && sha256sum -- * > SHA256SUMS)
echo "release: v$version is ready in dist/; tag the commit and publish these files"
