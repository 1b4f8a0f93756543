# make demo   set up what running needs, then the whole path on handwritten digits: runs/demo/report.html
# make test   set up what tests need, the Lava environment included, then all tests
# make conformance  500 random configurations in real Lava against the reference; fails where any value differs
# make lint   formatting, lint, types and import layers
# make clean  remove environments, caches and runs
#
# Environments are made once and made again only when pyproject.toml or constraints.txt changes.

PYTHON ?= $(firstword $(foreach name,python3.11 python3.12 python3.13 python3,$(shell command -v $(name))))
VENV := .venv
BIN := $(VENV)/bin
export NEURODEPLOY_HOME := $(CURDIR)/.vendor

.PHONY: demo test conformance lint clean vendor

demo:
	@started=$$(date +%s); \
	$(MAKE) --no-print-directory $(VENV)/.runtime vendor && \
	$(BIN)/neurodeploy demo -o runs/demo --setup-seconds $$(( $$(date +%s) - started ))

test: $(VENV)/.development vendor
	$(BIN)/python -m pytest -n auto

CASES ?= 500

conformance: $(VENV)/.development vendor
	@$(BIN)/python tests/conformance/run.py --cases $(CASES)

lint: $(VENV)/.development
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:
	rm -rf $(VENV) .vendor runs build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis

vendor: $(VENV)/.runtime
	@$(BIN)/neurodeploy vendor install lava

$(VENV)/.runtime: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[rockpool]'
	@touch $@

$(VENV)/.development: $(VENV)/.runtime
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[rockpool,xylo,dynapse2,events,dev]'
	@touch $@
