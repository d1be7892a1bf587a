# The one door to the project. A fresh machine needs Debian 12 or newer (or a relative), root for the
# cluster, and `make`; everything else is installed by the targets that need it.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest
CLUSTER := $(BIN)/python -m tests.cluster

.PHONY: help
help: ## Show the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

# --- Build -----------------------------------------------------------------------------------------

.PHONY: build
build: $(VENV)/.installed native ## Virtual environment with the `hami` command, and the native libraries

$(VENV)/.installed: requirements/dev.txt pyproject.toml
	@echo "Installing the locked Python packages into $(VENV) (about a minute)"
	scripts/install-packages
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

.PHONY: native
native: $(VENV)/.installed ## The limiter and the simulated driver, linked for glibc 2.17
	@echo "Compiling the native libraries (seconds)"
	@$(MAKE) --silent --no-print-directory -j$$(nproc) -C native release

.PHONY: lock
lock: $(VENV)/.installed ## Resolve requirements/*.txt anew from pyproject.toml
	scripts/lock-requirements

# --- Check -----------------------------------------------------------------------------------------

.PHONY: check
check: build lint types unit ## The inner loop: lint, types, unit, contract, chart, role and native tests

.PHONY: lint
lint: $(VENV)/.installed ## Style of every language in the tree
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache
	git ls-files -z | xargs -0 $(BIN)/codespell
	$(BIN)/yamllint --strict .
	$(BIN)/ansible-lint --offline --profile production
	$(BIN)/shellcheck .ci/run $$(grep -lEsd skip '^#!.*sh$$' scripts/*) tests/cluster/node/entrypoint tests/cluster/node/load-node-images
	$(BIN)/clang-format --dry-run --Werror $$(git ls-files 'native/*.c' 'native/*.h')

.PHONY: types
types: $(VENV)/.installed ## mypy --strict
	$(BIN)/mypy

.PHONY: unit
unit: build ## What needs no cluster, without the slowest tests
	$(PYTEST) -m "not e2e and not slow"

.PHONY: slow
slow: build ## The slowest tests that need no cluster: computing, restarts, conformance, crash points, a storm, the commands of the docs, releases
	$(PYTEST) -m "slow and not e2e"

.PHONY: docs
docs: build ## The documentation site in build/site; every link must lead somewhere
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

.PHONY: native-checks
native-checks: native ## The limiter under sanitizers, and the coverage of its policy (fuzzing: make -C native test-fuzz)
	@$(MAKE) --silent --no-print-directory -C native test-coverage test-sanitize

.PHONY: test
test: check slow native-checks e2e ## What CI runs: check, the slow tests, then the rollout and the e2e suite on a real kind cluster

.PHONY: e2e
e2e: build ## Create the cluster, roll out twice with Ansible, run the e2e suite, remove the cluster
	scripts/run-e2e

.PHONY: storm
storm: build ## 10 000 claims through one plugin: memory, descriptors and threads stay (minutes)
	HAMI_CYCLES=10000 $(PYTEST) tests/contract/test_storm.py

.PHONY: faults
faults: build ## On the running demo cluster: 200 random faults, 100 Pods through one node (20 minutes)
	HAMI_FAULTS=200 HAMI_PODS=100 $(PYTEST) -m e2e tests/e2e/test_node_faults.py

# --- Release ---------------------------------------------------------------------------------------

.PHONY: release
release: build ## Wheel, sdist, chart, collection, image, SBOM and checksums in dist/, reproducible
	$(BIN)/python scripts/release/build.py

.PHONY: version
version: $(VENV)/.installed ## Stamp VERSION=x.y.z everywhere; it is kept in src/hami_dra/__init__.py
	$(BIN)/python scripts/release/stamp.py $(VERSION)

.PHONY: molecule
molecule: build ## Every scenario of the roles, one after the other (an hour; docs/how-to/test-the-rollout.md)
	scripts/run-molecule

# --- Measure ---------------------------------------------------------------------------------------

.PHONY: bench
bench: build ## All benchmarks with their comparisons; BENCH_FULL=1, PEER_LIMITER=/path/to/preloadable.so
	$(BIN)/python -m tests.bench $(SUBJECTS)

.PHONY: test-gpu
test-gpu: build ## The suite for a machine with a real NVIDIA GPU; ends with 2 where there is none
	$(BIN)/python -m tests.gpu

# --- Demo ------------------------------------------------------------------------------------------

.PHONY: demo
demo: build ## Real kind cluster, simulated GPUs, the whole rollout and the guide's two workloads
	$(BIN)/python -m tests.cluster.demo

.PHONY: demo-down
demo-down: $(VENV)/.installed ## Remove the demo cluster (build caches stay)
	$(CLUSTER) down

.PHONY: image
image: build ## The product image in podman's store, and loaded into the demo cluster when there is one
	$(CLUSTER) images
