#!/usr/bin/env bash
# The dependency audit: sources, banned crates, licences and known faults, as deny.toml says.
#
# cargo-deny does it all. It takes minutes to compile, so it is used where it is installed and never installed unasked. Without
# it, what Cargo.lock alone can tell is still checked: that it matches the manifests, banned crates, and where crates come from.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '    %s\n' "$*"; }
failed=0
fail() { printf 'error: %s\n' "$*" >&2; failed=1; }

cargo metadata --locked --format-version 1 >/dev/null || fail "Cargo.lock does not match the manifests"

for crate in $(sed -n '/^\[bans\]/,/^\[sources\]/s/^ *{ crate = "\([^"]*\)".*/\1/p' deny.toml); do
  if grep -qx "name = \"$crate\"" Cargo.lock; then fail "banned crate in the tree: $crate (who wants it: cargo tree -i $crate)"; fi
done

crates_io='source = "registry+https://github.com/rust-lang/crates.io-index"'
while read -r source; do fail "a crate comes from somewhere else than crates.io: $source"; done \
  < <(grep '^source = ' Cargo.lock | grep -Fxv "$crates_io" | sort -u)

[ "$failed" = 0 ] || exit 1
say "Cargo.lock: complete, nothing banned, all from crates.io"

if ! cargo deny --version >/dev/null 2>&1; then
  say "NOT checked: licences and known faults. They need cargo-deny: cargo install --locked cargo-deny (some minutes)"
  exit 0
fi

cargo deny --locked check bans licenses sources
if timeout 60 cargo deny --locked fetch db >/dev/null 2>&1; then
  cargo deny --locked check --disable-fetch advisories
else
  say "NOT checked: known faults. The advisory database could not be fetched"
fi
