#!/usr/bin/env bash
# Every path the documents name exists: relative links, and paths in backticks that begin with a folder of this repository.
set -euo pipefail
cd "$(dirname "$0")/.."
missing=0
check() { # $1 document, $2 path
  [ -e "$2" ] && return 0
  printf 'error: %s names %s, which does not exist\n' "$1" "$2" >&2
  missing=1
}
for document in *.md docs/*.md docs/adr/*.md; do
  [ -e "$document" ] || continue
  while read -r path; do check "$document" "$(dirname "$document")/${path%%#*}"; done \
    < <({ grep -o '](\([^)#:]*\)[^):]*)' "$document" || true; } | sed 's/^](//; s/)$//')
  while read -r path; do check "$document" "$path"; done \
    < <({ grep -oE '`(protocol|storage|broker|client-sdk|loadtest|docs|\.ci)/[A-Za-z0-9_./-]*`' "$document" || true; } | tr -d '`')
done
exit "$missing"
