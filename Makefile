# What people and CI do with this project. `make` alone lists it.

.DEFAULT_GOAL := help
BENCH_PARTS := reserve kinds growth replicas idle start peers
.PHONY: help run dependencies build build-guided web fmt check lint doc clients test test-lints test-packages screenshots test-long test-hour neighbours fuzz need-test \
	bench bench-build bench-tools bench-core bench-functions bench-streams bench-waiting $(BENCH_PARTS:%=bench-%)

# Debian keeps nginx in /usr/sbin, which is not on the path of an ordinary user; the tests start it by name.
export PATH := $(PATH):/usr/sbin:/sbin

# The profile of Cargo.toml that `make run` builds with; `make build` makes the full one.
PROFILE ?= fast
TARGET := $(or $(CARGO_TARGET_DIR),target)
BINARY := $(TARGET)/release/holdfast

# The one form of each check, so that `check`, `lint` and `test` cannot differ.
FORMAT = cargo fmt --check
CLIPPY = cargo clippy --all-targets --locked -- -D warnings

# What browsers get from the binary. Without it a binary serves the API alone, and says how to build the rest.
WEB := web/dist/built
WEB_SOURCES := $(shell find web docs openapi -type f -not -path '*/node_modules/*' -not -path 'web/dist/*' -not -path '*/cache/*')

# npm writes this file last, so it tells whether the packages match the lock file.
BROWSER_PACKAGES := tests/browser/node_modules/.package-lock.json
CLIENT_PACKAGES := tests/clients/node_modules/.package-lock.json
# Written last, likewise.
PYTHON_PACKAGES := tests/clients/.venv/installed
TYPESCRIPT_CLIENT := clients/typescript/node_modules/.package-lock.json
PYTHON_CLIENT := clients/python/.venv/installed
PEER_NODE := bench/peers/node_modules/.package-lock.json
PEER_PYTHON := bench/peers/.venv/installed

help: ## list these targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' Makefile

# The demo may watch a broker on this machine only: an address elsewhere is for the operator to allow.
run: export HOLDFAST_DATA_DIR ?= ./data
run: export HOLDFAST_BROKER_HOSTS ?= 127.0.0.1:6379,localhost:6379
run: ## install what is missing, build, and serve a demo tenant with a private Redis
	scripts/need cargo cc npm redis-server setpriv
	$(MAKE) --no-print-directory --jobs 2 dependencies $(WEB)
	cargo build --profile $(PROFILE) --locked
	$(TARGET)/$(PROFILE)/holdfast serve --demo

# The direct dependencies, as `cargo tree` names them. They are most of a cold build, and the pages are built beside them.
dependencies:
	cargo build --profile $(PROFILE) --locked $$(cargo tree --locked -e normal --depth 1 --prefix none | sed '1d; s/ (.*//; s/ v/@/; s/^/-p /')

build: $(WEB) ## build the release binary
	scripts/need cargo cc
	cargo build --release --locked

# Profile-guided optimization: built with counters, trained with the benchmark's load, and built again. In a directory of its own, for its flags.
GUIDED := $(TARGET)/guided
build-guided: export CARGO_TARGET_DIR = $(abspath $(GUIDED))
build-guided: $(WEB) ## build target/guided/holdfast, which is trained: a quarter less CPU per request, for three times as long a build
	scripts/need cargo cc cargo-pgo llvm-profdata redis-server setpriv python3
	cd bench && CARGO_TARGET_DIR=target cargo build --release --locked -p load
	cargo pgo build -- --locked --bin holdfast
	PYTHONPATH=bench python3 -B -m speed.training $(GUIDED)/*/release/holdfast
	cargo pgo optimize build -- --locked --bin holdfast
	cp $(GUIDED)/*/release/holdfast $(GUIDED)/holdfast

fmt: ## format the code
	scripts/need cargo rustfmt
	cargo fmt

web: $(WEB) ## build the pages that the binary serves: dashboard, guide, API reader

check: ## the inner loop: format, lints, unit tests, and the suite's tests of what changed
	scripts/need cargo rustfmt clippy cc redis-server setpriv
	$(FORMAT)
	$(CLIPPY)
	cargo test --locked --quiet --lib
	cargo test --locked --quiet --test suite -- $$(scripts/affected)

