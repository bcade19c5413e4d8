# `make demo` and `make test` install what they need into .venv.
# The first of these interpreters that starts and has a supported version. Version managers put names on the PATH that
# do not start.
PYTHON := $(shell for python in python3.11 python3.12 python3; do \
  $$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' 2>/dev/null && echo $$python && break; \
done)
BIN := .venv/bin
DOWNLOAD_ERROR := { echo 'error: packages could not be downloaded or installed, see above. Check the network connection,' \
  'or set PIP_INDEX_URL to the address of your package mirror, and run make again.' >&2; exit 1; }

.PHONY: demo experiment test test-long lint format audit
.DELETE_ON_ERROR:

demo: .venv/worker.installed
	$(BIN)/pagewright demo

# MODEL is the base model, by default the starter model. ARGS are more options of `pagewright experiment`.
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

# Not a part of `test`: it needs a vulnerability service on the network, and fails if the service does not answer.
audit: .venv/audit.installed
	@$(BIN)/pip-audit --strict --progress-spinner off --requirement constraints.txt --no-deps --disable-pip || { \
	  echo 'audit failed: a package above is vulnerable, or the vulnerability service did not answer' >&2; exit 1; }

.venv/bin/python:
	@[ -n '$(PYTHON)' ] || { echo 'error: Python 3.11 or 3.12 is needed, and neither is on the PATH' >&2; exit 1; }
	$(PYTHON) -m venv .venv

.venv/uv.installed: constraints.txt | .venv/bin/python
	@$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt uv || $(DOWNLOAD_ERROR)
	@touch $@

# uv does not read pip's configuration, so the package indexes that pip is configured with are passed on.
PIP_INDEXES = $(shell $(BIN)/python -m pip config list | awk -F"='" ' \
  { key = $$1; sub(/.*\./, "", key); sub(/\x27$$/, "", $$2); count = split($$2, values, / |\\n/) } \
  key == "index-url" { print "--default-index", $$2 } \
  key == "extra-index-url" { print "--index-strategy unsafe-best-match"; option = "--index" } \
  key == "find-links" { option = "--find-links" } \
  option { for (i = 1; i <= count; i++) if (values[i]) print option, values[i]; option = "" }')
EXTRAS_worker := worker,embedded

# worker.installed, dev.installed and audit.installed: the optional dependencies of these names in pyproject.toml.
.venv/%.installed: pyproject.toml constraints.txt | .venv/uv.installed
	@echo 'Installing the packages for $* into .venv'
	@$(BIN)/uv pip install --python $(BIN)/python $(PIP_INDEXES) -c constraints.txt \
	  -e '.[$(or $(EXTRAS_$*),$*)]' || $(DOWNLOAD_ERROR)
	@touch $@
