# Every target does its own set-up: `make demo` and `make test` are all that a fresh clone needs.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint types docs pytest deep mutants bench soak format clean

demo: .venv/demo
	$(BIN)/python -m examples.demo demo_output

test: lint types docs pytest

lint: .venv/test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/test
	$(BIN)/mypy

docs: .venv/test
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet --site-dir build/site

pytest: .venv/test .venv/jax
	OPENBLAS_NUM_THREADS=1 $(BIN)/pytest --numprocesses=auto

deep: .venv/test .venv/jax
	OPENBLAS_NUM_THREADS=1 $(BIN)/pytest --numprocesses=auto --hypothesis-profile=deep tests

mutants: .venv/test .venv/mutants
	$(BIN)/python -m tests.mutants

bench: .venv/test
	$(BIN)/python -m benchmarks.eager_step
	$(BIN)/python -m benchmarks.memory
	$(BIN)/python -m benchmarks.graph_size
	$(BIN)/python -m benchmarks.import_time

soak: .venv/test
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m benchmarks.soak

format: .venv/test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv build demo_output

# A stamp per extra: the environment is made once, and again when pyproject.toml changes.
.venv/%: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$*]'
	touch $@
