# A thin door: everything below is one call of `fci`, pytest or ruff in .venv.
# Needs Python 3.11 or later with venv, and make; everything else is installed into .venv.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
EXTRAS := book,test
# Processes that share the tests, a file at a time, with one thread each: one more than two cores,
# since tests that start programs wait for them.
WORKERS ?= 3
# Scratch folder of `make fresh`; nothing under it is tracked.
FRESH ?= _runs/fresh
# What `make gpu` may take in all.
MINUTES ?= 60

# Cells are compared with what they printed before: the caller's terminal must not show in them,
# and neither may the order in which Python prints a set.
export PYTHONHASHSEED := 0
unexport COLUMNS LINES MPLBACKEND FORCE_COLOR NO_COLOR
# Tests start hundreds of processes; each would compile the library anew.
unexport PYTHONDONTWRITEBYTECODE

CODE := fcilib tests chapters book/_ext
NOTEBOOKS = $(wildcard book/[0-9]*.ipynb)

ADDED := $(VENV)/.installed-scale
LAB := $(VENV)/.installed-edit
MUTMUT := $(VENV)/.installed-mutants
# The wings whose tests `make mutants` tries.
WINGS ?= model routers tasks training storage ledger

.PHONY: help book test edit audit scale fresh gpu pages links mutants lint format clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' Makefile

book: $(STAMP) ## run the chapters from the committed records and render book/_build/html/
	$(BIN)/fci book
	$(BIN)/python -m pytest -q -n $(WORKERS) tests/test_pages.py

test: lint ## lint, then the tests and every executed notebook, cell by cell
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder \
	    -m "not pages" --nbval --nbval-sanitize-with=tests/nbval.cfg tests $(NOTEBOOKS)

edit: $(STAMP) $(LAB) ## start JupyterLab, in which chapters open as notebooks
	$(BIN)/jupyter lab

# Two records of every commit: drawn by its hash, so that a check that is repeated draws the same two,
# while over many commits all that took at most 60 s are drawn; the others would make it long.
audit: $(STAMP) ## train two of the records again, drawn by the commit, and compare
	$(BIN)/fci audit --sample 2 --most 60 --seed "$$(git rev-parse HEAD 2>/dev/null || echo none)"

scale: $(ADDED) ## also install pretrained backbones, and what the hub's data sets need

fresh: $(STAMP) $(ADDED) ## train every experiment of the book again, one seed, into a scratch folder
	$(BIN)/fci book --records $(FRESH)/records --out $(FRESH)/book --no-render -p seeds=1

gpu: $(STAMP) ## test, compare and time on a GPU, then train what the ledger lacks; MINUTES=60
	bash .ci/gpu $(MINUTES)

pages: $(STAMP) ## open every rendered page and check that it asks the network for nothing
	$(BIN)/python -m pytest tests/test_pages.py

links: $(STAMP) ## ask the network whether the links in the book still lead somewhere
	$(BIN)/jupyter-book build . --path-output _runs/links --builder linkcheck

mutants: $(STAMP) $(MUTMUT) ## change the code in small ways, and list the changes that no test notices (hours)
	.ci/mutants $(VENV) _runs/mutants $(WINGS)

lint: $(STAMP) ## style, types, and which part of the library imports which
	$(BIN)/ruff check $(wildcard $(CODE))
	$(BIN)/ruff format --check $(wildcard $(CODE))
	$(BIN)/lint-imports --no-cache
	$(BIN)/mypy

format: $(STAMP) ## ruff, fixing what it can; and chapters as Jupyter would save them
	$(BIN)/ruff check --fix $(wildcard $(CODE))
	$(BIN)/ruff format $(wildcard $(CODE))
	$(BIN)/python -m fcilib.publish.source

clean: ## remove what is made from tracked files (not .venv, not records)
	rm -rf book/_build book/_generated _build _runs .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find $(wildcard $(CODE)) -name __pycache__ -type d -prune -exec rm -rf {} +

# The environment. A failed or interrupted installation leaves no stamp, so the next call goes on
# with it. The lock is for two `make` at once; inside it the first one's work is seen and kept.
LOCK = $(if $(shell command -v flock),flock .venv.lock,)

$(STAMP): pyproject.toml constraints.txt
	@$(LOCK) bash .ci/setup $(VENV) $(STAMP) $(EXTRAS)

$(ADDED): $(STAMP)
	@$(LOCK) bash .ci/setup $(VENV) $(ADDED) scale

$(LAB): $(STAMP)
	@$(LOCK) bash .ci/setup $(VENV) $(LAB) edit

$(MUTMUT): $(STAMP)
	@$(LOCK) bash .ci/setup $(VENV) $(MUTMUT) mutants
