# `make demo` runs the main job, `make test` passes the tests; both work on a bare Debian or Ubuntu.
SHELL := /bin/bash
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
# A registry that stumbles is asked again, one that hangs is not waited for.
PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check --retries 5 --timeout 30
# One that was begun without the package python3-venv has no pip: it is made anew.
define NEW_VENV
$(BIN)/python -m pip --version >/dev/null 2>&1 || { \
  test -n "$(PYTHON)" || { echo "cannot find python3: install it with 'apt-get install -y python3 python3-venv'"; exit 1; }; \
  $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "cannot use $(PYTHON): Python 3.11 or newer is needed; name one with 'make PYTHON=/path/to/python3'"; exit 1; }; \
  $(PYTHON) -m venv --clear $(VENV) || { echo "cannot create a virtual environment: install it with 'apt-get install -y python3-venv'"; exit 1; }; }
endef
.DEFAULT_GOAL := help
.PHONY: help demo test test-fast coverage check fix bench docs client schemathesis lock migration system clean

help: ## what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(VENV)/demo.done: requirements/run.txt requirements/demo.txt pyproject.toml
	@$(NEW_VENV)
	$(PIP) --require-hashes -r requirements/demo.txt
	$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/dev.done: requirements/dev.txt pyproject.toml
	@$(NEW_VENV)
	$(PIP) --require-hashes -r requirements/dev.txt
	$(PIP) --no-deps --no-build-isolation -e .
	@touch $@ $(VENV)/demo.done

demo: $(VENV)/demo.done ## the main job: a node, twelve agents, real models, three rollouts, a self-halt (ARGS=--once to exit)
	@$(BIN)/python -m compileall -q src/tidegate  # dozens of processes start; where PYTHONDONTWRITEBYTECODE is set, each would compile everything again
	$(BIN)/python -m tidegate.testing.demo $(ARGS)

system: ## install what the tests need from the system (PostgreSQL, Chromium, nginx and more)
	@./deploy/test-system.sh

test: system $(VENV)/dev.done ## every test, after installing what it needs
	$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

test-fast: $(VENV)/dev.done ## the inner loop: no slow and no browser tests
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow and not browser" $(ARGS)

coverage: $(VENV)/dev.done ## what the inner loop's tests reach, by line and branch
	$(BIN)/python -m coverage run -m pytest -m "not slow and not browser" $(ARGS)
	$(BIN)/python -m coverage combine -q
	$(BIN)/python -m coverage report

check: $(VENV)/dev.done ## format, lint, types, import contracts
	$(BIN)/ruff format --check src tests bench
	$(BIN)/ruff check src tests bench
	$(BIN)/mypy
	$(BIN)/lint-imports

fix: $(VENV)/dev.done ## format and mend what can be mended
	$(BIN)/ruff format src tests bench
	$(BIN)/ruff check --fix src tests bench

bench: $(VENV)/dev.done ## benchmarks, each with its peer or floor measured in the same run
	$(BIN)/python -m bench $(ARGS)

docs: $(VENV)/dev.done ## generated reference and screenshots
	$(BIN)/python -m tidegate.testing.reference
	$(BIN)/python -m tidegate.testing.demo --once --screenshots docs/images

schemathesis: $(VENV)/dev.done ## ask every operation 200 questions made from the OpenAPI document (EXAMPLES=n)
	TIDEGATE_SCHEMATHESIS=$(or $(EXAMPLES),200) $(BIN)/python -m pytest --timeout 3600 tests/api/test_schemathesis.py $(ARGS)

client: $(VENV)/dev.done ## write the Python client's calls from the table of operations
	$(BIN)/python -m tidegate.testing.client_code

lock: $(VENV)/dev.done ## resolve current releases into hash-locked requirement files
	@test -x $(BIN)/uv || $(PIP) uv
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --extra server --extra agent pyproject.toml requirements/build.in -o requirements/run.txt
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url -c requirements/run.txt --extra server --extra agent --extra demo pyproject.toml requirements/build.in -o requirements/demo.txt
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url -c requirements/demo.txt --extra server --extra agent --extra demo --extra dev pyproject.toml requirements/build.in -o requirements/dev.txt

migration: $(VENV)/dev.done ## write migration 0001 from the schema again (while nothing is released)
	$(BIN)/python -m tidegate.testing.migration
	$(BIN)/ruff format -q src/tidegate/control/store/migrations/versions

clean: ## remove the environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
