# Needs Python 3.10 to 3.13 and make; everything else goes into .venv, the demo's into .venv-demo. PYTHON=python3.12 chooses another Python.
PYTHON ?= python3
BIN := .venv/bin
DEMO := .venv-demo/bin

.PHONY: help demo docs test test-slow check format lock clean

help:
	@echo "make demo       predict on the bundled images with the bundled weights, into demo_out/"
	@echo "make test       style, types and tests (under 10 minutes on 2 cores)"
	@echo "make test-slow  the tests that take minutes each"
	@echo "make docs       build the documentation's site, into site/"
	@echo "make format     format the code"
	@echo "make lock       resolve requirements.lock anew"

demo: .venv-demo/installed
	$(DEMO)/graphhand predict examples/images --out demo_out --json demo_out/hands.jsonl
	@echo "Look at demo_out/: an image with the joints drawn for each input, and hands.jsonl."

test: check
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --durations=15

test-slow: .venv/installed
	$(BIN)/python -m pytest -m slow

docs: .venv/installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build
	@echo "Open site/index.html; to search in it, serve it: python3 -m http.server --directory site"

check: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# What prediction needs, without torch, in the lock's versions.
.venv-demo/installed: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "GraphHand needs Python 3.10 or newer; set PYTHON=")'
	$(PYTHON) -m venv .venv-demo
	$(DEMO)/python -m pip install --quiet --disable-pip-version-check --constraint requirements.lock --editable .
	@touch $@

.venv/installed: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "GraphHand needs Python 3.10 or newer; set PYTHON=")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

# uv resolves for every Python and platform at once. CUDA's packages are left to torch.
lock:
	$(PYTHON) -m venv .venv/lock && .venv/lock/bin/python -m pip install --quiet uv
	sed 's/"torch>=[0-9.]*"/"torch==2.13.0"/' pyproject.toml > .venv/lock/pyproject.toml
	head -2 requirements.lock > .venv/lock/requirements.lock
	.venv/lock/bin/uv pip compile --universal --python-version 3.10 --extra dev --extra docs --extra tensorboard --extra train --extra web --extra video \
	  --no-header --no-annotate --quiet .venv/lock/pyproject.toml \
	  | grep -vE '^(nvidia-|cuda-|triton)' >> .venv/lock/requirements.lock
	mv .venv/lock/requirements.lock requirements.lock

clean:
	rm -rf .venv .venv-demo demo_out build dist site
