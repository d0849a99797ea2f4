# make demo, make test, make fuzz, make lint, make bench, make docs: each sets up .venv itself when
# requirements changed, with what it needs: .venv/ready is the package, .venv/dev the tests and the documentation too.
PYTHON ?= python3
BIN := .venv/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test fuzz lint bench docs lock clean

demo: .venv/ready
	$(BIN)/python -m hw2_keras demo

test: lint
	$(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder

# FUZZ="--seconds 60 --soak 0": fewer cases; FUZZ="--cases 0 --soak 300": ten minutes of threads and kills
fuzz: .venv/dev
	$(BIN)/python tests/fuzz/run.py $(FUZZ)

lint: .venv/dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

bench: .venv/ready
	$(BIN)/python -m pip install --quiet -r benchmarks/requirements.txt
	$(BIN)/python benchmarks/bench.py

# GALLERY=0 make docs: without running the tutorials
docs: .venv/dev
	@echo "1 of 2: tutorials, the longest step (those of the last build are kept where nothing changed), and pages"
	$(BIN)/python -m sphinx --fail-on-warning --keep-going docs docs/_build/html
	@echo "2 of 2: links"
	$(BIN)/python docs/links.py docs/_build/html
	@echo "open docs/_build/html/index.html"

# Builds use the setuptools that is there already: pip would fetch one that no hash pins.
UNISOLATED := --no-build-isolation --use-pep517

.venv/ready: requirements.lock requirements-build.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13) and "Python 3.11 to 3.13 is needed, this is " + sys.version.split()[0] + ": make PYTHON=python3.12 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing Keras, TensorFlow and what they need: about 100 packages, 2.5 GB in .venv, one to three minutes"
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements-build.lock
	$(BIN)/python -m pip install --require-hashes $(UNISOLATED) -r requirements.lock
	@# headers for operators in C++, 430 MB that nothing here reads
	rm -rf .venv/lib/python*/site-packages/tensorflow/include
	$(BIN)/python -m pip install --quiet --no-deps $(UNISOLATED) --editable .
	touch $@

.venv/dev: .venv/ready requirements-dev.lock
	@echo "installing what the tests and the documentation need: about 70 packages, 0.4 GB"
	$(BIN)/python -m pip install --require-hashes $(UNISOLATED) -r requirements-dev.lock
	touch $@

# After a change of requirements*.txt: every version below them, with its hashes, for Python 3.11 to 3.13.
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-annotate --custom-compile-command "make lock"
lock: .venv/ready
	$(BIN)/python -m pip install --quiet uv==0.13.9
	$(LOCK) requirements.txt -o requirements.lock
	$(LOCK) requirements.txt requirements-test.txt requirements-docs.txt --constraints requirements.lock \
		-o requirements-dev.lock
	echo setuptools | $(LOCK) - --constraints requirements-dev.lock -o requirements-build.lock

clean:
	rm -rf .venv build dist *.egg-info demo site docs/_build docs/gallery docs/api/generated
