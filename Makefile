# Everything a contributor does. `make` alone lists it.

CARGO ?= cargo
# Random worlds that `make sim` runs.
SIM_RUNS ?= 200
# Seconds for each fuzz target.
FUZZ_SECONDS ?= 15
# Seconds of measurement in the labs that take a while.
LM_SECONDS ?= 120

# Where libzmq comes from: `system`, or `vendored`, the source that a crate brings, which takes a minute to build.
ZMQ ?= $(shell pkg-config --exists 'libzmq >= 4.1' 2>/dev/null && echo system || echo vendored)
ifeq ($(ZMQ),system)
# Cargo links the library in place of running the build script of `zmq-sys`, for this host's own target only.
comma := ,
empty :=
ZMQ_LINK := target.$(shell rustc -vV | sed -n 's/^host: //p').zmq
ZMQ_PATHS := $(patsubst -L%,"native=%",$(shell pkg-config --libs-only-L libzmq))
BUILD := --locked --config '$(ZMQ_LINK).rustc-link-lib=["zmq"]' \
	--config '$(ZMQ_LINK).rustc-link-search=[$(subst $(empty) $(empty),$(comma),$(ZMQ_PATHS))]'
else
BUILD := --locked
endif
# The binary that packages, labs and benches use brings its own libzmq, and so runs on hosts without one.
DIST := --locked --profile dist

.DEFAULT_GOAL := help
.PHONY: help run build dist test check features sim bench bench-smoke bench-instructions fuzz-smoke test-net bench-peers scale-soak clean

help: ## List the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  \1\t/' | expand -t 21

run: build ## Build the daemon and let it probe itself over loopback, with latency.toml
	./target/release/latency-monitor -c latency.toml

build: ## Build the daemon quickly, for this host: target/release
	$(CARGO) build $(BUILD) --release

dist: ## Build the daemon for packages and measurements, fully optimised: target/dist
	$(CARGO) build $(DIST)

test: ## Run every test that needs no root, network or packages
	$(CARGO) test $(BUILD)

check: ## Formatting, lints and documentation, warnings denied
	$(CARGO) fmt --check
	$(CARGO) fmt --check --manifest-path fuzz/Cargo.toml
	$(CARGO) clippy $(BUILD) --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc $(BUILD) --no-deps

features: ## Lints without any Cargo feature and with each alone; without, nothing of theirs is built
	for feature in "" zeromq http-backends http-server report; do \
		$(CARGO) clippy $(BUILD) --all-targets --no-default-features --features "$$feature" -- -D warnings || exit 1; \
	done
	! $(CARGO) tree --locked --no-default-features -e normal | grep -E ' (zmq|zmq-sys|reqwest|rustls|ring|redb|hyper|tokio|plotters) v'

sim: ## Run the simulation with many random worlds and a virtual hour: SIM_RUNS, SIM_SEED
	SIM_RUNS=$(SIM_RUNS) $(CARGO) test $(BUILD) --release --test sim

bench: ## Run the benches
	$(CARGO) bench $(DIST)

bench-smoke: ## Run every bench once, to see that it works
	$(CARGO) bench $(BUILD) --profile release -- --test

bench-instructions: ## Count the instructions of a probe with valgrind, and compare; RECORD=1 writes them down
	$(CARGO) bench $(DIST) --bench instructions -- $(if $(RECORD),--record,--compare)

fuzz-smoke: ## Run each fuzz target for FUZZ_SECONDS; installs cargo-fuzz if it is missing
	FUZZ_SECONDS=$(FUZZ_SECONDS) fuzz/smoke

test-net: dist ## Run the labs: namespaces, the Python program, hostile peers. Needs root; installs what it needs
	LM_SECONDS=$(LM_SECONDS) tests/net/run

bench-peers: dist ## Compare ours with other programs at 1 ms, and write docs/peers.md: LM_PARTS, LM_SECONDS, LM_ROUNDS. Needs root
	tests/net/run peers

scale-soak: dist ## Probe 10,000 targets at 1 s, then 100 at 1 ms, half an hour each: memory must not grow. Needs root
	LM_SCALE_SECONDS=1800 tests/net/run scale

clean: ## Remove what was built
	$(CARGO) clean
	rm -rf fuzz/target
