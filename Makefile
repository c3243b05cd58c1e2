# Two commands do everything on a fresh machine: `make demo` and `make test`. `make compare` measures beside RecBole.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
WORKERS ?= 2
PIP := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt

PEER := .venv-recbole

.PHONY: demo test check unit lint types layers compare clean

demo: $(VENV)/.installed-demo  ## text -> graph -> Cypher -> recommendation with its path and its sentence
	$(BIN)/python examples/films/demo.py

test: $(VENV)/.installed-dev check unit  ## everything CI runs; starts a real Neo4j where Java and Maven are

check: lint types layers

lint: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/.installed-dev
	$(BIN)/mypy

layers: $(VENV)/.installed-dev
	$(BIN)/lint-imports --no-cache

unit: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses $(WORKERS) --dist loadgroup

compare: $(VENV)/.installed-dev $(PEER)/.installed  ## measure the recommenders beside RecBole and write the README's tables; hours
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/recommender/speed.py --peer-python $(PEER)/bin/python
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/recommender/growth.py
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.recommender.quality --work .cache/quality --peer-python $(PEER)/bin/python
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.recommender.cold_items --work .cache/cold-items
	$(BIN)/python -m benchmarks.recommender.tables

$(PEER)/.installed:
	$(PYTHON) -m venv $(PEER)
	$(PEER)/bin/pip install --quiet numpy==1.26.4 pandas==2.3.3 scipy==1.17.1 'setuptools<81' torch==2.13.0 colorama colorlog pyyaml tqdm scikit-learn tabulate tensorboard thop texttable psutil plotly
	$(PEER)/bin/pip install --quiet --no-deps recbole==1.2.1
	touch $@

$(VENV)/bin/pip:
	$(PYTHON) -c 'import sys; sys.exit("loregraph needs Python 3.11 or newer; set PYTHON=...") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed-demo: pyproject.toml constraints.txt | $(VENV)/bin/pip
	$(PIP) --editable '.[all]'
	touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(VENV)/bin/pip
	$(PIP) --editable '.[dev]'
	touch $@ $(VENV)/.installed-demo

clean:
	rm -rf $(VENV) $(PEER) demo-workspace .cache
