# make up     a running demo: environment, servers, fleet, product, main job
# make down   stops all of it, and nothing else
# make test   all tests, on servers and ports of their own
# make bench  what it costs and how far it gets: about 10 minutes, report in .bench
# make chaos  the product under faults: MINUTES=10 SEED=1
# make lock   new lock files
# make check  style, types, layers and the lock file
#
# Another Python: make env PYTHON=/path/to/python3.12

VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.made-from-lock
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { command -v "$$p"; break; }; done)

SEED    ?= 1
MINUTES ?= 10

# without compiled modules every process pays seconds of start again
unexport PYTHONDONTWRITEBYTECODE
unexport PYTHONHOME
unexport PYTHONPATH

.DEFAULT_GOAL := help
.PHONY: help env up down test bench chaos lock check clean

help: ## this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

env: $(STAMP) ## the environment, exactly as the lock file says

$(STAMP): requirements-bootstrap.lock requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11 or newer found: install one, or name it with PYTHON=..." >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: $(PYTHON) is $$("$(PYTHON)" -V 2>&1), but 3.11 or newer is needed: name one with PYTHON=..." >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "error: $(PYTHON) has no venv module: install it (Debian, Ubuntu: apt-get install python3-venv)" >&2; exit 1; }
	@test -x $(BIN)/pip || "$(PYTHON)" -m venv --clear $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-bootstrap.lock
	@$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --offline --editable .
	@touch $@

up: env ## start everything and wait until the main job is done
	@$(BIN)/python -m infra.stack up

down: ## stop what `make up` started; the data in .stack is kept
	@test ! -x $(BIN)/python || $(BIN)/python -m infra.stack down

test: env ## all tests, those of the whole product beside the others
	@$(BIN)/python -m pytest --numprocesses 2

bench: env ## cost, speed and freshness beside this machine's limit; about 10 minutes, on servers of its own
	@$(BIN)/python -m infra.bench

chaos: env ## the product on ensembles of servers while things break: MINUTES=10 SEED=1
	@$(BIN)/python -m infra.chaos --seed $(SEED) --minutes $(MINUTES)

lock: env ## renew the lock files, within what pyproject.toml allows
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url \
		--no-emit-find-links requirements-bootstrap.in --output-file requirements-bootstrap.lock
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url \
		--no-emit-find-links --all-extras pyproject.toml --output-file requirements.lock

check: env ## ruff, mypy, import-linter, lock file
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m infra.lock_check

clean: down ## remove data, caches and the environment
	@rm -rf $(VENV) .stack .bench .chaos .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
