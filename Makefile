# make, or make help: what there is to do. Variables: PYTHON (3.10 to 3.13), VENV, ARGS (passed through).
PYTHON ?= python3
VENV ?= .venv
ARGS ?=
UV_VERSION := 0.13.9

BIN := $(VENV)/bin
UV := $(BIN)/uv
STAMP := $(VENV)/.installed
SUPPORTED := (3, 10) <= sys.version_info[:2] <= (3, 13)

.DEFAULT_GOAL := help
.PHONY: help env demo test bench lint format reference test-matrix lock clean

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 22

env: $(STAMP)  ## the environment, in $(VENV), from requirements/dev.lock

demo: $(STAMP)  ## a small distillation from start to report
	$(BIN)/mmdynakd demo $(ARGS)

test: $(STAMP)  ## the tests; ARGS='-m "not slow"' for the quick ones
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder $(ARGS)

bench: $(STAMP)  ## the benchmarks, into docs/performance.md; on a machine that does nothing else; ARGS='--only NAME'
	$(BIN)/python benchmarks/run_all.py $(ARGS)

lint: $(STAMP)  ## ruff (rules and layout) and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP)  ## ruff, changing files: layout and what it can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

reference: $(STAMP)  ## docs/reference.md, from the docstrings
	$(BIN)/python docs/make_reference.py

test-matrix: $(STAMP)  ## the quick tests on the oldest and newest torch and on the onedl flavour (python3.10, 3.12, 3.13)
	$(BIN)/nox $(ARGS)

lock: $(UV)  ## requirements/dev.lock anew from dev.in; ARGS=--upgrade for newer versions
	$(UV) pip compile --quiet --universal --python-version 3.10 --custom-compile-command "make lock" \
	    $(ARGS) requirements/dev.in --output-file requirements/dev.lock

clean:  ## remove the environment and all caches; not work_dirs, not data
	rm -rf $(VENV) .nox .pytest_cache .ruff_cache .mypy_cache .hypothesis *.egg-info build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(UV):
	@command -v $(PYTHON) >/dev/null || { echo "No $(PYTHON) here. Name one: make PYTHON=python3.11 …" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(not $(SUPPORTED))' || { echo "mmdynakd needs Python 3.10 to 3.13, but \
	$(PYTHON) is $$($(PYTHON) -V 2>&1). Name another: make PYTHON=python3.11 …" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "$(PYTHON) cannot make a virtual environment. On Debian \
	or Ubuntu: apt install python3-venv; or name another: make PYTHON=…" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet uv==$(UV_VERSION)

$(STAMP): requirements/dev.lock setup.py | $(UV)
	$(UV) pip install --quiet --python $(BIN)/python -r requirements/dev.lock
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@
