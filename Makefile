# Everything runs in a virtual environment of its own, .venv, at the versions of constraints.txt.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --quiet --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help demo test soak conformance fuzz lint types bench clean

# What docs/faults.md lists, of the runtime; and how often `make soak` plays it.
FAULTS := tests/cache tests/controller/test_faults.py tests/controller/test_replicas.py \
	tests/controller/test_leader_election.py tests/controller/test_manager.py tests/controller/test_controller.py
RUNS   ?= 50
SECONDS ?= 300

help:  ## Show what each target does
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | while IFS="$$(printf '\t')" read -r name what; do \
		printf '  make %-11s %s\n' "$$name" "$$what"; done

demo: $(VENV)/.demo  ## Train a network with one master and two workers, on this machine
	@$(BIN)/kfcore local run examples/pytorch/digits-ddp.yaml

test: lint types  ## Run everything that must hold: lint, types, import contracts and all tests
	$(BIN)/python -m pytest -n 2 --max-suite-reruns 3 --rerun-show-tracebacks $(if $(STRICT),--fail-on-flaky)

soak: $(VENV)/.dev  ## Play the tests of faults 50 times in a row (RUNS=50), with new random seeds each time
	@for run in $$(seq $(RUNS)); do \
		printed=$$($(BIN)/python -m pytest -o addopts= -q --no-header --kfcore-seeds=1 $(FAULTS)) || { echo "$$printed"; exit 1; }; \
		echo "run $$run of $(RUNS):" "$$(echo "$$printed" | tail -n 1)"; done

chaos: $(VENV)/.dev  ## Kill parts of a cluster at random for two minutes, under real trainings
	KFCORE_CHAOS_SECONDS=120 $(BIN)/python -m pytest -p no:xdist tests/local/test_chaos.py

conformance: $(VENV)/.dev  ## Play the steps recorded from kube-apiserver to a local cluster, over HTTP
	@$(BIN)/python tests/golden/conformance.py

fuzz: $(VENV)/.dev  ## Ask the API server for nonsense for five minutes (SECONDS=300), to find what breaks it
	@$(BIN)/python tests/apiserver/fuzzing.py $(SECONDS)

lint: $(VENV)/.dev  ## Check style, formatting and the direction of the imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache

types: $(VENV)/.dev  ## Check types (mypy, strict)
	$(BIN)/mypy

bench: $(VENV)/.dev  ## Measure the figures of docs/performance.md
	@$(BIN)/python -m benchmarks

clean:  ## Remove the virtual environment and every cache
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.venv:
	@echo "Making a virtual environment in $(VENV)"
	@$(PYTHON) -c 'import sys; sys.exit(f"kfcore needs Python 3.11 or newer, this is {sys.version.split()[0]} (make PYTHON=…)" if sys.version_info < (3, 11) else 0)'
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.demo: $(VENV)/.venv pyproject.toml constraints.txt
	@echo "Installing kfcore with torch and scikit-learn (once; takes a few minutes)"
	@$(PIP) install -c constraints.txt -e '.[demo]'
	@touch $@

$(VENV)/.dev: $(VENV)/.demo
	@echo "Installing the tools for development (once)"
	@$(PIP) install -c constraints.txt -e '.[demo,dev,jax,notebook,tensorflow]'
	@touch $@
