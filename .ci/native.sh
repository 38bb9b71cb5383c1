#!/usr/bin/env bash
# Makes the native parts available: a C++ compiler, libclang, and RocksDB as a ready archive.
#
# RocksDB is most of a first build, so it is compiled once per machine and user and kept in a cache keyed by its exact version
# and flags; every profile and every clone links that archive (docs/adr/0001). Where it lies is told to cargo through
# .cargo/native.toml, which .cargo/config.toml includes when it is there: after one `make`, a plain `cargo build` uses it too,
# and before that a plain `cargo build` compiles RocksDB itself.
#
# Prints the same two settings on stdout, for `eval`. Everything for people goes to stderr.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '==> %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }
any_file() { local glob; for glob; do if compgen -G "$glob" >/dev/null; then return 0; fi; done; return 1; }
cores=$(nproc 2>/dev/null || echo 2)
# Rounded up, and never "0 minutes": $1 is measured on one core.
minutes() { echo $((($1 + cores - 1) / cores)); }

require_rust() {
  local wanted have
  command -v cargo >/dev/null && command -v rustc >/dev/null || die "Rust is needed and cargo was not found: see https://rustup.rs"
  wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
  have=$(rustc --version | cut -d' ' -f2)
  [ "$(printf '%s\n' "$wanted" "$have" | sort -V | sed -n 1p)" = "$wanted" ] ||
    die "Rust $wanted or newer is needed and this is $have: rustup update stable (https://rustup.rs)"
}

# Asks the compiler instead of looking for its name: a g++ without headers, or one that is too old, is of no use.
cxx_works() {
  # shellcheck disable=SC2086 # CXX may be two words, as in "ccache g++".
  printf '#include <compare>\n#include <cstdio>\n' | ${CXX:-c++} -std=c++20 -x c++ -fsyntax-only - >/dev/null 2>&1
}

# bindgen loads libclang while building, and libclang needs the compiler's own headers, which Debian ships apart from it.
libclang_works() {
  [ "$(uname)" = Linux ] && [ -z "${LIBCLANG_PATH:-}" ] || return 0
  any_file '/usr/lib/llvm-*/lib/libclang.so*' '/usr/lib/llvm-*/lib/libclang-[0-9]*.so*' '/usr/lib/*-linux-gnu*/libclang.so*' \
    '/usr/lib/*-linux-gnu*/libclang-[0-9]*.so*' '/usr/lib/libclang.so*' '/usr/lib64/libclang.so*' '/usr/lib64/llvm*/lib*/libclang.so*' \
    '/usr/local/lib/libclang.so*' || return 1
  any_file '/usr/lib/llvm-*/lib/clang/*/include/stddef.h' '/usr/lib/clang/*/include/stddef.h' '/usr/lib64/clang/*/include/stddef.h' \
    '/usr/lib64/llvm*/lib*/clang/*/include/stddef.h' '/usr/local/lib/clang/*/include/stddef.h'
}

missing_packages() {
  cxx_works || printf 'g++ '
  libclang_works || printf 'libclang-dev '
}

require_packages() {
  local missing
  missing=$(missing_packages)
  [ -n "$missing" ] || return 0
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    die "To build RocksDB these packages are missing: $missing. On Debian or Ubuntu: sudo apt-get install $missing"
  fi
  say "Installing ${missing% } with apt-get: about two minutes"
  export DEBIAN_FRONTEND=noninteractive
  # shellcheck disable=SC2086 # One word per package.
  { apt-get update -qq && apt-get install -y -qq --no-install-recommends -o DPkg::Lock::Timeout=300 $missing; } </dev/null >&2
  missing=$(missing_packages)
  [ -z "$missing" ] || die "These were installed but do not work: $missing"
}

# Everything that changes the archive's bytes or what it may be linked with.
cache_key() {
  local features flags
  features=$(grep '^rocksdb = ' Cargo.toml)
  flags="$(grep -E '^(\[target|rustflags)' .cargo/config.toml) ${RUSTFLAGS:-} ${CXX:-c++} ${CXXFLAGS:-} $(rustc -vV | grep ^host)"
  echo "$version-$(printf '%s' "$features $flags" | cksum | cut -d' ' -f1)"
}

show_plan() {
  [ -f "$archive" ] && [ -d "${CARGO_TARGET_DIR:-target}" ] && return 0
  say "First build here, on $cores cores. What takes long:"
  [ -n "$(missing_packages)" ] && say "  packages   about 2 minutes, once for this machine: $(missing_packages)"
  [ -f "$archive" ] || say "  RocksDB    about $(minutes 25) minutes, once for this machine (kept in $cache)"
  say "  Rust code  about $(minutes 12) minutes, once for this clone"
}

count_objects() { find "$build" -path '*/librocksdb-sys-*/out/*.o' 2>/dev/null | wc -l; }

