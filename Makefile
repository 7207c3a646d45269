# What people and CI do with this project. `make` alone lists it.

.DEFAULT_GOAL := help
.PHONY: help run test test-long test-hour bench fmt lint build need-test

# Debian keeps nginx in /usr/sbin, which is not on the path of an ordinary user; the tests start it by name.
export PATH := $(PATH):/usr/sbin:/sbin

BINARY := $(or $(CARGO_TARGET_DIR),target)/release/holdfast

# npm writes this file last, so it tells whether the packages match the lock file.
BROWSER_PACKAGES := tests/browser/node_modules/.package-lock.json
CLIENT_PACKAGES := tests/clients/node_modules/.package-lock.json
# Written last, likewise.
PYTHON_PACKAGES := tests/clients/.venv/installed

help: ## list these targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' Makefile

# The demo watches a broker only on this machine: an address elsewhere is for the operator to allow.
run: export HOLDFAST_DATA_DIR ?= ./data
run: export HOLDFAST_BROKER_HOSTS ?= 127.0.0.1:6379,localhost:6379
run: ## install what is missing, build, and serve a demo tenant with a private Redis
	scripts/need cargo cc redis-server setpriv
	cargo build --release --locked
	$(BINARY) serve --demo

build: ## build the release binary
	scripts/need cargo cc
	cargo build --release --locked

fmt: ## format the code
	scripts/need cargo rustfmt
	cargo fmt

lint: ## check format and lints, as `make test` does
	scripts/need cargo rustfmt clippy cc
	cargo fmt --check
	cargo clippy --all-targets --locked -- -D warnings

# The suite comes last, so that the output ends with its count of passed and failed tests.
# More at once than there are cores: the tests wait for processes and deadlines more than they compute.
test: export RUST_TEST_THREADS ?= 6
test: need-test $(BROWSER_PACKAGES) $(CLIENT_PACKAGES) $(PYTHON_PACKAGES) ## install what is missing, then format, lints and every test
	cargo fmt --check
	cargo clippy --all-targets --locked -- -D warnings
	cargo test --locked --lib --bin holdfast --test suite

# The same tests with outages of half a minute and many more random sequences.
test-long: export HOLDFAST_LONG := 1
test-long: test ## the same with longer outages and searches, which takes some minutes more

# A broker is watched for an hour, and has the same keys and settings afterwards.
test-hour: export HOLDFAST_READ_ONLY_SECONDS := 3600
test-hour: need-test $(CLIENT_PACKAGES) $(PYTHON_PACKAGES) ## watch a broker for an hour and see that it was only read
	cargo test --locked --test suite watching_leaves_the_broker_as_it_was

bench: ## measure what the scripts cost Redis
	scripts/need cargo cc redis-server setpriv
	cargo bench --locked --bench scripts

need-test:
	scripts/need cargo rustfmt clippy cc redis-server setpriv nginx chromium node npm python-venv

# No package may run a program of its own at installation: the tests use the system's browser and need nothing fetched.
$(BROWSER_PACKAGES): tests/browser/package-lock.json | need-test
	cd tests/browser && npm ci --ignore-scripts --no-audit --no-fund

$(CLIENT_PACKAGES): tests/clients/package-lock.json | need-test
	cd tests/clients && npm ci --ignore-scripts --no-audit --no-fund

$(PYTHON_PACKAGES): tests/clients/requirements.txt | need-test
	python3 -m venv tests/clients/.venv
	tests/clients/.venv/bin/pip install --quiet --disable-pip-version-check --requirement $<
	touch $@

%/package-lock.json:
	@echo "make: $@ is missing, and without it npm would pick versions of its own." >&2
	@echo "make: restore it from version control, or run 'npm install' in its directory once and commit it." >&2
	@exit 1
