# Two commands do all the set-up: `make demo` and `make test`.
PYTHON := $(shell command -v python3.11 || command -v python3.12 || command -v python3)
BIN := .venv/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e

.PHONY: demo test lint format
.DELETE_ON_ERROR:

demo: .venv/worker.installed
	$(BIN)/pagewright demo

test: lint
	$(BIN)/python -m pytest

lint: .venv/dev.installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: .venv/dev.installed
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/worker.installed: pyproject.toml constraints.txt | .venv/bin/python
	$(PIP_INSTALL) '.[worker,embedded]'
	touch $@

.venv/dev.installed: pyproject.toml constraints.txt | .venv/bin/python
	$(PIP_INSTALL) '.[dev]'
	touch $@
