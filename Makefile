# make demo, make test, make fuzz, make lint, make bench, make docs: each sets up .venv itself when
# requirements changed.
PYTHON ?= python3
BIN := .venv/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test fuzz lint bench docs clean

demo: .venv/ready
	$(BIN)/python -m hw2_keras demo

test: lint
	$(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder

# FUZZ="--seconds 60 --soak 0": fewer cases
fuzz: .venv/ready
	$(BIN)/python tests/fuzz/run.py $(FUZZ)

lint: .venv/ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

bench: .venv/ready
	$(BIN)/python -m pip install --quiet -r benchmarks/requirements.txt
	$(BIN)/python benchmarks/bench.py

# GALLERY=0 make docs: without running the tutorials
docs: .venv/ready
	$(BIN)/python -m pip install --quiet -r requirements-docs.txt
	$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going docs docs/_build/html
	$(BIN)/python docs/links.py docs/_build/html

.venv/ready: requirements.txt requirements-test.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13) and "Python 3.11 to 3.13 is needed, this is " + sys.version.split()[0] + ": make PYTHON=python3.12 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -r requirements.txt -r requirements-test.txt
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	touch $@

clean:
	rm -rf .venv build dist *.egg-info demo site docs/_build docs/gallery docs/api/generated
