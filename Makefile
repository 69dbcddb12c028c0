# The two commands of the README. Everything is installed into .venv; nothing else is touched.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The version this release was tested with; a torch that is in the environment already is kept.
TORCH := torch==2.13.0

.PHONY: demo test lint clean

demo: $(VENV)/.installed
	$(BIN)/ldm-sep separate demo/song.ogg --out separated --overwrite

test: $(VENV)/.installed-test
	$(BIN)/python -m pytest

lint: $(VENV)/.installed-test
	$(BIN)/pip install --quiet "ruff>=0.9"
	$(BIN)/ruff check .

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(BIN)/python
	$(BIN)/python -c "import torch" 2>/dev/null || $(BIN)/pip install $(TORCH)
	$(BIN)/pip install --editable .
	touch $@

$(VENV)/.installed-test: pyproject.toml | $(BIN)/python
	$(BIN)/python -c "import torch" 2>/dev/null || $(BIN)/pip install $(TORCH)
	$(BIN)/pip install --editable ".[test]"
	touch $@

clean:
	rm -rf $(VENV) separated
