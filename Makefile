# Everything a person types. `make` alone lists it. Each target installs or compiles what it needs first, and says what takes long.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
# `make -j` would mix the output of steps that compile with all cores anyway.
.NOTPARALLEL:
.PHONY: help demo test torture bench check lint docs audit build native

# The built programs are started directly: `cargo run -p` would pick fewer features for that one crate and compile much anew.
TARGET_DIR = $(shell cargo metadata --no-deps --format-version 1 | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
say = printf '==> %s\n'

help: ## List the targets
	@echo "Anyport: publish/subscribe where a client that was away gets exactly what it missed. README.md is two minutes long."
	@echo
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: native ## Real events flow past a client that is away, and past a broker that is killed; under a minute once built
	@$(say) "Building the programs"
	@cargo build --workspace --bins --locked
	@"$(TARGET_DIR)/debug/loadtest" demo

test: build ## Every test; at most 15 minutes once built
	@$(say) "Testing: at most 15 minutes"
	@cargo test --workspace --locked

torture: build ## The tests in their long versions; may take an hour
	@$(say) "Testing, long versions: this may take an hour"
	@ANYPORT_TORTURE=1 cargo test --workspace --locked

bench: native ## Measure this machine, beside its own bare limits; the first time compiles a release build
	@$(say) "Building with --release: some minutes the first time, because nothing of the other builds can be used"
	@cargo build --workspace --bins --release --locked
	@"$(TARGET_DIR)/release/loadtest" bench

check: lint docs audit ## Formatting, clippy, documentation, dependencies; changes nothing, some minutes the first time
	@$(say) "All checks passed"

lint: native
	@$(say) "Formatting"
	@cargo fmt --all --check
	@$(say) "Clippy"
	@cargo clippy --workspace --all-targets --locked -- -D warnings

docs: native
	@$(say) "Documentation"
	@RUSTDOCFLAGS="-D warnings -A rustdoc::private_intra_doc_links" cargo doc --workspace --no-deps --document-private-items --locked
	@.ci/links.sh

audit:
	@$(say) "Dependencies"
	@.ci/audit.sh

build: native ## Compile everything that `make test` and `make demo` run
	@$(say) "Building programs and tests"
	@cargo build --workspace --all-targets --locked

native:
	@.ci/native.sh >/dev/null