show_progress() {
  local started=$SECONDS report_at=$((SECONDS + 30)) total done_files elapsed left
  total=$(wc -l <"$sources/rocksdb_lib_sources.txt")
  while kill -0 "$pid" 2>/dev/null; do
    sleep 2
    done_files=$(count_objects)
    elapsed=$((SECONDS - started))
    left=$((done_files > 9 ? elapsed * (total - done_files) / done_files / 60 + 1 : $(minutes 25)))
    if [ -t 2 ]; then
      printf '\r    RocksDB: %d of %d files, %d:%02d, about %d min left  ' "$done_files" "$total" $((elapsed / 60)) $((elapsed % 60)) "$left" >&2
    elif [ "$SECONDS" -ge "$report_at" ]; then
      report_at=$((SECONDS + 60))
      printf '    RocksDB: %d of %d files, about %d min left\n' "$done_files" "$total" "$left" >&2
    fi
  done
  if [ -t 2 ]; then echo >&2; fi
}

# Without debug info, which would make every binary some hundred megabytes larger; with frame pointers, so that profiles reach through it.
start_compiling() {
  set -m # A process group of its own, so that an interrupted run leaves no compiler behind.
  env -u ROCKSDB_LIB_DIR -u ROCKSDB_STATIC ROCKSDB_COMPILE=1 CARGO_TARGET_DIR="$build" CARGO_PROFILE_RELEASE_DEBUG=false \
    CXXFLAGS="-fno-omit-frame-pointer ${CXXFLAGS:-}" cargo build --release --locked -p librocksdb-sys >"$log" 2>&1 </dev/null 9>&- &
  pid=$!
  set +m
}

compile() {
  local log="$cache_root/build.log" manifest
  say "Fetching the crates"
  cargo fetch --locked >&2
  manifest=$(cargo metadata --format-version 1 --locked --offline | grep -o '"manifest_path":"[^"]*/librocksdb-sys-[^"]*"' | cut -d'"' -f4)
  sources=$(dirname "$manifest")
  build=$(mktemp -d "$cache_root/build.XXXXXX")
  pid=
  trap '[ -z "$pid" ] || kill -- -"$pid" 2>/dev/null || true; rm -rf "$build"' EXIT
  say "Compiling RocksDB $version: about $(minutes 25) minutes, once for this machine"
  start_compiling
  show_progress
  wait "$pid" || { tail -n 40 "$log" >&2; die "RocksDB did not compile; the whole log is $log"; }
  pid=
  mkdir -p "$cache"
  # Renamed into place, so that a run cut short never leaves half an archive under the final name.
  cp "$build"/release/build/librocksdb-sys-*/out/librocksdb.a "$archive.new"
  mv "$archive.new" "$archive"
  rm -f "$log"
  say "RocksDB is ready"
}

# Two runs at once (two clones, or `make` in two terminals) must not both compile: the second waits and finds it done.
compile_once() {
  mkdir -p "$cache_root"
  exec 9>"$cache_root/lock"
  if command -v flock >/dev/null && ! flock -n 9; then
    say "RocksDB is being compiled by another run; waiting for it"
    flock 9
  fi
  [ -f "$archive" ] || compile
  exec 9>&-
}

tell_cargo() {
  local config=".cargo/native.toml" text
  text=$(printf '# Written by .ci/native.sh: where the ready RocksDB of this machine lies.\n[env]\nROCKSDB_LIB_DIR = "%s"\nROCKSDB_STATIC = "1"' "$cache")
  [ "$(cat "$config" 2>/dev/null)" = "$text" ] && return 0
  printf '%s\n' "$text" >"$config.$$"
  mv "$config.$$" "$config"
}

require_rust
version=$(awk '/^name = "librocksdb-sys"/ { getline; gsub(/"|version = /, ""); print }' Cargo.lock)
cache_root="${XDG_CACHE_HOME:-$HOME/.cache}/anyport"
cache="$cache_root/rocksdb-$(cache_key)"
archive="$cache/librocksdb.a"

# A directory of the user's own choosing wins; one of ours may be of an older version, so it is looked up anew.
if [ -n "${ROCKSDB_LIB_DIR:-}" ] && [ "${ROCKSDB_LIB_DIR#"$cache_root"}" = "$ROCKSDB_LIB_DIR" ]; then
  require_packages
  printf "export ROCKSDB_LIB_DIR='%s' ROCKSDB_STATIC='%s'\n" "$ROCKSDB_LIB_DIR" "${ROCKSDB_STATIC:-1}"
  exit 0
fi

show_plan
require_packages
[ -f "$archive" ] || compile_once
tell_cargo
echo "export ROCKSDB_LIB_DIR='$cache' ROCKSDB_STATIC=1"
