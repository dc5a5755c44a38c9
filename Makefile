# The targets for people and .ci/run. Anything longer than a line or two is in
# scripts/. Only the deps targets, and those that depend on one, install anything.

TARGET_DIR ?= $(if $(CARGO_TARGET_DIR),$(CARGO_TARGET_DIR),target)
RELEASE = $(TARGET_DIR)/release
LIBRARY = $(RELEASE)/libfluent_bit_container_logs.so
# Fluent Bit recognises a native plugin by the beginning of its file name.
PLUGIN = $(RELEASE)/flb-in_container_logs.so
# For targets that run tests without scripts/run-tests, which finds it.
WITH_PLUGIN = CONTAINER_LOGS_PLUGIN="$$(realpath $(PLUGIN))"
export PLUGIN
export PREFIX SYSCONFDIR DESTDIR DIST

define LINT
cargo fmt --all --check
cargo clippy --workspace --all-targets -- -D warnings
RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --document-private-items
endef

# What a user needs; CONTRIBUTING.md has the rest.
define HELP
make             builds the plugin and tail-containers, below $(RELEASE)
make deps        installs what that needs in addition to Rust (Debian, Ubuntu; elsewhere it says what)
make install     installs them below PREFIX (/usr/local); make uninstall removes them
make deb         builds a Debian package for this machine and prints its path
make release     builds the packages and archives of a release, for x86-64 and aarch64
make demo        shows the logs of this machine's containers, or of three simulated ones
make check       runs the lints and the tests that need nothing installed
make test        runs all tests, and installs what they need
CONTRIBUTING.md has the others.
endef
export HELP

.PHONY: all check kill model picture reproducible docs dashboard deps lint-deps test-deps demo help test test-runtimes bench miri fuzz sanitize soak lint clean
.NOTPARALLEL:

all:
	cargo build --release --lib --bins
	@# Renamed into place: a host that has the old file loaded keeps it intact.
	@cmp -s $(LIBRARY) $(PLUGIN) || { cp $(LIBRARY) $(PLUGIN).new && mv -f $(PLUGIN).new $(PLUGIN); }

# The build's requirements in addition to Rust: a C compiler, and libclang for bindgen.
deps:
	@scripts/deps build

help:
	@echo "$$HELP"

lint-deps: deps
	@scripts/deps lint

# Requirements of some tests, which are SKIPPED without them. Never starts a Docker daemon.
test-deps:
	@scripts/deps test

# PREFIX=/usr/local SYSCONFDIR=/etc DESTDIR=; builds nothing, so that root can call it.
install:
	@RELEASE=$(RELEASE) scripts/install

uninstall:
	@RELEASE=$(RELEASE) scripts/install --remove

deb: deps all
	@scripts/deps deb
	@scripts/build-deb

# What is published, below target/dist: for x86_64 and aarch64 with glibc 2.17 or later. About
# half an hour at first, when its tools are built.
release: deps
	@scripts/deps release
	@scripts/release

# Runs it: this machine's in each Fluent Bit of FLUENT_BIT, the other in an emulator.
release-test: deps test-deps
	@scripts/deps release-test
	@scripts/test-release

# Builds it again in another folder with another HOME: the same bytes, file by file.
reproducible: deps
	@scripts/deps release
	@scripts/test-reproducible

demo: deps all
	@scripts/demo

test: deps test-deps all
	@scripts/run-tests

# The lints, the unit tests and those over files: no root, no daemon, nothing installed.
# More threads than cores, because many tests wait.
check:
	$(LINT)
	@RUST_TEST_THREADS=$$((2 * $$(nproc))) scripts/run-tests --lib --test files

# The tests of the packages, which `make test` skips because they need cargo-deb and debootstrap.
# DIST=target/dist for those of `make release`.
package-test: $(if $(DIST),,deb)
	@scripts/deps packages
	@scripts/package-test

# Comparison with Fluent Bit's tail, in each host of FLUENT_BIT; about forty minutes for two. ROWS=file,idle
# for some rows. Writes docs/benchmarks.md and docs/growth.svg, if it has run all of them.
bench: deps test-deps all
	cargo bench --bench side_by_side

# Each decoder, the joiner and the encoder alone.
micro-bench: deps
	cargo bench --bench pieces

# AddressSanitizer, ThreadSanitizer and valgrind over the C edge.
sanitize: deps test-deps
	@scripts/sanitize

# All fuzz targets, which share the minutes.
MINUTES ?= 10
fuzz: deps test-deps
	@scripts/fuzz $(MINUTES)

# The tests over real runtimes with those of other Debian releases; RELEASES="trixie sid" for some.
test-runtimes: deps
	@scripts/deps runtimes
	@scripts/test-runtimes $(RELEASES)

# Draws the dashboard over MINUTES with containers of many kinds: docs/metrics.svg.
picture: deps test-deps all
	$(WITH_PLUGIN) cargo run --package xtask -- picture $(MINUTES)

# The documentation as a site with search, below target/book.
docs:
	@scripts/docs

# The dashboard against Grafana's own types, which npm gives.
dashboard:
	@scripts/check-dashboard

# Containers, rotations and hot reloads for MINUTES, then the journal, rotated and vacuumed, for as
# long; `make test` has one minute of it.
soak: deps test-deps all
	SOAK_MINUTES=$(MINUTES) $(WITH_PLUGIN) cargo test --test host -- --nocapture soak::
	SOAK_MINUTES=$(MINUTES) cargo test --test runtimes -- --nocapture journal_soak::

# Kills each kind of host KILLS times under load, and one that reads systemd's journal; `make test`
# has fewer kills.
KILLS ?= 200
SEED ?= 1
kill: deps test-deps all
	KILLS=$(KILLS) SEED=$(SEED) $(WITH_PLUGIN) cargo test --test host -- --nocapture kill::
	KILLS=$(KILLS) SEED=$(SEED) $(WITH_PLUGIN) cargo test --test runtimes -- --nocapture journal_kills::

# Random histories of containers' folders against a model; history N has the seed SEED + N.
HISTORIES ?= 20000
model: deps
	HISTORIES=$(HISTORIES) SEED=$(SEED) cargo test --test model -- --nocapture histories::

# The tests of the edge that need no system call, in the interpreter that sees
# undefined behaviour. Provenance is strict: no pointer is made of a number.
miri: deps
	@scripts/miri

lint: lint-deps
	$(LINT)

clean:
	cargo clean
