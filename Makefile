# Every target sets itself up: the first run makes .venv and installs what constraints.txt names.
# Needs Python 3.11 or newer with venv (make test PYTHON=python3.12 takes another), make and a C compiler.

PYTHON ?= python3
JOBS ?= 2
REPORT ?= report

BIN := .venv/bin
STAMP := .venv/.installed
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check --retries 10 --timeout 60

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install demo test browser lint format docs bench matrix constraints clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo "Variables: PYTHON=$(PYTHON) (3.11 or newer), JOBS=$(JOBS) (parallel tests), REPORT=$(REPORT) (of the demo)"

$(BIN)/pip:
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "zoomin needs Python 3.11 or newer; $(PYTHON) is $$("$(PYTHON)" --version 2>&1). Name one: make PYTHON=python3.12" >&2; \
	  exit 1; }
	@echo "== make .venv with $$("$(PYTHON)" --version)"
	@"$(PYTHON)" -m venv .venv || { \
	  echo "$(PYTHON) cannot make a virtual environment. Install its venv module (on Debian and Ubuntu: python3-venv)." >&2; \
	  exit 1; }

# What an interrupted install left half done is installed again: pip writes RECORD last.
$(STAMP): pyproject.toml constraints.txt | $(BIN)/pip
	@$(BIN)/python -m pip --version > /dev/null 2>&1 || { \
	  echo "== .venv is broken: make it again"; \
	  "$(PYTHON)" -m venv --clear .venv; \
	}
	@for info in .venv/lib/python*/site-packages/*.dist-info; do \
	  if [ -d "$$info" ] && [ ! -e "$$info/RECORD" ]; then rm -r "$$info"; fi; \
	done
	@echo "== install zoomin and its tools (the first time: some minutes)"
	@$(PIP) install --upgrade pip
	@$(PIP) install --resume-retries 10 --editable '.[dev]' --constraint constraints.txt
	@touch $@

install: $(STAMP) ## Make .venv and install the project and its tools

demo: $(STAMP) ## Make images with tiny objects, train, evaluate, predict, write report/
	@echo "== demo"
	@$(BIN)/zoomin demo --out "$(REPORT)"

test: lint browser ## Everything that CI runs: lint, then the tests
	@echo "== pytest"
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile

browser: ## A Chromium for the tests of pages: the system's, or installed where this machine lets us
	@.ci/chromium

lint: $(STAMP) ## Style, types and floors
	@echo "== ruff check"
	@$(BIN)/ruff check .
	@echo "== ruff format"
	@$(BIN)/ruff format --check .
	@echo "== mypy"
	@$(BIN)/mypy
	@echo "== import-linter"
	@$(BIN)/lint-imports

format: $(STAMP) ## Fix what ruff can fix
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

docs: $(STAMP) ## The documentation site, into site/ (make test builds and reads it too)
	@echo "== mkdocs"
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "Open site/index.html, or with search: .venv/bin/mkdocs serve"

bench: $(STAMP) ## Speed against the per-image loop, both sides in one run
	@$(BIN)/zoomin bench

matrix: $(STAMP) ## The lowest and newest versions on each Python: make matrix CELLS="lowest/3.11 newest/3.13"
	@echo "== matrix"
	@$(BIN)/python .ci/matrix.py $(CELLS)

constraints: $(BIN)/pip ## Write the installed versions to constraints.txt
	@$(BIN)/python .ci/constraints.py > constraints.new
	@mv constraints.new constraints.txt
	@touch $(STAMP)

clean: ## Remove what the targets made, but not .venv or runs/
	@rm -rf report site artifacts build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	@find src tests benchmarks .ci -name __pycache__ -type d -prune -exec rm -rf {} +
