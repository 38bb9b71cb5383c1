# Everything a person types. `make` alone lists it. Each target installs or compiles what it needs first, and says what takes long.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
# `make -j` would mix the output of steps that compile with all cores anyway.
.NOTPARALLEL:
.PHONY: help demo test torture bench check lint docs audit build native install uninstall bindings test-bindings

# The built programs are started directly: `cargo run -p` would pick fewer features for that one crate and compile much anew.
TARGET_DIR = $(shell cargo metadata --no-deps --format-version 1 | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
BINDINGS = $(TARGET_DIR)/bindings
BINDINGS_LIBRARY = $(TARGET_DIR)/debug/libanyport_bindings.$(if $(filter Darwin,$(shell uname)),dylib,so)
generate = "$(TARGET_DIR)/debug/uniffi-bindgen" generate --language $(1) --no-format --out-dir "$(BINDINGS)/$(2)" "$(BINDINGS_LIBRARY)"
say = printf '==> %s\n'

help: ## List the targets
	@echo "Anyport: publish/subscribe where a client that was away gets exactly what it missed. README.md is two minutes long."
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: native ## Real events flow past a client that is away, and past the loss of one of three brokers; under a minute once built
	@$(say) "Building the programs"
	@cargo build --bins --locked
	@"$(TARGET_DIR)/debug/loadtest" demo

test: build ## Every test; at most 15 minutes once built
	@$(say) "Testing: at most 15 minutes"
	@cargo test --locked

torture: build ## The tests in their long versions; may take an hour
	@$(say) "Testing, long versions: this may take an hour"
	@ANYPORT_TORTURE=1 cargo test --locked

bench: native ## Measure this machine, beside its own bare limits; the first time compiles a release build
	@$(say) "Building with --release: some minutes the first time, because nothing of the other builds can be used"
	@cargo build --bins --release --locked
	@"$(TARGET_DIR)/release/loadtest" bench

check: lint docs audit ## Formatting, clippy, documentation, dependencies; changes nothing, some minutes the first time
	@$(say) "All checks passed"

lint: native
	@$(say) "Formatting"
	@cargo fmt --all --check
	@$(say) "Clippy"
	@cargo clippy --all-targets --locked -- -D warnings

docs: native
	@$(say) "Documentation"
	@RUSTDOCFLAGS="-D warnings -A rustdoc::private_intra_doc_links" cargo doc --no-deps --document-private-items --locked
	@.ci/links.sh

audit:
	@$(say) "Dependencies"
	@.ci/audit.sh

build: native ## Compile everything that `make test` and `make demo` run
	@$(say) "Building programs and tests"
	@cargo build --all-targets --locked

# For yourself: make install PREFIX=$HOME/.local. For everybody: make install INSTALL='sudo install', so that only the last step is root's. For a
# package: DESTDIR=FOLDER. PROFILE=dev installs what the other targets build.
PREFIX = /usr/local
INSTALL = install
PROFILE = release
to = $(DESTDIR)$(abspath $(PREFIX))
staged = $(TARGET_DIR)/install
files = bin/anyportd bin/anyport lib/systemd/system/anyportd.service share/bash-completion/completions/anyport \
	share/zsh/site-functions/_anyport share/fish/vendor_completions.d/anyport.fish

install: native ## Programs, systemd unit and completions to PREFIX, which is /usr/local unless you say; compiles a release build
	@$(say) "Building with the profile $(PROFILE): some minutes the first time"
	@cargo build --bin anyportd --bin anyport --profile $(PROFILE) --locked
	@$(say) "Installing in $(to)"
	@rm -rf "$(staged)"
	@mkdir -p $(foreach file,$(files),"$(staged)/$(dir $(file))")
	@ln -s "$(TARGET_DIR)/$(if $(filter dev,$(PROFILE)),debug,$(PROFILE))/"anyport{,d} "$(staged)/bin"
	@sed 's|^ExecStart=/usr/local/|ExecStart=$(abspath $(PREFIX))/|' broker/anyportd.service >"$(staged)/lib/systemd/system/anyportd.service"
	@"$(staged)/bin/anyport" completions bash >"$(staged)/share/bash-completion/completions/anyport"
	@"$(staged)/bin/anyport" completions zsh >"$(staged)/share/zsh/site-functions/_anyport"
	@"$(staged)/bin/anyport" completions fish >"$(staged)/share/fish/vendor_completions.d/anyport.fish"
	@for file in $(filter bin/%,$(files)); do $(INSTALL) -D -m 755 "$(staged)/$$file" "$(to)/$$file"; done
	@for file in $(filter-out bin/%,$(files)); do $(INSTALL) -D -m 644 "$(staged)/$$file" "$(to)/$$file"; done

uninstall: ## Remove what `make install` has installed; data and configuration stay
	@$(say) "Removing from $(to)"
	@rm -f $(foreach file,$(files),"$(to)/$(file)")

native:
	@.ci/native.sh >/dev/null

bindings: ## The SDK for Kotlin, Swift and Python, into target/bindings; some minutes the first time
	@$(say) "Building the bindings and their generator"
	@cargo build -p anyport-bindings --features bindgen --locked
	@$(call generate,kotlin,kotlin)
	@$(call generate,swift,swift)
	@$(call generate,python,python/anyport)
	@cp client-sdk/bindings/python/anyport/__init__.py "$(BINDINGS_LIBRARY)" "$(BINDINGS)/python/anyport/"

test-bindings: native bindings ## The SDK from Python, against a real broker and a bad network
	@$(say) "Clippy and the crate's own tests, which make lint and make test leave out"
	@cargo clippy -p anyport-bindings --no-deps --features bindgen --all-targets --locked -- -D warnings
	@cargo test -p anyport-bindings --features bindgen --locked
	@$(say) "The stories of phones"
	@cargo build --bins --locked
	@ANYPORT_PROGRAMS="$(TARGET_DIR)/debug" PYTHONPATH="$(BINDINGS)/python" python3 -m unittest discover -v -s client-sdk/bindings/python/tests
