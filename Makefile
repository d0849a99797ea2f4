# make demo, make test, make fuzz, make lint, make bench, make docs: each sets up .venv itself when
# requirements changed, with what it needs: .venv/ready is the package, .venv/tests the tests too.
PYTHON ?= python3
BIN := .venv/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test fuzz lint bench docs clean

demo: .venv/ready
	$(BIN)/python -m hw2_keras demo

test: lint
	$(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder

# FUZZ="--seconds 60 --soak 0": fewer cases
fuzz: .venv/tests
	$(BIN)/python tests/fuzz/run.py $(FUZZ)

lint: .venv/tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

bench: .venv/ready
	$(BIN)/python -m pip install --quiet -r benchmarks/requirements.txt
	$(BIN)/python benchmarks/bench.py

# GALLERY=0 make docs: without running the tutorials
docs: .venv/ready
	@echo "1 of 3: what the documentation needs"
	$(BIN)/python -m pip install --quiet -r requirements-docs.txt
	@echo "2 of 3: tutorials, the longest step (those of the last build are kept where nothing changed), and pages"
	$(BIN)/python -m sphinx --fail-on-warning --keep-going docs docs/_build/html
	@echo "3 of 3: links"
	$(BIN)/python docs/links.py docs/_build/html
	@echo "open docs/_build/html/index.html"

.venv/ready: requirements.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13) and "Python 3.11 to 3.13 is needed, this is " + sys.version.split()[0] + ": make PYTHON=python3.12 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing Keras, TensorFlow and what they need: about 100 packages, 2.5 GB in .venv, one to three minutes"
	$(BIN)/python -m pip install -r requirements.txt
	@# headers for operators in C++, 430 MB that nothing here reads
	rm -rf .venv/lib/python*/site-packages/tensorflow/include
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	touch $@

.venv/tests: .venv/ready requirements-test.txt
	@echo "installing what the tests need: about 60 packages, 0.4 GB"
	$(BIN)/python -m pip install -r requirements-test.txt
	touch $@

clean:
	rm -rf .venv build dist *.egg-info demo site docs/_build docs/gallery docs/api/generated
