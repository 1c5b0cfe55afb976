# Everything a contributor does. `make` alone lists it.

CARGO ?= cargo
# Random worlds that `make sim` runs.
SIM_RUNS ?= 200
# How `make sim` and `make bench-smoke` are built. With `dev` nothing is built that `make test` has not.
PROFILE ?= release
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
.PHONY: help run build dist test check features portable sim bench bench-smoke bench-instructions fuzz-smoke test-net bench-peers bench-cost scale-soak soak python packages image size deny msrv publish-check reproducible clean

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

features: ## Lints without any Cargo feature, tests and benches too, and with each alone; without, nothing of theirs is built
	$(CARGO) clippy $(BUILD) --all-targets --no-default-features -- -D warnings
	for feature in zeromq http-backends http-server report top manual; do \
		$(CARGO) clippy $(BUILD) --no-default-features --features "$$feature" -- -D warnings || exit 1; \
	done
	! $(CARGO) tree --locked --no-default-features -e normal | grep -E ' (zmq|zmq-sys|reqwest|rustls|ring|redb|hyper|tokio|plotters|ratatui|clap_complete|clap_mangen) v'

# What is built from nothing is built unoptimised.
UNOPTIMISED := CARGO_PROFILE_DEV_OPT_LEVEL=0 CARGO_PROFILE_DEV_DEBUG=0
# This package alone is compiled anew for it, unoptimised, against what `make test` has built.
PORTABLE := RUSTC_WORKSPACE_WRAPPER=tests/rustc-portable $(CARGO) test $(BUILD) \
	--config profile.dev.package.latency-monitor.opt-level=0 --config profile.dev.package.latency-monitor.debug=0

portable: ## Run what other systems than Linux get through the loopback suite, and check what Windows gets
	$(PORTABLE) --test loopback
	$(PORTABLE) --lib -- sys:: engine:: monitor::discovery monitor::poll monitor::preflight
	RUSTFLAGS="-D warnings --cfg latency_monitor_portable --cfg latency_monitor_plain" \
		$(UNOPTIMISED) $(CARGO) check --locked --no-default-features --target-dir target/plain

sim: ## Run the simulation with many random worlds and a virtual hour: SIM_RUNS, SIM_SEED
	SIM_RUNS=$(SIM_RUNS) $(CARGO) test $(BUILD) --profile $(PROFILE) --test sim

bench: ## Run the benches
	$(CARGO) bench $(DIST)

bench-smoke: ## Run every bench once, to see that it works
	$(CARGO) bench $(BUILD) --profile $(PROFILE) -- --test

# What comes with features is in no probe's path, and would be most of the build.
# A folder of its own: a bench builds the daemon as well, and this one lacks what the labs look for in target/dist.
bench-instructions: ## Count the instructions of a probe with valgrind, and compare; RECORD=1 writes them down
	$(CARGO) bench $(DIST) --no-default-features --target-dir target/instructions --bench instructions -- $(if $(RECORD),--record,--compare)

fuzz-smoke: ## Run each fuzz target for FUZZ_SECONDS; installs cargo-fuzz if it is missing
	FUZZ_SECONDS=$(FUZZ_SECONDS) fuzz/smoke

test-net: dist ## Run the labs: namespaces, the Python program, hostile peers. Needs root; installs what it needs
	LM_SECONDS=$(LM_SECONDS) tests/net/run

bench-peers: dist ## Compare ours with other programs at 1 ms, and write docs/peers.md: LM_PARTS, LM_SECONDS, LM_ROUNDS. Needs root
	tests/net/run peers

bench-cost: dist ## Bound what a probe costs at 1 ms, beside an older build: LM_BEFORE, a path or a revision. Needs root
	LM_COST_BOUNDS=1 LM_COST_SECONDS=$(or $(LM_COST_SECONDS),4) LM_COST_ROUNDS=$(or $(LM_COST_ROUNDS),9) \
		LM_PARTS="$(or $(LM_PARTS),calls processor timeouts accuracy)" tests/net/run cost

pictures: dist ## Take the pictures in the documents: daemons in namespaces, a real burst, Chromium, tmux. Needs root
	tests/net/run picture pictures