lint: ## check format, lints, documentation, shell scripts and dependencies
	scripts/need cargo rustfmt clippy cc shellcheck cargo-deny
	$(FORMAT)
	$(CLIPPY)
	RUSTDOCFLAGS='-D warnings -A rustdoc::private_intra_doc_links' cargo doc --no-deps --document-private-items --locked
	shellcheck scripts/* .ci/run examples/*.sh
	scripts/deny

doc: ## build the documentation of the code and say where it is
	scripts/need cargo cc
	cargo doc --no-deps --document-private-items --locked
	@echo $(TARGET)/doc/holdfast/index.html

GENERATE = tests/clients/.venv/bin/python tests/clients/generated/generate.py

clients: $(CLIENT_PACKAGES) $(PYTHON_PACKAGES) ## generate clients for Python, TypeScript, Java and Go, and check them
	rm -rf $(TARGET)/clients && mkdir -p $(TARGET)/clients
	for language in python typescript java go; do \
		$(GENERATE) $$language openapi/openapi.json $(TARGET)/clients || exit 1; \
	done

# Tests that keep a core busy for a minute, with browsers, type checkers or a JVM: beside them, tests that measure times would measure those.
HEAVY := http::browser http::client_packages http::guide http::reference clients:: queues::dashboard agents::sdk

# The suite comes last, so that the output ends with its count of passed and failed tests.
# More threads than cores: the tests wait for processes and deadlines more than they compute.
test: export RUST_TEST_THREADS ?= 6
test: need-test ## install what is missing, then format, lints and every test
	$(MAKE) --no-print-directory --jobs 3 test-lints test-packages
	cargo test --locked --lib --bin holdfast
	cargo test --locked --test suite -- --test-threads 3 $(HEAVY)
	cargo test --locked --test suite -- $(HEAVY:%=--skip %)

test-lints:
	$(FORMAT)
	$(CLIPPY)

# The pages and packages that tests use. Installing them waits for the network more than it computes, so it goes on beside the lints.
test-packages: $(WEB) $(BROWSER_PACKAGES) $(CLIENT_PACKAGES) $(PYTHON_PACKAGES) $(TYPESCRIPT_CLIENT) $(PYTHON_CLIENT)

# The pictures of the dashboard in docs/, taken by the test that also looks at each view with axe.
screenshots: export SHOTS := $(CURDIR)/docs/screenshots
screenshots: need-test $(WEB) $(BROWSER_PACKAGES) ## take the pictures of the dashboard anew, into docs/screenshots/
	mkdir -p $(SHOTS)
	cargo test --locked --test suite the_dashboard_is_accessible

# The same tests with outages of half a minute and many more random sequences.
test-long: export HOLDFAST_LONG := 1
test-long: test ## the same with longer outages and searches, and fuzzing, which takes a quarter of an hour more
	PROPTEST_CASES=50000 cargo test --locked --lib
	$(MAKE) fuzz

# What is promised is promised of the production binary: another one takes longer over the dearest calls than others may have to wait. One test at
# a time, since each measures times; the machine should do nothing else.
neighbours: export HOLDFAST_BINARY := $(abspath $(BINARY))
neighbours: build ## attack the release binary as one tenant, and hold what another one notices
	scripts/need redis-server setpriv nginx
	cargo test --locked --test suite -- --test-threads 1 neighbours::

FUZZ_TARGETS := body cursor filter celery bullmq resp
FUZZ_SECONDS ?= 60

# Without a sanitizer: it would need a nightly compiler, and finds what only unsafe code can do, which is forbidden here.
# What a run has found new is kept in fuzz/corpus/, where the next begins; fuzz/seeds/ is in the repository.
FUZZ_RUN = cargo fuzz run --fuzz-dir fuzz --sanitizer none

fuzz: ## fuzz each parser of what others send for a minute; FUZZ_SECONDS=600 for longer, FUZZ_TARGETS="resp" for one
	scripts/need cargo cc c++ cargo-fuzz
	for target in $(FUZZ_TARGETS); do \
		mkdir -p fuzz/corpus/$$target && \
		$(FUZZ_RUN) $$target fuzz/corpus/$$target fuzz/seeds/$$target -- \
			-max_total_time=$(FUZZ_SECONDS) -timeout=10 -print_final_stats=1 || exit 1; \
	done

# One broker watched for an hour, whose keys and settings must be the same afterwards.
test-hour: export HOLDFAST_READ_ONLY_SECONDS := 3600
test-hour: need-test $(CLIENT_PACKAGES) $(PYTHON_PACKAGES) ## watch a broker for an hour and prove that it was only read
	cargo test --locked --test suite watching_leaves_the_broker_as_it_was

# HOLDFAST=path measures an existing binary instead of building one; SPEED=... passes options, as in SPEED='--rounds 7'.
MEASURE = PYTHONPATH=bench python3 -B -m speed --holdfast $(or $(HOLDFAST),$(BINARY)) $(SPEED)

bench: bench-build ## measure speed beside limits and peers in about 14 minutes; writes bench/results/<date>.md
	$(MEASURE) --save

# One part, printed and not kept: bench-reserve, bench-kinds, bench-growth, bench-replicas, bench-idle, bench-start, bench-peers
$(BENCH_PARTS:%=bench-%): bench-%: bench-build
	$(MEASURE) $*

# The load generator's own tests come first: a generator that overlooks refusals would find everything fast.
bench-build:
	scripts/need cargo cc redis-server setpriv nginx python3
	$(if $(HOLDFAST),,cargo build --release --locked)
	cd bench && CARGO_TARGET_DIR=target cargo test --quiet --locked -p load
	cd bench && CARGO_TARGET_DIR=target cargo build --release --locked -p load -p echo

# `make bench` leaves out peers that are not installed, so that it installs no server that nobody asked for.
bench-tools: $(PEER_NODE) $(PEER_PYTHON) ## install the peers: etcd, ZooKeeper, webdis, redlock, kazoo, redis-py
	scripts/need etcd zookeeper webdis node

bench-core: ## count what the decision core costs Redis, in instructions; writes bench/results/<date>-core.md; ROWS="C2 C8" only prints these
	scripts/need redis-server setpriv valgrind python3
	PYTHONPATH=bench python3 -B -m core $(or $(ROWS),--save)

# WAITING=... passes options, as in WAITING='--hand-overs 1000000'. PROFILE=fast builds sooner; the report says which it was.
bench-waiting: PROFILE = release
bench-waiting: $(PEER_PYTHON) ## measure hand-overs to those who wait beside peers; PARTS="latency cost" only prints these
	scripts/need cargo cc redis-server setpriv python3
	$(if $(HOLDFAST),,cargo build --profile $(PROFILE) --locked)
	PYTHONPATH=bench python3 -B -m waiting --profile $(PROFILE) --holdfast $(or $(HOLDFAST),$(TARGET)/$(PROFILE)/holdfast) $(WAITING) $(or $(PARTS),--save)

bench-functions: ## measure what each function costs Redis
	scripts/need cargo cc redis-server setpriv
	cargo bench --locked --bench functions

bench-streams: ## measure event streams beside a bare epoll loop and their peers; PARTS="e1 e5" measures only these
	scripts/need cargo cc redis-server setpriv nginx nchan python3
	cargo build --release --locked
	cd bench && cargo build --release --locked
	bench/streams.py $(PARTS)

need-test:
	scripts/need cargo rustfmt clippy cc redis-server setpriv nginx chromium node npm python-venv valgrind curl jq openssl postgres

# The folder's time is what cargo looks at, so it is made anew.
$(WEB): $(WEB_SOURCES)
	scripts/need npm
	cd web && npm ci --ignore-scripts --no-audit --no-fund
	rm -rf web/dist && mkdir web/dist
	cd web && npm run build
	touch $@

# --ignore-scripts: no package may run a program at installation. The tests use the system's browser.
$(BROWSER_PACKAGES): tests/browser/package-lock.json | need-test
	cd tests/browser && npm ci --ignore-scripts --no-audit --no-fund

$(CLIENT_PACKAGES): tests/clients/package-lock.json | need-test
	cd tests/clients && npm ci --ignore-scripts --no-audit --no-fund

$(PYTHON_PACKAGES): tests/clients/requirements.txt | need-test
	python3 -m venv tests/clients/.venv
	tests/clients/.venv/bin/pip install --quiet --disable-pip-version-check --requirement $<
	touch $@

$(TYPESCRIPT_CLIENT): clients/typescript/package-lock.json | need-test
	cd clients/typescript && npm ci --ignore-scripts --no-audit --no-fund

# The package itself as a link to its source, so that the tests see what stands there.
$(PYTHON_CLIENT): clients/python/requirements-dev.txt clients/python/pyproject.toml | need-test
	python3 -m venv clients/python/.venv
	clients/python/.venv/bin/pip install --quiet --disable-pip-version-check --requirement $<
	clients/python/.venv/bin/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable clients/python
	touch $@

$(PEER_NODE): bench/peers/package-lock.json
	scripts/need npm
	cd bench/peers && npm ci --ignore-scripts --no-audit --no-fund

$(PEER_PYTHON): bench/peers/requirements.txt
	scripts/need python-venv
	python3 -m venv bench/peers/.venv
	bench/peers/.venv/bin/pip install --quiet --disable-pip-version-check --requirement $<
	touch $@

%/package-lock.json:
	@echo "make: $@ is missing, and without it npm would pick versions of its own." >&2
	@echo "make: restore it from version control, or run 'npm install' in its directory once and commit it." >&2
	@exit 1
