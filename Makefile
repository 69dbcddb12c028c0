# The two commands of the README. Everything is installed into .venv; nothing else is touched.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The version this release was tested with; a torch that is in the environment already is kept.
TORCH := torch==2.13.0


.PHONY: demo test lint wheel clean

demo: $(VENV)/.installed
	$(BIN)/ldm-sep separate demo/song.ogg --out separated --overwrite

# Twice as many processes as two cores have: in some, tests wait for sound to play (tests/conftest.py). The tests of a
# file stay together, since they share what they make. What pytest makes of the tests' assertions is kept for the next
# run: for each process it takes as long as all imports together.
WORKERS ?= 4
test: $(VENV)/.installed-test
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

# data-science-types comes with audio-diffusion-pytorch, with every installation, and gives numpy types of another decade.
lint: $(VENV)/.installed-dev
	$(BIN)/pip uninstall --quiet --yes data-science-types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy ldm_sep

# The wheel in an environment of its own, away from this folder, separates five seconds with the checkpoint it brings.
wheel: $(VENV)/.installed-dev
	rm -rf build/wheel && mkdir -p build/wheel
	$(BIN)/pip wheel --no-deps --wheel-dir build/wheel .
	$(PYTHON) -m venv build/wheel/venv
	build/wheel/venv/bin/pip install $(TORCH)
	build/wheel/venv/bin/pip install build/wheel/*.whl
	cp demo/song.ogg build/wheel
	cd build/wheel && venv/bin/python -c "import soundfile as sf; x, rate = sf.read('song.ogg', stop=5 * 44100); sf.write('short.wav', x, rate)"
	cd build/wheel && venv/bin/ldm-sep separate short.wav --out separated
	cd build/wheel && venv/bin/python -c "import soundfile as sf; a, b, c = (sf.read(f)[0] for f in ('short.wav', 'separated/short/vocals.wav', 'separated/short/instrumental.wav')); assert abs(a - b - c).max() < 1e-6 < abs(b).max()"

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

$(VENV)/.installed-dev: $(VENV)/.installed-test
	$(BIN)/pip install --editable ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) build separated
