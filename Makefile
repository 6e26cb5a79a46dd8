# The README's two commands are `make demo` and `make test`; `make help` lists the others.
# Each makes the virtual environment it needs, from Python >= 3.11 and a package index alone.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Development mode without its slow memory allocator, which looks for faults of C code.
DEV := PYTHONDEVMODE=1 PYTHONMALLOC=pymalloc
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: help demo test test-fast test-ray docs examples lint types bench coverage format clean
.DEFAULT_GOAL := help

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' Makefile

demo: $(VENV)/.installed-all ## draw a few images with the local server into demo-output/ (no key needed)
	$(BIN)/openai-images demo

test: $(VENV)/.installed-dev ## run the tests, in as many processes as there are processors
	$(DEV) $(BIN)/python -m pytest --numprocesses auto --dist worksteal

test-fast: $(VENV)/.installed-dev ## run the tests but the slow ones
	$(DEV) $(BIN)/python -m pytest --numprocesses auto --dist worksteal -m "not slow"

test-ray: .venv-ray/.installed ## run the tests of Ray Data, which is too large for the others
	.venv-ray/bin/python -m pytest tests/ray

docs: $(VENV)/.installed-docs ## build the documentation into site/ and check its links
	$(BIN)/python -m sphinx -b html --fail-on-warning --fresh-env --doctree-dir $(VENV)/doctrees --jobs auto --quiet docs site
	@echo "site/index.html"

examples: $(VENV)/.installed-dev ## run the code blocks of README.md and docs/, and the examples
	$(DEV) $(BIN)/python -m pytest tests/test_docs.py tests/test_examples.py

lint: $(VENV)/.installed-dev ## check style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-dev ## check types, with both checkers
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python

bench: $(VENV)/.installed-dev ## measure this client beside others
	$(BIN)/python -m benchmarks

coverage: $(VENV)/.installed-dev ## run the tests and show what they miss
	$(DEV) $(BIN)/python -m coverage run -m pytest
	$(BIN)/python -m coverage report

format: $(VENV)/.installed-dev ## rewrite the files in the project's format
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

clean: ## remove what the other targets made
	rm -rf .venv .venv-ray demo-output site build dist .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.made:
	@command -v $(PYTHON) >/dev/null || { echo "error: $(PYTHON) not found; try: make PYTHON=python3.12 ..." >&2; exit 2; }
	@$(PYTHON) -c 'import sys; v = sys.version_info; v < (3, 11) and sys.exit( \
	    "error: openai-images needs Python 3.11 or newer, and $(PYTHON) is %d.%d; try: make PYTHON=python3.12 ..." % v[:2])'
	@echo "making a virtual environment in $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.installed-all: pyproject.toml | $(VENV)/.made
	@echo "installing openai-images and what it needs"
	@$(PIP) install --editable '.[all]'
	@touch $@

.venv-ray/.installed: pyproject.toml
	@$(PYTHON) -m venv .venv-ray
	@.venv-ray/bin/python -m pip --disable-pip-version-check --quiet install --editable '.[server,ray]' \
	    'hypothesis>=6.150' 'pytest>=9.0,<10' 'pytest-asyncio>=1.3,<2'
	@touch $@

# `dev` holds `all`: after `make test`, `make demo` has nothing left to install.
$(VENV)/.installed-dev: pyproject.toml | $(VENV)/.made
	@echo "installing openai-images and what its tests need"
	@$(PIP) install --editable '.[dev]'
	@touch $(VENV)/.installed-all $@

$(VENV)/.installed-docs: pyproject.toml | $(VENV)/.made
	@echo "installing openai-images and what builds its documentation"
	@$(PIP) install --editable '.[docs]'
	@touch $@
