# Two commands do all the set-up: `make demo` and `make test`.
# the first that runs and is new enough: a version manager leaves names on the PATH that do not run
PYTHON := $(shell for python in python3.11 python3.12 python3; do \
  $$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' 2>/dev/null && echo $$python && break; \
done)
BIN := .venv/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e

.PHONY: demo experiment test test-long lint format audit
.DELETE_ON_ERROR:

demo: .venv/worker.installed
	$(BIN)/pagewright demo

# MODEL is what it begins with, the starter model if empty; ARGS are more of the command's options
experiment: .venv/worker.installed
	$(BIN)/pagewright experiment $(ARGS) $(MODEL)

test: lint
	$(BIN)/python -m pytest -m 'not long'

# Faults, load, fuzzing and tests of the whole system.
test-long: .venv/dev.installed
	$(BIN)/python -m pytest -m long

lint: .venv/dev.installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: .venv/dev.installed
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# Asks a vulnerability service on the network, and so is no part of `test`; what can't be looked up fails it.
audit: .venv/audit.installed
	@$(BIN)/pip-audit --strict --progress-spinner off --requirement constraints.txt --no-deps --disable-pip || { \
	  echo 'audit: not passed: either packages above are vulnerable, or the service could not be asked' >&2; exit 1; }

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/worker.installed: pyproject.toml constraints.txt | .venv/bin/python
	$(PIP_INSTALL) '.[worker,embedded]'
	touch $@

.venv/audit.installed: pyproject.toml constraints.txt | .venv/bin/python
	$(PIP_INSTALL) '.[audit]'
	touch $@

.venv/dev.installed: pyproject.toml constraints.txt | .venv/bin/python
	$(PIP_INSTALL) '.[dev]'
	touch $@