scale-soak: dist ## Probe 10,000 targets at 1 s, then 100 at 1 ms, half an hour each: memory must not grow. Needs root
	LM_SCALE_SECONDS=1800 tests/net/run scale

soak: dist ## Probe 100 targets at 1 ms with all kinds of probe, half an hour on each engine: nothing may grow. Needs root
	LM_SCALE_SECONDS=1800 tests/net/run soak soak@io_uring

PYTHON ?= python3
PYTHON_VENV := target/python

python: ## Build the Python package, run its tests and check its types: installs maturin and mypy into target/python
	$(PYTHON) -m venv $(PYTHON_VENV)
	$(PYTHON_VENV)/bin/pip install --quiet --disable-pip-version-check 'maturin>=1.9,<2' mypy
	cd python && $(CARGO) fmt --check && $(UNOPTIMISED) $(CARGO) clippy --locked -- -D warnings
	cd python && VIRTUAL_ENV=$(CURDIR)/$(PYTHON_VENV) $(UNOPTIMISED) ../$(PYTHON_VENV)/bin/maturin develop --quiet
	cd python && ../$(PYTHON_VENV)/bin/mypy --strict --cache-dir ../$(PYTHON_VENV)/mypy latency_monitor_rs tests
	$(PYTHON_VENV)/bin/python -m unittest discover -s python/tests

# The architecture that packages are for. Another one than this host's needs its C and C++ compilers and Rust's target.
ARCH ?= $(shell dpkg --print-architecture 2>/dev/null || echo amd64)
ifneq ($(ARCH),$(shell dpkg --print-architecture 2>/dev/null || echo amd64))
CROSS := $(patsubst amd64,x86_64,$(patsubst arm64,aarch64,$(ARCH)))
DIST_TARGET := --target $(CROSS)-unknown-linux-gnu
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER ?= aarch64-linux-gnu-gcc
export CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER ?= x86_64-linux-gnu-gcc
# What writes the man pages has to run here.
PACKAGES_RUN := --run target/dist/latency-monitor --bin target/$(CROSS)-unknown-linux-gnu/dist/latency-monitor
endif

packages: dist ## Make a deb, an rpm, debug files and a list of components: target/package. ARCH=arm64 for another one
	$(if $(DIST_TARGET),$(CARGO) build $(DIST) $(DIST_TARGET))
	packaging/build --arch $(ARCH) $(PACKAGES_RUN)

image: packages ## Make the image by buildah, podman or docker: target/package, to be loaded by any of them
	packaging/image/build

size: dist ## The daemon's size, stripped as packages have it: it fails over 10 MB
	@objcopy --strip-all target/dist/latency-monitor target/dist/latency-monitor.stripped
	@bytes=$$(stat -c %s target/dist/latency-monitor.stripped); echo "$$bytes bytes"; [ "$$bytes" -le 10000000 ]

deny: ## Check licences, sources, duplicates and, where their list can be fetched, advisories; installs cargo-deny
	packaging/tools cargo-deny
	target/tools/bin/cargo-deny deny --locked check bans licenses sources
	@if target/tools/bin/cargo-deny deny fetch db 2>/dev/null; then \
		target/tools/bin/cargo-deny deny --locked check --disable-fetch advisories; \
	else echo "advisories: not checked, their database cannot be fetched from here"; fi

# The oldest toolchain that Cargo.toml promises.
MSRV := $(shell sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)

msrv: ## Check all targets with the oldest Rust that is promised; rustup installs it
	rustup toolchain install --profile minimal $(MSRV)
	$(CARGO) +$(MSRV) check $(BUILD) --all-targets --target-dir target/msrv
	$(CARGO) +$(MSRV) check $(BUILD) --all-targets --target-dir target/msrv --no-default-features

publish-check: ## Pack what `cargo publish` would send, build that by itself, and send nothing
	$(CARGO) publish --locked --dry-run

reproducible: ## Build the daemon twice, in two folders, and compare
	packaging/reproducible

clean: ## Remove what was built
	$(CARGO) clean
	rm -rf fuzz/target python/target
