# Every target does its own set-up: `make demo` and `make test` are all that a fresh clone needs.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint types docs check-site pytest deep mutants bench bench-quick gpu soak kills playground test-playground format clean

demo: .venv/demo
	$(BIN)/python -m examples.demo demo_output

test: lint types docs pytest

lint: .venv/test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/test
	$(BIN)/mypy

# Not --quiet: that hides warnings from --strict too.
docs: .venv/test
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --site-dir build/site

# axe-core, which looks at every page in a browser, comes from npm, and so this is no part of `make test`.
AXE := build/npm/node_modules/axe-core/axe.min.js

check-site: docs $(AXE)
	$(BIN)/python -m tests.accessibility build/site $(AXE)

$(AXE):
	npm install --silent --no-save --prefix build/npm axe-core@4.14.1

pytest: .venv/test .venv/jax
	OPENBLAS_NUM_THREADS=1 $(BIN)/pytest --numprocesses=auto

deep: .venv/test .venv/jax
	OPENBLAS_NUM_THREADS=1 $(BIN)/pytest --numprocesses=auto --hypothesis-profile=deep tests

mutants: .venv/test .venv/mutants
	$(BIN)/python -m tests.mutants

# Each part can be run alone; --quick tries it in about a minute and leaves the documentation as it is.
# make bench BENCH=--again keeps the settings that the last run chose for the peers, which saves half of the time.
PARTS := steps growth memory first_call eager_parts products import_time graph_size estimators dask_scaling

bench: .venv/bench $(PARTS:%=bench-%)
	$(BIN)/python -m benchmarks.report

bench-quick: .venv/bench
	for part in $(PARTS); do $(BIN)/python -m benchmarks.$$part --quick || exit 1; done

bench-%: .venv/bench
	$(BIN)/python -m benchmarks.$* $(BENCH)

# CuPy is a large download, and made for a card: it is installed where there is one.
gpu: .venv/test
	if nvidia-smi --list-gpus >/dev/null 2>&1; then $(MAKE) .venv/gpu; fi
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m benchmarks.gpu

soak: .venv/test
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m benchmarks.soak

# Training on dask while its workers are killed: fifty runs, in some minutes.
kills: .venv/test
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m benchmarks.kills

# One HTML file, build/playground/index.html; and the same to be hosted. It needs Node.js with npm.
playground: .venv/test
	$(BIN)/python playground/build.py

# In headless Chromium. Not part of `make test`: it builds the page anew, of what registries have.
test-playground: .venv/playground
	$(BIN)/python playground/build.py
	cd playground && npm ci --ignore-scripts --silent && npm run --silent lint
	OPENBLAS_NUM_THREADS=1 PLAYGROUND=1 $(BIN)/pytest tests/playground

format: .venv/test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv build demo_output playground/node_modules

# A stamp per extra: the environment is made once, and again when pyproject.toml changes.
.venv/%: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$*]'
	touch $@
