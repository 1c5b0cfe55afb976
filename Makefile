# Everything a contributor does. `make` alone lists it.

CARGO ?= cargo
# Random worlds that `make sim` runs.
SIM_RUNS ?= 200
# Seconds for each fuzz target.
FUZZ_SECONDS ?= 15
# Seconds of measurement in the labs that take a while.
LM_SECONDS ?= 120

.DEFAULT_GOAL := help
.PHONY: help run build test check sim bench bench-smoke bench-instructions fuzz-smoke test-net bench-peers scale-soak clean

help: ## List the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  \1\t/' | expand -t 21

run: ## Build the daemon and let it probe itself over loopback, with latency.toml
	$(CARGO) build --locked --release
	./target/release/latency-monitor -c latency.toml

build: ## Build the daemon
	$(CARGO) build --locked --release

test: ## Run every test that needs no root, network or packages
	$(CARGO) test --locked

check: ## Formatting, lints and documentation, warnings denied
	$(CARGO) fmt --check
	$(CARGO) fmt --check --manifest-path fuzz/Cargo.toml
	$(CARGO) clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps

sim: ## Run the simulation with many random worlds: SIM_RUNS, SIM_SEED
	SIM_RUNS=$(SIM_RUNS) $(CARGO) test --locked --release --test sim

bench: ## Run the benches
	$(CARGO) bench --locked

bench-smoke: ## Run every bench once, to see that it works
	$(CARGO) bench --locked -- --test

bench-instructions: ## Count the instructions of a probe with valgrind, and compare; RECORD=1 writes them down
	$(CARGO) bench --locked --bench instructions -- $(if $(RECORD),--record,--compare)

fuzz-smoke: ## Run each fuzz target for FUZZ_SECONDS; installs cargo-fuzz if it is missing
	FUZZ_SECONDS=$(FUZZ_SECONDS) fuzz/smoke

test-net: build ## Run the labs: namespaces, the Python program, hostile peers. Needs root; installs what it needs
	LM_SECONDS=$(LM_SECONDS) tests/net/run

bench-peers: build ## Compare ours with other programs at 1 ms, and write docs/peers.md: LM_PARTS, LM_SECONDS, LM_ROUNDS. Needs root
	tests/net/run peers

scale-soak: build ## Probe 10,000 targets at 1 s, then 100 at 1 ms, half an hour each: memory must not grow. Needs root
	LM_SCALE_SECONDS=1800 tests/net/run scale

clean: ## Remove what was built
	$(CARGO) clean
	rm -rf fuzz/target
