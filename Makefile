# `make demo` and `make test` do all their own set-up: Python 3.11 or 3.12 with pip is all they need.
PYTHON ?= $(shell for p in python3 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
PIP_OPTIONS := --quiet --disable-pip-version-check
PIP := $(BIN)/python -m pip install $(PIP_OPTIONS) -c constraints.txt
# Frazil beside the original Boltz-2, whose pins exclude boltz-community's: for the slow tests, and for benchmarks
PEER := .venv-boltz-2.2.1
PEER_PIP := $(PEER)/bin/python -m pip install $(PIP_OPTIONS)
DEMO := demo
ENSEMBLE := src/frazil/assets/1as5.cif.gz

.PHONY: demo demo-train test test-slow lint docs clean

demo: $(VENV)/.frazil-pages
	rm -rf $(DEMO)
	$(BIN)/frazil sample examples/ligands.smi --out $(DEMO) --trajectory 1
	@echo "Look at $(DEMO)/report.html, and at each molecule's own: $(DEMO)/ibuprofen/report.html"

demo-train: $(VENV)/.frazil
	rm -rf $(DEMO)
	$(BIN)/frazil train --data $(ENSEMBLE) --out $(DEMO)/run --max-minutes 3 --config examples/ensemble.toml
	$(BIN)/frazil sample $(ENSEMBLE) --checkpoint $(DEMO)/run --out $(DEMO)/samples --num-samples 8
	$(BIN)/frazil sample $(ENSEMBLE) --checkpoint $(DEMO)/run --out $(DEMO)/steered --num-samples 8 --steering physical
	$(BIN)/frazil evaluate $(DEMO)/samples --reference $(ENSEMBLE) --out $(DEMO)/evaluation
	$(BIN)/frazil evaluate $(DEMO)/steered --reference $(ENSEMBLE) --out $(DEMO)/evaluation-steered
	@echo "Loss curve: $(DEMO)/run/loss.png   structures: $(DEMO)/samples, held to physics: $(DEMO)/steered"
	@echo "Figures: $(DEMO)/evaluation, $(DEMO)/evaluation-steered"

test: lint
	$(BIN)/python -m pytest

test-slow: $(VENV)/.frazil-dev $(PEER)/.frazil
	FRAZIL_PEER_PYTHON="$(CURDIR)/$(PEER)/bin/python" $(BIN)/python -m pytest -m slow --durations=10

docs: $(VENV)/.frazil-dev
	$(BIN)/mkdocs build --strict

lint: $(VENV)/.frazil-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

$(VENV)/.frazil: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11 or 3.12 found; give one: make PYTHON=/path/to/python3.11"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) (some minutes the first time)"
	$(PIP) torch
	$(PIP) -e .
	touch $@

$(VENV)/.frazil-pages: $(VENV)/.frazil
	$(PIP) -e '.[pages]'
	touch $@

$(VENV)/.frazil-dev: $(VENV)/.frazil
	$(PIP) -e '.[dev]'
	touch $@

$(PEER)/.frazil: pyproject.toml constraints.txt constraints-boltz-2.2.1.txt | $(VENV)/.frazil
	test -x $(PEER)/bin/python || $(BIN)/python -m venv $(PEER)
	@echo "installing into $(PEER) (some minutes the first time)"
	$(PEER_PIP) -c constraints.txt torch
	$(PEER_PIP) -c constraints-boltz-2.2.1.txt boltz==2.2.1 -e .
	$(PEER)/bin/python -m pip check
	touch $@

clean:
	rm -rf $(VENV) $(PEER) $(DEMO) build
